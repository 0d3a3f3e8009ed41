"""One training step as a pure function, to be jitted, vmapped over runs or scanned over steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lstm_jax.training.checks import check_callable
from lstm_jax.training.layout import difference, layout
from lstm_jax.training.state import TrainState

Metrics = dict[str, jax.Array]
LossFn = Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, tuple[Any, Metrics]]]
Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def make_step(loss_fn: LossFn, optimizer: optax.GradientTransformation) -> Step:
    """The pure function `step(state, batch) -> (state, metrics)` that moves `state` one gradient step on.

    `loss_fn(params, batch, carry, key) -> (loss, (carry, metrics))` gives a floating scalar, the carry for the next
    batch with the layout of the one it got (None where nothing streams), and a dict of scalars. No gradient flows from
    one batch into the one before. To these metrics the step adds "loss" and "grad_norm", the gradient's global norm
    before the optimizer clips it, in float32 or better.

    Raises:
      TypeError: an argument of the wrong kind or, while tracing, another result of `loss_fn` than the above.
      ValueError: while tracing, a carry with another layout, or metrics that take one of the two names.
    """
    check_callable("loss_fn", loss_fn, "(params, batch, carry, key) -> (loss, (carry, metrics))")
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"`optimizer` must be an optax.GradientTransformation, got {type(optimizer).__name__}")

    def checked_loss(params, batch, carry, key):
        result = loss_fn(params, batch, carry, key)
        _check_result(result, carry)
        return result

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        (loss, (carry, metrics)), grads = jax.value_and_grad(checked_loss, has_aux=True)(
            state.params, batch, state.carry, key
        )
        with jax.numpy_dtype_promotion("standard"):  # Adam in Optax raises a float to an integer power
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = TrainState(params, opt_state, carry, state.key, state.step + 1, state.position + 1)
        return state, {**metrics, "loss": loss, "grad_norm": _global_norm(grads)}

    return step


def _global_norm(grads: Any) -> jax.Array:
    sizes = [jnp.abs(leaf) for leaf in jax.tree.leaves(grads)]
    dtype = jnp.float64 if any(size.dtype == jnp.float64 for size in sizes) else jnp.float32
    return jnp.sqrt(sum((jnp.sum(jnp.square(size.astype(dtype))) for size in sizes), jnp.zeros((), dtype)))


def _check_result(result: Any, carry: Any) -> None:
    match result:
        case (loss, (new_carry, dict() as metrics)):
            pass
        case _:
            raise TypeError(f"`loss_fn` must return (loss, (carry, metrics)), metrics a dict, got {_outline(result)}")
    if jnp.shape(loss) != () or not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
        raise TypeError(f"`loss_fn` must return a floating scalar as its loss, got {layout(loss)['']}")
    if changed := difference(layout(carry), layout(new_carry)):
        raise ValueError(f"`loss_fn` must return a carry with the layout of the one it got; {changed}")
    if taken := metrics.keys() & {"loss", "grad_norm"}:
        raise ValueError(f"`loss_fn` must leave the names 'loss' and 'grad_norm' to the step, got {sorted(taken)}")


def _outline(result: Any) -> str:
    if isinstance(result, tuple):
        return f"({', '.join(map(_outline, result))})"
    return "array" if hasattr(result, "dtype") else type(result).__name__
