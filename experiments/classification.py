"""Which language a snippet is: what a network remembers at its end against what it saw on the way.

    python -m experiments.classification --directory results/classification

EXPECTED (Python 3.11.7, medians of three seeds; 170 s of CPU time): accuracy after so many characters

                                 10    20    40    80   140   200
    n-grams                    .783  .848  .892  .942  .958  .968
    LSTM, last                 .678  .778  .861  .927  .945  .970
    LSTM, mean                 .633  .751  .855  .933  .953  .968
    LSTM, max                  .652  .778  .874  .943  .968  .977
    bidirectional LSTM, last   .674  .780  .873  .921  .948  .962

Counts know more of a few characters, and keep nine times the numbers; the networks catch up at 80, and the maximum,
which loses nothing that it once saw, goes past. Of 1,200 snippets, .005 is one standard error.

Snippets of 20 to 200 characters, cut at random out of Python's standard library, of C headers (Python's own, unless
`--headers` names another folder) and of English prose (Python's language reference, which quotes some Python); headers
and library quote English in turn. Every file is whole in one part. Test snippets have 200 characters, and every model
is asked after 10 of them, 20 and so on; 10 is shorter than any snippet in training. "last", "mean" and "max" say what
the readout sees of a layer's outputs. The counts are a Kneser-Ney n-gram model of each language and Bayes' rule.
`when.png` shows snippets of the test part and what the networks say after every character.

Reviews instead, as words, where TFDS has them:

    python -m experiments.classification --source tfds:imdb_reviews --lengths 10 20 50 100 200 --directory results/imdb

What is trained goes on where it was stopped, and stays: with the same `--directory` a second call only asks it.

References: Collobert et al. 2011, https://www.jmlr.org/papers/v12/collobert11a.html (max over time); Maas et al. 2011,
https://aclanthology.org/P11-1015 (IMDB reviews)
"""

import dataclasses
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax as lj
from experiments import classification_report as pictures
from experiments.report import command, table, write
from experiments.trained import folder, train
from lstm_jax import data, losses
from lstm_jax.data.split import PARTS, split_whole
from lstm_jax.models import Classifier, Embedding, NGram

LANGUAGES = ("Python", "C", "English")
RARE = 10  # characters seen less often are unknown


@dataclasses.dataclass(frozen=True)
class Settings:
    source: str = "languages"  # or words: tfds:imdb_reviews, any TFDS data set of one text and one label
    headers: str | None = None  # a folder of C headers; None for Python's own
    models: tuple[str, ...] = tuple(pictures.COLOURS)
    order: int = 3  # of the n-grams
    snippets: int = 20000  # of each language, in training
    tested: int = 400  # of each language
    shortest: int = 20  # characters of a snippet in training
    lengths: tuple[int, ...] = (10, 20, 40, 80, 140, 200)  # asked about in testing; the last is training's longest
    vocabulary: int = 20000  # words at most
    embedding: int = 32
    hidden: int = 32  # units of each direction
    dropout: float = 0.0
    batch: int = 32
    buckets: int = 2  # lengths that batches are padded to
    steps: int = 2500
    learning_rate: float = 5e-3  # at the beginning; it falls to nothing
    seeds: int = 3
    data_dir: str | None = None  # TFDS's; None for its own default
    directory: Path = Path("results/classification")


class Examples(NamedTuple):
    tokens: list[np.ndarray]  # [time] int32 each
    labels: np.ndarray  # [n] int32


class Corpus(NamedTuple):
    train: Examples
    validation: Examples
    test: Examples
    names: tuple[str, ...]  # of the labels
    vocabulary: data.Vocabulary


# Texts


def headers(folder: str | None) -> dict[str, tuple[str, ...]]:
    """The texts of C headers by parts, each file whole in one."""
    root = Path(folder or sysconfig.get_path("include"))
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.h")) if path.is_file()}
    if len(found) < len(PARTS):
        raise ValueError(f"`headers` must be a folder with three C headers or more; {root} has {len(found)}")
    parts = split_whole({name: path.stat().st_size for name, path in found.items()})
    return {part: tuple(found[name].read_text("utf-8", "replace") for name in parts[part]) for part in PARTS}


def snippets(random: np.random.Generator, files: Sequence[str], lengths: np.ndarray) -> list[str]:
    """Pieces of these lengths, each out of a file drawn by its size, from anywhere in it."""
    long = [file for file in files if len(file) >= lengths.max()]
    if not long:
        raise ValueError(f"`lengths` must be within the longest file of every part; got {lengths.max()}")
    sizes = np.array([len(file) for file in long])
    chosen = random.choice(len(long), lengths.size, p=sizes / sizes.sum())
    starts = random.integers(0, sizes[chosen] - lengths + 1)
    return [long[i][start : start + n] for i, start, n in zip(chosen, starts, lengths, strict=True)]


def languages(settings: Settings) -> Corpus:
    def ours(name: str) -> dict[str, tuple[str, ...]]:
        builder = data.corpus(name, settings.data_dir)
        return {part: tuple(record["text"].decode() for record in builder.as_data_source(part)) for part in PARTS}

    texts = (ours("python_source"), headers(settings.headers), ours("python_reference"))
    vocabulary = data.Vocabulary.of("".join(file for text in texts for file in text["train"]), least=RARE)
    random = np.random.default_rng(0)

    def part(name: str) -> Examples:
        count = settings.snippets if name == "train" else settings.tested
        shortest = settings.shortest if name == "train" else settings.lengths[-1]
        pieces = [
            piece
            for text in texts
            for piece in snippets(random, text[name], random.integers(shortest, settings.lengths[-1] + 1, count))
        ]
        labels = np.repeat(np.arange(len(texts), dtype=np.int32), count)
        return Examples([vocabulary.encode(piece) for piece in pieces], labels)

    train, validation, test = map(part, PARTS)
    return Corpus(train, validation, test, LANGUAGES, vocabulary)


def labelled(settings: Settings) -> Corpus:
    """Words; what is beyond the longest of `lengths` is cut off."""
    found = data.labelled(settings.source, settings.data_dir)
    vocabulary = data.Vocabulary.of("\n".join(found.train.texts), "word", settings.vocabulary)
    parts = [
        Examples([vocabulary.encode(text)[: settings.lengths[-1]] for text in part.texts], part.labels)
        for part in found[:3]
    ]
    return Corpus(parts[0], parts[1], parts[2], found.names, vocabulary)


# Models

Ask = Callable[[Examples, Sequence[int]], np.ndarray]
"""A model as `(examples, lengths) -> [runs, lengths, examples, classes]`: log-probabilities after so many tokens."""


def counts(corpus: Corpus, settings: Settings) -> tuple[Ask, int]:
    """By Bayes' rule from an n-gram model of each class; and how many n-grams they keep."""
    models, priors = [], np.bincount(corpus.train.labels, minlength=len(corpus.names))
    for label in range(len(corpus.names)):
        own = [corpus.train.tokens[i] for i in np.flatnonzero(corpus.train.labels == label)]
        models.append(NGram(settings.order, len(corpus.vocabulary)).fit(np.concatenate([*own, np.zeros(0, np.int32)])))

    def ask(examples: Examples, lengths: Sequence[int]) -> np.ndarray:
        scores = np.zeros((1, len(lengths), len(examples.tokens), len(models)), np.float32)
        for i, tokens in enumerate(examples.tokens):
            places = np.minimum(lengths, len(tokens))
            for label, model in enumerate(models):
                sums = np.cumsum([0.0, *model.log_probabilities(tokens)])
                scores[0, :, i, label] = sums[places] + np.log(max(priors[label], 1e-9))
        return np.asarray(jax.nn.log_softmax(scores))

    return ask, sum(model.entries[-1] for model in models)


def network(name: str, corpus: Corpus, settings: Settings) -> Classifier:
    """The untrained classifier of a name."""
    layer, pool = name.split(", ")
    cell = lj.LSTM(settings.embedding, settings.hidden)
    return Classifier(
        Embedding(len(corpus.vocabulary), settings.embedding),
        lj.Bidirectional(cell) if layer.startswith("bidirectional") else lj.Recurrent(cell),
        len(corpus.names),
        pool,
        settings.dropout,
    )


def asked(model: Classifier, params: Any) -> Ask:
    """Trained networks, `params [runs, ...]`, as `Ask` has it."""

    @jax.jit
    def answers(tokens: Any, lengths: Any) -> Any:
        return jax.vmap(lambda params: jax.nn.log_softmax(model(params, tokens, lengths=lengths)))(params)

    def ask(examples: Examples, lengths: Sequence[int]) -> np.ndarray:
        count = len(examples.tokens)
        batches = data.Bucketed([examples.tokens, np.arange(count)], min(256, count), limits=1, seed=None)
        runs = jax.tree.leaves(params)[0].shape[0]
        found = np.zeros((runs, len(lengths), count, model.classes), np.float32)
        for batch in (batches[i] for i in range(len(batches))):
            (tokens, own), places = batch.columns
            for i, length in enumerate(lengths):
                said = np.asarray(answers(jnp.asarray(tokens), jnp.asarray(np.minimum(own, np.int32(length)))))
                found[:, i, places[batch.mask]] = said[:, batch.mask]
        return found

    return ask


def trained(name: str, corpus: Corpus, settings: Settings) -> tuple[Ask, dict[str, Any]]:
    """A model of a name, trained, and what it took."""
    if name == pictures.COUNTS:
        began = time.perf_counter()
        ask, kept = counts(corpus, settings)
        return ask, {"parameters": kept, "seconds": time.perf_counter() - began}
    model = network(name, corpus, settings)
    batches = data.Bucketed([corpus.train.tokens, corpus.train.labels], settings.batch, limits=settings.buckets)

    def loss_fn(params: Any, batch: data.BucketBatch, key: Any) -> Any:
        (tokens, lengths), labels = batch.columns
        logits = model(params, tokens, lengths=lengths, key=key if settings.dropout else None)
        return losses.cross_entropy(logits, labels)

    found = train(
        model,
        loss_fn,
        steps=settings.steps,
        learning_rates=(settings.learning_rate,),
        seeds=settings.seeds,
        directory=folder(settings.directory, name),
        batches=batches.__getitem__,
    )
    return asked(model, found.params), {"parameters": found.parameters, "seconds": found.seconds}


def figures(said: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What log-probabilities `[lengths, examples, classes]` are worth; `confusion` is of the longest, truth first."""
    guess = said.argmax(-1)
    confusion = np.zeros((said.shape[-1],) * 2, np.int64)
    np.add.at(confusion, (labels, guess[-1]), 1)
    by_length = (guess == labels).mean(1).tolist()
    return {"accuracy": by_length[-1], "by_length": by_length, "confusion": confusion.tolist()}


def run(settings: Settings) -> str:
    """Trains what is not trained yet, measures and writes all files; returns the report."""
    lengths = settings.lengths
    wrong = [repr(name) for name in settings.models if name not in pictures.COLOURS]
    if wrong or not settings.models:
        raise ValueError(f"`models` must be among {'; '.join(pictures.COLOURS)}; got {', '.join(wrong) or 'none'}")
    if not lengths or lengths[0] < 1 or list(lengths) != sorted(set(lengths)):
        raise ValueError(f"`lengths` must rise, from 1 or more; got {lengths}")
    if not 1 <= settings.shortest <= lengths[-1]:
        raise ValueError(f"`shortest` must be from 1 to {lengths[-1]}, the last of `lengths`; got {settings.shortest}")
    corpus = languages(settings) if settings.source == "languages" else labelled(settings)
    began = time.perf_counter()
    runs: list[dict[str, Any]] = []
    candidates = pictures.candidates(corpus.test, lengths[-1])
    courses = {}
    for name in settings.models:
        ask, facts = trained(name, corpus, settings)
        validation = ask(corpus.validation, lengths[-1:])[:, 0].argmax(-1)
        for seed, said in enumerate(ask(corpus.test, lengths)):
            right = {"validation": float((validation[seed] == corpus.validation.labels).mean())}
            row = {"seed": seed, **figures(said, corpus.test.labels), **right, **facts}
            runs.append({"task": "classes", "best": True, "variant": name, "lengths": list(lengths), **row})
        if candidates.tokens:
            courses[name] = np.exp(ask(candidates, range(1, len(candidates.tokens[0]) + 1))[0])
    shown = {"classification": pictures.lengths(runs)}
    tables = {
        "Test accuracy by length, medians of seeds": table(pictures.length_rows(runs)),
        "At the longest, medians (ranges) of seeds": table(pictures.model_rows(runs)),
        "What is taken for what: all seeds, at the longest": table(pictures.confusion_rows(runs, corpus.names)),
        "The texts": table(text_rows(corpus, settings)),
    }
    if courses:
        shown["when"] = pictures.when(candidates, courses, corpus)
        tables["When it knows"] = "![probability of the right class, token by token](when.png)\n"
    seconds = time.perf_counter() - began
    caption = "Which language a snippet is" if settings.source == "languages" else "Which class a text is"
    return write(settings, "classification", runs, seconds, shown, caption, tables)


def text_rows(corpus: Corpus, settings: Settings) -> list[dict[str, str]]:
    parts = {"training": corpus.train, "validation": corpus.validation, "test": corpus.test}
    sizes = {f"{name} texts": f"{len(part.tokens):,}" for name, part in parts.items()}
    classes = ", ".join(corpus.names)
    return [{"source": settings.source, "classes": classes, **sizes, "vocabulary": f"{len(corpus.vocabulary):,}"}]


if __name__ == "__main__":
    command(run, Settings)
