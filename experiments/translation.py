"""Sequence to sequence: numbers into words, or dates into ISO dates; sources forward, reversed, and under attention.

    python -m experiments.translation --directory results/translation

Expected, one run each, on 500 numbers of up to 12 digits that were not trained on: read forward 0.63 are exactly right
(BLEU 70.8), reversed 0.84 (89.2), under attention all (100). A beam of 5 brings 0.64, 0.87 and 1. Without attention the
longest numbers suffer most. Written dates are easier: after 3000 steps all three get all 500 right.

    3 0 5 0 0 0 0 1 7 3 1 0    three hundred five billion seventeen thousand three hundred ten

An LSTM reads the source, another, which starts from the carry that the first ends with, writes the target: the source
read forward, reversed, as Sutskever et al. found it better, and forward with Luong's attention. Numbers, and days, are
split by their hash, so that none of a test occurs in training, in whatever form. Targets are written by taking the most
probable word each time, and by beam search; scored by exact match and by BLEU (sacrebleu, of its own words, or of
characters with `--unit character`).

What is trained goes on where it was stopped, and stays: with the same `--directory` a second call only asks it. Dates
written out, character by character; pairs of one's own in a file, source and target with a tab between; and a
translation set of TFDS:

    python -m experiments.translation --source dates --unit character --directory results/dates
    python -m experiments.translation --source pairs.tsv --vocabulary 10000 --directory results/pairs
    python -m experiments.translation --source tfds:ted_hrlr_translate/pt_to_en --vocabulary 10000

References: Sutskever, Vinyals, Le 2014, https://arxiv.org/abs/1409.3215 (reversed sources);
Luong, Pham, Manning 2015, https://arxiv.org/abs/1508.04025 (attention); Post 2018, https://arxiv.org/abs/1804.08771
(sacrebleu)
"""

import dataclasses
import datetime
import hashlib
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax as lj
from experiments import translation_report as pictures
from experiments.report import Runs, command, table, write
from experiments.trained import folder, train
from lstm_jax import losses
from lstm_jax.data import Bucketed, PairedTexts, Pairs, Vocabulary, pairs
from lstm_jax.models import Embedding, EncoderDecoder, beam_search


@dataclasses.dataclass(frozen=True)
class Settings:
    source: str = "numbers"  # or dates, a file with tabs, tfds:NAME
    unit: Literal["character", "word"] = "word"
    vocabulary: int | None = None  # characters or words at most, of each side; None for all
    models: tuple[str, ...] = tuple(pictures.COLOURS)
    digits: int = 12  # of a number, at most
    examples: int = 20_000  # numbers or dates for training
    tested: int = 500  # pairs, at most
    longest: int = 60  # tokens of a source or target; longer pairs are left out
    buckets: int = 3  # of lengths
    embedding: int = 32
    hidden: int = 64
    batch: int = 32
    steps: int = 6000
    learning_rate: float = 5e-3  # at the beginning; it falls to nothing
    width: int = 5  # of the beam
    length_penalty: float = 0.6
    data_dir: Path | None = None  # TFDS's; None for its own default
    directory: Path = Path("results/translation")


# Numbers and dates

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
IRREGULAR |= {"twelve": "twelfth", "twenty": "twentieth", "thirty": "thirtieth"}
FORMS = (
    "{number} {month} {year}",
    "{month} {number}, {year}",
    "{month} {ordinal}, {year}",
    "{weekday}, {number} {month} {year}",
    "on {weekday}, the {ordinal} of {month} {year}",
    "the {spelled} of {month}, {year}",
    "{month} the {spelled}, {year_spelled}",
    "the {spelled} of {month}, {year_spelled}",
    "on {weekday}, the {spelled} of {month}, {year_spelled}",
)
FIRST, DAYS = datetime.date(1900, 1, 1), 73049  # to the end of 2099


def cardinal(n: int) -> str:
    """In words, 0 to 99."""
    return ONES[n] if n < 20 else TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")


def spelled(n: int) -> str:
    """The ordinal number in words, 1 to 31."""
    before, dash, last = cardinal(n).rpartition("-")
    return before + dash + IRREGULAR.get(last, f"{last}th")


def ordinal(n: int) -> str:
    return f"{n}{'th' if 10 <= n % 100 <= 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def number_in_words(n: int) -> str:
    """Below 10^12, as Americans read it."""
    words = []
    for scale, name in ((10**9, ["billion"]), (10**6, ["million"]), (1000, ["thousand"]), (1, [])):
        hundreds, rest = divmod(n // scale % 1000, 100)
        own = [ONES[hundreds], "hundred"] if hundreds else []
        own += [cardinal(rest)] if rest else []
        words += own + name if own else []
    return " ".join(words) or "zero"


def numbers(examples: int, tested: int, digits: int) -> Pairs:
    """Different numbers of up to so many digits, every count of digits as often; a source has blanks between them."""
    if not 4 <= digits <= 12:
        raise ValueError(f"`digits` must be from 4 to 12; got {digits}")
    if min(examples, tested) < 1 or max(examples, 20 * tested) > 10**digits // 4:
        name, count = ("tested", tested) if tested < 1 or 20 * tested > examples else ("examples", examples)
        raise ValueError(f"`{name}` must be at least 1, and leave numbers of {digits} digits over; got {count}")
    rng = np.random.default_rng(0)
    wanted = {"train": examples, "validation": tested, "test": tested}
    parts: dict[str, dict[str, str]] = {part: {} for part in wanted}
    while any(len(parts[part]) < count for part, count in wanted.items()):
        length = int(rng.integers(1, digits + 1))
        number = int(rng.integers(10 ** (length - 1) if length > 1 else 0, 10**length))
        target, part = number_in_words(number), part_of(str(number))
        if len(parts[part]) < wanted[part]:
            parts[part][" ".join(str(number))] = target
    return Pairs(*(PairedTexts(list(part), list(part.values())) for part in parts.values()))


def year_in_words(year: int) -> str:
    """As years are read, 1900 to 2099."""
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return f"two thousand and {cardinal(rest)}" if rest else "two thousand"
    tail = "hundred" if not rest else cardinal(rest) if rest >= 10 else f"oh {cardinal(rest)}"
    return f"{cardinal(century)} {tail}"


def written(day: datetime.date, form: str) -> str:
    return form.format(
        number=day.day,
        ordinal=ordinal(day.day),
        spelled=spelled(day.day),
        month=MONTHS[day.month - 1],
        year=day.year,
        year_spelled=year_in_words(day.year),
        weekday=WEEKDAYS[day.weekday()],
    )


def part_of(value: str) -> str:
    """Where a number or a date belongs, in whatever form: train, or in one of 20 cases each validation or test."""
    return {0: "validation", 1: "test"}.get(hashlib.sha256(value.encode()).digest()[0] % 20, "train")


def dates(examples: int, tested: int) -> Pairs:
    """Days drawn without replacement, each in a form of its own draw: `examples` for training, `tested` for tests."""
    rng = np.random.default_rng(0)
    days = [FIRST + datetime.timedelta(int(i)) for i in rng.permutation(DAYS)]
    parts = []
    for part, count in (("train", examples), ("validation", tested), ("test", tested)):
        own = [day for day in days if part_of(day.isoformat()) == part]
        if not 1 <= count <= len(own):
            name = "examples" if part == "train" else "tested"
            raise ValueError(f"`{name}` must be from 1 to {len(own)}, the dates of {part}; got {count}")
        chosen = own[:count]
        sources = [written(day, FORMS[rng.integers(len(FORMS))]) for day in chosen]
        parts.append(PairedTexts(sources, [day.isoformat() for day in chosen]))
    return Pairs(*parts)


# Training and translating


class Corpus(NamedTuple):
    parts: Pairs
    source: Vocabulary
    target: Vocabulary

    @property
    def end(self) -> int:
        """The token that begins and ends a target: one more than the vocabulary has."""
        return len(self.target)

    def encode(self, part: PairedTexts) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Sources, and targets with their end."""
        stop = np.array([self.end], np.int32)
        targets = [np.concatenate([self.target.encode(text), stop]) for text in part.targets]
        return [self.source.encode(text) for text in part.sources], targets


def read(settings: Settings) -> Corpus:
    if settings.source == "dates":
        parts = dates(settings.examples, settings.tested)
    elif settings.source == "numbers":
        parts = numbers(settings.examples, settings.tested, settings.digits)
    else:
        parts = pairs(settings.source, settings.data_dir)
        parts = parts._replace(test=PairedTexts(*(column[: settings.tested] for column in parts.test)))
    joint = " " if settings.unit == "word" else ""
    vocabularies = [Vocabulary.of(joint.join(texts), settings.unit, settings.vocabulary) for texts in parts.train]
    return Corpus(parts, *vocabularies)


def network(name: str, corpus: Corpus, settings: Settings) -> EncoderDecoder:
    size, hidden = settings.embedding, settings.hidden
    return EncoderDecoder(
        Embedding(len(corpus.source), size),
        Embedding(len(corpus.target) + 1, size),
        lj.Recurrent(lj.LSTM(size, hidden), reverse=name == "reversed"),
        lj.Recurrent(lj.LSTM(size, hidden)),
        attention="general" if name == "attention" else None,
    )


def begun(targets: Any, end: int) -> Any:
    """What a decoder reads to write `targets [time, batch]`."""
    return jnp.concatenate([jnp.full_like(targets[:1], end), targets[:-1]])


def loss_of(model: EncoderDecoder, end: int) -> Any:
    def loss_fn(params: Any, batch: Any, _: Any) -> Any:
        source, target = batch
        lengths = {"source_lengths": source.lengths, "target_lengths": target.lengths}
        logits = model(params, source.values, begun(target.values, end), **lengths)
        counts = jnp.arange(len(target.values), dtype=jnp.int32)[:, None] < target.lengths
        return losses.cross_entropy(logits, target.values, counts)

    return loss_fn


def columns(batch: Any, steps: int) -> Any:
    """Source and target of a bucket, the target as long as any is: both were padded to the longer of the two."""
    source, target = batch.columns
    return source, target._replace(values=target.values[:steps])


@partial(jax.jit, static_argnums=(0, 3, 4, 5, 6))
def decoded(
    model: EncoderDecoder, params: Any, source: Any, end: int, steps: int, width: int, length_penalty: float
) -> Any:
    """The best targets that a beam finds, `[batch, steps]`, and their lengths, the end counted."""
    state = model.start(params, source.values, source.lengths)
    first = jnp.full(source.lengths.shape, end, jnp.int32)
    beams = beam_search(partial(model.step, params), state, first, width, steps, end, length_penalty)
    return beams.tokens[:, 0], beams.lengths[:, 0]


def translate(model: EncoderDecoder, params: Any, corpus: Corpus, settings: Settings, width: int) -> list[str]:
    """The test sources' translations, bucket by bucket, in the order of the test."""
    sources, targets = corpus.encode(corpus.parts.test)
    steps = min(max(map(len, targets)), settings.longest) + 5
    index = np.arange(len(sources), dtype=np.int32)
    limits = sorted({*np.quantile([len(x) for x in sources], (0.5, 1), method="higher").astype(int).tolist()})
    batches = Bucketed((sources, index), min(100, len(sources)), limits=[max(n, 1) for n in limits], seed=None)
    found = {}
    for i in range(len(batches)):
        (source, places), mask = batches[i]
        tokens, lengths = map(
            np.asarray, decoded(model, params, source, corpus.end, steps, width, settings.length_penalty)
        )
        for place, own, length, real in zip(places, tokens, lengths, mask, strict=True):
            own = own[:length]
            if real:
                found[int(place)] = corpus.target.decode(own[own != corpus.end])
    return [found[i] for i in range(len(sources))]


def scores(found: Sequence[str], right: Sequence[str], unit: str) -> dict[str, float]:
    """The share of exact matches, and BLEU, 0 to 100."""
    try:
        import sacrebleu
    except ImportError as error:
        raise ImportError("BLEU needs sacrebleu: pip install 'lstm_jax[text]'") from error
    # "Force": dates are no sentences, and need no warning that they have no full stop.
    options: Any = {"tokenize": "char" if unit == "character" else "13a", "force": True}
    bleu = sacrebleu.corpus_bleu(list(found), [list(right)], **options).score
    return {"exact": float(np.mean([a == b for a, b in zip(found, right, strict=True)])), "bleu": bleu}


def of_network(name: str, corpus: Corpus, settings: Settings) -> tuple[list[dict[str, Any]], Any]:
    """A network's figures by greedy and by beam search, and its parameters."""
    model = network(name, corpus, settings)
    encoded = corpus.encode(corpus.parts.train)
    steps = min(max(map(len, encoded[1])), settings.longest)
    kept = [max(len(s), len(t)) <= settings.longest and len(s) > 0 for s, t in zip(*encoded, strict=True)]
    if sum(kept) < settings.batch:
        expected = f"{settings.batch} training pairs, a batch, of at most `longest` {settings.longest} tokens"
        raise ValueError(f"`source` must have {expected}; got {sum(kept)}")
    data = Bucketed(
        [[x for x, keep in zip(column, kept, strict=True) if keep] for column in encoded],
        settings.batch,
        limits=settings.buckets,
    )
    trained = train(
        model,
        loss_of(model, corpus.end),
        steps=settings.steps,
        learning_rates=(settings.learning_rate,),
        seeds=1,
        directory=folder(settings.directory, name),
        batches=lambda position: columns(data[position], steps),
    )
    params = jax.tree.map(lambda x: x[0], trained.params)
    facts = {"parameters": sum(x.size for x in jax.tree.leaves(params)), "seconds": trained.seconds}
    runs = []
    for search, width in (("greedy", 1), (f"beam of {settings.width}", settings.width)):
        found = translate(model, params, corpus, settings, width)
        figures = scores(found, corpus.parts.test.targets, settings.unit)
        runs.append({"task": "translation", "variant": name, "search": search, **figures, **facts, "found": found})
    return runs, params


def run(settings: Settings) -> str:
    """Trains what is not trained yet, translates the test and writes all files; returns the report."""
    if not settings.models or not set(settings.models) <= set(pictures.COLOURS):
        raise ValueError(
            f"`models` must be one or more of {', '.join(map(repr, pictures.COLOURS))}; got {settings.models!r}"
        )
    if settings.width < 1:
        raise ValueError(f"`width` must be at least one; got {settings.width}")
    began = time.perf_counter()
    corpus = read(settings)
    runs: Runs = []
    weights = None
    for name in settings.models:
        own, params = of_network(name, corpus, settings)
        runs += own
        if name == "attention":
            weights = attended(network(name, corpus, settings), params, corpus, settings)
    seconds = time.perf_counter() - began
    tables = {"Test": table(pictures.rows(runs)), "Examples": table(pictures.examples(runs, corpus))}
    shown = {"translation": pictures.plot(runs, corpus, weights)}
    return write(settings, "translation", runs, seconds, shown, "Sequence to sequence, and what attention adds", tables)


def attended(
    model: EncoderDecoder, params: Any, corpus: Corpus, settings: Settings
) -> tuple[list[str], list[str], Any]:
    """The tokens of the test's longest pair within limits, and how much of each source token each target token read."""
    encoded = list(zip(*corpus.encode(corpus.parts.test), strict=True))
    fits = [pair for pair in encoded if max(map(len, pair)) <= settings.longest] or encoded[:1]
    source, target = max(fits, key=lambda pair: len(pair[0]))
    weights = model.weights(params, jnp.asarray(source)[:, None], begun(jnp.asarray(target)[:, None], corpus.end))
    written = [*(corpus.target.tokens[i] for i in target[:-1]), "end"]
    return [corpus.source.tokens[i] for i in source], written, np.asarray(weights[:, 0])


if __name__ == "__main__":
    command(run, Settings)
