"""A result as files: results.json with every raw figure, report.md with tables and verdicts, the pictures."""

import json
import math
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.contenders import OURS


def write(result: dict[str, Any], folder: Path) -> Path:
    """Writes all files beside their final place and then renames the folder: nothing is ever half written.

    Returns the path of the report.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        aside.chmod(0o755)
        (aside / "results.json").write_text(json.dumps(result, indent=1) + "\n")
        pictures = plots.draw(result, aside)
        (aside / "report.md").write_text(markdown(result, pictures))
        if folder.exists():
            old = aside.with_name(aside.name + "-old")
            os.rename(folder, old)
            try:
                os.rename(aside, folder)
            except BaseException:
                os.rename(old, folder)
                raise
            shutil.rmtree(old)
        else:
            os.rename(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder / "report.md"


def markdown(result: dict[str, Any], pictures: list[tuple[str, str]]) -> str:
    """The whole report as text."""
    environment = result["environment"]
    captions = {name: f"![{caption}]({name})\n\n*{caption}*\n" for name, caption in pictures}
    parts = [
        "# LSTM, GRU and vanilla RNN side by side\n",
        f"`{result['command']}`, {result['seconds']:.0f} s in all.\n",
    ]
    if result.get("accuracy"):
        parts += ["## What they remember\n", "\n".join(f"- {line}" for line in verdicts(result["accuracy"])) + "\n"]
        parts += [captions[n] for n in ("accuracy.png", "learning_curves.png") if n in captions]
        parts += ["### Every run, at its best setting\n", ACCURACY_NOTE, table(accuracy_table(result["accuracy"]))]
        parts += ["### Every setting\n", SETTINGS_NOTE, table(settings_table(result["accuracy"]))]
    if result.get("throughput"):
        rows = result["throughput"]
        parts += ["## How fast they are\n", "\n".join(f"- {line}" for line in speed_verdicts(rows)) + "\n"]
        parts += [captions["throughput.png"]] if "throughput.png" in captions else []
        parts += ["### Whole sequences\n", THROUGHPUT_NOTE, table(throughput_table(rows))]
        parts += ["### One step at batch 1, 256 units\n", table(step_table(rows))]
    if result.get("family"):
        parts += ["## The family beside the LSTM\n", FAMILY_NOTE, table(family_table(result["family"]))]
    if result.get("claims"):
        parts += ["## Two ways to write the same call\n", table(claims_table(result["claims"]))]
    parts += ["## Measured on\n", table([{"": k, "value": _plain(v)} for k, v in environment.items()])]
    return "\n".join(parts)


ACCURACY_NOTE = """\
The best setting is the one with most seeds solved, then with the lowest error (for the digits: on the validation set).
Steps and seconds to solve are medians over the seeds that did; seconds share the run's time evenly over its steps, and
all settings and seeds of a run train at once. A run stops when every seed of one setting is solved.
"""
SETTINGS_NOTE = """\
A run stops when one setting is solved in all seeds; the other setting of the same run is then shown as it stood.
"""
THROUGHPUT_NOTE = """\
Medians of interleaved rounds. Training is a forward pass and the gradients of parameters and inputs. FLOP/s count the
products alone; their share is of the rate of a large product timed in the same rounds. MB are temporary buffers by
XLA's own analysis. The last columns say how many times slower the other contenders are than lstm_jax.
"""


FAMILY_NOTE = """\
Medians of interleaved rounds, all cells in the same rounds, each by the implementation that it gets by default unless
its row says another. Training is a forward pass and the gradients of parameters and inputs.
"""


def verdicts(rows: list[dict]) -> list[str]:
    """One sentence a task and length, made of the figures alone."""
    lines = []
    for row in rows:
        best = row["settings"][row["best"]]
        if row["equal"] != "hidden size":
            continue
        solved, seeds = sum(best["solved"]), len(best["solved"])
        final = statistics.median(best["final_error"])
        steps = [s for s in best["steps_to_solve"] if s is not None]
        said = (
            f"{1 - final:.1%} of the test digits right (median of {seeds} seeds)"
            if "digits" in row["task"]
            else f"solved in all {seeds} seeds, after {statistics.median(steps):.0f} steps (median)"
            if solved == seeds
            else f"solved in {solved} of {seeds} seeds after {row['steps_taken']} steps, {row['figure']} "
            f"{final:.3g} (chance {row['chance']:.3g})"
        )
        title = f"**{row['task']}, {row['length']} steps**"
        if not lines or not lines[-1].startswith(title):
            lines.append(f"{title}: ")
        else:
            lines[-1] += "; "
        lines[-1] += f"{row['cell']} {said}"
    return lines


def speed_verdicts(rows: list[dict]) -> list[str]:
    """Geometric means of the interleaved ratios, by contender and mode."""
    lines = []
    for contender in dict.fromkeys(r["contender"] for r in rows):
        if contender == OURS:
            continue
        said = []
        for mode in dict.fromkeys(r["mode"] for r in rows):
            ratios = [r["speedup_of_ours"] for r in rows if r["contender"] == contender and r["mode"] == mode]
            if ratios:
                mean = math.exp(statistics.fmean(map(math.log, ratios)))
                said.append(f"{mode} {mean:.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")
        lines.append(f"against {contender}, geometric mean and range: {', '.join(said)}")
    return lines


def accuracy_table(rows: list[dict]) -> list[dict]:
    found = []
    for row in rows:
        best = row["settings"][row["best"]]
        found.append(
            {
                "task": row["task"],
                "steps long": row["length"],
                "cell": row["cell"],
                "equal": row["equal"],
                "hidden": row["hidden_size"],
                "parameters": row["parameters"],
                "best setting": f"{best['init']}, {best['learning_rate']:g}",
                "solved": f"{sum(best['solved'])}/{len(best['solved'])}" if "digits" not in row["task"] else "",
                "steps to solve": _median(best["steps_to_solve"], "{:.0f}"),
                "seconds to solve": _median(best["seconds_to_solve"], "{:.1f}"),
                "sequences each": row["sequences"],
                "error, median (range)": _spread(best["final_error"]),
                "chance": f"{row['chance']:.3g}",
            }
        )
    return found


def settings_table(rows: list[dict]) -> list[dict]:
    return [
        {
            "task": row["task"],
            "steps long": row["length"],
            "cell": f"{row['cell']} {row['hidden_size']}",
            "initialisation": setting["init"],
            "learning rate": f"{setting['learning_rate']:g}",
            "solved": f"{sum(setting['solved'])}/{len(setting['solved'])}" if "digits" not in row["task"] else "",
            "after steps": row["steps_taken"],
            "error, median (range)": _spread(setting["final_error"]),
        }
        for row in rows
        for setting in row["settings"]
    ]


def throughput_table(rows: list[dict]) -> list[dict]:
    """One row a case: our own figures, then how many times slower each other contender is in the same rounds."""
    found = []
    for own, others in _cases(rows, step=False):
        found.append(
            {
                "cell": own["cell"],
                "B, T, D, H": f"{own['batch']}, {own['time']}, {own['input_size']}, {own['hidden_size']}",
                "equal": own["equal"] if own.get("seeds", 1) == 1 else f"{own['seeds']} seeds by vmap",
                "mode": own["mode"],
                "by": own.get("implementation") or "",
                "ms": _figure(own["seconds"] * 1e3),
                "steps/s": f"{own['tokens_per_second']:,.0f}",
                "GFLOP/s": f"{own['gflops']:.1f}",
                "of product": f"{own['share_of_product']:.0%}",
                "MB": "" if own["temp_bytes"] is None else f"{own['temp_bytes'] / 1e6:.1f}",
                "compile s": f"{own['compile_seconds']:.2f}",
                **{name: f"{row['speedup_of_ours']:.2f}x" for name, row in others.items()},
            }
        )
    return found


def step_table(rows: list[dict]) -> list[dict]:
    """One row a cell, as in `throughput_table`."""
    return [
        {
            "cell": own["cell"],
            "microseconds": _figure(own["seconds"] * 1e6),
            **{name: f"{row['speedup_of_ours']:.2f}x" for name, row in others.items()},
        }
        for own, others in _cases(rows, step=True)
    ]


def claims_table(rows: list[dict]) -> list[dict]:
    """One row a pair of ways to write the same call."""
    return [
        {
            "cell": row["cell"],
            "B, T, D, H": ", ".join(map(str, row["shape"])),
            "mode": row["what"],
            "a": row["a"],
            "b": row["b"],
            "a, ms": _figure(row["a_seconds"] * 1e3),
            "b, ms": _figure(row["b_seconds"] * 1e3),
            "b/a time": f"{row['time_ratio']:.2f}",
            "a, MB": f"{row['a_temp_bytes'] / 1e6:.1f}",
            "b, MB": f"{row['b_temp_bytes'] / 1e6:.1f}",
        }
        for row in rows
    ]


def family_table(rows: list[dict]) -> list[dict]:
    """One row a cell and shape: its own figures, and how many times the LSTM's they are."""
    found: dict[tuple, dict] = {}
    for row in rows:
        shape = ", ".join(map(str, row["shape"]))
        own = found.setdefault((row["cell"], shape), {"cell": row["cell"], "B, T, D, H": shape})
        own |= {"by": row["implementation"], "parameters": f"{row['parameters']:,}"}
        own[f"{row['mode']}, ms"] = _figure(1e3 * row["seconds"])
        own[f"{row['mode']}, LSTM = 1"] = f"{row['times_the_lstm']:.2f}"
    return list(found.values())


CASE = ("cell", "batch", "time", "input_size", "hidden_size", "seeds", "equal", "mode")
"""What tells one case of the timings from another."""


def _cases(rows: list[dict], *, step: bool) -> list[tuple[dict, dict[str, dict]]]:
    """Our row of each case, with those of the others by name."""
    cases: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        if (row["mode"] == "step") == step:
            key = tuple(row.get(k) for k in CASE)
            cases.setdefault(key, {})[row["contender"]] = row
    return [(case.pop(OURS), case) for case in cases.values()]


def table(rows: list[dict]) -> str:
    """A Markdown table; columns are the first row's."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(v) for v in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _median(values: list, form: str) -> str:
    known = [v for v in values if v is not None]
    return form.format(statistics.median(known)) if known else ""


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _figure(x: float) -> str:
    return f"{x:.3g}" if x < 100 else f"{x:.0f}"


def _plain(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
