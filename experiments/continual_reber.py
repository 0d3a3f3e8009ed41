"""Learning to forget: an endless stream of Reber strings, read by a network that is never reset (Gers et al. 2000).

    python -m experiments.continual_reber --directory results/continual_reber

Expected, good or perfect networks of 5: the cell of 1997 0, an LSTM without forget gate 2, the cell of 1997 reset by
hand at each string 5, with a forget gate 5; perfect ones 0, 0, 4, 2. (In the paper, the cell of 1997: 1% good or
perfect; reset by hand: 74% perfect; with a forget gate: 18% perfect and 29% good, or 62% and 6% with a rate that
falls.) Without a forget gate the memory |c| grows with the symbols read, to 50,000 and more; with one it stays under 5.
A minute or two on 2 CPU cores. The failure is one of training time, too: with --steps 3000 the four have 3, 5, 5, 5
good or perfect networks and 0, 2, 4, 2 perfect ones, the memory growing as before.

As in the paper, training starts a stream afresh, network and all, where it made an error; ten test streams end at their
first error or at 100,000 symbols; a network without any error is perfect, one with a mean of more than 1,000 symbols is
good. Unlike there: windows of 50 symbols with the carry handed on (gradients end with a window, and an error restarts
the stream at its window's end), 8 streams at once, cross entropy and Adam, 8 units in place of 4 blocks of 2 cells for
the cells that are not of 1997. All get the same learning rates and seeds; a variant's rate is the one with the lowest
error on validation streams, mean over seeds, errors above chance counting as chance.

References: Gers, Schmidhuber, Cummins 2000, https://doi.org/10.1162/089976600300015015
"""

import dataclasses
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import lax

import lstm_jax as lj
from experiments.report import by_variant, count, dots, figure, level, spread, table, write
from experiments.runs import Figures, Runs, every_run, train
from lstm_jax.models import Linear, Network
from lstm_jax.tasks import ContinualReber, ReberStream


@dataclasses.dataclass(frozen=True)
class Settings:
    hidden: int = 8  # units
    seeds: int = 5  # independent runs of each variant and learning rate, trained at once
    learning_rates: tuple[float, ...] = (0.01, 0.03, 0.1)  # at the beginning; they fall to nothing
    steps: int = 1500  # training steps, each a window of every stream
    window: int = 50  # symbols
    streams: int = 8  # read at once
    limit: int = 100_000  # symbols of a test stream
    directory: Path = Path("results/continual_reber")


REBER = "continual embedded Reber grammar"
COLOURS = {
    "1997 cell": "#b5362c",
    "no forget gate, tanh": "#d1701c",
    "1997 cell, reset": "#6b6b6b",
    "forget gate, tanh": "#0b5fa5",
}


def run(settings: Settings) -> str:
    """Trains the variants and writes all files; returns the report."""
    size = ContinualReber.input_size, settings.hidden
    old = lj.MemoryBlockLSTM.of_1997(*size, block_size=2)
    cells = {
        "1997 cell": old,
        "no forget gate, tanh": lj.PeepholeLSTM(*size, peepholes=False, open_gates=("f",)),
        "1997 cell, reset": old,
        "forget gate, tanh": lj.PeepholeLSTM(*size, peepholes=False),
    }
    began, runs = time.perf_counter(), []
    for name, cell in cells.items():
        one = on_streams(cell, settings, reset=name.endswith("reset"))
        runs += every_run(one, settings.learning_rates, settings.seeds, task=REBER, variant=name)
    seconds = time.perf_counter() - began
    caption = "Learning to forget: the continual embedded Reber grammar"
    tables = {"Networks at their best learning rate": table(stream_rows(runs))}
    return write(
        settings, "continual_reber", runs, seconds, {"continual_reber": plot(runs, settings.limit)}, caption, tables
    )


def on_streams(cell: Any, settings: Any, reset: bool = False) -> Figures:
    """A run on endless streams; with `reset` the network is reset at each string's start."""
    task = ContinualReber(settings.window)
    network = Network(lj.Recurrent(cell), Linear(settings.hidden, task.output_size))
    windows = -(-settings.limit // settings.window)
    marks = np.unique(np.geomspace(1, windows, 40).astype(int))

    def begin(params: Any, key: Any, number: int) -> tuple:
        return *task.start(key, number), network.layer.initial_carry(params.layer, (number,)), jnp.zeros(number, bool)

    def read(params: Any, at: tuple) -> tuple:
        """Goes on for a window; what stands last in `at` is whether a string has just ended."""
        *stream, carry, ended = at
        stream, batch = task.advance(ReberStream(*stream))
        ends = batch.inputs[..., task.alphabet.index("E")] > 0
        resets = jnp.concatenate([ended[None], ends[:-1]]) if reset else None
        carry, outputs = network(params, batch.inputs, carry, resets=resets)
        return (*stream, carry, ends[-1]), (outputs, batch.targets, batch.mask)

    def loss_fn(params: Any, _: None, at: tuple, key: Any) -> tuple:
        at, judged = read(params, at)
        right = task.correct(*judged)

        def go_on(now: Any, first: Any) -> Any:
            return jnp.where(right.reshape(-1, *(1,) * (now.ndim - 1)), now, first)

        stream_key, *now = at
        _, *first = begin(params, stream_key, settings.streams)
        return task.loss(*judged), ((stream_key, *jax.tree.map(go_on, now, first)), {})

    def test(params: Any, key: Any) -> dict[str, Any]:
        def window(so_far: tuple, _: None) -> tuple:
            at, alive, symbols = so_far
            at, judged = read(params, at)
            right = task.steps_to_error(*judged)
            so_far = at, alive & (right == task.length), symbols + jnp.where(alive, right, 0)
            return so_far, (task.error(*judged), jnp.abs(at[-2].c).mean())

        first = begin(params, key, 10), jnp.ones(10, bool), jnp.zeros(10, jnp.int32)
        (_, alive, symbols), (errors, memory) = lax.scan(window, first, length=windows)
        return {"error": errors.mean(), "solved": alive.all(), "symbols": symbols, "memory": memory[marks - 1]}

    def run(rate: Any, key: Any) -> dict[str, Any]:
        keys = jax.random.split(key, 3)
        params = network.init(keys[0])
        at = begin(params, keys[1], settings.streams)
        params = train(loss_fn, params, at, rate, keys[2], settings.steps)
        at_marks = jnp.asarray(marks * settings.window, jnp.int32)
        validation = jnp.fmin(test(params, jax.random.key(2))["error"], task.chance)
        return {"validation": validation, **test(params, jax.random.key(1)), "memory_at": at_marks}

    return run


def stream_rows(runs: Runs) -> list[dict[str, str]]:
    """One row a variant, at its best learning rate."""
    return [
        {
            "variant": variant,
            "learning rate": f"{own[0]['learning_rate']:g}",
            "perfect": count([run["solved"] for run in own]),
            "good or perfect": count([fmean(run["symbols"]) > 1000 for run in own]),
            "symbols to the first error, median (range) of seeds": spread(
                [fmean(run["symbols"]) for run in own], ".0f"
            ),
            "steps wrong": spread([run["error"] for run in own]),
            "mean abs(c) at the end, median": f"{median(run['memory'][-1] for run in own):.2g}",
        }
        for variant, own in by_variant(runs, REBER).items()
    ]


def plot_reach(axis: Any, groups: dict[str, Runs], colours: list[str], limit: int) -> None:
    """How far test streams come, with their limit and the paper's mark of a good network."""
    names = [name.replace(", ", ",\n").replace("forget gate", "forget\ngate") for name in groups]
    dots(axis, names, [[max(1.0, fmean(run["symbols"])) for run in own] for own in groups.values()], colours)
    level(axis, limit, "no error")
    level(axis, 1000, "good")
    axis.set_ylabel("symbols to the first error,\nmean of 10 streams")


def plot(runs: Runs, limit: int) -> Any:
    """How far the networks come, and what becomes of the memory."""
    groups = by_variant(runs, REBER)
    made, (left, right) = figure(1, 2, size=(11, 4.4))
    plot_reach(left, groups, list(COLOURS.values()), limit)
    left.set_title("How far: a dot a network")
    left.set_xlabel("reset: at each string's start; the others never")
    for variant, own in groups.items():
        memory = np.array([run["memory"] for run in own])
        at, colour = own[0]["memory_at"], COLOURS[variant]
        right.plot(at, np.median(memory, 0), color=colour, label=variant)
        right.fill_between(at, memory.min(0), memory.max(0), color=colour, alpha=0.15, linewidth=0)
    right.set(xscale="log", yscale="log", xlabel="symbols read since the start", ylabel="mean |c| of units and streams")
    right.set_title("Why: the memory, median and range over networks")
    right.legend(loc="upper left")
    return made


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
