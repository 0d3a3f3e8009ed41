"""Checks at the public doors of this room; each raises one error with the argument, what was expected and what came."""

import math
import numbers
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def check_number(name: str, value: Any, *, low: float, high: float = math.inf, above: bool = False) -> None:
    """Raises unless `value` is a real number from `low`, which is left out where `above`, to below `high`.

    A floating scalar array of JAX passes unread: it may be traced, as where runs are vmapped over a learning rate.
    """
    if isinstance(value, jax.Array):
        if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"`{name}` must be a number or a floating scalar, got {value.dtype}{list(value.shape)}")
        return
    bound = f"{'above' if above else 'at least'} {low:g}" + (
        f" and below {high:g}" if high < math.inf else ", and finite"
    )
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not low <= float(value) < high or (above and float(value) == low):
        raise ValueError(f"`{name}` must be a number {bound}, got {value!r}")


def check_count(name: str, value: Any, *, low: int) -> int:
    """Returns `value` as an int, or raises unless it is a whole number of at least `low`."""
    expected = f"a whole number of at least {low}"
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be {expected}, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"`{name}` must be {expected}, got {value!r}")
    if count < low:
        raise ValueError(f"`{name}` must be {expected}, got {value!r}")
    return count


def check_callable(name: str, value: Callable, signature: str) -> None:
    """Raises unless `value` can be called; `signature` says how it will be."""
    if not callable(value):
        raise TypeError(f"`{name}` must be a function {signature}, got {type(value).__name__}")


def check_flag(name: str, value: bool) -> None:
    """Raises unless `value` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
