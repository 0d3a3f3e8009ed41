"""One cell's weights, read from a layout and written in it."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells import GRU, LSTM, Elman
from lstm_jax.cells.dense import params_like, split_gates
from lstm_jax.convert.layouts import LAYOUTS, Entry, Layout
from lstm_jax.types import Array, Params

Place = tuple[str, str]
"""A leaf of our parameters and one of its gates: the smallest thing that moves."""


def read(library: str, cell: Any, source: Any, module: Any = None) -> Params:
    """Returns our parameters from one cell's arrays, in the layout of the library's cell that has their names.

    `source` has them as entries of nested mappings or as attributes; `module`, where there is one, is checked for
    options that would make its equations another function.
    """
    layout = _recognise(library, cell, source)
    _check_options(layout, cell, module)
    shapes = _shapes(cell)
    found: dict[Place, Array] = {}
    for entry in _entries(layout, cell):
        array = as_array(f"source: {entry.name}", _find(source, entry.name))
        for place, part in _cut(entry, array, shapes, cell.hidden_size):
            if place in found:
                found[place] = found[place] + part
            else:
                found[place] = _from_theirs(layout, place, part)
    leaves: dict[str, Array | None] = dict.fromkeys(cell.params_type._fields)
    for leaf, shape in shapes.items():
        zeros = jnp.zeros((*shape[:-1], cell.hidden_size), found["w_h", cell.gates[0]].dtype)
        parts = [found.get((leaf, gate), zeros) for gate in _gates(cell, leaf)]
        if cell.use_bias or leaf not in _BIASES:
            leaves[leaf] = jnp.concatenate(parts, axis=-1)
            continue
        for part in parts:
            if part is not zeros:
                require_zero(f"source: {leaf}", part, "zeros, for a cell without biases", "other numbers")
    return cell.params_type(**leaves)


def write(library: str, cell: Any, params: Params, cell_type: str | None = None) -> dict[str, Array]:
    """Returns one cell's arrays by their names in the layout of `cell_type`, by default the library's first."""
    available = _available(library, cell)
    name = next(iter(available)) if cell_type is None else cell_type
    checks.one_of("cell_type", name, tuple(available))
    layout, shapes = available[name], _shapes(cell)
    left: dict[Place, Array] = {}
    for leaf, shape in shapes.items():
        array = getattr(params, leaf)
        array = jnp.zeros(shape, params.w_h.dtype) if array is None else array
        gates = _gates(cell, leaf)
        left.update({(leaf, gate): part for gate, part in zip(gates, split_gates(array, len(gates)), strict=True)})

    def take(place: Place) -> Array:
        part = left.pop(place, None)
        if part is None:  # written before: the two add up
            return jnp.zeros((*shapes[place[0]][:-1], cell.hidden_size), params.w_h.dtype)
        return _to_theirs(layout, place, part)

    out = {}
    for entry in _entries(layout, cell):
        blocks = [jnp.concatenate([take(place) for place in block], axis=-1) for block in _blocks(entry)]
        array = jnp.stack(blocks) if entry.stacked else jnp.concatenate(blocks)
        out[entry.name] = array.T if entry.turned else array
    for (leaf, gate), part in left.items():
        require_zero(f"params.{leaf}", part, f"zeros for gate {gate}: {library}'s {name} has none", "other numbers")
    return out


def as_array(name: str, value: Any) -> Array:
    """Returns any library's array, variable or tensor as ours."""
    if hasattr(value, "get_value"):  # a variable of Flax nnx
        value = value.get_value()
    elif not hasattr(value, "dtype") and hasattr(value, "unbox"):  # linen's partitioning metadata
        value = value.unbox()
    elif hasattr(value, "value"):  # a variable of Keras
        value = value.value
    if hasattr(value, "detach"):  # a tensor of PyTorch, which NumPy cannot read in bfloat16
        tensor = value.detach().cpu()
        short = str(tensor.dtype) == "torch.bfloat16"
        value = jnp.asarray((tensor.float() if short else tensor).numpy(), jnp.bfloat16 if short else None)
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise checks.fail(name, "an array", "nothing of that name" if value is None else repr(type(value)))
    value = jnp.asarray(value)
    checks.float_dtype(name, value.dtype)
    return value


def names(source: Any) -> list[str]:
    """The names in nested mappings, joined by slashes."""
    if not isinstance(source, Mapping):
        return [""]
    return [f"{key}/{name}".rstrip("/") for key, value in source.items() for name in names(value)]


def _available(library: str, cell: Any) -> dict[str, Layout]:
    kind = type(cell).__name__ if type(cell) in (LSTM, GRU, Elman) else ""
    if kind == "GRU" and not cell.reset_after:
        kind = "GRU(reset_after=False)"
    found = LAYOUTS[library].get(kind, {})
    if kind == "Elman":
        found = {name: layout for name, layout in found.items() if cell.activation in layout.activations}
    if not found:
        raise checks.fail("target", f"a cell that {library} has too", repr(cell))
    return found


def _recognise(library: str, cell: Any, source: Any) -> Layout:
    """The layout of most names among those whose names are all there."""
    available = _available(library, cell)
    wanted = {name: [entry.name for entry in _entries(layout, cell)] for name, layout in available.items()}
    fitting = [name for name in wanted if all(_find(source, entry) is not None for entry in wanted[name])]
    expected = " or ".join(f"{', '.join(entries)} ({library}'s {name})" for name, entries in wanted.items())
    if not fitting:
        found = ", ".join(names(source)) if isinstance(source, Mapping) else checks.describe(source)
        raise checks.fail("source", expected, found or "nothing")
    chosen = max(fitting, key=lambda name: len(wanted[name]))
    if isinstance(source, Mapping) and (more := set(names(source)) - set(wanted[chosen])):
        raise checks.fail("source", expected, f"also {', '.join(sorted(more))}")
    return available[chosen]


def _check_options(layout: Layout, cell: Any, module: Any) -> None:
    for option, expected in layout.expected.items():
        if hasattr(module, option):
            value = getattr(module, option)
            value = getattr(value, "__name__", value)
            expected = cell.activation if expected == "activation" else expected
            if value != expected:
                raise checks.fail(f"source.{option}", repr(expected), repr(value))


def _find(source: Any, name: str) -> Any:
    for part in name.split("/"):
        source = source.get(part) if isinstance(source, Mapping) else getattr(source, part, None)
    return source


def _cut(entry: Entry, array: Array, shapes: dict, hidden_size: int) -> list[tuple[Place, Array]]:
    """Their array in its smallest parts, each as it stands in ours."""
    blocks = _blocks(entry)
    rows = [shapes[block[0][0]][:-1] for block in blocks]  # () for a vector
    columns = len(blocks[0]) * hidden_size
    first = (len(blocks),) if entry.stacked else (sum(r[0] for r in rows),) if rows[0] else ()
    shape = (*first, columns)[:: -1 if entry.turned else 1]
    if array.shape != shape:
        raise checks.fail(f"source: {entry.name}", f"shape {list(shape)}", checks.describe(array))
    array = array.T if entry.turned else array
    if entry.stacked:
        parts = list(array)
    else:
        parts = jnp.split(array, list(itertools.accumulate(r[0] for r in rows[:-1]))) if rows[0] else [array]
    return [
        pair
        for block, part in zip(blocks, parts, strict=True)
        for pair in zip(block, split_gates(part, len(block)), strict=True)
    ]


def _from_theirs(layout: Layout, place: Place, part: Array) -> Array:
    leaf, gate = place
    part = -part if gate in layout.negated else part
    return part + jnp.asarray(layout.added[gate], part.dtype) if leaf == "b" and gate in layout.added else part


def _to_theirs(layout: Layout, place: Place, part: Array) -> Array:
    leaf, gate = place
    part = part - jnp.asarray(layout.added[gate], part.dtype) if leaf == "b" and gate in layout.added else part
    return -part if gate in layout.negated else part


def _blocks(entry: Entry) -> list[list[Place]]:
    parts = [[part.split(":") for part in block.split()] for block in entry.blocks]
    return [[(leaf, gate) for leaf, gates in block for gate in gates] for block in parts]


def _entries(layout: Layout, cell: Any) -> list[Entry]:
    """Theirs that a cell needs: without biases where both leave them out."""
    bare = layout.bias_optional and not cell.use_bias
    return [e for e in layout.entries if not (bare and all(leaf in _BIASES for b in _blocks(e) for leaf, _ in b))]


_BIASES = ("b", "b_hn")


def _shapes(cell: Any) -> dict[str, tuple[int, ...]]:
    """Our leaves by name, biases included, whether the cell has them or not."""
    params = params_like(dataclasses.replace(cell, use_bias=True), jnp.dtype(jnp.float32))
    return {leaf: array.shape for leaf, array in params._asdict().items() if array is not None}


def _gates(cell: Any, leaf: str) -> tuple[str, ...]:
    return ("n",) if leaf == "b_hn" else cell.gates


def require_zero(name: str, array: Array, expected: str, got: str) -> None:
    if bool(jnp.any(array != 0)):
        raise checks.fail(name, expected, got)
