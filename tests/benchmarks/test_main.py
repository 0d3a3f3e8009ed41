"""The command line: a whole small run, and wrong options in one line."""

import dataclasses
import json

import pytest

from benchmarks import throughput
from benchmarks.__main__ import main
from benchmarks.suite import SUITE
from tests.benchmarks import results

WRONG = {
    "no command": "",
    "command": "measure",
    "option": "compare --fast",
    "short for an option": "compare --see 3",
    "cell": "throughput --cells TRANSFORMER",
    "dtype": "throughput --dtype float8",
    "grid name": "throughput --grid large",
    "grid of three": "throughput --grid 1,2,3",
    "grid with a zero": "throughput --grid 1,2,3,0",
    "peer": "throughput --against Chainer",
    "implementation": "throughput --implementation fast",
    "all and one": "throughput --cells all LSTM",
    "a dtype for all": "throughput --cells all --dtype bfloat16",
    "a peer of all": "throughput --cells all --against PyTorch",
    "rounds": "throughput --rounds 0",
    "seconds": "throughput --seconds nan",
    "no seconds": "throughput --seconds 0",
    "seconds of all": "throughput --cells all --seconds 1",
    "seeds": "accuracy --seeds many",
    "task": "accuracy --only chess",
    "budget": "accuracy --budget 0",
    "an option of another command": "throughput --seeds 3",
    "device": "accuracy --device abacus",
    "diff of one": "diff a.json",
}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
def test_a_wrong_option_is_one_line(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words.split())
    captured = capsys.readouterr()
    assert left.value.code == 2
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert captured.err.startswith("python -m benchmarks")


def test_data_that_are_not_here_are_one_line(monkeypatch, capsys):
    def absent(length):
        raise FileNotFoundError("`mnist`: there is no data")

    monkeypatch.setitem(SUITE, "MNIST", dataclasses.replace(SUITE["MNIST"], make=absent))
    with pytest.raises(SystemExit):
        main(["accuracy", "--only", "MNIST"])
    assert capsys.readouterr().err.startswith("python -m benchmarks: argument --only: MNIST: `mnist`: there is no data")


def test_help_is_no_error(capsys):
    with pytest.raises(SystemExit) as left:
        main(["compare", "--help"])
    assert left.value.code == 0 and "--seeds" in capsys.readouterr().out


def test_a_small_run_writes_its_report(tmp_path, capsys):
    words = ["throughput", "--grid", "2,5,3,4", "--rounds", "1", "--cells", "LSTM", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"report.md", "results.json", "throughput.png"}
    assert str(tmp_path / "run" / "report.md") in capsys.readouterr().out.replace("\n", "")

    result = json.loads((tmp_path / "run" / "results.json").read_text())
    assert result["command"].startswith("python -m benchmarks throughput --grid 2,5,3,4")
    assert {"device", "versions", "threads", "matmul_precision", "date"} <= result["environment"].keys()
    rows = result["throughput"]
    assert {row["mode"] for row in rows} == {"forward", "training", "step"}
    assert {"lstm_jax", "textbook scan"} <= {row["contender"] for row in rows}
    for row in rows:
        assert row["seconds"] > 0 and len(row["rounds"]) == 1
        assert row["contender"] != "lstm_jax" or row["speedup_of_ours"] == 1


def test_quiet_prints_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(throughput, "measure", lambda settings, advance: results.result()["throughput"])
    assert main(["throughput", "--quiet", "--out", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
