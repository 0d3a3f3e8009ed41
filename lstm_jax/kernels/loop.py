"""The loop as a primitive of JAX, whatever runs it: its derivative, and what `vmap` means.

Differentiating a loop as it stands adds to every weight gradient at every step: a small product and a pass over the
whole matrix. Here the backward loop yields only the cotangents of the pre-activations, and one product over the whole
sequence turns them into the gradients of weights and inputs.

Only a primitive can say what `vmap` means: mapping over inputs with shared parameters folds the new axis into the
batch (a mapped `custom_vjp` would make one weight gradient per example and then add them up), mapping over parameters
makes groups.
"""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax._src import dispatch
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from lstm_jax.kernels import xla
from lstm_jax.kernels.xla import Options, Sequence
from lstm_jax.types import Array, Carry, Params

FORWARD_MODE = (
    "`implementation`: {!r} has no forward-mode derivative (jvp, jacfwd, linearize); use implementation='xla'"
)


class Engine(NamedTuple):
    """What runs a loop and its derivative."""

    name: str
    forward: Callable[["Call", list], tuple[Carry, Any]]
    """`(call, leaves) -> (carry, ys)`"""
    linearise: Callable[["Call", list], tuple[tuple[Carry, Any], Any]]
    """`(call, leaves) -> ((carry, ys), residuals)`, a pytree whose structure is static."""
    pullback: Callable[["Call", list, Any, Any, tuple[int, ...]], list[Array]]
    """`(call, leaves, residuals, cotangents, wanted) -> cotangents of the leaves at these places` in every group."""
    platform: str | None = None
    """The only one that it runs on."""


class Call(NamedTuple):
    """All that is static about one call: hashable, and compared by value."""

    engine: Engine
    cell: Any
    options: Options
    tree: Any
    """The structure of `(params, sequence)`, whose leaves are the primitive's operands."""
    groups: tuple[tuple[int | None, ...], ...] = ()
    """One entry for each axis of parameters, outermost first: which operands have it (in front) and which share."""
    wanted: tuple[int, ...] = ()
    """Of a backward pass: the operands whose cotangents are asked for."""

    def lift(self, fn: Callable, *more: int | None, by: Callable = jax.vmap) -> Callable:
        """Maps `fn(operands, *more)` over the groups."""
        for axes in reversed(self.groups):
            fn = by(fn, in_axes=(list(axes), *more))
        return fn

    def depth(self, place: int) -> int:
        """How many axes of groups an operand has."""
        return sum(level[place] is not None for level in self.groups)

    def sizes(self, operands: list) -> tuple[int, ...]:
        """The length of every axis of groups."""
        return tuple(
            next(
                x.shape[self._replace(groups=self.groups[:depth]).depth(i)]
                for i, x in enumerate(operands)
                if level[i] is not None
            )
            for depth, level in enumerate(self.groups)
        )

    def spread(self, place: int, operands: list) -> Array:
        """An operand repeated for the groups that share it."""
        x, sizes = operands[place], self.sizes(operands)
        own = [1 if level[place] is None else n for n, level in zip(sizes, self.groups, strict=True)]
        features = x.shape[self.depth(place) :]
        return jnp.broadcast_to(x.reshape(*own, *features), (*sizes, *features))

    def shared(self, place: int, x: Array) -> Array:
        """The cotangent of an operand from those in every group: what groups share has their sum."""
        return x.sum(tuple(depth for depth, level in enumerate(self.groups) if level[place] is None))

    def parts(self, leaves: list) -> tuple[Params, Sequence]:
        return jax.tree.unflatten(self.tree, leaves)

    def indices(self) -> tuple[Any, Any]:
        """Operands' places in the order of their leaves, in the operands' own structure."""
        return jax.tree.unflatten(self.tree, range(self.tree.num_leaves))

    def moving(self) -> list[int]:
        """The operands that the loop itself is differentiated by: the first carry and the one after a reset."""
        _, seq = self.indices()
        return jax.tree.leaves((seq.carry, seq.first))

    def states(self) -> int:
        """How many arrays a carry is."""
        return len(jax.tree.leaves(self.indices()[1].carry))

    def out_tree(self) -> Any:
        _, seq = self.indices()
        ys = (0, seq.carry) if self.options.history else 0
        return jax.tree.structure((seq.carry, ys))

    def roles(self) -> tuple[list[str], list[str]]:
        """What the operands and the results of the loop are, by the axes that they begin with."""
        params, seq = self.indices()
        timed = Sequence(seq.xs, None, None, seq.valid, seq.resets)
        role = dict.fromkeys(jax.tree.leaves(params), WEIGHT)
        role |= dict.fromkeys(self.moving(), STATE) | dict.fromkeys(jax.tree.leaves(timed), TIMED)
        states = self.states()
        return [role[place] for place in range(len(role))], [STATE] * states + [TIMED] * (
            self.out_tree().num_leaves - states
        )

    def cotangents(self, operands: list, d_params: Any, d_xs: Array, d_carry: Any, d_first: Any) -> list[Array]:
        """Those that are wanted, in the operands' dtypes, in every group."""
        params, seq = self.indices()
        places = jax.tree.leaves((params, seq.xs, seq.carry, seq.first))
        found = dict(zip(places, jax.tree.leaves((d_params, d_xs, d_carry, d_first)), strict=True))
        return [found[place].astype(operands[place].dtype) for place in self.wanted]


WEIGHT, STATE, TIMED = "weight", "state", "timed"  # no batch; [*batch, ...]; [time, *batch, ...]


def run(engine: Engine, cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """Runs a split cell by an engine: the same numbers as `xla.run`; reverse mode, any order."""
    seq = seq._replace(keys=None)  # split cells of the table draw nothing
    if seq.xs.size == 0:  # there is nothing to be fast at, and not every compiled loop takes arrays of no elements
        return xla.run(cell, options, params, seq)
    leaves, tree = jax.tree.flatten((params, seq))
    call = Call(engine, cell, options, tree)
    return jax.tree.unflatten(call.out_tree(), loop_p.bind(*leaves, call=call))


def replaced(operands: Iterable, places: Iterable[int], values: Iterable) -> list:
    """Returns the operands with others at these places."""
    out = list(operands)
    for place, value in zip(places, values, strict=True):
        out[place] = value
    return out


def gradients(products: Callable, call: Call, leaves: list, before: Carry, slots: Any) -> dict[int, Array]:
    """Returns the cotangents of weights and inputs in every group, by place: one product each over all steps.

    `products(params, xs, before)` are the pre-activations, of which `slots` `[time, *batch, ...]` are the cotangents.
    """
    params, seq = call.indices()
    weights, inputs = jax.tree.leaves(params), [seq.xs]

    def rows(turn: Callable, leaves: list, before: Carry) -> Any:
        """All steps and sequences at once, as the rows of one product."""
        params, seq = call.parts(leaves)
        if not call.options.flat:
            return products(params, seq.xs, before)
        lead = seq.xs.shape[: seq.xs.ndim - len(call.cell.input_shape)]
        flat = jax.tree.map(lambda x: turn(x.reshape(math.prod(lead), *x.shape[len(lead) :])), (seq.xs, before))
        return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), products(params, *flat))

    def by(places: list[int], turn: Callable, leaves: list, before: Carry, slots: Any) -> list[Array]:
        def fn(operands: list) -> Any:
            return rows(turn, replaced(leaves, places, operands), before)

        return jax.vjp(fn, [leaves[place] for place in places])[1](slots)[0]

    def one(leaves: list, before: Carry, slots: Any) -> list[Array]:
        return by(weights, _turned, leaves, before, slots) + by(inputs, lambda x: x, leaves, before, slots)

    places = [*weights, *inputs]
    groups = call.lift(one, 0, 0, by=_one_by_one if call.options.flat else jax.vmap)(leaves, before, slots)
    return dict(zip(places, groups, strict=True))


def _one_by_one(fn: Callable, in_axes: tuple) -> Callable:
    """`vmap` along first axes, each after the other: at batched products XLA's CPU backend is slower."""
    axes, *_ = in_axes
    places = [place for place, axis in enumerate(axes) if axis is not None]

    def mapped(leaves: list, *rest: Any) -> Any:
        def step(parts: tuple) -> Any:
            moved, rest = parts
            return fn(replaced(leaves, places, moved), *rest)

        return lax.map(step, ([leaves[place] for place in places], rest))

    return mapped


def _turned(rows: Array) -> Array:
    """Returns `rows` as they are, but stored transposed: XLA's CPU backend is twice as fast to multiply by these."""
    flat = rows.reshape(rows.shape[0], math.prod(rows.shape[1:]))
    return lax.optimization_barrier(flat.T).T.reshape(rows.shape)


def reference(call: Call, leaves: list) -> list[Array]:
    """What a loop returns, by the cell's own equations."""

    def one(leaves: list) -> list[Array]:
        return jax.tree.leaves(xla.run(call.cell, call.options, *call.parts(leaves)))

    return call.lift(one)(leaves)


def primitive(
    name: str,
    run: Callable[[Call, list], list],
    portable: Callable[[Call, list], list],
    roles: Callable[[Call], tuple],
) -> Primitive:
    """A primitive of arrays with a `call` to say what they are; `vmap` makes larger calls of the same.

    `portable` takes the place of `run` where a program is exported or is for a platform that the engine does not serve,
    unless the engine was asked for by name.
    """
    p = Primitive(name)
    p.multiple_results = True

    def flat(*operands: Array, call: Call) -> list[Array]:
        return run(call, list(operands))

    def lower(ctx: Any, *operands: Any, call: Call) -> Any:
        module, platform = ctx.module_context, call.engine.platform
        away = module.lowering_parameters.for_export or tuple(module.platforms) != (platform,)
        here = run if platform is None or not (away and call.options.portable) else portable
        return mlir.lower_fun(lambda *operands: here(call, list(operands)), multiple_results=True)(ctx, *operands)

    def abstract(*avals: Any, call: Call) -> list[ShapedArray]:
        out = jax.eval_shape(functools.partial(flat, call=call), *avals)
        return [ShapedArray(s.shape, s.dtype) for s in out]

    p.def_impl(jax.jit(flat, static_argnames="call"))
    p.def_abstract_eval(abstract)
    mlir.register_lowering(p, lower)
    batching.primitive_batchers[p] = functools.partial(_batch, p, roles)
    # A lowering may contain a custom_partitioning, which needs to know the devices; jax has no public way to say so.
    dispatch.prim_requires_devices_during_lowering.add(p)
    return p


def _batch(p: Primitive, roles: Callable, operands: tuple, axes: tuple, *, call: Call) -> tuple[list, list[int]]:
    takes, gives = roles(call)
    size = next(x.shape[a] for x, a in zip(operands, axes, strict=True) if a is not None)
    mapped = [a is not None for a in axes]
    leaves = [x if a is None else jnp.moveaxis(x, a, 0) for x, a in zip(operands, axes, strict=True)]
    if WEIGHT in gives or any(m for m, role in zip(mapped, takes, strict=True) if role == WEIGHT):
        call = call._replace(groups=((*(0 if m else None for m in mapped),), *call.groups))
        out = p.bind(*leaves, call=call)
        return out, [0] * len(out)
    # Shared parameters: the new axis becomes the first of the batch, behind the groups and time.
    for place, role in enumerate(takes):
        if role == WEIGHT:
            continue
        depth = sum(level[place] is not None for level in call.groups) + (role == TIMED)
        leaf = leaves[place]
        leaves[place] = (
            jnp.moveaxis(leaf, 0, depth)
            if mapped[place]
            else jnp.broadcast_to(jnp.expand_dims(leaf, depth), (*leaf.shape[:depth], size, *leaf.shape[depth:]))
        )
    out = p.bind(*leaves, call=call)
    return out, [len(call.groups) + (role == TIMED) for role in gives]


loop_p = primitive(
    "recurrent_loop",
    lambda call, leaves: jax.tree.leaves(call.engine.forward(call, leaves)),
    reference,
    lambda call: call.roles(),
)

# The derivative is linear: a primitive that stands for it until it is transposed.
derivative_p = Primitive("recurrent_loop_derivative")
derivative_p.multiple_results = True
derivative_p.def_abstract_eval(lambda *_, out, **__: list(out))


def _forward_mode(*_: Any, call: Call, **__: Any) -> Any:
    raise NotImplementedError(FORWARD_MODE.format(call.engine.name))


derivative_p.def_impl(_forward_mode)
mlir.register_lowering(derivative_p, _forward_mode)
batching.primitive_batchers[derivative_p] = _forward_mode
ad.primitive_jvps[derivative_p] = _forward_mode


def _jvp(primals: tuple, tangents: tuple, *, call: Call) -> tuple[list, list]:
    out, residuals = call.engine.linearise(call, list(primals))
    flat = jax.tree.leaves(out)
    kept, tree = jax.tree.flatten((list(primals), residuals))
    which = tuple(i for i, t in enumerate(tangents) if type(t) is not ad.Zero)
    avals = tuple(ShapedArray(x.shape, x.dtype) for x in flat)
    moved = derivative_p.bind(*kept, *[tangents[i] for i in which], call=call, tree=tree, which=which, out=avals)
    return flat, moved


@functools.partial(jax.jit, static_argnames=("call", "wanted"))
def _pull(call: Call, leaves: list, residuals: Any, cts: Any, wanted: tuple[int, ...]) -> list[Array]:
    found = call.engine.pullback(call, leaves, residuals, cts, wanted)
    return [call.shared(place, x) for place, x in zip(wanted, found, strict=True)]


def _transpose(cts: list, *operands: Any, call: Call, tree: Any, which: tuple, out: tuple) -> list:
    kept = list(operands[: tree.num_leaves])
    leaves, residuals = jax.tree.unflatten(tree, kept)
    cts = [jnp.zeros(a.shape, a.dtype) if type(ct) is ad.Zero else ct for ct, a in zip(cts, out, strict=True)]
    found = _pull(call, leaves, residuals, jax.tree.unflatten(call.out_tree(), cts), which)
    return [None] * len(kept) + found


ad.primitive_jvps[loop_p] = _jvp
ad.primitive_transposes[derivative_p] = _transpose
