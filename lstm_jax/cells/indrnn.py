"""The independently recurrent network: every unit remembers itself alone."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

from lstm_jax import checks, inits
from lstm_jax.cells.dense import ACTIVATIONS, InputCell, like
from lstm_jax.types import Array


class IndRNNParams(NamedTuple):
    """`w_x [input, hidden]`, `u [hidden]`, `b [hidden]` or None."""

    w_x: Array
    u: Array
    b: Array | None


@dataclasses.dataclass(frozen=True)
class IndRNN(InputCell):
    """An independently recurrent network; its carry is the array h `[*batch, hidden_size]`.

        h' = phi(W_x x + u h + b),    y = h'

    with the vector u in place of a matrix, and phi the `activation`: "relu", "tanh" or "sigmoid". Entries of u start
    evenly in [0, 1]; the paper gives those of a last layer that is to remember T steps the range from 2^(-1/T) to 1.

    References: Li, Li, Cook, Zhu, Gao 2018, https://arxiv.org/abs/1803.04831
    """

    u_init: inits.BiasInit = inits.Between(0.0, 1.0)
    activation: str = "relu"

    gates: ClassVar[tuple[str, ...]] = ("h",)
    params_type: ClassVar[type] = IndRNNParams

    def __post_init__(self):
        super().__post_init__()
        checks.one_of("activation", self.activation, ("relu", "tanh", "sigmoid"))

    def recurrent_weights(self, key: Array, dtype: Any) -> tuple[Array, ...]:
        """Draws `u`."""
        return (self.u_init(key, self.gates, self.hidden_size, dtype),)

    def preactivate(self, params: IndRNNParams, carry: Array, z: Array) -> Array:
        return z + params.u.astype(z.dtype) * carry.astype(z.dtype)

    def update(self, carry: Array, a: Array) -> tuple[Array, Array]:
        h = ACTIVATIONS[self.activation](a)
        return like(carry, h), h
