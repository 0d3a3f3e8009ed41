"""No loop: steps of an affine recurrence, joined pairwise by lax.associative_scan in log(time) turns."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.cells.dense import like
from lstm_jax.kernels import xla
from lstm_jax.kernels.xla import Options, Sequence, select
from lstm_jax.types import Carry, Params


def run(cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """The same results as `xla.run` up to rounding, for affine cells; every derivative."""
    if seq.xs.shape[0] == 0:
        return xla.run(cell, options, params, seq)
    if seq.keys is None:
        z = cell.project(params, seq.xs)
    else:
        z = jax.vmap(lambda x, key: cell.project(params, x, key=key))(seq.xs, seq.keys)
    a, b = cell.coefficients(params, z)
    cut = None
    if seq.resets is not None:
        b = select(seq.resets, b + a * cell.state(seq.first).astype(b.dtype), b)
        cut = jnp.broadcast_to(seq.resets.reshape(seq.resets.shape + (1,) * (b.ndim - seq.resets.ndim)), b.shape)
    if seq.valid is not None:
        a, b = select(seq.valid, a, jnp.ones_like(a)), select(seq.valid, b, jnp.zeros_like(b))

    first = (
        jnp.ones_like(b[0]),
        cell.state(seq.carry).astype(b.dtype),
        None if cut is None else jnp.zeros_like(cut[0]),
    )
    product, total, cut = lax.associative_scan(_joined, (a, b, cut), reverse=options.reverse)
    states = jax.vmap(lambda *late: _joined(first, late)[1])(product, total, cut)
    ys = cell.read(params, states, z).astype(seq.xs.dtype)
    if seq.valid is not None:
        ys = select(seq.valid, ys, jnp.zeros_like(ys))
    history = like(seq.carry, cell.carry(states))
    carry = jax.tree.map(lambda h: h[0 if options.reverse else -1], history)
    return carry, (ys, history) if options.history else ys


def _joined(early: tuple, late: tuple) -> tuple:
    """One affine step after another: s' = a s + b, or b alone where a cut keeps what came before out, even NaN."""
    (a0, b0, cut0), (a1, b1, cut1) = early, late
    if cut1 is None:
        return a0 * a1, a1 * b0 + b1, None
    return a0 * a1, jnp.where(cut1, b1, a1 * b0 + b1), cut0 | cut1
