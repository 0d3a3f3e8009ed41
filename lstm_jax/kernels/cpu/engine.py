"""How a call of `scan` becomes one call of the compiled loop, forward and backward."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.interpreters import ad

from lstm_jax.cells import GRU, LSTM
from lstm_jax.kernels import loop
from lstm_jax.kernels.cpu.library import BACKWARD, FORWARD, NOTHING, call_library
from lstm_jax.kernels.loop import STATE, TIMED, WEIGHT, Call, Engine, primitive, reference
from lstm_jax.kernels.xla import Options, Sequence, run
from lstm_jax.types import Array, Carry, Params


def run_cpu(cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """The same numbers as `xla.run`; reverse mode, any order."""
    return loop.run(ENGINE, cell, options, params, seq)


class _Kind(NamedTuple):
    """What the library has to know of a cell."""

    number: int
    kept: int
    """Numbers a unit kept for the backward pass, beside its output."""


def _kind(cell: Any) -> _Kind:
    if isinstance(cell, LSTM):
        return _Kind(0, 5)
    if isinstance(cell, GRU):
        return _Kind(1 if cell.reset_after else 5, 4)
    return _Kind({"tanh": 2, "relu": 3, "sigmoid": 4}[cell.activation], 0)


class _Axes:
    """The library's arrays have one axis of groups, of length 1 where they share it, and one batch axis."""

    def __init__(self, call: Call, operands: list):
        _, seq = call.indices()
        self.call, self.operands, self.sizes = call, operands, call.sizes(operands)
        self.time, *self.batch = operands[seq.xs].shape[call.depth(seq.xs) : -1]

    def _features(self, place: int, role: str) -> tuple[int, ...]:
        lead = {TIMED: 1 + len(self.batch), STATE: len(self.batch), WEIGHT: 0}[role]
        return self.operands[place].shape[self.call.depth(place) + lead :]

    def flat(self, place: int | None, role: str, dtype: Any = jnp.float32) -> tuple[str, Array]:
        """An operand's role, and the operand as `[groups or 1, ...]`; absent it is an array of no elements."""
        if place is None:
            return WEIGHT, jnp.zeros((0,), dtype)
        shared = self.call.depth(place) == 0
        x = self.operands[place] if shared else self.call.spread(place, self.operands)
        _, (groups, *shape) = self.out(role, *self._features(place, role))
        return role, x.reshape(1 if shared else groups, *shape).astype(dtype)

    def masks(self, seq: Any) -> list[tuple[str, Array]]:
        return [self.flat(place, TIMED, jnp.bool_) for place in (seq.valid, seq.resets)]

    def out(self, role: str, *last: int) -> tuple[str, tuple[int, ...]]:
        """A result's role and shape."""
        batch = math.prod(self.batch)
        return role, (math.prod(self.sizes), *{TIMED: (self.time, batch), STATE: (batch,), WEIGHT: ()}[role], *last)

    def like(self, place: int, role: str) -> tuple[str, tuple[int, ...]]:
        """A result's role and shape: the cotangent of an operand in every group."""
        return self.out(role, *self._features(place, role))

    def unflat(self, x: Array, role: str, dtype: Any) -> Array:
        lead = {TIMED: (self.time, *self.batch), STATE: tuple(self.batch), WEIGHT: ()}[role]
        skip = {TIMED: 3, STATE: 2, WEIGHT: 1}[role]
        return x.reshape(*self.sizes, *lead, *x.shape[skip:]).astype(dtype)


def _weights(params: Any) -> tuple:
    return params.w_x, params.w_h, params.b, getattr(params, "b_hn", None)


def _states(carry: Carry) -> tuple[int | None, int | None]:
    """The places of h and c among the operands."""
    h, c, *_ = [*jax.tree.leaves(carry), None, None]
    return h, c


def _run(call: Call, operands: list, keep: bool) -> list[Array]:
    """Returns the leaves of the carry and ys; with `keep` also what the backward pass reads, in float32."""
    kind, axes, size = _kind(call.cell), _Axes(call, operands), call.cell.hidden_size
    params, seq = call.indices()
    h0, c0 = _states(seq.carry)
    state, timed = axes.out(STATE, size), axes.out(TIMED, size)
    y, h, c, kept = call_library(
        FORWARD,
        (timed, state, NOTHING if c0 is None else state, axes.out(TIMED, kind.kept * size) if keep else NOTHING),
        axes.flat(seq.xs, TIMED),
        *(axes.flat(w, WEIGHT) for w in _weights(params)),
        *(axes.flat(place, STATE) for place in (h0, c0, *_states(seq.first))),
        *axes.masks(seq),
        cell=kind.number,
        reverse=call.options.reverse,
    )
    carry = [axes.unflat(x, STATE, operands[place].dtype) for x, place in ((h, h0), (c, c0)) if place is not None]
    out = [*carry, axes.unflat(y, TIMED, operands[seq.xs].dtype)]
    return [*out, *(axes.unflat(x, TIMED, jnp.float32) for x in (kept, y))] if keep else out


def _forward(call: Call, leaves: list) -> tuple[Carry, Any]:
    return jax.tree.unflatten(call.out_tree(), _run(call, leaves, keep=False))


# Forward with residuals: results, and what the backward pass reads.


def _kept_roles(call: Call) -> tuple[list[str], list[str]]:
    takes, gives = call.roles()
    return takes, [*gives, TIMED, TIMED]


def _kept(call: Call, operands: list) -> list[Array]:
    return _run(call, operands, keep=True)


def _kept_portable(call: Call, operands: list) -> list[Array]:
    kept, y = jax.eval_shape(functools.partial(_kept, call), operands)[-2:]
    *carry, ys = reference(call, operands)
    return [*carry, ys, jnp.zeros(kept.shape, kept.dtype), ys.astype(y.dtype)]  # `_back_portable` reads neither


kept_p = primitive("recurrent_loop_kept", _kept, _kept_portable, _kept_roles)


def _linearise(call: Call, leaves: list) -> tuple[tuple[Carry, Any], Any]:
    *flat, kept, y = kept_p.bind(*leaves, call=call)
    return jax.tree.unflatten(call.out_tree(), flat), [kept, y]


# Backward: cotangents of the results to those of the operands that are wanted.


def _extended(call: Call, operands: int, wanted: tuple[int, ...]) -> Call:
    """The call with further operands, which have every group."""
    more = (0,) * (operands - call.tree.num_leaves)
    groups = tuple((*level[: call.tree.num_leaves], *more) for level in call.groups)
    return call._replace(groups=groups, wanted=wanted)


def _back(call: Call, operands: list) -> list[Array]:
    axes, n = _Axes(call, operands), call.tree.num_leaves
    params, seq = call.indices()
    takes, _ = call.roles()
    (h0, c0), (h1, c1) = _states(seq.carry), _states(seq.first)
    kept, y, d_h, *d_c, d_y = range(n, len(operands))
    asked = [seq.xs, *_weights(params), h0, c0, h1, c1]
    always = {h0, c0, h1, c1}

    def result(place: int | None) -> tuple[str, tuple[int, ...]]:
        if place is None or place not in always | set(call.wanted):
            return NOTHING
        return axes.like(place, takes[place])

    found = call_library(
        BACKWARD,
        tuple(map(result, asked)),
        axes.flat(seq.xs, TIMED),
        *(axes.flat(w, WEIGHT) for w in (params.w_x, params.w_h)),
        *(axes.flat(place, STATE) for place in (h0, h1)),
        *(axes.flat(place, TIMED) for place in (kept, y)),
        *axes.masks(seq),
        axes.flat(d_y, TIMED),
        axes.flat(d_h, STATE),
        axes.flat(d_c[0] if d_c else None, STATE),
        cell=_kind(call.cell).number,
        reverse=call.options.reverse,
    )
    by_place = dict(zip(asked, found, strict=True))
    return [axes.unflat(by_place[place], takes[place], operands[place].dtype) for place in call.wanted]


def _back_roles(call: Call) -> tuple[list[str], list[str]]:
    takes, gives = call.roles()
    return [*takes, TIMED, TIMED, *gives], [takes[place] for place in call.wanted]


def _back_portable(call: Call, operands: list) -> list[Array]:
    """The same cotangents by the reference, from the leaves alone."""
    n = call.tree.num_leaves

    def one(operands: list) -> list[Array]:
        leaves, cts = operands[:n], operands[n + 2 :]

        def moved(wanted: list) -> list[Array]:
            parts = call.parts(loop.replaced(leaves, call.wanted, wanted))
            return jax.tree.leaves(run(call.cell, call.options, *parts))

        return jax.vjp(moved, [leaves[place] for place in call.wanted])[1](cts)[0]

    return call.lift(one)(operands)


back_p = primitive("recurrent_loop_back", _back, _back_portable, _back_roles)


def _pullback(call: Call, leaves: list, residuals: Any, cts: Any, wanted: tuple[int, ...]) -> list[Array]:
    operands = [*leaves, *residuals, *jax.tree.leaves(cts)]
    return back_p.bind(*operands, call=_extended(call, len(operands), wanted))


# Higher orders: what these two depend on is what the reference depends on.


def _differentiate(reference: Any, primals: tuple, tangents: tuple) -> list[Array]:
    """The reference's forward derivative; operands without a tangent stand still."""
    which = [i for i, t in enumerate(tangents) if type(t) is not ad.Zero]

    def fn(*moved: Array) -> list[Array]:
        return reference(loop.replaced(primals, which, moved))

    return jax.jvp(fn, tuple(primals[i] for i in which), tuple(tangents[i] for i in which))[1]


def _still(arrays: Any) -> list[ad.Zero]:
    return [ad.Zero(ShapedArray(x.shape, x.dtype)) for x in arrays]


def _kept_jvp(primals: tuple, tangents: tuple, *, call: Call) -> tuple[list, list]:
    out = kept_p.bind(*primals, call=call)
    moved = _differentiate(functools.partial(reference, call), primals, tangents)
    return out, [*moved, *_still(out[len(moved) :])]  # `back_p` answers for these by the leaves


def _back_jvp(primals: tuple, tangents: tuple, *, call: Call) -> tuple[list, list]:
    n = call.tree.num_leaves
    still = _still(primals[n : n + 2])
    moved = _differentiate(
        functools.partial(_back_portable, call), primals, (*tangents[:n], *still, *tangents[n + 2 :])
    )
    return back_p.bind(*primals, call=call), moved


ad.primitive_jvps[kept_p] = _kept_jvp
ad.primitive_jvps[back_p] = _back_jvp

ENGINE = Engine("cpu", _forward, _linearise, _pullback, platform="cpu")
