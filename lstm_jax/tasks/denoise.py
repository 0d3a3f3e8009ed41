"""The denoise problem: pick the symbols out of a long stretch of noise, then say them in order."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lstm_jax.tasks.copy import Copy


def distinct(key: Array, batch_size: int, count: int, weights: ArrayLike) -> Array:
    """Draws `count` different indices, one after the other, each with a chance in proportion to its weight.

    The largest of the log weights plus Gumbel noise, in descending order, are such a draw.

    Returns:
        `[count, batch_size]` int32, in the order drawn.

    References:
        Kool, van Hoof & Welling, "Stochastic beams and where to find them", ICML 2019.
    """
    logs = jnp.log(jnp.asarray(weights, jnp.float32))
    noise = jax.random.gumbel(key, (batch_size, logs.size), jnp.float32, mode="high")
    return jax.lax.top_k(logs + noise, count)[1].T


def scattered(key: Array, batch_size: int, count: int, steps: int) -> Array:
    """Draws `count` of the first `steps` steps, all sets equally likely: `[count, batch_size]` int32, ascending."""
    return jnp.sort(distinct(key, batch_size, count, np.ones(steps)), axis=0)


@dataclass(frozen=True)
class Denoise(Copy):
    """Say the ten symbols that stand at random places of a long stretch of noise.

    A sequence is `length + 9` steps of noise, ten different ones of which hold a symbol drawn evenly out of nine,
    then the marker, then ten steps of noise: `length + 20` steps. The noise is a symbol of its own, always the same
    one, as the blank of `Copy` is, and the targets and measures are those of `Copy`: noise for `length + 10` steps,
    then the ten symbols in their order; `chance` is the plateau `10 ln 9 / (length + 20)`.

    Sizes and plateau are those of the code that the authors published. Departures from that code: it draws the places
    with replacement, so that some symbols are overwritten and cannot be known, where here they are different; and it
    gives the marker an input of zeros, where here it is one-hot.

    Args:
        length: the steps of noise before the marker, less nine; T in the authors' code, at least 1.

    Raises:
        ValueError: `length` is not an integer of at least 1.

    References:
        Jing, Gulcehre, Peurifoy, Shen, Tegmark, Soljacic & Bengio, "Gated orthogonal recurrent units: on learning to
        forget", arXiv:1706.02761, 2017; code: github.com/jingli9111/GORU-tensorflow.
    """

    length: int = 200

    symbols = 9

    def place(self, key: Array, batch_size: int) -> tuple[Array, Array]:
        """Ten different steps before the marker, all sets of them equally likely, and the marker's step."""
        _, markers = super().place(key, batch_size)
        return scattered(key, batch_size, self.items, self.length + self.items - 1), markers
