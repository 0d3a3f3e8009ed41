"""The minimal gated unit: one gate for both of the GRU's duties."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.dense import DenseCell, biased, dot, like, split_gates
from lstm_jax.types import Array


class MGUParams(NamedTuple):
    """`w_x [input, 2 * hidden]`, `w_h [hidden, 2 * hidden]`, `b [2 * hidden]`, `b_hn [hidden]`.

    Gates in order w, n, with `reset_after=True` in order f, n. `b` is None without biases, `b_hn` also with
    `reset_after=False`.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    b_hn: Array | None = None


@dataclasses.dataclass(frozen=True)
class MGU(DenseCell):
    """A minimal gated unit; its carry is the array h `[*batch, hidden_size]`.

        w = sigmoid(W_xw x + W_hw h + b_w)
        n = tanh(W_xn x + W_hn (w h) + b_n)
        h' = (1 - w) h + w n,    y = h'

    the paper's, who call it f although it writes; and with `reset_after=True`, as Flax's `MGUCell`, whose f keeps,

        f = sigmoid(W_xf x + W_hf h + b_f)
        n = tanh(W_xn x + b_n + f (W_hn h + b_hn))
        h' = (1 - f) n + f h,    y = h'

    References: Zhou, Wu, Zhang, Zhou 2016, https://arxiv.org/abs/1603.09420
    """

    reset_after: bool = False

    params_type: ClassVar[type] = MGUParams

    def __post_init__(self):
        super().__post_init__()
        checks.boolean("reset_after", self.reset_after)

    @property
    def gates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride] -- by options
        return ("f", "n") if self.reset_after else ("w", "n")

    @property
    def splits(self) -> bool:
        return self.reset_after and self.recurs and type(self).recur is MGU.recur

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
        return like(carry, h), h

    def recur(self, params: Any, carry: Array, seen: Array, z: Array) -> tuple[Array, Array]:
        if self.reset_after:
            return super().recur(params, carry, seen, z)
        x_w, x_n = split_gates(z, 2)
        w_hw, w_hn = split_gates(params.w_h, 2)
        w = jax.nn.sigmoid(x_w + dot(seen, w_hw))
        n = jnp.tanh(x_n + dot(w * seen.astype(z.dtype), w_hn))
        h = (1 - w) * carry.astype(z.dtype) + w * n
        return like(carry, h), h.astype(params.w_x.dtype)
