"""How a call of `scan` becomes one call of the compiled loop, forward and backward."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells import GRU, LSTM
from lstm_jax.kernels import loop
from lstm_jax.kernels.compiled import compiled
from lstm_jax.kernels.cpu.library import BACKWARD, FORWARD, NOTHING, call_library
from lstm_jax.kernels.loop import STATE, TIMED, WEIGHT, Call
from lstm_jax.kernels.xla import Options, Sequence
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

    def flat(self, place: int | None, role: str, dtype: Any = jnp.float32) -> Array:
        """An operand as `[groups or 1, ...]`; absent it is an array of no elements."""
        if place is None:
            return jnp.zeros(NOTHING, dtype)
        shared = self.call.depth(place) == 0
        x = self.operands[place] if shared else self.call.spread(place, self.operands)
        groups, *shape = self.like(place, role)
        return x.reshape(1 if shared else groups, *shape).astype(dtype)

    def masks(self, seq: Any) -> list[Array]:
        return [self.flat(place, TIMED, jnp.bool_) for place in (seq.valid, seq.resets)]

    def out(self, role: str, *last: int) -> tuple[int, ...]:
        """A result's shape."""
        batch = math.prod(self.batch)
        return math.prod(self.sizes), *{TIMED: (self.time, batch), STATE: (batch,), WEIGHT: ()}[role], *last

    def like(self, place: int, role: str) -> tuple[int, ...]:
        """The shape of an operand's cotangent in every group."""
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


def _back(call: Call, operands: list) -> list[Array]:
    axes, n = _Axes(call, operands), call.tree.num_leaves
    params, seq = call.indices()
    takes, _ = call.roles()
    (h0, c0), (h1, c1) = _states(seq.carry), _states(seq.first)
    kept, y, d_h, *d_c, d_y = range(n, len(operands))
    asked = [seq.xs, *_weights(params), h0, c0, h1, c1]
    always = {h0, c0, h1, c1}

    def result(place: int | None) -> tuple[int, ...]:
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


ENGINE = compiled("cpu", _run, _back, residuals=lambda call: 2, platform="cpu")
