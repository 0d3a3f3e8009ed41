"""What each part of the LSTM is worth: the vanilla peephole LSTM and eight variants of it (Greff et al. 2015).

    python -m experiments.lstm_variants --directory results/lstm_variants

Expected: on the stream NFG comes off worst (one network of 5 perfect, one that fails at once; vanilla 3 perfect, all
good), then FGR; on adding NIG (error 0.0068 against vanilla's 0.0005; chance 0.167), where NFG costs nothing. CIFG and
NP cost nothing, as in the paper, and CIFG is far the best at adding (0.00004); unlike there, NOAF costs nothing either.
Five networks each: 3 perfect or 2 is no difference. 5 minutes on 2 CPU cores.

NIG, NFG, NOG are without input, forget or output gate; NIAF, NOAF without input or output activation; NP without
peepholes; CIFG has the input gate 1 - f; in FGR the gates see each other's last values. The paper's tasks are speech,
handwriting and music; these two are small, and were chosen after a look at three, because between them most parts have
a use: an endless stream asks for forgetting, adding for a choice of what to write. Temporal order over 30 steps is left
out: every variant solves it with every seed. A variant's learning rate is the one of three with the lowest error on
validation sequences, mean over seeds, errors above chance counting as chance.

References: Greff et al. 2015, https://arxiv.org/abs/1503.04069
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import tyro

import lstm_jax as lj
from experiments.continual_reber import REBER, on_streams, plot_reach, stream_rows
from experiments.report import by_variant, dots, error_rows, figure, level, table, write
from experiments.runs import Runs, every_run, on_sequences
from lstm_jax.tasks import Adding, ContinualReber


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


def run(settings: Settings) -> str:
    """Trains the variants and writes all files; returns the report."""
    adding = Adding(settings.adding_length)
    steps, batch, tested = settings.adding_steps, settings.adding_batch, settings.adding_tested
    seeds = settings.learning_rates, settings.seeds
    began, runs = time.perf_counter(), []
    for name, cell in variants(ContinualReber.input_size, settings.hidden).items():
        runs += every_run(on_streams(cell, settings), *seeds, task=REBER, variant=name)
    for name, cell in variants(adding.input_size, settings.hidden).items():
        one = on_sequences(cell, adding, adding, steps=steps, batch=batch, tested=tested)
        runs += every_run(one, *seeds, task="adding", variant=name, chance=adding.chance)
    seconds = time.perf_counter() - began
    tables = {
        "Continual embedded Reber grammar": table(stream_rows(runs)),
        f"Adding, {adding.length} steps (chance {adding.chance:.3f})": table(error_rows(runs, "adding")),
    }
    caption = "What each part of the LSTM is worth"
    return write(settings, "lstm_variants", runs, seconds, {"lstm_variants": plot(runs, settings)}, caption, tables)


def plot(runs: Runs, settings: Settings) -> Any:
    """How far streams come, and the error on adding."""
    made, (above, below) = figure(2, 1, size=(9, 7.6))
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
    return made


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
