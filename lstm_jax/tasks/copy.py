"""The copy problem: keep ten symbols through a stretch of blanks, then say them in order."""

import math
from abc import abstractmethod
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import StepwiseClassification, at_least
from lstm_jax.tasks.types import Batch


class Recital(StepwiseClassification):
    """Shows symbols among blanks, then a marker, then a blank for each symbol that is to be said.

    Inputs are one-hot over the symbols, the blank and the marker, in that order. Targets are the symbols in the order
    in which they were shown, at the blanks after the marker, and the blank at every step before.
    """

    items: int
    symbols: int

    @property
    def input_size(self) -> int:
        """The symbols, the blank and the marker."""
        return self.symbols + 2

    @property
    def output_size(self) -> int:
        """The symbols and, as the last class, the blank."""
        return self.symbols + 1

    @abstractmethod
    def place(self, key: Array, batch_size: int) -> tuple[Array, Array]:
        """Draws the steps of the symbols, `[items, batch]` in ascending order, and of the markers, `[batch]`."""

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws one-hot inputs and classes, zero past the end, and a mask that is True up to the last symbol said."""
        key_symbols, key_places = jax.random.split(key)
        shape = (self.items, batch_size)
        symbols = jax.random.randint(key_symbols, shape, 0, self.symbols, dtype=jnp.int32)
        places, markers = self.place(key_places, batch_size)
        said = markers + 1 + jnp.arange(self.items, dtype=jnp.int32)[:, None]

        rows = jnp.arange(batch_size, dtype=jnp.int32)
        blanks = jnp.full((self.time, batch_size), self.symbols, jnp.int32)
        ids = blanks.at[places, rows].set(symbols).at[markers, rows].set(self.symbols + 1)
        mask = jnp.arange(self.time, dtype=jnp.int32)[:, None] <= said[-1]
        inputs = jnp.where(mask[..., None], jax.nn.one_hot(ids, self.input_size, dtype=dtype), 0)
        return Batch(inputs, jnp.where(mask, blanks.at[said, rows].set(symbols), 0), mask)


@dataclass(frozen=True)
class Copy(Recital):
    """Say the ten symbols with which the sequence began, after `length - 1` blanks and a marker.

    A sequence is ten symbols drawn evenly out of eight, `length - 1` blanks, the marker, ten blanks: `length + 20`
    steps. Every step has a target: the blank for `length + 10` steps, then the ten symbols.

    The figure of this problem is the mean cross entropy over all steps in nats, which `loss` and `error` both are.
    Whoever says the blank until the marker and then gives all symbols the same probability pays the plateau
    `10 ln 8 / (length + 20)`, which is `chance`: no memory of the symbols is needed for it, and networks stay there
    for long. The misclassified fraction would tell less, since nearly all steps are blanks. A sequence is `correct`
    where the largest output is the target's at every step, which the paper does not ask.

    For chrono initialisation Tallec & Ollivier (2018) take a horizon of `3 length / 2`, at 500 and 2,000; `t_max` is
    the general recommendation.

    Args:
        length: the steps from the last symbol shown to the marker, T in the paper, at least 1.

    Raises:
        ValueError: `length` is not an integer of at least 1.

    References:
        Arjovsky, Shah & Bengio, "Unitary evolution recurrent neural networks", ICML 2016, the copying memory problem.
    """

    length: int = 100

    items = 10
    symbols = 8

    def __post_init__(self):
        at_least(1, length=self.length)

    @property
    def time(self) -> int:
        """The steps of a batch: `length + 20`."""
        return self.length + 2 * self.items

    @property
    def chance(self) -> float:
        """The plateau: the error in nats of saying the blank, and after the marker all symbols with one probability."""
        return self.items * math.log(self.symbols) / self.time

    def error(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The mean softmax cross entropy in nats, a scalar of float32 or better."""
        return self.loss(outputs, targets, mask)

    def place(self, key: Array, batch_size: int) -> tuple[Array, Array]:
        """The first ten steps, and the marker `length` steps after the last of them; nothing is drawn."""
        places = jnp.arange(self.items, dtype=jnp.int32)[:, None]
        return (
            jnp.broadcast_to(places, (self.items, batch_size)),
            jnp.full(batch_size, self.length + self.items - 1, jnp.int32),
        )


@dataclass(frozen=True)
class VariableCopy(Copy):
    """Say the ten symbols with which the sequence began, after a stretch of blanks of unknown length.

    As `Copy`, but the blanks before the marker are drawn evenly from 1 to `length` for each sequence, so that no
    counting replaces the marker. A sequence ends with the last symbol said. Tallec & Ollivier (2018) take a horizon of
    `length` for chrono initialisation, at 500 and 1,000.

    A choice where the sources leave room: each sequence of a batch has a length of its own.

    Args:
        length: the most blanks before the marker, T in the papers, at least 1.

    Raises:
        ValueError: `length` is not an integer of at least 1.

    References:
        Henaff, Szlam & LeCun, "Recurrent orthogonal networks and long-memory tasks", ICML 2016, as described by
        Tallec & Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, section 3.
    """

    @property
    def time(self) -> int:
        """The steps of a batch: those of a sequence with `length` blanks before the marker."""
        return self.length + 2 * self.items + 1

    @property
    def chance(self) -> float:
        """The plateau as for `Copy`, over the mean steps of a sequence: what the error comes to in large batches."""
        return self.items * math.log(self.symbols) / (self.time - (self.length - 1) / 2)

    def place(self, key: Array, batch_size: int) -> tuple[Array, Array]:
        """The first ten steps, and the markers after 1 to `length` blanks."""
        places, _ = super().place(key, batch_size)
        return places, self.items + jax.random.randint(key, (batch_size,), 1, self.length + 1, dtype=jnp.int32)
