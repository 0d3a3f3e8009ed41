"""The multiplicative LSTM: another recurrent matrix for every input."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.dense import dot, like, matrix, split_gates
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

    This is the form of the published language models (Radford et al.). With `gate_last=False` it is the paper's own,
    whose input is not squashed and whose output is squashed last:

        g = W_x x + W_h m + b
        h' = tanh(o c')

    References: Krause, Lu, Murray, Renals 2016, https://arxiv.org/abs/1609.07959;
    Radford, Jozefowicz, Sutskever 2017, https://arxiv.org/abs/1704.01444
    """

    gate_last: bool = True

    params_type: ClassVar[type] = MultiplicativeLSTMParams

    def __post_init__(self):
        super().__post_init__()
        checks.boolean("gate_last", self.gate_last)

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

    def update(self, carry: LSTMCarry, a: Array | tuple[Array, ...]) -> tuple[LSTMCarry, Array]:
        if self.gate_last:
            return super().update(carry, a)
        i, f, g, o = split_gates(a, 4)
        c = jax.nn.sigmoid(f) * carry.c.astype(f.dtype) + jax.nn.sigmoid(i) * g
        h = jnp.tanh(jax.nn.sigmoid(o) * c)
        return like(carry, LSTMCarry(h, c)), h
