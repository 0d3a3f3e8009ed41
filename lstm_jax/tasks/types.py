"""What every task offers: a batch of sequences, and the measures that judge a network on it."""

from typing import Literal, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


class Batch(NamedTuple):
    """Time-major sequences; targets and mask stand beside the outputs that a network gives at every step."""

    inputs: Array  # [time, batch, input_size]; zero past a sequence's end
    targets: Array  # [time, batch] int32 classes, or [time, batch, output_size] floats; zero where the mask is False
    mask: Array  # [time, batch] bool; True where the loss counts


class Task(Protocol):
    """A long-range problem as a pure generator of sequences, with the measures that judge a network on it.

    A task is a frozen dataclass: hashable, equal by value, static under jit. `outputs` below are what a network gives
    at every step, `[time, batch, output_size]` in any float dtype: logits where `kind` is `"classification"`,
    predictions where it is `"regression"`. They are read only where the mask is True.
    """

    @property
    def kind(self) -> Literal["classification", "regression"]: ...

    @property
    def length(self) -> int:
        """The figure by which the task grows, as its paper counts it."""
        ...

    @property
    def time(self) -> int:
        """The steps of a batch: those of the longest sequence."""
        ...

    @property
    def input_size(self) -> int: ...

    @property
    def output_size(self) -> int: ...

    @property
    def chance(self) -> float:
        """What `error` comes to, on average, for the best answer that takes no notice of what must be remembered."""
        ...

    @property
    def t_max(self) -> int | None:
        """The horizon recommended for chrono initialisation, or None where none is needed."""
        ...

    def sample(self, key: Array, batch_size: int, dtype: DTypeLike = jnp.float32) -> Batch:
        """Draws `batch_size` independent sequences, inputs in `dtype`: the same key, the same batch."""
        ...

    def loss(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """What training makes small: a scalar of float32 or better."""
        ...

    def error(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The figure to print beside `chance`: a scalar."""
        ...

    def correct(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether each sequence is processed correctly, by the paper's measure: `[batch]` bool."""
        ...

    def solved(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether a batch of test sequences shows the task solved: a bool scalar."""
        ...
