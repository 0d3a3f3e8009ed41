"""An experiment that is killed between its first checkpoint and its last."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lstm_jax.training import latest_step


def kill(experiment: str, options: Sequence[str], directory: Path, part: str, steps: int) -> None:
    """Starts `python -m experiments.EXPERIMENT` and kills it once `directory/trained/PART` has a checkpoint."""
    command = [sys.executable, "-m", f"experiments.{experiment}", *options, "--directory", str(directory)]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    trained = directory / "trained" / part
    ends = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < ends and not (trained.exists() and latest_step(trained)):
        time.sleep(0.01)
    process.kill()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == -9, stderr
    assert 0 < (latest_step(trained) or 0) < steps
    assert not (directory / "report.md").exists()
