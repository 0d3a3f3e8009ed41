"""The layout of a pytree: each leaf's path with its dtype and shape, written so that people can read it."""

from typing import Any

import jax
import jax.numpy as jnp


def layout(tree: Any) -> dict[str, str]:
    """Maps the path of every leaf to its dtype and shape, as in `{".params['w']": "float32[3,4]"}`.

    Takes arrays of any kind, tracers and `jax.ShapeDtypeStruct`; nodes without leaves, None among them, leave no trace.
    """
    return {jax.tree_util.keystr(path): _describe(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}


def difference(expected: dict[str, str], got: dict[str, str]) -> str:
    """Says where two layouts differ, or returns an empty string where they are equal."""
    names = [name for name in expected | got if expected.get(name) != got.get(name)]
    lines = [
        f"{name or 'leaf'}: expected {expected.get(name, 'nothing')}, got {got.get(name, 'nothing')}" for name in names
    ]
    rest = [f"and {len(lines) - 4} more"] if len(lines) > 4 else []
    return "; ".join(lines[:4] + rest)


def _describe(leaf: Any) -> str:
    array = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"
