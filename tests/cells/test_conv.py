"""Convolutional cells: the papers' equations, other libraries' cells, padding, kernels, dtypes, errors."""

import functools
import os
import re

os.environ.setdefault("KERAS_BACKEND", "jax")  # before anything imports it

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import lstm_jax as lj
from lstm_jax import inits
from lstm_jax.cells import convolve
from lstm_jax.cells.conv import ConvGRU, ConvGRUParams, ConvLSTM, ConvLSTMParams
from tests import oracle_space
from tests.contenders import close, draw, in_float64, random_like, random_params, same, weigh
from tests.test_scan import check_against_oracle

KEY = jax.random.key(0)
SPACES = {"line": ((5,), (3,)), "even": ((5,), (2,)), "plane": ((3, 4), (2, 3)), "solid": ((2, 3, 2), (3, 1, 2))}
PEEPHOLES = functools.partial(ConvLSTM, peepholes=True)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("make", [ConvLSTM, PEEPHOLES, ConvGRU])
def test_values_and_gradients_are_the_equations(x64, make, space):
    cell = make(SPACES[space][0], 2, 3, SPACES[space][1], use_bias=space != "even")
    arrays = draw(cell, 3, (2,), jnp.float64)._replace(lengths=jnp.array([3, 2]))
    check_against_oracle(
        "conv-gru" if make is ConvGRU else "conv-lstm-1d", cell, arrays, {"reverse": space == "solid"}, "xla"
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_both_ways_to_convolve_agree(x64, rank, size, dtype):
    """One runs on CPU, the other elsewhere."""
    x, w = random_like(
        [
            jax.ShapeDtypeStruct(s, dtype)
            for s in ((2, 1, 4, 3, 5)[:-3] + (4, 3, 5)[:rank] + (2,), (size,) * rank + (2, 3))
        ],
        0,
    )
    sums = [
        jax.jit(jax.value_and_grad(lambda x, w, f=f: weigh(f(x, w)), argnums=(0, 1)))
        for f in (convolve.by_patches, convolve.by_sliding, convolve.convolve)
    ]
    one, *others = (f(x, w) for f in sums)
    for other in others:
        close(other, one, dtype)
    y = convolve.convolve(x, w)
    assert y.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
    x, w = in_float64((x, w))
    close(y, np.stack([[oracle_space.convolved(w, image) for image in row] for row in x]))


@pytest.mark.parametrize("make", [ConvLSTM, PEEPHOLES, ConvGRU])
def test_no_leading_axis_is_special(make):
    cell = make((4, 3), 2, 3, (3, 2))
    params, xs, carry, *_ = draw(cell, 3, (2, 2))
    last, ys = lj.scan(cell, params, xs, carry)
    mapped = jax.vmap(jax.vmap(functools.partial(lj.scan, cell, params), (1, 0), (0, 1)), (1, 0), (0, 1))(xs, carry)
    close(mapped, (last, ys))
    here = carry
    for t in range(3):
        here, y = cell(params, here, xs[t])
        close(y, ys[t])
    close(here, last)
    one = lj.scan(cell, params, xs[:, 0, 1], jax.tree.map(lambda c: c[0, 1], carry))
    close(one, (jax.tree.map(lambda c: c[0, 1], last), ys[:, 0, 1]))
    none = lj.scan(cell, params, xs[:, :, :0])[1]
    assert none.shape == (3, 2, 0, 4, 3, 3)
    several = random_like(jax.tree.map(lambda p: jax.ShapeDtypeStruct((2, *p.shape), p.dtype), params), 1)
    ensemble = jax.vmap(lambda p: lj.scan(cell, p, xs, carry))(several)
    close(ensemble[1][1], lj.scan(cell, jax.tree.map(lambda p: p[1], several), xs, carry)[1])


def test_no_peepholes_are_peepholes_at_zero():
    cell, peeping = ConvLSTM((4, 4), 2, 3), PEEPHOLES((4, 4), 2, 3)
    params, xs, carry, *_ = draw(cell)
    fresh = peeping.init(KEY)
    same(fresh._replace(p=None), cell.init(KEY))
    assert fresh.p.shape == (4, 4, 9) and not fresh.p.any()
    close(lj.scan(peeping, params._replace(p=fresh.p), xs, carry), lj.scan(cell, params, xs, carry))
    moved = lj.scan(peeping, params._replace(p=fresh.p + 1), xs, carry)[1]
    assert np.abs(np.asarray(moved - lj.scan(cell, params, xs, carry)[1])).max() > 0.1


def test_a_place_alone_is_a_cell_fed_with_vectors():
    for cell, plain in [
        (ConvLSTM((1,), 3, 4, 1), lj.LSTM(3, 4)),
        (ConvGRU((1,), 3, 4, 1), lj.GRU(3, 4, reset_after=False)),
    ]:
        params, xs, carry, *_ = draw(cell)
        squeezed = type(plain.init(KEY))(params.w_x[0], params.w_h[0], params.b)
        expected = lj.scan(plain, squeezed, xs[..., 0, :], jax.tree.map(lambda c: c[..., 0, :], carry))
        close(lj.scan(cell, params, xs, carry), jax.tree.map(lambda y: y[..., None, :], expected))


def graded(run, weights, xs):
    def loss(weights, xs):
        ys = run(weights, xs)
        return weigh(ys), ys

    return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(weights, xs)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("use_bias", [True, False])
def test_keras_has_the_same_outputs_and_gradients(space, use_bias):
    keras = pytest.importorskip("keras")
    spatial_shape, kernel_size = SPACES[space]
    cell = ConvLSTM(spatial_shape, 2, 3, kernel_size, use_bias=use_bias)
    xs = random_like(jax.ShapeDtypeStruct((4, 2, *cell.input_shape), jnp.float32), 2)
    layer = getattr(keras.layers, f"ConvLSTM{len(spatial_shape)}D")(
        3, kernel_size, padding="same", recurrent_activation="sigmoid", use_bias=use_bias, return_sequences=True
    )
    params = random_params(cell, 1)

    def theirs(params, xs):
        rest = [v.value for v in layer.non_trainable_variables]
        ys, _ = layer.stateless_call(jax.tree.leaves(params), rest, jnp.swapaxes(xs, 0, 1))
        return jnp.swapaxes(ys, 0, 1)

    with jax.numpy_dtype_promotion("standard"):
        layer.build((2, 4, *cell.input_shape))
        names = [w.path.rpartition("/")[2] for w in layer.weights]
        assert names == ["kernel", "recurrent_kernel", "bias"][: 2 + use_bias]
        expected = graded(theirs, params, xs)
    close(graded(lambda params, xs: lj.scan(cell, params, xs)[1], params, xs), expected)


@pytest.mark.parametrize("space", SPACES)
def test_flax_has_the_same_outputs_and_gradients(space):
    nn = pytest.importorskip("flax.linen")
    spatial_shape, kernel_size = SPACES[space]
    cell = ConvLSTM(spatial_shape, 2, 3, kernel_size)
    xs = random_like(jax.ShapeDtypeStruct((4, 2, *cell.input_shape), jnp.float32), 2)
    module = nn.RNN(nn.ConvLSTMCell(3, kernel_size), time_major=True)
    weights = random_like(jax.eval_shape(lambda: module.init(KEY, xs))["params"]["cell"], 1)

    def ours(weights, xs):
        def gates(w):  # theirs in order i, g, f, o
            i, g, f, o = jnp.split(w, 4, axis=-1)
            return jnp.concatenate([i, f, g, o], axis=-1)

        one = jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), 3)  # they add it in the equation
        b = gates(weights["ih"]["bias"] + weights["hh"]["bias"]) + one
        params = ConvLSTMParams(gates(weights["ih"]["kernel"]), gates(weights["hh"]["kernel"]), b)
        return lj.scan(cell, params, xs)[1]

    with jax.numpy_dtype_promotion("standard"):
        expected = graded(lambda weights, xs: module.apply({"params": {"cell": weights}}, xs), weights, xs)
    close(graded(ours, weights, xs), expected)


def test_gates_are_drawn_one_by_one():
    cell = ConvGRU((8, 8), 2, 3, (3, 2))
    params = cell.init(KEY)
    same(params.b, jnp.zeros(9))
    assert params.w_x.shape == (3, 2, 2, 9) and isinstance(params, ConvGRUParams)
    for gate in np.split(np.asarray(params.w_h).reshape(18, 9), 3, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(3), atol=1e-6)
    assert np.abs(params.w_x).max() <= np.sqrt(6 / (12 + 3))
    same(ConvLSTM((8,), 2, 3).init(KEY).b, jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), 3))
    same(ConvLSTM((8,), 2, 1, b_init=inits.KeepBias(2.0)).init(KEY).b, jnp.array([0.0, 2.0, 0.0, 0.0]))
    assert ConvLSTM((8,), 2, 3, use_bias=False).init(KEY).b is None


@pytest.mark.parametrize("make", [PEEPHOLES, ConvGRU])
def test_finite_differences_to_the_second_order_both_ways(x64, make):
    cell = make((3,), 1, 2, 2)
    arrays = draw(cell, 2, (), jnp.float64)
    loss = jax.jit(lambda *smooth: weigh(lj.scan(cell, *smooth)))
    check_grads(loss, arrays[:3], order=2, modes=["rev", "fwd"], atol=1e-5, rtol=1e-5)


def test_layers_take_them():
    layer = lj.Stack((lj.Recurrent(ConvLSTM((4, 4), 1, 2)), lj.Recurrent(ConvGRU((4, 4), 2, 2))), residual=False)
    params = random_params(layer)
    xs = random_like(jax.ShapeDtypeStruct((3, 2, 4, 4, 1), jnp.float32), 1)
    carry, ys = layer(params, xs, lengths=jnp.array([3, 1]))
    assert ys.shape == (3, 2, 4, 4, 2) and not ys[1:, 1].any()
    close(layer.last(ys, jnp.array([3, 1])), carry[1])


def test_equal_cells_are_equal():
    assert ConvLSTM((4,), 1, 2) == ConvLSTM((4,), 1, 2) and hash(ConvLSTM((4,), 1, 2)) == hash(ConvLSTM((4,), 1, 2))
    assert ConvLSTM((4,), 1, 2) != PEEPHOLES((4,), 1, 2) and ConvLSTM((4,), 1, 2) != ConvGRU((4,), 1, 2)


CELL = ConvLSTM((4, 4), 1, 2)
PARAMS = CELL.init(KEY)
CARRY = CELL.initial_carry(PARAMS, (2,))
X = jnp.zeros((2, 4, 4, 1))
CASES = {
    "space of a number": (lambda: ConvLSTM(4, 1, 2), "spatial_shape", "a tuple of 1, 2 or 3 integers", "4"),
    "no space": (lambda: ConvGRU((), 1, 2), "spatial_shape", "a tuple of 1, 2 or 3 integers", "()"),
    "four dimensions": (lambda: ConvGRU((2,) * 4, 1, 2), "spatial_shape", "1, 2 or 3 integers", "(2, 2, 2, 2)"),
    "empty space": (lambda: ConvGRU((4, 0), 1, 2), "spatial_shape", "an integer >= 1", "0"),
    "channels": (lambda: ConvGRU((4,), 0, 2), "input_channels", "an integer >= 1", "0"),
    "hidden": (lambda: ConvGRU((4,), 1, 2.0), "hidden_channels", "an integer >= 1", "2.0"),
    "kernels of another rank": (lambda: ConvGRU((4,), 1, 2, (3, 3)), "kernel_size", "a tuple of 1", "(3, 3)"),
    "kernel of a list": (lambda: ConvGRU((4,), 1, 2, [3]), "kernel_size", "an integer >= 1", "[3]"),
    "kernel zero": (lambda: ConvGRU((4,), 1, 2, 0), "kernel_size", "an integer >= 1", "0"),
    "use_bias": (lambda: ConvGRU((4,), 1, 2, use_bias=1), "use_bias", "True or False", "1"),
    "peepholes": (lambda: ConvLSTM((4,), 1, 2, peepholes=1), "peepholes", "True or False", "1"),
    "initialiser": (lambda: ConvLSTM((4,), 1, 2, w_h_init="zeros"), "w_h_init", "an initialiser", "'zeros'"),
    "key": (lambda: CELL.init(0), "key", "a typed key", "int 0"),
    "dtype": (lambda: CELL.init(KEY, int), "dtype", "a floating-point dtype", "int"),
    "carry of what": (lambda: CELL.initial_carry(None), "params", "ConvLSTMParams", "None"),
    "carry of which batch": (lambda: CELL.initial_carry(PARAMS, 2), "batch_shape", "a tuple of integers", "2"),
    "input": (lambda: CELL(PARAMS, CARRY, X[..., 0]), "x", "shape [*batch, 4, 4, 1]", "float32[2, 4, 4]"),
    "inputs": (lambda: lj.scan(CELL, PARAMS, X[0]), "xs", "[time, *batch, 4, 4, 1]", "float32[4, 4, 1]"),
    "list": (lambda: CELL(PARAMS, CARRY, [1.0]), "x", "an array", "[1.0]"),
    "input dtype": (lambda: CELL(PARAMS, CARRY, X.astype(jnp.bfloat16)), "x", "dtype float32", "bfloat16"),
    "carry": (lambda: CELL(PARAMS, CARRY.h, X), "carry", "LSTMCarry(h=float32[2, 4, 4, 2], ", "float32[2, 4, 4, 2]"),
    "peepholes missing": (
        lambda: lj.scan(PEEPHOLES((4, 4), 1, 2), PARAMS, X),
        "params",
        "p=float32[4, 4, 6]",
        "p=None",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_errors(case):
    call, name, expected, got = CASES[case]
    pattern = f"^`{name}`: expected .*{re.escape(expected)}.*, got .*{re.escape(got)}"
    with pytest.raises(ValueError, match=pattern):
        call()
