"""Exported artifacts run in a program that cannot import this library."""

import subprocess
import sys

import numpy as np
import pytest

from experiments.export import Settings, run

BLOCKED = "import runpy, sys; sys.modules['lstm_jax'] = None; runpy.run_path(sys.argv[1])"


def test_artifacts_run_without_the_library(tmp_path):
    pytest.importorskip("flatbuffers")
    expected = run(Settings(time=9, directory=tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"step.jax", "network.jax", "run.py"}
    command = [sys.executable, "-c", BLOCKED, str(tmp_path / "run.py")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    said, off = np.array([line.split() for line in lines], float).T
    np.testing.assert_allclose(said, expected, atol=2e-6)
    assert (off < 1e-6).all()
