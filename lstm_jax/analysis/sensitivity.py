"""How strongly the end of a sequence depends on its earlier states and inputs.

Lags count the steps of the cell that lie between: the carry that step t starts from, and the input of step t, have both
passed `time - t` steps by the end of a sequence. The first entry of what is ordered by lag is therefore lag 1, what
happened just before the last step, and the last entry is lag `time`, the first carry and the first input.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax import checks
from lstm_jax.analysis.trace import trace
from lstm_jax.scan import scan
from lstm_jax.types import Array, Carry, Cell, Params, wide

Loss = Callable[[Carry, Array], Array]
"""From the last carry and the outputs `[time, *batch, *output_shape]` to numbers, the sum of which is differentiated.

A loss of one number a sequence is the usual one: sequences do not mix, so that each gets its own gradients.
"""


class Gradients(NamedTuple):
    """Of one number: by the carry that each step starts from, and by each input, in the order of time."""

    carry: Carry
    xs: Array


class Sensitivity(NamedTuple):
    """Norms of gradients, `[lag, *batch]`, lag 1 first: a carry's leaf by leaf, and the inputs'."""

    carry: Carry
    xs: Array


class InputSensitivity(NamedTuple):
    """Norms of the derivatives by one input, in the order of time: of the carry after each step, and of each output."""

    carry: Carry
    ys: Array


def last_output(carry: Carry, ys: Array) -> Array:
    """The last output, the sum of whose entries is differentiated."""
    return ys[-1]


def gradients(cell: Cell, params: Params, xs: Array, loss: Loss = last_output, carry: Carry | None = None) -> Gradients:
    """Returns the gradient of a loss by every carry and every input of a sequence, in one backward pass.

    The carry is the state of the recurrence: its leaves count as independent, h is held while c changes. A loss that
    reads outputs of several steps counts, for the carry that step t starts from, those from step t on.

    Args:
      cell: any cell. One that draws runs without a key.
      params: the cell's parameters, in the dtype of `xs`.
      xs: inputs, `[time, *batch, *input_shape]`, of at least one step.
      loss: from the last carry and the outputs to numbers, the sum of which is differentiated; see `Loss`.
      carry: where the sequence starts; by default `cell.initial_carry`.

    Returns:
      `carry`, leaves `[time, *batch, ...]`: entry t is the gradient by the carry that step t starts from, entry 0 that
      by the first carry. `xs`, `[time, *batch, *input_shape]`. Each in the dtype of what it is the gradient by.

    Raises:
      ValueError: a wrong shape or dtype, as `scan` says, or no steps.
    """
    batch = _check(cell, params, xs, carry)
    first = jax.tree.map(jnp.asarray, cell.initial_carry(params, batch) if carry is None else carry)
    prepared = cell.prepare(params, batch)

    def total(nudges: Carry, xs: Array) -> Array:
        def step(carry: Carry, at: tuple) -> tuple[Carry, Array]:
            nudge, x = at
            return cell.step(prepared, jax.tree.map(jnp.add, carry, nudge), cell.project(prepared, x))

        return jnp.sum(loss(*lax.scan(step, first, (nudges, xs))))

    nudges = jax.tree.map(lambda c: jnp.zeros((xs.shape[0], *c.shape), c.dtype), first)
    return Gradients(*jax.grad(total, (0, 1))(nudges, jnp.asarray(xs)))


def sensitivity(
    cell: Cell, params: Params, xs: Array, loss: Loss = last_output, carry: Carry | None = None
) -> Sensitivity:
    """Returns how the norm of a loss's gradient falls or grows over the lag, for each sequence and leaf of the carry.

    Args: as `gradients`.

    Returns:
      `carry`, leaves `[lag, *batch]`, lags 1 to `time`: the norm of the gradient by that leaf (for an LSTM h and c
      apart). `xs`, `[lag, *batch]`: by the inputs. In float32 or better; squares neither vanish nor overflow on the
      way to a norm.

    Raises:
      ValueError: a wrong shape or dtype, as `scan` says, or no steps.

    References: Hochreiter 1991; Bengio, Simard, Frasconi 1994, https://doi.org/10.1109/72.279181; Pascanu, Mikolov,
    Bengio 2013, https://arxiv.org/abs/1211.5063
    """
    by = gradients(cell, params, xs, loss, carry)
    rank = xs.ndim - len(cell.input_shape)
    return Sensitivity(*jax.tree.map(lambda g: _norm(g[::-1], tuple(range(rank, g.ndim))), by))


def input_sensitivity(
    cell: Cell, params: Params, xs: Array, at: int = 0, carry: Carry | None = None
) -> InputSensitivity:
    """Returns how strongly every later state and output depends on the input of one step: Graves's shaded units.

    One forward pass, with a tangent for each entry of the input.

    Args:
      cell, params, xs, carry: as `gradients`.
      at: the step whose input is meant, 0 to `time - 1`.

    Returns:
      `carry`, leaves `[time, *batch, ...]`: for each unit the norm of the derivatives of the carry after step t by the
      entries of `xs[at]`; `ys`, `[time, *batch, *output_shape]`: those of the outputs. Zero before step `at`.

    Raises:
      ValueError: a wrong shape or dtype, as `scan` says, or a step that is none.

    References: Graves 2012, Supervised sequence labelling with recurrent neural networks, section 4.1,
    https://doi.org/10.1007/978-3-642-24797-2
    """
    batch = _check(cell, params, xs, carry)
    checks.positive_int("at", at, minimum=0)
    if at >= xs.shape[0]:
        raise checks.fail("at", f"a step before {xs.shape[0]}, the end of `xs`", at)
    xs = jnp.asarray(xs)

    def states(x: Array) -> tuple[Carry, Array]:
        moved = xs.at[at].set(x)
        _, (ys, history) = scan(cell, params, moved, carry, return_history=True, implementation="xla")
        return history, ys

    def by(direction: Array) -> tuple[Carry, Array]:
        return jax.jvp(states, (xs[at],), (jnp.broadcast_to(direction, xs.shape[1:]),))[1]

    size = math.prod(cell.input_shape)
    directions = jnp.eye(size, dtype=xs.dtype).reshape(size, *(1,) * len(batch), *cell.input_shape)
    return InputSensitivity(*jax.tree.map(lambda d: _norm(d, (0,)), jax.vmap(by)(directions)))


def direct_path(cell: Any, params: Params, xs: Array, carry: Carry | None = None) -> Array:
    """Returns the part of dc_T/dc_t that goes through the memory alone: the product of the forget gates on the way.

    It is what the derivative would be if gates and candidate saw the input alone: the constant error carousel. No
    entry is above 1, whatever the weights; the whole derivative has no such bound.

    Args:
      cell: a cell with a memory c and a forget gate f that `trace` knows.
      params, xs, carry: as `gradients`.

    Returns:
      `[lag, *batch, hidden_size]`, lags 1 to `time`, in float32 or better.

    Raises:
      NotImplementedError: a cell that has no such gate, or one that `trace` does not know.
      ValueError: a wrong shape or dtype, as `scan` says.

    References: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; Gers, Schmidhuber, Cummins
    2000, https://doi.org/10.1162/089976600300015015
    """
    seen = trace(cell, params, xs, carry)
    if not {"f", "c"} <= set(seen):
        raise NotImplementedError(f"`cell`: expected a memory c behind a forget gate f, got {cell!r}")
    return jnp.cumprod(seen["f"][::-1], axis=0)


def decay_rate(norms: Array, first: int = 1, last: int | None = None) -> Array:
    """Returns the factor by which norms change with each step of lag: under 1 they vanish, above 1 they explode.

    The least-squares line through log norm over the lags `first` to `last`. Norms that are 0 or not finite have no
    logarithm and are left out: look at them first, a norm that falls to 0 and stays there looks slower than it is.

    Args:
      norms: `[lag, ...]`, lags 1 onwards, as `sensitivity` returns them.
      first, last: the lags of the fit, both included; `last` is by default the last there is.

    Returns:
      `[...]`, exp of the line's slope; NaN where fewer than two norms have a logarithm.

    Raises:
      ValueError: fewer than two lags, or lags that `norms` does not have.
    """
    checks.array("norms", norms)
    checks.float_dtype("norms", norms.dtype)
    lags = norms.shape[0] if norms.ndim else 0
    last = lags if last is None else last
    checks.positive_int("first", first)
    checks.positive_int("last", last, minimum=first + 1)
    if last > lags:
        raise checks.fail("last", f"a lag of `norms`, at most {lags}", last)
    norms = jnp.asarray(norms)[first - 1 : last].astype(wide(norms.dtype))
    valid = (norms > 0) & jnp.isfinite(norms)
    y = jnp.log(jnp.where(valid, norms, 1))
    x = jnp.arange(last - first + 1, dtype=norms.dtype).reshape(-1, *(1,) * (norms.ndim - 1))
    count = valid.sum(0).astype(norms.dtype)
    x = jnp.where(valid, x - jnp.where(valid, x, 0).sum(0) / count, 0)
    return jnp.exp((x * y).sum(0) / jnp.square(x).sum(0))


def _check(cell: Any, params: Any, xs: Any, carry: Any) -> tuple[int, ...]:
    """Checks what `scan` checks, at its own door, and that there is a step; returns the batch shape."""
    jax.eval_shape(lambda: scan(cell, params, xs, carry, implementation="xla"))
    if xs.shape[0] == 0:
        raise checks.fail("xs", "at least one step", checks.describe(xs))
    return xs.shape[1 : xs.ndim - len(cell.input_shape)]


def _norm(x: Array, axes: tuple[int, ...]) -> Array:
    """The Euclidean norm over some axes, scaled so that squares neither vanish nor overflow, in float32 or better."""
    x = jnp.abs(x.astype(wide(x.dtype)))
    largest = x.max(axes, keepdims=True)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return jnp.sqrt(jnp.square(x / scale).sum(axes)) * jnp.squeeze(scale, axes)
