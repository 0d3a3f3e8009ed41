"""Every sequence of the tasks that keep symbols, read back by a plain loop, is one that the definition allows."""

import functools
import itertools
import math
from collections import Counter

import jax
import numpy as np
import pytest

from lstm_jax.tasks.copy import Copy, VariableCopy
from lstm_jax.tasks.delayed_recall import DelayedRecall
from lstm_jax.tasks.denoise import Denoise
from lstm_jax.tasks.mqar import MQAR
from lstm_jax.tasks.selective_copy import SelectiveCopy

N = 2000


@functools.partial(jax.jit, static_argnums=0)
def judge(task, outputs, targets, mask):
    return {name: getattr(task, name)(outputs, targets, mask) for name in ("loss", "error", "correct", "solved")}


def draw(task, n=N):
    return tuple(np.asarray(x) for x in jax.jit(lambda key: task.sample(key, n))(jax.random.key(7)))


def sequences(task, batch):
    """Each sequence as its symbols and what is asked for, step by step: a class, or None where there is no target."""
    inputs, targets, mask = batch
    assert inputs.shape == (task.time, targets.shape[1], task.input_size)
    assert not targets[~mask].any() and np.isin(inputs, (0, 1)).all()
    for i in range(targets.shape[1]):
        shown = inputs[:, i].sum(axis=-1).astype(int).tolist()
        steps = sum(shown)
        assert shown == [1] * steps + [0] * (len(shown) - steps)  # one-hot up to the end, zeros after it
        ids = [vector.index(1) for vector in inputs[:steps, i].tolist()]
        asked = [label if counts else None for label, counts in zip(targets[:, i].tolist(), mask[:, i], strict=True)]
        assert asked[steps:] == [None] * (len(shown) - steps)
        yield ids, asked[:steps]


def assert_drawn(drawn, chances):
    """Each value is drawn about as often as its chance says, to five standard deviations, and no other is drawn."""
    counts = Counter(drawn)
    assert set(counts) <= set(chances) and sum(chances.values()) == pytest.approx(1)
    for value, chance in chances.items():
        spread = 5 * (counts.total() * chance * (1 - chance)) ** 0.5
        assert abs(counts[value] - counts.total() * chance) <= spread + 1e-9, value


def even(support):
    support = list(support)
    return dict.fromkeys(support, 1 / len(support))


def assert_independent(lists, symbols):
    """All symbols are equally likely, and so are all pairs of neighbours."""
    assert_drawn(itertools.chain(*lists), even(range(symbols)))
    pairs = [pair for symbols in lists for pair in itertools.pairwise(symbols)]
    assert_drawn(pairs, even(itertools.product(range(symbols), repeat=2)))


@pytest.mark.parametrize("length", [1, 2, 30])
def test_copy(length):
    task = Copy(length)
    begun = []
    for ids, asked in sequences(task, draw(task)):
        symbols = ids[:10]
        assert len(ids) == length + 20 and max(symbols) < 8
        assert ids[10:] == [8] * (length - 1) + [9] + [8] * 10
        assert asked == [8] * (length + 10) + symbols
        begun.append(symbols)
    assert_independent(begun, 8)


@pytest.mark.parametrize("length", [1, 12])
def test_variable_copy(length):
    task = VariableCopy(length)
    begun, blanks = [], []
    for ids, asked in sequences(task, draw(task)):
        marker = ids.index(9)
        symbols = ids[:10]
        assert max(symbols) < 8
        assert ids[10:] == [8] * (marker - 10) + [9] + [8] * 10
        assert asked == [8] * (marker + 1) + symbols
        begun.append(symbols)
        blanks.append(marker - 10)
    assert_independent(begun, 8)
    assert_drawn(blanks, even(range(1, length + 1)))
    assert task.time == length + 21


@pytest.mark.parametrize("length", [1, 2, 30])
def test_denoise(length):
    task = Denoise(length)
    found, places = [], []
    for ids, asked in sequences(task, draw(task)):
        where = [t for t, symbol in enumerate(ids) if symbol < 9]
        symbols = [ids[t] for t in where]
        assert len(where) == 10 and where[-1] < length + 9
        assert [symbol for t, symbol in enumerate(ids) if t not in where] == [9] * (length - 1) + [10] + [9] * 10
        assert ids[length + 9] == 10 and asked == [9] * (length + 10) + symbols
        found.append(symbols)
        places.append(tuple(where))
    assert_independent(found, 9)
    if length <= 2:
        assert_drawn(places, even(itertools.combinations(range(length + 9), 10)))
    assert_drawn(itertools.chain(*places), even(range(length + 9)))


@pytest.mark.parametrize("task", [SelectiveCopy(6, 2, 3), SelectiveCopy(4, 4, 2), SelectiveCopy(5, 1, 6)])
def test_selective_copy(task):
    noise, marker = task.symbols, task.symbols + 1
    found, places = [], []
    for ids, asked in sequences(task, draw(task)):
        where = [t for t, symbol in enumerate(ids) if symbol < noise]
        symbols = [ids[t] for t in where]
        assert len(where) == task.items and where[-1] < task.length
        assert ids[task.length :] == [marker] + [noise] * task.items and marker not in ids[: task.length]
        assert asked == [None] * (task.length + 1) + symbols
        found.append(symbols)
        places.append(tuple(where))
    assert_drawn(map(tuple, found), even(itertools.product(range(task.symbols), repeat=task.items)))
    assert_drawn(places, even(itertools.combinations(range(task.length), task.items)))


def test_selective_copy_is_the_denoise_problem():
    """At the sizes of `Denoise` both draw the same sequences and ask for the same symbols after the marker."""
    (inputs, targets, _), (same, asked, mask) = draw(Denoise(30), 50), draw(SelectiveCopy(39, 10, 9), 50)
    assert np.array_equal(inputs, same) and np.array_equal(np.where(mask, targets, 0), asked)
    assert np.array_equal(mask.any(axis=1), np.arange(50) >= 40) and mask[40:].all()


TWO = MQAR(length=10, pairs=2, vocabulary=9, power=0.3)


@pytest.mark.parametrize("task", [TWO, MQAR(), MQAR(length=13, pairs=3, vocabulary=8, power=1.0), MQAR(4, 1, 4)])
def test_mqar(task):
    values = range(task.vocabulary // 2, task.vocabulary)
    slots = (task.length - 2 * task.pairs) // 2
    keys, answers, gaps = [], [], []
    for ids, asked in sequences(task, draw(task)):
        assert len(ids) == task.length
        memory = {ids[2 * i]: ids[2 * i + 1] for i in range(task.pairs)}  # from key to value
        assert len(memory) == task.pairs == len(set(memory.values()))
        assert all(0 < key < values[0] for key in memory) and set(memory.values()) <= set(values)
        queries = {}
        for t in range(task.length):
            if t >= 2 * task.pairs and ids[t] != 0:
                assert t % 2 == 0 and asked[t] == memory[ids[t]] - values[0]
                queries[ids[t]] = (t - 2 * task.pairs) // 2
            else:
                assert asked[t] is None
        assert set(queries) == set(memory) and max(queries.values()) < slots
        keys.append(tuple(memory))
        answers.append(tuple(memory.values()))
        gaps.append(tuple(queries[key] for key in memory))
    chance = [(i + 1) ** (task.power - 1) for i in range(slots)]
    first = {i: chance[i] / sum(chance) for i in range(slots)}
    assert_drawn([gap[0] for gap in gaps], first)
    assert_drawn([key[-1] for key in keys], even(range(1, values[0])))
    assert_drawn([answer[-1] for answer in answers], even(values))
    if task is TWO:  # the second slot by the same chances among those that are left
        assert_drawn(gaps, {(i, j): first[i] * first[j] / (1 - first[i]) for i, j in itertools.permutations(first, 2)})
        assert_drawn(keys, even(itertools.permutations(range(1, values[0]), 2)))
        assert_drawn(answers, even(itertools.permutations(values, 2)))


@pytest.mark.parametrize("task", [DelayedRecall(5, 3, 2), DelayedRecall(0, 2, 1), DelayedRecall(1, 8, 4)])
def test_delayed_recall(task):
    cue = task.symbols + task.noise
    shown, noise = [], []
    for ids, asked in sequences(task, draw(task)):
        assert len(ids) == task.length + 2 and ids[-1] == cue
        assert asked == [None] * (task.length + 1) + [ids[0]]
        shown.append(ids[0])
        noise.append(tuple(ids[1:-1]))
    assert_drawn(shown, even(range(task.symbols)))
    assert_drawn(noise, even(itertools.product(range(task.symbols, cue), repeat=task.length)))


@pytest.mark.parametrize("task", [Copy(5), VariableCopy(12), Denoise(5)], ids=repr)
def test_the_plateau_is_what_knowing_the_marker_alone_is_worth(task):
    """Counted: the entropy of what is asked for, given how many steps ago the marker came, in nats per step."""
    batch = draw(task)
    asked_for, steps = {}, 0
    for ids, asked in sequences(task, batch):
        marker = ids.index(task.symbols + 1)
        steps += len(ids)
        for t, label in enumerate(asked):
            asked_for.setdefault(max(t - marker, 0), Counter())[label] += 1
    counted = sum(-n * math.log(n / c.total()) for c in asked_for.values() for n in c.values()) / steps
    assert counted == pytest.approx(task.chance, rel=0.01)

    inputs, targets, mask = batch
    passed = np.cumsum(inputs[..., task.symbols + 1], axis=0) - inputs[..., task.symbols + 1]  # 1 after the marker
    said = np.where(passed[..., None] == 1, np.arange(task.symbols + 1) < task.symbols, [0] * task.symbols + [1])
    outputs = np.log(said + 1e-9).astype(np.float32)
    verdict = judge(task, outputs, targets, mask)
    assert verdict["error"] == pytest.approx(task.chance, rel=0.01)
    assert not verdict["correct"].any() and not verdict["solved"]


def test_plateaus_are_those_of_the_papers():
    assert Copy(500).chance == pytest.approx(10 * math.log(8) / 520)
    assert Denoise().chance == pytest.approx(10 * math.log(9) / 220)
    steps = [10 + blanks + 1 + 10 for blanks in range(1, 501)]
    assert VariableCopy(500).chance == pytest.approx(10 * math.log(8) / np.mean(steps))


@pytest.mark.parametrize("task", [SelectiveCopy(6, 2, 3), MQAR(16, 4, 10), DelayedRecall(3, 5, 2)], ids=repr)
def test_chance_is_the_share_that_the_best_fixed_answer_misses(task):
    _, targets, mask = draw(task)
    shares = np.bincount(targets[mask], minlength=task.output_size) / mask.sum()
    assert len(shares) == task.output_size
    assert 1 - shares.max() == pytest.approx(task.chance, abs=0.03) and 1 - shares.min() - task.chance < 0.03


def test_copy_is_judged_in_nats_at_every_step():
    task = Copy(3)
    _, targets, mask = draw(task, 4)
    outputs = np.random.default_rng(0).normal(size=(23, 4, 9)).astype(np.float32)
    nats = [
        math.log(sum(math.exp(x) for x in outputs[t, i].tolist())) - float(outputs[t, i, targets[t, i]])
        for t, i in itertools.product(range(23), range(4))
    ]
    verdict = judge(task, outputs, targets, mask)
    assert verdict["error"] == verdict["loss"] == pytest.approx(np.mean(nats), rel=1e-5)
    outputs = np.eye(9, dtype=np.float32)[targets]
    outputs[4, 1] = np.eye(9)[0]  # one blank not said
    outputs[22, 2] = np.eye(9)[(targets[22, 2] + 1) % 8]  # the last symbol wrong
    assert judge(task, outputs, targets, mask)["correct"].tolist() == [True, False, False, True]


def test_selective_copy_is_judged_by_the_share_of_wrong_symbols():
    task = SelectiveCopy(6, 2, 3)
    _, targets, mask = draw(task, 4)
    outputs = np.eye(3, dtype=np.float32)[targets]
    outputs[8, 1] = np.roll(outputs[8, 1], 1)
    outputs[:7] = np.nan  # before the marker nothing counts
    verdict = judge(task, outputs, targets, mask)
    assert verdict["error"] == pytest.approx(1 / 8) and verdict["correct"].tolist() == [True, False, True, True]


ERRORS = [
    (lambda: Copy(0), "`length` must be an integer of at least 1; got 0"),
    (lambda: VariableCopy(0), "`length` must be an integer of at least 1; got 0"),
    (lambda: Denoise(0), "`length` must be an integer of at least 1; got 0"),
    (lambda: SelectiveCopy(15), "`length` must be an integer of at least 16; got 15"),
    (lambda: SelectiveCopy(5, 0), "`items` must be an integer of at least 1; got 0"),
    (lambda: SelectiveCopy(5, 2, 1), "`symbols` must be an integer of at least 2; got 1"),
    (lambda: MQAR(15), "`length` must be an integer of at least 16; got 15"),
    (lambda: MQAR(pairs=0), "`pairs` must be an integer of at least 1; got 0"),
    (lambda: MQAR(vocabulary=9), "`vocabulary` must be an integer of at least 10; got 9"),
    (lambda: MQAR(power=0), "`power` must be a number above 0; got 0"),
    (lambda: MQAR(power=math.nan), "`power` must be a number above 0; got nan"),
    (lambda: DelayedRecall(-1), "`length` must be an integer of at least 0; got -1"),
    (lambda: DelayedRecall(5, 1), "`symbols` must be an integer of at least 2; got 1"),
    (lambda: DelayedRecall(5, 2, 0), "`noise` must be an integer of at least 1; got 0"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_errors(call, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.") + "$"):
        call()
