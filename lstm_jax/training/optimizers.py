"""Optimizers that clip the gradient's global norm before anything else, as recurrent networks want it."""

import jax
import optax

from lstm_jax.training.checks import check_flag, check_number


def clipped_adam(
    learning_rate: optax.ScalarOrSchedule,
    max_norm: float = 1.0,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Adam on gradients whose global norm is first cut to `max_norm`.

    `learning_rate` is a number, an Optax schedule (step -> number) or a floating scalar array, traced ones included, so
    that runs over several learning rates are one vmap. `weight_decay` is decoupled from the gradient (AdamW).

    Raises:
      ValueError: a number outside its range; `max_norm` must be above zero.

    References:
      Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.
      Kingma and Ba 2015, Adam: a method for stochastic optimization.
      Loshchilov and Hutter 2019, Decoupled weight decay regularization.
    """
    _check_rates(learning_rate, max_norm)
    check_number("b1", b1, low=0, high=1)
    check_number("b2", b2, low=0, high=1)
    check_number("eps", eps, low=0, above=True)
    check_number("weight_decay", weight_decay, low=0)
    rate = _schedule(learning_rate)
    if isinstance(weight_decay, float | int) and weight_decay == 0:
        adam = optax.adam(rate, b1=b1, b2=b2, eps=eps)
    else:
        adam = optax.adamw(rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    return optax.chain(optax.clip_by_global_norm(max_norm), adam)


def clipped_sgd(
    learning_rate: optax.ScalarOrSchedule,
    max_norm: float = 1.0,
    *,
    momentum: float | None = None,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Gradient descent, with momentum where given, on gradients whose global norm is first cut to `max_norm`.

    `learning_rate` is what `clipped_adam` takes. `nesterov` needs `momentum`.

    Raises:
      ValueError: a number outside its range, or `nesterov` without `momentum`.

    References:
      Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.
      Sutskever, Martens, Dahl and Hinton 2013, On the importance of initialization and momentum in deep learning.
    """
    _check_rates(learning_rate, max_norm)
    check_flag("nesterov", nesterov)
    if momentum is not None:
        check_number("momentum", momentum, low=0, high=1)
    elif nesterov:
        raise ValueError("`nesterov` must come with a `momentum`, got momentum=None")
    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.sgd(_schedule(learning_rate), momentum=momentum, nesterov=nesterov),
    )


def _check_rates(learning_rate: optax.ScalarOrSchedule, max_norm: float) -> None:
    if not callable(learning_rate):
        check_number("learning_rate", learning_rate, low=0)
    check_number("max_norm", max_norm, low=0, above=True)


def _schedule(learning_rate: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
    # What a schedule returns Optax casts to each gradient's dtype; an array by itself it lets promote the update.
    return optax.constant_schedule(learning_rate) if isinstance(learning_rate, jax.Array) else learning_rate
