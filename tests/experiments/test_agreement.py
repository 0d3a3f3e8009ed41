"""The experiment on agreement: its sentences, its judgement, and that a killed run ends as one that was not."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from experiments import agreement
from lstm_jax.tasks import Agreement
from lstm_jax.tasks.agreement import WORDS
from tests.experiments.killed import kill

matplotlib.use("Agg")

SETTINGS: dict[str, Any] = {
    "taught": ("every word",),
    "models": ("LSTM",),
    "length": 6,
    "distances": (5, 9),
    "crowded": (8,),
    "embedding": 3,
    "hidden": 4,
    "steps": 400,
    "batch": 4,
    "learning_rates": (0.01, 0.03),
    "seeds": 2,
    "tested": 50,
}
OPTIONS = (
    "--taught|every word|--models|LSTM|--length|6|--distances|5|9|--crowded|8|--embedding|3|--hidden|4|--steps|400"
    "|--batch|4|--learning-rates|0.01|0.03|--seeds|2|--tested|50"
)


def test_a_sentence_has_its_verb_where_it_belongs():
    words, place = map(np.asarray, agreement.whole(Agreement(12), jax.random.key(0), 200))
    spelled = [[Agreement.vocabulary[i] for i in column[: at + 1]] for column, at in zip(words.T, place, strict=True)]
    assert {len(sentence) for sentence in spelled} == set(range(4 + 3, 12 + 4))
    forms = {word: kind for kind in range(4) for word in WORDS[kind]}  # nouns, then verbs, one of two and of more
    assert all(forms[sentence[-1]] == forms[sentence[1]] + 2 for sentence in spelled)
    assert {forms[sentence[-1]] for sentence in spelled} == {2, 3}


def test_attractors_that_have_room():
    # "whom the N whom the N V V" is 8 words of two attractors, and "and" stands before each but the first.
    assert [agreement.room(n) for n in (4, 8, 12, 13, 17)] == [1, 2, 2, 3, 4]


def test_the_better_form_is_right():
    """A model whose logits are known: they prefer `sees` to `see`, and plural forms of all other verbs."""
    plural = np.zeros(len(Agreement.vocabulary), np.float32)
    sees, likes, see = (Agreement.vocabulary.index(word) for word in ("sees", "likes", "see"))
    plural[agreement.PLURAL : agreement.PLURAL + agreement.FORMS] = 1.0
    plural[sees] = 2.0

    def model(params, words):
        return None, jnp.broadcast_to(jnp.asarray(plural), (*words.shape, plural.size))

    words = np.zeros((5, 4), np.int32)
    place = np.array([2, 3, 4, 4], np.int32)
    words[place, np.arange(4)] = sees, see, likes, likes + agreement.PLURAL - agreement.SINGULAR
    right, probability = agreement.judged(model, None, jnp.asarray(words), jnp.asarray(place))
    assert right.tolist() == [True, False, False, True]
    e = np.exp(plural)
    expected = e[agreement.PLURAL :][:8].sum() / e[agreement.SINGULAR :][:16].sum()
    np.testing.assert_allclose(probability, expected, rtol=1e-5)


def test_what_is_taught_is_what_counts():
    settings = agreement.Settings(**SETTINGS)
    model = agreement.network("LSTM", settings)
    params, key = model.init(jax.random.key(0)), jax.random.key(3)
    words, place = agreement.whole(Agreement(6), key, 4)
    log_p = np.asarray(jax.nn.log_softmax(model(params, words[:-1])[1]))
    words, place = np.asarray(words), np.asarray(place)
    picked = [[-log_p[t - 1, b, words[t, b]] for t in range(1, place[b] + 1)] for b in range(4)]
    expected = {"the verb": [x[-1] for x in picked], "every word": [nats for x in picked for nats in x]}
    for taught, nats in expected.items():
        found = agreement.loss_of(model, taught, settings)(params, None, key)
        np.testing.assert_allclose(found, np.mean(nats), rtol=1e-5)


def test_a_killed_run_goes_on_to_the_same_figures(tmp_path):
    kill("agreement", OPTIONS.split("|"), tmp_path / "killed", "every_word-LSTM", SETTINGS["steps"])
    found = []
    for name in ("killed", "whole"):
        report = agreement.run(agreement.Settings(**SETTINGS, directory=tmp_path / name))
        files = {path.name for path in (tmp_path / name).iterdir()}
        assert files == {"results.json", "report.md", "agreement.png", "trained"}
        assert report.count("| the dog whom the boys see ... |") == 1
        found.append(json.loads((tmp_path / name / "results.json").read_text())["runs"])
    killed, whole = ([{k: v for k, v in run.items() if k != "seconds"} for run in runs] for runs in found)
    assert killed == whole
    assert [(run["learning_rate"], run["seed"]) for run in whole] == [(0.01, 0), (0.01, 1), (0.03, 0), (0.03, 1)]
    kinds = ["validation", "distance 5", "distance 9", *(f"attractors {k} at 8" for k in range(3))]
    assert all(list(run["accuracy"]) == kinds for run in whole)
    assert all(0 <= value <= 1 for run in whole for value in run["accuracy"].values())
    means = {
        rate: sum(r["accuracy"]["validation"] for r in whole if r["learning_rate"] == rate) for rate in (0.01, 0.03)
    }
    best = {run["learning_rate"] for run in whole if run["best"]}
    assert len(best) == 1 and means[best.pop()] == max(means.values())


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"models": ("Elman",)}, "`models` must be one or more of 'RNN, uniform'"),
        ({"taught": ()}, "`taught` must be one or more of 'the verb', 'every word'"),
        ({"tested": 0}, "`tested` must be at least one"),
        ({"distances": (3,)}, "`shortest` must be"),
        ({"seeds": 0}, "`seeds` must be at least one"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, wrong, said):
    with pytest.raises(ValueError, match=said):
        agreement.run(agreement.Settings(**SETTINGS | wrong, directory=tmp_path / "none"))
    assert not (tmp_path / "none").exists()
