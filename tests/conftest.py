"""Every test runs with strict dtype promotion; warnings are errors (pyproject)."""

import os
import signal

import pytest

# A shell starts what runs in its background with SIGINT ignored, and children inherit that: the tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Nearly all of the tests' time is compilation of tiny programs: leave out what makes large ones fast.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0 "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

import jax
from hypothesis import settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_threefry_partitionable", True)

# Compiling a drawn shape takes as long as it takes; the same examples in every run, so that a failure is a change.
settings.register_profile("lstm_jax", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("lstm_jax")


@pytest.fixture(scope="module", autouse=True)
def compiled_programs():
    """Given up after every file: each takes some of the 65,530 mappings that Linux allows a process."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """float64 for one test."""
    with jax.enable_x64(True):
        yield
