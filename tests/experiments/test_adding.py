"""The model of all experiments: it trains, it resumes, it draws."""

import json

import matplotlib
import numpy as np
import pytest

from experiments.adding import Settings, run

matplotlib.use("Agg")


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def settings(directory, steps, cell="lstm"):
    return Settings(length=5, hidden=3, seeds=2, batch=4, cell=cell, steps=steps, directory=directory)


def test_a_resumed_run_equals_one_without_a_stop(tmp_path):
    whole = run(settings(tmp_path / "whole", 6))
    run(settings(tmp_path / "parts", 3))
    parts = run(settings(tmp_path / "parts", 6))
    assert whole.shape == (2,) and whole[0] != whole[1]
    np.testing.assert_array_equal(whole, parts)
    losses = [[(line["step"], line["loss"]) for line in lines(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[0] == losses[1] and len(losses[0]) == 6
    assert (tmp_path / "parts" / "adding.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_every_cell_trains(tmp_path, cell):
    assert np.isfinite(run(settings(tmp_path, 2, cell))).all()
