"""Two results side by side: what became faster or slower, what is solved now and was not."""

import json
from pathlib import Path
from typing import Any

from benchmarks.report import table

SPEED_KEY = ("cell", "contender", "mode", "batch", "time", "input_size", "hidden_size", "dtype")
RUN_KEY = ("task", "length", "cell", "equal", "hidden_size")


def compare(a: Path, b: Path) -> str:
    """Returns the rows that both results have, and the ratio of b to a."""
    old, new = load(a), load(b)
    try:
        return _tables(old, new)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"`a`, `b`: expected rows of these benchmarks, got one without {error}") from None


def _tables(old: dict[str, Any], new: dict[str, Any]) -> str:
    parts = []
    environments = [result["environment"] for result in (old, new)]
    changed = [k for k in environments[0] if k != "date" and environments[0][k] != environments[1].get(k)]
    if changed:
        parts.append(f"Not the same environment: {', '.join(changed)} differ.\n")
    speed = [
        {
            **{k: now[k] for k in SPEED_KEY},
            "a, ms": f"{was['seconds'] * 1e3:.3g}",
            "b, ms": f"{now['seconds'] * 1e3:.3g}",
            "b faster by": f"{was['seconds'] / now['seconds']:.2f}x",
        }
        for was, now in _both(old, new, "throughput", SPEED_KEY)
    ]
    runs = [
        {**{k: now[k] for k in RUN_KEY}, "a": _run(was), "b": _run(now)}
        for was, now in _both(old, new, "accuracy", RUN_KEY)
    ]
    parts += [table(rows) for rows in (speed, runs) if rows]
    return "\n".join(parts) if speed or runs else "The two results have no row in common.\n"


def load(path: Path) -> dict[str, Any]:
    """Reads one results.json; ValueError says what is wrong with it."""
    try:
        result = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"`{path}`: expected a results.json, got {error}") from None
    if not isinstance(result, dict) or "environment" not in result:
        raise ValueError(f"`{path}`: expected a results.json of these benchmarks, got other JSON")
    return result


def _both(old: dict, new: dict, part: str, key: tuple[str, ...]) -> list[tuple[dict, dict]]:
    before = {tuple(row[k] for k in key): row for row in old.get(part, [])}
    rows = ((before.get(tuple(row[k] for k in key)), row) for row in new.get(part, []))
    return [(was, now) for was, now in rows if was is not None]


def _run(row: dict) -> str:
    best = row["settings"][row["best"]]
    errors = sorted(best["final_error"])
    return f"{sum(best['solved'])}/{len(best['solved'])} solved, error {errors[len(errors) // 2]:.3g}"
