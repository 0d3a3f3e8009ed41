"""The vanilla recurrent network."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.dense import DenseCell, dot, like
from lstm_jax.types import Array

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}


class ElmanParams(NamedTuple):
    """`w_x [input, hidden]`, `w_h [hidden, hidden]`, `b [hidden]` or None."""

    w_x: Array
    w_h: Array
    b: Array | None


@dataclasses.dataclass(frozen=True)
class Elman(DenseCell):
    """The simple recurrent network; its carry is the array h `[*batch, hidden_size]`.

        h' = phi(W_x x + W_h h + b),    y = h'

    with phi the `activation`: "tanh", "relu" or "sigmoid".

    References: Elman 1990, https://doi.org/10.1207/s15516709cog1402_1
    """

    activation: str = "tanh"

    gates: ClassVar[tuple[str, ...]] = ("h",)
    params_type: ClassVar[type] = ElmanParams

    def __post_init__(self):
        super().__post_init__()
        checks.one_of("activation", self.activation, tuple(ACTIVATIONS))

    def preactivate(self, params: ElmanParams, carry: Array, z: Array) -> Array:
        return z + dot(carry, params.w_h)

    def update(self, carry: Array, a: Array) -> tuple[Array, Array]:
        h = ACTIVATIONS[self.activation](a)
        return like(carry, h)[0], h
