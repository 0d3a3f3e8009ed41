"""Truncated gradients against their definitions, in float64: in time, and as 1997 cut them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax.analysis.truncation import Truncated, gradient_bias, truncated_scan
from tests import oracle
from tests.contenders import random_like, random_params
from tests.oracle import sigmoid

TIME, INPUT, HIDDEN = 7, 2, 3


def draw(cell, batch=(), dtype=jnp.float64):
    params = random_params(cell, 0, dtype)
    xs = random_like(jax.ShapeDtypeStruct((TIME, *batch, INPUT), dtype), 1)
    errors = random_like(jax.ShapeDtypeStruct((TIME, *batch, *cell.output_shape), dtype), 2)
    return params, xs, errors


def gradient(scan, cell, **options):
    def cost(params, xs, errors):
        return jnp.sum(scan(cell, params, xs, **options)[1] * errors)

    return jax.jit(jax.grad(cost))


def close(ours, theirs, tolerance=1e-10):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.shape(a) == np.shape(b) and np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


# In time


@functools.cache
def shares():
    """`[t, k]`: the gradient of step t's cost by the parameters that step k used, each step having its own copy."""
    cell = lj.LSTM(INPUT, HIDDEN)
    params, xs, errors = jax.tree.map(np.asarray, draw(cell))
    flat = np.concatenate([leaf.ravel() for leaf in params])
    cuts = np.cumsum([leaf.size for leaf in params])[:-1]

    def costs(copies):
        carry = (np.zeros(HIDDEN), np.zeros(HIDDEN))
        found = []
        for copy, x, error in zip(copies, xs, errors, strict=True):
            leaves = [part.reshape(leaf.shape) for part, leaf in zip(np.split(copy, cuts), params, strict=True)]
            carry, y = oracle.lstm(type(params)(*leaves), carry, x)
            found.append(y @ error)
        return np.array(found)

    result = np.zeros((TIME, TIME, flat.size))
    for k in range(TIME):
        for number in range(flat.size):
            copies = [flat.astype(complex) for _ in range(TIME)]
            copies[k][number] += 1e-30j
            result[:, k, number] = costs(copies).imag / 1e-30
    return result


@pytest.mark.parametrize(("window", "every"), [(3, None), (3, 1), (4, 3), (TIME, None), (20, 2)])
def test_errors_go_back_through_the_window_and_no_further(x64, window, every):
    cell = lj.LSTM(INPUT, HIDDEN)
    expected, end = 0, 0
    while end < TIME:
        before, end = end, min(end + (every or window), TIME)
        for t in range(before, end):
            for k in range(max(0, end - window), t + 1):
                expected = expected + shares()[t, k]
    ours = gradient(truncated_scan, cell, window=window, every=every)(*draw(cell))
    close(np.concatenate([leaf.ravel() for leaf in ours]), expected)
    assert (np.abs(expected - shares().sum((0, 1))).max() < 1e-12) == (window >= TIME)


def test_values_are_those_of_scan(x64):
    cell = lj.GRU(INPUT, HIDDEN)
    params, xs, errors = draw(cell, (2, 2))
    carry = random_like(jax.eval_shape(lambda: cell.initial_carry(params, (2, 2))), 3)
    close(truncated_scan(cell, params, xs, carry, window=3, every=2), lj.scan(cell, params, xs, carry), 1e-14)

    def cost(carry, scan, **options):
        return jnp.sum(scan(cell, params, xs, carry, **options)[1][:3] * errors[:3])

    by_carry = [jax.grad(cost)(carry, truncated_scan, window=3), jax.grad(cost)(carry, lj.scan)]
    close(*by_carry)  # what lies in the first window reaches the first carry


# In 1997's way


def of_1997(w, p, xs, errors, blocks, size, forget, g, h):
    """The truncated gradient forward in time, as the paper's appendix has it: only s_c remembers, through y_phi alone.

    `w [input + cells + 1, columns]` holds the weights from x, y and a bias; columns are in, (phi), out, one a block,
    then the cells. `p [3, cells]` or None: peepholes, whose gates then have one cell each. `g` and `h` are pairs of a
    function and its derivative. Returns the gradients of w and p.
    """
    cells = blocks * size
    block = np.arange(cells) // size
    s, y = np.zeros(cells), np.zeros(cells)
    kinds = ["in", "phi", "out"] if forget else ["in", "out"]
    d_s = {kind: np.zeros((cells, len(w))) for kind in ("in", "phi", "c")}  # of s_c, by the weights into its units
    d_s_p = {kind: np.zeros(cells) for kind in ("in", "phi")}
    d_w, d_p = np.zeros_like(w), np.zeros((3, cells))
    for x, error in zip(xs, errors, strict=True):
        source = np.concatenate([x, y, [1]])
        net = source @ w
        gates = {kind: net[k * blocks : (k + 1) * blocks][block] for k, kind in enumerate(kinds)}
        net_c, s_before = net[len(kinds) * blocks :], s
        if p is not None:
            gates["in"] = gates["in"] + p[0] * s
            gates["phi"] = gates["phi"] + p[1] * s
        y_in, y_phi = sigmoid(gates["in"]), sigmoid(gates["phi"]) if forget else np.ones(cells)
        s = y_phi * s_before + y_in * g[0](net_c)
        y_out = sigmoid(gates["out"] + (0 if p is None else p[2] * s))
        y = y_out * h[0](s)

        slope = {"in": g[0](net_c) * y_in * (1 - y_in), "phi": s_before * y_phi * (1 - y_phi), "c": y_in * g[1](net_c)}
        for kind in d_s:
            d_s[kind] = y_phi[:, None] * d_s[kind] + np.outer(slope[kind], source)
        for kind in d_s_p:
            d_s_p[kind] = y_phi * d_s_p[kind] + slope[kind] * s_before
        e_s = y_out * h[1](s) * error
        delta_out = y_out * (1 - y_out) * h[0](s) * error
        for cell in range(cells):
            for k, kind in enumerate(kinds):
                share = delta_out[cell] * source if kind == "out" else e_s[cell] * d_s[kind][cell]
                d_w[:, k * blocks + block[cell]] += share
            d_w[:, len(kinds) * blocks + cell] += e_s[cell] * d_s["c"][cell]
        d_p += np.stack([e_s * d_s_p["in"], e_s * d_s_p["phi"], delta_out * s])
    return d_w, d_p


def squash(scale):
    """scale (sigmoid - 1/2), and its derivative."""
    return (lambda a: scale * (sigmoid(a) - 0.5), lambda a: scale * sigmoid(a) * (1 - sigmoid(a)))


TANH = (np.tanh, lambda a: 1 - np.tanh(a) ** 2)
OF_2000 = {"blocks": HIDDEN, "size": 1, "forget": True, "g": TANH, "h": TANH}
LSTM_ORDER = np.concatenate([k * HIDDEN + np.arange(HIDDEN) for k in (0, 1, 3, 2)])  # from i, f, g, o to i, f, o, g


def arranged(params, order):
    return np.concatenate([params.w_x, params.w_h, params.b[None]])[:, order]


@pytest.mark.parametrize(
    ("cell", "order", "options"),
    [
        (
            lj.MemoryBlockLSTM.of_1997(INPUT, 4, block_size=2),
            np.arange(8),
            {"blocks": 2, "size": 2, "forget": False, "g": squash(4), "h": squash(2)},
        ),
        (lj.LSTM(INPUT, HIDDEN), LSTM_ORDER, OF_2000),
        (lj.PeepholeLSTM(INPUT, HIDDEN), LSTM_ORDER, OF_2000),
    ],
    ids=["1997", "2000", "2002"],
)
def test_truncated_is_the_gradient_of_its_day(x64, cell, order, options):
    params, xs, errors = draw(cell)
    ours = gradient(lj.scan, Truncated(cell))(params, xs, errors)
    p = np.reshape(params.p, (3, -1)) if hasattr(params, "p") else None
    d_w, d_p = of_1997(arranged(params, order), p, np.asarray(xs), np.asarray(errors), **options)
    close(arranged(ours, order), d_w)
    if p is not None:
        close(np.reshape(ours.p, (3, -1)), d_p)
    full = gradient(lj.scan, cell)(params, xs, errors)
    assert gradient_bias(ours, full).error > 0.05
    close(lj.scan(Truncated(cell), params, xs), lj.scan(cell, params, xs), 1e-14)


def test_the_loop_with_weight_gradients_outside_agrees(x64):
    for cell in (Truncated(lj.PeepholeLSTM(INPUT, HIDDEN)), Truncated(lj.GRU(INPUT, HIDDEN))):
        arrays = draw(cell, (2,))
        close(*(gradient(lj.scan, cell, implementation=name)(*arrays) for name in ("xla", "xla_vjp")))


def test_a_compiled_loop_does_not_bring_the_full_gradient_back():
    cell = Truncated(lj.LSTM(INPUT, HIDDEN))
    arrays = draw(cell, (2,), jnp.float32)
    close(gradient(lj.scan, cell)(*arrays), gradient(lj.scan, cell, implementation="xla")(*arrays), 1e-5)
    plain = Truncated(lj.PeepholeLSTM(INPUT, HIDDEN, peepholes=False))  # would itself run as an LSTM
    arrays = draw(plain, (2,), jnp.float32)
    close(gradient(lj.scan, plain)(*arrays), gradient(lj.scan, plain, implementation="xla")(*arrays), 1e-5)


def test_a_network_that_keeps_nothing_learns_from_one_step(x64):
    cell = lj.Elman(INPUT, HIDDEN)
    arrays = draw(cell, (2,))
    close(gradient(lj.scan, Truncated(cell))(*arrays), gradient(truncated_scan, cell, window=1)(*arrays))


def test_bias_is_a_length_and_an_angle():
    exact = {"a": jnp.asarray([3.0, 0.0]), "b": jnp.asarray([[4.0]])}
    bias = gradient_bias({"a": jnp.asarray([3.0, 0.0]), "b": jnp.asarray([[0.0]])}, exact)
    np.testing.assert_allclose([bias.error, bias.cosine], [0.8, 0.6], rtol=1e-6)
    nothing = gradient_bias(jax.tree.map(jnp.zeros_like, exact), exact)
    assert nothing.error == 1 and np.isnan(nothing.cosine)


def test_wrong_calls_say_so():
    cell = lj.LSTM(INPUT, HIDDEN)
    params, xs, _ = draw(cell, (), jnp.float32)
    with pytest.raises(ValueError, match="`window`: expected an integer >= 1, got 0"):
        truncated_scan(cell, params, xs, window=0)
    with pytest.raises(ValueError, match="`every`: expected at most window=2, got 3"):
        truncated_scan(cell, params, xs, window=2, every=3)
    with pytest.raises(ValueError, match="`every`"):
        truncated_scan(cell, params, xs, window=2, every=0)
    with pytest.raises(ValueError, match="`xs`"):
        truncated_scan(cell, params, xs[..., 1:], window=2)
    with pytest.raises(ValueError, match="`cell`: expected a cell that `splits`"):
        Truncated(lj.MUT1(INPUT, HIDDEN))
    with pytest.raises(ValueError, match="`approximate`"):
        gradient_bias(params[:2], params)
