"""Spike trains read back interval by interval, and periodic functions beside their formulas."""

import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.tasks import MeasureSpikeDelay, PeriodicFunction

KEY = jax.random.key(5)


@pytest.mark.parametrize(
    "task", [MeasureSpikeDelay(), MeasureSpikeDelay(10, (0, 3, 10), 7), MeasureSpikeDelay(1, (2, 0), 1)], ids=repr
)
def test_spikes_come_as_late_as_the_targets_say(task):
    n = 1 + 3000 // task.spikes
    inputs, targets, mask = (np.asarray(x) for x in jax.jit(lambda key: task.sample(key, n))(KEY))
    assert np.array_equal(inputs[..., 0] == 1, mask) and np.array_equal(inputs[..., 0] != 0, mask)
    assert not targets[~mask].any() and len(mask) == task.time == task.spikes * (task.length + max(task.delays))
    late = []
    for i in range(n):
        times = np.flatnonzero(mask[:, i]) + 1  # counted from 1, the spike that is not there being at 0
        delays = np.diff(times, prepend=0) - task.length
        assert len(times) == task.spikes and np.array_equal(targets[times - 1, i, 0], delays)
        late += delays.tolist()
    counts, mean = Counter(late), len(late) / len(task.delays)
    assert set(counts) == set(task.delays)
    assert all(abs(count - mean) < 5 * mean**0.5 for count in counts.values())
    assert task.chance == pytest.approx(np.var(late), rel=0.1)


@pytest.mark.parametrize("shape", ["cosine", "triangle", "rectangle"])
@pytest.mark.parametrize("period", [3, 10, 25])
def test_functions(shape, period):
    task = PeriodicFunction(period, shape, periods=4)
    inputs, targets, mask = task.sample(KEY, 2)
    assert inputs.shape == targets.shape == (4 * period, 2, 1) and (inputs == 1).all() and mask.all()
    for t in range(4 * period):
        where = t % period
        expected = {
            "cosine": 0.5 * (1 - math.cos(2 * math.pi * t / period)),
            "triangle": 2 * where / period if where <= period / 2 else 2 - 2 * where / period,
            "rectangle": 1 if where > period / 2 else 0,
        }[shape]
        assert targets[t].ravel() == pytest.approx([expected] * 2, abs=1e-6)


def test_functions_need_no_randomness():
    task = PeriodicFunction(10, "triangle", 2)
    mapped = jax.vmap(lambda key: task.sample(key, 2, jnp.bfloat16))(jax.random.split(KEY, 3))
    assert mapped.inputs.dtype == jnp.bfloat16 and mapped.targets.dtype == jnp.float32
    assert all((targets == task.sample(KEY, 2).targets).all() for targets in mapped.targets)


@pytest.mark.parametrize(
    ("task", "tolerance"),
    [(MeasureSpikeDelay(5, (0, 1, 2), 4), 0.49)] + [(PeriodicFunction(10, s, 3), 0.3) for s in ("cosine", "rectangle")],
    ids=repr,
)
def test_one_step_out_of_tolerance_is_enough(task, tolerance):
    _, targets, mask = (np.asarray(x) for x in task.sample(KEY, 20))
    last = np.flatnonzero(mask[:, 3])[-1]
    for off, right in ((tolerance - 0.01, True), (tolerance + 0.01, False)):
        outputs = np.where(mask[..., None], targets, np.float32(np.nan))
        outputs[last, 3] -= off
        assert task.solved(outputs, targets, mask) == right
        assert np.array_equal(task.correct(outputs, targets, mask), (np.arange(20) != 3) | right)
        assert task.error(outputs, targets, mask) == task.loss(outputs, targets, mask)
        assert task.loss(outputs, targets, mask) == pytest.approx(off**2 / mask.sum(), rel=1e-4)


def test_horizons_are_what_a_perfect_network_must_span():
    assert MeasureSpikeDelay(10, (0, 4), 50).t_max == 14 and PeriodicFunction(25).t_max == 25


def test_chance_levels():
    assert MeasureSpikeDelay().chance == 1 / 4
    assert PeriodicFunction(10, "cosine").chance == pytest.approx(1 / 8)
    assert PeriodicFunction(10, "rectangle").chance == pytest.approx(0.4 * 0.6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MeasureSpikeDelay(spikes=0), "`spikes` must be an integer of at least 1; got 0"),
        (lambda: PeriodicFunction(periods=0), "`periods` must be an integer of at least 1; got 0"),
        (lambda: PeriodicFunction(shape="sine"), "`shape` must be 'cosine', 'triangle' or 'rectangle'; got 'sine'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match="^" + message):
        call()


@pytest.mark.parametrize("delays", [(1,), (1, 1), (0, -1), (0, 0.5), [0, 1]], ids=repr)
def test_delays_must_differ(delays):
    with pytest.raises(ValueError, match=r"^`delays` must be a tuple of at least two different integers of at least 0"):
        MeasureSpikeDelay(delays=delays)
