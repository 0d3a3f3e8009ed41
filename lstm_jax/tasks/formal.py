"""Regular languages: the parity of a bit string, arithmetic modulo 5, the end of a walk around a cycle."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import AnswerAtEnd, StepwiseClassification, at_least


@dataclass(frozen=True)
class _Regular(StepwiseClassification, AnswerAtEnd):
    """A string of symbols, its length drawn evenly from `shortest` to `length`, and its class at the last symbol."""

    length: int = 40
    shortest: int = 1

    alphabet: ClassVar[str]
    classes: ClassVar[int]

    def __post_init__(self):
        at_least(1, shortest=self.shortest)
        at_least(self.shortest, length=self.length)

    @property
    def time(self) -> int:
        """The steps of a batch: those of the longest sequence."""
        return self.length

    @property
    def input_size(self) -> int:
        """The number of symbols."""
        return len(self.alphabet)

    @property
    def output_size(self) -> int:
        """The number of classes."""
        return self.classes

    def lengths(self, key: Array, batch_size: int) -> Array:
        """Draws the lengths of the sequences, `[batch]` int32."""
        return jax.random.randint(key, (batch_size,), self.shortest, self.length + 1, dtype=jnp.int32)

    @abstractmethod
    def walk(self, key: Array, batch_size: int) -> tuple[Array, Array]:
        """Draws symbols, and the answer to all those up to each step: both `[time, batch]` int32."""

    def draw(self, key: Array, batch_size: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
        """Draws one-hot inputs `[time, batch, input_size]`, classes `[batch]` and lengths `[batch]`."""
        key_length, key_symbols = jax.random.split(key)
        lengths = self.lengths(key_length, batch_size)
        ids, answers = self.walk(key_symbols, batch_size)
        at_end = jnp.take_along_axis(answers, lengths[None] - 1, axis=0)[0]
        return jax.nn.one_hot(ids, self.input_size, dtype=dtype), at_end, lengths


@dataclass(frozen=True)
class Parity(_Regular):
    """Say whether the number of ones in a string of even bits is even (class 0) or odd (class 1).

    Inputs are one-hot over 0, 1. The paper trains on lengths of 1 to 40 and tests on those of 41 to 500, one by one:
    `Parity(40)`, `Parity(200, shortest=200)`.

    Departures from the paper: the answer is asked for at the last symbol, where the paper puts a blank behind it; and
    the sequences of a batch have lengths of their own, where the paper draws one for all.

    Args:
        length: the longest sequence.
        shortest: the shortest sequence, at least 1; lengths are drawn evenly from there to `length`.

    Raises:
        ValueError: `shortest` is not an integer of at least 1, or `length` of at least `shortest`.

    References:
        Deletang et al., "Neural networks and the Chomsky hierarchy", ICLR 2023 (arXiv 2022), parity check.
    """

    alphabet: ClassVar[str] = "01"
    classes: ClassVar[int] = 2

    def walk(self, key: Array, batch_size: int) -> tuple[Array, Array]:
        """Draws bits, and the parity of all those up to each step: both `[time, batch]` int32."""
        bits = jax.random.randint(key, (self.time, batch_size), 0, 2, dtype=jnp.int32)
        return bits, jnp.cumsum(bits, axis=0, dtype=jnp.int32) % 2


@dataclass(frozen=True)
class CycleNavigation(_Regular):
    """Say where a walk around a cycle of 5 places ends that began at place 0; the class is the place.

    Each move is a step back, none, or a step forth, with equal chance; inputs are one-hot over them in that order, the
    symbols of `alphabet`. Training, tests and departures from the paper are those of `Parity`.

    Args:
        length: the longest sequence.
        shortest: the shortest sequence, at least 1; lengths are drawn evenly from there to `length`.

    Raises:
        ValueError: `shortest` is not an integer of at least 1, or `length` of at least `shortest`.

    References:
        Deletang et al., "Neural networks and the Chomsky hierarchy", ICLR 2023 (arXiv 2022), cycle navigation.
    """

    alphabet: ClassVar[str] = "-0+"
    classes: ClassVar[int] = 5

    @property
    def chance(self) -> float:
        """The error of always answering place 0, where short walks end more often than elsewhere."""
        at, back = np.eye(5)[0], []
        for _ in range(self.length):
            at = (np.roll(at, -1) + at + np.roll(at, 1)) / 3
            back.append(at[0])
        return 1 - float(np.mean(back[self.shortest - 1 :]))

    def walk(self, key: Array, batch_size: int) -> tuple[Array, Array]:
        """Draws moves, and the place behind each: both `[time, batch]` int32."""
        moves = jax.random.randint(key, (self.time, batch_size), 0, 3, dtype=jnp.int32)
        return moves, jnp.cumsum(moves - 1, axis=0, dtype=jnp.int32) % 5


@dataclass(frozen=True)
class ModularArithmetic(_Regular):
    """Say what an expression without brackets comes to modulo 5, its class: 2 for 1+2*3, 4 for 1-1-1.

    Numbers 0 to 4 and operators stand in turn, all drawn evenly; * binds tighter than + and -, which go from left to
    right. Inputs are one-hot over 0, 1, 2, 3, 4, +, -, * in that order. An expression has an odd number of symbols: a
    length drawn even loses its last one, as in the paper. Training, tests and departures from the paper are those of
    `Parity`.

    Args:
        length: the longest sequence.
        shortest: the shortest sequence, at least 1; lengths are drawn evenly from there to `length`.

    Raises:
        ValueError: `shortest` is not an integer of at least 1, or `length` of at least `shortest`.

    References:
        Deletang et al., "Neural networks and the Chomsky hierarchy", ICLR 2023 (arXiv 2022), modular arithmetic
        (simple).
    """

    alphabet: ClassVar[str] = "01234+-*"
    classes: ClassVar[int] = 5

    @property
    def time(self) -> int:
        """The steps of a batch: `length`, or one less where that is even."""
        return self.length - 1 + self.length % 2

    @property
    def chance(self) -> float:
        """The error of always answering 0, which some products make a little more frequent than the rest.

        A product is 0 for sure where a number before its last one is 0, and else even over the classes, as its last
        number is; one even product makes the whole sum even.
        """
        zero, even, zeros = 0.0, 1.0, []  # the present product's probabilities, all products before it being 0
        for _ in range(self.time // 2 + 1):
            zeros.append(zero)
            zero, even = (zero + even / 5) / 3, (even * 4 / 5 + 2 * zero) / 3  # *; + or - after a 0 begin anew
        sure = np.mean([zeros[(length - 1) // 2] for length in range(self.shortest, self.length + 1)])
        return 4 / 5 * (1 - float(sure))

    def lengths(self, key: Array, batch_size: int) -> Array:
        """Draws the lengths of the expressions, odd, `[batch]` int32."""
        lengths = super().lengths(key, batch_size)
        return lengths - 1 + lengths % 2

    def walk(self, key: Array, batch_size: int) -> tuple[Array, Array]:
        """Draws symbols, and the value of the expression up to each number: both `[time, batch]` int32."""
        plus, minus, times = (self.alphabet.index(symbol) for symbol in "+-*")
        key_numbers, key_operators = jax.random.split(key)
        shape = (self.time // 2 + 1, batch_size)
        numbers = jax.random.randint(key_numbers, shape, 0, 5, dtype=jnp.int32)
        operators = jax.random.randint(key_operators, shape, plus, times + 1, dtype=jnp.int32)
        operators = operators.at[0].set(plus)  # ahead of the first number, where none is written

        def step(carry, symbols):
            total, product = carry  # all products before the present one, and that one up to here
            operator, number = symbols
            total = jnp.where(operator == times, total, total + product) % 5
            factor = jnp.where(operator == times, product, jnp.where(operator == minus, -1, 1))
            product = factor * number % 5
            return (total, product), (total + product) % 5

        nothing = jnp.zeros(batch_size, jnp.int32)
        _, values = jax.lax.scan(step, (nothing, nothing), (operators, numbers))
        ids = jnp.stack([operators, numbers], axis=1).reshape(-1, batch_size)[1:]
        return ids, jnp.repeat(values, 2, axis=0)[1:]
