"""Real-time recurrent learning against backpropagation through time, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lstm_jax as lj
from lstm_jax.analysis.rtrl import rtrl, rtrl_step, start_influence
from lstm_jax.analysis.truncation import Truncated
from tests.contenders import random_like, random_params

TIME, INPUT, HIDDEN = 5, 2, 3
CELLS = {
    "lstm": lj.LSTM(INPUT, HIDDEN),
    "gru": lj.GRU(INPUT, HIDDEN),
    "elman": lj.Elman(INPUT, HIDDEN),
    "1997's own": Truncated(lj.MemoryBlockLSTM.of_1997(INPUT, HIDDEN)),
}


def cost(y, target):
    return jnp.sum((y - target) ** 2 * jnp.cos(target))


def draw(cell, batch, dtype=jnp.float64):
    params = random_params(cell, 0, dtype)
    xs = random_like(jax.ShapeDtypeStruct((TIME, *batch, INPUT), dtype), 1)
    targets = random_like(jax.ShapeDtypeStruct((TIME, *batch, *cell.output_shape), dtype), 2)
    return params, xs, targets


def through_time(cell):
    def total(params, xs, targets, carry=None):
        return cost(lj.scan(cell, params, xs, carry, implementation="xla")[1], targets)

    return jax.jit(jax.value_and_grad(total))


def close(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max())


@pytest.mark.parametrize(
    ("name", "batch"), [("lstm", (2, 2)), ("lstm", ()), ("gru", (3,)), ("elman", (3,)), ("1997's own", ())]
)
def test_forward_is_backward(x64, name, batch):
    cell = CELLS[name]
    arrays = draw(cell, batch)
    influence, ours = jax.jit(functools.partial(rtrl, cell, cost))(*arrays)
    close(ours, through_time(cell)(*arrays))
    close(influence.carry, lj.scan(cell, *arrays[:2])[0])


def test_the_jacobian_is_that_of_the_last_carry(x64):
    cell = CELLS["lstm"]
    params, xs, targets = draw(cell, (2,))
    carry = random_like(jax.eval_shape(lambda: cell.initial_carry(params, (2,))), 3)
    influence, ours = rtrl(cell, cost, params, xs, targets, carry)
    close(ours, through_time(cell)(params, xs, targets, carry))
    theta, unravel = ravel_pytree(params)
    by_params = jax.jacrev(lambda theta: lj.scan(cell, unravel(theta), xs, carry)[0])(theta)
    close(influence.jacobian, jnp.concatenate([by_params.h, by_params.c], axis=1))


def test_online_steps_give_the_gradient_of_each_step(x64):
    cell = CELLS["gru"]
    params, xs, targets = draw(cell, (2,))
    influence, gradients = start_influence(cell, params, (2,)), []
    step = jax.jit(functools.partial(rtrl_step, cell, cost))
    for x, target in zip(xs, targets, strict=True):
        influence, (_, gradient) = step(params, influence, x, target)
        gradients.append(gradient)
    for t in (0, TIME - 1):
        last = jax.grad(lambda params, t=t: cost(lj.scan(cell, params, xs[: t + 1])[1][t], targets[t]))
        close(gradients[t], last(params))


def test_memory_does_not_grow_with_the_sequence():
    cell = CELLS["lstm"]

    def temporary(gradient, time):
        params, *arrays = draw(cell, (4,), jnp.float32)
        arrays = [jax.ShapeDtypeStruct((time, *a.shape[1:]), a.dtype) for a in arrays]
        return jax.jit(gradient).lower(params, *arrays).compile().memory_analysis().temp_size_in_bytes

    forward = functools.partial(rtrl, cell, cost)
    assert temporary(forward, 1000) <= temporary(forward, 10) + 1000
    backward = through_time(cell)
    state = 4 * 2 * HIDDEN * 4  # bytes of a step's carry
    assert temporary(backward, 1000) > temporary(backward, 10) + 900 * state


def test_wrong_calls_say_so():
    cell = CELLS["lstm"]
    params, xs, targets = draw(cell, (2,), jnp.float32)
    with pytest.raises(ValueError, match="`cell`: expected a cell"):
        rtrl(lj.LSTM, cost, params, xs, targets)
    with pytest.raises(ValueError, match=r"`xs`: expected shape \[time, \*batch, 2\]"):
        rtrl(cell, cost, params, xs[..., :1], targets)
    with pytest.raises(ValueError, match="`params`"):
        rtrl(cell, cost, params[:2], xs, targets)
    with pytest.raises(ValueError, match="`carry`"):
        rtrl(cell, cost, params, xs, targets, jnp.zeros((2, HIDDEN)))
