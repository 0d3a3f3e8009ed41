"""The experiment on the printer and the tickets: its stories, what is asked, and that a killed run ends as another."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from experiments import tickets
from lstm_jax.models import NGram
from tests.experiments.killed import kill

matplotlib.use("Agg")

SETTINGS: dict[str, Any] = {
    "models": ("n-gram", "Elman"),
    "stories": 300,
    "longest": 10,
    "distances": (4, 12),
    "tested": 20,
    "order": 7,
    "embedding": 3,
    "hidden": 4,
    "batch": 4,
    "steps": 400,
    "learning_rates": (0.01, 0.03),
    "seeds": 2,
}
OPTIONS = (
    "--models Elman --stories 300 --longest 10 --distances 4 12 --tested 20 --order 7 --embedding 3 --hidden 4"
    " --batch 4 --steps 400 --learning-rates 0.01 0.03 --seeds 2"
)
NO_STORY = (5, 6, 7)  # words between the mentions that no sentences add up to


def told(stories):
    return [[tickets.VOCABULARY[w] for w in stories.words[:n, i]] for i, n in enumerate(stories.lengths)]


def test_a_story_names_its_thing_twice_at_the_distance_asked_for():
    asked = [n for n in range(4, 41) if n not in NO_STORY] * 5
    assert [n for n in range(41) if tickets.possible(n)] == asked[: len(asked) // 5]
    stories = tickets.draw(np.random.default_rng(0), asked)
    for words, between, answer in zip(told(stories), asked, stories.answers, strict=True):
        things = [i for i, word in enumerate(words) if word in tickets.THINGS]
        assert things[1] - things[0] - 1 == between and things[1] == answer and words[things[0]] == words[things[1]]
        assert words[0] == words[-1] == tickets.END and tickets.END not in words[1:-1]
        assert tickets.VERBS[words[4]] == words[-5] and len(things) == 2
    assert len({words[6] for words in told(stories)}) == 20


def test_what_stands_between_does_not_tell_the_thing():
    """Within 5%, a thing is as often in stories with a word between as in all."""
    stories = tickets.draw(np.random.default_rng(0), [30] * 4000)
    words = told(stories)
    for between in ("printer", "shop", "printed"):
        share = np.mean([s[6] == "tickets" for s in words if between in s])
        assert abs(share - 1 / 20) < 0.05


def test_the_words_of_all_sentences_are_known():
    for length, sentences in tickets.SENTENCES.items():
        assert all(len(sentence.split()) == length for sentence in sentences)
    assert len(set(tickets.VOCABULARY)) == len(tickets.VOCABULARY) and tickets.VOCABULARY[0] == tickets.END
    pasts = set(tickets.VERBS.values()) | set(tickets.THINGS)
    assert not pasts & {word for kind in tickets.SENTENCES.values() for s in kind for word in s.split()}


def test_an_ngram_is_right_as_far_as_it_sees():
    """Chance for all who cannot see the first mention, the deck's point, on the generator itself."""
    rng = np.random.default_rng(0)
    corpus = tickets.draw(rng, rng.choice([4, 8, 9], 6000))
    words, answers = tickets.stream(corpus)
    assert all(words[answers] == corpus.words[corpus.answers, np.arange(6000)])
    for order, between, low, high in ((7, 4, 0.8, 1), (7, 8, 0, 0.1), (4, 4, 0, 0.1)):
        model = NGram(order, len(tickets.VOCABULARY)).fit(words)
        text, places = tickets.stream(tickets.draw(rng, [between] * 200))
        assert low < np.exp(model.log_probabilities(text)[places]).mean() < high


def test_the_probability_asked_for_is_the_answers():
    settings = tickets.Settings(**SETTINGS)
    model = tickets.network("Elman", settings)
    params = jax.vmap(model.init)(jax.random.split(jax.random.key(0), 2))
    stories = tickets.draw(np.random.default_rng(0), [4, 9, 12])
    found = tickets.of_network(model, params, jnp.asarray(stories.words), jnp.asarray(stories.answers))
    for run in range(2):
        own = jax.tree.map(lambda x, run=run: x[run], params)
        for i, at in enumerate(stories.answers):
            logits = np.asarray(model(own, jnp.asarray(stories.words[:at, i]))[1][-1], np.float64)
            expected = np.exp(logits[stories.words[at, i]]) / np.exp(logits).sum()
            np.testing.assert_allclose(found[run, i], expected, rtol=1e-4)


def test_a_killed_run_goes_on_to_the_same_figures(tmp_path):
    kill("tickets", OPTIONS.split(), tmp_path / "killed", "Elman", SETTINGS["steps"])
    found = []
    for name in ("killed", "whole"):
        report = tickets.run(tickets.Settings(**SETTINGS, directory=tmp_path / name))
        files = {path.name for path in (tmp_path / name).iterdir()}
        assert files == {"results.json", "report.md", "tickets.png", "trained"}
        assert "| 7-gram |" in report and " wanted to " in report
        found.append(json.loads((tmp_path / name / "results.json").read_text())["runs"])
    killed, whole = ([{k: v for k, v in run.items() if k != "seconds"} for run in runs] for runs in found)
    assert killed == whole
    assert [(run["variant"], run.get("learning_rate"), run.get("seed")) for run in whole] == [
        ("n-gram", None, None),
        *(("Elman", rate, seed) for rate in (0.01, 0.03) for seed in (0, 1)),
    ]
    assert all(list(run["right"]) == ["4", "12"] and min(run["right"].values()) >= 0 for run in whole)
    assert whole[0]["right"]["4"] > 2 * whole[0]["right"]["12"]  # within its 7 words, and not


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"models": ("elman",)}, "`models` must be one or more of 'n-gram'"),
        ({"distances": (4, 6)}, "`distances` must each be 4, or 8 or more"),
        ({"longest": 3}, "`longest` must be at least 4"),
        ({"stories": 3}, "`stories` must be at least 4"),
        ({"models": ("GRU",), "learning_rates": ()}, "`learning_rates` must be at least one"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, wrong, said):
    with pytest.raises(ValueError, match=said):
        tickets.run(tickets.Settings(**SETTINGS | wrong, directory=tmp_path / "none"))
    assert not (tmp_path / "none").exists()
