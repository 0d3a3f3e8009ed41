"""What the experiments on gates share: many runs in one program, the choice of a learning rate, tables and files.

Not an experiment itself; `continual_reber`, `lstm_variants` and `peepholes` are.
"""

import dataclasses
import json
import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import lax

import lstm_jax as lj
from lstm_jax.models import Linear, Network
from lstm_jax.tasks import Task
from lstm_jax.training import clipped_adam, init_state, make_step

Runs = list[dict[str, Any]]
Figures = Callable[[Any, Any], dict[str, Any]]
"""A run, from learning rate and key to figures: "validation" is an error of at most chance, so that means are sound."""


def train(loss_fn: Callable, params: Any, carry: Any, rate: Any, key: Any, steps: int) -> Any:
    """Returns the parameters after `steps` steps of Adam, whose learning rate falls to nothing."""
    optimizer = clipped_adam(lambda step: rate * (1 - step / steps))
    state = init_state(params, optimizer, key, carry)
    return lax.scan(make_step(loss_fn, optimizer), state, length=steps)[0].params


def on_sequences(cell: lj.Cell, task: Task, test_task: Task, *, steps: int, batch: int, tested: int) -> Figures:
    """A run on fresh sequences; validated and tested on `tested` sequences of `test_task` each."""
    network = Network(lj.Recurrent(cell), Linear(cell.output_shape[0], task.output_size))

    def judged(task: Task, params: Any, key: Any, count: int) -> tuple:
        sample = task.sample(key, count)
        return network(params, sample.inputs)[1], sample.targets, sample.mask

    def loss_fn(params: Any, _: None, carry: None, key: Any) -> tuple:
        return task.loss(*judged(task, params, key, batch)), (carry, {})

    def run(rate: Any, key: Any) -> dict[str, Any]:
        params = train(loss_fn, network.init(key), None, rate, key, steps)
        test = judged(test_task, params, jax.random.key(1), tested)
        error = test_task.error(*judged(test_task, params, jax.random.key(2), tested))
        validation = jnp.fmin(error, test_task.chance)
        return {"validation": validation, "error": test_task.error(*test), "solved": test_task.solved(*test)}

    return run


def every_run(run: Figures, learning_rates: Sequence[float], seeds: int, **name: Any) -> Runs:
    """Runs every learning rate with every seed as one program; "best" marks those of the best rate on average."""
    rates, keys = jnp.asarray(learning_rates, jnp.float32), jax.random.split(jax.random.key(0), seeds)
    figures = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(rates, keys))
    best = int(np.argmin(figures["validation"].mean(1)))
    return [
        {
            **name,
            "learning_rate": rate,
            "seed": seed,
            "best": i == best,
            **{figure: x[i, seed].tolist() for figure, x in figures.items()},
        }
        for i, rate in enumerate(learning_rates)
        for seed in range(seeds)
    ]


def by_variant(runs: Runs, task: str) -> dict[str, Runs]:
    """The runs on a task at each variant's best learning rate."""
    own = [run for run in runs if run["task"] == task and run["best"]]
    names = dict.fromkeys(run["variant"] for run in own)
    return {name: [run for run in own if run["variant"] == name] for name in names}


def spread(values: Sequence[float], form: str = ".2g") -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def count(values: Sequence[bool]) -> str:
    return f"{sum(values)}/{len(values)}"


def error_rows(runs: Runs, task: str) -> list[dict[str, str]]:
    """One row a variant: its best learning rate, solved seeds and error."""
    return [
        {
            "variant": variant,
            "learning rate": f"{own[0]['learning_rate']:g}",
            "solved": count([run["solved"] for run in own]),
            "error, median (range) of seeds": spread([run["error"] for run in own]),
        }
        for variant, own in by_variant(runs, task).items()
    ]


def table(rows: list[dict[str, str]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([row[name] for name in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def dots(axis: Any, names: Sequence[str], groups: Sequence[Sequence[float]], colours: Sequence[str]) -> None:
    """A dot a seed and a bar at their median, on a logarithmic scale."""
    for place, (values, colour) in enumerate(zip(groups, colours, strict=True)):
        axis.scatter(place + np.linspace(-0.2, 0.2, len(values)), values, color=colour, s=22, zorder=3)
        axis.hlines(median(values), place - 0.35, place + 0.35, color=colour, linewidth=2)
    axis.set(yscale="log", xlim=(-0.6, len(names) - 0.4))
    axis.set_xticks(range(len(names)), names)


def level(axis: Any, height: float, name: str) -> None:
    """A line to compare with, its name above its right end, outside the dots."""
    axis.axhline(height, color="black", linestyle=":", linewidth=1.2, zorder=1)
    axis.annotate(name, (1.01, height), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)


def figure(*rows_and_columns: int, size: tuple[float, float], **options: Any) -> tuple[Any, list]:
    """A figure of 1000 or more pixels across, and its panels in a flat list."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 120})
    plt.rcParams.update({"axes.grid": True, "grid.alpha": 0.25, "axes.grid.axis": "y", "legend.frameon": False})
    made, axes = plt.subplots(*rows_and_columns, figsize=size, layout="constrained", squeeze=False, **options)
    return made, list(axes.flat)


def write(
    settings: Any, name: str, runs: Runs, seconds: float, picture: Any, caption: str, tables: dict[str, str]
) -> str:
    """Writes results.json, NAME.png and report.md, each aside and then renamed; returns the report."""
    shown = {key: value for key, value in dataclasses.asdict(settings).items() if key != "directory"}
    versions = {"lstm_jax": version("lstm_jax"), "jax": jax.__version__, "python": platform.python_version()}
    result = {"settings": shown, "versions": versions, "seconds": round(seconds), "runs": runs}
    report = (
        f"# {caption}\n\n`python -m experiments.{name}`, {seconds:.0f} s; settings below.\n\n"
        + f"![{caption}]({name}.png)\n\n"
        + "".join(f"## {title}\n\n{text}\n" for title, text in tables.items())
        + "## Settings\n\n"
        + table([{"setting": key, "value": str(value)} for key, value in {**shown, **versions}.items()])
    )
    saves: dict[str, Callable[[Path], Any]] = {
        "results.json": lambda path: path.write_text(json.dumps(result, indent=1) + "\n"),
        f"{name}.png": picture.savefig,
        "report.md": lambda path: path.write_text(report),
    }
    settings.directory.mkdir(parents=True, exist_ok=True)
    for file, save in saves.items():
        save(aside := settings.directory / f".unfinished-{file}")
        os.replace(aside, settings.directory / file)
    plt.close(picture)
    return report
