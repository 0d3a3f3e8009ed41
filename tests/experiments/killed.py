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


def kill_at(position: int, code: str) -> None:
    """Runs Python code in a process that kills itself when a training asks for the batch of this position."""
    dying = f"""
import os, signal, jax
jax.config.update("jax_numpy_dtype_promotion", "strict")
from experiments import trained
fit = trained.fit
def dying(step, state, batches, **options):
    def read(position):
        if position == {position}:
            os.kill(os.getpid(), signal.SIGKILL)
        return batches(position)
    return fit(step, state, read, **options)
trained.fit = dying
"""
    command = [sys.executable, "-c", dying + code]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)
    assert done.returncode == -9, done.stderr
