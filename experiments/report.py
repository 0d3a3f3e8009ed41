"""What the experiments share: tables, pictures, and files that are written whole.

Not an experiment itself.
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
import matplotlib.pyplot as plt
import numpy as np
import tyro

from experiments.runs import Runs


def command(run: Callable[[Any], str], settings: type) -> None:
    """Runs an experiment from the command line; what is wrong with its input is one line on stderr and status 1."""
    try:
        print(run(tyro.cli(settings)))
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(str(error)) from None


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
    settings: Any,
    name: str,
    runs: Runs,
    seconds: float,
    pictures: dict[str, Any],
    caption: str,
    tables: dict[str, str],
) -> str:
    """Writes results.json, PICTURE.png and report.md, each aside and then renamed; returns the report.

    The first picture stands on top of the report; what belongs to a table is shown by its text.
    """
    shown = {key: value for key, value in dataclasses.asdict(settings).items() if key != "directory"}
    versions = {"lstm_jax": version("lstm_jax"), "jax": jax.__version__, "python": platform.python_version()}
    result = {"settings": shown, "versions": versions, "seconds": round(seconds), "runs": runs}
    report = (
        f"# {caption}\n\n`python -m experiments.{name}`, {seconds:.0f} s; settings below.\n\n"
        + f"![{caption}]({next(iter(pictures))}.png)\n\n"
        + "".join(f"## {title}\n\n{text}\n" for title, text in tables.items())
        + "## Settings\n\n"
        + table([{"setting": key, "value": str(value)} for key, value in {**shown, **versions}.items()])
    )
    saves: dict[str, Callable[[Path], Any]] = {
        "results.json": lambda path: path.write_text(json.dumps(result, indent=1, default=str) + "\n"),
        **{f"{file}.png": picture.savefig for file, picture in pictures.items()},
        "report.md": lambda path: path.write_text(report),
    }
    settings.directory.mkdir(parents=True, exist_ok=True)
    for file, save in saves.items():
        save(aside := settings.directory / f".unfinished-{file}")
        os.replace(aside, settings.directory / file)
    for picture in pictures.values():
        plt.close(picture)
    return report
