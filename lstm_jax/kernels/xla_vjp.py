"""The reference loop with its weight gradients taken out of it.

Differentiating a loop as it stands adds to every weight gradient at every step: a small product and a pass over the
whole matrix. Here the backward loop yields only the cotangents of the pre-activations, and one product over the whole
sequence turns them into the gradients of weights and inputs.

The loop is a primitive of JAX rather than a `custom_vjp`, because only a primitive can say what `vmap` means: mapping
over inputs with shared parameters folds the new axis into the batch (a mapped `custom_vjp` would make one weight
gradient per example and then add them up), mapping over parameters makes groups.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from lstm_jax.kernels.xla import Options, Sequence, Tapped, run, run_tapped
from lstm_jax.types import Array, Carry, Params

FORWARD_MODE = (
    "`implementation`: 'xla_vjp' has no forward-mode derivative (jvp, jacfwd, linearize); use implementation='xla'"
)


class Call(NamedTuple):
    """All that is static about one call: hashable, and compared by value."""

    cell: Any
    options: Options
    tree: Any
    """The structure of `(params, sequence)`, whose leaves are the primitive's operands."""
    groups: tuple[tuple[int | None, ...], ...] = ()
    """One entry for each axis of parameters, outermost first: which operands have it (in front) and which share."""

    def lift(self, fn: Callable, *more: int | None) -> Callable:
        """Maps `fn(leaves, *more)` over the groups."""
        for axes in reversed(self.groups):
            fn = jax.vmap(fn, in_axes=(list(axes), *more))
        return fn

    def parts(self, leaves: list) -> tuple[Params, Sequence]:
        return jax.tree.unflatten(self.tree, leaves)

    def indices(self) -> tuple[Params, Sequence]:
        """Operands' places in the order of their leaves, in the operands' own structure."""
        return jax.tree.unflatten(self.tree, range(self.tree.num_leaves))


def run_vjp(cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """The same numbers as `xla.run`, for split cells; reverse mode, any order."""
    leaves, tree = jax.tree.flatten((params, seq._replace(keys=None)))  # split cells of the table draw nothing
    call = Call(cell, options, tree)
    flat = loop_p.bind(*leaves, call=call)
    return jax.tree.unflatten(_out_tree(call), flat)


def _forward(call: Call, leaves: list) -> tuple[Carry, Any]:
    # Two steps a turn spare the loop a few percent where nothing is kept; the backward pass loses by it.
    options = dataclasses.replace(call.options, unroll=max(2, call.options.unroll))
    return call.lift(lambda leaves: run(call.cell, options, *call.parts(leaves)))(leaves)


def _forward_flat(*leaves: Array, call: Call) -> list[Array]:
    return jax.tree.leaves(_forward(call, list(leaves)))


def _out_tree(call: Call) -> Any:
    _, seq = call.indices()
    ys = (0, seq.carry) if call.options.history else 0
    return jax.tree.structure((seq.carry, ys))


# The derivative, in two halves: what the forward pass keeps, and the pullback made of it.


def _moving(call: Call) -> list[int]:
    """The operands that the loop itself is differentiated by: the first carry and the one after a reset."""
    _, seq = call.indices()
    return jax.tree.leaves((seq.carry, seq.first))


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
    """Returns the results and the residuals: a pytree whose structure is static."""

    def tapped(leaves: list, slots: Any) -> Tapped:
        return run_tapped(call.cell, call.options, *call.parts(leaves), slots)

    def results(slots: Any, moving: list) -> tuple[tuple[Carry, Any], Carry]:
        inner = list(leaves)
        for place, leaf in zip(_moving(call), moving, strict=True):
            inner[place] = leaf
        return tuple(call.lift(tapped, 0)(inner, slots))

    moving = [leaves[place] for place in _moving(call)]
    out, pullback, before = jax.vjp(results, _slots(call, leaves), moving, has_aux=True)
    return out, (pullback, before)


@functools.partial(jax.jit, static_argnames="call")
def _pull(call: Call, leaves: list, residuals: Any, cts: Any) -> list[Array | None]:
    """Returns the cotangent of every operand, None for those that have none."""
    pullback, before = residuals
    slots, moving = pullback(cts)
    params, seq = call.indices()

    def preactivations(turn: Callable, leaves: list, before: Carry) -> Any:
        """All steps and sequences at once, as the rows of one product."""
        params, seq = call.parts(leaves)
        lead = seq.xs.shape[: seq.xs.ndim - len(call.cell.input_shape)]
        rows = jax.tree.map(lambda x: turn(x.reshape(math.prod(lead), *x.shape[len(lead) :])), (seq.xs, before))
        a = call.cell.preactivate(params, rows[1], call.cell.project(params, rows[0]))
        return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), a)

    def gradients(places: list[int], turn: Callable) -> list[Array]:
        def products(operands: list) -> Any:
            inner = list(leaves)
            for place, leaf in zip(places, operands, strict=True):
                inner[place] = leaf
            return call.lift(functools.partial(preactivations, turn), 0)(inner, before)

        return jax.vjp(products, [leaves[place] for place in places])[1](slots)[0]

    weights, inputs, carries = jax.tree.leaves(params), [seq.xs], _moving(call)
    by_weights = gradients(weights, (lambda rows: rows) if call.options.hoist else _turned)
    by_inputs = gradients(inputs, lambda rows: rows)
    found = dict(zip([*weights, *inputs, *carries], [*by_weights, *by_inputs, *moving], strict=True))
    return [found.get(place) for place in range(len(leaves))]


def _turned(rows: Array) -> Array:
    """Returns `rows` as they are, but stored transposed: XLA's CPU backend is twice as fast to multiply by these."""
    flat = rows.reshape(rows.shape[0], math.prod(rows.shape[1:]))
    return lax.optimization_barrier(flat.T).T.reshape(rows.shape)


# The primitive, and the linear one that stands for its derivative until it is transposed.

loop_p = Primitive("recurrent_loop")
loop_p.multiple_results = True
loop_p.def_impl(jax.jit(_forward_flat, static_argnames="call"))
loop_p.def_abstract_eval(
    lambda *avals, call: [
        ShapedArray(s.shape, s.dtype) for s in jax.eval_shape(functools.partial(_forward_flat, call=call), *avals)
    ]
)
mlir.register_lowering(loop_p, mlir.lower_fun(_forward_flat, multiple_results=True))

pullback_p = Primitive("recurrent_loop_derivative")
pullback_p.multiple_results = True
pullback_p.def_abstract_eval(lambda *_, out, **__: list(out))


def _forward_mode(*_: Any, **__: Any) -> Any:
    raise NotImplementedError(FORWARD_MODE)


pullback_p.def_impl(_forward_mode)
mlir.register_lowering(pullback_p, _forward_mode)
batching.primitive_batchers[pullback_p] = _forward_mode
ad.primitive_jvps[pullback_p] = _forward_mode


def _jvp(primals: tuple, tangents: tuple, *, call: Call) -> tuple[list, list]:
    out, residuals = _linearise(call, list(primals))
    flat = jax.tree.leaves(out)
    kept, tree = jax.tree.flatten((list(primals), residuals))
    which = tuple(i for i, t in enumerate(tangents) if type(t) is not ad.Zero)
    avals = tuple(ShapedArray(x.shape, x.dtype) for x in flat)
    moved = pullback_p.bind(*kept, *[tangents[i] for i in which], call=call, tree=tree, which=which, out=avals)
    return flat, moved


def _transpose(cts: list, *operands: Any, call: Call, tree: Any, which: tuple, out: tuple) -> list:
    kept = list(operands[: tree.num_leaves])
    leaves, residuals = jax.tree.unflatten(tree, kept)
    cts = [jnp.zeros(a.shape, a.dtype) if type(ct) is ad.Zero else ct for ct, a in zip(cts, out, strict=True)]
    found = _pull(call, leaves, residuals, jax.tree.unflatten(_out_tree(call), cts))
    return [None] * len(kept) + [found[i] for i in which]


ad.primitive_jvps[loop_p] = _jvp
ad.primitive_transposes[pullback_p] = _transpose


def _batch(operands: tuple, axes: tuple, *, call: Call) -> tuple[list, list[int]]:
    params, seq = call.indices()
    size = next(x.shape[a] for x, a in zip(operands, axes, strict=True) if a is not None)
    mapped = [a is not None for a in axes]
    leaves = [x if a is None else jnp.moveaxis(x, a, 0) for x, a in zip(operands, axes, strict=True)]
    if any(mapped[place] for place in jax.tree.leaves(params)):
        call = call._replace(groups=((*(0 if m else None for m in mapped),), *call.groups))
        out = loop_p.bind(*leaves, call=call)
        return out, [0] * len(out)
    # Shared parameters: the new axis becomes the first of the batch, behind the groups and time.
    timed = set(jax.tree.leaves(Sequence(seq.xs, None, None, seq.valid, seq.resets)))
    for place in jax.tree.leaves(seq):
        depth = sum(level[place] is not None for level in call.groups) + (place in timed)
        leaf = leaves[place]
        leaves[place] = (
            jnp.moveaxis(leaf, 0, depth)
            if mapped[place]
            else jnp.broadcast_to(jnp.expand_dims(leaf, depth), (*leaf.shape[:depth], size, *leaf.shape[depth:]))
        )
    out = loop_p.bind(*leaves, call=call)
    carry_leaves = len(jax.tree.leaves(seq.carry))
    depth = len(call.groups)
    return out, [depth + (i >= carry_leaves) for i in range(len(out))]


batching.primitive_batchers[loop_p] = _batch
