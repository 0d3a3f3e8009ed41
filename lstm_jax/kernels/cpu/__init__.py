"""C++ loops behind XLA's foreign function interface: one call for a whole sequence."""

from lstm_jax.kernels.cpu.engine import ENGINE, run_cpu
from lstm_jax.kernels.cpu.library import instructions, missing

__all__ = ["ENGINE", "instructions", "missing", "run_cpu"]
