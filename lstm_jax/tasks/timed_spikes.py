"""Precise timing the other way round: generate spikes at given intervals."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import StepwiseRegression
from lstm_jax.tasks.timing import MeasureSpikeDelay
from lstm_jax.tasks.types import Batch


@dataclass(frozen=True)
class GenerateTimedSpikes(StepwiseRegression):
    """Give out a spike after each interval, whose delay is the input (GTS): `MeasureSpikeDelay` with roles reversed.

    The target is 1 at a spike and 0 elsewhere, at every step up to a sequence's last spike. The n-th spike is due
    `length + delay[n]` steps after the one before, the first one as if a spike had come just before the sequence; each
    delay is drawn evenly out of `delays`. The input, at every step of an interval, is its delay. The network runs
    freely; neither spikes nor targets are its input, so that it must count.

    As others report it, the paper exchanges the inputs and the targets of MSD, asks for an error under 0.49 at every
    step, trains on streams of 100 spikes, tests on streams of 1,000, stops both at the first error, and found no
    network without peepholes that learned it. That there are neither resets nor teacher forcing is in its abstract.

    Departures from the paper, or choices where it leaves room: an interval's delay is the input from its first step to
    its spike, which those reports do not say; sequences of `spikes` spikes, which an error does not end; and the
    first interval has as many steps without a spike as any other of its delay.

    Args:
        length: the shortest interval, F in the paper, at least 1.
        delays: what may be added to it, at least two different integers of at least 0.
        spikes: the spikes of every sequence, at least 1.

    Raises:
        ValueError: a field is not as described.

    References:
        Gers, Schraudolph & Schmidhuber, "Learning precise timing with LSTM recurrent networks", JMLR 3, 2002.
    """

    length: int = 10
    delays: tuple[int, ...] = (0, 1)
    spikes: int = 100

    input_size = 1
    output_size = 1
    tolerance: ClassVar[float] = 0.49

    def __post_init__(self):
        _ = self.inverse  # checks the fields

    @property
    def inverse(self) -> MeasureSpikeDelay:
        """The task whose inputs are the targets here: from the same key it draws the same spikes."""
        return MeasureSpikeDelay(self.length, self.delays, self.spikes)

    @property
    def time(self) -> int:
        """The steps of a batch: those of a sequence with the largest delay at every spike."""
        return self.inverse.time

    @property
    def t_max(self) -> int:
        """The horizon recommended for chrono initialisation: the longest interval, beyond which nothing counts."""
        return self.inverse.t_max

    @property
    def chance(self) -> float:
        """The mean squared error of knowing each interval's number of steps, but never which of them it is.

        Of n steps one has a spike, and 1/n is the best answer at all of them: the squared errors add up to 1 - 1/n.
        """
        steps = self.length + np.asarray(self.delays)
        return float(np.mean(1 - 1 / steps) / np.mean(steps))

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws delays, spikes `[time, batch, 1]`, and a mask `[time, batch]` that is True up to the last spike."""
        spikes, delays, at_spike = self.inverse.generate(key, batch_size, dtype)
        t = jnp.arange(self.time, dtype=jnp.int32)[:, None]
        due = jax.lax.cummin(jnp.where(at_spike, t, self.time), reverse=True)  # when the next spike is; past the last
        inputs = jnp.take_along_axis(delays, due[..., None], axis=0, mode="fill", fill_value=0)
        return Batch(inputs.astype(dtype), spikes.astype(delays.dtype), due < self.time)
