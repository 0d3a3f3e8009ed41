"""The compiled library: where it is, why it is not, and how it is called, also shard by shard."""

import ctypes
import functools
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

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


NOTHING = (0,)
"""The shape of an array that a call has not."""


def call_library(
    target: str,
    shapes: tuple[tuple[int, ...], ...],
    *operands: Array,
    cell: int,
    reverse: bool,
    aliases: tuple[tuple[int, int], ...] = (),
) -> list[Array]:
    """Calls the library; results are float32 in `shapes`.

    Operands and results are `[groups, time, batch, ...]`, `[groups, batch, hidden]` or, without a batch, weights: the
    first operand and the first result tell the time and the batch.
    """
    ranks = (tuple(x.shape for x in operands), shapes)
    return _callable(target, ranks, cell, reverse, aliases)(*operands)


def _batch_axis(target: str, place: int, shape: tuple[int, ...], result: bool) -> int | None:
    """Where an array of the library's signature has its batch; the first of rank 3 after the weights is the carry."""
    if shape == NOTHING:
        return None
    if result:
        return 2 if len(shape) == 4 else 1
    weights = {FORWARD: (1, 2, 3, 4), BACKWARD: (0,)}[target]
    if place in weights:
        return None
    mask = place in {FORWARD: (9, 10), BACKWARD: (4, 5)}[target]
    return 2 if len(shape) == 4 or mask else 1


@functools.lru_cache(maxsize=256)
def _callable(target: str, shapes: tuple, cell: int, reverse: bool, aliases: tuple) -> Any:
    """The call as a function that XLA may split along the batch: every sequence is on its own."""
    takes, gives = shapes
    places = [[_batch_axis(target, i, s, bool(r)) for i, s in enumerate(part)] for r, part in enumerate(shapes)]
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
        spec = tuple(operands[lead].sharding.spec) + (None,) * 4
        name = spec[axis]
        return mesh, run, shardings(mesh, places[1], gives, name), shardings(mesh, places[0], takes, name)

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
