"""What each part of the LSTM is worth: the vanilla peephole LSTM and eight variants of it (Greff et al. 2015).

    python -m experiments.lstm_variants --directory results/lstm_variants

Expected: on text, trained as in the paper, its findings: the output activation and the forget gate matter most, CIFG
and NP cost nothing. In bits a character, vanilla has 3.02, NIAF 3.00, CIFG 3.03, NP 3.08, FGR 3.29, NIG 3.31, NOG 3.60,
NFG 3.69 (as far as five seeds tell, no worse than NOG), all at the highest rate tried, 1 (NOG 0.3). What NOAF cannot
have is a high rate: of five networks three explode at 0.1, the best by the mean of errors cut off at chance (median
26.7), and all at 0.3 and 1. Clipping makes up for it: with clipped Adam NOAF has 2.64 beside vanilla's 2.88.
By that optimizer, what matters depends on the task: on the stream NFG comes off worst (one network of 5 perfect, one
that fails at once; vanilla 3 perfect, all good), then FGR; on adding NIG (error 0.0068 against vanilla's 0.0005; chance
0.167), where NFG costs nothing and CIFG is far the best (0.00004). Five networks each: 3 perfect or 2 is no difference.
11 minutes on 2 CPU cores.

NIG, NFG, NOG are without input, forget or output gate; NIAF, NOAF without input or output activation; NP without
peepholes; CIFG has the input gate 1 - f; in FGR the gates see each other's last values. The paper's tasks are speech,
handwriting and music, and its optimizer Nesterov's SGD with momentum 0.9, which clips nothing, as here on text. The
other two, by clipped Adam, are small, and show single parts in use: an endless stream asks for forgetting, adding for a
choice of what to write. A variant's learning rate is the one with the lowest error on validation sequences, mean over
seeds, errors above chance counting as chance.

References: Greff et al. 2015, https://arxiv.org/abs/1503.04069
"""

import dataclasses
import functools
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from matplotlib.ticker import NullLocator

import lstm_jax as lj
from experiments.continual_reber import REBER, on_streams, plot_reach, stream_rows
from experiments.report import by_variant, command, dots, error_rows, figure, level, spread, table, write
from experiments.runs import Runs, every_run, on_sequences
from lstm_jax import data
from lstm_jax.tasks import Adding, Batch, ContinualReber
from lstm_jax.tasks.base import StepwiseClassification

TEXT = "text"
CLIPPED = f"{TEXT}, clipped Adam"


@dataclasses.dataclass(frozen=True)
class Settings:
    hidden: int = 8  # units
    seeds: int = 5  # independent runs of each variant and learning rate, trained at once
    learning_rates: tuple[float, ...] = (0.01, 0.03, 0.1)  # at the beginning; they fall to nothing
    steps: int = 1500  # training steps on Reber streams, as in `continual_reber`
    window: int = 50  # symbols
    streams: int = 8  # read at once
    limit: int = 100_000  # symbols of a test stream
    adding_length: int = 30  # steps of a sequence
    adding_steps: int = 2000  # training steps
    adding_batch: int = 16  # fresh sequences a step
    adding_tested: int = 1000  # sequences for validation, and as many for the test
    text: str = "python_reference"  # or a file, a folder, tfds:NAME
    text_hidden: int = 32  # units
    text_rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)  # of Nesterov's SGD; they fall to nothing
    text_steps: int = 1000  # training steps
    text_batch: int = 16  # passages a step
    text_length: int = 50  # characters of a passage
    text_tested: int = 200  # passages for validation, and as many for the test
    directory: Path = Path("results/lstm_variants")


def variants(input_size: int, hidden: int) -> dict[str, lj.Cell]:
    def without(**options: Any) -> lj.Cell:
        return lj.PeepholeLSTM(input_size, hidden, **options)

    return {
        "vanilla": lj.PeepholeLSTM(input_size, hidden),
        "NIG": without(open_gates=("i",)),
        "NFG": without(open_gates=("f",)),
        "NOG": without(open_gates=("o",)),
        "NIAF": without(input_activation="identity"),
        "NOAF": without(output_activation="identity"),
        "NP": without(peepholes=False),
        "CIFG": without(coupled=True),
        "FGR": lj.FullGateLSTM(input_size, hidden),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Passages(StepwiseClassification):
    """Passages of a text, each character to be told from those before it; errors in bits a character."""

    ids: jax.Array  # [characters] int32
    length: int
    symbols: int
    entropy: float  # bits of a guess by the characters' frequencies alone

    @property
    def time(self) -> int:
        return self.length

    @property
    def input_size(self) -> int:
        return self.symbols

    @property
    def output_size(self) -> int:
        return self.symbols

    @property
    def chance(self) -> float:
        return self.entropy

    def generate(self, key: jax.Array, batch_size: int, dtype: Any) -> Batch:
        begin = jax.random.randint(key, (batch_size,), 0, self.ids.size - self.length)
        ids = self.ids[begin + jnp.arange(self.length + 1, dtype=jnp.int32)[:, None]]
        return Batch(jax.nn.one_hot(ids[:-1], self.symbols, dtype=dtype), ids[1:], jnp.ones(ids[1:].shape, bool))

    def error(self, outputs: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
        return self.loss(outputs, targets, mask) / math.log(2)


def passages(settings: Settings) -> tuple[Passages, Passages, Passages]:
    """Those of the training, validation and test text."""
    found = data.text(settings.text)
    vocabulary = data.Vocabulary.of(found.train)
    total = sum(vocabulary.counts)
    entropy = -sum(n / total * math.log2(n / total) for n in vocabulary.counts if n)

    def part(text: str) -> Passages:
        ids = jnp.asarray(vocabulary.encode(text))
        if ids.size <= settings.text_length:
            raise ValueError(
                f"`text_length`: expected less than the {ids.size} characters of a part of {settings.text}, got "
                f"{settings.text_length}"
            )
        return Passages(ids, settings.text_length, len(vocabulary), entropy)

    return part(found.train), part(found.validation), part(found.test)


nesterov = functools.partial(optax.sgd, momentum=0.9, nesterov=True)
"""The paper's optimizer, which clips nothing."""


def run(settings: Settings) -> str:
    """Trains the variants and writes all files; returns the report."""
    adding, (train, validation, test) = Adding(settings.adding_length), passages(settings)
    steps, batch, tested = settings.adding_steps, settings.adding_batch, settings.adding_tested
    seeds = settings.learning_rates, settings.seeds
    budget = {"steps": settings.text_steps, "batch": settings.text_batch, "tested": settings.text_tested}
    began, runs = time.perf_counter(), []
    for name, cell in variants(ContinualReber.input_size, settings.hidden).items():
        runs += every_run(on_streams(cell, settings), *seeds, task=REBER, variant=name)
    for name, cell in variants(adding.input_size, settings.hidden).items():
        one = on_sequences(cell, adding, adding, steps=steps, batch=batch, tested=tested)
        runs += every_run(one, *seeds, task="adding", variant=name, chance=adding.chance)
    for name, cell in variants(train.input_size, settings.text_hidden).items():
        one = functools.partial(on_sequences, cell, train, test, validation_task=validation, **budget)
        labels = {"variant": name, "chance": train.chance}
        runs += every_run(one(optimizer=nesterov), settings.text_rates, settings.seeds, task=TEXT, **labels)
        if name in ("vanilla", "NOAF"):
            runs += every_run(one(), *seeds, task=CLIPPED, **labels)
    seconds = time.perf_counter() - began
    tables = {
        "Continual embedded Reber grammar": table(stream_rows(runs)),
        f"Adding, {adding.length} steps (chance {adding.chance:.3f})": table(error_rows(runs, "adding")),
        f"Text (by frequency alone {train.chance:.2f} bits a character)": table(text_rows(runs)),
    }
    caption = "What each part of the LSTM is worth"
    return write(settings, "lstm_variants", runs, seconds, {"lstm_variants": plot(runs, settings)}, caption, tables)


def text_rows(runs: Runs) -> list[dict[str, str]]:
    """One row a variant and optimizer, at the best learning rate."""
    return [
        {
            "variant": variant,
            "trained by": optimizer,
            "learning rate": f"{own[0]['learning_rate']:g}",
            "bits a character, median (range) of seeds": spread([run["error"] for run in own], ".3g"),
        }
        for task, optimizer in ((TEXT, "Nesterov's SGD"), (CLIPPED, "clipped Adam"))
        for variant, own in by_variant(runs, task).items()
    ]


def plot(runs: Runs, settings: Settings) -> Any:
    """How far streams come, and the errors on adding and on text."""
    made, (above, below, text) = figure(3, 1, size=(9, 11.2))
    groups = by_variant(runs, REBER)
    colours = ["black"] + ["#0b5fa5"] * (len(groups) - 1)
    plot_reach(above, groups, colours, settings.limit)
    above.set_title(f"Continual Reber grammar, {settings.hidden} units, a dot a network: higher is better")
    groups = by_variant(runs, "adding")
    dots(below, list(groups), [[run["error"] for run in own] for own in groups.values()], colours)
    level(below, groups["vanilla"][0]["chance"], "chance")
    below.set_ylabel(f"mean squared error,\n{settings.adding_tested} unseen sequences")
    below.set_title(
        f"Adding, {settings.adding_length} steps, {settings.hidden} units, a dot a network: lower is better"
    )
    groups = by_variant(runs, TEXT)
    dots(text, list(groups), [[run["error"] for run in own] for own in groups.values()], colours)
    level(text, groups["vanilla"][0]["chance"], "frequency\nalone")
    text.set_yticks([3, 4, 6, 10, 20, 50], ["3", "4", "6", "10", "20", "50"])
    text.yaxis.set_minor_locator(NullLocator())
    text.set_ylabel(f"bits a character,\n{settings.text_tested} unseen passages")
    text.set_title(f"Text, {settings.text_hidden} units, the paper's optimizer, a dot a network: lower is better")
    return made


if __name__ == "__main__":
    command(run, Settings)
