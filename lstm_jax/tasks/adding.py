"""The adding problem in the form of the uRNN paper."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import Regression, at_least


@dataclass(frozen=True)
class Adding(Regression):
    """Add up the two marked numbers of a sequence of `length` pairs (number, mark).

    Numbers are uniform in [0, 1). One mark falls in each half, `[0, length // 2)` and `[length // 2, length)`, on any
    place with the same chance; marked pairs have 1 in their second component, the others 0. The target is the plain
    sum, after the last pair. For the form of 1997, with other ranges, marks and chance, see `Adding1997`.

    Args:
        length: the pairs of every sequence, at least 2.

    Raises:
        ValueError: `length` is not an integer of at least 2.

    References:
        Arjovsky, Shah & Bengio, "Unitary evolution recurrent neural networks", ICML 2016, section 4.2.
    """

    length: int = 100

    input_size = 2
    output_size = 1
    tolerance: ClassVar[float] = 0.04  # the paper names none; this is that of the 1997 form

    def __post_init__(self):
        at_least(2, length=self.length)

    @property
    def time(self) -> int:
        """The steps of a batch: `length`."""
        return self.length

    @property
    def chance(self) -> float:
        """The mean squared error of always saying 1, the mean: the variance of two uniform numbers, 2/12."""
        return 1 / 6

    def draw(self, key: Array, batch_size: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
        """Draws inputs `[length, batch, 2]`, sums `[batch, 1]` and lengths `[batch]`."""
        key_numbers, key_first, key_second = jax.random.split(key, 3)
        wide = np.promote_types(dtype, np.float32)
        half = self.length // 2
        first = jax.random.randint(key_first, (batch_size,), 0, half, dtype=jnp.int32)
        second = jax.random.randint(key_second, (batch_size,), half, self.length, dtype=jnp.int32)

        t = jnp.arange(self.length, dtype=jnp.int32)[:, None]
        marked = (t == first) | (t == second)
        numbers = jax.random.uniform(key_numbers, (self.length, batch_size), wide).astype(dtype)
        # The sum of the numbers as the network sees them, after rounding to a narrow dtype.
        total = jnp.sum(numbers.astype(wide), axis=0, where=marked)[:, None]
        lengths = jnp.full(batch_size, self.length, jnp.int32)
        return jnp.stack([numbers, marked.astype(dtype)], axis=-1), total, lengths

    def solved(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether the mean squared error is under 0.01, a sixteenth of chance: a bool scalar."""
        return self.error(outputs, targets, mask) < 0.01
