"""Optimizers against numbers computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lstm_jax.training import clipped_adam, clipped_sgd, init_state, make_step

LONG = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}  # global norm 5


def updates_of(optimizer, grads, times=1, params=None):
    params = jax.tree.map(jnp.zeros_like, grads) if params is None else params
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params)
        for _ in range(times):
            updates, state = optimizer.update(grads, state, params)
    return updates


def assert_close(updates, a, b, rtol=1e-6):
    np.testing.assert_allclose(updates["a"], [a], rtol=rtol)
    np.testing.assert_allclose(updates["b"], [b], rtol=rtol)


def test_sgd_clips_the_global_norm():
    assert_close(updates_of(clipped_sgd(0.5, 1.0), LONG), -0.5 * 0.6, -0.5 * 0.8)


def test_a_short_gradient_is_left_alone():
    assert_close(updates_of(clipped_sgd(0.5, 5.1), LONG), -1.5, -2.0)


def test_momentum_adds_up_clipped_gradients():
    assert_close(updates_of(clipped_sgd(1.0, 1.0, momentum=0.5), LONG, times=2), -0.9, -1.2)


def test_nesterov_looks_ahead():
    assert_close(updates_of(clipped_sgd(1.0, 1.0, momentum=0.5, nesterov=True), LONG), -0.9, -1.2)


def test_adam_sees_the_clipped_gradient():
    # After one step both moments are unbiased, so the update is g / (|g| + eps); eps = 1 makes the size of g count.
    assert_close(updates_of(clipped_adam(0.1, 1.0, eps=1.0), LONG), -0.1 * 0.6 / 1.6, -0.1 * 0.8 / 1.8, rtol=1e-5)


def test_adam_betas_are_the_moments_decay():
    grads = [0.6, -0.3]
    first = second = 0.0
    state = (optimizer := clipped_adam(0.1, 9.0, b1=0.7, b2=0.8, eps=1e-3)).init(jnp.zeros(()))
    for count, g in enumerate(grads, start=1):
        with jax.numpy_dtype_promotion("standard"):
            update, state = optimizer.update(jnp.float32(g), state, jnp.zeros(()))
        first, second = 0.7 * first + 0.3 * g, 0.8 * second + 0.2 * g * g
        expected = -0.1 * (first / (1 - 0.7**count)) / (np.sqrt(second / (1 - 0.8**count)) + 1e-3)
        np.testing.assert_allclose(update, expected, rtol=1e-5)


def test_weight_decay_is_not_part_of_the_gradient():
    params = {"a": jnp.array([2.0]), "b": jnp.array([0.0])}
    updates = updates_of(clipped_adam(0.1, eps=1.0, weight_decay=0.5), LONG, params=params)
    assert_close(updates, -0.1 * (0.6 / 1.6 + 0.5 * 2.0), -0.1 * 0.8 / 1.8, rtol=1e-5)


def test_a_schedule_sets_the_rate_of_each_step():
    schedule = optax.piecewise_constant_schedule(1.0, {1: 0.25})
    assert_close(updates_of(clipped_sgd(schedule, 1.0), LONG, times=2), -0.25 * 0.6, -0.25 * 0.8)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("make", [clipped_adam, clipped_sgd])
def test_a_traced_rate_keeps_the_dtype(make, dtype):
    @jax.jit
    def after_one_step(rate):
        optimizer = make(rate)
        step = make_step(lambda params, batch, carry, key: (jnp.sum(params * params), (carry, {})), optimizer)
        return step(init_state(jnp.ones(2, dtype), optimizer, jax.random.key(0)), None)

    state, metrics = after_one_step(0.5)
    assert state.params.dtype == dtype and metrics["grad_norm"].dtype == jnp.float32
    expected = 0.5 if make is clipped_adam else 1 - 0.5 / np.sqrt(2)
    np.testing.assert_allclose(state.params.astype(jnp.float32), expected, rtol=1e-2 if dtype == jnp.bfloat16 else 1e-5)
