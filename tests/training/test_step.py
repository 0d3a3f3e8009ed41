"""One step: what it computes, and that it can be jitted, vmapped and scanned."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.training import clipped_adam, clipped_sgd, init_state, make_step
from tests.training.runs import assert_same, batches, first_state, loss_fn, optimizer, step


def stacked(count):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(batches, range(count)))


def looped(state, count):
    compiled, history = jax.jit(step), []
    for position in range(count):
        state, metrics = compiled(state, batches(position))
        history.append(metrics)
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *history)


def assert_close(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_one_step_by_hand():
    def mean_square(params, batch, carry, key):
        return jnp.mean((batch - params) ** 2), (carry, {"seen": jnp.sum(batch)})

    sgd = clipped_sgd(0.5, max_norm=1.0)
    state = init_state(jnp.float32(1.0), sgd, jax.random.key(3))
    after, metrics = make_step(mean_square, sgd)(state, jnp.array([4.0, 6.0]))
    assert metrics == {"seen": 10.0, "loss": 17.0, "grad_norm": 8.0}  # the norm before clipping
    assert after.params == 1.5 and after.carry is None
    assert (after.step, after.position) == (1, 1) and after.step.dtype == after.position.dtype == jnp.int32
    assert after.key == state.key


def test_the_key_of_a_step_comes_from_its_number():
    def drawn(params, batch, carry, key):
        return params, (carry, {"draw": jax.random.uniform(key)})

    sgd = clipped_sgd(0.1)
    state = init_state(jnp.float32(0.0), sgd, jax.random.key(5))
    one = make_step(drawn, sgd)
    for number in range(3):
        state, metrics = one(state, None)
        assert metrics["draw"] == jax.random.uniform(jax.random.fold_in(jax.random.key(5), number))


def test_no_gradient_from_one_batch_into_the_one_before():
    def through_carry(params, batch, carry, key):
        return params * carry, (params * 3.0, {})

    sgd = clipped_sgd(0.0)
    one = make_step(through_carry, sgd)
    state, _ = one(init_state(jnp.float32(2.0), sgd, jax.random.key(0), carry=jnp.float32(1.0)), None)
    _, metrics = one(state, None)
    assert metrics["grad_norm"] == 6.0  # the carry alone; twelve, if its own gradient counted


def test_scan_equals_loop():
    state, history = jax.jit(partial(jax.lax.scan, step))(first_state(), stacked(5))
    assert_close((state, history), looped(first_state(), 5))


def test_vmap_over_seeds_and_rates_equals_separate_runs():
    def train(seed, rate):
        adam = clipped_adam(rate)
        key = jax.random.key(seed)
        state = init_state({"w": jax.random.normal(key, (3,))}, adam, key, carry=jnp.zeros(4))
        return jax.lax.scan(make_step(loss_fn, adam), state, stacked(5))

    seeds, rates = jnp.arange(3), jnp.array([0.5, 0.02])
    together = jax.jit(jax.vmap(jax.vmap(train, (None, 0)), (0, None)))(seeds, rates)
    assert together[1]["loss"].shape == (3, 2, 5)
    alone = jax.jit(train)
    for i, seed in enumerate(seeds):
        for j, rate in enumerate(rates):
            assert_close(jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j], together), alone(seed, rate))
    # The rate of `runs`, there a number and not traced.
    state, history = looped(first_state(2), 5)
    assert_close(jax.tree.map(lambda leaf: leaf[2, 1], together[1]), history)
    assert_close(jax.tree.map(lambda leaf: leaf[2, 1], together[0].params), state.params)


def test_compiled_or_not_the_state_keeps_its_layout():
    before = first_state()
    after, _ = jax.eval_shape(step, before, batches(0))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), before
    )


@pytest.mark.parametrize("wide", [True, False])
def test_the_norm_is_taken_in_float32_or_better(x64, wide):
    dtype = jnp.float64 if wide else jnp.bfloat16
    sgd = clipped_sgd(0.1)
    one = make_step(lambda params, batch, carry, key: (jnp.sum(params), (carry, {})), sgd)
    _, metrics = one(init_state(jnp.zeros(257, dtype), sgd, jax.random.key(0)), None)
    assert metrics["grad_norm"].dtype == (jnp.float64 if wide else jnp.float32)
    np.testing.assert_allclose(metrics["grad_norm"], np.sqrt(257), rtol=1e-6)  # in bfloat16 257 is 256


def test_a_state_starts_from_the_optimizer_and_key():
    state = first_state(2)
    assert_same(state.opt_state, optimizer.init(state.params))
    assert (state.step, state.position) == (0, 0) and state.key == jax.random.key(2)
