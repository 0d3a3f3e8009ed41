"""The experiment on sequence to sequence: its dates, its scores, other pairs, and a killed run that goes on."""

import datetime
import json
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from experiments import translation
from lstm_jax.models import beam_search
from tests.experiments.killed import kill

matplotlib.use("Agg")

SETTINGS: dict[str, Any] = {
    "source": "dates",
    "unit": "character",
    "models": ("attention",),
    "examples": 60,
    "tested": 12,
    "buckets": 1,
    "embedding": 3,
    "hidden": 4,
    "batch": 4,
    "steps": 400,
    "width": 2,
}
OPTIONS = (
    "--source dates --unit character --models attention --examples 60 --tested 12 --buckets 1 --embedding 3 --hidden 4"
    " --batch 4 --steps 400 --width 2"
)


def test_a_date_written_out():
    day = datetime.date(1987, 5, 3)
    assert [translation.written(day, form) for form in translation.FORMS] == [
        "3 May 1987",
        "May 3, 1987",
        "May 3rd, 1987",
        "Sunday, 3 May 1987",
        "on Sunday, the 3rd of May 1987",
        "the third of May, 1987",
        "May the third, nineteen eighty-seven",
        "the third of May, nineteen eighty-seven",
        "on Sunday, the third of May, nineteen eighty-seven",
    ]
    assert [translation.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th", "31st"]
    )
    spelled = "first fifth eighth ninth twelfth thirteenth twentieth twenty-second thirtieth thirty-first"
    assert " ".join(translation.spelled(n) for n in (1, 5, 8, 9, 12, 13, 20, 22, 30, 31)) == spelled
    assert [translation.year_in_words(n) for n in (1900, 1905, 1910, 1999, 2000, 2009, 2021)] == [
        "nineteen hundred",
        "nineteen oh five",
        "nineteen ten",
        "nineteen ninety-nine",
        "two thousand",
        "two thousand and nine",
        "twenty twenty-one",
    ]
    last = translation.FIRST + datetime.timedelta(translation.DAYS - 1)
    assert last == datetime.date(2099, 12, 31)
    assert len({translation.year_in_words(year) for year in range(1900, 2100)}) == 200


def test_no_day_of_a_test_is_trained_on():
    parts = translation.dates(5000, 300)
    train, validation, test = (set(part.targets) for part in parts)
    assert len(train) == 5000 and len(validation) == len(test) == 300
    assert not train & (validation | test) and not validation & test
    assert set(translation.dates(10, 300).test.targets) == test  # fixed, however much is trained on
    for source, target in zip(*parts.test, strict=True):
        day = datetime.date.fromisoformat(target)
        assert source in [translation.written(day, form) for form in translation.FORMS]


def test_a_number_in_words():
    expected = {
        0: "zero",
        13: "thirteen",
        40: "forty",
        100: "one hundred",
        999: "nine hundred ninety-nine",
        1001: "one thousand one",
        20_000_000: "twenty million",
        305_000_017_310: "three hundred five billion seventeen thousand three hundred ten",
    }
    assert {n: translation.number_in_words(n) for n in expected} == expected
    assert len({translation.number_in_words(n) for n in range(20_000)}) == 20_000


def test_no_number_of_a_test_is_trained_on():
    parts = translation.numbers(3000, 100, digits=6)
    train, validation, test = (set(part.sources) for part in parts)
    assert len(train) == 3000 and len(validation) == len(test) == 100
    assert not train & (validation | test) and not validation & test
    assert set(translation.numbers(10, 100, digits=6).test.sources) == test
    assert all(translation.number_in_words(int("".join(s.split()))) == t for s, t in zip(*parts.test, strict=True))
    assert {len(source.split()) for source in train} == set(range(1, 7))


def test_the_loss_is_that_of_the_target_and_its_end():
    settings = translation.Settings(**SETTINGS)
    corpus = translation.read(settings)
    model = translation.network("reversed", corpus, settings)
    params = model.init(jax.random.key(0))
    sources, targets = (column[:2] for column in corpus.encode(corpus.parts.train))
    targets[1] = targets[1][:4]
    nats = []
    for source, target in zip(sources, targets, strict=True):
        assert source.tolist() == [corpus.source.tokens.index(c) for c in corpus.source.decode(source)]
        inputs = np.array([corpus.end, *target[:-1]], np.int32)
        log_p = jax.nn.log_softmax(model(params, jnp.asarray(source)[:, None], jnp.asarray(inputs)[:, None]))
        nats += [-float(log_p[t, 0, token]) for t, token in enumerate(target)]
    batch = translation.Bucketed((sources, targets), 2, limits=1, seed=None)[0]
    found = translation.loss_of(model, corpus.end)(params, translation.columns(batch, 11), None)
    np.testing.assert_allclose(found, np.mean(nats), rtol=1e-5)


def test_translations_come_in_the_tests_order():
    settings = translation.Settings(**SETTINGS)
    corpus = translation.read(settings)
    model = translation.network("forward", corpus, settings)
    params = model.init(jax.random.key(0))
    found = translation.translate(model, params, corpus, settings, width=1)
    alone = []
    for source in corpus.encode(corpus.parts.test)[0]:
        state = model.start(params, jnp.asarray(source)[:, None])
        first = jnp.array([corpus.end], jnp.int32)
        beams = beam_search(lambda *at: model.step(params, *at), state, first, 1, 16, corpus.end)
        tokens = np.asarray(beams.tokens[0, 0, : int(beams.lengths[0, 0])])
        alone.append(corpus.target.decode(tokens[tokens != corpus.end]))
    assert found == alone and len(set(found)) > 1


def test_scores():
    right = ["1987-05-03", "2001-12-31"]
    assert translation.scores(right, right, "character") == {"exact": 1.0, "bleu": pytest.approx(100)}
    found = translation.scores(["1987-05-03", "2001-12-30"], right, "character")
    # 19, 17, 15 and 13 of 20, 18, 16 and 14 n-grams are right, and no target is too short.
    assert found["exact"] == 0.5
    assert found["bleu"] == pytest.approx(100 * (19 / 20 * 17 / 18 * 15 / 16 * 13 / 14) ** 0.25)


def test_a_killed_run_goes_on_to_the_same_figures(tmp_path):
    kill("translation", OPTIONS.split(), tmp_path / "killed", "attention", SETTINGS["steps"])
    found = []
    for name in ("killed", "whole"):
        report = translation.run(translation.Settings(**SETTINGS, directory=tmp_path / name))
        files = {path.name for path in (tmp_path / name).iterdir()}
        assert files == {"results.json", "report.md", "translation.png", "trained"}
        assert "| attention | beam of 2 |" in report
        found.append(json.loads((tmp_path / name / "results.json").read_text())["runs"])
    killed, whole = ([{k: v for k, v in run.items() if k != "seconds"} for run in runs] for runs in found)
    assert killed == whole
    assert [run["search"] for run in whole] == ["greedy", "beam of 2"]
    assert all(len(run["found"]) == 12 and 0 <= run["exact"] <= 1 and 0 <= run["bleu"] <= 100 for run in whole)


def test_pairs_of_ones_own(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"number {n} it is\tes ist {n}\n" for n in range(100)))
    settings = {"source": str(file), "unit": "word", "models": ("forward",), "steps": 2, "vocabulary": 50}
    report = translation.run(translation.Settings(**SETTINGS | settings, directory=tmp_path / "out"))
    assert "| forward | greedy |" in report
    runs = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert len(runs[0]["found"]) == 5  # every 20th


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"models": ("backward",)}, "`models` must be one or more of 'forward', 'reversed', 'attention'"),
        ({"examples": 0}, "`examples` must be from 1 to"),
        ({"tested": 10**5}, "`tested` must be from 1 to"),
        ({"longest": 5}, "`source` must have 4 training pairs, a batch, of at most `longest` 5 tokens; got 0"),
        ({"source": "numbers", "digits": 13}, "`digits` must be from 4 to 12; got 13"),
        ({"source": "numbers", "digits": 4, "examples": 9000}, "`examples` must be at least 1, and leave numbers"),
        ({"width": 0}, "`width` must be at least one"),
        ({"source": "nothing"}, "`source` must be one of"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, wrong, said):
    with pytest.raises(ValueError, match=said):
        translation.run(translation.Settings(**SETTINGS | wrong, directory=tmp_path / "none"))
    assert not (tmp_path / "none").exists()
