"""Classification: counts against sums by hand, the claim on texts made for it, and what the files should hold."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from experiments import classification
from lstm_jax.data import Labelled, LabelledTexts
from lstm_jax.models import NGram
from lstm_jax.training import latest_step
from tests.experiments.killed import kill_at

matplotlib.use("Agg")

TINY = {
    "lengths": (4, 30),
    "shortest": 8,
    "snippets": 64,
    "tested": 16,
    "embedding": 8,
    "hidden": 8,
    "batch": 8,
    "buckets": 1,
    "steps": 40,
    "seeds": 2,
    "learning_rate": 0.03,
}
FILES = {"results.json", "report.md", "classification.png", "when.png"}


@pytest.fixture
def corpora(monkeypatch, tmp_path):
    """Texts of our own in the corpora's place, whose builders are tested where they stand; and a folder of headers."""
    texts = {"python_source": "def f(x):\n    return x\n", "python_reference": "The value of a name is what it is. "}

    class Builder:
        def __init__(self, name, data_dir):
            self.name = name

        def as_data_source(self, part):
            return [{"text": (texts[self.name] * 20).encode()}] * 2

    monkeypatch.setattr(classification.data, "corpus", Builder)
    folder = tmp_path / "headers"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.h", "b.h", "sub/c.h"):
        (folder / name).write_bytes(b"#define SIZE 3 /* \xff */\nint f(int *x);\n" * 20)
    return str(folder)


@pytest.fixture
def remembered(monkeypatch):
    """A data set of words, where the first one says the class and the others nothing."""
    random = np.random.default_rng(0)

    def part(count):
        labels = random.integers(0, 2, count).astype(np.int32)
        return LabelledTexts(
            [" ".join([("bad", "good")[label], *random.choice(["so", "it", "goes"], 11)]) for label in labels], labels
        )

    made = Labelled(part(200), part(20), part(40), ("negative", "positive"))
    monkeypatch.setattr(classification.data, "labelled", lambda source, data_dir: made)
    return made


def results(directory):
    """All figures but times."""
    runs = json.loads((directory / "results.json").read_text())["runs"]
    return [{name: value for name, value in run.items() if name != "seconds"} for run in runs]


def test_snippets_are_cut_by_size_from_anywhere():
    files = ["a" * 30 + "b" * 30, "c" * 240, "too short"]
    lengths = np.full(4000, 20)
    lengths[:2000] = 60
    cut = classification.snippets(np.random.default_rng(0), files, lengths)
    assert [len(piece) for piece in cut] == lengths.tolist()
    assert all(any(piece in file for file in files) for piece in cut)
    assert 0.77 < np.mean([piece[0] == "c" for piece in cut]) < 0.83, "240 of 300 characters"
    starts = [20 - piece.count("b") + 10 if "b" in piece else 0 for piece in cut[2000:] if piece[0] != "c"]
    assert "a" * 20 in cut and "b" * 20 in cut and len(set(starts)) > 15


def test_headers_are_whole_in_one_part(corpora):
    parts = classification.headers(corpora)
    assert [len(parts[part]) for part in ("train", "validation", "test")] == [1, 1, 1]
    assert "\N{REPLACEMENT CHARACTER}" in parts["test"][0]


def test_counts_follow_bayes_rule(remembered):
    settings = classification.Settings(source="tfds:x", lengths=(1, 3, 20), order=2)
    corpus = classification.labelled(settings)
    ask, kept = classification.counts(corpus, settings)
    said = ask(corpus.test, (1, 3, 20))
    assert said.shape == (1, 3, 40, 2)
    models = []
    for label in range(2):
        own = [corpus.train.tokens[i] for i in np.flatnonzero(corpus.train.labels == label)]
        models.append((NGram(2, len(corpus.vocabulary)).fit(np.concatenate(own)), len(own) / 200))
    assert kept == sum(model.entries[-1] for model, _ in models)
    for i, tokens in enumerate(corpus.test.tokens[:5]):
        for j, length in enumerate((1, 3, 20)):  # of 12 words
            joint = [
                math.exp(model.log_probabilities(tokens[:length]).sum() + math.log(prior)) for model, prior in models
            ]
            np.testing.assert_allclose(np.exp(said[0, j, i]), np.array(joint) / sum(joint), rtol=1e-3, atol=1e-6)


def test_networks_are_asked_about_beginnings(remembered):
    settings = classification.Settings(**{**TINY, "source": "tfds:x", "lengths": (2, 30)})
    corpus = classification.labelled(settings)
    for name in ("LSTM, mean", "bidirectional LSTM, last"):
        model = classification.network(name, corpus, settings)
        params = [model.init(jax.random.key(seed)) for seed in range(2)]
        both = jax.tree.map(lambda *x: jnp.stack(x), *params)
        said = classification.asked(model, both)(corpus.test, (2, 30))
        for seed in range(2):
            for j, length in enumerate((2, 30)):
                logits = model(params[seed], jnp.asarray(corpus.test.tokens[3][:length, None]))[0]
                own = np.asarray(logits - jax.nn.logsumexp(logits))
                np.testing.assert_allclose(said[seed, j, 3], own, rtol=1e-4, atol=1e-5)


def test_languages_from_end_to_end(corpora, tmp_path):
    directory = tmp_path / "out"
    models = ("n-grams", "LSTM, max")
    settings = classification.Settings(**TINY, headers=corpora, models=models, directory=directory)
    report = classification.run(settings)
    assert {path.name for path in directory.iterdir()} == FILES | {"trained"}
    for file in FILES:
        assert not file.endswith("png") or (directory / file).read_bytes().startswith(b"\x89PNG")
    runs = results(directory)
    assert [(run["variant"], run["seed"]) for run in runs] == [("n-grams", 0), ("LSTM, max", 0), ("LSTM, max", 1)]
    for run in runs:
        confusion = np.array(run["confusion"])
        assert confusion.sum(1).tolist() == [16] * 3
        assert np.trace(confusion) / 48 == run["accuracy"] == run["by_length"][-1] > 0.8, "a third is chance"
        assert len(run["by_length"]) == 2 and run["validation"] > 0.8
    assert all(name in report for name in ("taken for Python", "taken for English", "when.png"))


def test_words_of_a_data_set(remembered, tmp_path):
    """A class that the first word says, after one word and after all."""
    settings = {**TINY, "source": "tfds:x", "steps": 60, "lengths": (1, 12), "shortest": 1, "seeds": 1}
    classification.run(classification.Settings(**settings, models=("LSTM, max",), directory=tmp_path))
    (run,) = results(tmp_path)
    assert run["by_length"] == [1, 1] and run["lengths"] == [1, 12]


def test_killed_and_resumed_it_finds_the_same(monkeypatch, tmp_path):
    options = {**TINY, "source": "tfds:x", "models": ("LSTM, last",), "steps": 20, "lengths": (1, 4), "shortest": 1}
    code = f"""
import pathlib
import numpy as np
from experiments import classification
from lstm_jax.data import Labelled, LabelledTexts
part = LabelledTexts(["good so it goes", "bad it goes so"] * 20, np.array([1, 0] * 20, np.int32))
classification.data.labelled = lambda source, data_dir: Labelled(part, part, part, ("negative", "positive"))
classification.run(classification.Settings(**{options!r}, directory=pathlib.Path({str(tmp_path / "parts")!r})))
"""
    kill_at(13, code)
    assert not (tmp_path / "parts" / "results.json").exists()
    assert 4 <= (latest_step(tmp_path / "parts" / "trained" / "LSTM-last") or 0) < 20
    part = LabelledTexts(["good so it goes", "bad it goes so"] * 20, np.array([1, 0] * 20, np.int32))
    made = Labelled(part, part, part, ("negative", "positive"))
    monkeypatch.setattr(classification.data, "labelled", lambda source, data_dir: made)
    for name in ("parts", "whole"):
        classification.run(classification.Settings(**options, directory=tmp_path / name))
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


def test_bad_input_is_one_clear_line(corpora, tmp_path):
    settings = classification.Settings(headers=corpora, directory=tmp_path / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    for wrong, message in (
        ({"models": ("GRU, last",)}, r"`models` must be among n-grams; .*got 'GRU, last'"),
        ({"models": ()}, r"`models` must be among .*got none"),
        ({"lengths": (20, 10)}, r"`lengths` must rise, .*got \(20, 10\)"),
        ({"shortest": 500}, r"`shortest` must be from 1 to 200, .*got 500"),
        ({"headers": str(empty)}, r"`headers` must be a folder with three C headers or more; .*empty has 0"),
        ({"lengths": (10, 10**6)}, r"`lengths` must be within the longest file of every part; got \d+"),
    ):
        with pytest.raises(ValueError, match=message):
            classification.run(dataclasses.replace(settings, **wrong))
    assert not (tmp_path / "out").exists()
