"""How predictions of the next symbol are judged: one mistake is enough, and chance is honest."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.tasks import ContinualReber, EmbeddedReber

KEY = jax.random.key(11)


def drawn(task, n):
    return (np.asarray(x) for x in jax.jit(lambda key: task.sample(key, n))(KEY))


def one_wrong(targets, t, i):
    """Outputs that are right but at step t of sequence i, where an illegal symbol is as high as a legal one."""
    outputs = np.array(targets)
    outputs[t, i, np.flatnonzero(targets[t, i] == 0)[0]] = targets[t, i][targets[t, i] > 0].min()
    return outputs


@pytest.mark.parametrize("task", [EmbeddedReber(20), ContinualReber(30)], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_one_mistake_is_enough(task, dtype):
    _, targets, mask = drawn(task, 50)
    assert task.solved(targets.astype(dtype), targets, mask)
    assert np.array_equal(task.steps_to_error(targets, targets, mask), mask.sum(axis=0))
    for t, i in ((0, 0), (mask[:, 7].sum() - 1, 7)):
        judged = one_wrong(targets, t, i).astype(dtype), targets, mask
        assert not task.solved(*judged)
        assert np.array_equal(task.correct(*judged), np.arange(50) != i)
        assert task.error(*judged) == pytest.approx(1 / mask.sum())
        steps = task.steps_to_error(*judged)
        assert steps.dtype == jnp.int32
        assert np.array_equal(steps, np.where(np.arange(50) == i, t, mask.sum(axis=0)))


def test_what_stands_past_a_strings_end_does_not_count():
    task = EmbeddedReber(20)
    _, targets, mask = drawn(task, 50)
    outputs = np.where(mask[..., None], targets, np.float32(np.nan))
    assert task.solved(outputs, targets, mask) and np.isfinite(task.loss(outputs, targets, mask))
    assert np.array_equal(task.steps_to_error(outputs, targets, mask), mask.sum(axis=0))


def test_which_of_two_legal_symbols_is_higher_does_not_matter():
    task = ContinualReber(30)
    _, targets, mask = drawn(task, 50)
    outputs = np.where(targets > 0, 1.5 - targets, np.float32(0))  # the one that did not come is the higher one
    assert task.solved(outputs, targets, mask)
    assert not task.correct(np.ones_like(targets), targets, mask).any()
    assert not task.correct(np.full_like(targets, np.nan), targets, mask).any()


@pytest.mark.parametrize("task", [EmbeddedReber(12), EmbeddedReber(), ContinualReber(9), ContinualReber(50)], ids=repr)
def test_chance_is_the_error_of_knowing_all_but_the_outer_symbol(task):
    inputs, targets, mask = drawn(task, 20_000)
    t, p, e = (task.alphabet.index(symbol) for symbol in "TPE")
    symbols, came = inputs.argmax(axis=-1), targets.argmax(axis=-1)
    asked = mask & (symbols == e) & np.isin(came, [t, p])  # after the E of the Reber string; B follows the other one
    guess = np.array(targets)
    guess[asked] = np.eye(7)[t] + np.eye(7)[p] / 2
    error = task.error(guess, targets, mask)
    assert error == pytest.approx(task.chance, rel=0.05)
    assert error == pytest.approx(np.sum(asked & (came == p)) / mask.sum(), rel=1e-5)
    assert not task.solved(guess, targets, mask)


def test_chance_levels():
    assert EmbeddedReber(9).chance == pytest.approx(1 / 16)  # all strings have 9 symbols, 8 steps
    assert EmbeddedReber(200).chance == pytest.approx(1 / 22)  # 12 symbols on average
    assert ContinualReber(50_000).chance == pytest.approx(1 / 24, rel=1e-3)
    assert ContinualReber().t_max == EmbeddedReber().t_max == 39


def test_the_least_loss_is_log_2_at_each_branch():
    task = EmbeddedReber(20)
    _, targets, mask = drawn(task, 200)
    branches = (targets == 0.5).any(axis=-1)
    outputs = np.where(targets > 0, 0, -100).astype(np.float32)
    loss, gradient = map(np.asarray, jax.value_and_grad(task.loss)(outputs, targets, mask))
    assert loss == pytest.approx(math.log(2) * branches.sum() / mask.sum(), rel=1e-5)
    assert not gradient[~branches].any()
    pull = np.where(targets[branches] == 1, -0.5, targets[branches])  # towards the symbol that came
    np.testing.assert_allclose(gradient[branches] * mask.sum(), pull, atol=1e-6)
