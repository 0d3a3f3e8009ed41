"""Dtypes: what comes in comes out, the carry keeps its own, and low precision stays near the float64 loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from tests.contenders import (
    BASE,
    CELLS,
    Arrays,
    close,
    contenders,
    draw,
    evaluate,
    in_float64,
    keeps_history,
    oracle_scan,
    random_like,
    random_params,
    run,
    same,
    serves,
)

DTYPES = ["bfloat16", "float16", "float32", "float64"]


@contenders()
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_keeps_its_own_and_its_accuracy(x64, name, implementation, dtype):
    if name not in BASE and dtype == "float64":
        pytest.skip("its numbers in float64 are test_scan's")
    cell = CELLS[name].make(3, 4)
    arrays = draw(cell, dtype=dtype)
    if not serves(implementation, cell, dtype):
        with pytest.raises(NotImplementedError, match=rf"`xs`: '{implementation}' serves .*, got {dtype}"):
            evaluate(cell, arrays, implementation=implementation)
        return
    history = keeps_history(implementation)
    out, gradients = evaluate(cell, arrays, implementation=implementation, return_history=history)
    assert {str(x.dtype) for x in jax.tree.leaves((out, gradients))} == {dtype}
    last, expected, after = oracle_scan(name, in_float64(arrays), cell=cell)
    close(jax.tree.leaves(out), [*last, expected, *(after if history else ())], dtype)
    wide = jax.tree.map(jnp.asarray, in_float64(arrays))
    reference = evaluate(cell, wide, implementation="xla", return_history=history)
    close(gradients, reference[1], dtype, scale=2)


@contenders("lstm", "gru", "gru-reset-before", "elman-tanh", "layer-norm-gru", "slstm", "lru", "conv-lstm-2d", "ntm")
def test_a_wider_carry_keeps_its_dtype(name, implementation):
    cell = CELLS[name].make(3, 4)
    arrays = draw(cell, dtype=jnp.bfloat16)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), arrays.carry)
    wider = arrays._replace(carry=wide)
    for options in ({}, {"chunk": 2, "reverse": True}):
        options |= {"implementation": implementation, "return_history": keeps_history(implementation)}
        (carry, ys), gradients = evaluate(cell, wider, **options)
        ys, *history = ys if options["return_history"] else (ys,)
        assert {x.dtype for x in jax.tree.leaves((carry, history, gradients["carry"]))} == {jnp.dtype("float32")}
        assert {x.dtype for x in jax.tree.leaves((ys, gradients["params"], gradients["xs"]))} == {jnp.dtype("bfloat16")}
        last, expected, after = oracle_scan(name, in_float64(wider), options.get("reverse", False), cell)
        close(jax.tree.leaves((carry, ys, history)), [*last, expected, *(after if history else ())], "bfloat16")
    initial = cell.initial_carry(arrays.params, (3,), jnp.float32)
    assert {x.dtype for x in jax.tree.leaves(initial)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("implementation", ["xla", "xla_vjp"])
def test_a_float32_carry_keeps_a_long_bfloat16_sequence_accurate(implementation):
    """A memory that gains 1/1024 a step is stuck at 1/4 in bfloat16, whose next number is 1/4 + 1/512."""
    cell = lj.LSTM(1, 1)
    wide_open, target = 20.0, jnp.bfloat16(2**-10)
    w_x = jnp.zeros((1, 4), jnp.bfloat16).at[0, 2].set(target)
    b = jnp.array([wide_open, wide_open, 0.0, wide_open], jnp.bfloat16)
    params = lj.LSTMParams(w_x, jnp.zeros((1, 4), jnp.bfloat16), b)
    xs = jnp.ones((1024, 1, 1), jnp.bfloat16)

    def memory(dtype):
        carry, _ = lj.scan(cell, params, xs, cell.initial_carry(params, (1,), dtype), implementation=implementation)
        return float(carry.c[0, 0])

    assert memory(jnp.float32) == pytest.approx(1.0, rel=1e-3)
    assert memory(jnp.bfloat16) < 0.3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_layers_and_networks_keep_dtypes(dtype):
    layer = lj.Stack((lj.Bidirectional(lj.LSTM(3, 2)), lj.Recurrent(lj.GRU(4, 4), learned_carry=True)), residual=True)
    network = lj.models.Network(layer, lj.models.MLP((4, 5, 2)), at="last")
    params = random_params(network, dtype=dtype)
    xs = random_like(jax.ShapeDtypeStruct((5, 3, 3), dtype), 1)
    carry, ys = jax.jit(layer)(params.layer, xs, key=jax.random.key(0))
    assert {str(x.dtype) for x in jax.tree.leaves((carry, ys))} == {dtype}
    _, out = jax.jit(network)(params, xs)
    assert out.dtype == jnp.float32
    reference, xs = jax.tree.map(lambda x: x.astype(jnp.float32), (params, xs))
    close(out, jax.jit(network)(reference, xs)[1], dtype, scale=2)


def test_a_step_keeps_dtypes():
    for row in CELLS.values():
        cell = row.make(3, 4)
        params, xs, carry, *_ = draw(cell, 1, dtype=jnp.bfloat16)
        wide = jax.tree.map(lambda x: x.astype(jnp.float32), carry)
        here, y = cell(params, wide, xs[0])
        assert y.dtype == jnp.bfloat16 and {x.dtype for x in jax.tree.leaves(here)} == {jnp.dtype("float32")}
        close((here, y[None]), jax.jit(lambda *a, c=cell: lj.scan(c, *a, implementation="xla"))(params, xs, wide))


def test_numpy_arrays_are_welcome():
    cell = lj.GRU(3, 4)
    arrays = draw(cell)
    same(run(cell, Arrays(*jax.tree.map(np.asarray, arrays))), run(cell, arrays))
