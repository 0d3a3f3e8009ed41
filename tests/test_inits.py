"""Initialisers: what they promise of every gate, in every dtype."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax import inits
from tests.contenders import TOLERANCE, same

KEY = jax.random.key(7)
CELLS = {"lstm": lj.LSTM, "gru": lj.GRU, "elman": lj.Elman}


def gates(w, hidden):
    return [np.asarray(g, np.float64) for g in np.split(np.asarray(w.astype(jnp.float32)), w.shape[-1] // hidden, -1)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CELLS)
def test_every_gate_is_orthogonal_and_drawn_on_its_own(name, dtype):
    params = CELLS[name](5, 16).init(KEY, dtype)
    assert {str(p.dtype) for p in jax.tree.leaves(params)} == {dtype}
    blocks = gates(params.w_h, 16)
    assert len(blocks) == len(CELLS[name].gates)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(16), atol=10 * TOLERANCE[dtype])
    for one, other in itertools.pairwise(blocks):
        assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (1, 1)])
def test_orthogonal_rows_or_columns_times_scale(shape):
    w = np.asarray(inits.Orthogonal(scale=2.0)(KEY, shape, jnp.float32))
    small = w @ w.T if shape[0] < shape[1] else w.T @ w
    np.testing.assert_allclose(small, 4 * np.eye(min(shape)), atol=1e-5)


def test_no_decomposition_is_of_a_batch():
    """Batches wait for the pool of threads that they run in: drawing two layers at once used to hang on two cores."""
    traced = jax.jit(jax.vmap(lj.Bidirectional(lj.LSTM(3, 4)).init)).trace(jax.random.split(KEY, 3))
    batches = re.findall(r'num_batch_dims = "(\d+)"', traced.lower(lowering_platforms=("cpu",)).as_text())
    assert batches and set(batches) == {"0"}


@pytest.mark.parametrize("name", CELLS)
def test_glorot_counts_the_fans_of_one_gate(name):
    blocks = gates(CELLS[name](40, 60).init(KEY).w_x, 60)
    bound = np.sqrt(6 / (40 + 60))
    for block in blocks:
        assert 0.98 * bound < np.abs(block).max() <= bound
        assert block.std() == pytest.approx(bound / np.sqrt(3), rel=0.03)


@pytest.mark.parametrize("name", CELLS)
def test_uniform_is_pytorchs(name):
    uniform = {"w_x_init": inits.Uniform(), "w_h_init": inits.Uniform(), "b_init": inits.UniformBias()}
    params = CELLS[name](9, 64, **uniform).init(KEY)
    for p in jax.tree.leaves(params):
        assert 0.85 / 8 < np.abs(p).max() <= 1 / 8
        assert np.std(p) == pytest.approx(1 / 8 / np.sqrt(3), rel=0.2)
    assert len(jax.tree.leaves(params)) == (4 if name == "gru" else 3)


def test_identity_and_zero():
    cell = lj.Elman(2, 3, activation="relu", w_h_init=inits.Identity(0.5))
    params = cell.init(KEY)
    np.testing.assert_array_equal(params.w_h, 0.5 * np.eye(3))
    np.testing.assert_array_equal(params.b, np.zeros(3))


@pytest.mark.parametrize("value", [1.0, 2.5])
def test_keep_bias_stands_on_the_gate_that_keeps(value):
    lstm = lj.LSTM(2, 3, b_init=inits.KeepBias(value)).init(KEY)
    np.testing.assert_array_equal(lstm.b, np.repeat([0, value, 0, 0], 3))
    gru = lj.GRU(2, 3, b_init=inits.KeepBias(value)).init(KEY)
    np.testing.assert_array_equal(gru.b, np.repeat([0, value, 0], 3))
    np.testing.assert_array_equal(gru.b_hn, np.zeros(3))


def test_the_forget_gate_starts_open_and_nothing_is_added_in_the_equation():
    cell = lj.LSTM(2, 3)
    params = cell.init(KEY)
    np.testing.assert_array_equal(params.b, np.repeat([0, 1, 0, 0], 3))
    zero = jax.tree.map(jnp.zeros_like, params)
    (_, c), _ = cell(zero, lj.LSTMCarry(jnp.zeros(3), jnp.ones(3)), jnp.zeros(2))
    np.testing.assert_allclose(c, 0.5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_chrono_spans(dtype):
    t_max, hidden = 200, 4096
    chrono = inits.Chrono(t_max)
    b_i, b_f, b_g, b_o = gates(chrono(KEY, lj.LSTM.gates, hidden, dtype), hidden)
    np.testing.assert_array_equal(b_i, -b_f)
    assert not b_g.any() and not b_o.any()
    tolerance = 1 + TOLERANCE[dtype]
    b_r, b_z, b_n = gates(chrono(KEY, lj.GRU.gates, hidden, dtype), hidden)
    assert not b_r.any() and not b_n.any()
    gru = lj.GRU(1, 8, b_init=chrono).init(KEY, dtype)
    same(gru.b[8:16], chrono(jax.random.split(KEY, 3)[2], lj.GRU.gates, 8, dtype)[8:16])
    assert not np.asarray(gru.b_hn.astype(jnp.float32)).any()
    for keep in (b_f, b_z):
        span = np.exp(keep)
        assert 1 <= span.min() < 2 and 0.99 * (t_max - 1) < span.max() * tolerance
        assert span.max() <= (t_max - 1) * tolerance**3
        # Uniform in steps: every quarter of the range holds a quarter of the units.
        share, _ = np.histogram(span, bins=np.linspace(1, t_max - 1, 5))
        np.testing.assert_allclose(share / hidden, 0.25, atol=0.03)


def test_initialisers_are_values():
    assert inits.Chrono(20) == inits.Chrono(20) != inits.Chrono(30)
    assert len({inits.Orthogonal(), inits.Orthogonal(), inits.Glorot(), inits.Uniform(), inits.ZeroBias()}) == 4


def test_init_depends_on_the_key_alone():
    for make in CELLS.values():
        cell = make(3, 4)
        same(cell.init(KEY), jax.jit(cell.init)(KEY))
        first, second = (cell.init(jax.random.key(s)).w_h for s in (0, 1))
        assert np.abs(np.asarray(first - second)).max() > 0.1
    seeds = jax.vmap(lj.GRU(3, 4).init)(jax.random.split(KEY, 3))
    assert seeds.w_h.shape == (3, 4, 12) and np.abs(np.asarray(seeds.w_h[0] - seeds.w_h[1])).max() > 0.1
