"""The number of the verb across distracting nouns: recurrent networks and what a subject far away still says.

    python -m experiments.agreement --directory results/agreement

Expected, medians (and ranges) of 5 seeds, trained with 4 to 16 words in between. Taught the verb alone, GRU and LSTM
make no error, with 60 words in between and with 7 attractors neither; the RNN stays at chance, but for one of 5
networks that start orthogonally, which makes no error either. Taught every word, GRU and LSTM make none at the trained
lengths, nor do 4 of 5 RNNs that start uniformly and 3 of 5 that start orthogonally. Beyond these lengths all fall: at
60 words the GRU has 0.86 (0.61 to 1.00) of the verbs right, the LSTM 0.72 (0.50 to 0.92), the RNN 0.67 and 0.53. So
the words that agree nearby lead the RNN to what the verb alone does not teach it, and cost GRU and LSTM their reach.
It is the distance that does it, not the attractors: at 32 words the GRU has 0.99 right with none and with 7, the LSTM
0.98 and 0.94.

    the dogs whom the small girl whom the boys like follows today and whom the king fears ... see

Sentences are those of `lj.tasks.Agreement`, the main verb behind them: relative clauses stand between it and its
subject, and nothing in them tells the subject's number. Networks read words and predict the next one. They are taught
in two ways: "the verb", where only the prediction of the main verb counts, and "every word", which is a language
model. Both are judged alike, as language models are by Linzen et al.: right is whoever gives the verb's correct form a
higher probability than its other form. Chance is 0.5. Of the learning rates the one with the highest mean accuracy on
validation sentences of the trained lengths is shown, over all seeds.

A noun of the other number between subject and verb is an attractor. Since drawn sentences of one length have clauses of
their own, the count of attractors is set by drawing from the same sentences those that have so many.

What is trained goes on where it was stopped, and stays: with the same `--directory` a second call only asks it.

References: Linzen, Dupoux, Goldberg 2016, https://arxiv.org/abs/1611.01368 (number, verb's forms, attractors);
Gulordava et al. 2018, https://arxiv.org/abs/1803.11138 (sentences whose words tell nothing)
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax as lj
from experiments.report import Runs, by_variant, command, figure, spread, table, write
from experiments.trained import folder, train
from lstm_jax import inits, losses
from lstm_jax.models import Embedding, LanguageModel
from lstm_jax.tasks import Agreement
from lstm_jax.tasks.agreement import NOUNS, SIZES, STARTS, VERB, VERBS

COLOURS = {"RNN, uniform": "#b58fd0", "RNN, orthogonal": "#7f7f7f", "GRU": "#d1701c", "LSTM": "#0b5fa5"}
MARKS = {"RNN, uniform": ("v", 5), "RNN, orthogonal": ("^", 5), "GRU": ("s", 7), "LSTM": ("o", 4)}
TAUGHT = ("the verb", "every word")
VALIDATION = "validation"
FORMS = int(SIZES[VERB])  # verbs, each with two forms
SINGULAR, PLURAL = int(STARTS[VERB]), int(STARTS[VERBS])


@dataclasses.dataclass(frozen=True)
class Settings:
    taught: tuple[str, ...] = TAUGHT
    models: tuple[str, ...] = tuple(COLOURS)
    length: int = 16  # the most words between subject and verb in training
    distances: tuple[int, ...] = (5, 8, 12, 16, 20, 24, 32, 40, 60)  # words between, tested
    crowded: tuple[int, ...] = (16, 32)  # distances at which attractors are counted
    embedding: int = 16
    hidden: int = 32
    steps: int = 4000
    batch: int = 32  # fresh sentences a step
    learning_rates: tuple[float, ...] = (0.003, 0.01)  # at the beginning; they fall to nothing
    seeds: int = 5
    tested: int = 400  # sentences of each kind
    directory: Path = Path("results/agreement")


def network(name: str, settings: Settings) -> LanguageModel:
    size, hidden = settings.embedding, settings.hidden
    cells = {
        "RNN, uniform": lambda: lj.Elman(size, hidden, w_x_init=inits.Uniform(), w_h_init=inits.Uniform()),
        "RNN, orthogonal": lambda: lj.Elman(size, hidden, w_h_init=inits.Orthogonal()),
        "GRU": lambda: lj.GRU(size, hidden),
        "LSTM": lambda: lj.LSTM(size, hidden),
    }
    return LanguageModel(Embedding(len(Agreement.vocabulary), size), lj.Recurrent(cells[name]()))


def whole(task: Agreement, key: Any, count: int) -> tuple[Any, Any]:
    """Sentences with their main verbs, `[time + 1, count]`, and the place of the verb, `[count]`, both int32."""
    sentence_key, verb_key = jax.random.split(key)
    words, plural, lengths = task.sentences(sentence_key, count)
    verb = jax.random.randint(verb_key, (count,), 0, FORMS, dtype=jnp.int32) + SINGULAR + plural * (PLURAL - SINGULAR)
    words = jnp.concatenate([words, words[-1:]])
    return jnp.where(jnp.arange(len(words), dtype=jnp.int32)[:, None] == lengths, verb, words), lengths


def loss_of(model: LanguageModel, taught: str, settings: Settings) -> Callable:
    task = Agreement(settings.length)

    def loss_fn(params: Any, _: None, key: Any) -> Any:
        words, place = whole(task, key, settings.batch)
        _, logits = model(params, words[:-1])
        t = jnp.arange(1, len(words), dtype=jnp.int32)[:, None]
        return losses.cross_entropy(logits, words[1:], t == place if taught == "the verb" else t <= place)

    return loss_fn


def kinds(settings: Settings) -> dict[str, Agreement]:
    """What is tested, by name."""
    tasks = {VALIDATION: Agreement(settings.length)}
    tasks |= {f"distance {n}": Agreement(n, n) for n in settings.distances}
    for n in settings.crowded:
        tasks |= {f"attractors {k} at {n}": Agreement(n, n, k) for k in range(room(n) + 1)}
    return tasks


def room(distance: int) -> int:
    """The most attractors that so many words have room for, as `Agreement` counts them."""
    attractors = 0
    while True:
        try:
            Agreement(distance, distance, attractors + 1)
        except ValueError:
            return attractors
        attractors += 1


def sentences(tasks: dict[str, Agreement], count: int) -> tuple[Any, Any]:
    """Of each kind `count` sentences with their verbs, `[kinds, time, count]`, and the verbs' places."""
    drawn = [whole(task, jax.random.fold_in(jax.random.key(1), i), count) for i, task in enumerate(tasks.values())]
    longest = max(len(words) for words, _ in drawn)
    words = [jnp.pad(words, ((0, longest - len(words)), (0, 0))) for words, _ in drawn]
    return jnp.stack(words), jnp.stack([place for _, place in drawn])


def judged(model: Any, params: Any, words: Any, place: Any) -> tuple[Any, Any]:
    """Whether each sentence's verb has a higher probability than its other form, and P(plural | a verb), `[batch]`."""
    _, logits = model(params, words[:-1])
    at = jnp.take_along_axis(logits, (place - 1)[None, :, None], axis=0)[0]
    verb = jnp.take_along_axis(words, place[None], axis=0)[0]
    other = jnp.where(verb < PLURAL, verb + (PLURAL - SINGULAR), verb - (PLURAL - SINGULAR))
    right, wrong = (jnp.take_along_axis(at, form[:, None], axis=1)[:, 0] for form in (verb, other))
    forms = [jax.nn.logsumexp(at[:, start : start + FORMS], axis=1) for start in (SINGULAR, PLURAL)]
    return right > wrong, jax.nn.sigmoid(forms[1] - forms[0])


EXAMPLES = (
    "the dog whom the boys see",
    "the dogs whom the small boy whom the king fears sees now",
    "the farmer whom the girls whom the kings trust like and whom the boys see",
    "the farmers whom the girl whom the king trusts likes and whom the boy whom the old teacher knows sees today",
    "the king whom the boys see and whom the girls like and whom the dogs fear and whom the cats follow and whom"
    " the teachers know and whom the doctors help",
)


def example_probabilities(model: LanguageModel, params: Any) -> list[float]:
    """For each example the probability that the verb is of the subject's number, when it must be a verb."""
    ids = [[Agreement.vocabulary.index(word) for word in sentence.split()] for sentence in EXAMPLES]
    longest = max(map(len, ids))
    words = jnp.asarray([own + [0] * (longest + 1 - len(own)) for own in ids], jnp.int32).T
    plural = np.asarray(
        jax.jit(judged, static_argnums=0)(model, params, words, jnp.asarray([*map(len, ids)], jnp.int32))[1]
    )
    return [float(p if own[1] >= STARTS[NOUNS] else 1 - p) for own, p in zip(ids, plural, strict=True)]


def of_network(
    taught: str, name: str, tested: tuple[Any, Any], settings: Settings
) -> tuple[list[dict[str, Any]], list[float]]:
    """A network's runs, and what the first seed of the best learning rate says of the examples."""
    model, tasks = network(name, settings), kinds(settings)
    trained = train(
        model,
        loss_of(model, taught, settings),
        steps=settings.steps,
        learning_rates=settings.learning_rates,
        seeds=settings.seeds,
        directory=folder(settings.directory, f"{taught}-{name}"),
    )

    def accuracies(params: Any) -> Any:
        return jax.lax.map(lambda kind: jnp.mean(judged(model, params, *kind)[0].astype(jnp.float32)), tested)

    found = np.asarray(jax.jit(lambda params: jax.lax.map(accuracies, params))(trained.params))  # [runs, kinds]
    shape = len(settings.learning_rates), settings.seeds
    best = int(found[:, list(tasks).index(VALIDATION)].reshape(shape).mean(1).argmax())
    runs = [
        {
            "task": taught,
            "variant": name,
            "learning_rate": rate,
            "seed": seed,
            "best": i // settings.seeds == best,
            "accuracy": dict(zip(tasks, found[i].tolist(), strict=True)),
            "seconds": trained.seconds,
        }
        for i, (rate, seed) in enumerate(zip(trained.learning_rates, trained.seeds, strict=True))
    ]
    return runs, example_probabilities(model, jax.tree.map(lambda x: x[best * settings.seeds], trained.params))


def run(settings: Settings) -> str:
    """Trains what is not trained yet, tests and writes all files; returns the report."""
    check(settings)
    began = time.perf_counter()
    tested = sentences(kinds(settings), settings.tested)
    runs: Runs = []
    accuracy_tables, example_tables = {}, {}
    for taught in settings.taught:
        found = {name: of_network(taught, name, tested, settings) for name in settings.models}
        runs += [run for own, _ in found.values() for run in own]
        accuracy_tables[f"Verbs right, taught {taught}"] = table(accuracy_rows(runs, taught, settings))
        rows = example_rows({name: probabilities for name, (_, probabilities) in found.items()})
        example_tables[f"Probability of the right number, taught {taught} (first seed)"] = table(rows)
    seconds = time.perf_counter() - began
    caption = "The number of the verb across distracting nouns"
    pictures = {"agreement": plot(runs, settings)}
    return write(settings, "agreement", runs, seconds, pictures, caption, accuracy_tables | example_tables)


def check(settings: Settings) -> None:
    for name, known in (("models", tuple(COLOURS)), ("taught", TAUGHT)):
        given = getattr(settings, name)
        if not given or not set(given) <= set(known):
            raise ValueError(f"`{name}` must be one or more of {', '.join(map(repr, known))}; got {given!r}")
    if settings.tested < 1:
        raise ValueError(f"`tested` must be at least one; got {settings.tested}")


def accuracy_rows(runs: Runs, taught: str, settings: Settings) -> list[dict[str, str]]:
    within, beyond = settings.length, settings.distances[-1]
    shown = {
        f"trained lengths (up to {within})": VALIDATION,
        f"{beyond} words": f"distance {beyond}",
        **{f"{k} attractors in {n} words": f"attractors {k} at {n}" for n in settings.crowded for k in (0, room(n))},
    }
    return [
        {
            "model": name,
            "learning rate": f"{own[0]['learning_rate']:g}",
            **{title: spread([run["accuracy"][kind] for run in own], ".3f") for title, kind in shown.items()},
            "seconds to train": f"{own[0]['seconds']:.0f}",
        }
        for name, own in by_variant(runs, taught).items()
    ]


def example_rows(probabilities: dict[str, list[float]]) -> list[dict[str, str]]:
    return [
        {"sentence": f"{sentence} ...", **{name: f"{values[i]:.3f}" for name, values in probabilities.items()}}
        for i, sentence in enumerate(EXAMPLES)
    ]


def plot(runs: Runs, settings: Settings) -> Any:
    """A row for each way of teaching: accuracy by distance, and by the number of attractors at each of some."""
    shape = len(settings.taught), 1 + len(settings.crowded)
    made, panels = figure(*shape, size=(4 * shape[1], 3.3 * shape[0]), sharey=True)
    for i, taught in enumerate(settings.taught):
        row = panels[i * shape[1] : (i + 1) * shape[1]]
        lines(row[0], runs, taught, settings.distances, "distance {}")
        row[0].axvspan(4, settings.length, color="black", alpha=0.06, linewidth=0)
        row[0].set(xlabel="words between subject and verb (grey: trained)", ylabel=f"verbs right, taught {taught}")
        for axis, distance in zip(row[1:], settings.crowded, strict=True):
            counts = range(room(distance) + 1)
            lines(axis, runs, taught, counts, "attractors {} at " + str(distance))
            axis.set(xlabel="nouns of the other number in between", title=f"{distance} words", xticks=list(counts))
    handles = {name: panels[0].plot([], [], color=COLOURS[name], marker=MARKS[name][0])[0] for name in settings.models}
    handles["chance"] = panels[0].plot([], [], color="black", linestyle=":")[0]
    made.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
    return made


def lines(axis: Any, runs: Runs, taught: str, places: Any, kind: str) -> None:
    """A line a model through the medians of its seeds, and a thin one for each seed."""
    for name, own in by_variant(runs, taught).items():
        found = [[run["accuracy"][kind.format(place)] for place in places] for run in own]
        for seed in found:
            axis.plot(places, seed, color=COLOURS[name], linewidth=0.6, alpha=0.5)
        medians = [median(at) for at in zip(*found, strict=True)]
        marker, size = MARKS[name]
        axis.plot(places, medians, color=COLOURS[name], linewidth=2, marker=marker, markersize=size)
    axis.axhline(0.5, color="black", linestyle=":", linewidth=1.2)


if __name__ == "__main__":
    command(run, Settings)
