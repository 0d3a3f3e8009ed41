"""Variational dropout: one mask on the recurrent edges for a whole sequence."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.wrapped import Wrapped
from lstm_jax.types import Array, Carry, Params


class _Drawn(NamedTuple):
    inner: Any
    mask: Any


@dataclasses.dataclass(frozen=True)
class VariationalDropout(Wrapped):
    """A cell whose recurrent product sees h through one mask a sequence, the same at every step.

        a = W_x x + W_h (m h) / (1 - rate) + b,    m ~ Bernoulli(1 - rate) once a sequence

    h is the first leaf of the carry, in an `NTM` its controller's. Only the products see the mask: where a GRU mixes
    its old h into the new one, h is whole. Without a key nothing is dropped, nor in a single call of the cell, which
    does not know its sequence. Dropout of the inputs belongs to the layers. Cells without a recurrent product, such as
    `MinGRU`, are refused, and so are wrappers, which go around this one.

    References: Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287
    """

    rate: float = 0.25

    def __post_init__(self):
        super().__post_init__()
        checks.rate("rate", self.rate)
        if not getattr(self.cell, "recurs", False):
            expected = "a cell whose step is `recur`, with products of h (a wrapper goes around this one)"
            raise checks.fail("cell", expected, repr(self.cell))

    def prepare(self, params: Params, batch_shape: tuple[int, ...], *, key: Array | None = None) -> _Drawn:
        """Returns the parameters with the mask of this sequence."""
        if key is None:
            return _Drawn(self.cell.prepare(params, batch_shape), None)
        key, key_mask = jax.random.split(key)
        inner = self.cell.prepare(params, batch_shape, key=key)
        h, *_ = jax.tree.leaves(jax.eval_shape(lambda: self.cell.initial_carry(params, batch_shape)))
        return _Drawn(inner, jax.random.bernoulli(key_mask, 1 - self.rate, h.shape))

    def project(self, params: _Drawn, x: Array, *, key: Array | None = None) -> Any:
        return self.cell.project(params.inner, x, key=key)

    def step(self, params: _Drawn, carry: Carry, z: Any) -> tuple[Carry, Array]:
        """Returns the next carry and the output in the parameters' dtype."""
        if params.mask is None:
            return self.cell.step(params.inner, carry, z)
        (h, *rest), tree = jax.tree.flatten(carry)
        h = jnp.where(params.mask, h / (1 - self.rate), jnp.zeros_like(h))
        masked = jax.tree.unflatten(tree, [h, *rest])
        return self.cell.recur(params.inner, carry, masked, z)
