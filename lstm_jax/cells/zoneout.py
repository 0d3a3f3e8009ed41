"""Zoneout: units that keep, now and then, the value they had."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.wrapped import Wrapped
from lstm_jax.types import Array, Carry


class _Drawn(NamedTuple):
    inner: Any
    masks: Any


@dataclasses.dataclass(frozen=True)
class Zoneout(Wrapped):
    """A cell of which some units keep, at each step, the value they had.

        s' = m s + (1 - m) s'_cell,    m ~ Bernoulli(rate)          with a key, anew at every step
        s' = rate s + (1 - rate) s'_cell                            without, its expectation
        y' = the output's part of s'

    `rates` has one rate for every leaf of the carry, such as `(0.05, 0.5)` for an LSTM's h and c, or one for all. Cells
    whose output is no part of their carry are refused, and so are rates for leaves that only mean something together,
    as an sLSTM's c, n and m do.

    References: Krueger et al. 2017, https://arxiv.org/abs/1606.01305
    """

    rates: float | tuple[float, ...] = 0.1

    def __post_init__(self):
        super().__post_init__()
        self.require_output()
        if isinstance(self.rates, (int, float)):
            checks.rate("rates", self.rates)
        elif not isinstance(self.rates, tuple) or len(self.rates) != len(jax.tree.leaves(_carry(self.cell))):
            expected = f"a number, or a tuple of one for each leaf of {checks.describe(_carry(self.cell))}"
            raise checks.fail("rates", expected, repr(self.rates))
        for leaf, rate in enumerate(self._rates()):
            checks.rate("rates", rate)
            if rate and leaf in self.tied_leaves:
                expected = f"0 for the leaves {self.tied_leaves} of the carry, which belong together"
                raise checks.fail("rates", expected, repr(self.rates))

    def _rates(self) -> tuple[float, ...]:
        if isinstance(self.rates, tuple):
            return self.rates
        return (self.rates,) * len(jax.tree.leaves(_carry(self.cell)))

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> _Drawn:
        """Returns what the cell within projects, and which units stay."""
        if key is None:
            return _Drawn(self.cell.project(params, x), None)
        leaves = jax.tree.leaves(_carry(self.cell))
        key, *keys = jax.random.split(key, 1 + len(leaves))
        batch = x.shape[: x.ndim - len(self.input_shape)]
        masks = [
            jax.random.bernoulli(k, rate, (*batch, *leaf.shape))
            for k, rate, leaf in zip(keys, self._rates(), leaves, strict=True)
        ]
        return _Drawn(self.cell.project(params, x, key=key), masks)

    def step(self, params: Any, carry: Carry, z: _Drawn) -> tuple[Carry, Array]:
        """Returns the next carry and the output in the parameters' dtype."""
        after, y = self.cell.step(params, carry, z.inner)
        old, tree = jax.tree.flatten(carry)
        new = jax.tree.leaves(after)
        if z.masks is None:
            mixed = [rate * o + (1 - rate) * n for rate, o, n in zip(self._rates(), old, new, strict=True)]
        else:
            mixed = [jnp.where(mask, o, n) for mask, o, n in zip(z.masks, old, new, strict=True)]
        return jax.tree.unflatten(tree, mixed), mixed[0].astype(y.dtype)


@functools.lru_cache(maxsize=256)
def _carry(cell: Any) -> Any:
    """The structure and shapes of a carry without batch."""
    return jax.eval_shape(lambda: cell.initial_carry(cell.init(jax.random.key(0))))
