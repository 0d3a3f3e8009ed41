"""The Neural Turing Machine: the paper's equations, a memory worked by hand, gradients, training, dtypes, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import lstm_jax as lj
from lstm_jax.cells.lstm import LSTMParams
from lstm_jax.cells.ntm import NTM, NTMParams
from tests.contenders import close, draw, random_like, random_params, same, weigh
from tests.test_scan import check_against_oracle

KEY = jax.random.key(0)
SMALL = NTM(3, 4, 2, memory_slots=5, memory_width=3)
HEADS = NTM(2, 3, 3, memory_slots=4, memory_width=2, read_heads=2, write_heads=3, shift=2)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", [SMALL, HEADS, NTM(2, 3, 2, memory_slots=1, memory_width=2, shift=0)])
def test_values_and_gradients_are_the_equations(x64, cell, reverse):
    arrays = draw(cell, 4, (2,), jnp.float64)._replace(lengths=jnp.array([4, 3]))
    check_against_oracle("ntm", cell, arrays, {"reverse": reverse}, "xla")


@pytest.mark.parametrize("cell", [SMALL, HEADS])
def test_values_and_gradients_from_the_first_carry(x64, cell):
    arrays = draw(cell, 4, (2,), jnp.float64)
    first = cell.initial_carry(arrays.params, (2,))
    arrays = arrays._replace(carry=first, reset_carry=first, lengths=jnp.array([4, 4]))
    check_against_oracle("ntm", cell, arrays, {}, "xla")


def by_hand(cell, rules, read, write):
    """A controller whose h is its input times tanh(tanh(1)), and heads told so much by each input, so much by none.

    `read` and `write` map the names of what a head is told to matrices `[input, size]` and biases `[size]`.
    """
    size = cell.input_size
    assert cell.hidden_size == size and cell.read_heads == cell.write_heads == 1
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY))
    w_x = params.controller.w_x.at[jnp.arange(size), 2 * size + jnp.arange(size)].set(1.0)
    b = jnp.repeat(jnp.array([40.0, -40.0, 0.0, 40.0]), size)  # takes all of g, keeps nothing, shows all
    scale = 1 / np.tanh(np.tanh(1.0))

    def told(names, sizes, what):
        parts = [what.get(n, (np.zeros((size, s)), np.zeros(s))) for n, s in zip(names, sizes, strict=True)]
        w, b = (np.concatenate(x, axis=-1) for x in zip(*parts, strict=True))
        return jnp.asarray(scale * w, jnp.float32), jnp.asarray(b, jnp.float32)

    names = ("k", "beta", "g", "s", "gamma", "e", "a")
    w_read, b_read = told(names[:5], cell.emissions[0], rules | read)
    w_write, b_write = told(names, cell.emissions[1], rules | write)
    return params._replace(
        controller=LSTMParams(w_x, params.controller.w_h, b),
        w_read=w_read,
        b_read=b_read,
        w_write=w_write,
        b_write=b_write,
    )


def always(cell, *values):
    return np.zeros((cell.input_size, len(values))), np.array(values, float)


def test_a_shift_by_one_is_one_slot_round_the_ring():
    for shift, moves in [((40, 0, 0), -1), ((0, 40, 0), 0), ((0, 0, 40), 1)]:
        cell = NTM(1, 1, 1, memory_slots=4, memory_width=2)
        location = {"g": always(cell, -40), "s": always(cell, *shift)}
        params = by_hand(cell, location, {}, {})
        carry = cell.initial_carry(params)
        for t in range(1, 6):
            carry, _ = cell(params, carry, jnp.ones(1))
            expected = np.eye(4)[None, (t * moves) % 4]
            np.testing.assert_allclose(carry.read_weights, expected, atol=1e-6)
            np.testing.assert_allclose(carry.write_weights, expected, atol=1e-6)


def test_sharpening_undoes_a_blur():
    cell = NTM(1, 1, 1, memory_slots=5, memory_width=2)
    blur = {"g": always(cell, -40), "s": always(cell, 0, 1, 0)}
    widest = []
    for gamma in (-40, 0, 5, 300):
        params = by_hand(cell, blur | {"gamma": always(cell, gamma)}, {}, {})
        carry, _ = cell(params, cell.initial_carry(params), jnp.ones(1))
        widest.append(float(carry.read_weights.max()))
        np.testing.assert_allclose(carry.read_weights.sum(), 1, rtol=1e-6)
    assert widest[0] == pytest.approx(np.e / (np.e + 2)) and widest == sorted(widest)
    assert widest[-1] == 1, "a power of 301 of a weight, without underflow"


def test_what_was_written_is_read_back_by_its_key():
    """Rows of a key and a value fill one slot after another; asked for a key, a read finds the row that begins with it.

    The input is a row to write, a key to ask for, and whether to write.
    """
    keys, width = 4, 7
    size = width + keys + 1
    cell = NTM(size, size, width, memory_slots=6, memory_width=width)
    row, asked, writes = np.split(np.eye(size), [width, -1], axis=1)
    asked = np.concatenate([asked, np.zeros((size, width - keys))], axis=1)
    params = by_hand(
        cell,
        {},
        {
            "k": (asked, np.zeros(width)),
            "beta": always(cell, 100),
            "g": always(cell, 40),
            "s": always(cell, 0, 40, 0),
        },
        {
            "g": always(cell, -40),
            "s": (writes * [[0, 0, 40]], np.array([0, 20, 0])),
            "e": (writes * np.full(width, 80), np.full(width, -40)),
            "a": (row, np.zeros(width)),
        },
    )
    params = params._replace(w_y=jnp.concatenate([jnp.zeros((size, width)), jnp.eye(width)]))
    random = np.random.default_rng(0)
    rows = np.concatenate([np.eye(keys), random.integers(0, 2, (keys, width - keys))], axis=1)
    order = random.permutation(keys)
    write = np.concatenate([rows, np.zeros((keys, keys)), np.ones((keys, 1))], axis=1)
    ask = np.concatenate([np.zeros((keys, width)), np.eye(keys)[order], np.zeros((keys, 1))], axis=1)
    carry, ys = lj.scan(cell, params, jnp.asarray(np.concatenate([write, ask]), jnp.float32))
    np.testing.assert_allclose(carry.memory[1 : keys + 1], rows, atol=1e-5)
    np.testing.assert_allclose(ys[keys:], rows[order], atol=1e-4)


@pytest.mark.parametrize("cell", [SMALL, HEADS, NTM(2, 8, 2)])
@pytest.mark.parametrize("scale", [0.7, 30.0])
def test_weightings_stay_distributions_and_gradients_finite(cell, scale):
    params = random_like(jax.eval_shape(cell.init, KEY), 1, scale)
    xs = random_like(jnp.zeros((20, 3, cell.input_size)), 2, scale)

    def loss(params, xs, carry):
        last, (ys, history) = lj.scan(cell, params, xs, carry, return_history=True)
        return weigh((last, ys)), history

    carry = cell.initial_carry(params, (3,))
    gradients, history = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(params, xs, carry)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    for w in (history.read_weights, history.write_weights):
        assert (np.asarray(w) >= 0).all()
        np.testing.assert_allclose(w.sum(-1), 1, rtol=1e-5)


def test_gradients_at_zero_are_finite():
    """No memory, no key, no weight anywhere: every norm and every power stands at zero."""
    params = jax.tree.map(jnp.zeros_like, SMALL.init(KEY))
    carry = jax.tree.map(jnp.zeros_like, SMALL.initial_carry(params, (2,)))
    xs = jnp.zeros((3, 2, 3))
    gradients = jax.grad(lambda *a: weigh(lj.scan(SMALL, *a)), argnums=(0, 1, 2))(params, xs, carry)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_gradients_at_the_start_are_finite():
    xs = jnp.zeros((3, 2, 3))
    params = SMALL.init(KEY)
    carry = SMALL.initial_carry(params, (2,))
    gradients = jax.grad(lambda *a: weigh(lj.scan(SMALL, *a)), argnums=(0, 1, 2))(params, xs, carry)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_finite_differences_to_the_second_order_both_ways(x64):
    cell = NTM(1, 2, 1, memory_slots=3, memory_width=2)
    arrays = draw(cell, 2, (), jnp.float64)
    loss = jax.jit(lambda *smooth: weigh(lj.scan(cell, *smooth)))
    check_grads(loss, arrays[:3], order=2, modes=["rev", "fwd"], atol=1e-5, rtol=1e-5)


def test_it_learns_to_copy():
    bits, length, batch = 2, 2, 8
    cell = NTM(bits + 1, 16, bits, memory_slots=6, memory_width=4)
    optimizer = optax.adam(1e-2)

    def loss(params, key):
        pattern = jax.random.bernoulli(key, 0.5, (length, batch, bits)).astype(jnp.float32)
        shown = jnp.pad(pattern, ((0, 0), (0, 0), (0, 1)))
        asked = jnp.zeros_like(shown).at[..., -1].set(1)
        _, ys = lj.scan(cell, params, jnp.concatenate([shown, asked]))
        return optax.sigmoid_binary_cross_entropy(ys[length:], pattern).mean()

    @jax.jit
    def train(params, keys):
        def step(state, key):
            params, moments = state
            value, gradient = jax.value_and_grad(loss)(params, key)
            updates, moments = optimizer.update(gradient, moments, params)
            return (optax.apply_updates(params, updates), moments), value

        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]

    with jax.numpy_dtype_promotion("standard"):  # Optax counts in integers
        losses = np.asarray(train(cell.init(KEY), jax.random.split(jax.random.key(1), 150)))
    assert losses[0] == pytest.approx(np.log(2), rel=0.2) and losses[-10:].mean() < 0.5 * losses[0]


def test_no_leading_axis_is_special():
    params, xs, carry, *_ = draw(HEADS, 3, (2, 2))
    last, ys = lj.scan(HEADS, params, xs, carry)
    one = jax.vmap(jax.vmap(lambda xs, carry: lj.scan(HEADS, params, xs, carry), (1, 0), (0, 1)), (1, 0), (0, 1))
    close(one(xs, carry), (last, ys))
    here = carry
    for t in range(3):
        here, y = HEADS(params, here, xs[t])
        close(y, ys[t])
    close(here, last)
    assert lj.scan(HEADS, params, xs[:, :0, 0])[1].shape == (3, 0, 3)
    several = random_like(jax.tree.map(lambda p: jax.ShapeDtypeStruct((2, *p.shape), p.dtype), params), 1)
    ensemble = jax.vmap(lambda p: lj.scan(HEADS, p, xs, carry))(several)
    close(ensemble[1][1], lj.scan(HEADS, jax.tree.map(lambda p: p[1], several), xs, carry)[1])


def test_the_start():
    params = HEADS.init(KEY)
    assert isinstance(params, NTMParams)
    same(params.controller.b, jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), 3))
    assert params.w_read.shape == (3, 2 * 10) and params.w_write.shape == (3, 3 * 14) and params.w_y.shape == (7, 3)
    assert not any(b.any() for b in (params.b_read, params.b_write, params.b_y))
    carry = HEADS.initial_carry(params, (2,))
    assert (carry.memory == jnp.float32(1e-6)).all() and not carry.reads.any()
    same(carry.write_weights, jnp.zeros((2, 3, 4)).at[..., 0].set(1))
    same(carry.read_weights, jnp.zeros((2, 2, 4)).at[..., 0].set(1))


def test_resets_empty_the_memory():
    params, xs, carry, *_ = draw(SMALL)
    cut = jnp.zeros((5, 3), bool).at[2].set(True)
    close(lj.scan(SMALL, params, xs, carry, resets=cut)[0], lj.scan(SMALL, params, xs[2:])[0])
    layer = lj.Recurrent(SMALL)
    _, ys = layer(random_params(layer), xs)
    assert ys.shape == (5, 3, 2)


PARAMS = SMALL.init(KEY)
CARRY = SMALL.initial_carry(PARAMS, (2,))
X = jnp.zeros((2, 3))
CASES = {
    "input_size": (lambda: NTM(0, 4, 2), "input_size", "an integer >= 1", "0"),
    "output_size": (lambda: NTM(3, 4, 2.0), "output_size", "an integer >= 1", "2.0"),
    "hidden_size": (lambda: NTM(3, True, 2), "hidden_size", "an integer >= 1", "True"),
    "slots": (lambda: NTM(3, 4, 2, memory_slots=0), "memory_slots", "an integer >= 1", "0"),
    "width": (lambda: NTM(3, 4, 2, memory_width="20"), "memory_width", "an integer >= 1", "'20'"),
    "no read heads": (lambda: NTM(3, 4, 2, read_heads=0), "read_heads", "an integer >= 1", "0"),
    "no write heads": (lambda: NTM(3, 4, 2, write_heads=0), "write_heads", "an integer >= 1", "0"),
    "shift": (lambda: NTM(3, 4, 2, shift=-1), "shift", "an integer >= 0", "-1"),
    "initialiser": (lambda: NTM(3, 4, 2, head_init=0.1), "head_init", "an initialiser", "0.1"),
    "key": (lambda: SMALL.init(0), "key", "a typed key", "int 0"),
    "dtype": (lambda: SMALL.init(KEY, int), "dtype", "a floating-point dtype", "int"),
    "carry of what": (lambda: SMALL.initial_carry(None), "params", "NTMParams", "None"),
    "carry of which batch": (lambda: SMALL.initial_carry(PARAMS, 2), "batch_shape", "a tuple of integers", "2"),
    "carry of which dtype": (lambda: SMALL.initial_carry(PARAMS, (), int), "dtype", "a floating-point dtype", "int"),
    "input": (lambda: SMALL(PARAMS, CARRY, X[:, :2]), "x", "shape [*batch, 3]", "float32[2, 2]"),
    "input dtype": (lambda: SMALL(PARAMS, CARRY, X.astype(jnp.bfloat16)), "x", "dtype float32", "bfloat16"),
    "carry": (lambda: SMALL(PARAMS, CARRY.controller, X), "carry", "memory=float32[2, 5, 3]", "LSTMCarry("),
    "params": (lambda: SMALL(PARAMS.controller, CARRY, X), "params", "w_read=float32[4, 9]", "LSTMParams("),
}


@pytest.mark.parametrize("case", CASES)
def test_errors(case):
    call, name, expected, got = CASES[case]
    pattern = f"^`{name}`: expected .*{re.escape(expected)}.*, got .*{re.escape(got)}"
    with pytest.raises(ValueError, match=pattern):
        call()
