"""The word problem of finite groups: the product of all elements so far."""

import itertools
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from lstm_jax import checks
from lstm_jax.tasks.base import StepwiseClassification, at_least
from lstm_jax.tasks.types import Batch


def _elements(points: int) -> np.ndarray:
    """All permutations in lexicographic order, `[points!, points]`."""
    return np.array(list(itertools.permutations(range(points))))


def _permutations(points: int, even: bool = False) -> np.ndarray:
    """The multiplication table of all permutations, or of the even ones, in lexicographic order."""
    elements = _elements(points)
    if even:
        before, after = np.triu_indices(points, 1)
        elements = elements[np.sum(elements[:, before] > elements[:, after], axis=1) % 2 == 0]
    products = elements[:, elements].swapaxes(0, 1)  # [a, b] sends a point first through a, then through b
    digits = points ** np.arange(points)[::-1]
    return np.searchsorted(elements @ digits, products @ digits)


def _cyclic(order: int) -> np.ndarray:
    """The table of addition modulo `order`."""
    return np.add.outer(np.arange(order), np.arange(order)) % order


def _direct(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The table of the pairs of two groups' elements, multiplied one by one."""
    first, second = np.divmod(np.arange(len(left) * len(right)), len(right))
    return left[np.ix_(first, first)] * len(right) + right[np.ix_(second, second)]


# GROUPS[name][a, b] is the product of elements a and b in this order; element 0 is the identity.
GROUPS = {
    "S5": _permutations(5),
    "A5": _permutations(5, even=True),
    "A4xZ5": _direct(_permutations(4, even=True), _cyclic(5)),
    "Z60": _cyclic(60),
    "S3": _permutations(3),
}
# The numbers of the permutations that move two things at most.
SWAPS = {f"S{n}": np.flatnonzero(np.sum(_elements(n) != np.arange(n), axis=1) <= 2) for n in (3, 5)}


@dataclass(frozen=True)
class WordProblem(StepwiseClassification):
    """Say at every step what the product of all elements of a group so far is.

    Each step's input is an element, one-hot, drawn evenly out of the whole group; its target is the product of the
    elements up to and with it, the class being the element's number. In S5, all permutations of five things, and A5,
    the even ones, no word problem of a finite state is harder (it is complete for NC1), since these groups are not
    solvable: S4, Mamba and transformers cannot express it at all lengths with a fixed number of layers, unless
    TC0 = NC1. The controls have 60 elements as A5 has: A4xZ5, solvable but not commutative, and Z60, addition
    modulo 60.

    Elements are numbered from 0, the identity: permutations in lexicographic order, where the product `a b` sends a
    point first through a; pairs of A4xZ5 as 5 times the number in A4 plus the number in Z5; numbers of Z60 as they are.

    The paper's experiments are on A5, A4xZ5 and Z60, at one length at a time, and count a sequence as right where all
    its steps are: `correct`, whose mean over a batch it asks to be above 0.9. S5 is its canonical example.

    Departures from the paper: sequences are drawn afresh; their lengths are mixed unless `shortest` is `length`; and
    the sequences of length 2 are not all added to the training. S3 is added here as a small group for quick looks.

    Args:
        length: the longest sequence.
        shortest: the shortest sequence, at least 1; lengths are drawn evenly from there to `length`.
        group: `"S5"` with 120 elements, `"A5"`, `"A4xZ5"` or `"Z60"` with 60, `"S3"` with 6.
        swaps: of S5 or S3, draw only the identity and the permutations that swap two things, 11 of S5, which generate
            the whole group: as hard to track, and far fewer products to learn. Inputs are one-hot over them, in the
            order of their numbers; classes are still all elements.

    Raises:
        ValueError: a field is not as described.

    References:
        Merrill, Petty & Sabharwal, "The illusion of state in state-space models", ICML 2024.
        Grazzi et al., "Unlocking state-tracking in linear RNNs through negative eigenvalues", ICLR 2025: swaps only.
    """

    length: int = 20
    shortest: int = 1
    group: Literal["S5", "A5", "A4xZ5", "Z60", "S3"] = "S5"
    swaps: bool = False

    def __post_init__(self):
        at_least(1, shortest=self.shortest)
        at_least(self.shortest, length=self.length)
        if self.group not in GROUPS:
            raise ValueError(f"`group` must be one of {', '.join(map(repr, GROUPS))}; got {self.group!r}")
        checks.boolean("swaps", self.swaps)
        if self.swaps and self.group not in SWAPS:
            raise ValueError(
                f"`swaps` must be False but for {', '.join(map(repr, SWAPS))}; got True and {self.group!r}"
            )

    @property
    def drawn(self) -> np.ndarray:
        """The numbers of the elements that may be inputs, in their order."""
        return SWAPS[self.group] if self.swaps else np.arange(self.output_size)

    @property
    def time(self) -> int:
        """The steps of a batch: those of the longest sequence."""
        return self.length

    @property
    def input_size(self) -> int:
        """The number of elements that may be inputs."""
        return len(self.drawn)

    @property
    def output_size(self) -> int:
        """The number of classes: of the group's elements."""
        return len(GROUPS[self.group])

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws one-hot inputs `[time, batch, input_size]`, products and mask `[time, batch]`."""
        key_length, key_elements = jax.random.split(key)
        lengths = jax.random.randint(key_length, (batch_size,), self.shortest, self.length + 1, dtype=jnp.int32)
        mask = jnp.arange(self.time, dtype=jnp.int32)[:, None] < lengths
        elements = jax.random.randint(key_elements, mask.shape, 0, self.input_size, dtype=jnp.int32)
        table = jnp.asarray(GROUPS[self.group], jnp.int32)

        def step(product, element):
            product = table[product, element]
            return product, product

        numbers = jnp.asarray(self.drawn, jnp.int32)[elements]
        _, products = jax.lax.scan(step, jnp.zeros(batch_size, jnp.int32), numbers)
        inputs = jax.nn.one_hot(elements, self.input_size, dtype=dtype)
        return Batch(jnp.where(mask[..., None], inputs, 0), jnp.where(mask, products, 0), mask)
