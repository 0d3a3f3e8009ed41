"""The yardstick computes what we compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from benchmarks.contenders import CELLS, OURS, TEXTBOOK, available, has, prepare, prepare_step, textbook
from tests.contenders import TOLERANCE


@pytest.mark.parametrize("name", CELLS)
def test_textbook_equals_scan(name):
    cell = CELLS[name](3, 5)
    params = cell.init(jax.random.key(0))
    params = jax.tree.map(lambda p: p + jnp.linspace(-0.3, 0.3, p.size).reshape(p.shape), params)  # biases, too
    xs = jax.random.normal(jax.random.key(1), (7, 2, 3))

    def trained(call):
        def value(params, xs):
            ys = call(params, xs)
            return jnp.sum(jnp.sin(ys)), ys

        return jax.jit(jax.value_and_grad(value, argnums=(0, 1), has_aux=True))(params, xs)

    expected = trained(lambda params, xs: lj.scan(cell, params, xs)[1])
    got = trained(lambda params, xs: textbook(cell, params, xs))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE["float32"] * np.abs(b).max())


@pytest.mark.parametrize("contender", available())
def test_every_contender_trains_and_steps(contender):
    prepared = prepare(contender, CELLS["LSTM"](3, 4), "training", (2, 5), "float32", "cpu")
    prepared.wait(prepared.run())
    if has(contender, lj.LSTM, step=True):
        prepared = prepare_step(contender, CELLS["LSTM"](3, 4), "float32", "cpu")
        prepared.wait(prepared.run())


def test_ours_and_the_yardstick_are_always_there():
    assert available()[:2] == (OURS, TEXTBOOK)
