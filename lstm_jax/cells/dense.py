"""What cells fed with vectors share: two matrices, a bias, and the product that joins them."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.types import Array, Carry, wide


def dot(a: Array, w: Array) -> Array:
    """Returns a @ w, `[..., rows] x [rows, columns]`, accumulated and returned in float32 or better.

    `a` is read in the weights' dtype: a float32 carry under bfloat16 weights costs a bfloat16 product.
    """
    return jnp.matmul(a.astype(w.dtype), w, preferred_element_type=wide(w.dtype))


@dataclasses.dataclass(frozen=True)
class DenseCell:
    """The part of a cell that does not depend on its equations: fields, initialisation, the input product.

    A subclass names its gates, its parameters' type and its equations. Not a cell of its own.
    """

    input_size: int
    hidden_size: int
    use_bias: bool = True
    w_x_init: inits.WeightInit = inits.Glorot()
    w_h_init: inits.WeightInit = inits.Orthogonal()
    b_init: inits.BiasInit = inits.ZeroBias()

    gates: ClassVar[tuple[str, ...]]
    params_type: ClassVar[type]

    def __post_init__(self):
        checks.positive_int("input_size", self.input_size)
        checks.positive_int("hidden_size", self.hidden_size)
        checks.boolean("use_bias", self.use_bias)
        for name in ("w_x_init", "w_h_init", "b_init"):
            if not callable(getattr(self, name)):
                raise checks.fail(name, "an initialiser from lstm_jax.inits", repr(getattr(self, name)))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.input_size,)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def init(self, key: Array, dtype: Any = jnp.float32) -> Any:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own."""
        checks.typed_key("key", key)
        checks.float_dtype("dtype", dtype)
        key_x, key_h, key_b = jax.random.split(key, 3)
        return self.params_type(
            self._matrix(self.w_x_init, key_x, self.input_size, dtype),
            self._matrix(self.w_h_init, key_h, self.hidden_size, dtype),
            self.b_init(key_b, self.gates, self.hidden_size, dtype) if self.use_bias else None,
        )

    def _matrix(self, init: inits.WeightInit, key: Array, rows: int, dtype: Any) -> Array:
        keys = jax.random.split(key, len(self.gates))
        gates = jax.vmap(lambda key: init(key, (rows, self.hidden_size), dtype))(keys)
        return jnp.moveaxis(gates, 0, 1).reshape(rows, -1)

    def initial_carry(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Carry:
        """Returns zeros `[*batch, hidden_size]` in `dtype`, by default the parameters' own."""
        if not isinstance(params, self.params_type):
            raise checks.fail("params", f"{self.params_type.__name__}, as `init` returns them", checks.describe(params))
        checks.shape("batch_shape", batch_shape)
        if dtype is not None:
            checks.float_dtype("dtype", dtype)
        return jnp.zeros((*batch_shape, self.hidden_size), params.w_h.dtype if dtype is None else dtype)

    def prepare(self, params: Any, batch_shape: tuple[int, ...], *, key: Array | None = None) -> Any:
        """Returns the parameters as they are: nothing here is random."""
        return params

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> Array:
        """Returns W_x x + b, `[*batch, gates * hidden_size]`, in float32 or better."""
        z = dot(x, params.w_x)
        return z if params.b is None else z + params.b.astype(z.dtype)

    def preactivate(self, params: Any, carry: Carry, z: Any) -> Any:
        raise NotImplementedError

    def update(self, carry: Carry, a: Any) -> tuple[Carry, Array]:
        raise NotImplementedError

    def step(self, params: Any, carry: Carry, z: Any) -> tuple[Carry, Array]:
        """Returns the next carry and the output `[*batch, hidden_size]` in the parameters' dtype."""
        carry, h = self.update(carry, self.preactivate(params, carry, z))
        return carry, h.astype(params.w_h.dtype)

    def __call__(self, params: Any, carry: Carry, x: Array, *, key: Array | None = None) -> tuple[Carry, Array]:
        """Takes one step from `x [*batch, input_size]`; returns `(carry, y)`.

        Raises ValueError where shapes or dtypes do not fit each other.
        """
        check_call(self, params, carry, x, batch_shape=x.shape[:-1] if hasattr(x, "shape") else ())
        return self.step(params, carry, self.project(params, x, key=key))


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


def split_gates(a: Array, gates: int) -> list[Array]:
    """Cuts `[*batch, gates * hidden_size]` into its gates."""
    return jnp.split(a, gates, axis=-1)


def like(carry: Carry, *values: Array) -> list[Array]:
    """Casts each new value to the dtype its leaf of the carry had: the carry keeps its dtype over a loop."""
    return [v.astype(c.dtype) for v, c in zip(values, jax.tree.leaves(carry), strict=True)]
