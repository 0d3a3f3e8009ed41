"""Design choices: masks against loops by hand, sizes that match, choices that follow validation, all the files."""

import json

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

import lstm_jax as lj
from experiments import design_choices, gru_or_lstm
from experiments.design_choices import Settings, StepDropout
from lstm_jax.tasks import Adding, TemporalOrder

matplotlib.use("Agg")

SETTINGS = {
    "seeds": 2,
    "hidden": 3,
    "task_rates": (0.01, 0.1),
    "adding_length": 4,
    "order_length": 10,
    "task_steps": 4,
    "task_batch": 2,
    "task_tested": 4,
    "task_every": 2,
    "rounds": 3,
    "timed_steps": 2,
    "depths": (1, 2),
    "width": 4,
    "sizes": (20, 40),
    "digit_rates": (0.01, 0.1),
    "digit_steps": 2,
    "digit_batch": 4,
    "dropout_rates": (0.5,),
    "dropout_size": 20,
    "dropout_width": 3,
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("part", ["h", "c"])
def test_step_dropout_equals_a_loop_by_hand(part):
    rate, cell = 0.4, lj.LSTM(2, 5)
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (6, 3, 2))
    (last, _), ys = lj.scan(StepDropout(cell, part, rate), params, xs, key=jax.random.key(2))
    _, steps = jax.random.split(jax.random.key(2))
    w_x, w_h, b = (np.asarray(p, np.float64) for p in params)
    h, c, masks = np.zeros((3, 5)), np.zeros((3, 5)), []
    for t, x in enumerate(np.asarray(xs)):
        keep = np.asarray(jax.random.bernoulli(jax.random.fold_in(steps, t), 1 - rate, (3, 5)))
        masks.append(keep)
        seen, kept = (keep * h / (1 - rate), c) if part == "h" else (h, keep * c / (1 - rate))
        i, f, g, o = np.split(x @ w_x + seen @ w_h + b, 4, axis=1)
        c = sigmoid(f) * kept + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(ys[t], h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last, h, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(masks[1], masks[2])


def test_without_a_key_nothing_is_dropped():
    cell = lj.LSTM(2, 5)
    params, xs = cell.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (6, 3, 2))
    _, plain = lj.scan(cell, params, xs, implementation="xla")
    _, ys = lj.scan(StepDropout(cell, "c", 0.4), params, xs)
    np.testing.assert_array_equal(ys, plain)


def test_every_place_drops_its_own_part():
    """With a key the layer gives something else than without, but where it drops nothing itself."""
    for place in design_choices.PLACES:
        cell = design_choices.PLACES[place](design_choices.lstm(2, 3), 0.5)
        params, xs = cell.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (4, 3, 2))
        (_, plain), (_, ys) = (lj.scan(cell, params, xs, key=key) for key in (None, jax.random.key(2)))
        assert np.array_equal(plain, ys) == (place in ("none", "between layers")), place


@pytest.mark.parametrize("task", [Adding(60), TemporalOrder(60)])
def test_contenders_are_of_the_size_they_are_said_to_be(task):
    lstm, same_units, same_parameters = gru_or_lstm.contenders(task, 13).values()
    inputs, outputs = task.input_size, task.output_size

    def count(gates, extra, units):
        return gates * units * (inputs + units + 1) + extra * units + (units + 1) * outputs

    assert gru_or_lstm.parameters(lstm) == count(4, 0, 13)
    assert gru_or_lstm.parameters(same_units) == count(3, 1, 13)
    assert gru_or_lstm.parameters(same_parameters) == count(3, 1, 15)
    for units in (14, 16):
        assert abs(count(3, 1, 15) - count(4, 0, 13)) < abs(count(3, 1, units) - count(4, 0, 13))


@pytest.mark.parametrize(("goal", "steps", "solved"), [(0.35, 4, True), (0.05, 2, True), (100, 8, False)])
def test_steps_to_solve_are_those_of_the_first_test_passed(monkeypatch, goal, steps, solved):
    """Of 8 steps, tested every 2: a bias, falling alone, moves by the learning rate with each step of Adam."""
    task, settings = Adding(4), Settings(**{**SETTINGS, "task_steps": 8})
    monkeypatch.setattr(gru_or_lstm, "judged", lambda network, task, params, *_: (params.readout[0].b, None, None))
    monkeypatch.setattr(Adding, "loss", lambda self, outputs, *_: outputs.sum())
    monkeypatch.setattr(Adding, "solved", lambda self, outputs, *_: (outputs < -goal).all())
    network = gru_or_lstm.contenders(task, 3)["LSTM"]
    found = jax.jit(gru_or_lstm.steps_to_solve(network, task, settings))(jnp.float32(0.1), jax.random.key(0))
    assert (found["steps"], found["validation"], found["solved"]) == (steps, steps / 8, solved)


def test_every_choice_is_tried(tmp_path, monkeypatch):
    networks, places = gru_or_lstm.contenders, ("none", "h, one mask")
    # One of three networks, two of six places: each is a program to compile.
    monkeypatch.setattr(gru_or_lstm, "contenders", lambda *args: {"LSTM": networks(*args)["LSTM"]})
    monkeypatch.setattr(design_choices, "PLACES", {place: design_choices.PLACES[place] for place in places})
    settings = Settings(**SETTINGS, directory=tmp_path)
    report = design_choices.run(settings)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report.md", "design_choices.png"}
    text = (tmp_path / "results.json").read_text()
    runs = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["runs"]
    for task in ("same width", "same parameters"):
        own = [run for run in runs if run["task"] == task]
        assert len(own) == 2 * 2 * 2 * 2  # depths, sizes, rates, seeds
        assert {run["units"] for run in own if run["variant"] == "1"} == {4}
    for variant, size in {(run["variant"], run["size"]) for run in runs if "size" in run}:
        for task in ("same width", "same parameters", "dropout"):
            group = [run for run in runs if (run["task"], run["variant"], run.get("size")) == (task, variant, size)]
            if not group:
                continue
            means = {r: np.mean([run["validation"] for run in group if run["learning_rate"] == r]) for r in (0.01, 0.1)}
            (best,) = {run["learning_rate"] for run in group if run["best"]}
            assert means[best] == min(means.values())
            for run in group:
                for figure, examples in {"validation": 180, "error": 360, "training_error": size}.items():
                    wrong = run[figure] * examples
                    assert 0 <= wrong <= examples * 1.0001 and wrong == pytest.approx(round(wrong), abs=1e-3)
    assert len({run["variant"] for run in runs if run["task"] == "dropout"}) == 2
    for task in ("adding", "temporal order"):
        assert all(len(run["seconds"]) == 3 for run in runs if run["task"] == f"{task}, seconds a step")
        assert sum(run["task"] == task for run in runs) == 2 * 2  # rates, seeds
    assert report.count("\n| LSTM |") == 2 and "| none | " in report
