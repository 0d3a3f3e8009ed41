"""The suite's runs: which there are, how one is kept, what stops them, what a row says."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from benchmarks import __main__, accuracy, cache, learners, remembered
from benchmarks.accuracy import Case, cases, described, measure
from benchmarks.entry import Entry, Published
from benchmarks.suite import SUITE
from lstm_jax import tasks

TINY = Entry(
    "memory",
    tasks.Adding,
    4,
    {"quick": {4: 6}, "full": {6: 6}},
    cells=("LSTM", "RNN"),
    batch=8,
    period=3,
    tested=16,
    make_test=lambda length: tasks.Adding(length + 2),
    further=(10,),
    published=Published({4: 1000}, "a paper"),
)
CASES = [Case("tiny", 4, "LSTM", 4, "hidden size", 6, 2), Case("tiny", 4, "RNN", 4, "hidden size", 6, 2)]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(SUITE, "tiny", TINY)


def nothing(text):
    pass


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITE, "tiny", TINY)
        kept = tmp_path_factory.mktemp("kept")
        return kept, measure(CASES, nothing, kept=kept)


@pytest.mark.parametrize("task", [task for task in SUITE if "MNIST" not in task])  # which is read from a disk
def test_every_entry_makes_its_tasks(task):
    entry = SUITE[task]
    for length in itertools.chain.from_iterable(plan.keys() for plan in entry.steps.values()):
        made, judged = entry.make(length), accuracy._tested(entry, length)
        if hasattr(made, "sample"):
            assert (made.input_size, made.output_size) == (judged.input_size, judged.output_size)
            assert made.length == length
    assert all(accuracy._tested(entry, length).length == length for length in entry.further)
    assert {*entry.cells, *entry.longer} <= learners.CELLS.keys() and set(entry.steps) <= {"quick", "short", "full"}
    lengths = set(itertools.chain.from_iterable(plan for plan in entry.steps.values()))
    assert entry.published is None or entry.published.sequences.keys() <= lengths
    assert set(entry.matched) <= lengths


@pytest.mark.parametrize("cell", learners.CELLS)
def test_every_initialisation_of_a_cell_has_the_same_equations(cell):
    layers = learners.CELLS[cell].layers(3, 4, 20.0).values()
    assert len({str(layer).split("_init")[0] for layer in layers}) == 1


def test_the_carousel_has_one_gate_and_sees_its_inputs_twice():
    """Of the gates of an LSTM the input's alone is left, and the outputs read the inputs beside the cell."""
    case = dataclasses.replace(CASES[0], cell="CEC")
    (row,) = measure([case], nothing)
    assert row["parameters"] == 2 * 4 * (2 + 4 + 1) + (4 + 2 + 1)
    assert described(case)["shortcut"]


def test_the_command_line_knows_every_cell():
    assert (*__main__.CELLS, *__main__.MORE_CELLS) == tuple(learners.CELLS)


def test_a_cell_that_needs_more_steps_gets_them():
    found = cases("full", ("word problem of S5",), ("LSTM", "RNN"), 3)
    assert [(case.cell, case.steps) for case in found] == [("LSTM", 12_000), ("RNN", 40_000)]


def test_the_levels():
    quick, short, full = (cases(level, (), (), 3) for level in ("quick", "short", "full"))
    assert {c.task for c in quick} == {"tiny", "temporal order", "adding", "long lag", "digits"}
    assert {c.task for c in quick} - {"tiny"} < {c.task for c in short} < {c.task for c in full}
    assert [c.cell for c in quick if c.task == "tiny"] == ["LSTM", "RNN"]
    assert [c.length for c in cases("short", ("tiny",), ("GRU",), 3)] == [6], "the next longer plan"
    matched = [c for c in full if c.equal == "parameters"]
    assert {c.cell for c in matched} == {"GRU", "RNN"} and all(c.hidden_size > 12 for c in matched)


def test_a_row_is_what_was_measured(rows):
    lstm, rnn = rows[1]
    assert [s["init"] for s in lstm["settings"]] == ["chrono", "forget bias 1"] and len(rnn["settings"]) == 6
    assert lstm["sequences"] == 6 * 8 and np.shape(lstm["settings"][0]["error"]) == (2, 2)
    assert all(len(s["further"]["10"]) == 2 and np.isfinite(s["further"]["10"]).all() for s in rnn["settings"])
    assert lstm["settings"][0]["further"]["10"] != lstm["settings"][0]["final_error"]
    assert lstm["published"] == {"sequences": 1000, "source": "a paper"} and lstm["chance"] == 1 / 6
    assert lstm["defined"].endswith("16 sequences each to choose and test")
    assert json.loads(json.dumps(rows[1])) == rows[1]


def test_the_error_is_of_sequences_that_chose_nothing(rows):
    """Not one of the validation sequences is a test sequence, and both figures are what an evaluation gives."""
    for found in itertools.chain.from_iterable(row["settings"] for row in rows[1]):
        assert found["validation_error"] == [curve[-1] for curve in found["error"]]
        assert all(a != b for a, b in zip(found["validation_error"], found["final_error"], strict=True))
    problem = accuracy._generated(CASES[0], tasks.Adding(4), accuracy._budget(CASES[0]))
    own, further = problem.tests
    assert own.inputs.shape == problem.validation.inputs.shape == (6, 16, 2) and further.inputs.shape[0] == 12
    marked = {tuple(x) for x in np.moveaxis(np.asarray(problem.validation.inputs), 1, 0).reshape(16, -1).tolist()}
    assert not marked & {tuple(x) for x in np.moveaxis(np.asarray(own.inputs), 1, 0).reshape(16, -1).tolist()}


def test_a_kept_run_is_not_run_again(rows, monkeypatch):
    kept, measured = rows
    monkeypatch.setattr(accuracy, "_compile", lambda *_: pytest.fail("compiled anew"))
    assert measure(CASES, nothing, kept=kept) == measured
    monkeypatch.setitem(SUITE, "tiny", dataclasses.replace(TINY, control=True, tried="more"))
    assert measure(CASES, nothing, kept=kept) == [row | {"control": True, "tried": "more"} for row in measured]
    with pytest.raises(pytest.fail.Exception):
        measure(CASES, nothing, kept=kept, fresh=True)


def test_every_setting_tells_runs_apart(monkeypatch):
    base = described(CASES[0])
    assert cache.digest(base) == cache.digest(json.loads(json.dumps(base)))
    changed = [Case("tiny", 4, "LSTM", 5, "hidden size", 6, 2), Case("tiny", 4, "LSTM", 4, "hidden size", 6, 3)]
    found = {cache.digest(described(case)) for case in [*CASES, *changed]}
    for name, value in {"batch": 9, "rates": (0.1,), "tested": 17, "further": (12,), "make": tasks.Adding1997}.items():
        if name == "make":
            value = lambda length: tasks.Adding(length + 1)  # noqa: E731
        monkeypatch.setitem(SUITE, "tiny", TINY.__class__(**{**vars(TINY), name: value}))
        found.add(cache.digest(described(CASES[0])))
    assert len(found) == 4 + 5


def test_a_spent_budget_begins_nothing(tmp_path, monkeypatch):
    moments = iter([0.0, 61.0])
    monkeypatch.setattr(accuracy.time, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(accuracy, "_compile", lambda *_: pytest.fail("begun"))
    assert measure(CASES, nothing, kept=tmp_path, minutes=1) == []


def test_a_damaged_file_is_measured_anew(tmp_path):
    settings = described(CASES[0])
    cache.write(tmp_path, settings, {"a": 1})
    (path,) = tmp_path.iterdir()
    assert cache.read(tmp_path, settings) == {"a": 1}
    path.write_text(path.read_text()[:10])
    assert cache.read(tmp_path, settings) is None


def test_published_figures_are_compared_seed_by_seed(rows):
    row = json.loads(json.dumps(rows[1][0]))
    setting = row["settings"][row["best"]]
    setting |= {"solved": [True, True], "steps_to_solve": [50, 100]}
    assert remembered.published_table([row])[0] | {"by": ""} == {
        "task": "tiny",
        "steps long": 4,
        "cell": "LSTM",
        "solved": "2/2",
        "confirmed": "0/2",
        "sequences": "600",
        "slowest seed": "800",
        "published": "1,000",
        "fewer in every seed": "yes",
        "by": "",
    }
    setting["steps_to_solve"] = [50, 125]
    assert remembered.published_table([row])[0]["fewer in every seed"] == "no"
    setting |= {"solved": [True, False], "steps_to_solve": [50, None]}
    assert remembered.published_table([row])[0]["slowest seed"] == "not after 48"


def test_further_lengths_have_rows_of_their_own(rows):
    found = remembered.further_table(rows[1])
    assert [(r["cell"], r["trained at"], r["tested at"]) for r in found] == [("LSTM", 4, "10"), ("RNN", 4, "10")]
