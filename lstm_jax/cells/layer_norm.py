"""LSTM and GRU with layer normalisation, gate by gate."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.dense import biased, dot, like, split_gates
from lstm_jax.cells.gru import GRU
from lstm_jax.cells.lstm import LSTMCarry, MemoryCell
from lstm_jax.types import Array


def normalise(a: Array, gates: int, gain: Array, epsilon: float) -> Array:
    """Normalises each gate of `a [*batch, gates * hidden]` to mean 0 and variance 1 over its units, times `gain`."""
    parts = a.reshape(*a.shape[:-1], gates, a.shape[-1] // gates)
    centred = parts - parts.mean(-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)
    return scaled.reshape(a.shape) * gain.astype(a.dtype)


class LayerNormLSTMParams(NamedTuple):
    """`w_x [input, 4 * hidden]`, `w_h [hidden, 4 * hidden]`, `b [4 * hidden]` or None; gates in order i, f, g, o.

    `gain_x`, `gain_h [4 * hidden]`, `gain_c [hidden]`, `b_c [hidden]` (None without biases).
    """

    w_x: Array
    w_h: Array
    b: Array | None
    gain_x: Any = None
    gain_h: Any = None
    gain_c: Any = None
    b_c: Array | None = None


@dataclasses.dataclass(frozen=True)
class LayerNormLSTM(MemoryCell):
    """An LSTM with layer normalisation of both products, gate by gate, and of the memory that is shown.

        i, f, o = sigmoid(LN(W_x x) + LN(W_h h) + b),    g = tanh(LN(W_x x) + LN(W_h h) + b)
        c' = f c + i g
        h' = o tanh(LN(c') + b_c),    y = h'
        LN(a) = gain (a - mean(a)) / sqrt(variance(a) + epsilon), over the units of one gate

    The memory c itself is kept as it is. The paper's biases of the two LN and of the gate add up to one b. Departure:
    the paper normalises all four gates' products as one vector; gate by gate no gate's size depends on another's.

    References: Ba, Kiros, Hinton 2016, https://arxiv.org/abs/1607.06450, equations 20 to 22
    """

    epsilon: float = 1e-5

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    params_type: ClassVar[type] = LayerNormLSTMParams

    def __post_init__(self):
        super().__post_init__()
        checks.positive("epsilon", self.epsilon)

    def init(self, key: Array, dtype: Any = jnp.float32) -> LayerNormLSTMParams:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own, gains are 1."""
        params, ones = super().init(key, dtype), jnp.ones(4 * self.hidden_size, dtype)
        gain_c = jnp.ones(self.hidden_size, dtype)
        b_c = jnp.zeros(self.hidden_size, dtype) if self.use_bias else None
        return params._replace(gain_x=ones, gain_h=jnp.ones_like(ones), gain_c=gain_c, b_c=b_c)

    def project(self, params: LayerNormLSTMParams, x: Array, *, key: Array | None = None) -> Array:
        """Returns LN(W_x x) + b, `[*batch, 4 * hidden_size]`, in float32 or better."""
        return biased(normalise(dot(x, params.w_x), 4, params.gain_x, self.epsilon), params.b)

    def preactivate(self, params: LayerNormLSTMParams, carry: LSTMCarry, z: Array) -> tuple[Array, Array, Array | None]:
        """Returns the gates' pre-activations, and the gain and bias of the memory, which wait for c'."""
        a = z + normalise(dot(carry.h, params.w_h), 4, params.gain_h, self.epsilon)
        gain_c, b_c = jax.tree.map(
            lambda p: jnp.broadcast_to(p.astype(a.dtype), carry.c.shape), (params.gain_c, params.b_c)
        )
        return a, gain_c, b_c

    def update(self, carry: LSTMCarry, a: Any) -> tuple[LSTMCarry, Array]:
        a, gain_c, b_c = a
        i, f, g, o = split_gates(a, 4)
        c = jax.nn.sigmoid(f) * carry.c.astype(a.dtype) + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(biased(normalise(c, 1, gain_c, self.epsilon), b_c))
        return like(carry, LSTMCarry(h, c)), h


class LayerNormGRUParams(NamedTuple):
    """`w_x [input, 3 * hidden]`, `w_h [hidden, 3 * hidden]`, `b [3 * hidden]`, `b_hn [hidden]`; gates r, z, n.

    `gain_x`, `gain_h [3 * hidden]`; both biases are None without biases.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    b_hn: Array | None = None
    gain_x: Any = None
    gain_h: Any = None


@dataclasses.dataclass(frozen=True)
class LayerNormGRU(GRU):
    """A GRU, its reset after the product, with layer normalisation of both products, gate by gate.

        r, z = sigmoid(LN(W_x x) + LN(W_h h) + b)
        n = tanh(LN(W_xn x) + b_n + r (LN(W_hn h) + b_hn))
        h' = (1 - z) n + z h,    y = h'

    with LN as in `LayerNormLSTM`. The paper's z writes, as 1 - z here.

    References: Ba, Kiros, Hinton 2016, https://arxiv.org/abs/1607.06450, equations 23 to 26
    """

    epsilon: float = 1e-5

    params_type: ClassVar[type] = LayerNormGRUParams

    def __post_init__(self):
        super().__post_init__()
        checks.positive("epsilon", self.epsilon)
        if not self.reset_after:
            raise checks.fail("reset_after", "True for a LayerNormGRU", repr(self.reset_after))

    def init(self, key: Array, dtype: Any = jnp.float32) -> Any:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own, gains are 1."""
        params = super().init(key, dtype)
        return params._replace(**{name: jnp.ones(3 * self.hidden_size, dtype) for name in ("gain_x", "gain_h")})

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> Array:
        """Returns LN(W_x x) + b, `[*batch, 3 * hidden_size]`, in float32 or better."""
        return biased(normalise(dot(x, params.w_x), 3, params.gain_x, self.epsilon), params.b)

    def recurrent(self, params: Any, carry: Array) -> Array:
        """Returns LN(W_h h), `[*batch, 3 * hidden_size]`."""
        return normalise(dot(carry, params.w_h), 3, params.gain_h, self.epsilon)
