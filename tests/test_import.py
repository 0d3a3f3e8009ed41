"""`import lstm_jax` costs little beyond `import jax`."""

import statistics
import subprocess
import sys

HEAVY = ("flax", "haiku", "equinox", "torch", "keras", "matplotlib", "optax", "orbax", "rich", "sklearn", "scipy")

# Processor time, not the clock: other work on the machine does not count. What numpy or jax bring along is theirs.
SCRIPT = f"""
import sys, time
import jax
before = set(sys.modules)
start = time.process_time()
import lstm_jax
took = time.process_time() - start
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(took, *sorted(new & set({HEAVY!r})))
"""


def test_import_is_light():
    took = []
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
        seconds, *heavy = out.split()
        took.append(float(seconds))
        assert not heavy, f"`import lstm_jax` also imports {heavy}"
    assert statistics.median(took) < 0.25  # 0.11 s on an idle machine, of which the family of cells takes 0.05


def test_lazy_rooms_open_when_asked():
    import lstm_jax

    for name in ("convert", "data", "losses", "models", "tasks", "training"):
        assert getattr(lstm_jax, name).__name__ == f"lstm_jax.{name}"
    assert not hasattr(lstm_jax, "no_such_room")
