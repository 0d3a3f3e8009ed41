"""What an engine needs whose loops XLA cannot differentiate: a forward and a backward loop, and what stands for both.

Derivatives of higher order, and programs that are exported or for another platform, are the reference's.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.interpreters import ad

from lstm_jax.kernels import loop, xla
from lstm_jax.kernels.loop import TIMED, WEIGHT, Call, Engine, primitive, reference
from lstm_jax.kernels.shards import by_shards
from lstm_jax.types import Array, Carry

_BY_GROUPS: tuple[list[str], list[str]] = ([], [WEIGHT])
"""Roles by which `vmap` makes groups and nothing else."""


def compiled(
    name: str,
    run: Callable[[Call, list, bool], list[Array]],
    back: Callable[[Call, list], list[Array]],
    *,
    residuals: Callable[[Call], int],
    platform: str,
    whole: bool = False,
) -> Engine:
    """Returns the engine of a pair of compiled loops.

    Args:
      name: of the implementation.
      run: `(call, operands, keep)` -> the leaves of the carry and ys; with `keep` also what the backward loop reads,
        `[time, *batch, ...]` each, or anything where `whole`.
      back: `(call, operands)` -> the cotangents of the leaves at `call.wanted` in every group; the operands are the
        leaves, what was kept, and the cotangents of the results.
      residuals: how many arrays are kept.
      platform: the only one that it runs on.
      whole: whether what is kept belongs to one call as a whole: `vmap` of a derivative then makes groups alone, where
        it would otherwise make a larger batch.
    """

    def split(run: Callable, roles: Callable) -> Callable:
        return run if whole else by_shards(run, roles)

    plain = split(lambda call, leaves: run(call, leaves, False), Call.roles)

    def forward(call: Call, leaves: list) -> tuple[Carry, Any]:
        return jax.tree.unflatten(call.out_tree(), plain(call, leaves))

    # Forward with residuals: results, and what the backward loop reads.

    def keep(call: Call, operands: list) -> list[Array]:
        return run(call, operands, True)

    def keep_portable(call: Call, operands: list) -> list[Array]:
        flat = reference(call, operands)
        kept = jax.eval_shape(functools.partial(keep, call), operands)[len(flat) :]
        return [*flat, *(jnp.zeros(x.shape, x.dtype) for x in kept)]  # `back_portable` reads none

    def keep_roles(call: Call) -> tuple[list[str], list[str]]:
        takes, gives = call.roles()
        return _BY_GROUPS if whole else (takes, [*gives, *[TIMED] * residuals(call)])

    keep_p = primitive("recurrent_loop_kept", split(keep, keep_roles), keep_portable, keep_roles)

    def linearise(call: Call, leaves: list) -> tuple[tuple[Carry, Any], Any]:
        out = keep_p.bind(*leaves, call=call)
        results = call.out_tree().num_leaves
        return jax.tree.unflatten(call.out_tree(), out[:results]), list(out[results:])

    # Backward: cotangents of the results to those of the operands that are wanted.

    def back_portable(call: Call, operands: list) -> list[Array]:
        """The same cotangents by the reference, from the leaves alone."""
        n, first = call.tree.num_leaves, call.tree.num_leaves + residuals(call)

        def one(operands: list) -> list[Array]:
            leaves, cts = operands[:n], operands[first:]

            def moved(wanted: list) -> list[Array]:
                parts = call.parts(loop.replaced(leaves, call.wanted, wanted))
                return jax.tree.leaves(xla.run(call.cell, call.options, *parts))

            return jax.vjp(moved, [leaves[place] for place in call.wanted])[1](cts)[0]

        return call.lift(one)(operands)

    def back_roles(call: Call) -> tuple[list[str], list[str]]:
        takes, gives = call.roles()
        more = [*takes, *[TIMED] * residuals(call), *gives]
        return _BY_GROUPS if whole else (more, [takes[place] for place in call.wanted])

    back_p = primitive("recurrent_loop_back", split(back, back_roles), back_portable, back_roles)

    def pullback(call: Call, leaves: list, residuals: Any, cts: Any, wanted: tuple[int, ...]) -> list[Array]:
        more = [*residuals, *jax.tree.leaves(cts)]  # these have every group
        groups = tuple((*level, *[0] * len(more)) for level in call.groups)
        return back_p.bind(*leaves, *more, call=call._replace(groups=groups, wanted=wanted))

    # Higher orders: what these two depend on is what the reference depends on.

    def keep_jvp(primals: tuple, tangents: tuple, *, call: Call) -> tuple[list, list]:
        out = keep_p.bind(*primals, call=call)
        moved = _differentiate(functools.partial(reference, call), primals, tangents)
        return out, [*moved, *_still(out[len(moved) :])]  # `back_p` answers for these by the leaves

    def back_jvp(primals: tuple, tangents: tuple, *, call: Call) -> tuple[list, list]:
        n, first = call.tree.num_leaves, call.tree.num_leaves + residuals(call)
        still = (*tangents[:n], *_still(primals[n:first]), *tangents[first:])
        return back_p.bind(*primals, call=call), _differentiate(functools.partial(back_portable, call), primals, still)

    ad.primitive_jvps[keep_p] = keep_jvp
    ad.primitive_jvps[back_p] = back_jvp
    return Engine(name, forward, linearise, pullback, platform=platform)


def _differentiate(reference: Any, primals: tuple, tangents: tuple) -> list[Array]:
    """The reference's forward derivative; operands without a tangent stand still."""
    which = [i for i, t in enumerate(tangents) if type(t) is not ad.Zero]

    def fn(*moved: Array) -> list[Array]:
        return reference(loop.replaced(primals, which, moved))

    return jax.jvp(fn, tuple(primals[i] for i in which), tuple(tangents[i] for i in which))[1]


def _still(arrays: Any) -> list[ad.Zero]:
    return [ad.Zero(ShapedArray(x.shape, x.dtype)) for x in arrays]
