"""Precise timing: measure the intervals between spikes, and generate periodic functions."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import StepwiseRegression, at_least
from lstm_jax.tasks.types import Batch


@dataclass(frozen=True)
class MeasureSpikeDelay(StepwiseRegression):
    """Say at each spike by how many steps it is late (MSD).

    The input is 1 at a spike and 0 elsewhere. The n-th spike comes `length + delay[n]` steps after the one before, the
    first one as if a spike had come just before the sequence; each delay is drawn evenly out of `delays`. The target,
    at the spikes only, is the delay. The longest sequence has all its delays largest; shorter ones end at their last
    spike.

    As others report it, the paper tells apart 0 and 1 late at `length` 10 to 50, and at 10 also `(0, i)` and
    `(0, 1, ..., i)` with i up to 10. It trains on streams of 100 spikes, tests on streams of 1,000, and stops both at
    the first error.

    Departures from the paper, or choices where it leaves room: sequences of `spikes` spikes, which an error does not
    end; and the first interval has as many steps without a spike as any other of its delay.

    Args:
        length: the shortest interval, F in the paper, at least 1.
        delays: what may be added to it, at least two different integers of at least 0.
        spikes: the spikes of every sequence, at least 1; 1 is the paper's NMSD.

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
        at_least(1, length=self.length, spikes=self.spikes)
        fits = isinstance(self.delays, tuple) and all(isinstance(delay, int) and delay >= 0 for delay in self.delays)
        if not fits or not 1 < len(self.delays) == len(set(self.delays)):
            raise ValueError(
                f"`delays` must be a tuple of at least two different integers of at least 0; got {self.delays!r}"
            )

    @property
    def time(self) -> int:
        """The steps of a batch: those of a sequence with the largest delay at every spike."""
        return self.spikes * self.t_max

    @property
    def t_max(self) -> int:
        """The horizon recommended for chrono initialisation: the longest interval, beyond which nothing counts."""
        return self.length + max(self.delays)

    @property
    def chance(self) -> float:
        """The mean squared error of always giving the mean delay: the variance of `delays`."""
        return float(np.var(self.delays))

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws inputs, delays `[time, batch, 1]` and spikes `[time, batch]`."""
        which = jax.random.randint(key, (self.spikes, batch_size), 0, len(self.delays), dtype=jnp.int32)
        delays = jnp.asarray(self.delays, jnp.int32)[which]
        steps = jnp.cumsum(self.length + delays, axis=0, dtype=jnp.int32) - 1
        at_spike = (steps, jnp.arange(batch_size, dtype=jnp.int32))
        mask = jnp.zeros((self.time, batch_size), bool).at[at_spike].set(True)
        targets = jnp.zeros(mask.shape, np.promote_types(dtype, np.float32))
        targets = targets.at[at_spike].set(delays.astype(targets.dtype))
        return Batch(mask[..., None].astype(dtype), targets[..., None], mask)


@dataclass(frozen=True)
class PeriodicFunction(StepwiseRegression):
    """Generate a function of period `length` out of nothing but a constant input (PFG).

    The functions lie between 0 and 1 and begin with 0 at step t = 0; with F for `length` and t for t mod F,

    - `"cosine"`: (1 - cos(2 pi t / F)) / 2,
    - `"triangle"`: 2 t / F up to t = F / 2, and 2 - 2 t / F after,
    - `"rectangle"`: 0 up to t = F / 2, and 1 after.

    Every step has a target. Nothing is drawn: all sequences of all keys are the same. The network runs freely; the
    target is never its input.

    As others report it, the paper has F = 10 and 25, and asks for 1,000 periods without an error.

    Departures from the paper, or choices where it leaves room: its network has no input at all, here it is the
    constant 1, since a cell wants one; sequences of `periods` periods, which an error does not end; the triangle begins
    with its foot, as the cosine does; and the first step is t = 0.

    Args:
        length: the period in steps, F in the paper, at least 3.
        shape: `"cosine"`, `"triangle"` or `"rectangle"`.
        periods: the periods of every sequence, at least 1.

    Raises:
        ValueError: a field is not as described.

    References:
        Gers, Schraudolph & Schmidhuber, "Learning precise timing with LSTM recurrent networks", JMLR 3, 2002.
    """

    length: int = 10
    shape: Literal["cosine", "triangle", "rectangle"] = "cosine"
    periods: int = 100

    input_size = 1
    output_size = 1
    tolerance: ClassVar[float] = 0.3

    def __post_init__(self):
        at_least(3, length=self.length)
        at_least(1, periods=self.periods)
        if self.shape not in ("cosine", "triangle", "rectangle"):
            raise ValueError(f"`shape` must be 'cosine', 'triangle' or 'rectangle'; got {self.shape!r}")

    @property
    def time(self) -> int:
        """The steps of a batch: `periods` whole periods."""
        return self.length * self.periods

    @property
    def t_max(self) -> int:
        """The horizon recommended for chrono initialisation: one period."""
        return self.length

    @property
    def period(self) -> np.ndarray:
        """The function at the steps of one period, `[length]` float64."""
        phase = np.arange(self.length) / self.length
        if self.shape == "cosine":
            return (1 - np.cos(2 * np.pi * phase)) / 2
        if self.shape == "triangle":
            return 1 - np.abs(2 * phase - 1)
        return (phase > 0.5).astype(np.float64)

    @property
    def chance(self) -> float:
        """The mean squared error of always giving the function's mean: its variance."""
        return float(np.var(self.period))

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Ones, the function `[time, batch, 1]`, and a mask that is True everywhere; the key is not used."""
        function = np.tile(self.period, self.periods).astype(np.promote_types(dtype, np.float32))
        shape = (self.time, batch_size, 1)
        targets = jnp.broadcast_to(jnp.asarray(function)[:, None, None], shape)
        return Batch(jnp.ones(shape, dtype), targets, jnp.ones(shape[:-1], bool))
