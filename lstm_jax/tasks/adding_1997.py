"""The adding problem in its first form, and what it shares with multiplication: pairs, two of them marked."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import Regression, at_least


@dataclass(frozen=True)
class MarkedPairs(Regression):
    """Sequences of pairs (number, marker) of which two are marked, as `Adding1997` describes them."""

    length: int = 100

    input_size = 2
    output_size = 1
    tolerance: ClassVar[float] = 0.04
    low: ClassVar[int]  # numbers are uniform in [low, 1)
    neutral: ClassVar[int]  # the first pair's number where it is marked

    def __post_init__(self):
        at_least(11, length=self.length)

    @property
    def time(self) -> int:
        """The steps of a batch: those of the longest sequence."""
        return self.length + self.length // 10

    @property
    def on_first_pair(self) -> float:
        """The probability that one of the two marks falls on the first pair.

        It is 1/10 for the first mark, and where that one went elsewhere 1 / (length // 2 - 1) for the second.
        """
        return 1 / 10 + 9 / 10 / (self.length // 2 - 1)

    @abstractmethod
    def answer(self, numbers: Array, marked: Array) -> Array:
        """The targets `[batch]` for the numbers and for where the marks are, both `[time, batch]`."""

    def draw(self, key: Array, batch_size: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
        """Draws inputs `[time, batch, 2]`, answers `[batch, 1]` and lengths `[batch]`."""
        key_length, key_numbers, key_first, key_second = jax.random.split(key, 4)
        wide = np.promote_types(dtype, np.float32)
        lengths = jax.random.randint(key_length, (batch_size,), self.length, self.time + 1, dtype=jnp.int32)
        first = jax.random.randint(key_first, (batch_size,), 0, 10, dtype=jnp.int32)
        second = jax.random.randint(key_second, (batch_size,), 0, self.length // 2 - 1, dtype=jnp.int32)
        second = second + (second >= first).astype(jnp.int32)  # counted among the pairs that are still unmarked

        t = jnp.arange(self.time, dtype=jnp.int32)[:, None]
        marked = (t == first) | (t == second)
        ends = (t == 0) | (t == lengths - 1)
        numbers = jax.random.uniform(key_numbers, (self.time, batch_size), wide, self.low, 1).astype(dtype)
        numbers = jnp.where(marked & (t == 0), self.neutral, numbers)
        markers = jnp.where(marked, 1, jnp.where(ends, -1, 0)).astype(dtype)
        # The answer to the numbers as the network sees them, after rounding to a narrow dtype.
        answers = self.answer(numbers.astype(wide), marked)[:, None]
        return jnp.stack([numbers, markers], axis=-1), answers, lengths


@dataclass(frozen=True)
class Adding1997(MarkedPairs):
    """Add up the two marked numbers of a sequence of pairs (number, marker), scaled into [0, 1].

    A sequence has between `length` and `length + length // 10` pairs, all equally likely, with numbers uniform in
    [-1, 1). The first mark falls on one of the first ten pairs, the second on one of the first `length // 2 - 1` pairs
    that are then unmarked. A marked pair has 1 in its second component, the first and the last pair have -1 unless
    marked, all others 0. If a mark falls on the first pair, its number is set to 0. The target, after the last pair,
    is `0.5 + (x1 + x2) / 4`.

    The paper words the rare mark on the first pair for the first mark only; here it holds for the second one as well.

    Args:
        length: the fewest pairs of a sequence, T in the paper, at least 11.

    Raises:
        ValueError: `length` is not an integer of at least 11, so that the last pair could be among the first ten.

    References:
        Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997, experiment 4.
    """

    low = -1
    neutral = 0

    @property
    def chance(self) -> float:
        """The mean squared error of always saying 0.5, the mean: the variance of the target.

        A number that counts has variance 1/3, and a sixteenth of that after scaling. Two count, less the probability
        that one of the two marks falls on the first pair.
        """
        return (2 - self.on_first_pair) / 48

    def answer(self, numbers: Array, marked: Array) -> Array:
        """The scaled sums `[batch]`."""
        return 0.5 + jnp.sum(numbers, axis=0, where=marked) / 4
