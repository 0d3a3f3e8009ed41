"""Selective copying: the denoise problem at the size, and by the measure, of the selective state spaces."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import at_least
from lstm_jax.tasks.copy import Recital
from lstm_jax.tasks.denoise import scattered
from lstm_jax.tasks.types import Batch


@dataclass(frozen=True)
class SelectiveCopy(Recital):
    """Say the `items` symbols that stand at random places among `length` steps, the others noise.

    A sequence is `length` steps of noise, `items` different ones of which hold a symbol drawn evenly out of `symbols`,
    then the marker, then `items` steps of noise. These are the sequences of `Denoise`, as the paper says itself, with
    other sizes. The measure is another: only the last `items` steps have a target, the classes are the symbols
    without the noise, and `error` is the misclassified fraction.

    Choices where the paper leaves room: its 16 kinds of token, the noise among them, count the marker as well, so that
    14 symbols remain; its length of 4,096 is that of the stretch before the marker; and the marker comes once.

    Args:
        length: the steps before the marker, at least `items`.
        items: the symbols to be said, at least 1.
        symbols: the symbols to be told apart, at least 2.

    Raises:
        ValueError: a field is not as described.

    References:
        Gu & Dao, "Mamba: linear-time sequence modeling with selective state spaces", arXiv:2312.00752, 2023, sections
        4.1.1 and E.1; Feng et al., "Were RNNs all we needed?", arXiv:2410.01201, 2024.
    """

    length: int = 4096
    items: int = 16
    symbols: int = 14

    def __post_init__(self):
        at_least(1, items=self.items)
        at_least(2, symbols=self.symbols)
        at_least(self.items, length=self.length)

    @property
    def time(self) -> int:
        """The steps of a batch: `length + 1 + items`."""
        return self.length + 1 + self.items

    @property
    def output_size(self) -> int:
        """The number of classes: `symbols`."""
        return self.symbols

    def place(self, key: Array, batch_size: int) -> tuple[Array, Array]:
        """Different steps before the marker, all sets of them equally likely, and the marker's step."""
        markers = jnp.full(batch_size, self.length, jnp.int32)
        return scattered(key, batch_size, self.items, self.length), markers

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws one-hot inputs, and the symbols as classes after the marker, where alone the mask is True."""
        inputs, targets, _ = super().generate(key, batch_size, dtype)
        said = jnp.arange(self.time, dtype=jnp.int32)[:, None] > self.length
        mask = jnp.broadcast_to(said, targets.shape)
        return Batch(inputs, jnp.where(mask, targets, 0), mask)
