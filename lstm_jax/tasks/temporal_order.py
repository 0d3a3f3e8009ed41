"""Temporal order: which of X and Y came first, and which after."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import Classification, at_least


@dataclass(frozen=True)
class TemporalOrder(Classification):
    """Name the order in which two (6a) or three (6b) relevant symbols came, after a long stretch of noise.

    A sequence has between `length` and `length + length // 10` symbols, all equally likely: E first, B last, noise
    out of a, b, c, d between, but for `symbols` places that hold X or Y. Each place is drawn evenly from its window,
    both ends included and the first symbol counted as 0. At `length=100` the windows are the paper's; other lengths
    move them in proportion. Classes are numbered as in the paper: XX, XY, YX, YY (6a); XXX, XXY, ..., YYY (6b).

    Departures from the paper: it does not say whether it counts places from 0, nor whether ranges include their ends.

    Args:
        length: the shortest sequence, at least 10.
        symbols: 2 for task 6a with 4 classes, 3 for task 6b with 8.

    Raises:
        ValueError: `length` is not an integer of at least 10, or `symbols` is neither 2 nor 3.

    References:
        Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997, experiment 6.
    """

    length: int = 100
    symbols: int = 2

    alphabet: ClassVar[str] = "EBabcdXY"
    input_size = 8
    tolerance: ClassVar[float] = 0.3

    def __post_init__(self):
        at_least(10, length=self.length)
        if self.symbols not in (2, 3):
            raise ValueError(f"`symbols` must be 2 or 3; got {self.symbols}")

    @property
    def time(self) -> int:
        """The steps of a batch: those of the longest sequence."""
        return self.length + self.length // 10

    @property
    def output_size(self) -> int:
        """The number of classes, 2 to the power of `symbols`."""
        return 2**self.symbols

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """The first and the last place that each relevant symbol may take."""
        starts = (self.length * percent // 100 for percent in ((10, 50) if self.symbols == 2 else (10, 33, 66)))
        return tuple((start, start + self.length // 10) for start in starts)

    def draw(self, key: Array, batch_size: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
        """Draws one-hot inputs `[time, batch, 8]`, classes `[batch]` and lengths `[batch]`."""
        key_length, key_noise, key_places, key_order = jax.random.split(key, 4)
        e, b, noise, x = (self.alphabet.index(symbol) for symbol in "EBaX")
        lengths = jax.random.randint(key_length, (batch_size,), self.length, self.time + 1, dtype=jnp.int32)
        first, last = jnp.asarray(self.windows, jnp.int32).T
        places = jax.random.randint(key_places, (batch_size, self.symbols), first, last + 1, dtype=jnp.int32)
        order = jax.random.randint(key_order, (batch_size, self.symbols), 0, 2, dtype=jnp.int32)  # X is 0, Y is 1

        t = jnp.arange(self.time, dtype=jnp.int32)[:, None]
        ids = jax.random.randint(key_noise, (self.time, batch_size), noise, x, dtype=jnp.int32)
        ids = jnp.where(t == 0, e, jnp.where(t == lengths - 1, b, ids))
        answers = jnp.zeros(batch_size, jnp.int32)
        for i in range(self.symbols):
            ids = jnp.where(t == places[:, i], x + order[:, i], ids)
            answers = 2 * answers + order[:, i]
        return jax.nn.one_hot(ids, self.input_size, dtype=dtype), answers, lengths
