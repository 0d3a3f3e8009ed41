"""A cell against the loops of NumPy, in float64."""

import functools

import jax
import numpy as np

from tests import oracle
from tests.contenders import SMOOTH, TOLERANCE, close, evaluate, in_float64, weigh


def check(cell, step, arrays, reverse=False):
    """`lj.scan` repeats `step(cell, params, carry, x)`: all values, and each gradient in one direction."""
    out, gradients = evaluate(cell, arrays, implementation="xla", reverse=reverse)

    def expected(smooth):
        start, first = ([np.asarray(x) for x in jax.tree.leaves(smooth[name])] for name in ("carry", "reset_carry"))
        last, ys, _ = oracle.scan(
            functools.partial(step, cell),
            *(smooth["params"], smooth["xs"], start, first),
            *(arrays.lengths, arrays.resets, reverse, cell.output_shape, len(cell.input_shape)),
        )
        return last, ys

    smooth = {name: in_float64(getattr(arrays, name)) for name in SMOOTH}
    close(jax.tree.leaves(out), jax.tree.leaves(expected(smooth)), "float64")
    for path, gradient in jax.tree.leaves_with_path(gradients):
        along = np.random.default_rng(gradient.size).normal(size=gradient.shape)
        direction = jax.tree.map_with_path(lambda p, x: along if p == path else np.zeros(x.shape), smooth)  # noqa: B023
        slope = oracle.derivative(lambda s: weigh(expected(s)), smooth, direction)
        products = np.asarray(gradient) * along
        error = abs(slope - products.sum())
        assert error <= TOLERANCE["float64"] * max(1, np.abs(products).sum()), (jax.tree_util.keystr(path), error)
