"""What a call of a cell must be."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.types import Carry


def check_call(cell: Any, params: Any, carry: Carry, x: Any, *, batch_shape: tuple[int, ...]) -> None:
    """Checks one call of any cell: parameters, one dtype for them and the input, the input's and the carry's shape."""
    checks.array("x", x)
    rank = len(cell.input_shape)
    if x.ndim < rank or x.shape[x.ndim - rank :] != cell.input_shape:
        raise checks.fail("x", f"shape [*batch, {', '.join(map(str, cell.input_shape))}]", checks.describe(x))
    check_params(cell, params, "x", x.dtype)
    check_carry(cell, params, carry, batch_shape)


def check_params(cell: Any, params: Any, name: str, dtype: Any) -> None:
    """Parameters of the right structure and shapes, all of the one dtype that input `name` has."""
    checks.float_dtype(name, dtype)
    checks.same_tree("params", params, params_like(cell, jnp.dtype(dtype)))
    dtypes = sorted({str(p.dtype) for p in jax.tree.leaves(params)})
    if len(dtypes) > 1:
        raise checks.fail("params", "one dtype throughout", " and ".join(dtypes))
    if dtypes != [str(dtype)]:
        raise checks.fail(name, f"the parameters' dtype {dtypes[0]}", str(jnp.dtype(dtype)))


def params_like(module: Any, dtype: Any) -> Any:
    """The structure and shapes of what `init` returns."""
    return _params_like(module, jax.dtypes.canonicalize_dtype(dtype))  # float64 is float32 while JAX has no 64 bits


@functools.lru_cache(maxsize=256)
def _params_like(module: Any, dtype: Any) -> Any:
    return jax.eval_shape(lambda: module.init(jax.random.key(0), dtype))


def check_carry(cell: Any, params: Any, carry: Carry, batch_shape: tuple[int, ...], name: str = "carry") -> None:
    expected = jax.eval_shape(lambda: cell.initial_carry(params, batch_shape))
    checks.same_tree(name, carry, expected)
    for leaf in jax.tree.leaves(carry):
        checks.float_dtype(name, leaf.dtype)
