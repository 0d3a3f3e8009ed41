"""Multi-query associative recall: keys and their values first, then the keys again, one by one."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import StepwiseClassification, at_least
from lstm_jax.tasks.denoise import distinct
from lstm_jax.tasks.types import Batch


@dataclass(frozen=True)
class MQAR(StepwiseClassification):
    """Say at each query the value that stood behind its key.

    Of `vocabulary` symbols, numbered as one-hot inputs, 0 is the blank, those below `vocabulary // 2` are keys and the
    others are values. A sequence begins with `pairs` pairs of a key and its value; all keys are different, and so are
    all values. In the steps that remain, two by two from the first, the first step of a slot may hold a query: each key
    comes once more, in a slot of its own. The slots are drawn without replacement for one key after the other, slot
    i = 1, 2, ... with a chance in proportion to `i**(power - 1)`. All other steps are blank. The targets stand at the
    queries only; class 0 is the first of the values.

    A fixed answer is wrong in `1 - 1/values` of the queries, which is `chance`; knowing the values that were shown, but
    not their keys, is enough for `1 - 1/pairs`.

    The equations are those of the code that the authors published, with blanks between the queries as in the settings
    of their paper. Departures: the answer is chosen among the values, not all symbols, and the vocabulary, 8,192 there,
    is small, since inputs are one-hot here.

    Args:
        length: the steps of a sequence, at least `4 * pairs`.
        pairs: the keys of a sequence, at least 1.
        vocabulary: the symbols, at least `2 * pairs + 2`.
        power: how gaps are spread: 1 is evenly, close to 0 most queries come early; above 0.

    Raises:
        ValueError: a field is not as described.

    References:
        Arora, Eyuboglu et al., "Zoology: measuring and improving recall in efficient language models",
        arXiv:2312.04927, 2023; code: github.com/HazyResearch/zoology.
    """

    length: int = 64
    pairs: int = 4
    vocabulary: int = 64
    power: float = 0.01

    def __post_init__(self):
        at_least(1, pairs=self.pairs)
        at_least(4 * self.pairs, length=self.length)
        at_least(2 * self.pairs + 2, vocabulary=self.vocabulary)
        if not isinstance(self.power, (int, float)) or not 0 < self.power < math.inf:
            raise ValueError(f"`power` must be a number above 0; got {self.power!r}")

    @property
    def time(self) -> int:
        """The steps of a batch: `length`."""
        return self.length

    @property
    def input_size(self) -> int:
        """The number of symbols."""
        return self.vocabulary

    @property
    def output_size(self) -> int:
        """The number of values."""
        return self.vocabulary - self.vocabulary // 2

    def generate(self, key: Array, batch_size: int, dtype: DTypeLike) -> Batch:
        """Draws one-hot inputs `[length, batch, vocabulary]`, classes and queries `[length, batch]`."""
        key_keys, key_values, key_slots = jax.random.split(key, 3)
        first_value, shown = self.vocabulary // 2, 2 * self.pairs
        keys = 1 + distinct(key_keys, batch_size, self.pairs, np.ones(first_value - 1))
        values = distinct(key_values, batch_size, self.pairs, np.ones(self.output_size))
        chances = np.arange(1, (self.length - shown) // 2 + 1) ** (self.power - 1.0)
        queries = shown + 2 * distinct(key_slots, batch_size, self.pairs, chances)

        rows = jnp.arange(batch_size, dtype=jnp.int32)
        none = jnp.zeros((self.length, batch_size), jnp.int32)
        ids = none.at[0:shown:2].set(keys).at[1:shown:2].set(first_value + values).at[queries, rows].set(keys)
        mask = none.astype(bool).at[queries, rows].set(True)
        return Batch(jax.nn.one_hot(ids, self.vocabulary, dtype=dtype), none.at[queries, rows].set(values), mask)
