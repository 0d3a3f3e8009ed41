"""Zoneout: units that keep, now and then, the value they had."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.dense import like
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
    whose output is no part of their carry are refused.

    References: Krueger et al. 2017, https://arxiv.org/abs/1606.01305
    """

    rates: float | tuple[float, ...] = 0.1

    def __post_init__(self):
        super().__post_init__()
        self._require_output()
        for rate in self.rates if isinstance(self.rates, tuple) else (self.rates,):
            checks.rate("rates", rate)
        if isinstance(self.rates, tuple) and len(self.rates) != len(self._leaves()):
            raise checks.fail("rates", f"one for each leaf of {self._carry()}", repr(self.rates))

    def _carry(self) -> Any:
        return jax.eval_shape(lambda: self.cell.initial_carry(self.cell.init(jax.random.key(0))))

    def _leaves(self) -> list:
        return jax.tree.leaves(self._carry())

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> _Drawn:
        """Returns what the cell within projects, and which units stay."""
        if key is None:
            return _Drawn(self.cell.project(params, x), None)
        key, *keys = jax.random.split(key, 1 + len(self._leaves()))
        batch = x.shape[: x.ndim - len(self.input_shape)]
        masks = [
            jax.random.bernoulli(k, rate, (*batch, *leaf.shape))
            for k, rate, leaf in zip(keys, self._rates(), self._leaves(), strict=True)
        ]
        return _Drawn(self.cell.project(params, x, key=key), masks)

    def _rates(self) -> tuple[float, ...]:
        return self.rates if isinstance(self.rates, tuple) else (self.rates,) * len(self._leaves())

    def step(self, params: Any, carry: Carry, z: _Drawn) -> tuple[Carry, Array]:
        """Returns the next carry and the output in the parameters' dtype."""
        after, y = self.cell.step(params, carry, z.inner)
        old, tree = jax.tree.flatten(carry)
        new = jax.tree.leaves(after)
        if z.masks is None:
            mixed = [rate * o + (1 - rate) * n for rate, o, n in zip(self._rates(), old, new, strict=True)]
        else:
            mixed = [jnp.where(mask, o, n) for mask, o, n in zip(z.masks, old, new, strict=True)]
        carry = jax.tree.unflatten(tree, like(carry, *mixed))
        return carry, self._output_of(carry).astype(y.dtype)
