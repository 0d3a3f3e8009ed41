"""What tasks have in common: how sequences are drawn, where answers stand, and how they are judged."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax import losses
from lstm_jax.tasks.types import Batch


def at_least(least: int, **fields: int) -> None:
    """Raises a ValueError that names the first of the fields that is not an integer of `least` or more."""
    for name, value in fields.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` must be an integer of at least {least}; got {value!r}")


def floating(dtype: DTypeLike) -> None:
    """Raises a ValueError unless `dtype` is a float."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"`dtype` must be a float dtype; got {jnp.dtype(dtype)}")


def nearly_all(correct: Array) -> Array:
    """Whether at least 99% are True."""
    return 100 * jnp.sum(~correct) <= correct.size  # in integers: 99 of 100 is enough


class Sequences(ABC):
    """A task with targets at any steps of its sequences."""

    @property
    @abstractmethod
    def time(self) -> int:
        """The steps of a batch: those of the longest sequence."""

    @property
    def t_max(self) -> int | None:
        """The horizon recommended for chrono initialisation: no dependency is longer than the longest sequence.

        References:
            Tallec & Ollivier, "Can recurrent neural networks warp time?", ICLR 2018.
        """
        return self.time

    @abstractmethod
    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws what `sample` returns, the arguments being checked."""

    @abstractmethod
    def correct(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether each sequence is processed correctly, by the paper's measure: `[batch]` bool."""

    def sample(self, key: Array, batch_size: int, dtype: DTypeLike = jnp.float32) -> Batch:
        """Draws `batch_size` independent sequences: the same key, the same batch.

        Args:
            key: a typed key, `jax.random.key`.
            batch_size: at least 1, static under jit.
            dtype: the float dtype of the inputs. Targets that are floats have this dtype or float32, the wider one.

        Returns:
            A Batch whose mask is True where a sequence has a target.

        Raises:
            ValueError: `batch_size` is not an integer of at least 1, or `dtype` is not a float.
        """
        at_least(1, batch_size=batch_size)
        floating(dtype)
        return self.generate(key, batch_size, dtype)

    def solved(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether every sequence is processed correctly: a bool scalar."""
        return jnp.all(self.correct(outputs, targets, mask))


class AnswerAtEnd(Sequences):
    """A task whose only target stands at the last step of each sequence, where alone the mask is True."""

    tolerance: ClassVar[float]

    @abstractmethod
    def draw(self, key: Array, batch_size: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
        """Draws inputs `[time, batch, input_size]`, free past the ends, answers `[batch, ...]`, lengths `[batch]`."""

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws sequences with the answer at the last step, zeros past the end."""
        inputs, answers, lengths = self.draw(key, batch_size, dtype)
        t = jnp.arange(self.time, dtype=jnp.int32)[:, None]
        mask = t == lengths - 1
        at_end = mask.reshape(mask.shape + (1,) * (answers.ndim - 1))
        return Batch(jnp.where((t < lengths)[..., None], inputs, 0), jnp.where(at_end, answers, 0), mask)

    def solved(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether at least 99% of the sequences are processed correctly.

        The paper stops when the 2,000 latest training sequences were right (task 2c: 10,000), and then counts at most
        3 wrong of 2,560 fresh ones. This asks less, so that a test batch of some hundred sequences can tell.
        """
        return nearly_all(self.correct(outputs, targets, mask))


class StepwiseClassification(Sequences):
    """Judges logits at any steps: softmax cross entropy, and whether the largest is the target's."""

    kind: Literal["classification", "regression"] = "classification"

    @property
    @abstractmethod
    def output_size(self) -> int:
        """The number of classes."""

    @property
    def chance(self) -> float:
        """The fraction misclassified by a fixed answer, the classes being equally frequent: 1 - 1/classes."""
        return 1 - 1 / self.output_size

    def loss(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The mean softmax cross entropy in nats, a scalar of float32 or better."""
        return losses.cross_entropy(outputs, targets, mask)

    def error(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The fraction of masked steps whose largest output is not the target's, a float32 scalar."""
        return jnp.maximum(1 - losses.accuracy(outputs, targets, mask), 0)  # compiled, a mean of ones may pass 1

    def correct(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether the largest output is the target's at every masked step: `[batch]` bool."""
        outputs, targets, mask = losses.check_classes(outputs, targets, mask)
        return jnp.all(losses.hits(outputs, targets) | ~mask, axis=0)

    def solved(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether at least 99% of the sequences are processed correctly: a bool scalar."""
        return nearly_all(self.correct(outputs, targets, mask))


class Classification(StepwiseClassification, AnswerAtEnd):
    """Judges logits at the last step as 1997 did: every class's probability is close to its one-hot target."""

    def correct(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether every probability is within `tolerance` of the one-hot target at the masked step: `[batch]` bool.

        The paper's outputs are logistic units of their own; here the measure is put to the softmax of the outputs.
        """
        outputs, targets, mask = losses.check_classes(outputs, targets, mask)
        probabilities = jax.nn.softmax(outputs.astype(jnp.float32), axis=-1)
        distance = jnp.abs(probabilities - jax.nn.one_hot(targets, outputs.shape[-1], dtype=jnp.float32))
        return jnp.all(jnp.all(distance < self.tolerance, axis=-1) | ~mask, axis=0)


class StepwiseRegression(Sequences):
    """Judges predictions at any steps: mean squared error, and the absolute error under a tolerance."""

    tolerance: ClassVar[float]
    kind: Literal["classification", "regression"] = "regression"

    def loss(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The mean squared error, a scalar of float32 or better."""
        return losses.mean_squared_error(outputs, targets, mask)

    def error(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """The mean squared error, a scalar of float32 or better."""
        return losses.mean_squared_error(outputs, targets, mask)

    def correct(self, outputs: Array, targets: Array, mask: Array) -> Array:
        """Whether the absolute error is under `tolerance` at every masked step: `[batch]` bool."""
        outputs, targets, mask = losses.check_values(outputs, targets, mask)
        distance = jnp.abs(outputs.astype(jnp.float32) - targets.astype(jnp.float32))
        return jnp.all((distance < self.tolerance) | ~mask[..., None], axis=(0, -1))


class Regression(StepwiseRegression, AnswerAtEnd):
    """Judges the prediction at the last step."""
