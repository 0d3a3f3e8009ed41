"""Recurrence and attention: networks of one budget, a few steps of each, and what the files should hold."""

import json
import math

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

import lstm_jax as lj
from experiments import attention
from lstm_jax.models import Linear, Network
from tests.contenders import close, random_params

matplotlib.use("Agg")

SETTINGS = {
    "parameters": 200,
    "seeds": 2,
    "learning_rates": (0.01, 0.1),
    "tested": 3,
    "pairs": (2,),
    "recall_steps": 2,
    "recall_batch": 2,
    "parity_lengths": (3, 5),
    "parity_steps": 2,
    "parity_batch": 2,
    "adding_length": 4,
    "adding_steps": 2,
    "adding_batch": 2,
    "speed_parameters": 150,
    "speed_inputs": 3,
    "speed_lengths": (4,),
    "speed_batch": 2,
    "generated": 3,
    "rounds": 2,
    "least_seconds": 0.0,
}


def test_networks_fill_their_budget():
    budget = 1500
    for name, network in attention.networks(12, 6, budget).items():
        params = jax.eval_shape(network.init, jax.random.key(0))
        used = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
        assert used == attention.weights(network) <= budget
        size = network.readout.sizes[0]
        more = {  # what one unit more takes, in this order: inputs and outputs, bias, readout, recurrence
            "LSTM": 4 * 12 + 4 + 6 + 4 * (2 * size + 1),
            "GRU": 3 * 12 + 4 + 6 + 3 * (2 * size + 1),
            "minGRU": 2 * 12 + 4 + 6 + 2 * (2 * size + 1),
            "Transformer": 2 * (2 * size + 1),  # of the MLP in two blocks
        }
        assert used + more[name] > budget
    assert name == "Transformer" and network.layer.mlp_size >= 4 * size


def test_generation_feeds_outputs_back_from_a_full_cache_or_a_carry():
    """Against steps taken one by one."""
    settings = attention.Settings(**SETTINGS)
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    networks = attention.networks(3, 3, 300)
    models = {name: (networks[name], random_params(networks[name])) for name in ("LSTM", "Transformer")}
    for name, call in attention.generation(models, settings).items():
        network, params = models[name]
        x = xs[0]
        layer = network.layer
        if name == "LSTM":
            step, carry = layer.step, layer.initial_carry(params.layer, (2,))
        else:
            step, carry = layer.decode, layer.empty_cache(params.layer, 2, 5)._replace(position=jnp.int32(2))
        step = jax.jit(step)
        for _ in range(3):
            carry, y = step(params.layer, carry, x)
            x = network.readout(params.readout, y)
        assert name == "LSTM" or int(carry.position) == 5
        close(call(xs), x, scale=10)


def test_times_are_medians_of_interleaved_rounds(monkeypatch):
    now, order = [0.0], []
    waits = {"a": iter([9, 1, 1, 5, 2]), "b": iter([9, 4, 4, 4, 4])}
    monkeypatch.setattr(attention.time, "perf_counter", lambda: now[0])

    def call(name):
        def run(xs):
            order.append(name)
            now[0] += next(waits[name])
            return xs

        return run

    assert attention.interleaved({name: call(name) for name in "ab"}, 0, 3, 0.0) == {"a": 2, "b": 4}
    assert order == list("ababababab")


def test_the_experiment_writes_all_that_it_finds(tmp_path, monkeypatch):
    def networks(inputs, outputs, parameters):  # one model: each is programs to compile
        return {"GRU": Network(lj.Recurrent(lj.GRU(inputs, 2)), Linear(2, outputs))}

    monkeypatch.setattr(attention, "networks", networks)
    monkeypatch.setattr(attention, "COLOURS", {"GRU": "black"})
    report = attention.run(attention.Settings(**SETTINGS, directory=tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report.md", "attention.png"}
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    for task, tests in {"recall, 2 pairs": 1, "parity": 2, "adding": 1}.items():
        own = [run for run in runs if run["task"] == task]
        assert [(run["learning_rate"], run["seed"]) for run in own] == [(0.01, 0), (0.01, 1), (0.1, 0), (0.1, 1)]
        for run in own:
            assert len(run["errors"]) == tests and run["error"] == run["errors"][0] and np.isfinite(run["errors"]).all()
            assert run["validation"] <= run["chance"] + 1e-6 and isinstance(run["solved"], bool)
    times = [run for run in runs if run["task"] == attention.SPEED]
    assert [(run["length"], run["kind"]) for run in times] == [
        (4, kind) for kind in ("training", "forward", "generation")
    ]
    for run in times:
        tokens = 2 * (3 if run["kind"] == "generation" else run["length"])
        assert run["tokens_per_second"] == pytest.approx(tokens / run["seconds"])
    assert report.count("| GRU |") == 3 + 3
