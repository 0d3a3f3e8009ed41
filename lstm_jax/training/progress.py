"""A progress bar for people who watch."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def progress_bar(start: int, steps: int, show: bool) -> Iterator[Callable]:
    """Yields `report(step, loss=None)`, which moves a bar on stderr: if asked to `show` it, and on a terminal."""
    if not show or not sys.stderr.isatty():
        yield lambda step, loss=None: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        MofNCompleteColumn(),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=steps, completed=start)

        def report(step: int, loss=None) -> None:
            if loss is None:
                bar.update(task, completed=step)
            else:
                bar.update(task, completed=step, description=f"loss {np.mean(loss):.4g}")

        yield report
