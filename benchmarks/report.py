"""A result as files: results.json with every raw figure, report.md with tables and verdicts, the pictures."""

import json
import math
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import plots, remembered
from benchmarks.contenders import OURS


def write(result: dict[str, Any], folder: Path) -> Path:
    """Writes all files beside their final place and then renames the folder: nothing is ever half written.

    Returns the path of the report.
    """
    result = _as_float32(result)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        aside.chmod(0o755)
        (aside / "results.json").write_text(json.dumps(result) + "\n")
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


def _kept(result: dict[str, Any]) -> str:
    """What stands behind a report that took less time than its runs."""
    trained = sum(row["seconds"] for row in result.get("accuracy") or [])
    if trained <= result["seconds"]:
        return ""
    return f"; the runs, kept from earlier calls, took {trained:,.0f} s to train"


def _as_float32(x: Any) -> Any:
    """The same figures with the seven digits that float32 has."""
    if isinstance(x, dict):
        return {name: _as_float32(y) for name, y in x.items()}
    if isinstance(x, (list, tuple)):
        return [_as_float32(y) for y in x]
    return float(f"{x:.7g}") if isinstance(x, float) else x


def markdown(result: dict[str, Any], pictures: list[tuple[str, str]]) -> str:
    """The whole report as text."""
    environment = result["environment"]
    captions = {name: f"![{caption}]({name})\n\n*{caption}*\n" for name, caption in pictures}
    parts = [
        "# LSTM, GRU and vanilla RNN side by side\n",
        f"`{result['command']}`, {result['seconds']:.0f} s in all{_kept(result)}.\n",
    ]
    if rows := result.get("accuracy"):
        parts += ["## What they remember\n", bullets(remembered.verdicts(rows))]
        if lines := remembered.tried(rows):
            missed = "Not solved by both LSTM and GRU in every seed with fewer sequences than published; also tried:\n"
            parts += [missed, bullets(lines)]
        if left := result.get("runs_left"):
            parts += [f"{left} runs of this suite are left; the same command goes on where this one ended.\n"]
        parts += [text for name, text in captions.items() if name.startswith(("accuracy", "learning_curves"))]
        tables = {
            "Beside the published figures": (remembered.PUBLISHED_NOTE, remembered.published_table(rows)),
            "At other lengths than trained": (remembered.FURTHER_NOTE, remembered.further_table(rows)),
            "The tasks": (remembered.DEFINED_NOTE, remembered.defined_table(rows)),
            "Every run, at its best setting": (remembered.ACCURACY_NOTE, remembered.accuracy_table(rows)),
            "Every setting": (remembered.SETTINGS_NOTE, remembered.settings_table(rows)),
        }
        for title, (note, lines) in tables.items():
            parts += [f"### {title}\n", note, table(lines)] if lines else []
    if result.get("throughput"):
        rows = result["throughput"]
        parts += ["## How fast they are\n", bullets(speed_verdicts(rows))]
        parts += [captions["throughput.png"]] if "throughput.png" in captions else []
        parts += ["### Whole sequences\n", THROUGHPUT_NOTE, table(throughput_table(rows))]
        parts += ["### One step at batch 1, 256 units\n", table(step_table(rows))]
    if result.get("family"):
        parts += ["## The family beside the LSTM\n", FAMILY_NOTE, table(family_table(result["family"]))]
    if result.get("claims"):
        parts += ["## Two ways to write the same call\n", table(claims_table(result["claims"]))]
    parts += ["## Measured on\n", table([{"": k, "value": _plain(v)} for k, v in environment.items()])]
    return "\n".join(parts)


THROUGHPUT_NOTE = """\
Medians of interleaved rounds. Training is a forward pass and the gradients of parameters and inputs. FLOP/s count the
products alone; their share is of the rate of a large product timed in the same rounds. MB are temporary buffers by
XLA's own analysis. The last columns say how many times slower the other contenders are than lstm_jax.
"""


FAMILY_NOTE = """\
Medians of interleaved rounds, all cells in the same rounds, each by the implementation that it gets by default unless
its row says another. Training is a forward pass and the gradients of parameters and inputs.
"""


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
                "MB": _megabytes(own["temp_bytes"]),
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
            "a, MB": _megabytes(row["a_temp_bytes"]),
            "b, MB": _megabytes(row["b_temp_bytes"]),
            **{
                f"{side}, bits a byte": ", ".join(f"{x:.3f}" for x in row[f"{side}_bits"])
                for side in "ab"
                if f"{side}_bits" in row
            },
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


def bullets(lines: list[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines) + "\n"


def table(rows: list[dict]) -> str:
    """A Markdown table; columns are the first row's."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(v) for v in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _figure(x: float) -> str:
    return f"{x:.3g}" if x < 100 else f"{x:.0f}"


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.1f}"


def _plain(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
