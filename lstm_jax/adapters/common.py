"""What both kinds of Flax module need: Flax's order of axes, its dtypes, its initialisers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from lstm_jax import checks, tree
from lstm_jax.layers import Recurrent
from lstm_jax.types import Array, Carry, Layer, Params

Initializer = Callable[..., Any]
"""Flax's `init(key, shape, dtype)`, called once a gate; its array may come in a box of partitioning metadata."""

_WEIGHTS = {"w_x": "kernel", "w_h": "recurrent_kernel", "b": "bias", "b_hn": "bias"}
"""What Flax calls the weights that have these names here."""


def as_layer(module: Any) -> Layer:
    """Returns a layer as it is, a cell as a layer in one direction."""
    if hasattr(module, "last"):
        checks.layer("layer", module)
        return module
    return Recurrent(module)


def draws(module: Any) -> bool:
    """Whether a layer, or a cell in it, wants a key."""
    parts = [getattr(module, name, None) for name in ("cell", "backward_cell")] + list(getattr(module, "layers", ()))
    own = getattr(module, "draws", False) or getattr(module, "dropout", 0) > 0
    return own or any(draws(part) for part in parts if part is not None)


def check_draws_nothing(cell: Any) -> None:
    """Flax's loops hand no key to a cell."""
    checks.cell("cell", cell)
    if draws(cell):
        raise checks.fail("cell", "a cell that draws nothing (`Recurrent` gives its cells a key)", repr(cell))


def initialise(
    module: Any,
    key: Array,
    dtype: Any,
    inits: Mapping[str, Initializer | None],
    unbox: Callable[[Any], Array],
    wrap: Callable[[str, Any, Array], Any],
) -> dict[str, Any]:
    """Returns fresh parameters by name, drawn by the cells' own initialisers where `inits` has None.

    Each is `wrap(kind, box, array)`: what Flax calls such a weight, or "", and what the kind's initialiser in `inits`
    returned for a gate, for the metadata in it, or None.
    """
    boxes: dict[str, Any] = {}

    def draw(kind: str, init: Initializer, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        boxes[kind] = init(key, shape, dtype)
        return unbox(boxes[kind])

    def matrix(kind: str, init: Initializer) -> Initializer:
        return lambda key, shape, dtype: draw(kind, init, key, shape, dtype)

    def bias(kind: str, init: Initializer) -> Initializer:
        def gates(key: Array, gates: tuple[str, ...], hidden_size: int, dtype: Any) -> Array:
            keys = jax.random.split(key, len(gates))
            return jnp.concatenate([draw(kind, init, k, (hidden_size,), dtype) for k in keys])

        return gates

    def label(named: Mapping[str, Any]) -> dict[str, Any]:
        out = {}
        for name, value in named.items():
            kind = _WEIGHTS.get(name, "")
            out[name] = label(value) if isinstance(value, Mapping) else wrap(kind, boxes.get(kind), value)
        return out

    slots = {"kernel": ("w_x_init", matrix), "recurrent_kernel": ("w_h_init", matrix), "bias": ("b_init", bias)}
    fields = {slots[kind][0]: slots[kind][1](kind, init) for kind, init in inits.items() if init is not None}
    return label(tree.to_dict((_redrawn(module, fields) if fields else module).init(key, dtype)))


def cast(module: Any, named: Mapping[str, Any], inputs: Any, dtype: Any) -> tuple[Params, Array]:
    """Returns parameters and inputs in `dtype`, or in the one that Flax infers from them where it is None."""
    params = tree.from_dict(module, named)
    leaves, structure = jax.tree.flatten(params)
    inputs, *leaves = promote_dtype(inputs, *leaves, dtype=dtype)
    return jax.tree.unflatten(structure, leaves), inputs


def run(
    layer: Layer,
    params: Params,
    xs: Array,
    carry: Carry | None,
    *,
    time_major: bool,
    return_carry: bool,
    resets: Array | None,
    **options: Any,
) -> Any:
    """Runs a layer over `xs [*batch, time, ...]`, or `[time, *batch, ...]` if `time_major`."""
    checks.boolean("time_major", time_major)
    checks.boolean("return_carry", return_carry)
    rank = len(layer.input_shape)
    batch = xs.ndim - 1 - rank
    if batch < 0 or xs.shape[batch + 1 :] != layer.input_shape:
        axes = "time, *batch" if time_major else "*batch, time"
        raise checks.fail("xs", f"shape [{axes}, {', '.join(map(str, layer.input_shape))}]", checks.describe(xs))
    if not time_major:
        xs = jnp.moveaxis(xs, batch, 0)
        if resets is not None:
            checks.array("resets", resets)
            shape = (*xs.shape[1 : 1 + batch], xs.shape[0])
            if resets.dtype != jnp.bool_ or resets.shape != shape:
                raise checks.fail("resets", f"bool{list(shape)} ([*batch, time])", checks.describe(resets))
            resets = jnp.moveaxis(resets, batch, 0)
    carry, ys = layer(params, xs, carry, resets=resets, **options)
    ys = ys if time_major else jnp.moveaxis(ys, 0, batch)
    return (carry, ys) if return_carry else ys


def _redrawn(module: Any, fields: Mapping[str, Any]) -> Any:
    """The same description with other initialisers in its cells."""
    if isinstance(module, tuple):
        return tuple(_redrawn(part, fields) for part in module)
    if not dataclasses.is_dataclass(module) or isinstance(module, type):
        return module
    own = {field.name for field in dataclasses.fields(module)}
    if not hasattr(module, "project") or "cell" in own:  # a layer, or a cell around another
        return dataclasses.replace(module, **{name: _redrawn(getattr(module, name), fields) for name in own})
    if missing := fields.keys() - own:
        raise checks.fail("layer", f"cells with the options {', '.join(sorted(missing))}", repr(module))
    return dataclasses.replace(module, **fields)
