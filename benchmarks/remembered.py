"""Accuracy rows as sentences and tables, made of the figures alone."""

import statistics
from typing import Any

ACCURACY_NOTE = """\
The best setting is the one with most seeds solved, then with the lowest error, both on validation sequences, which are
looked at while training. Solved is what meets the criterion on them where training ends, and confirmed what then meets
it on test sequences as well: these are drawn once more, and nothing is chosen by them. The error is theirs. Steps and
seconds to solve are those to the first look that met the criterion, medians over the seeds that ever did; seconds share
the run's time evenly over its steps, and all settings and seeds of a run train at once. A run stops when every seed of
one setting is solved; one whose learning rate falls to zero takes all its steps.
"""
SETTINGS_NOTE = """\
A run stops when one setting is solved in all seeds; the other settings of the same run are then shown as they stood.
"""
PUBLISHED_NOTE = """\
Training sequences until validation first meets the criterion, at the best setting: the median of the seeds and the
slowest; confirmed are those that meet it on test sequences as well, where training ends. The criterion is the task's
own here (its docstring says how it departs from the paper's); the optimizer is clipped Adam and the initialisation of
today, of which the published figures had neither.
"""
DEFINED_NOTE = """\
Each as `lstm_jax.tasks` defines it, on how much it is judged, and where training ends at the latest.
"""
FURTHER_NOTE = """\
The networks of the best setting as they stood at the end of training, on test sequences of other lengths.
"""


def verdicts(rows: list[dict]) -> list[str]:
    """One sentence a task and length."""
    together: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["equal"] == "hidden size":
            together.setdefault((row["task"], row["length"]), []).append(row)
    return [
        f"**{task}, {length} steps**{_control(cells)}: " + "; ".join(f"{row['cell']} {_said(row)}" for row in cells)
        for (task, length), cells in together.items()
    ]


def _control(cells: list[dict]) -> str:
    """Whether the vanilla RNN was expected to keep up with the LSTM, and whether it does."""
    if not cells[0].get("control"):
        return ""
    solved = {row["cell"]: sum(_best(row)["solved"]) for row in cells}
    behind = solved.get("RNN", 0) < solved.get("LSTM", 0)
    return " (control, in which the RNN falls behind)" if behind and "RNN" in solved else " (control)"


def tried(rows: list[dict]) -> list[str]:
    """One sentence for each task that gated cells have not solved in every seed, or not as fast as published."""
    missed: dict[str, str] = {}
    for row in rows:
        if row["cell"] in ("LSTM", "GRU") and not _images(row) and not _reached(row):
            missed[row["task"]] = row.get("tried") or "no other setting"
    return [f"**{task}**: {what}" for task, what in missed.items()]


def _reached(row: dict) -> bool:
    best, published = _best(row), row.get("published")
    if not all(best["solved"]):
        return False
    return not published or max(best["steps_to_solve"]) * row["batch"] < published["sequences"]


def defined_table(rows: list[dict]) -> list[dict]:
    """One row a task and length: what it is exactly, and what a run gets of it."""
    together: dict[tuple, list[dict]] = {}
    for row in rows:
        if row.get("defined"):
            together.setdefault((row["task"], row["length"]), []).append(row)
    return [
        {
            "task": task,
            "steps long": length,
            "defined": f"`{cells[0]['defined']}`",
            "batch": cells[0]["batch"],
            "steps at most": ", ".join(
                [str(cells[0]["steps"])]
                + [f"{row['cell']} {row['steps']}" for row in cells if row["steps"] != cells[0]["steps"]]
            ),
        }
        for (task, length), cells in together.items()
    ]


def _said(row: dict) -> str:
    best = _best(row)
    solved, seeds = sum(best["solved"]), len(best["solved"])
    final = statistics.median(best["final_error"])
    if _images(row):
        return f"{1 - final:.1%} of the test images right (median of {seeds} seeds)"
    if solved == seeds:
        steps = [s for s in best["steps_to_solve"] if s is not None]
        confirmed = sum(best["confirmed"])
        less = f", confirmed in {confirmed}" if confirmed < seeds else ""
        return f"solved in all {seeds} seeds{less}, after {statistics.median(steps):.0f} steps (median)"
    return (
        f"solved in {solved} of {seeds} seeds after {row['steps_taken']} steps, {row['figure']} "
        f"{final:.3g} (chance {row['chance']:.3g})"
    )


def accuracy_table(rows: list[dict]) -> list[dict]:
    """One row a run, at its best setting."""
    found = []
    for row in rows:
        best = _best(row)
        found.append(
            {
                "task": row["task"],
                "steps long": row["length"],
                "cell": row["cell"],
                "equal": row["equal"],
                "hidden": row["hidden_size"],
                "parameters": row["parameters"],
                "best setting": f"{best['init']}, {best['learning_rate']:g}",
                "solved": _count(row, best, "solved"),
                "confirmed": _count(row, best, "confirmed"),
                "steps to solve": _median(best["steps_to_solve"], "{:.0f}"),
                "seconds to solve": _median(best["seconds_to_solve"], "{:.1f}"),
                "sequences each": row["sequences"],
                "test error, median (range)": _spread(best["final_error"]),
                "chance": f"{row['chance']:.3g}",
            }
        )
    return found


def settings_table(rows: list[dict]) -> list[dict]:
    """One row a setting."""
    return [
        {
            "task": row["task"],
            "steps long": row["length"],
            "cell": f"{row['cell']} {row['hidden_size']}",
            "initialisation": setting["init"],
            "learning rate": f"{setting['learning_rate']:g}",
            "solved": _count(row, setting, "solved"),
            "after steps": row["steps_taken"],
            "test error, median (range)": _spread(setting["final_error"]),
        }
        for row in rows
        for setting in row["settings"]
    ]


def published_table(rows: list[dict]) -> list[dict]:
    """One row a run for whose task and length a paper says how many sequences its network needed."""
    found = []
    for row in rows:
        published, best = row.get("published"), _best(row)
        if not published or row["equal"] != "hidden size":
            continue
        seen = [s * row["batch"] for s in best["steps_to_solve"] if s is not None]
        whole = all(best["solved"]) and len(seen) == len(best["solved"])
        found.append(
            {
                "task": row["task"],
                "steps long": row["length"],
                "cell": row["cell"],
                "solved": _count(row, best, "solved"),
                "confirmed": _count(row, best, "confirmed"),
                "sequences": f"{statistics.median(seen):,.0f}" if seen else "",
                "slowest seed": f"{max(seen):,}" if whole else f"not after {row['sequences']:,}",
                "published": f"{published['sequences']:,}",
                "fewer in every seed": "yes" if whole and max(seen) < published["sequences"] else "no",
                "by": published["source"],
            }
        )
    return found


def further_table(rows: list[dict]) -> list[dict]:
    """One row a run and other length, at the run's best setting."""
    return [
        {
            "task": row["task"],
            "trained at": row["length"],
            "cell": row["cell"],
            "tested at": length,
            "test error, median (range)": _spread(errors),
            "chance": f"{row['further_chance'][length]:.3g}",
        }
        for row in rows
        if row["equal"] == "hidden size"
        for length, errors in _best(row).get("further", {}).items()
    ]


def _best(row: dict) -> dict[str, Any]:
    return row["settings"][row["best"]]


def _images(row: dict) -> bool:
    return row["figure"].endswith("images") or "digits" in row["task"]


def _count(row: dict, setting: dict, what: str) -> str:
    """How many seeds are solved or confirmed; nothing of images, which have no criterion."""
    return "" if _images(row) else f"{sum(setting[what])}/{len(setting[what])}"


def _median(values: list, form: str) -> str:
    known = [v for v in values if v is not None]
    return form.format(statistics.median(known)) if known else ""


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
