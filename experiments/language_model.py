"""Language models side by side: counts, a fixed window, and recurrent networks, on text that every machine has.

    python -m experiments.language_model --directory results/language_model

Expected, bits per character of the test text: Kneser-Ney 8-gram 1.909, fixed window of 8 2.224, Elman 2.022, GRU 1.981,
LSTM 1.890, AWD-LSTM 1.832 (Python 3.11's reference; 6 minutes on 2 CPU cores, one seed). The networks come in the order
of the lectures; the n-gram does not come last, for 336 kB are little to train on and the reference repeats its phrases.
It takes 8.4 MB for it, and an n-gram of 8 characters was never seen in 46 of 100 places. Windows wider than 4 learn the
training text by heart: 4 have 2.124, 16 have 2.558.

The text is Python's language reference, read byte by byte (`--text` takes a file, a folder with Penn Treebank's files,
or a TFDS data set, `tfds:NAME`; `--unit` characters or words). All networks have as many units, see the text as often
and are trained alike; a network's figures are those of its last step. An n-gram's order and smoothing are those with
the lowest loss on the validation text. Test figures are bits per character of the whole text, the context handed on.

What is trained goes on where it was stopped, and stays: with the same `--directory` a second call only asks it.

    --score "The cat sat."       log-probabilities, word for word
    --complete "The value of"    what comes next: greedy, sampled, and by beam search
    --correct "The vlaue of it"  words that the text has none of, replaced by the likeliest that is one edit away

Zaremba's small model on Penn Treebank's files as Mikolov left them, in a folder `ptb`, for which their paper reports no
figure but about 115 is what others get:

    python -m experiments.language_model --text ptb --unit word --recipe zaremba --directory results/ptb

References: Kneser and Ney 1995 (n-grams); Bengio et al. 2003, https://www.jmlr.org/papers/v3/bengio03a.html (the fixed
window); Mikolov et al. 2010 (RNN); Zaremba, Sutskever, Vinyals 2014, https://arxiv.org/abs/1409.2329; Merity, Keskar,
Socher 2018, https://arxiv.org/abs/1708.02182 (AWD-LSTM)
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lstm_jax as lj
from experiments import language_model_report as pictures
from experiments.report import command, table, write
from experiments.trained import claim, folder, seconds_of
from experiments.writer import WORD, Writer
from lstm_jax import losses
from lstm_jax.data import Streams, Vocabulary, every_token, text
from lstm_jax.models import AddK, Embedding, KneserNey, LanguageModel, NGram, WindowModel, awd_lstm, zaremba
from lstm_jax.training import clipped_adam, clipped_sgd, fit, init_state, make_step


@dataclasses.dataclass(frozen=True)
class Settings:
    text: str = "python_reference"  # a corpus of ours, tfds:NAME, a file or a folder
    unit: Literal["byte", "character", "word"] = "byte"
    vocabulary: int | None = None  # characters or words at most; None for all
    models: tuple[str, ...] = ("n-gram", "fixed window", "Elman", "GRU", "LSTM", "AWD-LSTM")
    recipe: Literal["ours", "zaremba"] = "ours"  # zaremba: the small model of 2014 and its training, and no other
    orders: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)  # of n-grams
    window: int = 8  # tokens that the fixed window sees
    windows: tuple[int, ...] = (1, 2, 4, 16)  # more of them, trained for the picture
    embedding: int = 64
    hidden: int = 256
    batch: int = 16  # streams
    time: int = 100  # steps of truncated backpropagation
    epochs: int = 16
    learning_rate: float = 4e-3  # at the beginning; it falls to nothing
    seed: int = 0
    score: str | None = None
    complete: str | None = None
    correct: str | None = None
    data_dir: Path | None = None  # TFDS's; None for its own default
    directory: Path = Path("results/language_model")


class Corpus(NamedTuple):
    vocabulary: Vocabulary
    train: np.ndarray  # token ids [n] int32
    validation: np.ndarray
    test: np.ndarray
    characters: int  # of the test text
    words: frozenset[str]  # of the training text
    digest: str


def read(settings: Settings) -> Corpus:
    parts = text(settings.text, settings.data_dir)
    vocabulary = Vocabulary.of(parts.train, settings.unit, settings.vocabulary)
    if len(vocabulary) < 2:
        raise ValueError(f"`text`: a vocabulary of at least 2 tokens is needed; {settings.text} has {len(vocabulary)}")
    ids = [vocabulary.encode(part) for part in (parts.train, parts.validation, parts.test)]
    for name, part in zip(("train", "validation", "test"), ids, strict=True):
        if len(part) < 2:  # the first token is given
            raise ValueError(f"`text`: {settings.text} is too small: {name} has {len(part)} token, and 2 are needed")
    words = frozenset(WORD.findall(parts.train))
    return Corpus(vocabulary, ids[0], ids[1], ids[2], len(parts.test), words, parts.digest)


def network(name: str, tokens: int, settings: Settings, window: int | None = None) -> Any:
    """The untrained network of a name."""
    size, hidden = settings.embedding, settings.hidden
    if name == "fixed window":
        return WindowModel(tokens, window or settings.window, size, hidden)
    if name == "Zaremba small":
        return zaremba(tokens, "small")
    if name == "AWD-LSTM":
        rates = {"input_dropout": 0.0, "hidden_dropout": 0.1, "output_dropout": 0.1, "word_dropout": 0.0}
        model = awd_lstm(tokens, size, hidden, 2, weight_drop=0.2, **rates)
        return dataclasses.replace(model, embedding=Embedding(tokens, size))  # bytes start better from unit variance
    cell = {"Elman": lj.Elman, "GRU": lj.GRU, "LSTM": lj.LSTM}[name](size, hidden)
    return LanguageModel(Embedding(tokens, size), lj.Recurrent(cell))


# Training


class Recipe(NamedTuple):
    optimizer: optax.GradientTransformation
    batch: int
    time: int
    epochs: int


def recipe(settings: Settings, epoch: int) -> Recipe:
    """How networks are trained, when an epoch has so many steps."""
    if settings.recipe == "zaremba":  # section 4.1: SGD at 1, halved after each epoch from the fifth on
        halved = {epoch * e: 0.5 for e in range(4, 13)}
        rate = optax.piecewise_constant_schedule(1.0, halved)
        return Recipe(clipped_sgd(rate, 5.0), 20, 20, 13)
    steps = settings.epochs * epoch
    rate = optax.linear_schedule(settings.learning_rate, 0.0, steps)
    return Recipe(clipped_adam(rate, 1.0), settings.batch, settings.time, settings.epochs)


def train(model: Any, corpus: Corpus, settings: Settings, directory: Path) -> tuple[Any, int]:
    """Trains a network, or goes on with it; returns its parameters and how many steps it took in all."""
    plan = recipe(settings, 1)
    streams = Streams(corpus.train, plan.batch, plan.time)
    plan = recipe(settings, len(streams))
    chosen = {name: getattr(settings, name) for name in ("recipe", "epochs", "learning_rate", "seed")}
    claim(directory, streams[0], model=model, text=corpus.digest, **chosen)

    def loss_fn(params: Any, batch: Any, carry: Any, key: Any) -> tuple:
        carry, logits = model(params, batch.inputs, carry, resets=batch.resets, key=key)
        loss = losses.cross_entropy(logits, batch.targets, batch.mask)
        # Zaremba's loss is summed over the steps of a batch.
        return loss * (plan.time if settings.recipe == "zaremba" else 1), (carry, {"nats": loss})

    params = model.init(jax.random.key(settings.seed))
    state = init_state(
        params, plan.optimizer, jax.random.key(settings.seed + 1), model.initial_carry(params, (plan.batch,))
    )
    steps = plan.epochs * len(streams)
    state = fit(
        make_step(loss_fn, plan.optimizer),
        state,
        streams.__getitem__,
        steps=steps,
        directory=directory,
        checkpoint_every=max(len(streams), 1),
        log_every=max(1, min(20, steps)),
        keep=1,
    )
    return state.params, steps


def nats(model: Any, params: Any, tokens: np.ndarray) -> tuple[float, int]:
    """The sum of a text's negative log-likelihood, and how many tokens it is of: all but the first."""

    @jax.jit
    def go_on(carry: Any, batch: Any) -> tuple:
        carry, logits = model(params, batch.inputs, carry)
        mean = losses.cross_entropy(logits, batch.targets, batch.mask)
        return carry, mean * jnp.sum(batch.mask).astype(mean.dtype)

    carry, total = model.initial_carry(params, (1,)), 0.0
    for batch in every_token(tokens, 500):
        carry, part = go_on(carry, batch)
        total += float(part)
    return total, len(tokens) - 1


# Models, one row each


def row(name: str, corpus: Corpus, found: dict[str, float], **facts: Any) -> dict[str, Any]:
    """A model's figures: `found` are nats of the validation and of the test text."""
    bits = found["test"] / math.log(2) / corpus.characters
    perplexities = {part: math.exp(found[part] / (len(getattr(corpus, part)) - 1)) for part in found}
    return {"name": name, "bits": bits, "perplexity": perplexities, **facts}


def of_network(name: str, corpus: Corpus, settings: Settings, window: int | None = None) -> tuple[dict, Any, Any]:
    model = network(name, len(corpus.vocabulary), settings, window)
    directory = folder(settings.directory, f"{name}, {window}" if window else name)
    params, steps = train(model, corpus, settings, directory)
    found = {part: nats(model, params, getattr(corpus, part))[0] for part in ("validation", "test")}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    facts = {"parameters": parameters, "bytes": 4 * parameters, "seconds": seconds_of(directory), "steps": steps}
    return row(name, corpus, found, window=window or settings.window, **facts), model, params


def of_counts(corpus: Corpus, settings: Settings) -> list[dict[str, Any]]:
    """Every order with both smoothings; "unseen" is the share of the test text's n-grams that training never saw."""
    rows = []
    smoothings: dict[str, Callable[[], Any]] = {"add 0.01": lambda: AddK(0.01), "Kneser-Ney": KneserNey}
    for smoothing, make in smoothings.items():
        for order in settings.orders:
            began = time.perf_counter()
            model = NGram(order, len(corpus.vocabulary), make()).fit(corpus.train)
            seconds = time.perf_counter() - began
            parts = {"validation": corpus.validation, "test": corpus.test}
            # Networks are given the first token, so that counts are too.
            found = {part: -float(model.log_probabilities(ids)[1:].sum()) for part, ids in parts.items()}
            sparsity = model.sparsity(corpus.test)[-1]
            facts = {"order": order, "smoothing": smoothing, "seen": sparsity.ngrams, "unseen": sparsity.unseen}
            facts |= {"parameters": model.entries[-1], "bytes": model.bytes, "seconds": seconds}
            rows.append(row("n-gram", corpus, found, **facts))
    return rows


def run(settings: Settings) -> str:
    """Trains what is not trained yet, measures and writes all files; returns the report, or what was asked for."""
    corpus = read(settings)
    names = ("Zaremba small",) if settings.recipe == "zaremba" else settings.models
    began = time.perf_counter()
    asked = any(question is not None for question in (settings.score, settings.complete, settings.correct))
    counts = of_counts(corpus, settings) if "n-gram" in names and not asked else []
    rows = [min(counts, key=lambda x: x["perplexity"]["validation"])] if counts else []
    writers: dict[str, Writer] = {}
    for name in names:
        if name != "n-gram":
            found, model, params = of_network(name, corpus, settings)
            rows.append(found)
            writers[name] = Writer(model, params, corpus.vocabulary, corpus.words)
    if asked:
        return answers(writers, settings)
    widths = [found for found in rows if found["name"] == "fixed window"]
    if widths:
        widths += [of_network("fixed window", corpus, settings, width)[0] for width in settings.windows]
    seconds = time.perf_counter() - began
    runs = [{"task": "text", **found, "best": True} for found in rows]
    runs += [{"task": "counts", **found} for found in counts] + [{"task": "windows", **found} for found in widths]
    shown: dict[str, Any] = {"language_model": pictures.models(rows)}
    tables = {"Test text": table(pictures.model_rows(rows)), "The text": table(text_rows(corpus, settings))}
    if counts:
        shown["ngrams"] = pictures.counts(counts)
        tables["n-grams: order and smoothing"] = "![n-grams](ngrams.png)\n\n" + table(pictures.count_rows(counts))
    if widths:
        shown["windows"] = pictures.windows(widths)
        tables["The fixed window"] = "![windows](windows.png)\n\n" + table(pictures.window_rows(widths))
    if writers:
        best = min((x for x in rows if x["name"] in writers), key=lambda x: x["perplexity"]["validation"])["name"]
        tables[f"What they write ({best})"] = samples(writers[best], settings)
    caption = "From counts to LSTMs: language models on one text"
    return write(settings, "language_model", runs, seconds, shown, caption, tables)


def text_rows(corpus: Corpus, settings: Settings) -> list[dict[str, str]]:
    return [
        {
            "text": settings.text,
            "sha256": corpus.digest,
            f"{settings.unit}s for training": f"{len(corpus.train):,}",
            "validation": f"{len(corpus.validation):,}",
            "test": f"{len(corpus.test):,}",
            "vocabulary": f"{len(corpus.vocabulary):,}",
        }
    ]


def samples(writer: Writer, settings: Settings) -> str:
    """The same beginning, continued in five ways."""
    prefix = "The value of"
    ways: dict[str, dict[str, Any]] = {
        "most probable token": {"temperature": 0.0},
        "temperature 0.5": {"temperature": 0.5},
        "temperature 1": {},
        "top 5": {"top_k": 5},
        "nucleus 0.9": {"top_p": 0.9},
        "beam of 5": {"width": 5},
    }
    length = 40 if settings.unit == "word" else 200
    rows = [{"way": way, "text": _quoted(writer.complete(prefix, length, **how))} for way, how in ways.items()]
    return table(rows)


def _quoted(text: str) -> str:
    return "`" + " ".join(text.split()).replace("|", "/").replace("`", "'") + "`"


def answers(writers: dict[str, Writer], settings: Settings) -> str:
    """What each network says to `--score`, `--complete` and `--correct`."""
    lines = []
    for name, writer in writers.items():
        lines.append(f"## {name}")
        if settings.score is not None:
            total, words = writer.score(settings.score)
            lines += [f"log P = {total:.2f} nats", *(f"  {value:8.2f}  {word}" for word, value in words)]
        if settings.complete is not None:
            length = 20 if settings.unit == "word" else 80
            ways: dict[str, dict[str, Any]] = {"greedy": {"temperature": 0.0}, "sampled": {}, "beam": {"width": 5}}
            lines += [
                f"{way:8} {settings.complete}{writer.complete(settings.complete, length, **how)}"
                for way, how in ways.items()
            ]
        if settings.correct is not None:
            lines.append(writer.correct(settings.correct))
    return "\n".join(lines)


if __name__ == "__main__":
    command(run, Settings)
