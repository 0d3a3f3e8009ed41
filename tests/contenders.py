"""The one table CELLS x IMPLEMENTATIONS that drives the shared tests, and the one place for tolerances.

A new cell adds a row to CELLS with its equations in oracle.py; a new kernel enters by itself, from `kernels.TABLE`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax.types import wide
from tests import oracle

# The largest difference allowed, as a fraction of the array's largest entry.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}


class Row(NamedTuple):
    make: Callable[[int, int], Any]
    """Builds the cell from its sizes."""
    equations: Callable
    """The step in oracle.py."""


CELLS = {
    "lstm": Row(lj.LSTM, oracle.lstm),
    "lstm-no-bias": Row(functools.partial(lj.LSTM, use_bias=False), oracle.lstm),
    "gru": Row(lj.GRU, oracle.gru),
    "gru-no-bias": Row(functools.partial(lj.GRU, use_bias=False), oracle.gru),
    "gru-reset-before": Row(functools.partial(lj.GRU, reset_after=False), oracle.gru_reset_before),
    "elman-tanh": Row(functools.partial(lj.Elman, activation="tanh"), oracle.elman_tanh),
    "elman-relu": Row(functools.partial(lj.Elman, activation="relu"), oracle.elman_relu),
    "elman-sigmoid": Row(functools.partial(lj.Elman, activation="sigmoid"), oracle.elman_sigmoid),
}
IMPLEMENTATIONS = tuple(lj.kernels.TABLE)


def serves(implementation: str, cell: Any, dtype: str = "float32") -> bool:
    return lj.kernels.refusal(implementation, cell, dtype) is None


def keeps_history(implementation: str) -> bool:
    return lj.kernels.TABLE[implementation].history


def sharpest(implementation: str) -> str:
    """The most accurate dtype that an implementation serves."""
    dtypes = lj.kernels.TABLE[implementation].dtypes
    return "float64" if dtypes is None else dtypes[0]


def in_float64(arrays: Any) -> Any:
    """The same numbers, to the last bit, as NumPy float64."""
    return jax.tree.map(
        lambda x: (
            np.asarray(x.astype(jnp.float32) if x.dtype.itemsize == 2 else x).astype(np.float64)
            if jnp.issubdtype(x.dtype, jnp.floating)
            else x
        ),
        arrays,
    )


def contenders(*names: str, dtype: str = "float32") -> Any:
    """Parametrises a test over `name, implementation`: every pair of the table that serves `dtype`, or some cells."""
    return pytest.mark.parametrize(
        ("name", "implementation"),
        [(n, i) for n in names or CELLS for i in IMPLEMENTATIONS if serves(i, CELLS[n].make(3, 4), dtype)],
    )


class Arrays(NamedTuple):
    """The arrays of one call of scan."""

    params: Any
    xs: Any
    carry: Any = None
    reset_carry: Any = None
    lengths: Any = None
    resets: Any = None


SMOOTH = ("params", "xs", "carry", "reset_carry")


def random_like(tree: Any, seed: int, scale: float = 0.7) -> Any:
    """Normal numbers in the shapes and dtypes of a pytree: no bias stays at zero."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(scale * random.normal(size=s.shape), s.dtype), tree)


def random_params(module: Any, seed: int = 0, dtype: Any = jnp.float32) -> Any:
    """Random parameters of a cell, a layer or a network."""
    return random_like(jax.eval_shape(lambda: module.init(jax.random.key(0), dtype)), seed)


def draw(cell: Any, time: int = 5, batch: tuple[int, ...] = (3,), dtype: Any = jnp.float32, seed: int = 0) -> Arrays:
    """Every array of a call, with lengths from 0 to all and some resets."""
    random = np.random.default_rng(seed + 1)
    params = random_params(cell, seed, dtype)
    carry = jax.eval_shape(lambda: cell.initial_carry(params, batch))
    lengths = random.integers(0, time + 1, batch)
    if lengths.size > 1:
        lengths.flat[0], lengths.flat[1] = 0, time
    return Arrays(
        params,
        random_like(jax.ShapeDtypeStruct((time, *batch, *cell.input_shape), dtype), seed + 2, scale=1.0),
        random_like(carry, seed + 3),
        random_like(carry, seed + 4),
        jnp.asarray(lengths, jnp.int32),
        jnp.asarray(random.random((time, *batch)) < 0.4),
    )


def weigh(tree: Any) -> Any:
    """A number that depends on every entry of a pytree, each with a weight of its own; float32 or better."""
    total: Any = 0.0
    for number, leaf in enumerate(jax.tree.leaves(tree)):
        weights = np.cos(1.3 * np.arange(leaf.size) + number).reshape(leaf.shape)
        if isinstance(leaf, np.ndarray):
            total = total + np.sum(leaf * weights)
        else:
            dtype = wide(leaf.dtype)
            total = total + jnp.sum(leaf.astype(dtype) * jnp.asarray(weights, dtype)).astype(jnp.result_type(float))
    return total


def run(cell: Any, arrays: Arrays, **options: Any) -> Any:
    params, xs, carry, reset_carry, lengths, resets = arrays
    return lj.scan(cell, params, xs, carry, lengths=lengths, resets=resets, reset_carry=reset_carry, **options)


def evaluate(cell: Any, arrays: Arrays, **options: Any) -> tuple[Any, dict]:
    """Returns what scan returns and the gradients of its weighted sum by params, xs, carry and reset_carry, jitted."""
    return _evaluate(cell, tuple(sorted(options.items())), arrays)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluate(cell: Any, options: tuple, arrays: Arrays) -> tuple[Any, dict]:
    def loss(smooth: dict) -> Any:
        out = run(cell, arrays._replace(**smooth), **dict(options))
        return weigh(out), out

    smooth = {name: getattr(arrays, name) for name in SMOOTH}
    (_, out), gradients = jax.value_and_grad(loss, has_aux=True)(smooth)
    return out, gradients


def oracle_scan(name: str, arrays: Arrays, reverse: bool = False) -> tuple[list, np.ndarray, list]:
    """The same call by the float64 loop: last carry as leaves, outputs, history as leaves."""
    params, xs = jax.tree.map(np.asarray, in_float64(arrays[:2]))
    leaves = 2 if name.startswith("lstm") else 1
    hidden = params.w_h.shape[0]
    zeros = [np.zeros((*xs.shape[1:-1], hidden))] * leaves
    start, first = (
        zeros if c is None else [np.asarray(x) for x in jax.tree.leaves(in_float64(c))] for c in arrays[2:4]
    )
    return oracle.scan(CELLS[name].equations, params, xs, start, first, arrays.lengths, arrays.resets, reverse)


def close(actual: Any, expected: Any, dtype: Any = None, scale: float = 1.0) -> None:
    """Every array of `actual` within the tolerance of its dtype (or of the one given) of that of `expected`."""
    assert len(jax.tree.leaves(actual)) == len(jax.tree.leaves(expected))
    for (path, a), e in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        allowed = scale * TOLERANCE[str(jnp.dtype(a.dtype if dtype is None else dtype))]
        a, e = (np.asarray(x).astype(np.float64) for x in (a, e))
        assert a.shape == e.shape, f"{jax.tree_util.keystr(path)}: {a.shape} beside {e.shape}"
        assert np.isfinite(a).all() and np.isfinite(e).all(), jax.tree_util.keystr(path)
        if a.size:
            error, largest = np.abs(a - e).max(), np.abs(e).max()
            assert error <= allowed * max(largest, 1e-3), f"{jax.tree_util.keystr(path)}: {error} of {largest}"


def same(actual: Any, expected: Any) -> None:
    """Equal to the bit."""
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(e))


def cut(tree: Any, where: Any) -> Any:
    """Indexes every leaf."""
    return jax.tree.map(lambda x: x[where], tree)
