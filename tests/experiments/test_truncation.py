"""The experiment on truncated gradients: a few steps of it, and all that its files should hold."""

import json
import re

import matplotlib
import numpy as np

from experiments import truncation

matplotlib.use("Agg")

SETTINGS = {
    "hidden": 2,
    "seeds": 2,
    "learning_rates": (0.01, 0.1),
    "tested": 3,
    "sampled": 4,
    "order_length": 10,
    "order_steps": 2,
    "order_batch": 2,
    "windows": (3, 11),
    "adding_length": 11,
    "limit": 4,
    "batch": 2,
    "check": 2,
}


def test_truncation_tells_bias_and_sequences(tmp_path, monkeypatch):
    every = truncation.contenders(7, 4)
    assert list(every) == ["1997, truncated", "1997, full", "LSTM, truncated", "LSTM, full"]
    assert len(set(every.values())) == 4
    names = {7: "LSTM, full", 2: "1997, truncated"}  # one a task, one of two networks: each is a program to compile
    monkeypatch.setattr(
        truncation, "contenders", lambda *size: {names[size[0]]: every_contender(*size)[names[size[0]]]}
    )
    monkeypatch.setattr(truncation, "networks", lambda *size: {"LSTM": every_network(*size)["LSTM"]})
    report = truncation.run(truncation.Settings(**SETTINGS, directory=tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report.md", "truncation.png"}
    assert (tmp_path / "truncation.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "results.json").read_text()
    assert str(tmp_path) not in text
    runs = json.loads(text)["runs"]
    assert len(runs) == (2 + 2) * 4  # windows and contenders, each with two rates and two seeds
    for run in runs:
        assert np.isfinite([run["validation"], run["error"]]).all() and isinstance(run["solved"], bool)
        if run["task"] == truncation.ORDER:
            assert ("bias" in run) == (run["window"] == 11)  # the longest tells it of the others
            assert np.shape(run.get("bias", [[1]] * 2)) == (2, 1)
        else:
            assert run["sequences"] in (4, 8) and (run["solved"] or run["sequences"] == 8)
            assert ("cosine" in run) == run["variant"].endswith("truncated")
    biases = [bias for run in runs if "bias" in run for bias in np.ravel(run["bias"])]
    assert min(biases) > 0.01 and max(biases) < 10
    assert re.findall(r"^\| (\S+ \S+) \| .*?\d/2 ", report, re.MULTILINE) == ["LSTM, 3", "LSTM, 11", *names.values()]


every_contender, every_network = truncation.contenders, truncation.networks
