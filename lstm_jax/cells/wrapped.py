"""What changes the recurrence of any cell: the part that the wrappers share."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.call import check_call
from lstm_jax.types import Array, Carry, Params


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A cell with the parameters and the carry of `cell`, which is also the target to convert them for; not its own."""

    cell: Any

    draws: ClassVar[bool] = True

    def __post_init__(self):
        checks.cell("cell", self.cell)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.cell.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.cell.output_shape

    @property
    def output_first(self) -> bool:
        return getattr(self.cell, "output_first", False)

    @property
    def tied_leaves(self) -> tuple[int, ...]:
        return getattr(self.cell, "tied_leaves", ())

    def init(self, key: Array, dtype: Any = jnp.float32) -> Params:
        """Returns fresh parameters of the cell within, in `dtype`."""
        return self.cell.init(key, dtype)

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Carry:
        """Returns the first carry of the cell within."""
        return self.cell.initial_carry(params, batch_shape, dtype)

    def prepare(self, params: Params, batch_shape: tuple[int, ...], *, key: Array | None = None) -> Any:
        return self.cell.prepare(params, batch_shape, key=key)

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> Any:
        return self.cell.project(params, x, key=key)

    def step(self, params: Any, carry: Carry, z: Any) -> tuple[Carry, Array]:
        return self.cell.step(params, carry, z)

    def __call__(self, params: Params, carry: Carry, x: Array, *, key: Array | None = None) -> tuple[Carry, Array]:
        """Takes one step from `x [*batch, *input_shape]`; returns `(carry, y)`.

        With a key, noise of one step is drawn. What is constant over a sequence is not, since a step does not know its
        sequence: a stream that wants it calls `prepare` once, and then `project` and `step`.

        Raises ValueError where shapes or dtypes do not fit each other.
        """
        batch = check_call(self, params, carry, x)
        prepared = self.prepare(params, batch)
        return self.step(prepared, carry, self.project(prepared, x, key=key))

    def require_output(self) -> None:
        """Raises ValueError for a cell whose output is no part of its carry."""
        if not self.output_first:
            raise checks.fail("cell", "a cell whose output is the first part of its carry", repr(self.cell))
