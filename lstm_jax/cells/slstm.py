"""The scalar LSTM of xLSTM: exponential gates, a normaliser and a stabiliser, heads that do not mix."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.call import zeros
from lstm_jax.cells.dense import InputCell, dot, like, matrix, split_gates
from lstm_jax.types import Array


class SLSTMParams(NamedTuple):
    """`w_x [input, 4 * hidden]`, `w_h [heads, hidden / heads, 4 * hidden / heads]`, `b [4 * hidden]` or None.

    Gates in order i, f, g, o; g is the paper's z.
    """

    w_x: Array
    w_h: Array
    b: Array | None


class SLSTMCarry(NamedTuple):
    """The output h, the memory c, the normaliser n and the stabiliser m, each `[*batch, hidden_size]`."""

    h: Array
    c: Array
    n: Array
    m: Array


@dataclasses.dataclass(frozen=True)
class SLSTM(InputCell):
    """The sLSTM; its carry is `SLSTMCarry(h, c, n, m)`.

        a_i, a_f, a_g, a_o = W_x x + W_h h + b,    W_h block-diagonal: units see their own head alone
        log f = log sigmoid(a_f), or a_f itself with `forget="exp"`
        m' = max(log f + m, a_i)
        i = exp(a_i - m'),    f = exp(log f + m - m')
        c' = f c + i tanh(a_g)
        n' = f n + i
        h' = sigmoid(a_o) c' / n',    y = h'

    An exponential forget gate weighs the past by exp(a_f): it forgets only from below zero, so start it there, with
    `b_init=inits.KeepBias(-1.0)`. m only rescales: c' / n' does not depend on it. The first m, which the paper leaves
    open, is -10,000, so that the first step counts alone, where n = 0. The block's convolution, norms and feed-forward
    layer are not the cell's.

    References: Beck et al. 2024, https://arxiv.org/abs/2405.04517, equations 8 to 17
    """

    b_init: inits.BiasInit = inits.KeepBias()
    w_h_init: inits.WeightInit = inits.Orthogonal()
    heads: int = 1
    forget: str = "sigmoid"

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    params_type: ClassVar[type] = SLSTMParams
    tied_leaves: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __post_init__(self):
        super().__post_init__()
        checks.positive_int("heads", self.heads)
        if self.hidden_size % self.heads:
            raise checks.fail("heads", f"a divisor of hidden_size={self.hidden_size}", repr(self.heads))
        checks.one_of("forget", self.forget, ("sigmoid", "exp"))

    def recurrent_weights(self, key: Array, dtype: Any) -> tuple[Array, ...]:
        """Draws `w_h`, each head's and gate's matrix on its own."""
        size = self.hidden_size // self.heads
        return (jnp.stack([matrix(self.w_h_init, k, size, 4, size, dtype) for k in jax.random.split(key, self.heads)]),)

    def initial_carry(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> SLSTMCarry:
        """Returns zeros, and -10,000 for m, in `dtype`, by default the parameters' own."""
        h, c, n, m = (zeros(self, params, batch_shape, dtype, self.hidden_size) for _ in range(4))
        return SLSTMCarry(h, c, n, m - jnp.asarray(10_000, m.dtype))

    def preactivate(self, params: SLSTMParams, carry: SLSTMCarry, z: Array) -> Array:
        heads = zip(split_gates(carry.h, self.heads), params.w_h, strict=True)
        by_head = [split_gates(dot(h, w), 4) for h, w in heads]
        return z + jnp.concatenate([gates[k] for k in range(4) for gates in by_head], axis=-1)

    def update(self, carry: SLSTMCarry, a: Array) -> tuple[SLSTMCarry, Array]:
        a_i, a_f, a_g, a_o = split_gates(a, 4)
        _, c, n, m = (leaf.astype(a.dtype) for leaf in carry)
        log_f = (jax.nn.log_sigmoid(a_f) if self.forget == "sigmoid" else a_f) + m
        m = jnp.maximum(log_f, a_i)
        i, f = jnp.exp(a_i - m), jnp.exp(log_f - m)
        c = f * c + i * jnp.tanh(a_g)
        n = f * n + i
        h = jax.nn.sigmoid(a_o) * c / n
        return like(carry, SLSTMCarry(h, c, n, m)), h
