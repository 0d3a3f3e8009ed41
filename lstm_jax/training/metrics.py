"""Metrics of a run as JSON lines, one object per logged step."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np


class MetricsLog:
    """Appends to `path` the metrics of steps after `step`; what is there of later steps is dropped first.

    A resumed run takes those steps again, and so leaves the file that a run without a stop leaves. A line is one JSON
    object: "step", the metrics, and "seconds", the wall time so far, compilation included, summed over resumed runs.
    Numbers keep every bit; one that is not finite is written as null; runs under vmap make a list.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = _lines_until(path, step)
        aside = path.with_name(path.name + ".tmp")
        aside.write_text("".join(f"{json.dumps(line)}\n" for line in kept))
        os.replace(aside, path)
        self._path = path
        self._began = time.perf_counter() - (kept[-1]["seconds"] if kept else 0.0)

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        seconds = round(time.perf_counter() - self._began, 3)
        names = dict.fromkeys(("loss", "grad_norm", *metrics))  # jit sorts the names; people look for the loss
        values = {name: _plain(np.asarray(metrics[name]).tolist()) for name in names}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values, "seconds": seconds}) + "\n")


def _lines_until(path: Path, step: int) -> list[dict[str, Any]]:
    kept = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # cut short by the end of the process, so the last one
            break
        if line["step"] <= step:
            kept.append(line)
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value if math.isfinite(value) else None
