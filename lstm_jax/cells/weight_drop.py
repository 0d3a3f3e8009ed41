"""DropConnect on the recurrent weights."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.wrapped import Wrapped
from lstm_jax.types import Array, Cell


@dataclasses.dataclass(frozen=True)
class WeightDrop(Wrapped):
    """A cell whose recurrent weights are dropped, one by one, for a whole sequence and the whole batch.

        W_h = m W_h / (1 - rate),    m ~ Bernoulli(1 - rate), entry by entry

    `weights` names the parameters that are dropped, those within others as "controller.w_h". Without a key nothing is,
    and neither is in a single call of the cell, which does not know its sequence. Only weights change: the cell runs in
    the kernels that serve the one within.

    References: Wan et al. 2013, https://proceedings.mlr.press/v28/wan13.html (DropConnect);
    Merity, Keskar, Socher 2018, https://arxiv.org/abs/1708.02182
    """

    rate: float = 0.5
    weights: tuple[str, ...] = ("w_h",)

    def __post_init__(self):
        super().__post_init__()
        checks.rate("rate", self.rate)
        leaves = jax.tree.leaves_with_path(jax.eval_shape(lambda: self.cell.init(jax.random.key(0))))
        known = [_name(path) for path, _ in leaves]
        if not isinstance(self.weights, tuple) or not self.weights or not set(self.weights) <= set(known):
            raise checks.fail("weights", f"a tuple of some of {', '.join(known)}", repr(self.weights))

    def prepare(self, params: Any, batch_shape: tuple[int, ...], *, key: Array | None = None) -> Any:
        """Returns the parameters of this sequence."""
        if key is None:
            return self.cell.prepare(params, batch_shape)
        key, *keys = jax.random.split(key, 1 + len(self.weights))
        by_name = dict(zip(self.weights, keys, strict=True))

        def dropped(path: Any, w: Array) -> Array:
            if (k := by_name.get(_name(path))) is None:
                return w
            return jnp.where(jax.random.bernoulli(k, 1 - self.rate, w.shape), w / (1 - self.rate), jnp.zeros_like(w))

        return self.cell.prepare(jax.tree.map_with_path(dropped, params), batch_shape, key=key)

    @property
    def runs_as(self) -> Cell:
        """What a compiled loop sees: the cell within."""
        return getattr(self.cell, "runs_as", self.cell)

    def recast(self, params: Any) -> Any:
        """Returns what the cell within hands to a compiled loop."""
        return self.cell.recast(params) if self.runs_as is not self.cell else params


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
