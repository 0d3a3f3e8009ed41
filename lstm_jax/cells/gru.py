"""The gated recurrent unit, with the reset after the product (cuDNN, PyTorch) or before it (Cho)."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.dense import DenseCell, biased, dot, like, split_gates
from lstm_jax.types import Array


class GRUParams(NamedTuple):
    """`w_x [input, 3 * hidden]`, `w_h [hidden, 3 * hidden]`, `b [3 * hidden]`, `b_hn [hidden]`; gates r, z, n.

    `b` is None without biases, `b_hn` also with `reset_after=False`.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    b_hn: Array | None = None


@dataclasses.dataclass(frozen=True)
class GRU(DenseCell):
    """A gated recurrent unit; its carry is the array h `[*batch, hidden_size]`.

        r, z = sigmoid(W_x x + W_h h + b)
        n = tanh(W_xn x + b_n + r (W_hn h + b_hn))      with `reset_after=True`, the default
        n = tanh(W_xn x + b_n + W_hn (r h))             with `reset_after=False`
        h' = (1 - z) n + z h,    y = h'

    The gate z keeps, as in PyTorch and cuDNN; Cho et al. write the same equation.

    References: Cho et al. 2014, https://arxiv.org/abs/1406.1078; the form with its own bias inside the reset:
    https://docs.nvidia.com/deeplearning/cudnn
    """

    reset_after: bool = True

    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    params_type: ClassVar[type] = GRUParams

    def __post_init__(self):
        super().__post_init__()
        checks.boolean("reset_after", self.reset_after)

    @property
    def splits(self) -> bool:
        return self.reset_after and self.recurs and type(self).recur is GRU.recur

    def init(self, key: Array, dtype: Any = jnp.float32) -> GRUParams:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own."""
        params = super().init(key, dtype)
        if not (self.use_bias and self.reset_after):
            return params
        b_hn = self.b_init(jax.random.fold_in(key, 3), ("n",), self.hidden_size, dtype)
        return params._replace(b_hn=b_hn)

    def preactivate(self, params: GRUParams, carry: Array, z: Array) -> tuple[Array, ...]:
        """Returns r, z, the candidate's input part and, when the reset comes after the product, its recurrent part."""
        *x, x_n = split_gates(z, 3)
        if self.reset_after:
            *h, h_n = split_gates(self.recurrent(params, carry), 3)
            return x[0] + h[0], x[1] + h[1], x_n, biased(h_n, params.b_hn)
        h = split_gates(dot(carry, params.w_h[:, : 2 * self.hidden_size]), 2)
        return x[0] + h[0], x[1] + h[1], x_n

    def recurrent(self, params: Any, carry: Array) -> Array:
        """Returns W_h h, `[*batch, 3 * hidden_size]`."""
        return dot(carry, params.w_h)

    def update(self, carry: Array, a: tuple[Array, ...]) -> tuple[Array, Array]:
        r, z, x_n, h_n = a
        return self._mix(carry, z, x_n + jax.nn.sigmoid(r) * h_n)

    def _mix(self, carry: Array, z: Array, n: Array) -> tuple[Array, Array]:
        z = jax.nn.sigmoid(z)
        h = (1 - z) * jnp.tanh(n) + z * carry.astype(z.dtype)
        return like(carry, h), h

    def recur(self, params: GRUParams, carry: Array, seen: Array, z: Array) -> tuple[Array, Array]:
        if self.reset_after:
            return super().recur(params, carry, seen, z)
        r, z, x_n = self.preactivate(params, seen, z)
        w_hn = params.w_h[:, 2 * self.hidden_size :]
        carry, h = self._mix(carry, z, x_n + dot(jax.nn.sigmoid(r) * seen.astype(r.dtype), w_hn))
        return carry, h.astype(params.w_x.dtype)
