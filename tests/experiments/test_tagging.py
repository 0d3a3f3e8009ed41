"""Tagging: what is measured against loops, the claim on sentences made for it, and what the files should hold."""

import json
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest

from experiments import tagging
from lstm_jax.training import latest_step
from tests.experiments.killed import kill_at

matplotlib.use("Agg")

TINY = {"embedding": 8, "hidden": 8, "batch": 8, "steps": 60, "seeds": 2, "learning_rate": 0.03}
FILES = {"results.json", "report.md", "tagging.png", "tagging.html", "trained"}


@pytest.fixture
def conll(tmp_path):
    """A file in CoNLL's columns, where who a name is shows after it: "Paris says", "Paris lies"."""
    file = tmp_path / "names.txt"
    random = np.random.default_rng(0)
    lines = ["-DOCSTART- -X- -X- O", ""]
    for _ in range(300):
        kind = random.integers(2)
        lines += ["U.N. NNP O"] * random.integers(3)
        lines += [f"{name} NNP {'BI'[i]}-{('PER', 'LOC')[kind]}" for i, name in enumerate(("New", "Paris"))]
        lines += [f"{('says', 'lies')[kind]} VB O", "today NN O", ""]
    file.write_text("\n".join(lines))
    return str(file)


def results(directory):
    """All figures but times."""
    runs = json.loads((directory / "results.json").read_text())["runs"]
    return [{name: value for name, value in run.items() if name != "seconds"} for run in runs]


class Page(HTMLParser):
    """The text of the parts of a page, and what of it is marked."""

    def __init__(self, page):
        super().__init__()
        self.parts, self.marked, self._open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._open.append((tag, dict(attrs)))
        if tag == "pre":
            self.parts.append("")
            self.marked.append("")
        if tag == "meta":
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if any(tag == "pre" for tag, _ in self._open):
            self.parts[-1] += data
            if "wrong" in self._open[-1][1].get("class", ""):
                self.marked[-1] += f"{data} "


def test_whole_tokens_are_counted_as_a_loop_counts_them():
    random = np.random.default_rng(1)
    truth = [random.integers(0, 3, n).astype(np.int32) for n in (1, 7, 50, 30)]
    guess = [np.where(random.random(own.size) < 0.3, random.integers(0, 3, own.size), own) for own in truth]
    wanted = right = 0
    for own, said in zip(truth, guess, strict=True):
        start = 0
        while start < own.size:
            stop = start
            while stop < own.size and own[stop] == own[start]:
                stop += 1
            if own[start] > 0:
                wanted += 1
                inside = all(said[i] == own[start] for i in range(start, stop))
                before = start > 0 and said[start - 1] == own[start]
                after = stop < own.size and said[stop] == own[start]
                right += inside and not before and not after
            start = stop
    assert 0 < right < wanted
    assert tagging.whole_tokens(truth, guess) == right / wanted
    assert tagging.whole_tokens(truth, truth) == 1
    said = tagging.of_characters(truth, guess, "abc")["classes"]
    line, told = np.concatenate(truth), np.concatenate(guess)
    for k, name in enumerate("abc"):
        precision, recall = np.mean(line[told == k] == k), np.mean(told[line == k] == k)
        assert said[name] == pytest.approx(2 * precision * recall / (precision + recall))


def test_shapes_of_words():
    shapes = {"Paris": "Xx", "U.N.": "X.X.", "12-7": "0-0", "McDonald's": "XxXx'x", "IBM": "X", "\u00c9cole": "Xx"}
    assert {word: tagging.shape(word) for word in shapes} == {word: f"<{form}>" for word, form in shapes.items()}


def test_what_comes_after_takes_a_bidirectional_network(conll, tmp_path):
    directory = tmp_path / "out"
    models = ("LSTM", "bidirectional LSTM, CRF")
    report = tagging.run(tagging.Settings(source=conll, models=models, **TINY, directory=directory))
    assert {path.name for path in directory.iterdir()} == FILES
    runs = results(directory)
    assert [(run["variant"], run["seed"]) for run in runs] == [
        (tagging.COUNT, 0),
        *((name, seed) for name in models for seed in range(2)),
    ]
    for run in runs:
        assert set(run["classes"]) == {"PER", "LOC"}
        if run["variant"].startswith("bidirectional"):
            assert run["accuracy"] == run["spans"] == 1 and not any(run["errors"])
        else:  # a name of two words, one way or the other
            assert run["spans"] < 0.8 and 0.6 < run["accuracy"] < 0.9
    assert report.count("| LSTM |") == report.count("| bidirectional LSTM, CRF |") == 2
    page = Page((directory / "tagging.html").read_text())
    assert len(page.parts) == 2 and page.parts[0] == page.parts[1] and not page.marked[1]
    assert page.parts[0].count("\n") == 14 and set(page.marked[0].split()) == {"New", "Paris"}
    # The same figures by seqeval's words: entities of the test part, every 20th sentence.
    assert tagging.of_words([np.array([0, 1, 2])], [np.array([0, 2, 2])], ["B-A", "I-A", "O"])["spans"] == 0
    assert tagging.of_words([np.array([0, 1, 0])], [np.array([0, 1, 2])], ["B-A", "I-A", "O"])["spans"] == 2 / 3


def test_characters(tmp_path, monkeypatch):
    """Sources of our own in the corpus's place; its builder is tested where it stands."""
    body = 'def f(x):\n    """What <f> & y do."""  # why\n    return x + 0x1F if x else "a\\n"\n\n\n'
    texts = {"train": [body * 30], "validation": [body * 3], "test": ["# first\n" + body * 4]}

    class Builder:
        def as_data_source(self, part):
            return [{"text": text.encode()} for text in texts[part]]

    monkeypatch.setattr(tagging.data, "corpus", lambda name, data_dir: Builder())
    settings = tagging.Settings(window=20, **TINY, models=("LSTM",), directory=tmp_path)
    tagging.run(settings)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    count, *runs = results(tmp_path)
    assert set(count["classes"]) == set(tagging.TAGS) and len(count["errors"]) == 20
    assert count["accuracy"] < min(run["accuracy"] for run in runs)
    for run in runs:  # every window is as long: the mean over places is the mean over characters
        assert 1 - np.mean(run["errors"]) == pytest.approx(run["accuracy"])
    page = Page((tmp_path / "tagging.html").read_text())
    assert page.parts == [texts["test"][0]]
    corpus = tagging.characters(settings)
    assert corpus.shown.tags[0].tolist() == tagging.tag(texts["test"][0]).tolist()
    table = tagging.counted(corpus)
    ids, tags = np.concatenate(corpus.train.tokens), np.concatenate(corpus.train.tags)
    for token in np.unique(ids):
        assert table[token] == np.bincount(tags[ids == token]).argmax()
    shown = json.loads((tmp_path / "results.json").read_text())["settings"]
    assert shown["window"] == 20 and "directory" not in shown


def test_killed_and_resumed_it_finds_the_same(conll, tmp_path):
    options = {"source": conll, "models": ("LSTM",), **TINY, "steps": 20}
    code = f"""
import pathlib
from experiments import tagging
tagging.run(tagging.Settings(**{options!r}, directory=pathlib.Path({str(tmp_path / "parts")!r})))
"""
    kill_at(13, code)
    assert not (tmp_path / "parts" / "results.json").exists()
    assert 4 <= (latest_step(tmp_path / "parts" / "trained" / "LSTM") or 0) < 20
    for name in ("parts", "whole"):
        tagging.run(tagging.Settings(**options, directory=tmp_path / name))
    assert results(tmp_path / "parts") == results(tmp_path / "whole")
    assert (tmp_path / "parts" / "tagging.html").read_text() == (tmp_path / "whole" / "tagging.html").read_text()


def test_bad_input_is_one_clear_line(tmp_path):
    file = tmp_path / "parts_of_speech.txt"
    file.write_text("The DT\ndog NN\n\n" * 60)
    settings = tagging.Settings(source=str(file), directory=tmp_path / "out")
    for wrong, message in (
        ({"models": ("GRU",)}, r"`models` must be among LSTM, .*; got 'GRU'"),
        ({}, r"`source`: tags must be O, B-X or I-X, as of spans; .* has 'DT'"),
        ({"source": str(tmp_path / "none.txt")}, r"`source`: there is no .*none\.txt"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            tagging.run(tagging.dataclasses.replace(settings, **wrong))
    assert not (tmp_path / "out").exists()


def test_dropout_needs_a_key_and_gets_one(conll, tmp_path):
    """With dropout at nearly everything nothing is learned; without, all of it."""
    options = {"source": conll, "models": ("bidirectional LSTM",), **TINY, "seeds": 1}
    corpus = tagging.words(tagging.Settings(**options))
    found = {}
    for rate in (0.0, 0.98):
        settings = tagging.Settings(**options, dropout=rate, directory=tmp_path / str(rate))
        (row,), _ = tagging.of_network("bidirectional LSTM", corpus, settings)
        found[rate] = row["spans"]
    assert found[0.0] == 1 and found[0.98] < 0.9
