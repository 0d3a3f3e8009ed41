"""`Recurrent` of both kinds of Flax is the layer itself, batch-first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from tests.adapters.flaxes import FLAXES
from tests.contenders import close, random_like, random_params, same, weigh

LAYERS = {
    "cell": lj.LSTM(3, 4),
    "recurrent": lj.Recurrent(lj.GRU(3, 4), learned_carry=True),
    "reverse": lj.Recurrent(lj.Elman(3, 4), reverse=True),
    "bidirectional": lj.Bidirectional(lj.GRU(3, 4, reset_after=False)),
    "stack": lj.Stack(
        (lj.Bidirectional(lj.LSTM(3, 2)), lj.Recurrent(lj.GRU(4, 4)), lj.Recurrent(lj.LSTM(4, 4))),
        dropout=0.5,
        residual=True,
    ),
    "family": lj.Stack((lj.Recurrent(lj.WeightDrop(lj.LSTM(3, 4))), lj.Bidirectional(lj.SLSTM(4, 4, heads=2)))),
}
BATCH, TIME = 4, 7

pytestmark = pytest.mark.parametrize("flax", FLAXES.values(), ids=FLAXES)


def draw(layer, batch=(BATCH,), dtype=jnp.float32):
    """The layer, its parameters, `xs [*batch, time, 3]`, a carry, lengths and resets `[*batch, time]`."""
    layer = layer if hasattr(layer, "last") else lj.Recurrent(layer)
    params = random_params(layer, 1, dtype)
    carry = random_like(jax.eval_shape(lambda: layer.initial_carry(params, batch)), 3)
    lengths = jnp.asarray(np.random.default_rng(0).integers(0, TIME + 1, batch), jnp.int32)
    resets = jnp.asarray(np.random.default_rng(1).random((*batch, TIME)) < 0.3)
    return layer, params, random_like(jax.ShapeDtypeStruct((*batch, TIME, 3), dtype), 2), carry, lengths, resets


def time_major(x, batch=1):
    return jnp.moveaxis(x, batch, 0)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("given", [False, True], ids=["plain", "lengths-resets-carry"])
def test_values_and_gradients_are_the_layers(flax, name, given):
    layer, params, xs, carry, lengths, resets = draw(LAYERS[name])
    carry, lengths, resets = (carry, lengths, resets) if given else (None, None, None)

    def adapted(params, xs, carry):
        out = flax(layer, params, xs, carry, lengths=lengths, resets=resets, return_carry=True, deterministic=True)
        return weigh(out), out

    def bare(params, xs, carry):
        cuts = None if resets is None else time_major(resets)
        last, ys = layer(params, time_major(xs), carry, lengths=lengths, resets=cuts)
        out = last, jnp.moveaxis(ys, 0, 1)
        return weigh(out), out

    over = (0, 1, 2) if given else (0, 1)
    expected = jax.jit(jax.grad(bare, over, has_aux=True))(params, xs, carry)
    close(jax.jit(jax.grad(adapted, over, has_aux=True))(params, xs, carry), expected)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_any_batch_axes(flax, batch):
    layer, params, xs, carry, lengths, resets = draw(lj.LSTM(3, 4), batch)
    last, ys = flax(layer, params, xs, carry, lengths=lengths, resets=resets, return_carry=True)
    axis = len(batch)
    expected, out = layer(params, time_major(xs, axis), carry, lengths=lengths, resets=time_major(resets, axis))
    close((last, ys), (expected, jnp.moveaxis(out, 0, axis)))


def test_time_major(flax):
    layer, params, xs, _, lengths, resets = draw(LAYERS["stack"])
    batch_first = flax(layer, params, xs, lengths=lengths, resets=resets, deterministic=True)
    options = {"time_major": True, "deterministic": True, "return_carry": True, "chunk": 3, "implementation": "xla"}
    _, ys = flax(layer, params, time_major(xs), lengths=lengths, resets=time_major(resets), options=options)
    close(ys, time_major(batch_first))


def test_a_stream_is_one_pass(flax):
    layer = lj.Stack((lj.Recurrent(lj.LSTM(3, 4), learned_carry=True), lj.Recurrent(lj.GRU(4, 4))))
    layer, params, xs, *_ = draw(layer)
    carry, whole = flax(layer, params, xs, return_carry=True)
    half, first = flax(layer, params, xs[:, :3], return_carry=True)
    close(flax(layer, params, xs[:, 3:], half, return_carry=True)[0], carry)
    step = flax(layer, params, (BATCH,), method="initial_carry")
    for t in range(3):
        step, y = flax(layer, params, step, xs[:, t], method="step")
        close(y, whole[:, t])
    close(step, half)
    close(first, whole[:, :3])


def test_dropout_comes_from_flaxs_streams(flax):
    layer, params, xs, *_ = draw(LAYERS["stack"])
    still = flax(layer, params, xs, deterministic=True)
    rngs = {"dropout": jax.random.key(1)}
    one, again = (flax(layer, params, xs, rngs=rngs) for _ in range(2))
    other = flax(layer, params, xs, rngs={"dropout": jax.random.key(2)})
    same(one, again)
    assert not np.allclose(one, still) and not np.allclose(one, other)
    same(flax(layer, params, xs, rngs=rngs, deterministic=True), still)
    same(flax(layer, params, xs, rngs=rngs, options={"deterministic": True}), still)


@pytest.mark.parametrize(("dtype", "inputs", "expected"), [
    (None, "float32", "float32"),
    (None, "bfloat16", "float32"),
    ("bfloat16", "float32", "bfloat16"),
    ("bfloat16", "bfloat16", "bfloat16"),
    ("float32", "bfloat16", "float32"),
])  # fmt: skip
def test_dtype_is_that_of_the_computation(flax, dtype, inputs, expected):
    layer, params, xs, _, lengths, _ = draw(LAYERS["stack"])
    xs = xs.astype(inputs)
    options = {"dtype": dtype and jnp.dtype(dtype), "deterministic": True}
    with jax.numpy_dtype_promotion("standard"):
        carry, ys = flax(layer, params, xs, lengths=lengths, return_carry=True, options=options)
    assert ys.dtype == expected
    assert {str(c.dtype) for c in jax.tree.leaves(carry)} == {expected}
    cast = jax.tree.map(lambda p: p.astype(expected), params)
    same(ys, jnp.moveaxis(layer(cast, time_major(xs).astype(expected), lengths=lengths)[1], 0, 1))


WRONG = {
    "features": (
        {"xs": jnp.zeros((2, 5, 4))},
        r"`xs`: expected shape \[\*batch, time, 3\], got float32\[2, 5, 4\]",
    ),
    "rank": ({"xs": jnp.zeros(3)}, r"`xs`: expected shape \[\*batch, time, 3\], got float32\[3\]"),
    "resets": (
        {"resets": jnp.zeros((5, 2), bool)},
        r"`resets`: expected bool\[2, 5\] \(\[\*batch, time\]\), got bool\[5, 2\]",
    ),
    "resets of numbers": (
        {"resets": jnp.zeros((2, 5), jnp.int32)},
        r"`resets`: expected bool\[2, 5\] \(\[\*batch, time\]\), got int32\[2, 5\]",
    ),
    "lengths": ({"lengths": jnp.zeros(3, jnp.int32)}, r"`lengths`: expected integers of shape \[2\]"),
    "carry": ({"carry": jnp.zeros((2, 4))}, r"`carry`: expected LSTMCarry\("),
    "time_major": ({"options": {"time_major": 1}}, r"`time_major`: expected True or False, got 1"),
    "implementation": ({"options": {"implementation": "fast"}}, r"`implementation`: expected"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors(flax, case):
    call, message = WRONG[case]
    layer = lj.Recurrent(lj.LSTM(3, 4))
    call = {"xs": jnp.zeros((2, 5, 3))} | call
    with pytest.raises(ValueError, match=message):
        flax(layer, random_params(layer), call.pop("xs"), **call)


def test_a_class_is_no_layer(flax):
    for wrong in (lj.LSTM, lj.Recurrent, 3):
        with pytest.raises(ValueError, match=r"expected a (cell|layer), such as"):
            flax(wrong, {}, jnp.zeros((2, 5, 3)))


# What Flax's own loop gets wrong, and ours must not.


def test_a_length_of_zero_returns_the_carry_that_came(flax):
    layer, params, xs, carry, _, _ = draw(lj.LSTM(3, 4))
    lengths = jnp.zeros(BATCH, jnp.int32)
    last, ys = flax(layer, params, xs, carry, lengths=lengths, return_carry=True)
    same(last, carry)
    assert not ys.any()


def test_a_bfloat16_model_returns_bfloat16(flax):
    for cell in (lj.LSTM(3, 4), lj.GRU(3, 4), lj.Elman(3, 4)):
        layer, params, xs, *_ = draw(cell, dtype=jnp.bfloat16)
        carry, ys = flax(layer, params, xs, return_carry=True)
        assert ys.dtype == jnp.bfloat16 and {c.dtype for c in jax.tree.leaves(carry)} == {jnp.dtype(jnp.bfloat16)}


def test_lengths_and_carry_do_not_keep_the_carrys_history(flax):
    layer, params, _, carry, _, _ = draw(lj.LSTM(3, 64))
    time = 4000
    xs, lengths = jnp.zeros((BATCH, time, 3)), jnp.full(BATCH, 7, jnp.int32)

    def last(params, xs, lengths):
        return flax(layer, params, xs, lengths=lengths, return_carry=True)[0]

    kept = jax.jit(last).lower(params, xs, lengths).compile().memory_analysis().temp_size_in_bytes
    assert kept < 0.75 * time * sum(c.nbytes for c in jax.tree.leaves(carry))
