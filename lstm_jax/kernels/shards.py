"""Batches that are spread over devices: each device runs its own shard, and nothing is gathered."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lstm_jax.kernels.loop import TIMED, WEIGHT, Call
from lstm_jax.types import Array

Run = Callable[[Call, list], list[Array]]
Names = tuple[Any, ...]
"""For every axis of a batch the mesh axes along which it is spread, as in a PartitionSpec."""


def by_shards(run: Run, roles: Callable[[Call], tuple[list[str], list[str]]]) -> Run:
    """Returns `run(call, operands)` as XLA may split it along the axes of the batch.

    Every sequence is on its own; the weights' cotangents of all shards are added up.
    """

    @functools.lru_cache(maxsize=256)
    def split(call: Call, shapes: tuple[jax.ShapeDtypeStruct, ...]) -> Any:
        return _split(functools.partial(run, call), call, shapes, roles(call))

    def mapped(call: Call, operands: list) -> list[Array]:
        return list(split(call, tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands))(*operands))

    return mapped


def _split(run: Callable, call: Call, shapes: tuple, roles: tuple[list[str], list[str]]) -> Any:
    takes, gives = roles
    _, seq = call.indices()
    results = jax.eval_shape(lambda *operands: run(list(operands)), *shapes)
    batch = shapes[seq.xs].ndim - call.depth(seq.xs) - 1 - len(call.cell.input_shape)
    # Where the axes of the batch begin: behind those of groups, and time; None where there are none.
    starts = [_start(role, call.depth(place)) for place, role in enumerate(takes)]
    ends = [_start(role, len(call.groups)) for role in gives]

    def whole(*operands: Array) -> tuple[Array, ...]:
        return tuple(run(list(operands)))

    def shardings(mesh: Mesh, arrays: Any, starts: list[int | None], names: Names) -> tuple[NamedSharding, ...]:
        specs = (PartitionSpec(*([None] * s + list(names) if s is not None else [])) for s in starts)
        return tuple(NamedSharding(mesh, spec) for spec, _ in zip(specs, arrays, strict=True))

    def partition(mesh: Any, operands: Any, _: Any) -> tuple:
        given = operands[seq.xs].sharding
        if mesh.empty:  # under `jax.set_mesh`, with no argument on that mesh: what is split has no name
            mesh, names = Mesh(np.array(list(given.device_set)), ("all",)), (None,) * batch
        else:
            start = starts[seq.xs]
            spread = (tuple(given.spec) + (None,) * shapes[seq.xs].ndim)[start : start + batch]
            sizes = shapes[seq.xs].shape[start : start + batch]
            names = tuple(_dividing(mesh, name, size) for name, size in zip(spread, sizes, strict=True))
        added = tuple(axis for name in names for axis in _axes(name))

        def local(*operands: Array) -> tuple[Array, ...]:
            out = zip(whole(*operands), gives, strict=True)
            return tuple(lax.psum(x, added) if role == WEIGHT and added else x for x, role in out)

        return mesh, local, shardings(mesh, results, ends, names), shardings(mesh, shapes, starts, names)

    def factors(kind: str, arrays: Any, starts: list[int | None]) -> str:
        def name(place: int, start: int | None, axis: int) -> str:
            if start is not None and start <= axis < start + batch:
                return f"batch{axis - start}"
            return f"{kind}{place}x{axis}"

        each = zip(range(len(starts)), arrays, starts, strict=True)
        return ", ".join(" ".join(name(place, start, i) for i in range(x.ndim)) for place, x, start in each)

    rule = f"{factors('in', shapes, starts)} -> {factors('out', results, ends)}"
    others = tuple(n for n in rule.replace(",", " ").replace("->", " ").split() if not n.startswith("batch"))
    split = custom_partitioning(whole)
    split.def_partition(partition, sharding_rule=rule, need_replication_factors=others)
    return split


def _start(role: str, depth: int) -> int | None:
    return None if role == WEIGHT else depth + (role == TIMED)


def _axes(name: Any) -> tuple[str, ...]:
    return (name,) if isinstance(name, str) else tuple(name or ())


def _dividing(mesh: Mesh, name: Any, size: int) -> Any:
    """The mesh axes of an axis whose shards are alike: XLA fills a last one up with rows that must not count."""
    return None if size % math.prod(mesh.shape[axis] for axis in _axes(name)) else name
