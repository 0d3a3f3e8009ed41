"""minLSTM and minGRU: gates that look at the input alone, so that time needs no loop."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax

from lstm_jax import inits
from lstm_jax.cells.affine import Affine
from lstm_jax.cells.dense import InputCell, split_gates
from lstm_jax.types import Array


class MinimalParams(NamedTuple):
    """`w_x [input, gates * hidden]`, `b [gates * hidden]` or None."""

    w_x: Array
    b: Array | None


@dataclasses.dataclass(frozen=True)
class _Minimal(Affine, InputCell):
    params_type: ClassVar[type] = MinimalParams


@dataclasses.dataclass(frozen=True)
class MinLSTM(_Minimal):
    """A minLSTM; its carry is the array h `[*batch, hidden_size]`. Parameters' gates in order f, i, g.

        f, i = sigmoid(W_x x + b),    g = W_xg x + b_g
        h' = f / (f + i) h + i / (f + i) g,    y = h'

    References: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, https://arxiv.org/abs/2410.01201 (the plain form; the
    one in log space has another candidate)
    """

    b_init: inits.BiasInit = inits.KeepBias()

    gates: ClassVar[tuple[str, ...]] = ("f", "i", "g")

    def coefficients(self, params: MinimalParams, z: Array) -> tuple[Array, Array]:
        a_f, a_i, g = split_gates(z, 3)
        # f / (f + i) as a sigmoid: never 0 / 0, however far both are closed.
        keep = jax.nn.log_sigmoid(a_f) - jax.nn.log_sigmoid(a_i)
        return jax.nn.sigmoid(keep), jax.nn.sigmoid(-keep) * g


@dataclasses.dataclass(frozen=True)
class MinGRU(_Minimal):
    """A minGRU; its carry is the array h `[*batch, hidden_size]`. Parameters' gates in order z, n.

        z = sigmoid(W_xz x + b_z),    n = W_xn x + b_n
        h' = (1 - z) n + z h,    y = h'

    The gate z keeps, as in `GRU`; the paper's writes, as 1 - z here.

    References: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, https://arxiv.org/abs/2410.01201 (the plain form; the
    one in log space has another candidate)
    """

    gates: ClassVar[tuple[str, ...]] = ("z", "n")

    def coefficients(self, params: MinimalParams, z: Array) -> tuple[Array, Array]:
        a_z, n = split_gates(z, 2)
        return jax.nn.sigmoid(a_z), jax.nn.sigmoid(-a_z) * n
