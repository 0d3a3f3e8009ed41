"""Language models on a small text: what the files hold, what a writer says, and runs that are killed."""

import json
import math

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from experiments import language_model
from experiments.language_model import Settings, run
from experiments.writer import Writer, edits
from lstm_jax.data import Vocabulary
from tests.experiments.killed import kill

matplotlib.use("Agg")

SENTENCES = "the cat sat on the mat\nthe dog saw the cat\na cat and a dog sat\n"
STEPS = (1260 * 9 // 10 - 1) // 2 // 8  # an epoch of two streams
TINY = {"embedding": 4, "hidden": 6, "batch": 2, "time": 8, "epochs": 1, "orders": (1, 2), "windows": (2,), "window": 3}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(SENTENCES * 20)
    return path


def settings(file, **changes):
    return Settings(**{"text": str(file), "directory": file.parent / "results", **TINY, **changes})


def results(chosen):
    return json.loads((chosen.directory / "results.json").read_text())["runs"]


def test_every_model_has_its_row_and_its_pictures(file):
    chosen = settings(file)
    report = run(chosen)
    assert (chosen.directory / "report.md").read_text() == report
    for picture in ("language_model.png", "ngrams.png", "windows.png"):
        assert (chosen.directory / picture).stat().st_size > 10_000 and picture in report
    rows = [row for row in results(chosen) if row["task"] == "text"]
    assert [row["name"] for row in rows] == list(chosen.models)
    characters = len(language_model.text(file).test)
    for row in rows:
        # Bits of all tokens but the first, spread over all characters.
        bits = math.log2(row["perplexity"]["test"]) * (characters - 1) / characters
        assert row["bits"] == pytest.approx(bits, rel=1e-6) and 0 < row["bits"] < 10
    counts = [row for row in results(chosen) if row["task"] == "counts"]
    assert {(row["order"], row["smoothing"]) for row in counts} == {
        (n, s) for n in (1, 2) for s in ("add 0.01", "Kneser-Ney")
    }
    assert rows[0]["perplexity"]["validation"] == min(row["perplexity"]["validation"] for row in counts)
    widths = [row["window"] for row in results(chosen) if row["task"] == "windows"]
    assert sorted(widths) == [2, 3]


def test_words_and_questions(file):
    chosen = settings(file, unit="word", models=("LSTM",), score="the cat", complete="the", correct="teh cat")
    said = run(chosen)
    assert said.startswith("## LSTM\nlog P = -") and "beam" in said and "the cat" in said.splitlines()[-1]
    assert not (chosen.directory / "report.md").exists()


def test_a_directory_is_of_one_training(file):
    run(settings(file, models=("Elman",)))
    before = {path: path.stat().st_mtime_ns for path in (file.parent / "results").rglob("*") if path.is_file()}
    for changes, says in (
        ({"learning_rate": 0.5}, "was trained with learning_rate 0.004; asked for 0.5"),
        ({"hidden": 7}, "was trained with model .*hidden_size=6.*; asked for .*hidden_size=7"),
        ({"time": 9}, "was trained with batch"),
    ):
        with pytest.raises(ValueError, match=says) as error:
            run(settings(file, models=("Elman",), **changes))
        assert "\n" not in str(error.value)
    after = {path: path.stat().st_mtime_ns for path in (file.parent / "results").rglob("*") if path.is_file()}
    assert before == after


def test_zaremba_runs_on_penn_treebank_files(tmp_path):
    folder = tmp_path / "ptb"
    folder.mkdir()
    line = " the <unk> of N banks fell \n"
    for part, lines in {"train": 80, "valid": 5, "test": 5}.items():
        (folder / f"ptb.{part}.txt").write_text(line * lines)
    chosen = settings(folder, unit="word", recipe="zaremba", directory=tmp_path / "results")
    run(chosen)
    (row,) = [row for row in results(chosen) if row["task"] == "text"]
    tokens = 80 * 7 - 1
    assert row["name"] == "Zaremba small" and row["steps"] == 13 * (tokens // 20 // 20)
    embedding, layers, readout = 7 * 200, 2 * (400 * 800 + 800), 200 * 7 + 7
    assert row["parameters"] == embedding + layers + readout
    assert row["perplexity"]["test"] < 7


def test_a_zaremba_step_is_what_the_paper_says():
    plan = language_model.recipe(Settings(recipe="zaremba"), 100)
    params, gradient = jnp.zeros(2), jnp.array([30.0, 40.0])
    for epochs_done, rate in ((0, 1.0), (3, 1.0), (4, 0.5), (5, 0.25), (12, 0.5**9)):
        state = plan.optimizer.init(params)
        counted = jax.tree.map(lambda x, n=100 * epochs_done: x + n if x.dtype == jnp.int32 else x, state)
        with jax.numpy_dtype_promotion("standard"):  # Optax's schedule
            update, _ = plan.optimizer.update(gradient, counted, params)
        np.testing.assert_allclose(update, -rate * 5 * gradient / 50, rtol=1e-6)
    assert (plan.batch, plan.time, plan.epochs) == (20, 20, 13)


class Fixed:
    """A model that expects every token with a probability of its own, whatever came before."""

    vocabulary_size = 256

    def __init__(self):
        self.logits = jnp.log(jnp.arange(1, 257, dtype=jnp.float32) / sum(range(1, 257)))

    def initial_carry(self, params, batch_shape=()):
        return jnp.zeros((*batch_shape, 1))

    def __call__(self, params, tokens, carry=None, **options):
        return carry, jnp.broadcast_to(self.logits, (*tokens.shape, 256))

    def step(self, params, carry, token):
        return carry, jnp.broadcast_to(self.logits, (*token.shape, 256))


def test_a_writer_adds_up_what_the_model_expects():
    writer = Writer(Fixed(), None, Vocabulary.of("abc", "byte"), frozenset({"bat", "cat", "cart"}))
    total, words = writer.score("ab  c")
    each = {c: math.log((ord(c) + 1) / sum(range(1, 257))) for c in "abc "}
    assert [word for word, _ in words] == ["ab", "c"]
    np.testing.assert_allclose([p for _, p in words], [each["a"] + each["b"], 2 * each[" "] + each["c"]], rtol=1e-5)
    assert total == pytest.approx(sum(p for _, p in words))
    assert writer.complete("a", 3, temperature=0.0).encode() == "\N{REPLACEMENT CHARACTER}".encode() * 3  # byte 255
    ranked = writer.rank("the ", ["bat", "cat", "cart"], " sat")
    assert [word for word, _ in ranked] == ["cat", "bat", "cart"]  # c comes before b; one letter more costs most
    assert writer.correct("a xat, a bat and czzzt") == "a cat, a bat and czzzt"


def test_edits_are_one_away():
    assert {"cat", "act", "ct", "bcat", "cats"} - edits("cat") == {"cat"}
    assert len(edits("ab")) == len(set(edits("ab"))) and "" not in edits("a")
    # Norvig counts 54 n + 25 with repeats: n left out, n - 1 swapped, 26 n replaced, 26 (n + 1) put in.
    assert len(edits("abcd")) == 4 + 3 + 25 * 4 + (26 * 5 - 4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"abc\xff" * 50, "UTF-8"),
        (b"the cat\n" * 3, "too small"),
        (b"abcdefgh", "too small"),
        (b"a" * 16, "too small: validation has 1 token"),
    ],
)
def test_bad_texts_are_one_line(tmp_path, content, says):
    file = tmp_path / "bad.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=says) as error:
        run(settings(file))
    assert "\n" not in str(error.value) and not (tmp_path / "results").exists()


def test_one_character_again_and_again_is_learned(tmp_path):
    file = tmp_path / "same.txt"
    file.write_text("a" * 4000)
    chosen = settings(file, unit="character", models=("n-gram", "Elman"))  # with the unknown one there are two
    run(chosen)
    assert all(row["bits"] < 0.1 for row in results(chosen) if row["task"] == "text")


def test_killed_and_called_again_it_ends_at_the_same_figures(file):
    chosen = {"models": ("LSTM",), "epochs": 40, "hidden": 8}
    options = [f"--{name}={value}" for name, value in {**TINY, **chosen}.items() if not isinstance(value, tuple)]
    options += ["--text", str(file), "--models", "LSTM", "--orders", "1"]
    kill("language_model", options, file.parent / "results", "LSTM", 40 * STEPS)
    parts = settings(file, **chosen)
    run(parts)
    whole = settings(file, **chosen, directory=file.parent / "whole")
    run(whole)
    assert results(whole)[0]["steps"] == 40 * STEPS

    def figures(of):
        return [{key: value for key, value in row.items() if key != "seconds"} for row in results(of)]

    assert figures(parts) == figures(whole)
