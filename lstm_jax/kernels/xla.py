"""The reference: lax.scan over a cell's step. Any cell, any platform, any derivative."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.dense import like
from lstm_jax.types import Array, Carry, Cell, Params


class Sequence(NamedTuple):
    """What a loop runs over; None where the call has none.

    `xs`, `valid`, `resets` and `keys` are time-major, `carry` and `first` are `[*batch, ...]`.
    """

    xs: Array
    carry: Carry
    first: Carry | None = None
    """The carry after a reset."""
    valid: Array | None = None
    """`[time, *batch]` bool: steps within a sequence's length."""
    resets: Array | None = None
    """`[time, *batch]` bool: whether `first` replaces the carry before this step is taken, in the loop's own order."""
    keys: Array | None = None
    """`[time]`: one random key a step."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What a loop is compiled for."""

    reverse: bool = False
    unroll: int = 1
    history: bool = False
    hoist: bool = False
    """Whether the input product leaves the loop: faster where a launch is dear, slower on XLA's CPU backend."""
    flat: bool = False
    """Whether time and batch become one axis for the weight gradients: faster on XLA's CPU backend, but a batch that
    is spread over devices would have to be gathered for it."""
    portable: bool = False
    """Whether an exported program, or one for another platform, has this reference in place of a compiled kernel."""


class Tapped(NamedTuple):
    """What a tapped loop returns: its results, and the carry each step started from, `[time, *batch, ...]`."""

    results: tuple[Carry, Any]
    before: Carry


def select(mask: Array, a: Any, b: Any) -> Any:
    """Chooses between two pytrees by a mask over their leading axes."""
    return jax.tree.map(
        lambda x, y: jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), x, y.astype(x.dtype)), a, b
    )


def run(cell: Cell, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """Returns `(carry, ys)`, or `(carry, (ys, history))` on request: step after step, as the equations say."""

    return _loop(cell, options, params, seq).results


def run_tapped(cell: Any, options: Options, params: Params, seq: Sequence, slots: Any, *, tied: bool) -> Tapped:
    """Runs the loop of a split cell so that the cotangent of `slots` is that of the pre-activations of every step.

    `tied` says that `vmap` may map the slots and not all that a pre-activation is made of. It is then mapped as its
    slot is: else every slot would get the sum of the cotangents of all.
    """

    # Kept are the pre-activations alone: to rebuild the gates costs less than to write and read them all.
    update = jax.checkpoint(cell.update, prevent_cse=False)

    def advance(carry: Carry, z: Any, slot: Any) -> tuple[Carry, Array]:
        a = cell.preactivate(params, carry, z)
        if tied:
            a = jax.tree.map(lambda a, s: jnp.where(True, a, lax.stop_gradient(s)), a, slot)
        carry, y = update(carry, tap(a, slot))
        return carry, y.astype(seq.xs.dtype)

    return _loop(cell, options, params, seq, advance, slots)


@jax.custom_vjp
def tap(a: Any, slot: Any) -> Any:
    """Returns `a`; in the backward pass `slot` receives the cotangent of `a`, though it takes no part in the value."""
    return a


tap.defvjp(lambda a, slot: (a, None), lambda _, ct: (ct, ct))


def _loop(
    cell: Cell,
    options: Options,
    params: Params,
    seq: Sequence,
    advance: Any = None,
    slots: Any = None,
) -> Tapped:
    """`advance(carry, z, slot)` takes the place of the cell's own step; the carry before each is kept for it alone."""
    inputs = cell.project(params, seq.xs) if options.hoist and seq.keys is None else seq.xs

    def body(carry: Carry, step: tuple) -> tuple[Carry, tuple]:
        z, valid, reset, key, slot = step
        if reset is not None:
            carry = select(reset, like(carry, seq.first), carry)
        if inputs is seq.xs:
            z = cell.project(params, z) if key is None else cell.project(params, z, key=key)
        after, y = advance(carry, z, slot) if advance else cell.step(params, carry, z)
        if valid is not None:
            after = select(valid, after, carry)
            y = select(valid, y, jnp.zeros_like(y))
        return after, (y, after if options.history else None, carry if advance else None)

    carry, (ys, history, befores) = lax.scan(
        body,
        seq.carry,
        (inputs, seq.valid, seq.resets, seq.keys, slots),
        length=seq.xs.shape[0],
        reverse=options.reverse,
        unroll=options.unroll,
    )
    return Tapped((carry, (ys, history) if options.history else ys), befores)


def mesh_axes(x: Array) -> frozenset[str]:
    """The mesh axes along which `jax.shard_map` knows an array to differ."""
    kind = jax.typeof(x)
    return frozenset(getattr(getattr(kind, "mat", None), "varying", ()) or getattr(kind, "vma", ()) or ())


def varying(xs: Array, carry: Carry) -> Carry:
    """Marks a carry to differ along the mesh axes that the inputs differ along: after a step it does."""

    def marked(c: Array) -> Array:
        axes = tuple(sorted(mesh_axes(xs) - mesh_axes(c)))
        return lax.pcast(c, axes, to="varying") if axes else c

    return jax.tree.map(marked, carry)
