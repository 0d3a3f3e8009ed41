"""The contracts of the house: what a cell is, what a layer is."""

from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp

Array: TypeAlias = jax.Array
Params: TypeAlias = Any
"""A pytree of arrays, in practice a NamedTuple."""
Carry: TypeAlias = Any
"""A pytree of arrays, each `[*batch, ...]`."""
PreActivation: TypeAlias = Any
"""A pytree of arrays, each `[*batch, ...]`: what `project` hands to `step`."""


class Cell(Protocol):
    """One step of a recurrence: a frozen dataclass of options plus pure functions.

    Cells are hashable and equal by value, so that equal cells compile once, and hold no arrays. `x` is
    `[*batch, *input_shape]`, the output `[*batch, *output_shape]`; no leading axis is special.

    Randomness that is constant over a sequence is drawn in `prepare`, that of one step in `project`. `project` and
    `step` know the parameters as `prepare` returned them, everything else as `init` did.

    What a cell may offer besides, each as an attribute:
      splits: True where it is a `SplitCell`.
      recurs, recur: True where `step(params, carry, z)` is `recur(params, carry, carry, z)`, whose products read the
        second of the two.
      affine: True where it is an `AffineCell`.
      runs_as, recast: an equal cell that a compiled loop knows, and the function of prepared parameters that returns
        that cell's.
      output_first: True where the first leaf of the carry is the output.
      tied_leaves: the numbers of those leaves of the carry that only mean something together.
      draws: True where it wants a key.
    """

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def output_shape(self) -> tuple[int, ...]: ...

    def init(self, key: Array, dtype: Any = jnp.float32) -> Params: ...

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Carry: ...

    def prepare(self, params: Params, batch_shape: tuple[int, ...], *, key: Array | None = None) -> Params:
        """Returns the parameters that one whole sequence uses; called once per scan."""
        ...

    def project(self, params: Params, x: Array, *, key: Array | None = None) -> PreActivation:
        """Returns all that depends on the input alone, and so can leave the loop."""
        ...

    def step(self, params: Params, carry: Carry, z: PreActivation) -> tuple[Carry, Array]:
        """Returns the next carry and the output: the recurrence itself."""
        ...

    def __call__(self, params: Params, carry: Carry, x: Array, *, key: Array | None = None) -> tuple[Carry, Array]: ...


class SplitCell(Cell, Protocol):
    """A cell whose `step` is `update(carry, preactivate(params, carry, z))`, with no parameter used in `update`.

    It draws nothing, and `prepare` gives no parameter the batch's axes.

    The split lets a loop take every weight gradient out of time: they all follow from the cotangents of the
    pre-activations, in one product over the whole sequence.
    """

    def preactivate(self, params: Params, carry: Carry, z: PreActivation) -> PreActivation: ...

    def update(self, carry: Carry, a: PreActivation) -> tuple[Carry, Array]: ...


class AffineCell(Cell, Protocol):
    """A cell whose state is affine in the state before: `s' = a s + b`, entry by entry, a and b from the input alone.

    Such a recurrence needs no loop: steps can be joined in any order. The state may be complex, as no carry can.
    """

    def coefficients(self, params: Params, z: PreActivation) -> tuple[Array, Array]:
        """Returns a and b, each in the shape of the state."""
        ...

    def state(self, carry: Carry) -> Array: ...

    def carry(self, state: Array) -> Carry: ...

    def read(self, params: Params, state: Array, z: PreActivation) -> Array:
        """Returns the output from the state after the step."""
        ...


class Layer(Protocol):
    """A sequence in, a sequence out: what networks are built from. Time-major, `xs [time, *batch, *input_shape]`."""

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def output_shape(self) -> tuple[int, ...]: ...

    def init(self, key: Array, dtype: Any = jnp.float32) -> Params: ...

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Carry: ...

    def __call__(
        self,
        params: Params,
        xs: Array,
        carry: Carry | None = None,
        *,
        lengths: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
        chunk: int | None = None,
        unroll: int = 1,
        implementation: str | None = None,
    ) -> tuple[Carry, Array]: ...

    def step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One step of a stream; layers that look ahead raise ValueError."""
        ...

    def last(self, ys: Array, lengths: Array | None = None) -> Array:
        """Returns the output `[*batch, *output_shape]` at which each direction ends."""
        ...


def wide(dtype: Any) -> Any:
    """Returns the dtype that sums and products accumulate in: float32 or better."""
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)
