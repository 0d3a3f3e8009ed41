"""Clipping: the one unit against a loop by hand, the files, and the runs that are lost."""

import json
import math

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from experiments import clipping
from experiments.clipping import ADAM, DESCENT, MOMENTUM
from lstm_jax.tasks import Adding

matplotlib.use("Agg")

SETTINGS = {
    "cliff_rates": (1.0,),
    "cliff_starts": 20,
    "cliff_steps": 60,
    "cliff_grid": 5,
    "adding_length": 4,
    "hidden": 3,
    "seeds": 2,
    "sgd_rates": (1e-4, 10.0),
    "adam_rates": (1e-3,),
    "shown_rates": (10.0, 1e-3),
    "steps": 40,
    "batch": 2,
    "tested": 4,
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(w, b):
    """The error of x_t = w sigmoid(x_{t-1}) + b, x_0 = 0.5, and its gradient, carried forward along the steps."""
    x, gradient = 0.5, np.zeros(2)
    for _ in range(50):
        s = sigmoid(x)
        gradient = np.array([s, 1.0]) + w * s * (1 - s) * gradient
        x = w * s + b
    s = sigmoid(x)
    return (s - 0.7) ** 2, 2 * (s - 0.7) * s * (1 - s) * gradient


@pytest.mark.parametrize("max_norm", [None, 0.1])
def test_a_descent_equals_one_by_hand(max_norm):
    start, rate = np.array([5.0, -1.5]), 0.3
    trace = jax.jit(lambda: clipping.on_cliff(DESCENT, rate, max_norm, jnp.asarray(start, jnp.float32), 55))()
    point, clipped = start, 0
    for step in range(55):
        error, gradient = by_hand(*point)
        norm = np.linalg.norm(gradient)
        np.testing.assert_allclose([trace["w"][step], trace["b"][step]], point, rtol=1e-3)
        np.testing.assert_allclose(trace["loss"][step], error, rtol=0.02, atol=1e-5)
        if max_norm is not None and norm >= max_norm:  # algorithm 1
            gradient, clipped = gradient * max_norm / norm, clipped + 1
        point = point - rate * gradient
        np.testing.assert_allclose(trace["update"][step], rate * np.linalg.norm(gradient), rtol=0.02)
    assert max_norm is None or clipped > 5  # the descent has come to where it matters


@pytest.mark.parametrize(("name", "ratio"), [(DESCENT, 1.0), (MOMENTUM, 1.0), (ADAM, None)])
def test_clipping_keeps_the_direction_of_the_first_update(name, ratio):
    gradient = {"a": jnp.array([3.0, 0.0]), "b": jnp.array(-4.0)}
    updates = {}
    for max_norm in (None, 0.5):
        one = clipping.optimizer(name, jnp.float32(0.1), max_norm)
        with jax.numpy_dtype_promotion("standard"):  # as the training step does
            updates[max_norm], _ = one.update(gradient, one.init(gradient))
    without, clipped = (np.array([*u["a"], u["b"]]) for u in updates.values())
    if ratio is None:  # Adam's first step is the same, whatever the gradient's length
        np.testing.assert_allclose(clipped, without, rtol=1e-5)
    else:
        np.testing.assert_allclose(without, [-0.3, 0, 0.4], rtol=1e-6)
        np.testing.assert_allclose(clipped, without * 0.5 / 5, rtol=1e-6)


def test_a_run_tells_which_networks_are_lost(tmp_path, monkeypatch):
    # One of three on the cliff, one of two tasks: each is programs to compile.
    monkeypatch.setattr(clipping, "OPTIMIZERS", (DESCENT,))
    monkeypatch.setattr(clipping, "tasks", lambda settings: {"adding": Adding(settings.adding_length)})
    settings = clipping.Settings(**SETTINGS, directory=tmp_path)
    report = clipping.run(settings)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report.md", "clipping.png", "cliff.png"}
    text = (tmp_path / "results.json").read_text()
    runs = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["runs"]
    units = [run for run in runs if run["task"] == "one unit"]
    assert [run["clipped"] for run in units] == [False, True] and all(len(run["error"]) == 20 for run in units)
    longest = [max(run["largest_update"]) for run in units]
    assert longest[0] > 5 * settings.cliff_norm and longest[1] <= 1.001 * settings.cliff_norm
    own = [run for run in runs if run["task"] == "adding"]
    assert len(own) == 2 * (2 + 1) * 2  # with and without clipping, rates, seeds
    for run in own:
        assert run["finite"] == (run["finite_steps"] == 40) == (run["largest_update"] is not None)
        assert run["error"] is None or math.isfinite(run["error"])
        if run["clipped"]:
            assert run["finite"]
        if run["clipped"] and run["variant"] == MOMENTUM:
            assert run["largest_update"] <= 10 * run["learning_rate"] * settings.max_norm * 1.001
    lost = [run for run in own if not run["finite"]]
    assert {(run["variant"], run["clipped"], run["learning_rate"]) for run in lost} == {(MOMENTUM, False, 10.0)}
    assert f"| momentum | 10 | {len(lost)}/2 | 0/2 | " in report
