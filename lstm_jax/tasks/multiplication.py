"""The multiplication problem."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from lstm_jax.tasks.adding_1997 import MarkedPairs


@dataclass(frozen=True)
class Multiplication(MarkedPairs):
    """Multiply the two marked numbers of a sequence of pairs (number, marker) (experiment 5).

    Sequences are drawn as in `Adding1997`, but numbers are uniform in [0, 1), and where a mark falls on the first pair
    its number is set to 1. The target, after the last pair, is `x1 * x2`: what a memory adds up is of no use alone.

    The paper words the rare mark on the first pair for the first mark only; here it holds for the second one as well.
    It tests when fewer than 140, and again when fewer than 13, of the 2,000 latest training sequences were wrong by
    over 0.04, which took 482,000 and 1,273,000 sequences at `length` 100.

    Args:
        length: the fewest pairs of a sequence, T in the paper, at least 11.

    Raises:
        ValueError: `length` is not an integer of at least 11, so that the last pair could be among the first ten.

    References:
        Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997, experiment 5.
    """

    low = 0
    neutral = 1

    @property
    def mean(self) -> float:
        """The mean of the target: 1/4 where two numbers count, 1/2 where one of the two is the first pair's 1."""
        return (1 + self.on_first_pair) / 4

    @property
    def chance(self) -> float:
        """The mean squared error of always saying `mean`: the variance of the target.

        The square of a number has the mean 1/3, so that of the target 1/9 where two numbers count and 1/3 where one.
        """
        return (1 + 2 * self.on_first_pair) / 9 - self.mean**2

    def answer(self, numbers: Array, marked: Array) -> Array:
        """The products `[batch]`."""
        return jnp.prod(numbers, axis=0, where=marked)
