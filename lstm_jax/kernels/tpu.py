"""Pallas kernels for TPUs: one launch for a whole sequence, the carry and the recurrent weights in VMEM.

The grid runs over blocks of sequences and, in order, over blocks of steps; a scratch buffer hands the carry from one
block of steps to the next. Inside stand the cell's own equations and their `jax.vjp`. The input product, the
pre-activations of the backward pass and the weights' gradients are one large product each, outside; what is kept for
the backward loop is the carry that each step started from. The recurrent weights have to fit: up to TPU v4 VMEM has
16 MiB, too little for an LSTM of 1,024 units; the compiler then says so.

Tested in Pallas's interpreter, and compiled by the compiler of TPUs (`tests/compile_tpu.py`). It has never run on one,
and is taken by name alone.

References: https://docs.jax.dev/en/latest/pallas/tpu/details.html
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from lstm_jax.cells import GRU, LSTM, Elman
from lstm_jax.kernels import loop
from lstm_jax.kernels.compiled import compiled
from lstm_jax.kernels.loop import Call
from lstm_jax.kernels.xla import Options, Sequence, select
from lstm_jax.types import Array, Carry, Params, wide

RECURRENT: dict[type, tuple[str, ...]] = {LSTM: ("w_h",), GRU: ("w_h", "b_hn"), Elman: ("w_h",)}
"""The parameters that the recurrence itself reads: the others are in the input product."""

ROWS = 128
"""Sequences of a block, at most."""
BLOCK_BYTES = 4 * 2**20
"""Of all arrays of a block of steps, about: two of each stand in VMEM, one in use and one under way."""
USUAL_LIMIT = 16 * 2**20
"""Of VMEM, where a kernel asks for no more."""

INTERPRET = False
"""Whether Pallas interprets the kernels, on any platform: for tests."""


def run_tpu(cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """The same numbers as `xla.run`; reverse mode, any order."""
    return loop.run(ENGINE, cell, options, params, seq)


class _Steps(NamedTuple):
    """What the steps read, each `[time, rows, ...]`; None where there is none."""

    a: Any
    """Forward what `project` returns, backward the pre-activations."""
    valid: Array | None
    resets: Array | None
    before: Any = None
    """The leaves of the carry that each step started from."""
    d_y: Any = None

    def at(self, i: Array) -> "_Steps":
        """One step, out of refs; masks `[rows, 1]` bool."""
        step = jax.tree.map(lambda ref: ref[i], self)
        return step._replace(**{n: m != 0 for n in ("valid", "resets") if (m := getattr(step, n)) is not None})


class _Blocks(NamedTuple):
    """How a call is cut: into blocks of sequences, and of steps in the loop's order."""

    time: int
    rows: int
    steps: int
    reverse: bool

    @classmethod
    def of(cls, tree: Any, reverse: bool) -> "_Blocks":
        """Blocks for arrays `[time, rows, ...]`, those that are read and those that are written."""
        time, rows = jax.tree.leaves(tree)[0].shape[:2]
        step = sum(_bytes((min(rows, ROWS), x.shape[2]), x.dtype) for x in jax.tree.leaves(tree))
        return cls(time, rows, min(time, max(1, BLOCK_BYTES // step)), reverse)

    def timed(self, tree: Any) -> Any:
        """Specifications of arrays `[time, rows, ...]`."""
        last = pl.cdiv(self.time, self.steps) - 1

        def spec(x: Any) -> pl.BlockSpec:
            block = (self.steps, min(self.rows, ROWS), x.shape[2])
            return pl.BlockSpec(block, lambda rows, time: (last - time if self.reverse else time, rows, 0))

        return jax.tree.map(spec, tree)

    def state(self, tree: Any) -> Any:
        """Specifications of arrays `[rows, ...]`."""
        return jax.tree.map(lambda x: pl.BlockSpec((min(self.rows, ROWS), x.shape[1]), lambda rows, _: (rows, 0)), tree)

    def launch(self, kernel: Any, args: tuple, specs: tuple, out: Any, out_specs: Any, state: Any) -> Any:
        """Calls a kernel with refs of `args`, weights first, of its results, and of a scratch buffer like `state`."""
        weights = jax.tree.map(
            lambda x: pl.BlockSpec(x.shape, lambda *_: (0, 0), pipeline_mode=pl.Buffered(1)), args[0]
        )
        moving = jax.tree.leaves((specs, out_specs), is_leaf=lambda spec: isinstance(spec, pl.BlockSpec))
        blocks = sum(_bytes(spec.block_shape, jnp.float32) for spec in moving)
        resident = sum(_bytes(x.shape, x.dtype) for x in jax.tree.leaves(args[0]))
        return pl.pallas_call(
            kernel,
            out_shape=jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), out),
            grid=(pl.cdiv(self.rows, ROWS), pl.cdiv(self.time, self.steps)),
            in_specs=(weights, *specs),
            out_specs=out_specs,
            scratch_shapes=[pltpu.VMEM((min(self.rows, ROWS), x.shape[1]), x.dtype) for x in jax.tree.leaves(state)],
            interpret=INTERPRET,
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("parallel", "arbitrary"),
                vmem_limit_bytes=max(USUAL_LIMIT, resident + 4 * blocks + USUAL_LIMIT // 2),
            ),
        )(*args)

    def each(self, step: Any) -> None:
        """Calls `step(i)` for the steps of the block in the loop's order; the last block in time may have fewer."""
        blocks = pl.cdiv(self.time, self.steps)
        block = blocks - 1 - pl.program_id(1) if self.reverse else pl.program_id(1)
        many = jnp.minimum(self.steps, self.time - block * self.steps)

        def body(i: Array, _: None) -> None:
            step(many - 1 - i if self.reverse else i)

        lax.fori_loop(0, many, body, None)


def _bytes(shape: tuple, dtype: Any) -> int:
    """What an array takes in VMEM, where the last axis has multiples of 128 and the one before of 8."""
    *lead, rows, columns = shape
    return math.prod(lead) * (-(-rows // 8) * 8) * (-(-columns // 128) * 128) * jnp.dtype(dtype).itemsize


def _read(refs: Any) -> Any:
    return jax.tree.map(lambda ref: ref[...], refs)


def _write(refs: Any, values: Any, at: Any = ...) -> None:
    for ref, value in zip(jax.tree.leaves(refs), jax.tree.leaves(values), strict=True):
        ref[at] = value.astype(ref.dtype)


def _recurrent(cell: Any, params: Params) -> Params:
    """What the recurrence reads, as matrices."""
    names = RECURRENT[type(cell)]
    kept = {name: getattr(params, name) if name in names else None for name in params._fields}
    return params._replace(**jax.tree.map(lambda w: w.reshape(-1, w.shape[-1]), kept))


def _rows(batch: tuple[int, ...], timed: bool, tree: Any) -> Any:
    """The axes of the batch as one."""
    n = math.prod(batch)
    lead, skip = (1, 1 + len(batch)) if timed else (0, len(batch))
    return jax.tree.map(lambda x: x.reshape(*x.shape[:lead], n, *x.shape[skip:]), tree)


def _unrows(batch: tuple[int, ...], timed: bool, tree: Any) -> Any:
    lead = 1 if timed else 0
    return jax.tree.map(lambda x: x.reshape(*x.shape[:lead], *batch, *x.shape[lead + 1 :]), tree)


def _column(mask: Array | None) -> Array | None:
    return None if mask is None else mask.astype(jnp.int32)[..., None]


def _run(call: Call, leaves: list, keep: bool) -> list[Array]:
    """Returns the leaves of the carry and ys, with `keep` also those of the carry before every step."""
    cell = call.cell

    def one(leaves: list) -> list[Array]:
        params, seq = call.parts(leaves)
        batch = seq.xs.shape[1:-1]
        steps = _rows(batch, True, _Steps(cell.project(params, seq.xs), _column(seq.valid), _column(seq.resets)))
        carry, first = _rows(batch, False, (seq.carry, seq.first))
        time, rows = jax.tree.leaves(steps)[0].shape[:2]
        ys = jax.ShapeDtypeStruct((time, rows, cell.hidden_size), seq.xs.dtype)
        before = jax.tree.map(lambda x: jax.ShapeDtypeStruct((time, *x.shape), x.dtype), carry) if keep else ()
        blocks = _Blocks.of((steps, ys, before), call.options.reverse)

        def kernel(params: Any, steps: _Steps, carry: Any, first: Any, ys: Any, last: Any, before: Any, *state: Any):
            @pl.when(pl.program_id(1) == 0)
            def _() -> None:
                _write(state, _read(carry))

            def step(i: Array) -> None:
                now = steps.at(i)
                c = jax.tree.unflatten(jax.tree.structure(carry), _read(state))
                if now.resets is not None:
                    c = select(now.resets, _read(first), c)
                _write(before, c if keep else (), i)
                after, y = cell.update(c, cell.preactivate(_read(params), c, now.a))
                if now.valid is not None:
                    after, y = select(now.valid, after, c), jnp.where(now.valid, y, 0)
                _write(ys, y, i)
                _write(state, after)

            blocks.each(step)
            _write(last, _read(state))

        ys, last, before = blocks.launch(
            kernel,
            (_recurrent(cell, params), steps, carry, first),
            (blocks.timed(steps), blocks.state(carry), blocks.state(first)),
            (ys, carry, before),
            (blocks.timed(ys), blocks.state(carry), blocks.timed(before)),
            carry,
        )
        return jax.tree.leaves((_unrows(batch, False, last), _unrows(batch, True, (ys, before))))

    return call.lift(one)(leaves)


def _back(call: Call, operands: list) -> list[Array]:
    cell, n, states = call.cell, call.tree.num_leaves, call.states()

    def one(operands: list) -> list[Array]:
        params, seq = call.parts(operands[:n])
        batch = seq.xs.shape[1:-1]
        before = jax.tree.unflatten(jax.tree.structure(seq.carry), operands[n : n + states])
        before = jax.tree.map(lambda x: x.astype(wide(x.dtype)), before)
        d_last, d_y = jax.tree.unflatten(call.out_tree(), operands[n + states :])

        def preactivations(params: Params, xs: Array) -> Any:
            return cell.preactivate(params, before, cell.project(params, xs))

        a, pullback = jax.vjp(preactivations, params, seq.xs)
        steps = _rows(batch, True, _Steps(a, _column(seq.valid), _column(seq.resets), before, d_y))
        d_last = jax.tree.map(lambda d, b: d.astype(b.dtype), _rows(batch, False, d_last), steps.before)
        state = (d_last, None if seq.first is None else d_last)
        blocks = _Blocks.of((steps, steps.a), not call.options.reverse)

        def kernel(params: Any, steps: _Steps, d_last: Any, slots: Any, d_state: Any, *scratch: Any):
            @pl.when(pl.program_id(1) == 0)
            def _() -> None:
                _write(scratch, jax.tree.map(jnp.zeros_like, _read(d_state)))
                _write(scratch[:states], _read(d_last))

            def step(i: Array) -> None:
                now = steps.at(i)
                d_c, d_first = jax.tree.unflatten(jax.tree.structure(d_state), _read(scratch))
                d_after, d_y, held = d_c, now.d_y, None
                if now.valid is not None:
                    nothing = jax.tree.map(jnp.zeros_like, d_c)
                    d_after, held = select(now.valid, d_c, nothing), select(now.valid, nothing, d_c)
                    d_y = jnp.where(now.valid, d_y, 0)
                (_, y), back = jax.vjp(cell.update, now.before, now.a)
                d_c, d_a = back((d_after, d_y.astype(y.dtype)))
                _write(slots, d_a, i)
                weights, z = _read(params), jnp.zeros((y.shape[0], len(cell.gates) * cell.hidden_size), y.dtype)
                (through,) = jax.linear_transpose(lambda c: cell.preactivate(weights, c, z), now.before)(d_a)
                d_c = jax.tree.map(jnp.add, d_c, through)
                if held is not None:
                    d_c = jax.tree.map(jnp.add, d_c, held)
                if now.resets is not None:
                    nothing = jax.tree.map(jnp.zeros_like, d_c)
                    d_first = jax.tree.map(jnp.add, d_first, select(now.resets, d_c, nothing))
                    d_c = select(now.resets, nothing, d_c)
                _write(scratch, (d_c, d_first))

            blocks.each(step)
            _write(d_state, _read(scratch))

        slots, d_state = blocks.launch(
            kernel,
            (_recurrent(cell, params), steps, d_last),
            (blocks.timed(steps), blocks.state(d_last)),
            (steps.a, state),
            (blocks.timed(steps.a), blocks.state(state)),
            state,
        )
        d_params, d_xs = pullback(_unrows(batch, True, slots))
        d_carry, d_first = _unrows(batch, False, d_state)
        return call.cotangents(operands, d_params, d_xs, d_carry, d_first)

    return call.lift(one)(operands)


ENGINE = compiled("tpu", _run, _back, residuals=Call.states, platform="tpu")
