"""Tables and verdicts from figures known beforehand, and files that are whole or not there."""

import json
import os

import jax
import pytest

from benchmarks import plots, remembered, report
from tests.benchmarks import results


def test_verdicts_say_what_the_figures_say():
    lines = remembered.verdicts(results.result()["accuracy"])
    assert [line.split(":")[0] for line in lines] == [
        "**temporal order, 30 steps**",
        "**temporal order, 100 steps**",
        "**digits, 64 steps**",
    ]
    assert "LSTM solved in all 3 seeds, after 20 steps (median)" in lines[0]
    assert "RNN solved in 1 of 3 seeds after 40 steps, misclassified 0.72 (chance 0.75)" in lines[0]
    assert lines[0].count("RNN") == 1  # the run at equal parameters is in the tables
    assert "RNN 85.0% of the test images right (median of 3 seeds)" in lines[2]


@pytest.mark.parametrize(
    ("cell", "solved", "published", "short"),
    [
        ("LSTM", [True, False, True], None, True),
        ("LSTM", [True] * 3, None, False),
        ("GRU", [True] * 3, 20 * 64, True),
        ("GRU", [True] * 3, 20 * 64 + 1, False),
        ("RNN", [False] * 3, None, False),
    ],
)
def test_what_was_tried_is_said_where_a_gated_cell_falls_short(cell, solved, published, short):
    found = results.run(cell, [results.setting("chrono", [0.1] * 3, [20] * 3, solved=solved)], 0, task="copy")
    found |= {"batch": 64, "published": published and {"sequences": published, "source": "a paper"}}
    assert remembered.tried([found]) == ["**copy**: no other setting"] * short
    found["tried"] = "larger rates"
    assert remembered.tried([found]) == ["**copy**: larger rates"] * short
    given = results.result() | {"accuracy": [found]}
    assert ("larger rates" in report.markdown(given, [])) == short


def test_a_control_that_fails_is_said_to():
    rows = [row | {"control": True} for row in results.result()["accuracy"]]
    lines = remembered.verdicts(rows)
    assert [line.split("**")[2].split(":")[0] for line in lines] == [
        " (control, in which the RNN falls behind)",
        " (control, in which the RNN falls behind)",
        " (control)",
    ]


def test_speed_verdicts_are_geometric_means_by_mode():
    lines = report.speed_verdicts(results.result()["throughput"])
    assert len(lines) == 2
    textbook = next(line for line in lines if "textbook" in line)
    assert "forward 1.00x (0.50 to 2.00)" in textbook and "training 1.50x" in textbook and "step" not in textbook
    assert "step 2.00x" in next(line for line in lines if "PyTorch" in line)


def test_accuracy_table_has_a_row_a_run_at_its_best_setting():
    rows = remembered.accuracy_table(results.result()["accuracy"])
    assert [(r["cell"], r["solved"]) for r in rows] == [
        ("LSTM", "3/3"),
        ("RNN", "1/3"),
        ("RNN", "1/3"),
        ("LSTM", "3/3"),
        ("RNN", "1/3"),
        ("RNN", ""),
    ]
    assert rows[0]["best setting"] == "chrono, 0.01" and rows[0]["test error, median (range)"] == "0 (0 to 0.01)"
    assert rows[0]["steps to solve"] == "20" and rows[5]["steps to solve"] == ""


def test_settings_table_has_a_row_a_setting():
    rows = remembered.settings_table(results.result()["accuracy"])
    assert [r["initialisation"] for r in rows[:2]] == ["forget bias 1", "chrono"]
    assert len(rows) == 7


def test_throughput_tables_part_sequences_from_steps():
    rows = results.result()["throughput"]
    sequences, steps = report.throughput_table(rows), report.step_table(rows)
    assert {row["mode"] for row in sequences} == {"forward", "training"}
    assert sequences[0]["ms"] == "1" and sequences[0]["steps/s"] == "10,000"
    assert len({row["cell"] for row in steps}) == len(steps) == 1 and steps[0]["microseconds"] == "50"


def test_a_pair_may_be_timed_without_its_memory():
    row = {"cell": "LSTM", "what": "training", "shape": (1, 2), "a": "one", "b": "other", "time_ratio": 0.5}
    row |= {"a_seconds": 0.002, "b_seconds": 0.001, "a_temp_bytes": None, "b_temp_bytes": 2_000_000}
    (found,) = report.claims_table([row])
    assert (found["a, MB"], found["b, MB"], found["b/a time"]) == ("", "2.0", "0.50")


def test_table_is_markdown_and_empty_without_rows():
    assert report.table([{"a": 1, "b": "x"}]) == "| a | b |\n| --- | --- |\n| 1 | x |\n"
    assert report.table([]) == ""


def test_markdown_leaves_out_what_was_not_measured():
    whole = results.result()
    for part, title in (("throughput", "## How fast they are"), ("accuracy", "## What they remember")):
        text = report.markdown({k: v for k, v in whole.items() if k != part}, [])
        assert title not in text and title in report.markdown(whole, [])
    assert "jax 0.10.2" in report.markdown(whole, [])


def test_write_puts_every_file_and_the_report_names_the_pictures(tmp_path):
    path = report.write(results.result(), tmp_path / "deep" / "run")
    assert path == tmp_path / "deep" / "run" / "report.md"
    files = {p.name for p in path.parent.iterdir()}
    pictures = {"accuracy.png", "learning_curves.png", "throughput.png"}
    assert files == {"report.md", "results.json"} | pictures
    assert all(f"({name})" in path.read_text() for name in pictures)
    assert all((path.parent / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    saved, given = json.loads((path.parent / "results.json").read_text()), results.result()
    assert jax.tree.structure(saved) == jax.tree.structure(given)
    assert jax.tree.leaves(saved) == [
        pytest.approx(x, rel=1e-6, nan_ok=True) if isinstance(x, float) else x for x in jax.tree.leaves(given)
    ]
    assert os.listdir(tmp_path / "deep") == ["run"]


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A folder with an older result, and plots that take no time."""
    monkeypatch.setattr(plots, "draw", lambda result, folder: [])
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "report.md").write_text("old")
    return folder


def test_write_replaces_an_older_result(old):
    report.write(results.result(), old)
    assert sorted(os.listdir(old)) == ["report.md", "results.json"] and os.listdir(old.parent) == ["run"]
    assert (old / "report.md").read_text() != "old"


def test_a_failure_leaves_the_older_result_alone(old, monkeypatch):
    def fail(result, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(plots, "draw", fail)
    with pytest.raises(KeyboardInterrupt):
        report.write(results.result(), old)
    assert (old / "report.md").read_text() == "old"
    assert os.listdir(old) == ["report.md"] and os.listdir(old.parent) == ["run"]
