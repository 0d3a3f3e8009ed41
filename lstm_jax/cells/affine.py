"""What cells share whose state is affine in the state before: they need no loop."""

from typing import Any, ClassVar

from lstm_jax.cells.dense import like
from lstm_jax.types import Array, Carry


class Affine:
    """The step of an `AffineCell` from its equations, for a real state that is the carry; not a cell of its own."""

    affine: ClassVar[bool] = True

    def coefficients(self, params: Any, z: Any) -> tuple[Array, Array]:
        raise NotImplementedError

    def state(self, carry: Carry) -> Array:
        return carry

    def carry(self, state: Array) -> Carry:
        return state

    def read(self, params: Any, state: Array, z: Any) -> Array:
        return state

    def step(self, params: Any, carry: Carry, z: Any) -> tuple[Carry, Array]:
        """Returns the next carry and the output `[*batch, *output_shape]` in the parameters' dtype."""
        a, b = self.coefficients(params, z)
        state = a * self.state(carry).astype(b.dtype) + b
        return like(carry, self.carry(state)), self.read(params, state, z).astype(params.w_x.dtype)
