"""Precise timing: periodic functions out of nothing, with and without peepholes (Gers et al. 2002).

    python -m experiments.peepholes --directory results/peepholes

Expected: no advantage of peepholes where gradients flow through whole sequences, which is not what the paper found.
Networks of 5 that solve it, with / without: triangle of period 10, 2 units 4 / 5, 4 units 4 / 5; rectangle of period
10, 4 / 4 and 4 / 5; of period 25, 0 / 0 and 4 / 4. The paper's one cell never solves any here, with or without; only
there do peepholes lower the error (rectangle of period 10: median 0.034 against 0.24, chance). 100 s on 2 quiet CPU
cores.

The cells give o c without a squashing function, which helped both (with tanh fewer networks of either kind succeed).
With errors cut as in the paper (`lstm_jax.analysis.Truncated`), in 6,000 to 60,000 steps, few networks of either kind
learn a function, now more of the one, now of the other.
Unlike in the paper: Adam on 8 whole periods, gradients through all of them, where theirs end at the gates. A function
has but one sequence: its first 8 periods train; 1,000 periods from the start choose the learning rate, the one of three
with the lowest error, mean over seeds, errors above chance counting as chance, and are the test, too.

References: Gers, Schraudolph, Schmidhuber 2002, JMLR 3, https://www.jmlr.org/papers/v3/gers02a.html
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, Literal

import tyro

import lstm_jax as lj
from experiments.report import by_variant, dots, error_rows, figure, level, table, write
from experiments.runs import Runs, every_run, on_sequences
from lstm_jax.tasks import PeriodicFunction

COLOURS = {"with": "#0b5fa5", "without": "#d1701c"}


@dataclasses.dataclass(frozen=True)
class Settings:
    functions: tuple[tuple[Literal["cosine", "triangle", "rectangle"], int], ...] = (
        ("triangle", 10),
        ("rectangle", 10),
        ("rectangle", 25),
    )  # and their periods in steps
    units: tuple[int, ...] = (1, 2, 4)
    seeds: int = 5  # independent runs of each cell and learning rate, trained at once
    learning_rates: tuple[float, ...] = (0.01, 0.03, 0.1)  # at the beginning; they fall to nothing
    steps: int = 6000  # training steps
    periods: int = 8  # that train
    test_periods: int = 1000
    directory: Path = Path("results/peepholes")


def run(settings: Settings) -> str:
    """Trains the cells and writes all files; returns the report."""
    began, runs, tables = time.perf_counter(), [], {}
    for shape, length in settings.functions:
        name = f"{shape}, period {length}"
        task = PeriodicFunction(length, shape, settings.periods)
        test_task = PeriodicFunction(length, shape, settings.test_periods)
        for units in settings.units:
            for peepholes in (True, False):
                cell = lj.PeepholeLSTM(1, units, peepholes=peepholes, output_activation="identity")
                one = on_sequences(cell, task, test_task, steps=settings.steps, batch=1, tested=1)
                variant = f"{units} {'with' if peepholes else 'without'}"
                labels = {"task": name, "variant": variant, "chance": task.chance}
                runs += every_run(one, settings.learning_rates, settings.seeds, **labels)
        tables[f"{name} (chance {task.chance:.3f})"] = table(error_rows(runs, name))
    seconds = time.perf_counter() - began
    caption = "Periodic functions, with and without peepholes"
    return write(settings, "peepholes", runs, seconds, {"peepholes": plot(runs, settings)}, caption, tables)


def plot(runs: Runs, settings: Settings) -> Any:
    """The error of every network, a panel a function."""
    made, axes = figure(1, len(settings.functions), size=(11, 4.2), sharey=True)
    for axis, (shape, length) in zip(axes, settings.functions, strict=True):
        groups = by_variant(runs, f"{shape}, period {length}")
        colours = [COLOURS[variant.split()[1]] for variant in groups]
        names = [variant.split()[0] for variant in groups]
        dots(axis, names, [[run["error"] for run in own] for own in groups.values()], colours)
        level(axis, next(iter(groups.values()))[0]["chance"], "chance")
        axis.set_title(f"{shape}, period {length}")
        axis.set_xlabel("units")
    axes[0].set_ylabel(f"mean squared error over {settings.test_periods} periods")
    for name, colour in COLOURS.items():
        axes[0].scatter([], [], color=colour, label=f"{name} peepholes, a dot a network")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return made


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
