"""The family's timings and the page of cells that is made of them."""

import inspect
import json
from pathlib import Path

import lstm_jax as lj
from benchmarks import gallery
from benchmarks.__main__ import main
from benchmarks.contenders import MODES
from benchmarks.family import FAMILY, measure

ROOT = Path(__file__).parent.parent.parent
CELLS = {cell.__name__ for cells in gallery.ORDER.values() for cell in cells}


def test_every_cell_has_its_place():
    public = {
        name
        for name, value in vars(lj.cells).items()
        if inspect.isclass(value) and not name.endswith(("Params", "Carry"))
    }
    assert public | {"IRNN"} == CELLS
    assert gallery.ASKED.keys() <= CELLS
    rows = [{"cell": n, "mode": "forward", "parameters": 1, "implementation": "", "times_the_lstm": 1} for n in FAMILY]
    found = {name: [row[""] for row in gallery.measured(name, rows)] for name in CELLS}
    assert sorted(row for rows in found.values() for row in rows) == sorted(FAMILY)
    assert all(found.values())


def test_a_small_run(tmp_path, monkeypatch):
    few = {
        name: FAMILY[name]
        for name in ("LSTM", "MinGRU by associative", "NaryTreeLSTM, random trees", "WeightDrop(LSTM)")
    }
    monkeypatch.setattr("benchmarks.family.FAMILY", few)
    words = ["throughput", "--cells", "all", "--grid", "2,3,16,16", "--rounds", "1", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["family"]
    assert [(row["cell"], row["mode"]) for row in rows] == [(name, mode) for mode in MODES for name in few]
    assert all(row["seconds"] > 0 and row["parameters"] > 0 for row in rows)
    assert {row["times_the_lstm"] for row in rows if row["cell"] == "LSTM"} == {1}
    assert "The family beside the LSTM" in (tmp_path / "run" / "report.md").read_text()


def test_the_page_is_made_of_the_code_and_the_committed_result():
    source = ROOT / "benchmarks" / "results" / "2026-11-family"
    result = json.loads((source / "results.json").read_text())
    assert gallery.PAGE.read_text() == gallery.page(result, "../benchmarks/results/2026-11-family/report.md")
    assert {row["cell"] for row in result["family"]} == FAMILY.keys()


def test_measure_counts_its_steps(monkeypatch):
    from benchmarks import family

    monkeypatch.setattr(family, "FAMILY", {"LSTM": FAMILY["LSTM"]})
    seen = []
    measure((1, 2, 16, 16), 1, seen.append)
    assert len(seen) == family.count()
