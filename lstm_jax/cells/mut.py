"""The three gated units that an evolutionary search found."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells.dense import DenseCell, biased, dot, like, split_gates
from lstm_jax.types import Array


class MUTParams(NamedTuple):
    """`w_x [input, 3 * hidden]`, `w_h [hidden, 3 * hidden]`, `b [3 * hidden]` or None; gates in order r, z, n.

    MUT1 has no recurrent weights for z: its `w_h [hidden, 2 * hidden]` is for r, n.
    """

    w_x: Array
    w_h: Array
    b: Array | None


@dataclasses.dataclass(frozen=True)
class _MUT(DenseCell):
    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    params_type: ClassVar[type] = MUTParams

    def recur(self, params: MUTParams, carry: Array, seen: Array, z: Array) -> tuple[Array, Array]:
        w = dict(zip(self.recurrent_gates, split_gates(params.w_h, len(self.recurrent_gates)), strict=True))
        h, (x_r, x_z, x_n) = seen.astype(z.dtype), split_gates(z, 3)
        r = jax.nn.sigmoid(x_r + dot(h, w["r"]))
        z = jax.nn.sigmoid(self.keep(x_z, h, w.get("z")))
        n = jnp.tanh(dot(r * h, w["n"]) + x_n)
        h = (1 - z) * n + z * carry.astype(z.dtype)
        return like(carry, h), h.astype(params.w_x.dtype)

    def keep(self, x_z: Array, h: Array, w_hz: Any) -> Array:
        """Returns the pre-activation of z."""
        return x_z + dot(h, w_hz)


@dataclasses.dataclass(frozen=True)
class MUT1(_MUT):
    """The first; its carry is the array h `[*batch, hidden_size]`.

        r = sigmoid(W_xr x + W_hr h + b_r)
        z = sigmoid(W_xz x + b_z)
        n = tanh(W_hn (r h) + tanh(W_xn x) + b_n)
        h' = (1 - z) n + z h,    y = h'

    Here z keeps, as in `GRU`; the paper's z writes. Departure: the paper has tanh(x) for tanh(W_xn x), which wants
    inputs of the hidden size; with W_xn = 1 they agree.

    References: Jozefowicz, Zaremba, Sutskever 2015, https://proceedings.mlr.press/v37/jozefowicz15.html
    """

    @property
    def recurrent_gates(self) -> tuple[str, ...]:
        return ("r", "n")

    def project(self, params: MUTParams, x: Array, *, key: Array | None = None) -> Array:
        """Returns what r, z and n take from the input, `[*batch, 3 * hidden_size]`, in float32 or better."""
        r, z, n = split_gates(dot(x, params.w_x), 3)
        return biased(jnp.concatenate([r, z, jnp.tanh(n)], axis=-1), params.b)

    def keep(self, x_z: Array, h: Array, w_hz: Any) -> Array:
        return x_z


@dataclasses.dataclass(frozen=True)
class MUT2(_MUT):
    """The second; its carry is the array h `[*batch, hidden_size]`.

        r = sigmoid(W_xr x + W_hr h + b_r)
        z = sigmoid(W_xz x + W_hz h + b_z)
        n = tanh(W_hn (r h) + W_xn x + b_n)
        h' = (1 - z) n + z h,    y = h'

    Here z keeps, as in `GRU`; the paper's z writes. Departure: the paper has x for W_xr x, which wants inputs of the
    hidden size; with W_xr = 1 they agree. With a free W_xr this is a `GRU` with `reset_after=False`.

    References: Jozefowicz, Zaremba, Sutskever 2015, https://proceedings.mlr.press/v37/jozefowicz15.html
    """


@dataclasses.dataclass(frozen=True)
class MUT3(_MUT):
    """The third; its carry is the array h `[*batch, hidden_size]`.

        r = sigmoid(W_xr x + W_hr h + b_r)
        z = sigmoid(W_xz x + W_hz tanh(h) + b_z)
        n = tanh(W_hn (r h) + W_xn x + b_n)
        h' = (1 - z) n + z h,    y = h'

    Here z keeps, as in `GRU`; the paper's z writes.

    References: Jozefowicz, Zaremba, Sutskever 2015, https://proceedings.mlr.press/v37/jozefowicz15.html
    """

    def keep(self, x_z: Array, h: Array, w_hz: Any) -> Array:
        return x_z + dot(jnp.tanh(h), w_hz)
