"""The LSTM with a projection behind its output gate."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.dense import dot, like
from lstm_jax.cells.lstm import LSTMCarry, MemoryCell, gated
from lstm_jax.types import Array


class ProjectedLSTMParams(NamedTuple):
    """`w_x [input, 4 * hidden]`, `w_h [proj, 4 * hidden]`, `b [4 * hidden]` or None; gates in order i, f, g, o.

    `w_p [hidden, proj]` makes the output.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    w_p: Array | None = None


@dataclasses.dataclass(frozen=True)
class ProjectedLSTM(MemoryCell):
    """LSTMP: a large memory behind a small output, as PyTorch's `proj_size`.

        i, f, o = sigmoid(W_x x + W_h h + b),    g = tanh(W_x x + W_h h + b)
        c' = f c + i g
        h' = W_p (o tanh(c')),    y = h'

    Its carry is `LSTMCarry(h, c)` with `h [*batch, proj_size]` and `c [*batch, hidden_size]`.

    References: Sak, Senior, Beaufays 2014, https://arxiv.org/abs/1402.1128 (without its
    peepholes and its non-recurrent projection)
    """

    proj_size: int = dataclasses.field(kw_only=True)
    w_p_init: inits.WeightInit = inits.Glorot()

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    params_type: ClassVar[type] = ProjectedLSTMParams

    def __post_init__(self):
        super().__post_init__()
        checks.positive_int("proj_size", self.proj_size)

    @property
    def output_size(self) -> int:
        """Numbers in the output."""
        return self.proj_size

    @property
    def state_size(self) -> int:
        return self.proj_size

    def init(self, key: Array, dtype: Any = jnp.float32) -> ProjectedLSTMParams:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own."""
        shape = self.hidden_size, self.proj_size
        return super().init(key, dtype)._replace(w_p=self.w_p_init(jax.random.fold_in(key, 3), shape, dtype))

    def recur(self, params: Any, carry: LSTMCarry, seen: LSTMCarry, z: Array) -> tuple[LSTMCarry, Array]:
        h, c = gated(carry.c, z + dot(seen.h, params.w_h))
        h = dot(h, params.w_p)
        return like(carry, LSTMCarry(h, c)), h.astype(params.w_x.dtype)
