"""The multiplicative LSTM: another recurrent matrix for every input."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.dense import dot, matrix
from lstm_jax.cells.lstm import LSTM, LSTMCarry
from lstm_jax.types import Array


class MultiplicativeLSTMParams(NamedTuple):
    """`w_x [input, 4 * hidden]`, `w_h [hidden, 4 * hidden]`, `b [4 * hidden]` or None; gates in order i, f, g, o.

    `w_mx [input, hidden]` and `w_mh [hidden, hidden]` make the intermediate state m.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    w_mx: Any = None
    w_mh: Any = None


@dataclasses.dataclass(frozen=True)
class MultiplicativeLSTM(LSTM):
    """An LSTM that sees its last output through the input; its carry is `LSTMCarry(h, c)`.

        m = (W_mx x) (W_mh h)
        i, f, o = sigmoid(W_x x + W_h m + b),    g = tanh(W_x x + W_h m + b)
        c' = f c + i g
        h' = o tanh(c'),    y = h'

    References: Krause, Lu, Murray, Renals 2016, https://arxiv.org/abs/1609.07959
    """

    params_type: ClassVar[type] = MultiplicativeLSTMParams

    def init(self, key: Array, dtype: Any = jnp.float32) -> MultiplicativeLSTMParams:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own."""
        params = super().init(key, dtype)
        key_x, key_h = jax.random.split(jax.random.fold_in(key, 3))
        return params._replace(
            w_mx=matrix(self.w_x_init, key_x, self.input_size, 1, self.hidden_size, dtype),
            w_mh=matrix(self.w_h_init, key_h, self.hidden_size, 1, self.hidden_size, dtype),
        )

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """Returns W_x x + b, `[*batch, 4 * hidden_size]`, and W_mx x, `[*batch, hidden_size]`."""
        return super().project(params, x), dot(x, params.w_mx)

    def preactivate(self, params: Any, carry: LSTMCarry, z: Any) -> Array:
        z, m_x = z
        return z + dot(m_x * dot(carry.h, params.w_mh), params.w_h)
