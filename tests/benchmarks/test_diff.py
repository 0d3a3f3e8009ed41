"""Two results side by side."""

import json
import math

import pytest

from benchmarks import diff
from benchmarks.__main__ import main
from tests.benchmarks import results


def written(path, result):
    path.write_text(json.dumps(result))
    return path


def test_speed_and_runs_are_compared_row_by_row(tmp_path):
    before, after = results.result(), results.result()
    after["throughput"][0]["seconds"] = 0.0005
    after["accuracy"][1]["settings"][0]["solved"] = [True, True, True]
    text = diff.compare(written(tmp_path / "a.json", before), written(tmp_path / "b.json", after))
    rows = [line.split(" | ") for line in text.splitlines()]
    assert len([r for r in rows if r[0] == "| LSTM" and r[-1].endswith("x |")]) == 8
    assert ["1", "0.5", "2.00x |"] in [r[-3:] for r in rows]
    assert "1/3 solved, error 0.72 | 3/3 solved, error 0.72" in text
    assert "environment" not in text


def test_another_environment_is_said_but_not_another_date(tmp_path):
    before, after = results.result(), results.result()
    after["environment"] |= {"date": "2001-01-01T00:00:00+00:00", "device": "another"}
    text = diff.compare(written(tmp_path / "a.json", before), written(tmp_path / "b.json", after))
    assert text.startswith("Not the same environment: device differ")


def test_nothing_in_common_is_said(tmp_path):
    before, after = results.result(), results.result()
    del after["accuracy"]
    del before["throughput"]
    text = diff.compare(written(tmp_path / "a.json", before), written(tmp_path / "b.json", after))
    assert text == "The two results have no row in common.\n"


@pytest.mark.parametrize("content", [None, "no json", "[1]", "{}"])
def test_what_is_no_result_is_one_line(tmp_path, capsys, content):
    good, bad = written(tmp_path / "a.json", results.result()), tmp_path / "b.json"
    if content is not None:
        bad.write_text(content)
    with pytest.raises(ValueError, match=r"b\.json`: expected a results\.json"):
        diff.compare(good, bad)
    with pytest.raises(SystemExit) as left:
        main(["diff", str(good), str(bad)])
    captured = capsys.readouterr()
    assert left.value.code == 2 and captured.out == "" and len(captured.err.splitlines()) == 1


def test_main_prints_the_tables(tmp_path, capsys):
    path = str(written(tmp_path / "a.json", results.result()))
    assert main(["diff", path, path]) == 0
    ratios = [line.split(" | ")[-1] for line in capsys.readouterr().out.splitlines() if line.endswith("x |")]
    assert [math.isclose(float(ratio.removesuffix("x |")), 1) for ratio in ratios] == [True] * 8
