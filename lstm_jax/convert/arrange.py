"""One cell's weights, read from a layout and written in it."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells import GRU, LSTM, MGU, Elman, ProjectedLSTM
from lstm_jax.cells.call import params_like
from lstm_jax.cells.dense import split_gates
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
        for place, piece in _cut(entry, array, cell, shapes):
            sign, shift = _change(layout, place)
            found[place] = found[place] + sign * piece if place in found else _moved(sign * piece, shift)
    leaves: dict[str, Array | None] = dict.fromkeys(cell.params_type._fields)
    dtype = found["w_h", cell.gates[0]].dtype
    for leaf, shape in shapes.items():
        places = [(leaf, gate) for gate in _gates(cell, leaf)]
        if cell.use_bias or leaf not in _BIASES:
            zeros = jnp.zeros((*shape[:-1], shape[-1] // len(places)), dtype)
            leaves[leaf] = jnp.concatenate([found.get(place, zeros) for place in places], axis=-1)
        else:
            for place in places:
                if place in found:
                    require_zero(f"source: {leaf}", found[place], "zeros, for a cell without biases", "other numbers")
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
        left.update({(leaf, gate): piece for gate, piece in zip(gates, split_gates(array, len(gates)), strict=True)})

    def take(place: Place) -> Array:
        piece = left.pop(place, None)
        if piece is None:  # written before: the two add up
            *rows, columns = shapes[place[0]]
            return jnp.zeros((*rows, columns // len(_gates(cell, place[0]))), params.w_h.dtype)
        sign, shift = _change(layout, place)
        return sign * _moved(piece, -shift)

    out = {}
    for entry in _entries(layout, cell):
        blocks = [jnp.concatenate([take(place) for place in block], axis=-1) for block in _blocks(entry)]
        array = jnp.stack(blocks) if entry.stacked else jnp.concatenate(blocks)
        out[entry.name] = array.T if entry.turned else array
    for (leaf, gate), piece in left.items():
        require_zero(f"params.{leaf}", piece, f"zeros for gate {gate}: {library}'s {name} has none", "other numbers")
    return out


def as_array(name: str, value: Any) -> Array:
    """Returns any library's array, variable or tensor as ours."""
    if hasattr(value, "get_value"):  # a variable of Flax nnx
        value = value.get_value()
    elif hasattr(value, "value"):  # a variable of Keras, a box of linen
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


def _names(source: Any) -> list[str]:
    """The names in nested mappings, joined by slashes."""
    if not isinstance(source, Mapping):
        return [""]
    return [f"{key}/{name}".rstrip("/") for key, value in source.items() for name in _names(value)]


def _available(library: str, cell: Any) -> dict[str, Layout]:
    kind = type(cell).__name__ if type(cell) in _KINDS else ""
    if kind in ("GRU", "MGU"):
        kind += "" if cell.reset_after else "(reset_after=False)"
    found = LAYOUTS[library].get(kind, {})
    if kind == "Elman":
        found = {name: layout for name, layout in found.items() if cell.activation in layout.activations}
    if not found:
        raise checks.fail("target", f"a cell that {library} has too", repr(cell))
    return found


_KINDS = (LSTM, GRU, Elman, MGU, ProjectedLSTM)
"""Our cells that others have, by their exact types: a subclass may be another function."""


def _recognise(library: str, cell: Any, source: Any) -> Layout:
    """The layout of most names among those whose names are all there."""
    available = _available(library, cell)
    wanted = {name: [entry.name for entry in _entries(layout, cell)] for name, layout in available.items()}
    fitting = [name for name in wanted if all(_find(source, entry) is not None for entry in wanted[name])]
    expected = " or ".join(f"{', '.join(entries)} ({library}'s {name})" for name, entries in wanted.items())
    if not fitting:
        found = ", ".join(_names(source)) if isinstance(source, Mapping) else checks.describe(source)
        raise checks.fail("source", expected, found or "nothing")
    chosen = max(fitting, key=lambda name: len(wanted[name]))
    every = {entry.name for entry in available[chosen].entries if _find(source, entry.name) is not None}
    found = set(_names(source)) if isinstance(source, Mapping) else every
    if more := found - set(wanted[chosen]):
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
    for key in name.split("/"):
        source = source.get(key) if isinstance(source, Mapping) else getattr(source, key, None)
    return source


def _cut(entry: Entry, array: Array, cell: Any, shapes: dict) -> list[tuple[Place, Array]]:
    """Their array in its smallest pieces, each as it stands in ours."""
    blocks = _blocks(entry)
    rows = [shapes[block[0][0]][:-1] for block in blocks]  # () for a vector
    leaf = blocks[0][0][0]
    width = shapes[leaf][-1] // len(_gates(cell, leaf))
    columns = len(blocks[0]) * width
    first = (len(blocks),) if entry.stacked else (sum(r[0] for r in rows),) if rows[0] else ()
    shape = (*first, columns)[:: -1 if entry.turned else 1]
    if array.shape != shape:
        raise checks.fail(f"source: {entry.name}", f"shape {list(shape)}", checks.describe(array))
    pieces = (array.T if entry.turned else array).reshape(-1, columns)
    ends = itertools.accumulate(math.prod(r) for r in rows)
    cut = jnp.split(pieces, list(ends)[:-1])
    return [
        (place, piece.reshape(*r, width))
        for block, r, part in zip(blocks, rows, cut, strict=True)
        for place, piece in zip(block, split_gates(part, len(block)), strict=True)
    ]


def _change(layout: Layout, place: Place) -> tuple[int, float]:
    """Ours is sign times theirs, and a constant more."""
    leaf, gate = place
    return -1 if gate in layout.negated else 1, layout.added.get(gate, 0.0) if leaf == "b" else 0.0


def _moved(piece: Array, shift: float) -> Array:
    return piece + shift if shift else piece  # to the bit: -0.0 + 0.0 is another zero


def _blocks(entry: Entry) -> list[list[Place]]:
    parts = [[part.split(":") for part in block.split()] for block in entry.blocks]
    return [[(leaf, gate) for leaf, gates in block for gate in gates] for block in parts]


def _entries(layout: Layout, cell: Any) -> list[Entry]:
    """The arrays of theirs that a cell needs: no biases where both sides leave them out."""
    bare = layout.bias_optional and not cell.use_bias
    return [e for e in layout.entries if not (bare and all(leaf in _BIASES for b in _blocks(e) for leaf, _ in b))]


_BIASES = ("b", "b_hn")
_OTHER_GATES: dict[str, tuple[str, ...]] = {"b_hn": ("n",), "w_p": ("p",)}


def _shapes(cell: Any) -> dict[str, tuple[int, ...]]:
    """Our leaves by name, biases included, whether the cell has them or not."""
    params = params_like(dataclasses.replace(cell, use_bias=True), jnp.float32)
    return {leaf: array.shape for leaf, array in params._asdict().items() if array is not None}


def _gates(cell: Any, leaf: str) -> tuple[str, ...]:
    return _OTHER_GATES.get(leaf) or cell.gates


def require_zero(name: str, array: Array, expected: str, got: str) -> None:
    try:
        other = bool(jnp.any(array != 0))
    except jax.errors.ConcretizationTypeError:
        raise checks.fail(name, expected, "an array inside `jit`, where nobody can look") from None
    if other:
        raise checks.fail(name, expected, got)
