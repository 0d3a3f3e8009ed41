"""Batches that are spread over devices: each device runs its own shard, and nothing is gathered."""

import functools
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
Names = tuple[str | None, ...]
"""For every axis the mesh axis along which it is spread."""


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

    def shardings(mesh: Mesh, starts: list[int | None], names: Names) -> tuple[NamedSharding, ...]:
        specs = (PartitionSpec(*([None] * s + list(names) if s is not None else [])) for s in starts)
        return tuple(NamedSharding(mesh, spec) for spec in specs)

    def partition(_: Any, operands: Any, __: Any) -> tuple:
        start = starts[seq.xs]
        mesh, spread = _tiles(operands[seq.xs].sharding, shapes[seq.xs].ndim)
        sizes = shapes[seq.xs].shape[start : start + batch]
        names = tuple(_dividing(mesh, name, size) for name, size in zip(spread[start:], sizes, strict=False))
        added = tuple(name for name in names if name is not None)

        def local(*operands: Array) -> tuple[Array, ...]:
            out = zip(whole(*operands), gives, strict=True)
            return tuple(lax.psum(x, added) if role == WEIGHT and added else x for x, role in out)

        return mesh, local, shardings(mesh, ends, names), shardings(mesh, starts, names)

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
    split.def_partition(partition, sharding_rule=rule, need_replication_factors=others, decode_shardings=False)
    return split


def _start(role: str, depth: int) -> int | None:
    return None if role == WEIGHT else depth + (role == TIMED)


def _tiles(sharding: Any, axes: int) -> tuple[Mesh, Names]:
    """A mesh with an axis for each axis of an array, and the names of those along which it is spread.

    XLA may split an axis of the caller's mesh in two, which no PartitionSpec can say; that is why jax is asked for the
    sharding as XLA has it.
    """
    tiles, devices = sharding._to_xla_hlo_sharding(axes), np.array(list(sharding._device_assignment))
    if tiles.is_replicated():
        return Mesh(devices, ("all",)), (None,) * axes
    shape = tiles.tile_assignment_dimensions()
    names = tuple(f"tile{i}" for i in range(len(shape)))
    mesh = Mesh(devices[np.array(tiles.tile_assignment_devices())].reshape(shape), names)
    return mesh, tuple(name if mesh.shape[name] > 1 else None for name in names[:axes])


def _dividing(mesh: Mesh, name: str | None, size: int) -> str | None:
    """The mesh axis of an axis whose shards are alike: XLA fills a last one up with rows that must not count."""
    return None if name is None or size % mesh.shape[name] else name
