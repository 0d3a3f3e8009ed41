"""The printer and the tickets: how far back a language model can fetch a word from.

    python -m experiments.tickets --directory results/tickets

Expected, medians of 3 seeds, trained with 4 to 30 words in between: the 10-gram gives the right word 0.98 with 4 words
in between, 0.57 with 8, where it has not seen every sequence of words, and chance, 0.05, from 11 on, which it cannot
see; the fixed window of 12 has 0.98 up to 11 and chance from 12 on; the Elman network 0.17 with 4, 0.08 with 11 and
chance from 20 on; the LSTM 0.98 at every trained distance, 0.79 with 60 words in between and 0.62 with 100; the GRU
0.93 to 0.95, 0.85 and 0.53. One of the three LSTMs and one of the GRUs were still learning at the end (0.43 to 0.51 at
trained distances).

    nora wanted to print her tickets . the printer was broken . she walked to the shop . it was expensive .
    she printed her ____

The word that belongs there, one of 20, stands once before: at the beginning. All words between are drawn without regard
to it, so that whoever does not reach back to it can at best guess, with a probability of 1/20. Language models of one
word after the other are trained on such stories with up to so many words between the two mentions, and asked for the
probability of the right word at these and at longer distances. Networks see the same stories; the n-gram counts them
all. Of the learning rates the one is shown under which the right word has the highest mean probability in stories of
the trained distances that were not trained on, over all seeds.

What is trained goes on where it was stopped, and stays: with the same `--directory` a second call only asks it.

References: Kneser and Ney 1995 (n-grams); Bengio et al. 2003, https://www.jmlr.org/papers/v3/bengio03a.html (the fixed
window); Elman 1990 (RNN); Hochreiter and Schmidhuber 1997 (LSTM); Cho et al. 2014, https://arxiv.org/abs/1406.1078
(GRU)
"""

import dataclasses
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax as lj
from experiments.report import Runs, by_variant, command, figure, spread, table, write
from experiments.trained import folder, train
from lstm_jax import losses
from lstm_jax.data import batch_indices
from lstm_jax.models import Embedding, LanguageModel, NGram, WindowModel

NAMES = ("nora", "emma", "ida", "clara", "rosa", "edith", "marta", "vera")
VERBS = {
    "print": "printed",
    "fetch": "fetched",
    "repair": "repaired",
    "post": "posted",
    "copy": "copied",
    "pack": "packed",
    "wrap": "wrapped",
    "sort": "sorted",
}
THINGS = (
    "tickets", "letters", "photos", "maps", "stamps", "posters", "keys", "books", "shoes", "glasses",
    "cards", "papers", "tools", "forms", "lamps", "toys", "boxes", "clocks", "bags", "notes",
)  # fmt: skip
# What stands between: sentences by their number of words, the full stop among them; "place" and so on are drawn.
SENTENCES = {
    4: ("it was quality .", "nobody was there .", "it started raining ."),
    5: ("the device was state .", "the place was closed .", "everything there was quality ."),
    6: ("she walked to the place .", "a worker came after lunch ."),
    7: ("the device in the place stopped .", "the worker could not help today ."),
    8: ("she talked to a worker in town .", "the worker went back to the place ."),
}
CHOICES = {
    "place": ("shop", "station", "library", "office", "bank", "market", "school", "hotel"),
    "device": ("printer", "computer", "telephone", "bus", "elevator", "door", "heater", "radio"),
    "state": ("broken", "empty", "slow", "locked", "missing", "old"),
    "quality": ("expensive", "quiet", "cheap", "crowded", "strange", "fine"),
    "worker": ("clerk", "driver", "teacher", "guard", "waiter", "neighbour"),
}
END = "<eos>"
CLOSING = 4  # words between the two mentions that every story has: ". she printed her"
VOCABULARY = tuple(
    dict.fromkeys(
        [END, "wanted", "to", "her", ".", *NAMES, *VERBS, *VERBS.values(), *THINGS]
        + [word for kind in SENTENCES.values() for sentence in kind for word in sentence.split() if word not in CHOICES]
        + [word for words in CHOICES.values() for word in words]
    )
)
COLOURS = {
    "n-gram": "#8c564b",
    "fixed window": "#9467bd",
    "Elman": "#7f7f7f",
    "GRU": "#d1701c",
    "LSTM": "#0b5fa5",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    models: tuple[str, ...] = tuple(COLOURS)
    stories: int = 20_000  # for training
    longest: int = 30  # words between the mentions, at most, in training
    distances: tuple[int, ...] = (4, 8, 11, 12, 16, 20, 25, 30, 40, 50, 60, 80, 100)  # words between, tested
    tested: int = 300  # stories of each distance
    order: int = 10  # of the n-gram
    window: int = 12  # words that the fixed window sees
    embedding: int = 24
    hidden: int = 48
    batch: int = 32
    steps: int = 6000
    learning_rates: tuple[float, ...] = (0.01,)  # at the beginning; they fall to nothing
    seeds: int = 3
    directory: Path = Path("results/tickets")


class Stories(NamedTuple):
    """`<eos>` before and after each; zeros, `<eos>`, past the end."""

    words: np.ndarray  # [time, stories] int32
    lengths: np.ndarray  # [stories] int32, both <eos> counted
    answers: np.ndarray  # [stories] int32: the place of the thing's second mention


def story(rng: np.random.Generator, between: int) -> list[str]:
    """A story with so many words between the mentions: 4, or 8 and more."""

    def one(options: Any) -> Any:
        return options[rng.integers(len(options))]

    verb, thing = one(tuple(VERBS)), one(THINGS)
    words = [one(NAMES), "wanted", "to", verb, "her", thing, "."]
    left = between - CLOSING
    while left:
        fits = [length for length in SENTENCES if length == left or left - length >= min(SENTENCES)]
        length = one(fits)
        words += [one(CHOICES[word]) if word in CHOICES else word for word in one(SENTENCES[length]).split()]
        left -= length
    return [*words, "she", VERBS[verb], "her", thing, "."]


def possible(between: int) -> bool:
    return between == CLOSING or between >= CLOSING + min(SENTENCES)


def draw(rng: np.random.Generator, distances: Any) -> Stories:
    """A story of each distance."""
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    told = [[END, *story(rng, between), END] for between in distances]
    lengths = np.array([len(words) for words in told], np.int32)
    words = np.zeros((lengths.max(), len(told)), np.int32)
    for i, own in enumerate(told):
        words[: len(own), i] = [ids[word] for word in own]
    return Stories(words, lengths, lengths - 3)


def network(name: str, settings: Settings) -> Any:
    tokens, size, hidden = len(VOCABULARY), settings.embedding, settings.hidden
    if name == "fixed window":
        return WindowModel(tokens, settings.window, size, hidden)
    cell = {"Elman": lj.Elman, "GRU": lj.GRU, "LSTM": lj.LSTM}[name](size, hidden)
    return LanguageModel(Embedding(tokens, size), lj.Recurrent(cell))


@partial(jax.jit, static_argnums=0)
def of_network(model: Any, params: Any, words: Any, answers: Any) -> Any:
    """The probability that each run gives the right word, `[runs, stories]`."""

    def one(params: Any) -> Any:
        _, logits = model(params, words[:-1])
        at = jnp.take_along_axis(logits, (answers - 1)[None, :, None], axis=0)[0]
        right = jnp.take_along_axis(words, answers[None], axis=0)[0]
        return jnp.take_along_axis(jax.nn.softmax(at), right[:, None], axis=1)[:, 0]

    return jax.lax.map(one, params)


def stream(stories: Stories) -> tuple[np.ndarray, np.ndarray]:
    """The stories as one text, `<eos>` once between them, and the places of the answers in it."""
    parts = [stories.words[: n - 1, i] for i, n in enumerate(stories.lengths)]
    begins = np.cumsum([0, *map(len, parts)])[:-1]
    return np.concatenate(parts), begins + stories.answers


def run(settings: Settings) -> str:
    """Trains what is not trained yet, tests and writes all files; returns the report."""
    check(settings)
    began = time.perf_counter()
    rng = np.random.default_rng(0)
    trained_on = [n for n in range(CLOSING, settings.longest + 1) if possible(n)]
    often = 1 / np.array(trained_on)  # short ones more often, as in texts
    often /= often.sum()
    corpus = draw(rng, rng.choice(trained_on, settings.stories, p=often))
    validation = draw(rng, rng.choice(trained_on, settings.tested))
    tests = {n: draw(rng, [n] * settings.tested) for n in settings.distances}
    runs: Runs = []
    for name in settings.models:
        if name == "n-gram":
            runs += counts(corpus, validation, tests, settings)
        else:
            runs += networks(name, corpus, validation, tests, settings)
    seconds = time.perf_counter() - began
    example = draw(np.random.default_rng(4), [settings.longest if possible(settings.longest) else CLOSING])
    tables = {
        "Probability of the right word, by words between": table(rows(runs, settings)),
        "A story": "    " + " ".join(VOCABULARY[i] for i in example.words[1:-1, 0]) + "\n",
    }
    pictures = {"tickets": plot(runs, settings)}
    return write(settings, "tickets", runs, seconds, pictures, "How far back a language model fetches a word", tables)


def counts(corpus: Stories, validation: Stories, tests: dict[int, Stories], settings: Settings) -> Runs:
    began = time.perf_counter()
    model = NGram(settings.order, len(VOCABULARY)).fit(stream(corpus)[0])
    seconds = time.perf_counter() - began

    def mean(stories: Stories) -> float:
        words, answers = stream(stories)
        return float(np.exp(model.log_probabilities(words)[answers]).mean())

    right = {str(n): mean(stories) for n, stories in tests.items()}
    found = {"validation": mean(validation), "right": right, "seconds": seconds, "parameters": sum(model.entries)}
    return [{"task": "tickets", "variant": "n-gram", "best": True, **found}]


def networks(
    name: str, corpus: Stories, validation: Stories, tests: dict[int, Stories], settings: Settings
) -> list[dict[str, Any]]:
    model = network(name, settings)

    def loss_fn(params: Any, batch: Any, _: Any) -> Any:
        words, lengths = batch
        _, logits = model(params, words[:-1])
        mask = jnp.arange(1, len(words), dtype=jnp.int32)[:, None] < lengths
        return losses.cross_entropy(logits, words[1:], mask)

    @jax.jit
    def chosen(position: Any) -> Any:
        key = jax.random.key(0)
        return batch_indices(key, position, size=settings.stories, batch_size=settings.batch)

    def batches(position: int) -> Any:
        index = np.asarray(chosen(position))
        return corpus.words[:, index], corpus.lengths[index]

    trained = train(
        model,
        loss_fn,
        steps=settings.steps,
        learning_rates=settings.learning_rates,
        seeds=settings.seeds,
        directory=folder(settings.directory, name),
        batches=batches,
    )

    def means(stories: Stories) -> list[float]:
        found = of_network(model, trained.params, jnp.asarray(stories.words), jnp.asarray(stories.answers))
        return np.asarray(found).mean(1).tolist()

    valid = np.array(means(validation)).reshape(len(settings.learning_rates), settings.seeds)
    best = settings.learning_rates[int(valid.mean(1).argmax())]
    right = {str(n): means(stories) for n, stories in tests.items()}
    return [
        {
            "task": "tickets",
            "variant": name,
            "learning_rate": rate,
            "seed": seed,
            "best": rate == best,
            "validation": float(valid.ravel()[i]),
            "right": {n: values[i] for n, values in right.items()},
            "seconds": trained.seconds,
            "parameters": trained.parameters,
        }
        for i, (rate, seed) in enumerate(zip(trained.learning_rates, trained.seeds, strict=True))
    ]


def check(settings: Settings) -> None:
    if not settings.models or not set(settings.models) <= set(COLOURS):
        known = ", ".join(map(repr, COLOURS))
        raise ValueError(f"`models` must be one or more of {known}; got {settings.models!r}")
    least = f"{CLOSING}, or {CLOSING + min(SENTENCES)} or more: what sentences add up to"
    if not settings.distances or not all(map(possible, settings.distances)):
        raise ValueError(f"`distances` must each be {least}; got {settings.distances!r}")
    for name, low in {"longest": CLOSING, "tested": 1, "stories": settings.batch}.items():
        if getattr(settings, name) < low:
            raise ValueError(f"`{name}` must be at least {low}; got {getattr(settings, name)}")


def title(name: str, settings: Settings) -> str:
    return {"n-gram": f"{settings.order}-gram", "fixed window": f"fixed window of {settings.window}"}.get(name, name)


def rows(runs: Runs, settings: Settings) -> list[dict[str, str]]:
    return [
        {
            "model": title(name, settings),
            "parameters": f"{own[0]['parameters']:,}",
            "learning rate": f"{own[0]['learning_rate']:g}" if "learning_rate" in own[0] else "",
            **{
                f"{n}{'' if n <= settings.longest else ' (untrained)'}": seeds([run["right"][str(n)] for run in own])
                for n in settings.distances
            },
            "seconds to train": f"{own[0]['seconds']:.0f}",
        }
        for name, own in by_variant(runs, "tickets").items()
    ]


def seeds(values: list[float]) -> str:
    return f"{values[0]:.2f}" if len(values) == 1 else spread(values, ".2f")


def plot(runs: Runs, settings: Settings) -> Any:
    """The probability of the right word by distance: a line through the medians of the seeds, a thin one each."""
    made, (axis,) = figure(1, 1, size=(10, 5))
    for name, own in by_variant(runs, "tickets").items():
        found = [[run["right"][str(n)] for n in settings.distances] for run in own]
        for seed in found:
            axis.plot(settings.distances, seed, color=COLOURS[name], linewidth=0.7, alpha=0.5)
        medians = [median(at) for at in zip(*found, strict=True)]
        marks = {"color": COLOURS[name], "linewidth": 2, "marker": "o", "markersize": 5}
        axis.plot(settings.distances, medians, label=title(name, settings), **marks)
    axis.axhline(1 / len(THINGS), color="black", linestyle=":", linewidth=1.2, label=f"chance, 1/{len(THINGS)}")
    axis.axvspan(CLOSING, settings.longest, color="black", alpha=0.06, linewidth=0)
    axis.set(
        ylim=(0, 1.03), xlabel="words between the two mentions (grey: trained)", ylabel="probability of the right word"
    )
    made.legend(loc="outside lower center", ncols=3)
    return made


if __name__ == "__main__":
    command(run, Settings)
