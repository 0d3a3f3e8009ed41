"""What `keep_memory` promises, measured in processes of its own: it changes all of one."""

import os
import platform
import subprocess
import sys

import pytest

from lstm_jax.kernels import memory

# Page faults of a call that fills new large arrays: the median, since the heap may still grow at one call or another.
SCRIPT = """
import resource, statistics, sys
import jax, jax.numpy as jnp
import lstm_jax as lj

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

print(lj.kernels.keep_memory() if sys.argv[1] == "keep" else None)
call = jax.jit(lambda x: (jnp.sin(x), jnp.cos(x)))
x = jnp.ones((40, 1 << 18))
counts = []
for _ in range(41):
    before = faults()
    jax.block_until_ready(call(x))
    counts.append(faults() - before)
print(statistics.median(counts))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_arrays_are_not_faulted_in_anew():
    def faults(keep):
        env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        run = subprocess.run([sys.executable, "-c", SCRIPT, keep], env=env, capture_output=True, text=True, check=True)
        done, count = run.stdout.split()
        return done, float(count)

    (_, usual), (done, kept) = faults("no"), faults("keep")
    assert done == "True"
    assert usual > 5000 > 100 * kept, (usual, kept)


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_memory() is False
