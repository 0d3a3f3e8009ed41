"""The compiled library: where it is, why it is not, and how it is called."""

import ctypes
import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

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
    target: str, results: tuple[tuple[int, ...], ...], *operands: Array, cell: int, reverse: bool
) -> list[Array]:
    """Calls the library; results, by their shapes, are float32."""
    out = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in results]
    return list(jax.ffi.ffi_call(target, out)(*operands, cell=np.int32(cell), reverse=reverse))
