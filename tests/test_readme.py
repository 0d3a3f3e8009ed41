"""Everything in the README runs: its code as it stands, its commands as far as their options, its links as files."""

import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import tyro

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def commands():
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    return list(dict.fromkeys(part for line in lines for part in line.split(" && ")))


def test_python_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(blocks("python")) >= 6
    names = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert ": chosen" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", commands())
def test_commands_and_their_options_exist(command):
    match shlex.split(command):
        case ["pip", "install", "-e", target]:
            path, extras = re.fullmatch(r"(\.)(?:\[(.*)\])?", target).groups()
            assert (ROOT / path / "pyproject.toml").is_file()
            assert set(extras.split(",") if extras else ()) <= PROJECT["optional-dependencies"].keys()
        case ["pytest"]:
            assert (ROOT / "tests").is_dir()
        case ["python", "-m", "benchmarks", *options]:
            from benchmarks import __main__

            parsed = __main__._parser().parse_args(options)
            if getattr(parsed, "grid", None):
                assert len(__main__._grid(parsed.grid)) >= len(parsed.grid)
            if parsed.command in ("compare", "accuracy"):
                assert __main__._runs(parsed)
        case ["python", "-m", experiment, *options] if experiment.startswith("experiments."):
            tyro.cli(importlib.import_module(experiment).Settings, args=options)
        case _:
            pytest.fail(f"this test does not know how to check {command!r}")


def test_the_two_commands_stand_each_on_a_line_of_its_own():
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    assert next(x for x in lines if "benchmarks" in x) == 'pip install -e ".[bench]" && python -m benchmarks compare'
    assert next(x for x in lines if "pytest" in x) == 'pip install -e ".[dev]" && pytest'


def test_the_gain_of_switching_is_the_one_that_was_measured():
    rows = json.loads((ROOT / "benchmarks/results/2026-11-switch/results.json").read_text())["claims"]
    ratios = [row["time_ratio"] for row in rows if row["what"].startswith("training")]
    assert f"then takes {min(ratios):.2f} to {max(ratios):.2f} of the time" in TEXT
    assert max(ratios) < 1 / 1.5, "at least 1.5 times as fast"


def test_the_time_of_a_language_model_is_the_one_that_was_measured():
    rows = json.loads((ROOT / "benchmarks/results/2026-11-text/results.json").read_text())["claims"]
    flax, torch = (row["time_ratio"] for row in rows)
    text = " ".join(TEXT.split())
    assert f"takes {flax:.2f} of the time of the same model in Flax and {torch:.2f} of PyTorch's" in text
    for row in rows:
        assert all(abs(a - b) < 0.02 for a, b in zip(row["a_bits"], row["b_bits"], strict=True))


def test_what_the_picture_says_is_what_its_report_says():
    said = [line for line in TEXT.splitlines() if line.startswith("- **temporal order")]
    report = (ROOT / "benchmarks/results/2026-11-foundation/report.md").read_text().splitlines()
    assert len(said) == 2 and set(said) <= set(report)


def test_what_keeping_memory_brings_is_what_was_measured():
    def shares(folder):
        rows = json.loads((ROOT / f"benchmarks/results/{folder}/results.json").read_text())["throughput"]
        ours = [row for row in rows if (row["contender"], row["mode"]) == ("lstm_jax", "training")]
        found = [row["share_of_product"] for row in ours if row["hidden_size"] >= 256]
        return f"at {min(found):.0%} to {max(found):.0%}"

    text = " ".join(TEXT.split())
    assert f"then runs {shares('2026-11-kept-memory-lstm')} of the speed of a large matrix product" in text
    assert f"and without {shares('2026-11-kernels-lstm')} (" in text


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_linked_files_exist(name):
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


def test_citation_and_changelog_have_the_version():
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert PROJECT["version"] in (ROOT / "CHANGELOG.md").read_text()
