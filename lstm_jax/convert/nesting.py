"""Layers of cells: how the sources of single cells are joined, and how PyTorch numbers them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.call import params_like
from lstm_jax.convert.arrange import require_zero
from lstm_jax.layers import Bidirectional, BidirectionalParams, Recurrent, RecurrentParams, Stack
from lstm_jax.types import Array, Params


def read_each(target: Any, source: Any, read: Callable[[Any, Any], Params]) -> Params:
    """Returns the parameters of a cell or a layer, each cell's read from its own source."""
    if isinstance(target, Stack):
        sources = _sequence(source, len(target.layers), "one source a layer")
        return tuple(read_each(layer, s, read) for layer, s in zip(target.layers, sources, strict=True))
    if isinstance(target, Bidirectional):
        if hasattr(source, "forward_layer"):  # Keras's wrapper, of which the outputs must be joined as ours are
            if source.merge_mode != "concat":
                raise checks.fail("source.merge_mode", "'concat'", repr(source.merge_mode))
            source = (source.forward_layer, source.backward_layer)
        forward, backward = _sequence(source, 2, "a pair of sources, forward and backward")
        return BidirectionalParams(read_each(target.forward, forward, read), read_each(target.backward, backward, read))
    if isinstance(target, Recurrent):
        if getattr(source, "go_backwards", target.reverse) != target.reverse:  # Keras's
            raise checks.fail("source.go_backwards", repr(target.reverse), repr(source.go_backwards))
        params = read_each(target.cell, source, read)
        return RecurrentParams(params, target.cell.initial_carry(params) if target.learned_carry else None)
    checks.cell("target", target)
    return read(target, source)


def write_each(target: Any, params: Params, write: Callable[[Any, Params], Any]) -> Any:
    """Returns each cell's parameters written, in tuples as the layers nest."""
    checks.same_tree("params", params, params_like(_known(target), jnp.float32))
    return _write_each(target, params, write)


def _write_each(target: Any, params: Params, write: Callable[[Any, Params], Any]) -> Any:
    if isinstance(target, Stack):
        return tuple(_write_each(layer, p, write) for layer, p in zip(target.layers, params, strict=True))
    if isinstance(target, Bidirectional):
        return _write_each(target.forward, params.forward, write), _write_each(target.backward, params.backward, write)
    if isinstance(target, Recurrent):
        for leaf in jax.tree.leaves(params.carry):
            require_zero("params.carry", leaf, "zeros: a learned first carry has no place elsewhere", "other numbers")
        return _write_each(target.cell, params.cell, write)
    return write(target, params)


def suffixes(target: Any) -> Any:
    """Returns what PyTorch appends to the names of each cell's arrays, in tuples as the layers nest.

    Raises ValueError where PyTorch has no such module: its layers are alike in cell, hidden size and directions.
    """
    layers = _known(target).layers if isinstance(target, Stack) else (_known(target),)
    if isinstance(target, Stack) and target.residual:
        raise checks.fail("target", "a Stack without residual connections", repr(target))
    kinds = set()
    for layer in layers:
        if isinstance(layer, Recurrent) and not layer.reverse:
            kinds.add((Recurrent, _kind(layer.cell)))
        elif isinstance(layer, Bidirectional):
            kinds |= {(Bidirectional, _kind(way.cell)) for way in (layer.forward, layer.backward)}
        elif isinstance(target, Stack) or hasattr(layer, "last"):
            raise checks.fail("target", "layers that run forward or both ways", repr(layer))
    if len(kinds) > 1:
        raise checks.fail("target", "layers of one cell, hidden size and direction", repr(target))
    out = tuple(
        (f"_l{i}", f"_l{i}_reverse") if isinstance(layer, Bidirectional) else f"_l{i}" for i, layer in enumerate(layers)
    )
    return out if isinstance(target, Stack) else out[0] if hasattr(target, "last") else ""


def from_state_dict(target: Any, state: Mapping[str, Any]) -> Any:
    """Returns arrays under PyTorch's names as one mapping a cell, in tuples as the layers nest."""
    groups: dict[str, dict[str, Any]] = {}
    for name, array in state.items():
        kind, _, place = name.partition("_l")
        groups.setdefault(f"_l{place}" if place else "", {})[kind] = array
    sources = jax.tree.map(lambda suffix: groups.pop(suffix, {}), suffixes(target))
    if extra := [kind + place for place, group in groups.items() for kind in group]:
        expected = f"the weights of {target!r}"
        if not hasattr(target, "last"):
            expected = "the weights of a cell such as nn.LSTMCell (those of nn.LSTM are for a layer: Recurrent(cell))"
        raise checks.fail("source", expected, f"also {', '.join(extra)}")
    return sources


def to_state_dict(target: Any, written: Any) -> dict[str, Array]:
    """Returns one mapping a cell, in tuples as the layers nest, as one under PyTorch's names."""
    cells = jax.tree.leaves(written, is_leaf=lambda node: isinstance(node, dict))
    pairs = zip(jax.tree.leaves(suffixes(target)), cells, strict=True)
    return {name + suffix: array for suffix, arrays in pairs for name, array in arrays.items()}


def _kind(cell: Any) -> tuple:
    """All that PyTorch's layers have in common: everything but the input size and how weights start."""
    options = [f.name for f in dataclasses.fields(cell) if f.name != "input_size" and not f.name.endswith("_init")]
    return (type(cell), *(getattr(cell, name) for name in options))


def _known(target: Any) -> Any:
    if not hasattr(target, "last"):
        checks.cell("target", target)
    return target


def _sequence(source: Any, count: int, expected: str) -> Sequence:
    if not isinstance(source, (tuple, list)) or len(source) != count:
        raise checks.fail("source", f"{expected}, {count} in all", checks.describe(source))
    return source
