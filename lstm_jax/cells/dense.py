"""What cells fed with vectors share: sizes, the input product, the recurrent matrix, one call."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.call import Called, zeros
from lstm_jax.types import Array, Carry, wide

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda a: a,
    "sigmoid(-1,1)": lambda a: 2 * jax.nn.sigmoid(a) - 1,
    "sigmoid(-2,2)": lambda a: 4 * jax.nn.sigmoid(a) - 2,
}
"""By name; each cell says which it takes."""
SQUASHING = ("tanh", "identity", "sigmoid(-1,1)", "sigmoid(-2,2)")
"""Those of a memory's input and output."""


@dataclasses.dataclass(frozen=True)
class VectorCell(Called):
    """The part of a cell that does not depend on its recurrence; not a cell of its own.

    A subclass names its parameters' type, whose `w_x` tells their dtype, and its equations: `preactivate` and `update`
    where they split (see `SplitCell`), else `recur`.
    """

    input_size: int
    hidden_size: int

    params_type: ClassVar[type]
    output_first: ClassVar[bool] = True
    """Whether the first leaf of the carry is the output."""
    draws: ClassVar[bool] = False
    """Whether it wants a key."""

    def __post_init__(self):
        checks.positive_int("input_size", self.input_size)
        checks.positive_int("hidden_size", self.hidden_size)
        checks.initialisers(self)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.input_size,)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.output_size,)

    @property
    def output_size(self) -> int:
        """Numbers in the output."""
        return self.hidden_size

    @property
    def splits(self) -> bool:
        """Whether this is a `SplitCell`: its step is `update` after `preactivate`, and nothing is drawn."""
        kind = type(self)
        ours = kind.step is Called.step and kind.recur is VectorCell.recur and kind.prepare is Called.prepare
        return ours and not self.draws

    def init(self, key: Array, dtype: Any = jnp.float32) -> Any:
        """Returns fresh parameters in `dtype`."""
        raise NotImplementedError

    def initial_carry(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Carry:
        """Returns zeros `[*batch, hidden_size]` in `dtype`, by default the parameters' own."""
        return zeros(self, params, batch_shape, dtype, self.hidden_size)

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> Any:
        raise NotImplementedError

    def preactivate(self, params: Any, carry: Carry, z: Any) -> Any:
        raise NotImplementedError

    def update(self, carry: Carry, a: Any) -> tuple[Carry, Array]:
        raise NotImplementedError

    def recur(self, params: Any, carry: Carry, seen: Carry, z: Any) -> tuple[Carry, Array]:
        carry, y = self.update(carry, self.preactivate(params, seen, z))
        return carry, y.astype(params.w_x.dtype)


@dataclasses.dataclass(frozen=True)
class InputCell(VectorCell):
    """A cell with an input matrix `w_x [input, gates * hidden]` and a bias `b`; not a cell of its own."""

    use_bias: bool = True
    w_x_init: inits.WeightInit = inits.Glorot()
    b_init: inits.BiasInit = inits.ZeroBias()

    gates: ClassVar[tuple[str, ...]]
    """Of `w_x` and `b`, in their order."""

    def __post_init__(self):
        super().__post_init__()
        checks.boolean("use_bias", self.use_bias)

    def init(self, key: Array, dtype: Any = jnp.float32) -> Any:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own."""
        checks.drawing(key, dtype)
        key_x, key_h, key_b = jax.random.split(key, 3)
        return self.params_type(
            matrix(self.w_x_init, key_x, self.input_size, len(self.gates), self.hidden_size, dtype),
            *self.recurrent_weights(key_h, dtype),
            self.b_init(key_b, self.gates, self.hidden_size, dtype) if self.use_bias else None,
        )

    def recurrent_weights(self, key: Array, dtype: Any) -> tuple[Array, ...]:
        """Draws the parameters between `w_x` and `b`."""
        return ()

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> Any:
        """Returns W_x x + b, `[*batch, gates * hidden_size]`, in float32 or better."""
        return biased(dot(x, params.w_x), params.b)


@dataclasses.dataclass(frozen=True)
class DenseCell(InputCell):
    """A cell with a dense recurrent matrix `w_h [state, recurrent gates * hidden]`; not a cell of its own."""

    w_h_init: inits.WeightInit = inits.Orthogonal()

    @property
    def state_size(self) -> int:
        """Rows of `w_h`: the numbers of h."""
        return self.hidden_size

    @property
    def recurrent_gates(self) -> tuple[str, ...]:
        """Of `w_h`, in their order."""
        return self.gates

    def recurrent_weights(self, key: Array, dtype: Any) -> tuple[Array, ...]:
        """Draws `w_h`, each gate's matrix on its own."""
        return (matrix(self.w_h_init, key, self.state_size, len(self.recurrent_gates), self.hidden_size, dtype),)


def dot(a: Array, w: Array) -> Array:
    """Returns a @ w, `[..., rows] x [rows, columns]`, accumulated and returned in float32 or better.

    `a` is read in the weights' dtype: a float32 carry under bfloat16 weights costs a bfloat16 product.
    """
    return jnp.matmul(a.astype(w.dtype), w, preferred_element_type=wide(w.dtype))


def biased(a: Array, b: Array | None) -> Array:
    """Returns a + b in the dtype of `a`; without a bias `a` itself."""
    return a if b is None else a + b.astype(a.dtype)


def matrix(init: inits.WeightInit, key: Array, rows: int, gates: int, columns: int, dtype: Any) -> Array:
    """Draws `[rows, gates * columns]`, each gate's matrix on its own."""
    drawn = jax.vmap(lambda key: init(key, (rows, columns), dtype))(jax.random.split(key, gates))
    return jnp.moveaxis(drawn, 0, 1).reshape(rows, -1)


def split_gates(a: Array | tuple[Array, ...], gates: int) -> list[Array]:
    """Cuts `[*batch, gates * hidden_size]` into its gates; a tuple of them is what a kernel has cut already."""
    return list(a) if isinstance(a, tuple) else jnp.split(a, gates, axis=-1)


def like(carry: Carry, new: Carry) -> Carry:
    """Casts a new carry to the dtypes of the old one: a carry keeps its own over a loop."""
    return jax.tree.map(lambda n, c: n.astype(c.dtype), new, carry)
