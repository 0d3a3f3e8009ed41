"""Long short-term memory, with forget gate and without peepholes."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import inits
from lstm_jax.cells.call import zeros
from lstm_jax.cells.dense import DenseCell, dot, like, split_gates
from lstm_jax.types import Array


class LSTMParams(NamedTuple):
    """`w_x [input, 4 * hidden]`, `w_h [hidden, 4 * hidden]`, `b [4 * hidden]` or None; gates in order i, f, g, o."""

    w_x: Array
    w_h: Array
    b: Array | None


class LSTMCarry(NamedTuple):
    """The output h and the memory c, each `[*batch, hidden_size]`."""

    h: Array
    c: Array


@dataclasses.dataclass(frozen=True)
class MemoryCell(DenseCell):
    """A dense cell that carries its output h and a memory c, and starts to keep; not a cell of its own."""

    b_init: inits.BiasInit = inits.KeepBias()

    def initial_carry(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> LSTMCarry:
        """Returns zeros in `dtype`, by default the parameters' own: two arrays, which may be donated."""
        sizes = self.state_size, self.hidden_size
        return LSTMCarry(*(zeros(self, params, batch_shape, dtype, size) for size in sizes))


@dataclasses.dataclass(frozen=True)
class LSTM(MemoryCell):
    """The LSTM that PyTorch, Keras and cuDNN mean by the name.

        i, f, o = sigmoid(W_x x + W_h h + b),    g = tanh(W_x x + W_h h + b)
        c' = f c + i g
        h' = o tanh(c'),    y = h'

    The forget gate's bias starts at 1 (`inits.KeepBias`); nothing is added to it in the equation.

    References: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735;
    Gers, Schmidhuber, Cummins 2000, https://doi.org/10.1162/089976600300015015
    """

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    params_type: ClassVar[type] = LSTMParams

    def preactivate(self, params: LSTMParams, carry: LSTMCarry, z: Array) -> Array:
        return z + dot(carry.h, params.w_h)

    def update(self, carry: LSTMCarry, a: Array | tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        h, c = gated(carry.c, a)
        return like(carry, LSTMCarry(h, c)), h


def gated(c: Array, a: Array | tuple[Array, ...]) -> tuple[Array, Array]:
    """Returns h' and c' of an LSTM from its memory and its four pre-activations."""
    i, f, g, o = split_gates(a, 4)
    c = jax.nn.sigmoid(f) * c.astype(f.dtype) + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c
