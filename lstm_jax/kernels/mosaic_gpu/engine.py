"""How a call of `scan` becomes one launch each, forward and backward, and what stands around them."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.kernels import loop
from lstm_jax.kernels.compiled import compiled
from lstm_jax.kernels.loop import Call
from lstm_jax.kernels.mosaic_gpu import loops
from lstm_jax.kernels.mosaic_gpu.gates import gates_of
from lstm_jax.kernels.mosaic_gpu.plan import ROWS, Plan, fit
from lstm_jax.kernels.xla import Options, Sequence, select
from lstm_jax.types import Array, Carry, Params


def run_mosaic(cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """The same results as `xla.run` up to rounding; reverse mode, any order."""
    return loop.run(ENGINE, cell, options, params, seq)


def _plan(call: Call, operands: list, back: bool) -> Plan:
    cell, seq = call.cell, call.indices()[1]
    plan = fit(cell.hidden_size, len(gates_of(cell).recurrent), str(operands[seq.xs].dtype), back)
    assert plan is not None, "`limits` comes first"
    return plan


# Arrays as the loops want them. `[group, time, rows, slots, units]`: one axis each of groups and rows, filled up.


def _filled(x: Array, axis: int, size: int) -> Array:
    return jnp.pad(x, [(0, size - n if axis % x.ndim == at else 0) for at, n in enumerate(x.shape)])


def _rows(x: Array, batch: tuple[int, ...], axis: int) -> Array:
    """The batch as one axis, filled up to whole teams."""
    rows = math.prod(batch)
    x = x.reshape(*x.shape[:axis], rows, *x.shape[axis + len(batch) :])
    return _filled(x, axis, -(-rows // ROWS) * ROWS)


def _timed(x: Array, batch: tuple[int, ...], plan: Plan) -> Array:
    """`[time, *batch, slots, units]` to `[time, rows, slots, units]`."""
    return _rows(_filled(x.astype(jnp.float32), -1, plan.hidden), batch, 1)


def _states(carry: Any, batch: tuple[int, ...], plan: Plan) -> Array:
    """`[*batch, units]` each, to `[leaves, rows, units]`."""
    return _timed(jnp.stack([x.astype(jnp.float32) for x in jax.tree.leaves(carry)]), batch, plan)


def _mask(mask: Array | None, batch: tuple[int, ...]) -> Array | None:
    return None if mask is None else _rows(mask.astype(jnp.float32), batch, 1)


def _weights(w_h: Array, plan: Plan) -> Array:
    """`[units, gates * units]` to the workers' columns of it, or of its transpose."""
    hidden = w_h.shape[0]
    w = _filled(_filled(w_h.reshape(hidden, plan.gates, hidden), 2, plan.hidden), 0, plan.hidden)
    if plan.back:  # rows: a worker's units, gate after gate; columns: units
        w = w.reshape(plan.hidden, plan.gates, plan.workers, plan.units).transpose(2, 1, 3, 0)
        w = w.reshape(plan.rows, 1, plan.workers, plan.units)
    else:
        w = w.reshape(plan.rows, plan.gates, plan.workers, plan.units)
    w = w.transpose(2, 0, 1, 3).reshape(plan.workers, plan.chunks, plan.chunk, plan.columns)
    if plan.parts == 1:
        return w[:, None].astype(jnp.bfloat16)
    high = jax.lax.reduce_precision(w, 8, 7)  # XLA may drop a cast there and back, and the rest would be zero
    return jnp.stack([high, w - high], 1).astype(jnp.bfloat16)


def _grouped(call: Call, fn: Any, operands: list) -> Any:
    """What `fn(operands)` returns, with one axis of groups in front."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(call.groups) :]), call.lift(fn)(operands))


def _ungrouped(call: Call, operands: list, batch: tuple[int, ...], x: Array) -> Array:
    """A loop's result with the groups, the batch and the units of the call."""
    x = x[:, :, : math.prod(batch), ..., : call.cell.hidden_size]
    return x.reshape(*call.sizes(operands), x.shape[1], *batch, *x.shape[3:])


def _slots(a: Any, many: int) -> Array:
    """Pre-activations as `[..., slots, units]`."""
    return jnp.stack(a, -2) if isinstance(a, tuple) else a.reshape(*a.shape[:-1], many, -1)


def _run(call: Call, operands: list, keep: bool) -> list[Array]:
    """Returns the leaves of the carry and ys, with `keep` also those of the carry before every step."""
    cell, (_, seq) = call.cell, call.indices()
    plan = _plan(call, operands, False)
    batch = operands[seq.xs].shape[call.depth(seq.xs) + 1 : -1]
    reverse = call.options.reverse

    def prepared(leaves: list) -> loops.Forward:
        params, seq = call.parts(leaves)
        carry, resets = seq.carry, seq.resets
        if resets is not None:  # one before the first step is none of the loop's
            carry = select(resets[-1 if reverse else 0], seq.first, carry)
            none = jnp.zeros_like(resets[:1])
            resets = jnp.concatenate([none, resets[:-1]] if reverse else [resets[1:], none])
        bias = getattr(params, "b_hn", None)
        if bias is not None:
            bias = jnp.broadcast_to(_filled(bias.astype(jnp.float32), 0, plan.hidden), (ROWS, plan.hidden))
        return loops.Forward(
            _weights(params.w_h, plan),
            _timed(_slots(cell.project(params, seq.xs), gates_of(cell).inputs), batch, plan),
            bias,
            _states(carry, batch, plan),
            None if resets is None else _states(seq.first, batch, plan),
            _mask(seq.valid, batch),
            _mask(resets, batch),
        )

    given, dtype = _grouped(call, prepared, operands), operands[seq.xs].dtype
    found = loops.forward(cell, plan, reverse, keep, given, dtype)
    ys, last, *before = (_ungrouped(call, operands, batch, x) for x in found)
    leaves = zip(jnp.moveaxis(last, len(call.groups), 0), jax.tree.leaves(seq.carry), strict=True)
    carry = [x.astype(operands[place].dtype) for x, place in leaves]
    return [*carry, ys[..., 0, :], *(x for kept in before for x in jnp.moveaxis(kept, -2, 0))]


def _back(call: Call, operands: list) -> list[Array]:
    cell, (_, seq) = call.cell, call.indices()
    n, states, kind = call.tree.num_leaves, call.states(), gates_of(cell)
    plan = _plan(call, operands, True)
    batch = operands[seq.xs].shape[call.depth(seq.xs) + 1 : -1]

    def preactivations(leaves: list, before: list) -> tuple[Any, Any]:
        params, seq = call.parts(leaves)
        carry = jax.tree.unflatten(jax.tree.structure(seq.carry), before)

        def fn(params: Params, xs: Array) -> Any:
            return cell.preactivate(params, carry, cell.project(params, xs))

        return jax.vjp(fn, params, seq.xs)

    def prepared(operands: list) -> loops.Backward:
        params, seq = call.parts(operands[:n])
        before = operands[n : n + states]
        d_last, d_ys = jax.tree.unflatten(call.out_tree(), operands[n + states :])
        return loops.Backward(
            _weights(params.w_h, plan),
            _timed(_slots(preactivations(operands[:n], before)[0], kind.slots), batch, plan),
            _timed(jnp.stack(before, -2), batch, plan),
            _timed(d_ys[..., None, :], batch, plan),
            _states(d_last, batch, plan),
            _mask(seq.valid, batch),
            _mask(seq.resets, batch),
        )

    found = loops.backward(cell, plan, call.options.reverse, _grouped(call, prepared, operands))
    d_slots, *d_states = (_ungrouped(call, operands, batch, x) for x in found)
    d_carry, *d_first = (list(jnp.moveaxis(x, len(call.groups), 0)) for x in d_states)

    def pulled(operands: list, d_slots: Array) -> Any:
        a, pullback = preactivations(operands[:n], operands[n : n + states])
        apart = tuple(jnp.moveaxis(d_slots, -2, 0))
        return pullback(apart if isinstance(a, tuple) else d_slots.reshape(a.shape))

    d_params, d_xs = call.lift(pulled, 0)(operands, d_slots)
    return call.cotangents(operands, d_params, d_xs, d_carry, d_first)


ENGINE = compiled("mosaic_gpu", _run, _back, residuals=Call.states, platform="cuda")
