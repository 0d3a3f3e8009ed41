"""The light GRU: no reset gate, ReLU, normalised inputs."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.dense import DenseCell, biased, dot, like, split_gates
from lstm_jax.cells.layer_norm import normalise
from lstm_jax.types import Array


class LightGRUParams(NamedTuple):
    """`w_x`, `w_h [.., 2 * hidden]`, `b [2 * hidden]` or None, `gain_x [2 * hidden]`; gates in order z, n."""

    w_x: Array
    w_h: Array
    b: Array | None
    gain_x: Any = None


@dataclasses.dataclass(frozen=True)
class LightGRU(DenseCell):
    """A light gated recurrent unit; its carry is the array h `[*batch, hidden_size]`.

        z = sigmoid(LN(W_xz x) + W_hz h + b_z)
        n = relu(LN(W_xn x) + W_hn h + b_n)
        h' = z h + (1 - z) n,    y = h'

    Departure: the paper normalises W_x x over the batch, which makes one sequence's output depend on the others; here
    stands layer normalisation over the units of a gate, as in `LayerNormLSTM`.

    References: Ravanelli, Brakel, Omologo, Bengio 2018, https://arxiv.org/abs/1803.10225
    """

    epsilon: float = 1e-5

    gates: ClassVar[tuple[str, ...]] = ("z", "n")
    params_type: ClassVar[type] = LightGRUParams

    def __post_init__(self):
        super().__post_init__()
        checks.positive("epsilon", self.epsilon)

    def init(self, key: Array, dtype: Any = jnp.float32) -> LightGRUParams:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own, gains are 1."""
        return super().init(key, dtype)._replace(gain_x=jnp.ones(2 * self.hidden_size, dtype))

    def project(self, params: LightGRUParams, x: Array, *, key: Array | None = None) -> Array:
        """Returns LN(W_x x) + b, `[*batch, 2 * hidden_size]`, in float32 or better."""
        return biased(normalise(dot(x, params.w_x), 2, params.gain_x, self.epsilon), params.b)

    def preactivate(self, params: LightGRUParams, carry: Array, z: Array) -> Array:
        return z + dot(carry, params.w_h)

    def update(self, carry: Array, a: Array) -> tuple[Array, Array]:
        a_z, a_n = split_gates(a, 2)
        z = jax.nn.sigmoid(a_z)
        h = z * carry.astype(a.dtype) + (1 - z) * jax.nn.relu(a_n)
        return like(carry, h), h
