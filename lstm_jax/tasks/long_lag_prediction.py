"""Long lags under prediction at every step: the last symbol is the first one again."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax import checks, losses
from lstm_jax.tasks.base import StepwiseClassification, at_least
from lstm_jax.tasks.types import Batch


@dataclass(frozen=True)
class LongLagPrediction(StepwiseClassification):
    """Predict each next symbol of a sequence whose last symbol is its first, p steps before (tasks 2a and 2b).

    There are two kinds of sequences, with equal chance: x, then p - 1 symbols, then x again, and the same with y. If
    `regular`, the symbols between are a_1, a_2, ..., a_{p-1} in this order, so that there are but two sequences, free
    of noise (2a); if not, each is drawn evenly from these (2b). Inputs are one-hot over a_1 ... a_{p-1}, x, y in that
    order, and classes are numbered likewise. Every step has a target, the symbol to come.

    In 2a all can be predicted, and all steps are judged. In 2b only the last symbol can, and it alone is judged: by
    `error`, `correct` and `solved`. Still every step is trained, as in the paper: the loss cannot fall to zero, and a
    network must know when the end has come.

    The paper stops 2a at 5,040 sequences on average for p = 100, 2b at 5,680; BPTT and RTRL fail at p = 100.

    Departures from the paper: the last symbol, which nothing follows, is a target and no input of its own; and its
    outputs are logistic units trained by the squared error, here they are logits.

    Args:
        p: the lag, and one less than the symbols of the alphabet and of a sequence; at least 2.
        regular: whether the symbols between come in order: task 2a, or 2b.

    Raises:
        ValueError: `p` is not an integer of at least 2, or `regular` is not a bool.

    References:
        Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997, experiments 2a and 2b.
    """

    p: int = 100
    regular: bool = True

    tolerance: ClassVar[float] = 0.25

    def __post_init__(self):
        at_least(2, p=self.p)
        checks.boolean("regular", self.regular)

    @property
    def length(self) -> int:
        """The lag, p."""
        return self.p

    @property
    def time(self) -> int:
        """The steps of a batch, p: one less than a sequence's symbols."""
        return self.p

    @property
    def input_size(self) -> int:
        """The number of symbols, p + 1."""
        return self.p + 1

    @property
    def output_size(self) -> int:
        """The number of symbols, p + 1."""
        return self.p + 1

    @property
    def chance(self) -> float:
        """The error of knowing all but the first symbol, and guessing it when it must come again.

        In 2a that is wrong at half a step in p; in 2b, where this step alone is judged, half of the time.
        """
        return 0.5 / self.p if self.regular else 0.5

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws one-hot inputs `[time, batch, p + 1]`, the next symbols `[time, batch]`, and a mask that is True."""
        key_outer, key_inner = jax.random.split(key)
        outer = jax.random.randint(key_outer, (1, batch_size), self.p - 1, self.p + 1, dtype=jnp.int32)
        inner = jnp.broadcast_to(jnp.arange(self.p - 1, dtype=jnp.int32)[:, None], (self.p - 1, batch_size))
        if not self.regular:
            inner = jax.random.randint(key_inner, inner.shape, 0, self.p - 1, dtype=jnp.int32)
        ids = jnp.concatenate([outer, inner, outer])
        return Batch(jax.nn.one_hot(ids[:-1], self.input_size, dtype=dtype), ids[1:], jnp.ones(ids[1:].shape, bool))

    def error(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The fraction of judged steps whose largest output is not the target's, a float32 scalar."""
        return super().error(outputs, targets, self._judged(mask))

    def correct(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether every probability is within 0.25 of the one-hot target at every judged step: `[batch]` bool.

        The paper's outputs are logistic units of their own; here the measure is put to the softmax of the outputs. No
        probability is further off than that of the target, which must be over 0.75.
        """
        outputs, targets, mask = losses.check_classes(outputs, targets, self._judged(mask))
        probabilities = jax.nn.softmax(outputs.astype(jnp.float32), axis=-1)
        right = jnp.take_along_axis(probabilities, targets[..., None], axis=-1)[..., 0]
        return jnp.all((right > 1 - self.tolerance) | ~mask, axis=0)

    def solved(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether every sequence is processed correctly, as the paper asks of 10,000: a bool scalar."""
        return jnp.all(self.correct(outputs, targets, mask))

    def _judged(self, mask: Array) -> Array:
        """The steps that count for success: all, or in 2b the last one alone."""
        if self.regular:
            return mask
        return mask & (jnp.arange(self.time, dtype=jnp.int32) == self.time - 1)[:, None]
