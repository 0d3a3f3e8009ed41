"""All that a training run is at one moment, as one pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class TrainState(NamedTuple):
    """A training run between two steps; saved and restored, it goes on as if it had never stopped.

    `carry` is what streams from one batch to the next, None where nothing does. `key` is a typed key that never
    changes; a step draws from `fold_in(key, step)`. `step` (int32 scalar) counts the steps taken, `position` (int32
    scalar) is the index of the next batch. Under vmap every leaf has a leading axis of runs.
    """

    params: Any
    opt_state: Any
    carry: Any
    key: jax.Array
    step: jax.Array
    position: jax.Array


def init_state(params: Any, optimizer: optax.GradientTransformation, key: jax.Array, carry: Any = None) -> TrainState:
    """The state before the first step: a fresh optimizer state, no steps taken, the first batch next.

    `key` is one typed key, as `jax.random.key(0)` makes it. Vmap over params and keys starts several runs at once.

    Raises:
      TypeError: `optimizer` is no Optax transformation, or `key` is not one typed key.
    """
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"`optimizer` must be an optax.GradientTransformation, got {type(optimizer).__name__}")
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != ():
        got = f"{key.dtype}{list(key.shape)}" if isinstance(key, jax.Array) else type(key).__name__
        raise TypeError(f"`key` must be one typed key, as jax.random.key makes it, got {got}")
    zero = jnp.zeros((), jnp.int32)
    return TrainState(params, optimizer.init(params), carry, key, step=zero, position=zero)
