"""Memory blocks: several cells behind one set of gates, as the LSTM began."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.dense import ACTIVATIONS, SQUASHING, dot, like, matrix, split_gates
from lstm_jax.cells.lstm import LSTMCarry, MemoryCell
from lstm_jax.types import Array


class MemoryBlockParams(NamedTuple):
    """`w_x [input, columns]`, `w_h [hidden, columns]`, `b [columns]` or None.

    The columns are those of the gates i, f (where there is one) and o, one a block each, then those of g, one a cell.
    """

    w_x: Array
    w_h: Array
    b: Array | None


@dataclasses.dataclass(frozen=True)
class MemoryBlockLSTM(MemoryCell):
    """Blocks of `block_size` memory cells that share their gates; `hidden_size` counts the cells of all blocks.

        i, f, o = sigmoid(W_x x + W_h h + b), one number a block;    a_g = W_x x + W_h h + b, one a cell
        c' = f c + i g(a_g)
        h' = o h(c'),    y = h'

    where cell number k belongs to block k // block_size. With `forget_gate=False` f is 1. The squashing functions are
    free: "tanh", "identity", "sigmoid(-1,1)" (2 sigmoid - 1) or "sigmoid(-2,2)" (4 sigmoid - 2). The cell of 1997,
    `MemoryBlockLSTM.of_1997`, has no forget gate, g in [-2, 2] and h in [-1, 1].

    References: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735;
    Gers, Schmidhuber, Cummins 2000, https://doi.org/10.1162/089976600300015015
    """

    block_size: int = 1
    forget_gate: bool = True
    input_activation: str = "tanh"
    output_activation: str = "tanh"

    params_type: ClassVar[type] = MemoryBlockParams

    @classmethod
    def of_1997(cls, input_size: int, hidden_size: int, block_size: int = 1, **options: Any) -> "MemoryBlockLSTM":
        """Returns the cell of 1997, in blocks."""
        squash = {"input_activation": "sigmoid(-2,2)", "output_activation": "sigmoid(-1,1)"}
        return cls(input_size, hidden_size, block_size=block_size, forget_gate=False, **squash, **options)

    def __post_init__(self):
        super().__post_init__()
        checks.positive_int("block_size", self.block_size)
        if self.hidden_size % self.block_size:
            raise checks.fail("block_size", f"a divisor of hidden_size={self.hidden_size}", repr(self.block_size))
        checks.boolean("forget_gate", self.forget_gate)
        checks.one_of("input_activation", self.input_activation, SQUASHING)
        checks.one_of("output_activation", self.output_activation, SQUASHING)

    @property
    def gates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride] -- by options
        return ("i", "f", "o") if self.forget_gate else ("i", "o")

    @property
    def blocks(self) -> int:
        return self.hidden_size // self.block_size

    def init(self, key: Array, dtype: Any = jnp.float32) -> MemoryBlockParams:
        """Returns fresh parameters in `dtype`; the matrices of gates and of cell inputs are each drawn on their own."""
        checks.drawing(key, dtype)
        key_x, key_h, key_b, *key_g = jax.random.split(key, 6)

        def drawn(init: Any, key: Array, key_g: Array, rows: int) -> Array:
            gates = matrix(init, key, rows, len(self.gates), self.blocks, dtype)
            return jnp.concatenate([gates, init(key_g, (rows, self.hidden_size), dtype)], axis=-1)

        b = None
        if self.use_bias:
            parts = (self.gates, self.blocks), (("g",), self.hidden_size)
            keys = key_b, key_g[2]
            b = jnp.concatenate([self.b_init(k, *part, dtype) for k, part in zip(keys, parts, strict=True)])
        return MemoryBlockParams(
            drawn(self.w_x_init, key_x, key_g[0], self.input_size),
            drawn(self.w_h_init, key_h, key_g[1], self.hidden_size),
            b,
        )

    def preactivate(self, params: MemoryBlockParams, carry: LSTMCarry, z: Array) -> Array:
        return z + dot(carry.h, params.w_h)

    def update(self, carry: LSTMCarry, a: Array) -> tuple[LSTMCarry, Array]:
        gates, g = jnp.split(a, [len(self.gates) * self.blocks], axis=-1)
        opened = jnp.repeat(jax.nn.sigmoid(gates), self.block_size, axis=-1)
        i, *f, o = split_gates(opened, len(self.gates))
        kept = carry.c.astype(a.dtype)
        c = (f[0] * kept if f else kept) + i * ACTIVATIONS[self.input_activation](g)
        h = o * ACTIVATIONS[self.output_activation](c)
        return like(carry, LSTMCarry(h, c)), h
