"""What every character of Python source is: taggers that see what comes before, or what comes after as well.

    python -m experiments.tagging --directory results/tagging

EXPECTED (Python 3.11.7's library, medians of three seeds; 350 s of CPU time)

    most frequent tag        0.599 of unseen characters right, 0.502 of whole tokens
    LSTM                     0.950                             0.920
    LSTM, CRF                0.963                             0.963
    bidirectional LSTM       0.988                             0.979
    bidirectional LSTM, CRF  0.988                             0.985

What comes after counts for most: at the first character of an example, where nothing has come before, the LSTM has 39%
wrong and the bidirectional one 4%, and a word that begins like a keyword is taken for one until it goes on. The CRF
makes up for part of that, since its best labelling is sought over the whole example; beside a second direction it only
mends broken tokens.

The text is the standard library's own source, the truth its own tokenizer's: strings, comments, keywords, numbers,
names, operators, blanks. Every file is whole in one part; examples are stretches of it that may begin inside a string
or a comment, which only shows later or never. A token is right where a stretch of one class, other than blanks, begins
and ends where it should. The count gives every character its most frequent class. `tagging.html` is a piece of a test
file as two of the taggers read it, tagged in one go, in colours, with the errors marked.

Named entities, as words, from files in CoNLL's columns or from TFDS, judged by seqeval (`pip install lstm_jax[text]`):

    python -m experiments.tagging --source tfds:conll2003 --hidden 100 --dropout 0.5 --directory results/conll2003

Words seen less than `least` times in training are known by their shape alone: `Xx` for "Paris", `0-0` for "12-7".
What is trained goes on where it was stopped, and stays: with the same `--directory` a second call only asks it.

References: Graves and Schmidhuber 2005, https://doi.org/10.1016/j.neunet.2005.06.042 (bidirectional LSTM); Huang, Xu,
Yu 2015, https://arxiv.org/abs/1508.01991 (and a CRF); Tjong Kim Sang and De Meulder 2003,
https://aclanthology.org/W03-0419 (CoNLL-2003); Nakayama 2018, https://github.com/chakki-works/seqeval
"""

import dataclasses
import importlib
import io
import keyword
import re
import time
import tokenize
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax as lj
from experiments import tagging_report as pictures
from experiments.report import command, table, write
from experiments.trained import folder, train
from lstm_jax import data
from lstm_jax.models import Embedding, Tagger

TAGS = ("space", "name", "keyword", "number", "operator", "string", "comment")
CHARACTERS = "python_source"
COUNT = "most frequent tag"
RARE = 10  # characters seen less often are unknown
SHOWN = 60  # lines of source, or sentences, in the HTML file


@dataclasses.dataclass(frozen=True)
class Settings:
    source: str = CHARACTERS  # or words: tfds:conll2003, a file or a folder in CoNLL's columns
    models: tuple[str, ...] = pictures.MODELS
    window: int = 160  # characters of an example
    least: int = 2  # words seen less often are known by their shape
    embedding: int = 32
    hidden: int = 64  # units of each direction
    dropout: float = 0.0
    batch: int = 32
    steps: int = 1500
    learning_rate: float = 5e-3  # at the beginning; it falls to nothing
    seeds: int = 3
    data_dir: str | None = None  # TFDS's; None for its own default
    directory: Path = Path("results/tagging")


class Examples(NamedTuple):
    tokens: list[np.ndarray]  # [time] int32 each
    tags: list[np.ndarray]  # [time] int32 each


class Corpus(NamedTuple):
    train: Examples
    validation: Examples
    test: Examples
    shown: Examples  # of the test part, for the HTML file
    words: list[list[str]]  # of `shown`
    names: tuple[str, ...]  # of the tags
    vocabulary: int  # its size


# Characters


def tag(source: str) -> np.ndarray:
    """Returns the tag of every character, `[characters]` int32."""
    tags = np.zeros(len(source), np.int32)
    starts = np.cumsum([0, *map(len, io.StringIO(source))])  # of its lines, as the tokenizer counts them
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        (row, column), (last_row, last_column) = token.start, token.end
        name = tokenize.tok_name[token.type]
        if name == "NAME":
            kind = "keyword" if keyword.iskeyword(token.string) else "name"
        else:
            kind = {"NUMBER": "number", "OP": "operator", "COMMENT": "comment"}.get(name, "space")
            kind = "string" if "STRING" in name else kind  # from Python 3.12 on, f-strings come in parts
        if kind != "space":
            tags[starts[row - 1] + column : starts[last_row - 1] + last_column] = TAGS.index(kind)
    return tags


def characters(settings: Settings) -> Corpus:
    """Stretches of `window` characters; what is left at a file's end is dropped."""
    builder = data.corpus(CHARACTERS, settings.data_dir)
    parts = [[r["text"].decode() for r in builder.as_data_source(part)] for part in ("train", "validation", "test")]
    vocabulary = data.Vocabulary.of("".join(parts[0]), least=RARE)

    def windows(files: list[str]) -> Examples:
        examples = Examples([], [])
        for file in files:
            for found, ids in zip(examples, (vocabulary.encode(file), tag(file)), strict=True):
                found.extend(ids[: len(ids) // settings.window * settings.window].reshape(-1, settings.window))
        if not examples.tokens:
            raise ValueError(f"`window` must be within the longest file; got {settings.window}")
        return examples

    lines = max((piece for file in parts[2] for piece in _pieces(file)), key=lambda piece: piece[0])[1]
    text = "".join(lines[0])
    shown = Examples([vocabulary.encode(text)], [lines[1]])
    train, validation, test = map(windows, parts)
    return Corpus(train, validation, test, shown, [list(text)], TAGS, len(vocabulary))


def _pieces(file: str) -> list[tuple[int, tuple[list[str], np.ndarray]]]:
    """A file's lines and their tags in pieces of SHOWN, each with how many characters its rarest tag has."""
    lines, tags = list(io.StringIO(file)), tag(file)
    ends = np.cumsum([0, *map(len, lines)])
    starts = range(0, max(1, len(lines) - SHOWN + 1), SHOWN // 4)
    cut = [(lines[i : i + SHOWN], tags[ends[i] : ends[min(i + SHOWN, len(lines))]]) for i in starts]
    return [(int(np.bincount(own, minlength=len(TAGS)).min()), (piece, own)) for piece, own in cut]


def whole_tokens(truth: Sequence[np.ndarray], guess: Sequence[np.ndarray]) -> float:
    """The share of stretches of one tag, other than 0, that begin and end in `guess` where they do in `truth`."""

    def stretches(tags: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        line = np.concatenate([np.append(own, -1) for own in tags])  # nothing goes on from one example into the next
        starts = np.flatnonzero(np.diff(line, prepend=-1))
        return starts, np.append(starts[1:], line.size), line[starts]

    found = set(zip(*(x.tolist() for x in stretches(guess)), strict=True))
    wanted = [one for one in zip(*(x.tolist() for x in stretches(truth)), strict=True) if one[2] > 0]
    return sum(one in found for one in wanted) / max(1, len(wanted))


def of_characters(truth: Sequence[np.ndarray], guess: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, Any]:
    """Whole tokens, and F1 of every class, over characters."""
    right, said = np.concatenate(truth), np.concatenate(guess)
    hits = np.bincount(right[right == said], minlength=len(names))
    total = np.bincount(right, minlength=len(names)) + np.bincount(said, minlength=len(names))
    return {
        "spans": whole_tokens(truth, guess),
        "classes": dict(zip(names, (2 * hits / np.maximum(total, 1)).tolist(), strict=True)),
    }


# Words


def shape(word: str) -> str:
    """Upper case as X, lower case as x, digits as 0, everything else as it is, and each but once in a row."""
    signs = ("X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in word)
    return f"<{''.join(sign for sign, _ in groupby(signs))}>"


def words(settings: Settings) -> Corpus:
    """Sentences, in which rare words are replaced by their shapes."""
    found = data.tagged(settings.source, settings.data_dir)
    if strange := [name for name in found.names if not re.fullmatch("O|[BIES]-.+", name)]:
        raise ValueError(f"`source`: tags must be O, B-X or I-X, as of spans; {settings.source} has {strange[0]!r}")
    counts = Counter(word for sentence in found.train.tokens for word in sentence)

    def known(sentence: list[str]) -> list[str]:
        return [word if counts[word] >= settings.least else shape(word) for word in sentence]

    seen = [word for sentence in found.train.tokens for word in known(sentence)]
    vocabulary = data.Vocabulary.of(seen, "word")
    parts = [Examples([vocabulary.encode(known(s)) for s in part.tokens], part.tags) for part in found[:3]]
    shown = Examples(parts[2].tokens[:SHOWN], parts[2].tags[:SHOWN])
    return Corpus(parts[0], parts[1], parts[2], shown, found.test.tokens[:SHOWN], found.names, len(vocabulary))


def of_words(truth: Sequence[np.ndarray], guess: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, Any]:
    """F1 of entities, in all and of every type, by seqeval: right where all its words and its type are."""
    try:
        metrics: Any = importlib.import_module("seqeval.metrics")
    except ImportError as error:
        raise ImportError("F1 of spans needs seqeval: pip install 'lstm_jax[text]'") from error
    right, said = ([[names[i] for i in own] for own in part] for part in (truth, guess))
    report = metrics.classification_report(right, said, zero_division=0, output_dict=True)
    types = sorted({name[2:] for name in names if name != "O"})
    classes = {name: float(report[name]["f1-score"]) if name in report else 0.0 for name in types}
    return {"spans": float(report["micro avg"]["f1-score"]), "classes": classes}


# Models


def network(name: str, corpus: Corpus, settings: Settings) -> Tagger:
    """The untrained tagger of a name."""
    cell = lj.LSTM(settings.embedding, settings.hidden)
    layer = lj.Bidirectional(cell) if name.startswith("bidirectional") else lj.Recurrent(cell)
    embedding = Embedding(corpus.vocabulary, settings.embedding)
    return Tagger(embedding, layer, len(corpus.names), crf=name.endswith("CRF"), dropout=settings.dropout)


def counted(corpus: Corpus) -> np.ndarray:
    """The most frequent tag of every token in training, `[vocabulary]` int32."""
    counts = np.zeros((corpus.vocabulary, len(corpus.names)), np.int64)
    np.add.at(counts, (np.concatenate(corpus.train.tokens), np.concatenate(corpus.train.tags)), 1)
    counts[counts.sum(1) == 0] = counts.sum(0)
    return counts.argmax(1).astype(np.int32)


def predict(model: Tagger, params: Any, examples: Examples) -> list[list[np.ndarray]]:
    """The tags that each run gives to each example, by runs."""

    @jax.jit
    def ask(tokens: Any, lengths: Any) -> Any:
        return jax.vmap(lambda params: model.predict(params, tokens, lengths=lengths))(params)

    order = np.arange(len(examples.tokens))
    batches = data.Bucketed([examples.tokens, order], min(256, len(order)), seed=None)
    runs = jax.tree.leaves(params)[0].shape[0]
    found: list[list[Any]] = [[None] * len(order) for _ in range(runs)]
    for batch in (batches[i] for i in range(len(batches))):
        (tokens, lengths), places = batch.columns
        said = np.asarray(ask(jnp.asarray(tokens), jnp.asarray(lengths)))
        for i in np.flatnonzero(batch.mask):
            for run in range(runs):
                found[run][places[i]] = said[run, : lengths[i], i]
    return found


def of_network(name: str, corpus: Corpus, settings: Settings) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """A row for each seed, and what the first one says of the examples shown."""
    model = network(name, corpus, settings)
    batches = data.Bucketed(list(corpus.train), settings.batch)

    def loss_fn(params: Any, batch: data.BucketBatch, key: Any) -> Any:
        (tokens, lengths), (tags, _) = batch.columns
        return model.loss(params, tokens, tags, lengths=lengths, key=key if settings.dropout else None)

    trained = train(
        model,
        loss_fn,
        steps=settings.steps,
        learning_rates=(settings.learning_rate,),
        seeds=settings.seeds,
        directory=folder(settings.directory, name),
        batches=batches.__getitem__,
    )
    facts = {"parameters": trained.parameters, "seconds": trained.seconds}
    validation, test = (predict(model, trained.params, part) for part in (corpus.validation, corpus.test))
    rows = [
        {"variant": name, "seed": seed, **figures(corpus, settings, *said), **facts}
        for seed, said in enumerate(zip(validation, test, strict=True))
    ]
    return rows, predict(model, trained.params, corpus.shown)[0]


def figures(corpus: Corpus, settings: Settings, validation: list[np.ndarray], test: list[np.ndarray]) -> dict[str, Any]:
    """What is measured of one run's tags; `errors` is their share among the test tokens at each place."""
    wrong = [said != right for said, right in zip(test, corpus.test.tags, strict=True)]
    places = np.concatenate([np.arange(own.size) for own in wrong])
    errors = np.bincount(places, np.concatenate(wrong)) / np.bincount(places)
    valid = np.concatenate(validation) == np.concatenate(corpus.validation.tags)
    judge = of_characters if settings.source == CHARACTERS else of_words
    return {
        "accuracy": 1 - float(np.concatenate(wrong).mean()),
        "validation": float(valid.mean()),
        **judge(corpus.test.tags, test, corpus.names),
        "errors": errors.tolist(),
    }


def run(settings: Settings) -> str:
    """Trains what is not trained yet, measures and writes all files; returns the report."""
    if unknown := [name for name in settings.models if name not in pictures.MODELS]:
        raise ValueError(f"`models` must be among {', '.join(pictures.MODELS)}; got {unknown[0]!r}")
    corpus = characters(settings) if settings.source == CHARACTERS else words(settings)
    began = time.perf_counter()
    table_of = counted(corpus)
    said = [[table_of[ids] for ids in part.tokens] for part in (corpus.validation, corpus.test)]
    runs: list[dict[str, Any]] = [{"variant": COUNT, "seed": 0, **figures(corpus, settings, *said)}]
    runs[0] |= {"parameters": table_of.size, "seconds": 0.0}
    shown = {}
    for name in settings.models:
        rows, shown[name] = of_network(name, corpus, settings)
        runs += rows
    runs = [{"task": "tagging", "best": True, **row} for row in runs]
    between = "" if settings.source == CHARACTERS else " "
    parts = {"training": corpus.train, "validation": corpus.validation, "test": corpus.test}
    sizes = {f"{name} tokens": f"{sum(map(len, part.tokens)):,}" for name, part in parts.items()}
    tables = {
        "Test part, medians (ranges) of seeds": table(pictures.model_rows(runs)),
        "F1 of each class, medians of seeds": table(pictures.class_rows(runs)),
        "The text": table([{"source": settings.source, **sizes, "vocabulary": str(corpus.vocabulary)}]),
    }
    if shown:
        settings.directory.mkdir(parents=True, exist_ok=True)
        pictures.write_html(settings.directory / "tagging.html", corpus, shown, between)
    seconds = time.perf_counter() - began
    caption = "What every character is" if settings.source == CHARACTERS else "Named entities"
    return write(settings, "tagging", runs, seconds, {"tagging": pictures.panels(runs)}, caption, tables)


if __name__ == "__main__":
    command(run, Settings)
