"""Every drawn sequence, read back by a plain Python loop, is one that the task's definition allows."""

import itertools
from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.tasks import Adding, Adding1997, LongLag, TemporalOrder


def sequences(task, n=2000, dtype=np.float32):
    """Each drawn sequence as (inputs up to its end, its answer), after checks that hold for all tasks."""
    sample = jax.jit(lambda key: task.sample(key, n, dtype))
    inputs, targets, mask = (np.asarray(x) for x in sample(jax.random.key(7)))
    assert np.array_equal(mask.sum(axis=0), np.ones(n))
    ends = mask.argmax(axis=0)
    for i in range(n):
        assert not inputs[ends[i] + 1 :, i].any()
        assert not np.delete(targets[:, i], ends[i], axis=0).any()
        yield inputs[: ends[i] + 1, i], targets[ends[i], i]


def symbols(inputs):
    assert np.array_equal(np.sort(inputs, axis=-1)[:, -2:], np.tile([0, 1], (len(inputs), 1)))
    assert inputs.sum() == len(inputs)
    return inputs.argmax(axis=-1).tolist()


def assert_even(drawn, support):
    """Each value of `support` is drawn about equally often, to five standard deviations, and no other is drawn."""
    counts = Counter(drawn)
    assert set(counts) <= set(support)
    expected = counts.total() / len(support)
    for value in support:
        assert abs(counts[value] - expected) < 5 * expected**0.5, value


@pytest.mark.parametrize(
    "task", [TemporalOrder(100, 2), TemporalOrder(100, 3), TemporalOrder(10, 3), TemporalOrder(39)]
)
def test_temporal_order(task):
    names = ["".join(order) for order in itertools.product("XY", repeat=task.symbols)]
    lengths, classes, places, noise = [], [], [], []
    for inputs, answer in sequences(task):
        text = "".join(task.alphabet[i] for i in symbols(inputs))
        assert text[0] == "E" and text[-1] == "B"
        where = [t for t, symbol in enumerate(text) if symbol in "XY"]
        assert names[answer] == "".join(text[t] for t in where)
        rest = [text[t] for t in range(1, len(text) - 1) if t not in where]
        lengths.append(len(text))
        classes.append(int(answer))
        places.append(where)
        noise.extend(rest)
    assert_even(lengths, range(task.length, task.length + task.length // 10 + 1))
    assert_even(classes, range(2**task.symbols))
    assert_even(noise, "abcd")
    for place, (first, last) in zip(zip(*places, strict=True), task.windows, strict=True):
        assert_even(place, range(first, last + 1))


def test_temporal_order_windows_are_the_papers_at_100():
    assert TemporalOrder(100, 2).windows == ((10, 20), (50, 60))
    assert TemporalOrder(100, 3).windows == ((10, 20), (33, 43), (66, 76))
    assert TemporalOrder(100).time == 110


@given(length=st.integers(10, 10_000), symbols=st.sampled_from([2, 3]))
def test_temporal_order_windows_never_touch(length, symbols):
    task = TemporalOrder(length, symbols)
    flat = [0, *itertools.chain(*task.windows), length - 1]
    assert all(a < b for a, b in itertools.pairwise(flat[::2])) and all(a <= b for a, b in itertools.pairwise(flat))
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(task.windows))
    assert task.windows[-1][1] < length - 1


@pytest.mark.parametrize("length", [2, 31, 100])
def test_adding(length):
    first, second = [], []
    for inputs, answer in sequences(Adding(length)):
        marked = [t for t in range(length) if inputs[t, 1] == 1]
        assert len(inputs) == length and len(marked) == 2
        assert set(inputs[:, 1].tolist()) <= {0, 1}
        assert inputs[:, 0].min() >= 0 and inputs[:, 0].max() < 1
        assert answer == np.float32(inputs[marked[0], 0] + inputs[marked[1], 0])
        first.append(marked[0])
        second.append(marked[1])
    assert_even(first, range(length // 2))
    assert_even(second, range(length // 2, length))


@pytest.mark.parametrize("length", [11, 40, 100])
def test_adding_1997(length):
    window = length // 2 - 1  # pairs that the second mark chooses from
    lengths, values = [], []
    pairs = Counter()
    for inputs, answer in sequences(Adding1997(length), 4000):
        numbers, markers = inputs.T.tolist()
        marked = [t for t, marker in enumerate(markers) if marker == 1]
        assert len(marked) == 2 and marked[0] < 10
        assert all(m == (-1 if t in (0, len(markers) - 1) else 0) for t, m in enumerate(markers) if t not in marked)
        assert min(numbers) >= -1 and max(numbers) < 1
        assert 0 not in marked or numbers[0] == 0
        values += numbers[1:]
        assert answer == pytest.approx(0.5 + sum(numbers[t] for t in marked) / 4, abs=1e-6)
        lengths.append(len(markers))
        pairs[tuple(marked)] += 1
    assert_even(lengths, range(length, length + length // 10 + 1))
    assert_even([int(10 * value // 1) for value in values], range(-10, 10))
    expected = Counter()
    for first in range(10):
        for second in [t for t in range(length) if t != first][:window]:
            expected[tuple(sorted((first, second)))] += 4000 / (10 * window)
    assert set(pairs) <= set(expected)
    assert all(abs(pairs[marked] - n) < 5 * n**0.5 + 1 for marked, n in expected.items())


@pytest.mark.parametrize("task", [LongLag(20, 5), LongLag(3, 1, max_suffix=10), LongLag(1, 2, max_suffix=0)])
def test_long_lag(task):
    q, p = task.q, task.p
    classes, distractors, suffixes = [], [], []
    for inputs, answer in sequences(task, 4000):
        ids = symbols(inputs)
        assert ids[0] == p + 1 and ids[-1] == p and ids[1] == p + 2 + answer
        classes.append(int(answer))
        distractors += ids[2:-1]
        suffixes.append(len(ids) - 3 - q)
    assert_even(classes, range(2))
    assert_even(distractors, range(p))
    assert min(suffixes) >= 0 and max(suffixes) <= task.max_suffix
    for k in range(task.max_suffix):
        expected = 4000 * 0.9**k * 0.1
        assert abs(suffixes.count(k) - expected) < 5 * expected**0.5 + 1
    cut = 4000 * 0.9**task.max_suffix
    assert abs(suffixes.count(task.max_suffix) - cut) < 5 * cut**0.5 + 1


def test_long_lag_cuts_fewer_than_one_sequence_in_10_000():
    assert 0.9 ** LongLag().max_suffix < 1e-4


@pytest.mark.parametrize("task", [Adding(20), Adding1997(20)])
def test_targets_are_the_sum_of_the_rounded_inputs(task):
    for inputs, answer in sequences(task, 200, jax.numpy.bfloat16):
        marked = inputs[inputs[:, 1] == 1, 0].astype(np.float32)
        total = marked[0] + marked[1]
        assert answer.dtype == np.float32 and answer == (total if isinstance(task, Adding) else 0.5 + total / 4)
