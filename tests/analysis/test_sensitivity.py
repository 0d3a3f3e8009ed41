"""Gradients over the lag beside one imaginary step for every number of every carry and input, and in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax.analysis.sensitivity import decay_rate, direct_path, gradients, input_sensitivity, sensitivity
from tests.contenders import CELLS, close, cut, draw, in_float64

TIME, BATCH = 4, (2,)
rate = jax.jit(decay_rate, static_argnums=(1, 2))
CASES = ("lstm", "gru-reset-before", "elman-tanh", "peephole", "lru", "conv-lstm-1d", "variational-gru")


def every_part(carry, ys):
    return sum((leaf * leaf).sum() for leaf in jax.tree.leaves(carry)) + (ys * ys * ys).sum()


def run(step, params, xs, carry):
    """One sequence from a carry, `(last carry, outputs)`, as tuple of leaves and array."""
    ys = []
    for x in xs:
        carry, y = step(params, carry, x)
        ys.append(y)
    return carry, np.stack(ys)


def nudged(x, place):
    x = x.astype(complex)
    x[place] += 1e-30j
    return x


def slopes(loss, x):
    """The derivative of `loss(x)`, or of each of its numbers, by every entry of an array; entries first."""
    by = [np.imag(loss(nudged(x, place))) / 1e-30 for place in np.ndindex(x.shape)]
    return np.stack(by).reshape(*x.shape, *np.shape(by[0]))


def by_imaginary_steps(step, params, inputs, carries, t, ys):
    """The derivatives of `every_part` by each leaf of the carry that step t starts from, and by the inputs from t."""

    def loss(carry, inputs):
        last, after = run(step, params, inputs, carry)
        return every_part(last, np.concatenate([ys[:t], after]))

    def by_leaf(n):
        return slopes(lambda leaf: loss((*carries[t][:n], leaf, *carries[t][n + 1 :]), inputs[t:]), carries[t][n])

    return [by_leaf(n) for n in range(len(carries[t]))], slopes(lambda xs: loss(carries[t], xs), inputs[t:])


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_an_imaginary_step(x64, name):
    cell = CELLS[name].make(2, 3)
    step = CELLS[name].step(cell)
    params, xs, start, *_ = draw(cell, TIME, BATCH, jnp.float64)
    actual = jax.jit(lambda p, xs, c: gradients(cell, p, xs, every_part, c))(params, xs, start)
    params = in_float64(params)
    for b in range(BATCH[0]):
        inputs = np.asarray(xs[:, b])
        carries, ys = [tuple(np.asarray(leaf[b]) for leaf in jax.tree.leaves(start))], []
        for x in inputs:
            carry, y = step(params, carries[-1], x)
            carries.append(carry)
            ys.append(y)
        for t in range(TIME):
            by_carry, by_inputs = by_imaginary_steps(step, params, inputs, carries, t, np.stack(ys))
            close(jax.tree.leaves(cut(actual.carry, (t, b))), by_carry)
            close(actual.xs[t:, b], by_inputs)


@pytest.mark.parametrize("name", ["lstm", "conv-lstm-1d"])
def test_sensitivity_is_the_norm_by_lag_of_each_leaf_and_sequence(name):
    cell = CELLS[name].make(2, 3)
    params, xs, start, *_ = draw(cell, TIME, BATCH)
    by = jax.jit(lambda p, xs, c: gradients(cell, p, xs, carry=c))(params, xs, start)
    seen = jax.jit(lambda p, xs, c: sensitivity(cell, p, xs, carry=c))(params, xs, start)
    flat = jax.tree.map(lambda g: np.asarray(g).reshape(TIME, *BATCH, -1), by)
    expected = jax.tree.map(lambda g: np.sqrt((g**2).sum(-1))[::-1], flat)
    close(seen, expected)
    assert jax.tree.structure(seen.carry) == jax.tree.structure(start)
    # Lag 1: what a last step makes of the carry that it starts from.
    before, _ = lj.scan(cell, params, xs[:-1], start)
    last = jax.jit(jax.grad(lambda c: cell(params, c, xs[-1])[1].sum()))(before)
    close(cut(seen.carry, 0), jax.tree.map(lambda g: np.sqrt((np.asarray(g) ** 2).reshape(*BATCH, -1).sum(-1)), last))


def test_a_sequence_without_batch_gives_one_norm_a_lag():
    cell = lj.GRU(2, 3)
    params, xs, *_ = draw(cell, TIME, BATCH)
    seen = jax.jit(lambda xs: sensitivity(cell, params, xs))
    close(seen(xs[:, 0]), cut(seen(xs), (slice(None), 0)))


@pytest.mark.parametrize("scale", [0.07, 0.9, 1.0, 1.1, 12.0])
def test_a_line_of_units_decays_at_its_own_rate_to_the_end_of_float32(scale):
    """Positive inputs keep ReLUs of a scaled identity open: the norm at lag k is `scale**k * sqrt(units)`."""
    cell = lj.IRNN(2, 5, scale)
    params = cell.init(jax.random.key(0))
    params = params._replace(w_x=jnp.ones_like(params.w_x))
    xs = jnp.ones((30, 3, 2))
    norms = jax.jit(lambda p: sensitivity(cell, p, xs).carry)(params)
    expected = np.sqrt(5) * np.float64(np.float32(scale)) ** np.arange(1, 31)
    np.testing.assert_allclose(norms, np.tile(expected[:, None], 3), rtol=1e-5)
    np.testing.assert_allclose(rate(norms), scale, rtol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "gru", "conv-lstm-1d"])
def test_input_sensitivity_is_that_of_an_imaginary_step(x64, name):
    cell, at = CELLS[name].make(2, 3), 1
    params, xs, start, *_ = draw(cell, TIME, BATCH, jnp.float64)
    seen = jax.jit(lambda p, xs, c: input_sensitivity(cell, p, xs, at, c))(params, xs, start)
    step, params = CELLS[name].step(cell), in_float64(params)
    for b in range(BATCH[0]):
        inputs, first = np.asarray(xs[:, b]), tuple(np.asarray(leaf[b]) for leaf in jax.tree.leaves(start))
        for t in range(TIME):

            def states(x, t=t, inputs=inputs, first=first):
                moved = np.concatenate([inputs[:at], x[None], inputs[at + 1 :]])[: t + 1]
                carry, ys = run(step, params, moved, first)
                return np.concatenate([part.ravel() for part in (*carry, ys[-1])])

            by = slopes(states, inputs[at]).reshape(inputs[at].size, -1)
            actual = [leaf[t, b].ravel() for leaf in (*jax.tree.leaves(seen.carry), seen.ys)]
            close(np.concatenate(actual), np.sqrt((by**2).sum(0)))
            assert (np.concatenate(actual) == 0).all() == (t < at)


def test_the_direct_path_is_the_whole_gradient_where_gates_see_inputs_alone(x64):
    cell = lj.LSTM(2, 3)
    params, xs, start, *_ = draw(cell, TIME, BATCH, jnp.float64)

    @jax.jit
    def both(params):
        whole = gradients(cell, params, xs, lambda carry, ys: carry.c, start).carry.c
        return direct_path(cell, params, xs, start), whole[::-1]

    close(*both(params._replace(w_h=jnp.zeros_like(params.w_h))))
    direct, whole = both(params)
    assert np.abs(direct - whole).max() > 0.01


def test_a_constant_forget_gate_gives_its_powers_and_an_open_one_ones():
    lstm = lj.LSTM(1, 2)
    params = jax.tree.map(jnp.zeros_like, lstm.init(jax.random.key(0)))
    params = params._replace(b=jnp.asarray([0, 0, 1.0, -1.0, 0, 0, 0, 0]))
    gates = 1 / (1 + np.exp([-1.0, 1.0]))
    xs = jnp.ones((6, 3, 1))
    direct = jax.jit(lambda p: direct_path(lstm, p, xs))(params)
    np.testing.assert_allclose(direct, np.tile(gates ** np.arange(1, 7)[:, None, None], (1, 3, 1)), rtol=1e-6)
    np.testing.assert_allclose(rate(direct), np.tile(gates, (3, 1)), rtol=1e-5)
    open_gate = lj.PeepholeLSTM(1, 2, open_gates=("f",))
    assert (jax.jit(lambda p: direct_path(open_gate, p, xs))(open_gate.init(jax.random.key(0))) == 1).all()


def test_decay_rate_is_the_least_squares_line_of_what_has_a_logarithm():
    norms = np.exp(np.random.default_rng(0).normal(size=(9, 4))).astype(np.float32)
    norms[3, 1], norms[5, 2], norms[1:, 3] = 0, np.inf, 0
    lags = np.arange(1, 10)

    def line(column, first=1, last=9):
        kept = [k for k in range(first - 1, last) if 0 < column[k] < np.inf]
        return np.exp(np.polyfit(lags[kept], np.log(column[kept]), 1)[0])

    np.testing.assert_allclose(rate(norms)[:3], [line(norms[:, n]) for n in range(3)], rtol=1e-5)
    np.testing.assert_allclose(rate(norms, 3, 8)[:3], [line(norms[:, n], 3, 8) for n in range(3)], rtol=1e-5)
    assert np.isnan(rate(norms)[3])
    assert rate(norms[:, 0]).shape == ()


def test_wrong_arguments_are_named():
    cell, norms = lj.GRU(2, 3), jnp.ones((5, 2))
    params, xs = cell.init(jax.random.key(0)), jnp.ones((4, 2))
    cases = {
        r"`xs`: expected shape \[time, \*batch, 2\]": lambda: sensitivity(cell, params, xs[:, :1]),
        "`xs`: expected at least one step": lambda: gradients(cell, params, xs[:0]),
        "`carry`: expected": lambda: gradients(cell, params, xs, carry=xs),
        "`at`: expected a step before 4": lambda: input_sensitivity(cell, params, xs, 4),
        "`at`: expected an integer >= 0": lambda: input_sensitivity(cell, params, xs, -1),
        "`norms`: expected a floating": lambda: decay_rate(jnp.ones(4, jnp.int32)),
        "`first`: expected an integer >= 1": lambda: decay_rate(norms, 0),
        "`last`: expected an integer >= 4": lambda: decay_rate(norms, 3, 3),
        "`last`: expected a lag of `norms`, at most 5, got 6": lambda: decay_rate(norms, 1, 6),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(NotImplementedError, match="expected a memory c behind a forget gate f, got GRU"):
        direct_path(cell, params, xs)
