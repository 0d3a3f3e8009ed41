"""Three claims of lectures on LSTMs, tried out: GRUs train faster, deeper is better, dropout spares recurrent edges.

    python -m experiments.design_choices --directory results/design_choices

Expected: the first claim holds, the second does not at this size, the third is half of the truth. Steps to solve,
median of 5 seeds: adding LSTM 100, GRU 70 with as many units, 60 with as many parameters; temporal order 60, 40, 40; a
step takes as long, the GRU's 0.95 and 0.99 of the LSTM's with as many units. No depth reads digits better than one
layer: of 1,257 training digits 0.024 are misread, with four layers of the same width 0.031, of as many parameters
0.043; but the gap closes as digits get more (100: 0.21, and 0.29 with either). Dropout in the recurrence helps where it
masks h: 0.164 and 0.166 in place of 0.196, better with all 5 seeds; between layers 0.186, with 3. What must be spared
is the memory c: 0.23 and 0.30. 4 minutes on 2 CPU cores.

Speed: "GRU has significantly fewer parameters and trains faster", tried on two tasks with as many units and with as
many parameters as the LSTM; all start with chrono biases. A rate is chosen by the steps to solve a validation batch.
Seconds are medians of interleaved rounds of training one network.

Depth: "given sufficient data, performs significantly better than single-layer LSTMs", tried on digits read row by row,
with more layers of the same width and with narrower ones that have together as many parameters as the one layer.

Dropout: "usually applied only to non-recurrent edges", tried with two layers on few digits. Edges: between the layers
and before the readout; into the recurrent product, with a mask a step or one mask a sequence (variational) or a mask on
the weights; and the memory c itself, with a mask a step. A variant drops at one place only.

Variants share seeds, that is training digits and order. Digits: a rate is the one with the lowest error on validation
digits, mean over seeds; learning rates fall to nothing.

References: Chung et al. 2014, https://arxiv.org/abs/1412.3555 (GRU and LSTM); Graves, Mohamed, Hinton 2013,
https://arxiv.org/abs/1303.5778 (depth); Zaremba, Sutskever, Vinyals 2014, https://arxiv.org/abs/1409.2329 (dropout);
Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287; Merity, Keskar, Socher 2018, https://arxiv.org/abs/1708.02182
"""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

import lstm_jax as lj
from experiments.gru_or_lstm import COLOURS, TASKS, nearest, parameters, speed
from experiments.report import by_variant, count, dots, figure, table, write
from experiments.runs import Runs, train
from lstm_jax import losses
from lstm_jax.cells.wrapped import Wrapped
from lstm_jax.data import digits
from lstm_jax.layers import dropout
from lstm_jax.models import Linear, Network


@dataclasses.dataclass(frozen=True)
class Settings:
    seeds: int = 5  # independent runs of each variant and learning rate, trained at once
    hidden: int = 13  # units of the LSTM and one GRU; 15 give the other as many parameters: none fills a vector of 16
    task_rates: tuple[float, ...] = (0.03, 0.1, 0.3)  # constant
    adding_length: int = 60  # steps of a sequence
    order_length: int = 60  # steps of the shortest sequence
    task_steps: int = 200  # training steps at most
    task_batch: int = 32  # fresh sequences a step
    task_tested: int = 256  # sequences for validation, and as many for the test
    task_every: int = 10  # steps between two tests
    rounds: int = 15  # of timing
    timed_steps: int = 50  # training steps timed at once
    depths: tuple[int, ...] = (1, 2, 3, 4)
    width: int = 32  # units of a layer
    sizes: tuple[int, ...] = (100, 400, 1257)  # training digits
    digit_rates: tuple[float, ...] = (0.01, 0.03)  # at the beginning; they fall to nothing
    digit_steps: int = 600  # training steps
    digit_batch: int = 32
    dropout_rates: tuple[float, ...] = (0.25, 0.5)
    dropout_size: int = 100  # training digits
    dropout_width: int = 24  # units of each of the two layers
    directory: Path = Path("results/design_choices")


# Digits, for depth and dropout


def every_size(run: Callable, sizes: Any, rates: Any, seeds: int, **name: Any) -> Runs:
    """Runs every size, learning rate and seed as one program; "best" marks each size's best rate on average."""
    keys = jax.random.split(jax.random.key(0), seeds)
    program = jax.jit(jax.vmap(jax.vmap(jax.vmap(run, (None, None, 0)), (None, 0, None)), (0, None, None)))
    found = jax.tree.map(np.asarray, program(jnp.asarray(sizes, jnp.int32), jnp.asarray(rates, jnp.float32), keys))
    best = found["validation"].mean(2).argmin(1)
    return [
        {**name, "size": size, "learning_rate": rate, "seed": seed, "best": bool(best[s] == r)}
        | {key: x[s, r, seed].tolist() for key, x in found.items()}
        for s, size in enumerate(sizes)
        for r, rate in enumerate(rates)
        for seed in range(seeds)
    ]


def on_digits(init: Callable, logits: Callable, rows: int, settings: Settings) -> Callable:
    """A run on the first `size` of the training digits in an order of the seed's own, read in `rows` steps."""

    def read(part: Any) -> tuple:
        return jnp.moveaxis(part.inputs.reshape(rows, 64 // rows, -1), 1, 2), part.labels

    (xs, labels), *others = (read(part) for part in digits())

    def run(size: Any, rate: Any, key: Any) -> dict[str, Any]:
        keys = jax.random.split(key, 3)
        order = jax.random.permutation(keys[1], len(labels))

        def loss_fn(params: Any, _: None, carry: None, key: Any) -> tuple:
            draw, drop = jax.random.split(key)
            chosen = order[jax.random.randint(draw, (settings.digit_batch,), 0, size, dtype=jnp.int32)]
            return losses.cross_entropy(logits(params, xs[:, chosen], drop), labels[chosen]), (carry, {})

        def wrong(xs: Any, labels: Any) -> Any:
            return (jnp.argmax(logits(params, xs, None), -1).astype(jnp.int32) != labels).astype(jnp.float32)

        params = train(loss_fn, init(keys[0]), None, rate, keys[2], settings.digit_steps)
        seen = wrong(xs, labels)[order].mean(where=jnp.arange(len(labels), dtype=jnp.int32) < size)
        validation, error = (wrong(*part).mean() for part in others)
        return {"validation": validation, "error": error, "training_error": seen}

    return run


def lstm(input_size: int, units: int) -> lj.LSTM:
    # Not orthogonal: many networks are drawn at once, and decompositions are made one after the other.
    return lj.LSTM(input_size, units, w_h_init=lj.inits.Glorot())


def stack(depth: int, width: int) -> Network:
    layers = tuple(lj.Recurrent(lstm(8 if i == 0 else width, width)) for i in range(depth))
    return Network(lj.Stack(layers), Linear(width, 10), at="last")


def depth(settings: Settings) -> tuple[Runs, dict[str, str]]:
    goal = parameters(stack(1, settings.width))
    runs, tables = [], {}
    known: dict[Network, Runs] = {}  # one layer belongs to both
    for task, width in {
        "same width": lambda number: settings.width,
        "same parameters": lambda number: nearest(partial(stack, number), goal),
    }.items():
        for number in settings.depths:
            network = stack(number, width(number))
            one = on_digits(network.init, lambda params, xs, _, network=network: network(params, xs)[1], 8, settings)
            labels = {"variant": str(number), "units": width(number), "parameters": parameters(network)}
            if network not in known:
                known[network] = every_size(one, settings.sizes, settings.digit_rates, settings.seeds, **labels)
            runs += [{"task": task, **run} for run in known[network]]
        tables[f"Depth, {task}: test error, mean (range) of seeds"] = table(depth_rows(runs, task, settings.sizes))
    return runs, tables


def depth_rows(runs: Runs, task: str, sizes: tuple[int, ...]) -> list[dict[str, str]]:
    return [
        {"layers": variant, "units": str(own[0]["units"]), "parameters": str(own[0]["parameters"])}
        | {f"{size} digits": mean_and_range([run["error"] for run in own if run["size"] == size]) for size in sizes}
        for variant, own in by_variant(runs, task).items()
    ]


def mean_and_range(values: list[float]) -> str:
    return f"{fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


# Dropout


@dataclasses.dataclass(frozen=True)
class StepDropout(Wrapped):
    """An LSTM that sees a part of its carry, "h" or "c", through a new mask at every step."""

    part: str = "h"
    rate: float = 0.25

    def project(self, params: Any, x: Any, *, key: Any = None) -> tuple:
        keep = None if key is None else jax.random.bernoulli(key, 1 - self.rate, (*x.shape[:-1], *self.output_shape))
        return self.cell.project(params, x), keep

    def step(self, params: Any, carry: Any, z: tuple) -> tuple:
        inputs, keep = z
        if keep is not None:
            carry = carry._replace(**{self.part: jnp.where(keep, getattr(carry, self.part) / (1 - self.rate), 0)})
        return self.cell.step(params, carry, inputs)


PLACES: dict[str, Callable[[Any, float], Any]] = {
    "none": lambda cell, rate: cell,
    "between layers": lambda cell, rate: cell,
    "h, a mask a step": lambda cell, rate: StepDropout(cell, "h", rate),
    "h, one mask": lj.VariationalDropout,
    "weights": lj.WeightDrop,
    "c, a mask a step": lambda cell, rate: StepDropout(cell, "c", rate),
}
ROWS = 16  # steps: longer than for depth, for noise in the recurrence adds up


def dropped(place: str, rate: float, settings: Settings) -> Callable:
    """A run of two layers with dropout at one place."""
    width, outside = settings.dropout_width, rate if place == "between layers" else 0.0
    layers = tuple(lj.Recurrent(PLACES[place](lstm(size, width), rate)) for size in (64 // ROWS, width))
    network = Network(lj.Stack(layers, dropout=outside), Linear(width, 10))

    def logits(params: Any, xs: Any, key: Any) -> Any:
        if key is None:
            return network(params, xs)[1][-1]
        inside, last = jax.random.split(key)
        _, ys = network.layer(params.layer, xs, key=inside)
        return network.readout(params.readout, dropout(last, ys[-1], outside))

    return on_digits(network.init, logits, ROWS, settings)


def dropouts(settings: Settings) -> tuple[Runs, dict[str, str]]:
    runs = []
    for place in PLACES:
        for rate in (0.0,) if place == "none" else settings.dropout_rates:
            labels = {"task": "dropout", "variant": f"{place} {rate:g}" if rate else place}
            one = dropped(place, rate, settings)
            runs += every_size(one, (settings.dropout_size,), settings.digit_rates, settings.seeds, **labels)
    title = f"Dropout: two layers of {settings.dropout_width} units, {settings.dropout_size} training digits"
    return runs, {title: table(dropout_rows(runs))}


def dropout_rows(runs: Runs) -> list[dict[str, str]]:
    groups = by_variant(runs, "dropout")
    plain = [run["error"] for run in groups["none"]]
    return [
        {
            "dropout": variant,
            "learning rate": f"{own[0]['learning_rate']:g}",
            "training error": f"{fmean(run['training_error'] for run in own):.3f}",
            "test error, mean (range) of seeds": mean_and_range([run["error"] for run in own]),
            "seeds better than without": count([run["error"] < e for run, e in zip(own, plain, strict=True)]),
        }
        for variant, own in groups.items()
    ]


def run(settings: Settings) -> str:
    """Tries the three claims and writes all files; returns the report."""
    began, runs, tables = time.perf_counter(), [], {}
    for tried in (speed, depth, dropouts):
        more_runs, more_tables = tried(settings)
        runs, tables = runs + more_runs, tables | more_tables
    seconds = time.perf_counter() - began
    caption = "GRU or LSTM, how deep, and where to drop"
    return write(settings, "design_choices", runs, seconds, {"design_choices": plot(runs, settings)}, caption, tables)


def plot(runs: Runs, settings: Settings) -> Any:
    """Above the two cells, below depth and dropout."""
    made, axes = figure(2, 3, size=(16, 9.5), width_ratios=(1, 1, 1.25))
    for axis, task in zip(axes, TASKS, strict=False):
        groups = by_variant(runs, task)
        steps = [[run["steps"] for run in own] for own in groups.values()]
        dots(axis, [name.replace(", ", ",\n") for name in groups], steps, [COLOURS[name] for name in groups])
        axis.set_title(f"{task.capitalize()}: training steps to solve, a dot a network")
    timed = [run for run in runs if "seconds" in run]
    milliseconds = [[1000 * x for x in run["seconds"]] for run in timed]
    dots(axes[2], [run["variant"] for run in timed], milliseconds, [COLOURS[run["variant"]] for run in timed])
    axes[2].set_title(f"Milliseconds a training step, a dot a round: {', '.join(TASKS)}")
    for axis, task in zip(axes[3:], ("same width", "same parameters"), strict=False):
        plot_depth(axis, by_variant(runs, task), settings.sizes)
        axis.set_title(f"Layers, {task}: misclassified, mean and range")
    groups = by_variant(runs, "dropout")
    kinds = ["black", *("#d1701c" if name.startswith("between") else "#0b5fa5" for name in list(groups)[1:])]
    dots(axes[5], list(groups), [[run["error"] for run in own] for own in groups.values()], kinds)
    axes[5].set_title(f"Dropout, {settings.dropout_size} training digits: misclassified, a dot a network")
    for axis in (*axes[:3], axes[5]):
        axis.set(yscale="linear", ylim=(0, None))
    for axis in (axes[2], axes[5]):
        axis.tick_params(axis="x", labelrotation=40)
        plt.setp(axis.get_xticklabels(), ha="right", rotation_mode="anchor")
    return made


def plot_depth(axis: Any, groups: dict[str, Runs], sizes: tuple[int, ...]) -> None:
    for i, (variant, own) in enumerate(groups.items()):
        error = np.array([[run["error"] for run in own if run["size"] == size] for size in sizes])
        mean, shade = error.mean(1), plt.get_cmap("Blues")(0.4 + 0.6 * i / len(groups))
        ends = np.stack([mean - error.min(1), error.max(1) - mean])
        place = np.array(sizes) * 1.05**i
        axis.errorbar(place, mean, ends, color=shade, marker="o", label=f"{variant} x {own[0]['units']} units")
    axis.set(xscale="log", yscale="log", xlabel="training digits", ylim=(0.01, 1))
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.set_xticks([], minor=True)
    axis.set_yticks([0.01, 0.03, 0.1, 0.3, 1], ["0.01", "0.03", "0.1", "0.3", "1"])
    axis.legend(loc="upper right")


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
