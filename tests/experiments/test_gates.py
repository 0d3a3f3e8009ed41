"""The three experiments on gates: a few steps of each, and all that their files should hold."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import matplotlib
import numpy as np
import pytest

from experiments import continual_reber, lstm_variants, peepholes
from experiments.report import by_variant

matplotlib.use("Agg")

every_variant = lstm_variants.variants
STREAMS = {
    "hidden": 2,
    "seeds": 2,
    "learning_rates": (0.01, 0.1),
    "steps": 2,
    "window": 10,
    "streams": 2,
    "limit": 2000,
}
ADDING = {"adding_length": 4, "adding_steps": 2, "adding_batch": 2, "adding_tested": 3}
TEXT = {
    "text_hidden": 2,
    "text_rates": (0.01, 0.1),
    "text_steps": 2,
    "text_batch": 2,
    "text_length": 5,
    "text_tested": 3,
}
FUNCTIONS = {"functions": (("triangle", 4),), "units": (1,), "periods": 1, "test_periods": 2}


def results(directory, name):
    assert {path.name for path in directory.iterdir()} == {"results.json", "report.md", f"{name}.png"}
    assert (directory / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    text = (directory / "results.json").read_text()
    result = json.loads(text)
    assert str(directory) not in text and "directory" not in result["settings"]
    assert set(result["versions"]) == {"lstm_jax", "jax", "python"}
    for run in result["runs"]:
        assert {"task", "variant", "learning_rate", "seed", "best", "validation", "error", "solved"} <= set(run)
        assert np.isfinite([run["validation"], run["error"]]).all() and isinstance(run["solved"], bool)
    return result["runs"]


def check_choice(runs, task, variants):
    """Every variant has every rate and seed once, and its best rate is the one of the lowest validation error."""
    own = [run for run in runs if run["task"] == task]
    assert list(dict.fromkeys(run["variant"] for run in own)) == list(variants)
    for variant in variants:
        of_variant = [run for run in own if run["variant"] == variant]
        assert [(run["learning_rate"], run["seed"]) for run in of_variant] == [
            (r, s) for r in (0.01, 0.1) for s in (0, 1)
        ]
        means = {
            rate: np.mean([run["validation"] for run in of_variant if run["learning_rate"] == rate])
            for rate in (0.01, 0.1)
        }
        best = {run["learning_rate"] for run in of_variant if run["best"]}
        assert best == {min(means, key=means.get)} or means[0.01] == pytest.approx(means[0.1])
        assert sum(run["best"] for run in of_variant) == 2


def test_continual_reber_says_how_far_streams_come_and_what_the_memory_does(tmp_path):
    report = continual_reber.run(continual_reber.Settings(**STREAMS, directory=tmp_path))
    runs = results(tmp_path, "continual_reber")
    check_choice(runs, continual_reber.REBER, continual_reber.COLOURS)
    for run in runs:
        assert run["memory_at"][0] == 10 and run["memory_at"][-1] == 2000 and len(run["symbols"]) == 10
        assert run["memory_at"] == sorted(set(run["memory_at"])) and len(run["memory"]) == len(run["memory_at"])
        assert all(0 <= symbols <= 2000 for symbols in run["symbols"])
        assert run["solved"] == (min(run["symbols"]) == 2000)
        assert run["solved"] == (run["error"] == 0)
    assert len(re.findall(r"^\| .*?\d/2 ", report, re.MULTILINE)) == 4
    memory = {
        name: np.mean([run["memory"][-1] for run in runs if run["variant"] == name])
        for name in ("1997 cell", "1997 cell, reset")
    }
    assert memory["1997 cell"] > 10 * memory["1997 cell, reset"]


def test_lstm_variants_have_three_tasks_each(tmp_path, monkeypatch):
    names = ["vanilla", "FGR"]  # of nine: each is a program to compile
    (tmp_path / "text").write_text("abcd\nab\n" * 200)
    every = lstm_variants.variants(7, 3)
    assert list(every) == ["vanilla", "NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG", "FGR"]
    assert len(set(every.values())) == 9
    monkeypatch.setattr(lstm_variants, "variants", lambda *size: {name: every_variant(*size)[name] for name in names})
    given = {**STREAMS, **ADDING, **TEXT, "text": str(tmp_path / "text"), "directory": tmp_path / "found"}
    report = lstm_variants.run(lstm_variants.Settings(**given))
    runs = results(tmp_path / "found", "lstm_variants")
    check_choice(runs, continual_reber.REBER, names)
    check_choice(runs, "adding", names)
    check_choice(runs, lstm_variants.TEXT, names)
    check_choice(runs, lstm_variants.CLIPPED, ["vanilla"])
    entropy = -sum(n / 8 * np.log2(n / 8) for n in (2, 2, 1, 1, 2))
    assert f"by frequency alone {entropy:.2f} bits" in report


def test_passages_are_of_the_text_and_each_character_follows_the_last(tmp_path):
    (tmp_path / "text").write_text("abcdefghij" * 100)
    settings = lstm_variants.Settings(text=str(tmp_path / "text"), text_length=7)
    train, validation, test = lstm_variants.passages(settings)
    assert [part.ids.size for part in (train, validation, test)] == [900, 50, 50]
    inputs, targets, mask = train.sample(jax.random.key(0), 50)
    told = np.asarray(inputs).argmax(-1)
    assert told.shape == targets.shape == (7, 50) and np.asarray(mask).all() and (np.asarray(inputs).sum(-1) == 1).all()
    assert (told[1:] == targets[:-1]).all() and (targets == (told + 1) % 10).all()
    with pytest.raises(ValueError, match=r"`text_length`: expected less than the 50 characters .*, got 50"):
        lstm_variants.passages(dataclasses.replace(settings, text_length=50))


def test_peepholes_compares_networks_of_each_size(tmp_path):
    settings = peepholes.Settings(**FUNCTIONS, seeds=2, learning_rates=(0.01, 0.1), steps=2, directory=tmp_path)
    first = peepholes.run(settings)
    runs = results(tmp_path, "peepholes")
    check_choice(runs, "triangle, period 4", ["1 with", "1 without"])
    assert "chance 0.125" in first


def test_the_networks_that_peepholes_tells_of_were_counted():
    committed = Path(peepholes.__file__).parents[1] / "benchmarks/results/2026-11-gates/peepholes/results.json"
    runs, told = json.loads(committed.read_text())["runs"], " ".join(peepholes.__doc__.split())
    for shape, length in peepholes.Settings.functions:
        groups = by_variant(runs, f"{shape}, period {length}")
        solved = {name: sum(run["solved"] for run in own) for name, own in groups.items()}
        assert solved["1 with"] > solved["1 without"]
        for units in peepholes.Settings.units:
            assert f"{solved[f'{units} with']} / {solved[f'{units} without']}" in told
