"""An LSTM with nothing but a forget gate."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.dense import DenseCell, dot, like, split_gates
from lstm_jax.types import Array


class JANETParams(NamedTuple):
    """`w_x [input, 2 * hidden]`, `w_h [hidden, 2 * hidden]`, `b [2 * hidden]` or None; gates in order f, g."""

    w_x: Array
    w_h: Array
    b: Array | None


@dataclasses.dataclass(frozen=True)
class JANET(DenseCell):
    """Just another network: of an LSTM's gates the forget gate alone; its carry is the array h `[*batch, hidden_size]`.

        s = W_xf x + W_hf h + b_f
        g = tanh(W_xg x + W_hg h + b_g)
        h' = sigmoid(s) h + (1 - sigmoid(s - beta)) g,    y = h'

    With `beta=1`, the paper's, a little more is written than is forgotten; the first equations of the paper have 0. It
    is meant to start from chrono biases, `b_init=inits.Chrono(t_max)`.

    References: van der Westhuizen and Lasenby 2018, https://arxiv.org/abs/1804.04849
    """

    b_init: inits.BiasInit = inits.KeepBias()
    beta: float = 1.0

    gates: ClassVar[tuple[str, ...]] = ("f", "g")
    params_type: ClassVar[type] = JANETParams

    def __post_init__(self):
        super().__post_init__()
        checks.finite("beta", self.beta)

    def preactivate(self, params: JANETParams, carry: Array, z: Array) -> Array:
        return z + dot(carry, params.w_h)

    def update(self, carry: Array, a: Array) -> tuple[Array, Array]:
        s, g = split_gates(a, 2)
        h = jax.nn.sigmoid(s) * carry.astype(a.dtype) + jax.nn.sigmoid(self.beta - s) * jnp.tanh(g)
        return like(carry, h), h
