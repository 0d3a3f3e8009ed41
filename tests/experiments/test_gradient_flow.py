"""The two experiments on gradients: a few steps of each, and all that their files should hold."""

import json

import matplotlib
import numpy as np
import pytest

from experiments import gradient_flow, memory_traces

matplotlib.use("Agg")

every_learner = gradient_flow.learners
FLOW = {"hidden": 8, "seeds": 2, "radii": (0.5, 1.5), "lstm_scales": (1.0,), "lags": 10, "fit": (2, 8), "depth": 8}
FLOW |= {"width": 16, "distractors": 7, "steps": 2, "batch": 2, "sequences": 3, "tested": 4}
TRACES = {"seeds": 3, "length": 6, "units": 3, "adding_steps": 2, "distractors": 5, "hidden": 3, "steps": 2, "batch": 2}
TRACES |= {"tested": 4, "probed": 20}


def results(directory, *pictures):
    assert {path.name for path in directory.iterdir()} == {"results.json", "report.md", *pictures}
    report = (directory / "report.md").read_text()
    for picture in pictures:
        assert (directory / picture).read_bytes().startswith(b"\x89PNG") and f"({picture})" in report
    text = (directory / "results.json").read_text()
    assert str(directory) not in text
    return json.loads(text)["runs"], report


def test_gradient_flow_measures_time_depth_paths_and_training(tmp_path, monkeypatch):
    task, names = gradient_flow.keep_one_bit(7), ["RNN, tanh", "LSTM, chrono"]  # of seven: each is a program to compile
    assert len(set(every_learner(task, 8).values())) == 7
    monkeypatch.setattr(gradient_flow, "learners", lambda *size: {name: every_learner(*size)[name] for name in names})
    report = gradient_flow.run(gradient_flow.Settings(**FLOW, directory=tmp_path))
    runs, written = results(tmp_path, "gradient_flow.png", "training.png", "direct_path.png")
    assert report == written
    by_part = {part: [run for run in runs if run["part"] == part] for part in ("radius", "depth", "path", "training")}
    assert {part: len(own) for part, own in by_part.items()} == {"radius": 6, "depth": 5, "path": 2, "training": 4}
    for run in (*by_part["radius"], *by_part["depth"], *by_part["path"]):
        assert len(run["norms"]) == (8 if run["part"] == "depth" else 10)
        slope = np.polyfit(np.arange(2, 9), np.log(run["norms"][1:8]), 1)[0]
        assert run["rate"] == pytest.approx(np.exp(slope), rel=1e-3)
    rates = {(run["name"], run["radius"]): run["rate"] for run in by_part["radius"]}
    assert all(rates[name, radius] <= radius * 1.001 for name in ("tanh", "identity, ReLU") for radius in (0.5, 1.5))
    assert rates["sigmoid", 0.5] <= 0.126 and rates["sigmoid", 1.5] <= 0.376
    assert rates["identity, ReLU", 1.5] == pytest.approx(1.5, rel=0.1)
    layers = {run["name"]: run["rate"] for run in by_part["depth"]}
    assert layers["sigmoid"] < layers["tanh"] < 0.8 < layers["sigmoid, residual"] < 1.2
    assert all(norm <= 8**0.5 for run in by_part["path"] if run["name"] == "direct" for norm in run["norms"])
    for run in by_part["training"]:
        assert len(run["before"]["norms"]) == len(run["after"]["norms"]) == 10
        assert run["before"]["norms"] != run["after"]["norms"] and run["solved"] == (run["error"] <= 0.01)
    assert report.count("/2 |") == 2


def test_memory_traces_shows_the_network_of_median_error(tmp_path):
    report = memory_traces.run(memory_traces.Settings(**TRACES, directory=tmp_path))
    runs, written = results(tmp_path, "memory_traces.png", "gates.png", "probes.png")
    assert report == written
    assert [(run["task"], run["name"]) for run in runs] == [
        (task, name) for task in ("adding", "one bit") for name in (memory_traces.RNN, memory_traces.LSTM)
    ]
    for run in runs:
        assert run["errors"][run["shown"]] == np.median(run["errors"])
    rnn, lstm = (run["probes"] for run in runs[2:])
    assert set(rnn) == {"bit from h", "symbol from h"}
    assert set(lstm) == {"bit from h", "symbol from h", "bit from c", "symbol from c"}
    for accuracy in (*rnn.values(), *lstm.values()):
        assert len(accuracy) == 8 and min(accuracy) >= 0 and max(accuracy) <= 1
    # Before anything is forgotten the bit is there to be read; before it is shown it is not.
    assert lstm["bit from c"][1] == 1 and rnn["bit from h"][1] == 1 and lstm["bit from c"][0] < 0.9
