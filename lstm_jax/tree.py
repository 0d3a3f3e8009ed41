"""Parameters and carries as nested dicts of readable names, and back.

A name is the field of the `NamedTuple`; the entries of a plain tuple, such as a Stack's, are `layers_0`, `layers_1` and
so on. What is None has no entry. Other programs, Flax and files of weights read such dicts without knowing our types.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.call import params_like


def to_dict(params: Any) -> Any:
    """Returns a pytree of named and plain tuples as nested dicts; an array stays an array."""
    if not isinstance(params, tuple):
        return params
    return {name: to_dict(value) for name, value in zip(_names(params), params, strict=True) if value is not None}


def from_dict(like: Any, named: Mapping[str, Any], name: str = "named") -> Any:
    """Returns what `to_dict` made nested dicts of.

    `like` is a pytree of the same types, or a cell, a layer or a network, whose parameters are meant (those of a layer
    have their cell's under `cell`). Raises ValueError where a name is missing or unknown; shapes are checked where the
    arrays are used. `name` is what errors call `named`.
    """
    if not isinstance(like, tuple):
        like = params_like(like, jnp.float32)
    return _restore(like, named, name)


def _restore(like: Any, named: Any, path: str) -> Any:
    if not isinstance(like, tuple):
        return named
    wanted = {name: value for name, value in zip(_names(like), like, strict=True) if value is not None}
    if not isinstance(named, Mapping) or set(named) != set(wanted):
        found = f"keys {', '.join(map(str, named))}" if isinstance(named, Mapping) else checks.describe(named)
        raise checks.fail(path, f"keys {', '.join(wanted)}", found)
    values = [
        _restore(value, named[name], f"{path}.{name}") if name in wanted else None
        for name, value in zip(_names(like), like, strict=True)
    ]
    return type(like)(*values) if hasattr(like, "_fields") else tuple(values)  # pyright: ignore[reportArgumentType]


def _names(values: tuple) -> tuple[str, ...]:
    return getattr(values, "_fields", None) or tuple(f"layers_{i}" for i in range(len(values)))
