"""The minimal gated unit: one gate for both of the GRU's duties."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.dense import DenseCell, biased, dot, like, split_gates
from lstm_jax.types import Array


class MGUParams(NamedTuple):
    """`w_x [input, 2 * hidden]`, `w_h [hidden, 2 * hidden]`, `b [2 * hidden]`, `b_hn [hidden]`; gates in order f, n.

    `b` is None without biases, `b_hn` also with `reset_after=False`.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    b_hn: Array | None = None


@dataclasses.dataclass(frozen=True)
class MGU(DenseCell):
    """A minimal gated unit; its carry is the array h `[*batch, hidden_size]`.

        f = sigmoid(W_xf x + W_hf h + b_f)
        n = tanh(W_xn x + W_hn (f h) + b_n)                   the paper's, the default
        h' = (1 - f) h + f n,    y = h'

        n = tanh(W_xn x + b_n + f (W_hn h + b_hn))            with `reset_after=True`, as Flax's `MGUCell`
        h' = (1 - f) n + f h,    y = h'

    The two are not one cell in two notations: where the gate of the first is open it writes, that of the second keeps.

    References: Zhou, Wu, Zhang, Zhou 2016, https://arxiv.org/abs/1603.09420
    """

    reset_after: bool = False

    gates: ClassVar[tuple[str, ...]] = ("f", "n")
    params_type: ClassVar[type] = MGUParams

    def __post_init__(self):
        super().__post_init__()
        checks.boolean("reset_after", self.reset_after)

    @property
    def splits(self) -> bool:
        return self.reset_after

    def init(self, key: Array, dtype: Any = jnp.float32) -> MGUParams:
        """Returns fresh parameters in `dtype`; each gate's matrix is drawn on its own."""
        params = super().init(key, dtype)
        if not (self.use_bias and self.reset_after):
            return params
        return params._replace(b_hn=self.b_init(jax.random.fold_in(key, 3), ("n",), self.hidden_size, dtype))

    def preactivate(self, params: MGUParams, carry: Array, z: Array) -> tuple[Array, ...]:
        """Returns f, the candidate's input part and its recurrent part: `reset_after=True` alone."""
        (x_f, x_n), (h_f, h_n) = split_gates(z, 2), split_gates(dot(carry, params.w_h), 2)
        return x_f + h_f, x_n, biased(h_n, params.b_hn)

    def update(self, carry: Array, a: tuple[Array, ...]) -> tuple[Array, Array]:
        a_f, x_n, h_n = a
        f = jax.nn.sigmoid(a_f)
        h = (1 - f) * jnp.tanh(x_n + f * h_n) + f * carry.astype(f.dtype)
        return like(carry, h)[0], h

    def step(self, params: Any, carry: Array, z: Array) -> tuple[Array, Array]:
        """Returns the next carry and the output `[*batch, hidden_size]` in the parameters' dtype."""
        if self.reset_after:
            return super().step(params, carry, z)
        x_f, x_n = split_gates(z, 2)
        w_hf, w_hn = split_gates(params.w_h, 2)
        h = carry.astype(z.dtype)
        f = jax.nn.sigmoid(x_f + dot(carry, w_hf))
        h = (1 - f) * h + f * jnp.tanh(x_n + dot(f * h, w_hn))
        return like(carry, h)[0], h.astype(params.w_x.dtype)
