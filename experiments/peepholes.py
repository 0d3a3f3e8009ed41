"""Precise timing: periodic functions out of nothing, with and without peepholes (Gers et al. 2002).

    python -m experiments.peepholes --directory results/peepholes

Expected: as in the paper, peepholes help where there is but one cell. Of 256 such networks, with / without, 47 / 1
generate the cosine, 92 / 25 the triangle and 12 / 0 the rectangle of period 10, for 1,000 periods without an error; in
the paper none did without, but for the cosine. Where the output gate is shut, h is zero, and without peepholes no gate
knows how long that has been so. A second unit can be the clock: of networks of two, 201 / 204, 221 / 209 and 129 / 131
succeed. 250 s on 2 quiet CPU cores.

The cells give o c without a squashing function. Most networks of one cell fail either way, so that five of them, which
is what one would usually train, show nothing.
Unlike in the paper: Adam on 8 whole periods, gradients through all of them, where theirs end at the gates, and no
sequence ends with its first error. A function has but one sequence: its first 8 periods train; 1,000 periods from the
start choose the learning rate, the one of two with the lowest error, mean over networks, errors above chance counting
as chance, and are the test, too.

References: Gers, Schraudolph, Schmidhuber 2002, JMLR 3, https://www.jmlr.org/papers/v3/gers02a.html
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, Literal

import tyro

import lstm_jax as lj
from experiments.report import by_variant, error_rows, figure, table, write
from experiments.runs import Runs, every_run, on_sequences
from lstm_jax.tasks import PeriodicFunction

COLOURS = {"with": "#0b5fa5", "without": "#d1701c"}


@dataclasses.dataclass(frozen=True)
class Settings:
    functions: tuple[tuple[Literal["cosine", "triangle", "rectangle"], int], ...] = (
        ("cosine", 10),
        ("triangle", 10),
        ("rectangle", 10),
    )  # and their periods in steps
    units: tuple[int, ...] = (1, 2)
    seeds: int = 256  # independent networks of each cell and learning rate, trained at once
    learning_rates: tuple[float, ...] = (0.01, 0.03)  # at the beginning; they fall to nothing
    steps: int = 12000  # training steps
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
    """How many networks solve it, a panel a function."""
    made, axes = figure(1, len(settings.functions), size=(11, 4.2), sharey=True)
    for axis, (shape, length) in zip(axes, settings.functions, strict=True):
        groups = by_variant(runs, f"{shape}, period {length}")
        colours = [COLOURS[variant.split()[1]] for variant in groups]
        solved = [sum(run["solved"] for run in own) for own in groups.values()]
        axis.bar_label(axis.bar(range(len(groups)), solved, color=colours))
        axis.set_xticks(range(len(groups)), [variant.split()[0] for variant in groups])
        axis.set(title=f"{shape}, period {length}", xlabel="units")
    axes[0].set_ylabel(f"of {settings.seeds} networks, those without an error\nin {settings.test_periods} periods")
    for name, colour in COLOURS.items():
        axes[0].bar(0, 0, color=colour, label=f"{name} peepholes")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return made


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
