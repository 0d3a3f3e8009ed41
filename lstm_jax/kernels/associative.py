"""No loop: steps of an affine recurrence, joined pairwise by lax.associative_scan in log(time) turns."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax.kernels import xla
from lstm_jax.kernels.xla import Options, Sequence, carry_like, select
from lstm_jax.types import Array, Carry, Params


def run(cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """The same results as `xla.run` up to rounding, for affine cells; every derivative."""
    if seq.xs.shape[0] == 0:
        return xla.run(cell, options, params, seq)
    if seq.keys is None:
        z = cell.project(params, seq.xs)
    else:
        z = jax.vmap(lambda x, key: cell.project(params, x, key=key))(seq.xs, seq.keys)
    a, b = cell.coefficients(params, z)
    if seq.resets is not None:
        b = select(seq.resets, b + a * cell.state(seq.first).astype(b.dtype), b)
        a = select(seq.resets, jnp.zeros_like(a), a)
    if seq.valid is not None:
        a, b = select(seq.valid, a, jnp.ones_like(a)), select(seq.valid, b, jnp.zeros_like(b))

    product, total = lax.associative_scan(_joined, (a, b), reverse=options.reverse)
    states = product * cell.state(seq.carry).astype(total.dtype) + total
    ys = cell.read(params, states, z).astype(seq.xs.dtype)
    if seq.valid is not None:
        ys = select(seq.valid, ys, jnp.zeros_like(ys))
    history = carry_like(cell.carry(states), seq.carry)
    carry = jax.tree.map(lambda h: h[0 if options.reverse else -1], history)
    return carry, (ys, history) if options.history else ys


def _joined(early: tuple[Array, Array], late: tuple[Array, Array]) -> tuple[Array, Array]:
    """One affine step after another."""
    return early[0] * late[0], late[0] * early[1] + late[1]
