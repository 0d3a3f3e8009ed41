"""Which examples come next, as a pure function of the position in training."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def batch_indices(key: Array, position: ArrayLike, *, size: int, batch_size: int) -> Array:
    """The examples of batch number `position` in a run over shuffled epochs.

    Every epoch shuffles anew, and no example comes twice in one: the `size % batch_size` examples left at its end are
    dropped, others each time. A run that resumes at a position sees what an uninterrupted one would have seen.

    Args:
        key: a typed key, `jax.random.key`; the same key gives the same order.
        position: the number of batches before this one, an integer; it may be traced.
        size: the number of examples.
        batch_size: the examples of a batch, from 1 to `size`.

    Returns:
        `[batch_size]` int32, each from 0 to `size - 1`.

    Raises:
        ValueError: `batch_size` is not between 1 and `size`.
    """
    if not 1 <= batch_size <= size:
        raise ValueError(f"`batch_size` must be between 1 and `size`, {size}; got {batch_size}")
    epoch, batch = divmod(jnp.asarray(position, jnp.int32), size // batch_size)
    order = jax.random.permutation(jax.random.fold_in(key, epoch), size).astype(jnp.int32)
    return jax.lax.dynamic_slice_in_dim(order, batch * batch_size, batch_size)
