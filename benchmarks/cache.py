"""Finished runs, kept by a hash of their settings, so that a suite that was interrupted goes on."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from benchmarks import environment


def digest(settings: dict[str, Any]) -> str:
    """Returns a name for a run's settings on this device with these versions."""
    found = environment.record()
    where = {name: found[name] for name in ("device", "devices", "threads", "versions")}
    return hashlib.sha256(json.dumps([settings, where], sort_keys=True).encode()).hexdigest()[:24]


def read(folder: Path | None, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the row that is kept for these settings, or None where there is none that can be read."""
    if folder is None:
        return None
    try:
        return json.loads((folder / f"{digest(settings)}.json").read_text())["row"]
    except (FileNotFoundError, ValueError, KeyError):
        return None


def write(folder: Path | None, settings: dict[str, Any], row: dict[str, Any]) -> None:
    """Keeps a row, with its settings beside it for a reader; written aside and then renamed."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest(settings)}.json"
    aside = path.with_suffix(f".unfinished-{os.getpid()}")
    aside.write_text(json.dumps({"settings": settings, "row": row}) + "\n")
    os.replace(aside, path)
