"""The reference loop with its weight gradients taken out of it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.cells import LSTM
from lstm_jax.kernels import loop
from lstm_jax.kernels.loop import Call, Engine
from lstm_jax.kernels.xla import Options, Sequence, Tapped, run, run_tapped
from lstm_jax.types import Array, Carry, Params


def run_vjp(cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """The same numbers as `xla.run`, for split cells; reverse mode, any order."""
    return loop.run(ENGINE, cell, options, params, seq)


def _forward(call: Call, leaves: list) -> tuple[Carry, Any]:
    # Measured on XLA's CPU backend: two steps a turn spare an LSTM a few percent where nothing is kept; cells with less
    # arithmetic, and the backward pass, lose by it.
    unroll = max(2, call.options.unroll) if isinstance(call.cell, LSTM) else call.options.unroll
    options = dataclasses.replace(call.options, unroll=unroll)
    return call.lift(lambda leaves: run(call.cell, options, *call.parts(leaves)))(leaves)


def _slots(call: Call, leaves: list) -> Any:
    """Zeros in the shape of every step's pre-activations."""

    def zeros(leaves: list) -> Any:
        params, seq = call.parts(leaves)
        time, *batch = seq.xs.shape[: seq.xs.ndim - len(call.cell.input_shape)]
        x = jax.ShapeDtypeStruct((*batch, *call.cell.input_shape), seq.xs.dtype)
        a = jax.eval_shape(lambda p, c, x: call.cell.preactivate(p, c, call.cell.project(p, x)), params, seq.carry, x)
        return jax.tree.map(lambda s: jnp.zeros((time, *s.shape), s.dtype), a)

    return call.lift(zeros)(leaves)


def _linearise(call: Call, leaves: list) -> tuple[tuple[Carry, Any], Any]:
    params, seq = call.indices()
    shared = any(level[place] is None for level in call.groups for place in jax.tree.leaves((params, seq.xs)))

    def tapped(leaves: list, slots: Any) -> Tapped:
        return run_tapped(call.cell, call.options, *call.parts(leaves), slots, tied=shared)

    places = call.moving()
    own = tuple(tuple(0 if i in places else axis for i, axis in enumerate(level)) for level in call.groups)

    def results(slots: Any, moving: list) -> tuple[tuple[Carry, Any], Carry]:
        return tuple(call._replace(groups=own).lift(tapped, 0)(loop.replaced(leaves, places, moving), slots))

    moving = [call.spread(place, leaves) for place in places]
    out, pullback, before = jax.vjp(results, _slots(call, leaves), moving, has_aux=True)
    return out, (pullback, before)


def _pullback(call: Call, leaves: list, residuals: Any, cts: Any, wanted: tuple[int, ...]) -> list[Array]:
    pullback, before = residuals
    slots, moving = pullback(cts)

    def preactivations(params: Params, xs: Array, before: Carry) -> Any:
        return call.cell.preactivate(params, before, call.cell.project(params, xs))

    found = loop.gradients(preactivations, call, leaves, before, slots)
    found |= dict(zip(call.moving(), moving, strict=True))
    return [found[place] for place in wanted]


ENGINE = Engine("xla_vjp", _forward, _linearise, _pullback)
