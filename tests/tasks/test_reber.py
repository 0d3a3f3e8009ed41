"""Embedded Reber strings, read back by an automaton of their own, and streams of them that go on across windows."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.tasks import ContinualReber, EmbeddedReber

# The diagram of the Reber grammar after its B, written down once more: from each node, where each legal symbol leads.
DIAGRAM = {1: {"T": 2, "P": 3}, 2: {"S": 2, "X": 4}, 3: {"T": 3, "V": 5}, 4: {"X": 3, "S": 6}, 5: {"P": 4, "V": 6}}
KEY = jax.random.key(11)


def legal_after(prefix):
    """The symbols that the grammar allows after a prefix of a string, by following the diagram from its beginning."""
    if len(prefix) < 3:
        return [{"B"}, {"T", "P"}, {"B"}][len(prefix)]
    node = 1
    for i, symbol in enumerate(prefix[3:]):
        if node == 6:
            assert symbol == "E"
            rest = prefix[4 + i :]
            return [{prefix[1]}, {"E"}, set()][len(rest)]
        node = DIAGRAM[node][symbol]
    return {"E"} if node == 6 else set(DIAGRAM[node])


def strings(length):
    """Every string of at most `length` symbols, with its probability."""
    found, open_ends = {}, {"": 1.0}
    while open_ends:
        prefix, p = open_ends.popitem()
        options = legal_after(prefix)
        if not options:
            found[prefix] = p
        elif len(prefix) < length:
            open_ends |= {prefix + symbol: p / len(options) for symbol in options}
    return found


def text(one_hot):
    assert set(np.unique(one_hot)) <= {0, 1} and (one_hot.sum(axis=-1) == 1).all()
    return "".join(EmbeddedReber.alphabet[i] for i in one_hot.argmax(axis=-1))


def read(targets):
    """The legal sets and the symbols that came next; 1 at that one, 1/2 at another."""
    assert set(np.unique(targets)) <= {0, 0.5, 1}
    legal = [{EmbeddedReber.alphabet[i] for i in np.flatnonzero(row)} for row in targets]
    return legal, text((targets == 1).astype(int))


def drawn(task, n):
    return (np.asarray(x) for x in jax.jit(lambda key: task.sample(key, n))(KEY))


@pytest.mark.parametrize("length", [9, 12, 40])
def test_strings_are_legal_and_targets_are_the_legal_sets(length):
    task = EmbeddedReber(length)
    inputs, targets, mask = drawn(task, 1000)
    assert task.time == length - 1 == len(mask)
    for i in range(1000):
        steps = mask[:, i].sum()
        assert mask[:steps, i].all() and not inputs[steps:, i].any() and not targets[steps:, i].any()
        legal, answers = read(targets[:steps, i])
        string = text(inputs[:steps, i]) + answers[-1]
        assert answers == string[1:] and string[-2] == string[1] and legal_after(string) == set()
        assert legal == [legal_after(string[: t + 1]) for t in range(steps)]


@pytest.mark.parametrize(("length", "kinds"), [(9, 4), (11, 18)])
def test_short_strings_keep_their_ratio(length, kinds):
    inputs, _, mask = drawn(EmbeddedReber(length), 4000)
    expected = strings(length)
    assert len(expected) == kinds
    counts = Counter(text(inputs[: mask[:, i].sum(), i]) + "E" for i in range(4000))
    assert set(counts) == set(expected)
    for string, p in expected.items():
        mean = 4000 * p / sum(expected.values())
        assert abs(counts[string] - mean) < 5 * mean**0.5, string


def test_fewer_than_one_string_in_10_000_is_longer_than_the_default():
    over_23, over_24 = (1 - sum(strings(length).values()) for length in (23, 24))
    factor = over_24 / over_23  # by which the tail goes on falling: its strings are too many to be listed
    assert over_24 * factor ** (EmbeddedReber().length - 24) == pytest.approx(1 / 17_600, rel=0.01)


def test_both_branches_come_with_probability_one_half():
    for task in (EmbeddedReber(), ContinualReber(60)):
        _, targets, _ = drawn(task, 2000)
        first = Counter()
        for row in targets.reshape(-1, 7)[(targets == 0.5).any(axis=-1).ravel()]:
            first[tuple(np.flatnonzero(row)), int(row.argmax())] += 1
        pairs = {legal for legal, _ in first}
        assert {frozenset(task.alphabet[i] for i in legal) for legal in pairs} == {
            frozenset(options) for options in ("TP", "SX", "TV", "PV")
        }
        for legal in pairs:
            a, b = (first[legal, symbol] for symbol in legal)
            assert abs(a - b) < 5 * (a + b) ** 0.5


def test_windows_go_on_where_the_last_one_stopped():
    task, n = ContinualReber(17), 64
    advance = jax.jit(task.advance)
    stream, windows = task.start(KEY, n), []
    for _ in range(12):
        stream, batch = advance(stream)
        windows.append(jax.tree.map(np.asarray, batch))
    for before, after in itertools.pairwise(windows):
        assert np.array_equal(before.targets[-1] == 1, after.inputs[0] == 1)
    inputs, targets, mask = (np.concatenate(parts) for parts in zip(*windows, strict=True))
    assert mask.all() and inputs.shape == (12 * 17, n, 7)
    lengths = []
    for i in range(n):
        legal, answers = read(targets[:, i])
        symbols = text(inputs[:, i])
        assert answers[:-1] == symbols[1:]
        prefix = ""
        for symbol, options in zip(symbols, legal, strict=True):
            prefix += symbol
            assert options == (legal_after(prefix) or {"B"})
            if not legal_after(prefix):
                lengths.append(len(prefix))
                prefix = ""
    assert min(lengths) == 9 and np.mean(lengths) == pytest.approx(12, abs=0.5)
    assert len({text(inputs[:, i]) for i in range(n)}) == n


def test_a_sample_is_the_first_window():
    task = ContinualReber(20)
    stream, batch = task.advance(task.start(KEY, 3))
    assert all(map(np.array_equal, batch, task.sample(KEY, 3)))
    assert (batch.inputs[0].argmax(axis=-1) == 0).all()
    assert not np.array_equal(batch.inputs, task.advance(stream)[1].inputs)


def test_streams_under_vmap_and_scan():
    task, keys = ContinualReber(10), jax.random.split(KEY, 3)

    def two(key):
        return jax.lax.scan(lambda stream, _: task.advance(stream, jnp.bfloat16), task.start(key, 4), length=2)

    streams, batches = jax.jit(jax.vmap(two))(keys)
    assert batches.inputs.shape == (3, 2, 10, 4, 7) and batches.inputs.dtype == jnp.bfloat16
    assert batches.targets.dtype == jnp.float32 and streams.symbols.dtype == streams.nodes.dtype == jnp.int32
    stream = task.start(keys[1], 4)
    for window in range(2):
        stream, batch = task.advance(stream)
        assert np.array_equal(batches.inputs[1, window].astype(np.float32), batch.inputs)
