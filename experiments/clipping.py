"""Exploding gradients and what clipping their norm does (Pascanu, Mikolov & Bengio 2013, section 2.3, algorithm 1).

    python -m experiments.clipping --directory results/clipping

Expected: no network is lost and no descent thrown off the cliff with clipping. One unit, 100 starts: gradient descent
finds the valley from 29, 53 and 65 (rates 0.1, 0.3, 1), with clipping from 92, 100 and 100. Adam, from 33, 80, 98 and
with clipping 100 each, is not thrown: after one steep gradient its steps stay tiny for thousands of steps. IRNN on
adding: with momentum 3, 5 and 5 networks of 5 (rates 0.001, 0.01, 0.1) are NaN after a single step; with clipping none,
but none comes under half of chance either. Adam loses none; at its best rate the error is 0.067 without clipping,
0.0094 with it. On temporal order clipping only widens the choice: with momentum it is solved at 0.01 with clipping, and
nearly so at 0.0001 without (error 0.003); by Adam either way. 70 s on 2 CPU cores.

Two problems. The paper's own, one unit without input, x_t = w sigmoid(x_{t-1}) + b from x_0 = 0.5, which is to give
sigmoid(x_50) = 0.7: its error over (w, b) is a valley along a cliff; cliff.png draws it, with gradient descent on it.
And the IRNN, whose identity lets errors flow back undamped, on two tasks, by gradient descent with momentum and by
Adam. Each optimizer runs with and without clipping at the same learning rates, from the same starts, on the same
sequences; learning rates are constant.

References: Pascanu, Mikolov, Bengio 2013, https://arxiv.org/abs/1211.5063;
Le, Jaitly, Hinton 2015, https://arxiv.org/abs/1504.00941 (IRNN)
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax import lax
from jax.flatten_util import ravel_pytree

import lstm_jax as lj
from experiments.report import count, figure, level, spread, table, write
from experiments.runs import Figures, Runs, every_run
from lstm_jax.models import Linear, Network
from lstm_jax.tasks import Adding, Task, TemporalOrder
from lstm_jax.training import clipped_adam, clipped_sgd, init_state, make_step


@dataclasses.dataclass(frozen=True)
class Settings:
    cliff_rates: tuple[float, ...] = (0.1, 0.3, 1.0)  # of gradient descent; Adam has a tenth of each
    cliff_norm: float = 0.1  # the gradient's, at most
    cliff_start: tuple[float, float] = (5.0, -1.5)  # w and b of the drawn descents, at the middle rate
    cliff_starts: int = 100  # that are counted
    cliff_steps: int = 2000  # of each descent
    cliff_grid: int = 400  # points along each side of the surface
    adding_length: int = 50  # steps of a sequence
    order_length: int = 30  # steps of the shortest sequence
    hidden: int = 32  # units
    seeds: int = 5  # independent runs of each optimizer and learning rate, trained at once
    sgd_rates: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # with momentum 0.9
    adam_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)
    shown_rates: tuple[float, float] = (1e-3, 3e-3)  # of the drawn runs: momentum, Adam
    max_norm: float = 1.0  # the gradient's, at most
    steps: int = 1000  # training steps
    batch: int = 16  # fresh sequences a step
    tested: int = 1000  # sequences for the test
    directory: Path = Path("results/clipping")


OPTIMIZERS = DESCENT, MOMENTUM, ADAM = "gradient descent", "momentum", "Adam"
CLIPPED = {False: "without clipping", True: "with clipping"}
COLOURS = {False: "#b5362c", True: "#0b5fa5"}
BOX = (4.0, 7.0), (-4.5, -1.0)  # where descents on the cliff start: w, b


def optimizer(name: str, rate: Any, max_norm: float | None) -> optax.GradientTransformation:
    """One of three; where `max_norm` is None the gradient is not clipped."""
    if max_norm is not None:
        momentum = 0.9 if name == MOMENTUM else None
        return clipped_adam(rate, max_norm) if name == ADAM else clipped_sgd(rate, max_norm, momentum=momentum)
    schedule = optax.constant_schedule(rate)
    return optax.adam(schedule) if name == ADAM else optax.sgd(schedule, 0.9 if name == MOMENTUM else None)


def descend(loss_fn: Callable, optimizer: Any, params: Any, key: Any, steps: int) -> tuple[Any, dict[str, Any]]:
    """Returns the last parameters and, for each step, the loss, the gradient's norm and the update's."""
    advance = make_step(loss_fn, optimizer)

    def step(state: Any, _: None) -> tuple:
        after, metrics = advance(state, None)
        update = ravel_pytree(jax.tree.map(jnp.subtract, after.params, state.params))[0]
        return after, {**metrics, "update": jnp.linalg.norm(update)}

    state, trace = lax.scan(step, init_state(params, optimizer, key), length=steps)
    return state.params, trace


def cliff(point: Any) -> Any:
    """The error of the paper's unit at `point`, w and b."""
    cell, (w, b) = lj.Elman(1, 1, activation="sigmoid"), point
    params = cell.params_type(w_x=jnp.zeros((1, 1)), w_h=w[None, None], b=b[None])
    h, _ = lj.scan(cell, params, jnp.zeros((50, 1)), jax.nn.sigmoid(jnp.full(1, 0.5)), implementation="xla")
    return jnp.square(h[0] - 0.7)


def on_cliff(name: str, rate: Any, max_norm: float | None, start: Any, steps: int) -> dict[str, Any]:
    """A descent from `start`: its points before each step, errors, gradients and updates."""

    def loss_fn(point: Any, _: None, carry: None, key: Any) -> tuple:
        return cliff(point), (carry, {"w": point[0], "b": point[1]})

    _, trace = descend(loss_fn, optimizer(name, rate, max_norm), (start[0], start[1]), jax.random.key(0), steps)
    return trace


def counted_descents(settings: Settings) -> Runs:
    """Each optimizer with and without clipping at each rate, one entry for all starts."""
    low, high = jnp.asarray(BOX, jnp.float32).T
    starts = jax.random.uniform(jax.random.key(0), (settings.cliff_starts, 2), minval=low, maxval=high)
    runs = []
    for name in OPTIMIZERS:
        rates = [rate / 10 if name == ADAM else rate for rate in settings.cliff_rates]
        for clipped in CLIPPED:

            def run(rate: Any, start: Any, name: str = name, clipped: bool = clipped) -> tuple:
                trace = on_cliff(name, rate, settings.cliff_norm if clipped else None, start, settings.cliff_steps)
                return trace["loss"][-1], trace["update"].max()

            errors, updates = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(jnp.asarray(rates), starts)
            runs += [
                {"task": "one unit", "variant": name, "clipped": clipped, "learning_rate": rate}
                | {"error": errors[i].tolist(), "largest_update": updates[i].tolist()}
                for i, rate in enumerate(rates)
            ]
    return runs


def shown_steps(settings: Settings) -> np.ndarray:
    """Those of which a run keeps its figures, counted from 1: all at first, then ever fewer."""
    return np.unique(np.geomspace(1, settings.steps, 60).astype(int))


def training(name: str, max_norm: float | None, task: Task, settings: Settings) -> Figures:
    """A run of an IRNN on `task`."""
    cell = lj.IRNN(task.input_size, settings.hidden)
    network = Network(lj.Recurrent(cell), Linear(settings.hidden, task.output_size))
    shown = jnp.asarray(shown_steps(settings), jnp.int32)

    def judged(params: Any, key: Any, number: int) -> tuple:
        sample = task.sample(key, number)
        return network(params, sample.inputs)[1], sample.targets, sample.mask

    def loss_fn(params: Any, _: None, carry: None, key: Any) -> tuple:
        return task.loss(*judged(params, key, settings.batch)), (carry, {})

    def run(rate: Any, key: Any) -> dict[str, Any]:
        params, trace = descend(loss_fn, optimizer(name, rate, max_norm), network.init(key), key, settings.steps)
        test = judged(params, jax.random.key(1), settings.tested)
        finite = jnp.isfinite(trace["loss"]) & jnp.isfinite(trace["update"])
        return {
            "validation": jnp.fmin(task.error(*judged(params, jax.random.key(2), settings.tested)), task.chance),
            "error": jnp.maximum(task.error(*test), 0),
            "solved": task.solved(*test),
            "finite": finite.all(),
            "finite_steps": jnp.cumprod(finite.astype(jnp.int32)).sum(),
            "largest_gradient": jnp.where(finite, trace["grad_norm"], jnp.inf).max(),
            "largest_update": jnp.where(finite, trace["update"], jnp.inf).max(),
            "loss": trace["loss"][shown - 1],
            "update": trace["update"][shown - 1],
        }

    return run


def tasks(settings: Settings) -> dict[str, Task]:
    return {"adding": Adding(settings.adding_length), "temporal order": TemporalOrder(settings.order_length)}


def run(settings: Settings) -> str:
    """Descends, trains and writes all files; returns the report."""
    began = time.perf_counter()
    runs = counted_descents(settings)
    tables = {
        f"One unit: descents that find the valley, from {settings.cliff_starts} starts": "![The cliff](cliff.png)\n\n"
        + table(cliff_rows(runs))
    }
    for task_name, task in tasks(settings).items():
        for name, rates in {MOMENTUM: settings.sgd_rates, ADAM: settings.adam_rates}.items():
            for clipped in CLIPPED:
                one = training(name, settings.max_norm if clipped else None, task, settings)
                labels = {"task": task_name, "variant": name, "clipped": clipped, "chance": task.chance}
                runs += every_run(one, rates, settings.seeds, **labels)
        title = f"IRNN on {task_name}, {task.length} steps (chance {task.chance:.3f})"
        tables[title] = table(rows(runs, task_name))
    seconds = time.perf_counter() - began
    pictures = {"clipping": plot(runs, settings), "cliff": plot_cliff(settings)}
    caption = "What clipping the gradient's norm does"
    return write(settings, "clipping", strict(runs), seconds, pictures, caption, tables)


def strict(value: Any) -> Any:
    """The same without numbers that JSON does not know: None in their place; others to four digits."""
    if isinstance(value, dict):
        return {key: strict(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [strict(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def pairs(runs: Runs, task: str) -> Iterator[tuple[str, float, dict[bool, Runs]]]:
    """Optimizers, learning rates, and the runs of each without and with clipping."""
    own = [run for run in runs if run["task"] == task]
    for name, rate in dict.fromkeys((run["variant"], run["learning_rate"]) for run in own):
        at_rate = [run for run in own if (run["variant"], run["learning_rate"]) == (name, rate)]
        yield name, rate, {c: [run for run in at_rate if run["clipped"] == c] for c in CLIPPED}


def cliff_rows(runs: Runs) -> list[dict[str, str]]:
    """One row an optimizer and learning rate."""
    made = []
    for name, rate, pair in pairs(runs, "one unit"):
        pair = {c: own[0] for c, own in pair.items()}
        made.append(
            {"optimizer": name, "learning rate": f"{rate:g}"}
            | {f"{CLIPPED[c]}: error under 0.001": count([e < 1e-3 for e in pair[c]["error"]]) for c in CLIPPED}
            | {f"{CLIPPED[c]}: longest step, median (range)": spread(pair[c]["largest_update"]) for c in CLIPPED}
        )
    return made


def rows(runs: Runs, task: str) -> list[dict[str, str]]:
    """One row an optimizer and learning rate."""
    made = []
    for name, rate, pair in pairs(runs, task):
        made.append(
            {"optimizer": name, "learning rate": f"{rate:g}"}
            | {f"{CLIPPED[c]}: NaN or Inf": count([not run["finite"] for run in pair[c]]) for c in CLIPPED}
            | {f"{CLIPPED[c]}: error of the others, median (range)": errors(pair[c]) for c in CLIPPED}
            | {
                f"{CLIPPED[c]}: largest update": f"{median(run['largest_update'] for run in pair[c]):.2g}"
                for c in CLIPPED
            }
        )
    return made


def errors(own: Runs) -> str:
    """Of the runs that stayed finite."""
    values = [run["error"] for run in own if math.isfinite(run["error"])]
    return spread(values) if values else "none left"


def plot_cliff(settings: Settings) -> Any:
    """The surface from the side and from above, with a descent of each kind; their steps."""
    made, (left, middle, right) = figure(1, 3, size=(15, 5), width_ratios=(1.3, 1.2, 1))
    rate = settings.cliff_rates[len(settings.cliff_rates) // 2]
    start = jnp.asarray(settings.cliff_start, jnp.float32)
    traces = {
        c: jax.tree.map(np.asarray, on_cliff(DESCENT, rate, norm, start, settings.cliff_steps))
        for c, norm in {False: None, True: settings.cliff_norm}.items()
    }
    ws, bs = np.linspace(3.5, 8, settings.cliff_grid), np.linspace(-4.5, 3.5, settings.cliff_grid)
    grid = jnp.asarray(np.stack(np.meshgrid(ws, bs)), jnp.float32)
    heights = np.asarray(jax.jit(jax.vmap(jax.vmap(cliff, 1), 1))(grid))
    left.remove()
    side = made.add_subplot(1, 3, 1, projection="3d", computed_zorder=False)
    side.plot_surface(
        *np.meshgrid(ws, bs), heights, cmap="Greys_r", rcount=200, ccount=200, antialiased=False, vmax=0.6
    )
    made.colorbar(middle.contourf(ws, bs, heights, 30, cmap="Greys_r", vmax=0.6), ax=middle, label="error")
    for c, trace in traces.items():
        line = {"color": COLOURS[c], "marker": ".", "markersize": 3, "linewidth": 1, "label": CLIPPED[c]}
        side.plot(trace["w"], trace["b"], trace["loss"], **line)
        middle.plot(trace["w"], trace["b"], **line)
        right.plot(np.arange(1, settings.cliff_steps + 1), np.maximum(trace["update"], 1e-12), color=COLOURS[c])
    side.set(xlabel="w", ylabel="b", zlabel="error")
    side.set_title("The error of one unit after 50 steps")
    side.view_init(32, 50)
    middle.plot(*settings.cliff_start, "o", color="white", markersize=5)
    middle.set(xlabel="w", ylabel="b", xlim=ws[[0, -1]], ylim=bs[[0, -1]])
    middle.set_title(f"From above: gradient descent, {settings.cliff_steps} steps")
    middle.grid(False)
    middle.legend(loc="upper left", frameon=True)
    right.set(xscale="log", yscale="log", xlabel="step")
    right.set_title("Norm of the update")
    return made


def plot(runs: Runs, settings: Settings) -> Any:
    """Losses and updates on adding at one rate; the error on both tasks at every rate."""
    made, axes = figure(2, 4, size=(17, 7.6))
    steps = shown_steps(settings)
    for row, name, rate in zip((axes[:4], axes[4:]), (MOMENTUM, ADAM), settings.shown_rates, strict=True):
        own = [run for run in runs if run["task"] == "adding" and run["variant"] == name]
        for run in (run for run in own if run["learning_rate"] == rate):
            for axis, what in zip(row, ("loss", "update"), strict=False):
                colour, last = COLOURS[run["clipped"]], np.searchsorted(steps, run["finite_steps"], "right") - 1
                axis.plot(steps, run[what], color=colour, linewidth=1, marker=".", markersize=3)
                if not run["finite"]:
                    axis.scatter(steps[last], run[what][last], color=colour, marker="x", zorder=3)
        for axis, what in zip(row, ("loss", "norm of the update"), strict=False):
            axis.set(xscale="log", yscale="log", xlabel="training step")
            axis.set_title(f"Adding, {name} {rate:g}: {what}")
        for axis, task in zip(row[2:], tasks(settings), strict=False):
            plot_errors(axis, [run for run in runs if run["task"] == task and run["variant"] == name])
            axis.set_title(f"{task.capitalize()}, {name}: error")
        row[0].set_ylim(1e-3, 1e4)
        row[2].set(yscale="log", ylim=(1e-4, 1e2))
    for clipped, name in CLIPPED.items():
        axes[0].plot([], [], color=COLOURS[clipped], label=f"{name}: a line, a dot a network")
    axes[0].scatter([], [], color=COLOURS[False], marker="x", label="NaN or Inf from here on")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return made


def plot_errors(axis: Any, own: Runs) -> None:
    """A dot a network over its learning rate; a cross at the top where none is left."""
    rates = list(dict.fromkeys(run["learning_rate"] for run in own))
    seeds = 1 + max(run["seed"] for run in own)
    for run in own:
        place = rates.index(run["learning_rate"]) + (0.1 if run["clipped"] else -0.3) + 0.2 * run["seed"] / seeds
        if math.isfinite(run["error"]):
            axis.scatter(place, run["error"], color=COLOURS[run["clipped"]], s=18, zorder=3)
        else:
            transform = axis.get_xaxis_transform()
            axis.scatter(place, 0.97, color=COLOURS[run["clipped"]], s=18, marker="x", transform=transform, zorder=3)
    axis.set(xlabel="learning rate")
    axis.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    level(axis, own[0]["chance"], "chance")


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
