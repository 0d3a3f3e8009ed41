"""Long lags without local regularities: one bit, kept through distractors of unknown number."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.tasks.base import Classification, at_least


@dataclass(frozen=True)
class LongLag(Classification):
    """Say at the trigger e whether the second symbol was x or y, at least q + 1 steps before (task 2c).

    A sequence is b, then x or y with equal chance, then `q + k` distractors drawn evenly out of a_1 ... a_p, then e.
    After the q-th distractor each further step is e with probability 0.1 and otherwise one more distractor, so that k
    is geometric, 9 on average. Inputs are one-hot over a_1 ... a_p, e, b, x, y in that order; class 0 is x, 1 is y.

    Departures from the paper: the closing x or y, which nothing follows, is the target at e and no input of its own;
    and k is cut at `max_suffix`, which at 88 touches one sequence in 10,000 (0.9**88 = 9.4e-5).

    Args:
        q: the fewest distractors, one less than the shortest lag; at least 1.
        p: the number of distractor symbols, at least 1.
        max_suffix: the most distractors after the first q, at least 0.

    Raises:
        ValueError: a field is not an integer of at least its least value.

    References:
        Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997, experiment 2c.
    """

    q: int = 100
    p: int = 100
    max_suffix: int = 88

    tolerance: ClassVar[float] = 0.2

    def __post_init__(self):
        at_least(1, q=self.q, p=self.p)
        at_least(0, max_suffix=self.max_suffix)

    @property
    def length(self) -> int:
        """The fewest distractors, q."""
        return self.q

    @property
    def time(self) -> int:
        """The steps of a batch: b, x or y, `q + max_suffix` distractors, e."""
        return self.q + self.max_suffix + 3

    @property
    def input_size(self) -> int:
        """The number of symbols, p + 4."""
        return self.p + 4

    @property
    def output_size(self) -> int:
        """The number of classes."""
        return 2

    def draw(self, key: Array, batch_size: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
        """Draws one-hot inputs `[time, batch, p + 4]`, classes `[batch]` and lengths `[batch]`."""
        key_answer, key_suffix, key_distractors = jax.random.split(key, 3)
        e, b, x = self.p, self.p + 1, self.p + 2
        answers = jax.random.randint(key_answer, (batch_size,), 0, 2, dtype=jnp.int32)
        steps_to_e = jax.random.geometric(key_suffix, jnp.float32(0.1), (batch_size,), jnp.int32)
        lengths = self.q + jnp.minimum(steps_to_e - 1, self.max_suffix) + 3

        t = jnp.arange(self.time, dtype=jnp.int32)[:, None]
        ids = jax.random.randint(key_distractors, (self.time, batch_size), 0, self.p, dtype=jnp.int32)
        ids = ids.at[0].set(b).at[1].set(x + answers)
        ids = jnp.where(t == lengths - 1, e, ids)
        return jax.nn.one_hot(ids, self.input_size, dtype=dtype), answers, lengths
