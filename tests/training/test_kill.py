"""Processes that are told to stop, or are not even asked."""

import random
import signal
import subprocess
import sys
from pathlib import Path

from lstm_jax.training import fit, latest_step, restore
from tests.training import runs


def started(directory, steps, checkpoint_every, positions):
    """A process that trains into `directory` and has read this many batches."""
    command = [sys.executable, "-m", "tests.training.runs", str(directory), str(steps), str(checkpoint_every)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    read(process, positions)
    return process


def read(process, positions):
    for _ in range(positions):
        process.stdout.readline()


def uninterrupted(directory, steps):
    state = fit(runs.step, runs.first_state(), runs.batches, steps=steps, directory=directory, log_every=1)
    return state, runs.lines(directory)


def test_signals_save_and_leave(tmp_path):
    codes = {signal.SIGTERM: 143, signal.SIGINT: -signal.SIGINT}
    processes = {signum: started(tmp_path / signum.name, 10**6, 10**6, positions=0) for signum in codes}
    for signum, process in processes.items():
        read(process, positions=5)
        process.send_signal(signum)
    for signum, process in processes.items():
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == codes[signum], stderr
        assert ("KeyboardInterrupt" in stderr) == (signum == signal.SIGINT)
        reached = latest_step(tmp_path / signum.name)
        assert reached is not None and reached >= 4
        state, lines = uninterrupted(tmp_path / f"{signum.name} whole", reached)
        assert runs.lines(tmp_path / signum.name) == lines
        runs.assert_same(restore(tmp_path / signum.name, state), state)


def test_truncated_data_say_so(tmp_path):
    # In a process of its own: reads that Orbax gives up end in its threads, at some time, with warnings.
    fit(runs.step, runs.first_state(), runs.batches, steps=2, directory=tmp_path)
    for file in (tmp_path / "checkpoints" / "2").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:10])
    process = started(tmp_path, 4, 1, positions=0)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "ValueError: `directory` must hold whole checkpoints, but" in stderr and latest_step(tmp_path) == 2


def test_killed_again_and_again_a_run_can_be_resumed(tmp_path):
    steps, every = 200, 2
    moments = random.Random(0)
    reached = 0
    for _ in range(5):
        # Most of this process's time goes into its checkpoints, so that most kills hit one that is half written.
        process = started(tmp_path / "parts", steps, every, positions=moments.randint(3, 8))
        try:
            process.wait(moments.uniform(0, 0.15))
        except subprocess.TimeoutExpired:
            process.kill()
        stdout, stderr = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL, stderr
        started_at, reached = reached, latest_step(tmp_path / "parts") or 0
        assert reached > started_at  # three batches and more were read: the first checkpoint of this life was complete
        last_read = int((stdout.split() or [reached])[-1])
        assert last_read - reached <= every
        restore(tmp_path / "parts", runs.first_state())
    resumed = fit(runs.step, runs.first_state(), runs.batches, steps=steps, directory=tmp_path / "parts", log_every=1)
    state, lines = uninterrupted(tmp_path / "whole", steps)
    runs.assert_same(resumed, state)
    assert runs.lines(tmp_path / "parts") == lines
