"""How a call is cut for a GPU: who computes what, and how much of it stands in shared memory."""

import itertools
from typing import Any, NamedTuple

import jax

from lstm_jax.kernels.mosaic_gpu.gates import gates_of

ROWS = 64
"""Sequences of a team: the rows of one `wgmma`."""
SHARED_BYTES = 225 * 1024
"""Of a block, of the 227 KiB that Hopper has: the compiler wants some for itself."""
MULTIPROCESSORS = 132
"""Of an H100 or H200 with SXM, where no GPU says how many it has."""
UNITS = (16, 32)
"""Of a worker: the width of a swizzled tile, so that 32 or 64 bytes."""
WORKERS = 4
"""Of one block, at most: they share its registers."""
TOGETHER = (8, 4, 2, 1)
"""Workers whose columns are read at a time by a block of its own."""
CHUNK, DEPTH = 192, 16
"""The most columns that it reads at a time, and the most reads that are under way."""
EXACT = ("highest", "float32", "F32_F32_F32")
"""Precisions of products that these kernels have not."""
HOPPER = "9.0"
"""The compute capability whose instructions these are."""


class Plan(NamedTuple):
    """Workers are four warps each; a team of them runs the same 64 sequences, and each of its workers some units."""

    units: int
    """Of a worker, all their gates."""
    workers: int
    """Of a team."""
    gates: int
    """Of the recurrent product."""
    parts: int
    """bfloat16 numbers that stand for one number of a product."""
    across: bool
    """Whether every worker is a block of its own, and not a part of one."""
    chunk: int
    """Rows of the weights that are multiplied at a time."""
    depth: int
    """Chunks of what the others published that are in shared memory at once, or under way to it."""
    back: bool
    """Whether this is the backward pass: units receive the cotangents of all gates, and publish those of their own."""

    @property
    def hidden(self) -> int:
        """Units of a team: those of the cell, filled up."""
        return self.units * self.workers

    @property
    def width(self) -> int:
        """Columns that a worker publishes."""
        return self.units * (self.gates if self.back else 1)

    @property
    def rows(self) -> int:
        """Of a worker's weights: all that its team publishes."""
        return self.width * self.workers

    @property
    def columns(self) -> int:
        """Of a worker's weights."""
        return self.units * (1 if self.back else self.gates)

    @property
    def chunks(self) -> int:
        return self.rows // self.chunk

    @property
    def weights(self) -> int:
        """Bytes of shared memory that the weights of a block take."""
        return 2 * self.parts * self.local * self.rows * self.columns

    @property
    def place(self) -> int:
        """Bytes of shared memory that a chunk takes."""
        return 2 * self.parts * ROWS * self.chunk

    @property
    def shared(self) -> int:
        return self.weights + self.depth * self.place

    @property
    def local(self) -> int:
        """Workers of a block."""
        return 1 if self.across else self.workers

    @property
    def swizzle(self) -> int:
        """Of every tile in shared memory, in bytes: as wide as the units of a worker."""
        return 2 * self.units

    def resident(self, teams: int) -> int:
        """How many teams run at once; the others follow.

        Nothing makes their blocks resident but that there is room for them: what else runs on a GPU at the same time
        may take it, and a kernel that waits for a block in vain ends with an error.
        """
        return min(teams, multiprocessors() // self.workers) if self.across else teams


def multiprocessors() -> int:
    """Of the smallest GPU here: blocks that wait for each other must all be resident, one on each."""
    return min((getattr(gpu, "core_count", MULTIPROCESSORS) for gpu in gpus()), default=MULTIPROCESSORS)


def gpus() -> list[Any]:
    return [device for device in jax.devices() if device.platform == "gpu"]


def fit(hidden: int, gates: int, dtype: str, back: bool) -> Plan | None:
    """Returns how a pass is cut, None where the weights of the units fit nowhere.

    One block where that has room, since its workers meet in shared memory; then as many blocks as that takes, and of
    these the more the better, since each reads what the others publish at the same time. There may be a few too many,
    so that the columns that all of them publish are whole chunks.
    """
    parts = 1 if dtype == "bfloat16" else 2
    for across, units, together in itertools.product((False, True), UNITS, TOGETHER):
        least = -(-hidden // units)
        workers = -(-least // together) * together if across else least
        plan = Plan(units, workers, gates, parts, across, 0, 1, back)
        plan = plan._replace(chunk=plan.width * (together if across else workers))
        plan = plan._replace(depth=min(plan.chunks, DEPTH, (SHARED_BYTES - plan.weights) // plan.place))
        fits = workers <= multiprocessors() and plan.chunk <= CHUNK if across else workers <= WORKERS
        if fits and workers <= least + 1 + least // 16 and plan.depth >= min(2, plan.chunks):
            return plan
    return None


def limits(cell: Any, dtype: str) -> str | None:
    """Why a call is not served, None where it is."""
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    if dtype == "float32" and precision in EXACT:
        return f"`jax_default_matmul_precision`: 'mosaic_gpu' multiplies to about 2^-17 in its loops, got {precision!r}"
    others = {kind for gpu in gpus() if (kind := getattr(gpu, "compute_capability", HOPPER)) != HOPPER}
    if others:
        return f"platform: 'mosaic_gpu' serves compute capability {HOPPER}, got {', '.join(sorted(others))}"
    if _fits(cell, cell.hidden_size, dtype):
        return None
    most = next(n for n in range(cell.hidden_size, 0, -1) if _fits(cell, n, dtype))
    return f"`cell`: 'mosaic_gpu' serves up to {most} units in {dtype}, got {cell.hidden_size}"


def _fits(cell: Any, hidden: int, dtype: str) -> bool:
    return all(fit(hidden, len(gates_of(cell).recurrent), dtype, back) for back in (False, True))
