"""The vanilla recurrent network."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

from lstm_jax import checks, inits
from lstm_jax.cells.dense import ACTIVATIONS, DenseCell, dot, like
from lstm_jax.types import Array


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
        checks.one_of("activation", self.activation, ("tanh", "relu", "sigmoid"))

    def preactivate(self, params: ElmanParams, carry: Array, z: Array) -> Array:
        return z + dot(carry, params.w_h)

    def update(self, carry: Array, a: Array) -> tuple[Array, Array]:
        h = ACTIVATIONS[self.activation](a)
        return like(carry, h), h


def IRNN(input_size: int, hidden_size: int, scale: float = 1.0, **options: Any) -> Elman:  # noqa: N802 -- reads as a cell
    """Returns the Elman network of Le et al.: ReLU, and a recurrent matrix that starts as the identity times `scale`.

    References: Le, Jaitly, Hinton 2015, https://arxiv.org/abs/1504.00941
    """
    return Elman(input_size, hidden_size, activation="relu", w_h_init=inits.Identity(scale), **options)
