"""How the workers of a team get what the others computed: through shared memory, or through global memory.

Each step a worker publishes its columns of a matrix `[64, rows of the weights]` and multiplies the whole of it by its
own columns of the weights, which stay in shared memory. A float32 number is published as two bfloat16, and a product of
two such is three: relative error about 2^-17, beside 2^-11 of TensorFloat-32.

References: https://docs.jax.dev/en/latest/pallas/gpu/reference.html
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.mosaic import gpu as mgpu
from jax.experimental.mosaic.gpu import utils
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import llvm

from lstm_jax.kernels.mosaic_gpu.plan import ROWS, Plan
from lstm_jax.types import Array

PATIENCE = 2**26
"""Polls of a counter, each some hundred nanoseconds, before a worker gives up: the kernel then ends with an error."""

PAIRS = ((0, 0), (0, 1), (1, 0))
"""Of parts of a number that is published, and of a weight: those whose product counts."""


def split(x: Array, parts: int) -> tuple[Array, ...]:
    """Returns bfloat16 numbers whose sum is x, but for rounding; inside a kernel, where a cast is a cast."""
    high = x.astype(jnp.bfloat16)
    return (high,) if parts == 1 else (high, (x - high.astype(x.dtype)).astype(jnp.bfloat16))


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One worker's side of it."""

    plan: Plan
    me: Any
    """This worker's number in its team."""
    slot: Any
    """Where its own weights are among those in the block's shared memory."""
    weights: Any
    """Ref `[local, parts, chunks, chunk, columns]`, shared memory."""
    tile: Any
    """Ref `[depth, parts, 64, chunk]`, shared memory: what is multiplied by them."""
    copied: Any
    """Barriers of copies into `tile`, one for each that may be under way in this block."""
    written: Any
    """Barrier at which a team has published, where its workers are one block."""
    read: Any
    """Barrier at which a team has read what it shares."""

    def publish(self, i: Any, pieces: tuple[Array, ...]) -> None:
        """Hands out this worker's columns of step i, `[64, units]` each."""
        raise NotImplementedError

    def product(self, i: Any) -> Array:
        """Returns all that was published at step i by this worker's weights, `[64, columns]`."""
        raise NotImplementedError

    def finish(self) -> None:
        """Waits until something else may be published."""
        raise NotImplementedError

    def _write(self, ref: Any, pieces: tuple[Array, ...]) -> None:
        """Writes this worker's columns of `[parts, 64, rows of the weights]`."""
        units = self.plan.units
        for piece, x in enumerate(pieces):
            columns = pl.ds(pl.multiple_of(self.me * self.plan.width + piece * units, units), units)
            for part, number in enumerate(split(x, self.plan.parts)):
                ref[part, :, columns] = number

    def _multiply(self, place: Any, chunk: Any) -> Array:
        """One chunk's share of the product."""

        def scoped(acc: Any) -> Array:
            for a, w in PAIRS[: 1 if self.plan.parts == 1 else None]:
                plgpu.wgmma(acc, self.tile.at[place, a], self.weights.at[self.slot, w, chunk])
            return acc[...]

        return pl.run_scoped(scoped, plgpu.WGMMAAccumulatorRef((ROWS, self.plan.columns), jnp.float32))


class InBlock(Exchange):
    """All in shared memory; `tile` is what everyone publishes to, and all have read it before it changes."""

    def publish(self, i: Any, pieces: tuple[Array, ...]) -> None:
        self._write(self.tile.at[0], pieces)
        plgpu.commit_smem()
        plgpu.barrier_arrive(self.written)

    def product(self, i: Any) -> Array:
        plgpu.barrier_wait(self.written)
        product = self._multiply(0, 0)
        plgpu.barrier_arrive(self.read)
        return product

    def finish(self) -> None:
        plgpu.barrier_wait(self.read)


@dataclasses.dataclass(frozen=True)
class AcrossGrid(Exchange):
    """Through global memory, in two places by turns: nobody publishes before all have read what stood there before."""

    public: Any
    """Ref `[2, parts, 64, rows]`, global memory."""
    counter: Any
    """Of the team: how often its workers have published. None in the interpreter, where `written` takes its place."""

    def publish(self, i: Any, pieces: tuple[Array, ...]) -> None:
        self._write(self.public.at[lax.rem(i, jnp.int32(2))], pieces)
        if self.counter is None:
            plgpu.barrier_arrive(self.written)
        else:
            _count(self.counter)  # pyright: ignore[reportCallIssue] -- the context is the decorator's to give

    def product(self, i: Any) -> Array:
        plan = self.plan

        def place(chunk: Any) -> Any:
            return self.slot * plan.depth + lax.rem(chunk, jnp.int32(plan.depth))

        def fetch(chunk: Any) -> None:
            for part in range(plan.parts):
                plgpu.copy_gmem_to_smem(
                    self.public.at[lax.rem(i, jnp.int32(2)), part, :, pl.ds(chunk * plan.chunk, plan.chunk)],
                    self.tile.at[place(chunk), part],
                    self.copied.at[place(chunk)],
                )

        def multiply(chunk: Any) -> Array:
            plgpu.barrier_wait(self.copied.at[place(chunk)])
            return self._multiply(place(chunk), chunk)

        def multiply_and_refill(chunk: Any) -> Array:
            product = multiply(chunk)
            fetch(chunk + plan.depth)
            return product

        if self.counter is None:
            plgpu.barrier_wait(self.written)
        else:
            _await(self.counter, (i + 1) * plan.workers)  # pyright: ignore[reportCallIssue]
        for chunk in range(plan.depth):
            fetch(jnp.int32(chunk))
        last = plan.chunks - plan.depth
        total = (multiply_and_refill if last else multiply)(jnp.int32(0))
        total = _sum(1, last, multiply_and_refill, total)
        return _sum(max(1, last), plan.chunks, multiply, total)

    def finish(self) -> None:
        pass


def _sum(first: int, end: int, term: Any, total: Array) -> Array:
    return lax.fori_loop(jnp.int32(first), jnp.int32(end), lambda n, total: total + term(n), total)


# Counters, in words of the machine: jax's own semaphores wait for ever.


@plgpu.inline_mgpu(arg_types=(plgpu.RefType(),))
def _count(_: Any, counter: Any) -> None:
    """All that this worker wrote is there for others, also for copies, and it has published once more."""
    _machine("fence.proxy.async;")
    utils.warpgroup_barrier()
    one = utils.single_thread_predicate(utils.ThreadSubset.WARPGROUP)
    _machine("@$1 red.release.gpu.global.add.u32 [$0], 1;", (utils.memref_ptr(counter), "l"), (one, "b"))


@plgpu.inline_mgpu(arg_types=(plgpu.RefType(), plgpu.Layout.WG_SPLAT(())))
def _await(_: Any, counter: Any, count: mgpu.FragmentedArray) -> None:
    """Waits until a team has published so often; after `PATIENCE` polls it stops the kernel with an error."""
    with utils.single_thread(scope=utils.ThreadSubset.WARPGROUP):
        _machine(
            f"""{{
            .reg .pred done;
            .reg .u32 seen, polls;
            mov.u32 polls, 0;
            again:
            ld.acquire.gpu.global.u32 seen, [$0];
            setp.ge.u32 done, seen, $1;
            @done bra over;
            add.u32 polls, polls, 1;
            setp.lt.u32 done, polls, {PATIENCE};
            @done bra again;
            trap;
            over:
            }}""",
            (utils.memref_ptr(counter), "l"),
            (count.registers.item(), "r"),
        )
    utils.warpgroup_barrier()
    _machine("fence.proxy.async;")


def _machine(code: str, *operands: tuple[Any, str]) -> None:
    kinds = ",".join(kind for _, kind in operands)
    llvm.inline_asm(ir.Type.parse("!llvm.void"), [x for x, _ in operands], code, kinds, has_side_effects=True)
