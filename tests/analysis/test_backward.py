"""The backward pass written by hand against autodiff, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax.analysis.backward import DERIVATIVES, elman_gradient, lstm_gradients
from lstm_jax.cells.dense import ACTIVATIONS
from tests.contenders import random_like, random_params

TIME, INPUT, HIDDEN = 6, 3, 4


def close(ours, theirs):
    """Equal to 1e-10 of each leaf's largest entry, none of them zero throughout."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        scale = np.abs(b).max()
        assert a.shape == b.shape and a.dtype == b.dtype and scale > 0
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * scale)


def draw(cell, batch, dtype=jnp.float64):
    params = random_params(cell, 0, dtype)
    xs = random_like(jax.ShapeDtypeStruct((TIME, *batch, INPUT), dtype), 1)
    errors = random_like(jax.ShapeDtypeStruct((TIME, *batch, HIDDEN), dtype), 2)
    carry = random_like(jax.eval_shape(lambda: cell.initial_carry(params, batch)), 3)
    return params, xs, errors, carry


def cost(cell, params, xs, errors, carry):
    return jnp.sum(lj.scan(cell, params, xs, carry, implementation="xla")[1] * errors)


@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid", "identity", "sigmoid(-1,1)", "sigmoid(-2,2)"])
def test_derivatives_of_the_activations(x64, name):
    a = jnp.asarray([-2.0, -0.3, 0.1, 1.7])
    np.testing.assert_allclose(DERIVATIVES[name](a), jax.vmap(jax.grad(ACTIVATIONS[name]))(a), rtol=1e-14)


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"peepholes": False},
        {"use_bias": False, "input_activation": "sigmoid(-2,2)", "output_activation": "identity"},
    ],
    ids=["peepholes", "without", "no bias, other activations"],
)
def test_lstm_gate_by_gate_is_autodiff(x64, options, batch):
    cell = lj.PeepholeLSTM(INPUT, HIDDEN, **options)
    params, xs, errors, carry = draw(cell, batch)
    ours = jax.jit(functools.partial(lstm_gradients, cell))(params, xs, errors, carry)
    theirs = jax.jit(jax.grad(functools.partial(cost, cell), (0, 1, 3)))(params, xs, errors, carry)
    close((ours.params, ours.xs, ours.carry), theirs)


def test_deltas_are_the_derivatives_by_the_net_inputs(x64):
    """What is added to every net input before the loop has the deltas as its gradient."""
    cell = lj.PeepholeLSTM(INPUT, HIDDEN)
    params, xs, errors, carry = draw(cell, (2,))

    def perturbed(nudges):
        def step(carry, at):
            x, nudge = at
            return cell.step(params, carry, cell.project(params, x) + nudge)

        return jnp.sum(jax.lax.scan(step, carry, (xs, nudges))[1] * errors)

    theirs = jax.jit(jax.grad(perturbed))(jnp.zeros((TIME, 2, 4 * HIDDEN)))
    deltas = lstm_gradients(cell, params, xs, errors, carry).deltas
    assert deltas._fields == ("iota", "phi", "c", "omega") and deltas.phi.shape == (TIME, 2, HIDDEN)
    close(jnp.concatenate(deltas, axis=-1), theirs)


def test_without_a_carry_the_sequence_starts_from_zeros(x64):
    cell, plain = lj.PeepholeLSTM(INPUT, HIDDEN), lj.Elman(INPUT, HIDDEN)
    params, xs, errors, carry = draw(cell, (2,))
    zeros = jax.tree.map(jnp.zeros_like, carry)
    close(lstm_gradients(cell, params, xs, errors)[:1], lstm_gradients(cell, params, xs, errors, zeros)[:1])
    params, xs, errors, carry = draw(plain, (2,))
    close(elman_gradient(plain, params, xs, errors), elman_gradient(plain, params, xs, errors, jnp.zeros_like(carry)))


@pytest.mark.parametrize(
    ("options", "batch"),
    [({}, ()), ({"activation": "relu", "use_bias": False}, (3,)), ({"activation": "sigmoid"}, (2, 2))],
)
def test_plain_network_as_a_sum_over_lags_is_autodiff(x64, options, batch):
    cell = lj.Elman(INPUT, HIDDEN, **options)
    params, xs, errors, carry = draw(cell, batch)
    gradient, terms = jax.jit(functools.partial(elman_gradient, cell))(params, xs, errors, carry)
    close(gradient, jax.jit(jax.grad(functools.partial(cost, cell)))(params, xs, errors, carry))
    close(jax.tree.map(lambda term: term.sum(0), terms), gradient)


def test_each_lag_is_what_a_window_that_much_longer_adds(x64):
    """The definition, with NumPy: the product of Jacobians from t down to k, times h^(k)'s own derivative."""
    cell = lj.Elman(INPUT, HIDDEN)
    params, xs, errors, carry = draw(cell, ())
    _, terms = elman_gradient(cell, params, xs, errors, carry)
    w_x, w_h, b, xs, errors, h = (np.asarray(v) for v in (*params, xs, errors, carry))
    before, slopes = [], []
    for x in xs:
        before.append(h)
        h = np.tanh(x @ w_x + h @ w_h + b)
        slopes.append(1 - h**2)
    expected = np.zeros((TIME, HIDDEN, HIDDEN))
    for t in range(TIME):
        product = np.eye(HIDDEN)
        for k in range(t, -1, -1):
            expected[t - k] += np.outer(before[k], errors[t] @ product * slopes[k])
            product = product @ np.diag(slopes[k]) @ w_h.T
    close(terms.w_h, expected)


def test_float32_works_without_x64():
    cell = lj.PeepholeLSTM(INPUT, HIDDEN)
    params, xs, errors, carry = draw(cell, (2,), jnp.float32)
    ours = lstm_gradients(cell, params, xs, errors, carry).params
    theirs = jax.grad(functools.partial(cost, cell))(params, xs, errors, carry)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_wrong_calls_say_so():
    cell, plain = lj.PeepholeLSTM(INPUT, HIDDEN), lj.Elman(INPUT, HIDDEN)
    params, xs, errors, carry = draw(cell, (2,), jnp.float32)
    for other in (lj.LSTM(INPUT, HIDDEN), lj.FullGateLSTM(INPUT, HIDDEN), lj.PeepholeLSTM(INPUT, HIDDEN, coupled=True)):
        with pytest.raises(ValueError, match=r"`cell`: expected a PeepholeLSTM with all its gates, got"):
            lstm_gradients(other, params, xs, errors)
    with pytest.raises(ValueError, match="`cell`: expected an Elman network"):
        elman_gradient(cell, params, xs, errors)
    with pytest.raises(ValueError, match=r"`xs`: expected shape \[time, \*batch, 3\]"):
        lstm_gradients(cell, params, xs[..., :2], errors)
    with pytest.raises(ValueError, match=r"`errors`: expected float32\[6, 2, 4\], got float32\[5, 2, 4\]"):
        lstm_gradients(cell, params, xs, errors[1:])
    with pytest.raises(ValueError, match="`carry`"):
        lstm_gradients(cell, params, xs, errors, carry.h)
    with pytest.raises(ValueError, match="`params`"):
        elman_gradient(plain, params, xs, errors)
