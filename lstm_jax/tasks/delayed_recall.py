"""Delayed recall: one symbol, kept through noise of a known number of steps."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import AnswerAtEnd, StepwiseClassification, at_least


@dataclass(frozen=True)
class DelayedRecall(StepwiseClassification, AnswerAtEnd):
    """Say at the cue which symbol the sequence began with, `length + 1` steps before.

    A sequence is one symbol drawn evenly out of `symbols`, then `length` steps drawn evenly out of a noise alphabet of
    their own, then the cue, at which alone there is a target. Inputs are one-hot over the symbols, the noise and the
    cue, in that order; classes are numbered as the symbols. Distance is all that `length` changes, so that networks
    can be trained at one distance and tested at others.

    It is not a problem of any paper: it is closest to experiment 2b of Hochreiter & Schmidhuber (1997), with a cue that
    says when to answer and more than two symbols to keep.

    Args:
        length: the steps between the symbol and the cue, at least 0.
        symbols: the symbols to be told apart, at least 2.
        noise: the noise alphabet, at least 1; with 1 the stretch is blank.

    Raises:
        ValueError: a field is not an integer of at least its least value.
    """

    length: int = 100
    symbols: int = 8
    noise: int = 8

    def __post_init__(self):
        at_least(0, length=self.length)
        at_least(2, symbols=self.symbols)
        at_least(1, noise=self.noise)

    @property
    def time(self) -> int:
        """The steps of a batch: the symbol, `length` steps of noise, the cue."""
        return self.length + 2

    @property
    def input_size(self) -> int:
        """The symbols, the noise and the cue."""
        return self.symbols + self.noise + 1

    @property
    def output_size(self) -> int:
        """The number of classes: `symbols`."""
        return self.symbols

    def draw(self, key: Array, batch_size: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
        """Draws one-hot inputs `[time, batch, input_size]`, classes `[batch]` and lengths `[batch]`."""
        key_answer, key_noise = jax.random.split(key)
        cue = self.symbols + self.noise
        answers = jax.random.randint(key_answer, (batch_size,), 0, self.symbols, dtype=jnp.int32)
        ids = jax.random.randint(key_noise, (self.time, batch_size), self.symbols, cue, dtype=jnp.int32)
        ids = ids.at[0].set(answers).at[-1].set(cue)
        lengths = jnp.full(batch_size, self.time, jnp.int32)
        return jax.nn.one_hot(ids, self.input_size, dtype=dtype), answers, lengths
