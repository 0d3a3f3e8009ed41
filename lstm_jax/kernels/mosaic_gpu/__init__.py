"""Pallas kernels for NVIDIA's Hopper GPUs: one launch for a whole sequence, the recurrent weights resident on chip.

A team of workers runs 64 sequences. A worker, four warps, owns some units with all their gates, and keeps its columns
of the recurrent weights in shared memory; each step it multiplies what the whole team computed by them. The team of a
small cell is one block, whose workers meet in shared memory; that of a large one is spread over multiprocessors and
meets in global memory. The input product, the pre-activations of the backward pass and the weights' gradients are one
large product each, outside; what is kept for the backward loop is the carry that each step started from.

Tested in Pallas's interpreter, and taken by the compiler of GPUs (`tests/compile_gpu.py`). It has never run on one, and
is taken by name alone.

References: https://docs.jax.dev/en/latest/pallas/gpu/index.html; on keeping weights resident, Diamos et al. 2016,
https://proceedings.mlr.press/v48/diamos16.html
"""

from typing import Any

from lstm_jax.kernels.mosaic_gpu.plan import limits as limits
from lstm_jax.types import Carry


def run_mosaic(*call: Any) -> tuple[Carry, Any]:
    """The same results as `xla.run` up to rounding; reverse mode, any order."""
    from lstm_jax.kernels.mosaic_gpu import engine  # Pallas, which takes as long to import as all of this library

    return engine.run_mosaic(*call)
