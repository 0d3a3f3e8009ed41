"""The LSTM whose gates see each other's last values."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.call import zeros
from lstm_jax.cells.dense import dot, like, matrix, split_gates
from lstm_jax.cells.peephole import PeepholeLSTM
from lstm_jax.types import Array


class FullGateParams(NamedTuple):
    """As `PeepholeParams`, and `w_g [3 * hidden, 3 * hidden]`: from the gates i, f, o to the gates i, f, o."""

    w_x: Array
    w_h: Array
    b: Array | None
    p: Array | None = None
    w_g: Array | None = None


class FullGateCarry(NamedTuple):
    """The output h and the memory c, each `[*batch, hidden_size]`, the gates i, f, o `[*batch, 3 * hidden_size]`."""

    h: Array
    c: Array
    gates: Array


@dataclasses.dataclass(frozen=True)
class FullGateLSTM(PeepholeLSTM):
    """The `PeepholeLSTM` with full gate recurrence, Greff's FGR and the form that the LSTM of 1997 was tried in.

    To the pre-activation of each gate k of i, f, o comes

        R_ik i + R_fk f + R_ok o

    with the gates of the step before; at first they are zero. No gate may be open or coupled: all take part.

    References: Greff et al. 2015, https://arxiv.org/abs/1503.04069
    """

    params_type: ClassVar[type] = FullGateParams

    def __post_init__(self):
        super().__post_init__()
        checks.one_of("open_gates", self.open_gates, [()])
        checks.one_of("coupled", self.coupled, [False])

    def init(self, key: Array, dtype: Any = jnp.float32) -> FullGateParams:
        """Returns fresh parameters in `dtype`; each gate's matrix, and each pair of gates', is drawn on its own."""
        params, size = super().init(key, dtype), self.hidden_size
        keys = jax.random.split(jax.random.fold_in(key, 4), 3)
        return params._replace(w_g=jnp.concatenate([matrix(self.w_h_init, k, size, 3, size, dtype) for k in keys]))

    def initial_carry(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Any:
        """Returns zeros in `dtype`, by default the parameters' own."""
        gates = zeros(self, params, batch_shape, dtype, 3 * self.hidden_size)
        return FullGateCarry(*super().initial_carry(params, batch_shape, dtype), gates)

    def recurrent(self, params: Any, carry: Any) -> Array:
        """Returns W_h h and what the gates see of each other, `[*batch, 4 * hidden_size]`."""
        i, f, o = split_gates(dot(carry.gates, params.w_g), 3)
        return dot(carry.h, params.w_h) + jnp.concatenate([i, f, jnp.zeros_like(i), o], axis=-1)

    def update(self, carry: Any, a: Any) -> tuple[Any, Array]:
        h, c, gates = self.gated(carry.c, *a)
        after = jnp.concatenate([gates[name] for name in "ifo"], axis=-1)
        return like(carry, FullGateCarry(h, c, after)), h
