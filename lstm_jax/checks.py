"""One clear sentence for bad input: the argument in backticks, what was expected, what came."""

import dataclasses
import math
import numbers
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def fail(name: str, expected: str, got: Any) -> ValueError:
    """Returns the error to raise; the one place where its wording stands."""
    return ValueError(f"`{name}`: expected {expected}, got {got}")


def positive_int(name: str, value: Any, minimum: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise fail(name, f"an integer >= {minimum}", repr(value))


def boolean(name: str, value: Any) -> None:
    if not isinstance(value, (bool, np.bool_)):
        raise fail(name, "True or False", repr(value))


def rate(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise fail(name, "a number in [0, 1)", repr(value))


def finite(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise fail(name, "a finite number", repr(value))


def positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise fail(name, "a number > 0", repr(value))


def shape(name: str, value: Any) -> None:
    """A tuple of sizes, each a number or the symbol that stands for it while a program is exported."""
    if not isinstance(value, tuple) or not all(isinstance(n, numbers.Integral) or _symbolic(n) for n in value):
        raise fail(name, "a tuple of integers", repr(value))


def _symbolic(size: Any) -> bool:
    from jax import export  # loads much, and few need it

    return export.is_symbolic_dim(size)


def one_of(name: str, value: Any, options: Collection[Any]) -> None:
    if value not in options:
        raise fail(name, f"one of {', '.join(map(repr, options))}", repr(value))


def initialisers(module: Any) -> None:
    """Every field that is to draw something can be called."""
    for field in dataclasses.fields(module):
        if field.name.endswith("_init") and not callable(getattr(module, field.name)):
            raise fail(field.name, "an initialiser from lstm_jax.inits", repr(getattr(module, field.name)))


def drawing(key: Any, dtype: Any) -> None:
    """What every `init` is given."""
    typed_key("key", key)
    float_dtype("dtype", dtype)


def float_dtype(name: str, dtype: Any) -> None:
    try:
        known = jnp.issubdtype(dtype, jnp.floating)
    except TypeError:
        known = False
    if not known:
        raise fail(name, "a floating-point dtype", repr(dtype))


def typed_key(name: str, key: Any) -> None:
    """One typed random key, as `jax.random.key` makes it."""
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise fail(name, "a typed key from jax.random.key", describe(key))
    if key.shape != ():
        raise fail(name, "one key", f"keys of shape {key.shape}")


def cell(name: str, value: Any) -> None:
    """An instance with a cell's methods, neither a class nor a layer."""
    if not hasattr(value, "project") or isinstance(value, type):
        raise fail(name, "a cell, such as LSTM(input_size, hidden_size); trees run by `forests.run`", repr(value))


def layer(name: str, value: Any) -> None:
    if not hasattr(value, "last") or isinstance(value, type):
        raise fail(name, "a layer, such as Recurrent(cell)", repr(value))


def lengths(name: str, value: Any, batch: tuple[int, ...]) -> None:
    array(name, value)
    if not jnp.issubdtype(value.dtype, jnp.integer) or value.shape != batch:
        raise fail(name, f"integers of shape {list(batch)} ([*batch])", describe(value))


def array(name: str, value: Any) -> None:
    if not isinstance(value, (jax.Array, np.ndarray)):
        raise fail(name, "an array", describe(value))


def describe(value: Any) -> str:
    """A pytree's shapes and dtypes in a line."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    leaves = jax.tree.leaves(value)
    if not isinstance(value, (str, bytes, type(None))) and leaves and leaves[0] is not value:
        return str(jax.tree.map(_Leaf, value))
    return f"{type(value).__name__} {value!r}"


class _Leaf:  # prints as float32[2, 3], without quotes
    def __init__(self, x: Any):
        self.text = f"{x.dtype}{list(x.shape)}" if hasattr(x, "shape") else repr(x)

    def __repr__(self) -> str:
        return self.text


def same_tree(name: str, value: Any, like: Any, *, dtypes: bool = False) -> None:
    """The same structure and shapes as `like` (a pytree of arrays or of shape structs); on request the same dtypes."""
    same = jax.tree.structure(value) == jax.tree.structure(like) and all(
        hasattr(v, "shape") and v.shape == x.shape and (not dtypes or v.dtype == x.dtype)
        for v, x in zip(jax.tree.leaves(value), jax.tree.leaves(like), strict=True)
    )
    if not same:
        raise fail(name, describe(like), describe(value))
