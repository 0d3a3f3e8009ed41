"""How a call of `scan` becomes one call of the compiled loop, forward and backward."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.interpreters import ad

from lstm_jax.cells import GRU, LSTM
from lstm_jax.cells.dense import dot
from lstm_jax.kernels import loop, xla_vjp
from lstm_jax.kernels.cpu.library import BACKWARD, FORWARD, NOTHING, call_library
from lstm_jax.kernels.loop import STATE, TIMED, WEIGHT, Call, Engine, primitive
from lstm_jax.kernels.xla import Options, Sequence, run_before
from lstm_jax.types import Array, Carry, Params


def run_cpu(cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """The same numbers as `xla.run`; reverse mode, any order."""
    return loop.run(ENGINE, cell, options, params, seq)


class _Kind(NamedTuple):
    """What the library has to know of a cell."""

    number: int
    kept: int
    """Numbers a unit kept for the backward pass."""
    memory: bool
    """Whether the carry has a part beside h."""
    apart: bool
    """Whether W_x x and W_h h have cotangents of their own."""


def _kind(cell: Any) -> _Kind:
    if isinstance(cell, LSTM):
        return _Kind(0, 4, True, False)
    if isinstance(cell, GRU):
        return _Kind(1, 4, False, True)
    return _Kind({"tanh": 2, "relu": 3, "sigmoid": 4}[cell.activation], 1, False, False)


class _Axes:
    """The library's arrays have one axis of groups, of length 1 where they share it, and one batch axis."""

    def __init__(self, call: Call, operands: list):
        _, seq = call.indices()
        self.call, self.operands = call, operands
        self.sizes = tuple(
            next(x.shape[sum(outer[i] is not None for outer in call.groups[:depth])] for i, x in self._with(level))
            for depth, level in enumerate(call.groups)
        )
        groups = sum(level[seq.xs] is not None for level in call.groups)
        self.time, *self.batch = operands[seq.xs].shape[groups:-1]

    def _with(self, level: tuple) -> list[tuple[int, Array]]:
        return [(i, self.operands[i]) for i, axis in enumerate(level) if axis is not None]

    def flat(self, place: int | None, role: str, dtype: Any = jnp.float32) -> tuple[str, Array]:
        """An operand's role, and the operand as `[groups or 1, ...]`; absent it is an array of no elements."""
        if place is None:
            return WEIGHT, jnp.zeros((0,), dtype)
        x = self.operands[place]
        has = [level[place] is not None for level in self.call.groups]
        if any(has):
            spread = x.reshape(*(n if h else 1 for n, h in zip(self.sizes, has, strict=True)), *x.shape[sum(has) :])
            x = jnp.broadcast_to(spread, (*self.sizes, *x.shape[sum(has) :]))
            groups = math.prod(self.sizes)
        else:
            groups = 1
        lead = {TIMED: (self.time, math.prod(self.batch)), STATE: (math.prod(self.batch),)}.get(role, ())
        skip = {TIMED: 1 + len(self.batch), STATE: len(self.batch)}.get(role, 0)
        skip += len(self.sizes) if any(has) else 0
        return role, x.reshape(groups, *lead, *x.shape[skip:]).astype(dtype)

    def masks(self, seq: Any) -> list[tuple[str, Array]]:
        return [self.flat(place, TIMED, jnp.bool_) for place in (seq.valid, seq.resets)]

    def out(self, role: str, *last: int) -> tuple[str, tuple[int, ...]]:
        """A result's role and shape."""
        lead = (self.time, math.prod(self.batch)) if role == TIMED else (math.prod(self.batch),)
        return role, (math.prod(self.sizes), *lead, *last)

    def unflat(self, x: Array, role: str, dtype: Any) -> Array:
        lead = (self.time, *self.batch) if role == TIMED else tuple(self.batch)
        return x.reshape(*self.sizes, *lead, x.shape[-1]).astype(dtype)


def _states(carry: Carry) -> tuple[int | None, int | None]:
    """The places of h and c among the operands."""
    h, c, *_ = [*jax.tree.leaves(carry), None, None]
    return h, c


def _run(call: Call, operands: list, keep: bool) -> list[Array]:
    """Returns the leaves of the carry and ys; with `keep` also the gates and the carry before each step."""
    kind, axes, size = _kind(call.cell), _Axes(call, operands), call.cell.hidden_size
    params, seq = call.indices()
    h0, c0 = _states(seq.carry)
    h1, c1 = _states(seq.first)
    state, timed = axes.out(STATE, size), axes.out(TIMED, size)
    memory = keep and kind.memory
    y, h, c, kept, before_h, before_c = call_library(
        FORWARD,
        (
            timed,
            state,
            state if kind.memory else NOTHING,
            axes.out(TIMED, kind.kept * size) if keep else NOTHING,
            timed if keep else NOTHING,
            timed if memory else NOTHING,
        ),
        axes.flat(seq.xs, TIMED),
        *(axes.flat(w, WEIGHT) for w in (params.w_x, params.w_h, params.b, getattr(params, "b_hn", None))),
        *(axes.flat(place, STATE) for place in (h0, c0, h1, c1)),
        *axes.masks(seq),
        cell=kind.number,
        reverse=call.options.reverse,
    )
    carry = [axes.unflat(x, STATE, operands[place].dtype) for x, place in ((h, h0), (c, c0)) if place is not None]
    out = [*carry, axes.unflat(y, TIMED, operands[seq.xs].dtype)]
    if not keep:
        return out
    before = [before_h, before_c] if memory else [before_h]
    return [*out, *(axes.unflat(x, TIMED, jnp.float32) for x in (kept, *before))]


def _forward(call: Call, leaves: list) -> tuple[Carry, Any]:
    return jax.tree.unflatten(call.out_tree(), _run(call, leaves, keep=False))


# Forward with residuals: results, gates, and the carry that each step started from.


def _kept_roles(call: Call) -> tuple[list[str], list[str]]:
    takes, gives = call.roles()
    return takes, [*gives, TIMED, *([TIMED] * (len(gives) - 1))]


kept_p = primitive("recurrent_loop_kept", lambda call, operands: _run(call, operands, keep=True), _kept_roles)


def _linearise(call: Call, leaves: list) -> tuple[tuple[Carry, Any], Any]:
    flat = kept_p.bind(*leaves, call=call)
    n = call.out_tree().num_leaves
    return jax.tree.unflatten(call.out_tree(), flat[:n]), (flat[n], flat[n + 1 :])


# Backward: cotangents of the results to those of pre-activations and of the first carries.


def _extended(call: Call, operands: int) -> Call:
    """The call with further operands, which have every group."""
    more = (0,) * (operands - call.tree.num_leaves)
    return call._replace(groups=tuple((*level[: call.tree.num_leaves], *more) for level in call.groups))


def _back(call: Call, operands: list) -> list[Array]:
    kind, axes, size = _kind(call.cell), _Axes(call, operands), call.cell.hidden_size
    params, seq = call.indices()
    h1, c1 = _states(seq.first)
    n, states = call.tree.num_leaves, 1 + kind.memory
    gates = len(call.cell.gates)
    kept, *before = range(n, n + 1 + states)
    *d_carry, d_y = range(n + 1 + states, n + 2 + 2 * states)
    state, slots = axes.out(STATE, size), axes.out(TIMED, gates * size)
    d_x, d_r, *moving = call_library(
        BACKWARD,
        (
            slots,
            slots if kind.apart else NOTHING,
            state,
            state if kind.memory else NOTHING,
            NOTHING if h1 is None else state,
            NOTHING if c1 is None else state,
        ),
        axes.flat(params.w_h, WEIGHT),
        axes.flat(kept, TIMED),
        axes.flat(before[0], TIMED),
        axes.flat(before[1] if kind.memory else None, TIMED),
        *axes.masks(seq),
        axes.flat(d_y, TIMED),
        axes.flat(d_carry[0], STATE),
        axes.flat(d_carry[1] if kind.memory else None, STATE),
        cell=kind.number,
        reverse=call.options.reverse,
        aliases=((1, 0),) if kind.kept == gates else (),  # the gates give way to their cotangents
    )
    moving = [x for x in moving if x.ndim > 1]
    slots = [axes.unflat(x, TIMED, jnp.float32) for x in ((d_x, d_r) if kind.apart else (d_x,))]
    dtypes = [operands[place].dtype for place in call.moving()]
    return slots + [axes.unflat(x, STATE, dtype) for x, dtype in zip(moving, dtypes, strict=True)]


def _back_roles(call: Call) -> tuple[list[str], list[str]]:
    takes, _ = call.roles()
    kind = _kind(call.cell)
    states = 1 + kind.memory
    return [*takes, TIMED, *[TIMED] * states, *[STATE] * states, TIMED], [
        *[TIMED] * (1 + kind.apart),
        *[STATE] * len(call.moving()),
    ]


back_p = primitive("recurrent_loop_back", _back, _back_roles)


def _products(cell: Any, params: Params, xs: Array, before: list[Array]) -> Any:
    if isinstance(cell, GRU):
        q = dot(before[0], params.w_h)
        if params.b_hn is not None:
            q += jnp.pad(params.b_hn.astype(q.dtype), (2 * cell.hidden_size, 0))
        return [cell.project(params, xs), q]
    return [cell.project(params, xs) + dot(before[0], params.w_h)]


def _pullback(call: Call, leaves: list, residuals: Any, cts: Any) -> list[Array | None]:
    kept, before = residuals
    operands = [*leaves, kept, *before, *jax.tree.leaves(cts)]
    out = back_p.bind(*operands, call=_extended(call, len(operands)))
    slots = 1 + _kind(call.cell).apart

    def products(params: Params, xs: Array, before: list[Array]) -> Any:
        return _products(call.cell, params, xs, before)

    moving = [call.shared(place, x) for place, x in zip(call.moving(), out[slots:], strict=True)]
    return loop.gradients(products, call, leaves, before, out[:slots], moving)


# Higher orders: what these two depend on is what the reference depends on.


def _differentiate(reference: Any, primals: tuple, tangents: tuple) -> list[Array]:
    """The reference's forward derivative; operands without a tangent stand still."""
    which = [i for i, t in enumerate(tangents) if type(t) is not ad.Zero]

    def fn(*moved: Array) -> list[Array]:
        operands = list(primals)
        for place, x in zip(which, moved, strict=True):
            operands[place] = x
        return reference(operands)

    return jax.jvp(fn, tuple(primals[i] for i in which), tuple(tangents[i] for i in which))[1]


def _kept_jvp(primals: tuple, tangents: tuple, *, call: Call) -> tuple[list, list]:
    def reference(leaves: list) -> list[Array]:
        def both(leaves: list) -> Any:
            return run_before(call.cell, call.options, *call.parts(leaves))

        out, before = call.lift(both)(leaves)
        return [*jax.tree.leaves(out), *(x.astype(jnp.float32) for x in jax.tree.leaves(before))]

    out = kept_p.bind(*primals, call=call)
    moved = _differentiate(reference, primals, tangents)
    n = call.out_tree().num_leaves
    gates = ad.Zero(ShapedArray(out[n].shape, out[n].dtype))  # `back_p` answers for these by the leaves
    return out, [*moved[:n], gates, *moved[n:]]


def _back_jvp(primals: tuple, tangents: tuple, *, call: Call) -> tuple[list, list]:
    n, states = call.tree.num_leaves, 1 + _kind(call.cell).memory

    def reference(operands: list) -> list[Array]:
        cts = jax.tree.unflatten(call.out_tree(), operands[n + 1 + states :])
        _, (pullback, _) = xla_vjp.ENGINE.linearise(call, operands[:n])
        slots, moving = pullback(cts)
        if isinstance(call.cell, GRU):
            r, z, x_n, h_n = slots
            slots = [jnp.concatenate([r, z, x_n], -1), jnp.concatenate([r, z, h_n], -1)]
        return [*jax.tree.leaves(slots), *moving]

    leaves, cts = slice(0, n), slice(n + 1 + states, None)
    still = [ad.Zero(ShapedArray(x.shape, x.dtype)) for x in primals[n : n + 1 + states]]
    moved = _differentiate(reference, primals, (*tangents[leaves], *still, *tangents[cts]))
    return back_p.bind(*primals, call=call), moved


ad.primitive_jvps[kept_p] = _kept_jvp
ad.primitive_jvps[back_p] = _back_jvp

ENGINE = Engine("cpu", _forward, _linearise, _pullback)
