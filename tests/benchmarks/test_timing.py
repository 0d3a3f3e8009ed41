"""Interleaved timing, with contenders that only count."""

import itertools

import pytest

from benchmarks import timing
from benchmarks.timing import Prepared, compiled, interleave, median_ratio


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves on by what each contender asks for, and by nothing else."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def contender(name, seconds, calls):
        def run():
            now[0] += seconds
            calls.append(name)

        return Prepared(run, wait=lambda _: None)

    return contender


def test_every_round_times_every_contender_in_turn(clock):
    calls = []
    contenders = {"a": clock("a", 1.0, calls), "b": clock("b", 2.0, calls)}
    figures = interleave(contenders, rounds=3, least_seconds=0.5)
    assert figures == {"a": [1.0] * 3, "b": [2.0] * 3}
    assert [name for name, _ in itertools.groupby(calls)][-6:] == ["a", "b"] * 3


def test_short_calls_are_repeated_and_divided(clock):
    calls = []
    figures = interleave({"a": clock("a", 0.125, calls)}, rounds=2, least_seconds=1.0)
    assert figures == {"a": [0.125] * 2}
    before_all, before_each = 2, 8 // 4 + 1
    assert len(calls) == before_all + 2 * (before_each + 8)


def test_a_contender_begins_at_rest(clock, monkeypatch):
    calls = []
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: calls.append(seconds))
    interleave({"a": clock("a", 1.0, calls), "b": clock("b", 1.0, calls)}, rounds=2, least_seconds=0.5)
    assert calls[-12:] == [0.02, "a", "a", 0.02, "b", "b"] * 2


def test_median_ratio_pairs_the_rounds():
    assert median_ratio([2.0, 30.0, 8.0], [1.0, 10.0, 1.0]) == 3.0
    with pytest.raises(ValueError):
        median_ratio([1.0], [1.0, 2.0])


def test_compiled_runs_the_function_and_knows_its_memory():
    prepared = compiled(lambda x: x + x, 2.0)
    assert float(prepared.wait(prepared.run())) == 4.0
    assert prepared.compile_seconds > 0 and prepared.temp_bytes is not None
