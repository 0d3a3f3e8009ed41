"""What a call of a cell must be, and a step whose products are told what to read."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.types import Array, Carry


class Called:
    """The call of a cell that changes no parameters ahead of a sequence; not a cell of its own."""

    def prepare(self: Any, params: Any, batch_shape: tuple[int, ...], *, key: Array | None = None) -> Any:
        """Returns the parameters as they are: nothing here is random."""
        return params

    @property
    def recurs(self) -> bool:
        """Whether its step is `recur`, and nothing else."""
        return type(self).step is Called.step

    def recur(self: Any, params: Any, carry: Carry, seen: Carry, z: Any) -> tuple[Carry, Array]:
        """Returns the next carry and the output, of a step whose products read `seen` in place of the carry."""
        raise NotImplementedError

    def step(self: Any, params: Any, carry: Carry, z: Any) -> tuple[Carry, Array]:
        """Returns the next carry and the output `[*batch, *output_shape]` in the parameters' dtype."""
        return self.recur(params, carry, carry, z)

    def __call__(self: Any, params: Any, carry: Carry, x: Array, *, key: Array | None = None) -> tuple[Carry, Array]:
        """Takes one step from `x [*batch, *input_shape]`; returns `(carry, y)`.

        Raises ValueError where shapes or dtypes do not fit each other.
        """
        check_call(self, params, carry, x)
        return self.step(params, carry, self.project(params, x, key=key))


def zeros(cell: Any, params: Any, batch_shape: tuple[int, ...], dtype: Any, *shape: int) -> Array:
    """Returns one leaf of a first carry, `[*batch, *shape]`, in `dtype`, by default the parameters' own."""
    if not isinstance(params, cell.params_type):
        raise checks.fail("params", f"{cell.params_type.__name__}, as `init` returns them", checks.describe(params))
    checks.shape("batch_shape", batch_shape)
    if dtype is not None:
        checks.float_dtype("dtype", dtype)
    return jnp.zeros((*batch_shape, *shape), jax.tree.leaves(params)[0].dtype if dtype is None else dtype)


def check_call(cell: Any, params: Any, carry: Carry, x: Any) -> tuple[int, ...]:
    """Checks one call of any cell: parameters, one dtype for them and the input, the input's and the carry's shape.

    Returns the batch shape.
    """
    checks.array("x", x)
    lead = x.ndim - len(cell.input_shape)
    if lead < 0 or x.shape[lead:] != cell.input_shape:
        raise checks.fail("x", f"shape [*batch, {', '.join(map(str, cell.input_shape))}]", checks.describe(x))
    check_params(cell, params, "x", x.dtype)
    check_carry(cell, params, carry, x.shape[:lead])
    return x.shape[:lead]


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
