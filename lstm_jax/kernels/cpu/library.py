"""The compiled library: where it is, why it is not, and how it is called, also shard by shard."""

import ctypes
import functools
import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lstm_jax.kernels.loop import STATE, TIMED, WEIGHT
from lstm_jax.types import Array

PATH = Path(os.environ.get("LSTM_JAX_CPU_LIBRARY", Path(__file__).parent / "liblstm_jax_cpu.so"))
FORWARD, BACKWARD = "lstm_jax_forward", "lstm_jax_backward"


@functools.cache
def _load() -> ctypes.CDLL | str:
    """Returns the library, registered with XLA, or why it is not there."""
    if not PATH.exists():
        return "not built: lstm_jax was installed without a C++ compiler"
    try:
        library = ctypes.CDLL(str(PATH))
    except OSError as error:
        return f"its library does not load: {error}"
    for name in (FORWARD, BACKWARD):
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return library


def missing() -> str | None:
    """Returns why the kernels are not there, None where they are."""
    library = _load()
    return library if isinstance(library, str) else None


def instructions() -> str:
    """Returns the instruction set that the kernels run with here: "baseline", "avx2", "avx512" or "neon"."""
    library = _load()
    if isinstance(library, str):
        raise RuntimeError(f"'cpu' kernels: {library}")
    library.lstm_jax_instructions.restype = ctypes.c_char_p
    return library.lstm_jax_instructions().decode()


NOTHING = (WEIGHT, (0,))
"""The role and the shape of an array that a call has not."""

_BATCH = {TIMED: 2, STATE: 1, WEIGHT: None}
"""Where arrays have their batch: `[groups, time, batch, ...]`, `[groups, batch, hidden]`, or nowhere."""


def call_library(
    target: str,
    results: tuple[tuple[str, tuple[int, ...]], ...],
    *operands: tuple[str, Array],
    cell: int,
    reverse: bool,
    aliases: tuple[tuple[int, int], ...] = (),
) -> list[Array]:
    """Calls the library with arrays and their roles; results, by role and shape, are float32."""
    takes = tuple((role, x.shape) for role, x in operands)
    return _callable(target, takes, results, cell, reverse, aliases)(*(x for _, x in operands))


@functools.lru_cache(maxsize=256)
def _callable(target: str, takes: tuple, gives: tuple, cell: int, reverse: bool, aliases: tuple) -> Any:
    """The call as a function that XLA may split along the batch: every sequence is on its own, weights' cotangents are
    added up."""
    places = [[_BATCH[role] for role, _ in part] for part in (takes, gives)]
    takes, gives = (tuple(shape for _, shape in part) for part in (takes, gives))
    lead, axis = next((i, axis) for i, axis in enumerate(places[0]) if axis is not None)

    def run(*operands: Array) -> Any:
        batch = operands[lead].shape[axis]
        out = [
            jax.ShapeDtypeStruct(tuple(batch if i == at else n for i, n in enumerate(shape)), jnp.float32)
            for shape, at in zip(gives, places[1], strict=True)
        ]
        call = jax.ffi.ffi_call(target, out, input_output_aliases=dict(aliases))
        return tuple(call(*operands, cell=np.int32(cell), reverse=reverse))

    def shardings(mesh: Any, axes: list, shapes: tuple, name: Any) -> tuple:
        specs = ([name if i == axis else None for i in range(len(s))] for s, axis in zip(shapes, axes, strict=True))
        return tuple(NamedSharding(mesh, PartitionSpec(*spec)) for spec in specs)

    def partition(mesh: Any, operands: Any, results: Any) -> tuple:
        if mesh.empty:  # under `jax.set_mesh`, with no argument on that mesh: what is split has no name
            mesh, name = Mesh(np.array(list(operands[lead].sharding.device_set)), ("all",)), None
        else:
            name = (tuple(operands[lead].sharding.spec) + (None,) * 4)[axis]
        names = (name,) if isinstance(name, str) else name or ()
        if takes[lead][axis] % math.prod(mesh.shape[n] for n in names):
            name = None  # XLA would fill the last shard up with rows that must not count

        def local(*operands: Array) -> Any:
            return tuple(
                x if at is not None or name is None else lax.psum(x, name)
                for x, at in zip(run(*operands), places[1], strict=True)
            )

        return mesh, local, shardings(mesh, places[1], gives, name), shardings(mesh, places[0], takes, name)

    def factors(axes: list, shapes: tuple, kind: str) -> str:
        names = (
            " ".join("batch" if i == axis else f"{kind}{place}x{i}" for i in range(len(shape)))
            for place, (shape, axis) in enumerate(zip(shapes, axes, strict=True))
        )
        return ", ".join(names)

    rule = f"{factors(places[0], takes, 'in')} -> {factors(places[1], gives, 'out')}"
    others = tuple(name for name in rule.replace(",", " ").replace("->", " ").split() if name != "batch")
    split = custom_partitioning(run)
    split.def_partition(partition, sharding_rule=rule, need_replication_factors=others)
    return split
