"""The two loops: a team takes its 64 sequences through all steps, forward or back, and goes on to the next 64.

Arrays are float32 and begin with the groups: `[group, time, rows, slots, units]` in every step, `[group, leaves, rows,
units]` for states, masks `[group, time, rows]`; rows are filled up to multiples of 64, units to those of the plan. What
stands in the units beyond the cell's own stays there: their rows of the weights are zero.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lstm_jax.kernels.mosaic_gpu.exchange import AcrossGrid, Exchange, InBlock
from lstm_jax.kernels.mosaic_gpu.gates import gates_of, pull, update
from lstm_jax.kernels.mosaic_gpu.plan import ROWS, Plan
from lstm_jax.types import Array

TEAM, WORKER, THREAD = "lstm_jax_team", "lstm_jax_worker", "lstm_jax_thread"
"""Of the grid; an axis of a mesh around it must not have the same name."""

INTERPRET: Any = False
"""What Pallas interprets the kernels with, for tests; there a team's workers are always one block."""


class Forward(NamedTuple):
    """What the loop forward reads."""

    weights: Array
    """`[group, worker, parts, chunks, chunk, columns]` bfloat16"""
    inputs: Array
    bias: Array | None
    """`[group, 64, units]`: that of the GRU's recurrent part."""
    states: Array
    first: Array | None
    """The states after a reset."""
    valid: Array | None
    resets: Array | None
    """Whether there is a reset after a step, in the loop's order."""


class Backward(NamedTuple):
    """What the loop backward reads."""

    weights: Array
    slots: Array
    """The pre-activations of every step."""
    before: Array
    """`[group, time, rows, leaves, units]`: the states that each step started from."""
    d_ys: Array
    d_states: Array
    valid: Array | None
    resets: Array | None
    """Whether there is a reset before a step."""


class _Team(NamedTuple):
    """What a worker computes: its sequences and its units."""

    group: Any
    rows: Any
    units: Any
    exchange: Exchange

    def step(self, ref: Any, t: Any, slot: int) -> Any:
        return ref.at[self.group, t, self.rows, slot, self.units]

    def state(self, ref: Any, leaf: int) -> Any:
        return ref.at[self.group, leaf, self.rows, self.units]

    def mask(self, ref: Any, t: Any, like: Array) -> Array:
        """Bools, alike in all units of a sequence."""
        rows = _read(ref.at[self.group, t, self.rows], plgpu.Layout.WGMMA.reduce(1))
        return lax.broadcast_in_dim(rows, like.shape, (0,)) > 0


def _read(ref: Any, layout: Any = plgpu.Layout.WGMMA) -> Array:
    """Global memory, spread over a worker's registers as products are; the interpreter knows no such layouts."""
    return ref[...] if INTERPRET else plgpu.load(ref, (), layout=layout, optimized=False)


def _zeros(plan: Plan) -> Array:
    zeros = jnp.zeros((ROWS, plan.units), jnp.float32)
    return zeros if INTERPRET else plgpu.layout_cast(zeros, plgpu.Layout.WGMMA)


def _each(many: Any, body: Callable, state: Any) -> Any:
    """`state = body(i, state)` for so many i."""
    return lax.fori_loop(jnp.int32(0), jnp.int32(many), body, state)


def _pick(mask: Array, a: tuple, b: tuple) -> tuple:
    return tuple(jnp.where(mask, x, y) for x, y in zip(a, b, strict=True))


def forward(cell: Any, plan: Plan, reverse: bool, keep: bool, given: Forward, dtype: Any) -> tuple[Array, ...]:
    """Returns ys `[group, time, rows, 1, units]` in `dtype`, the last states, and to `keep` those before each step."""
    groups, time, rows, _, _ = given.inputs.shape
    leaves, kind = given.states.shape[1], gates_of(cell)
    out = [
        jax.ShapeDtypeStruct((groups, time, rows, 1, plan.hidden), dtype),
        jax.ShapeDtypeStruct(given.states.shape, jnp.float32),
    ]
    if keep:
        out.append(jax.ShapeDtypeStruct((groups, time, rows, leaves, plan.hidden), jnp.float32))

    def sequence(team: _Team, given: Any, ys: Any, last: Any, before: Any = None) -> None:
        states = tuple(_read(team.state(given.states, n)) for n in range(leaves))
        team.exchange.publish(jnp.int32(0), states[:1])

        def step(i: Any, states: tuple) -> tuple:
            t = time - 1 - i if reverse else i
            if keep:
                for n, state in enumerate(states):
                    team.step(before, t, n)[...] = state
            inputs = tuple(_read(team.step(given.inputs, t, slot)) for slot in range(kind.inputs))
            product = team.exchange.product(i)
            bias = None if given.bias is None else _read(given.bias.at[team.group, :, team.units])
            products = tuple(product[:, n * plan.units : (n + 1) * plan.units] for n in range(plan.gates))
            after = update(cell, states, inputs, products, bias)
            y = after[0]
            if given.valid is not None:
                valid = team.mask(given.valid, t, y)
                after, y = _pick(valid, after, states), jnp.where(valid, y, jnp.zeros_like(y))
            if given.resets is not None:
                first = tuple(_read(team.state(given.first, n)) for n in range(leaves))
                after = _pick(team.mask(given.resets, t, y), first, after)
            team.exchange.finish()

            @pl.when(i < time - 1)
            def _() -> None:
                team.exchange.publish(i + 1, after[:1])

            team.step(ys, t, 0)[...] = y.astype(ys.dtype)  # what others wait for comes first
            return after

        for n, state in enumerate(_each(time, step, states)):
            team.state(last, n)[...] = state

    return _launch(plan, sequence, given, out)


def backward(cell: Any, plan: Plan, reverse: bool, given: Backward) -> tuple[Array, ...]:
    """Returns the cotangents of pre-activations, of the first states, and of those after a reset where there are."""
    _, time, _, _, _ = given.slots.shape
    leaves, kind = given.before.shape[3], gates_of(cell)
    states = jax.ShapeDtypeStruct(given.d_states.shape, jnp.float32)
    out = [jax.ShapeDtypeStruct(given.slots.shape, jnp.float32), states]
    if given.resets is not None:
        out.append(states)

    def sequence(team: _Team, given: Any, d_slots: Any, d_states: Any, d_first: Any = None) -> None:
        def step(i: Any, carry: tuple) -> tuple:
            d, d_reset = carry
            t = i if reverse else time - 1 - i
            a = tuple(_read(team.step(given.slots, t, slot)) for slot in range(kind.slots))
            before = tuple(_read(team.step(given.before, t, n)) for n in range(leaves))
            d_y = _read(team.step(given.d_ys, t, 0))
            d_before, d_a = pull(cell, before, a, (d[0] + d_y, *d[1:]))
            nothing = jnp.zeros_like(d_y)
            valid = None if given.valid is None else team.mask(given.valid, t, d_y)
            if valid is not None:
                d_a = tuple(jnp.where(valid, x, nothing) for x in d_a)
            team.exchange.publish(i, tuple(d_a[slot] for slot in kind.recurrent))
            for slot, x in enumerate(d_a):
                team.step(d_slots, t, slot)[...] = x
            d_before = (d_before[0] + team.exchange.product(i), *d_before[1:])
            team.exchange.finish()
            d = d_before if valid is None else _pick(valid, d_before, d)
            if given.resets is not None:
                reset = team.mask(given.resets, t, d_y)
                d_reset = tuple(x + jnp.where(reset, y, nothing) for x, y in zip(d_reset, d, strict=True))
                d = tuple(jnp.where(reset, nothing, x) for x in d)
            return d, d_reset

        last = tuple(_read(team.state(given.d_states, n)) for n in range(leaves))
        none = tuple(_zeros(plan) for _ in range(leaves)) if given.resets is not None else ()
        d, d_reset = _each(time, step, (last, none))
        for n, x in enumerate(d):
            team.state(d_states, n)[...] = x
        for n, x in enumerate(d_reset):
            team.state(d_first, n)[...] = x

    return _launch(plan, sequence, given, out)


def _launch(plan: Plan, sequence: Callable, given: Any, out: list) -> tuple[Array, ...]:
    """Runs `sequence(team, given, *out)` for every 64 rows of every group, with refs in the place of arrays."""
    read, tree = jax.tree.flatten(given)
    blocks = given[1].shape[2] // ROWS
    teams = given.weights.shape[0] * blocks
    resident, interpreted = plan.resident(teams), INTERPRET is not False
    threads = plan.workers if interpreted else plan.local
    if plan.across:
        out = [*out, jax.ShapeDtypeStruct((teams, 2, plan.parts, ROWS, plan.rows), jnp.bfloat16)]

    def kernel(*refs: Any) -> None:
        *arrays, weights, tile, loaded, copied, written, read_by_all = refs
        given, results = jax.tree.unflatten(tree, arrays[: len(read)]), arrays[len(read) :]
        slot = lax.axis_index(THREAD)
        me = slot if threads == plan.workers else lax.axis_index(WORKER)
        public = results.pop() if plan.across else None
        counters = None
        if plan.across and not interpreted:
            counters = pl.get_global(plgpu.SemaphoreType.REGULAR((teams,)))

        def turn(n: Any, _: None) -> None:
            team = lax.axis_index(TEAM) + n * resident
            group, block = lax.div(team, jnp.int32(blocks)), lax.rem(team, jnp.int32(blocks))
            for part in range(plan.parts):
                for chunk in range(plan.chunks):
                    plgpu.copy_gmem_to_smem(
                        given.weights.at[group, me, part, chunk], weights.at[slot, part, chunk], loaded.at[slot]
                    )
            plgpu.barrier_wait(loaded.at[slot])
            parts = (plan, me, slot, weights, tile, copied, written, read_by_all)
            if public is not None:
                exchange = AcrossGrid(*parts, public.at[team], None if counters is None else counters.at[team])
            else:
                exchange = InBlock(*parts)
            rows = pl.ds(pl.multiple_of(block * ROWS, ROWS), ROWS)
            units = pl.ds(pl.multiple_of(me * plan.units, plan.units), plan.units)
            sequence(_Team(group, rows, units, exchange), given, *results)

        turns = lax.div(teams - lax.axis_index(TEAM) + resident - 1, jnp.int32(resident))
        _each(turns, turn, None)

    tiled = (plgpu.TilingTransform((8, plan.swizzle // 2)), plgpu.SwizzleTransform(plan.swizzle))
    shared = functools.partial(plgpu.SMEM, dtype=jnp.bfloat16, transforms=tiled)
    places = threads * plan.depth if plan.across else 1
    found: Any = plgpu.kernel(
        kernel,
        out_type=out,
        grid=(plan.workers // threads, resident),  # the last may be large: 65,535 is the limit of the others
        grid_names=(WORKER, TEAM),
        num_threads=threads,
        thread_name=THREAD,
        interpret=INTERPRET,
        scratch_types=(
            shared((threads, plan.parts, plan.chunks, plan.chunk, plan.columns)),
            shared((places, plan.parts, ROWS, plan.chunk)),
            plgpu.Barrier(num_arrivals=plan.parts * plan.chunks, num_barriers=threads),
            plgpu.Barrier(num_arrivals=plan.parts, num_barriers=places),
            plgpu.Barrier(num_arrivals=threads),
            plgpu.Barrier(num_arrivals=threads),
        ),
    )(*read)
    return tuple(found[: len(out) - plan.across])
