"""The structurally constrained network: an Elman network beside slow context units."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.cells.call import zeros
from lstm_jax.cells.dense import DenseCell, dot, like
from lstm_jax.types import Array


class SCRNParams(NamedTuple):
    """The paper's A `w_x [input, hidden]`, R `w_h [hidden, hidden]`, a bias `b [hidden]` or None.

    B is `w_xs [input, context]`, P is `w_sh [context, hidden]`.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    w_xs: Any = None
    w_sh: Any = None


class SCRNCarry(NamedTuple):
    """The hidden units h `[*batch, hidden_size]` and the slow ones s `[*batch, context_size]`."""

    h: Array
    s: Array


@dataclasses.dataclass(frozen=True)
class SCRN(DenseCell):
    """A structurally constrained recurrent network; its carry is `SCRNCarry(h, s)`.

        s' = (1 - alpha) B x + alpha s
        h' = sigmoid(P s' + A x + R h + b)
        y = (h', s')

    The output holds both, since the paper reads its prediction from both; the paper has no b.

    References: Mikolov, Joulin, Chopra, Mathieu, Ranzato 2014, https://arxiv.org/abs/1412.7753
    """

    context_size: int = dataclasses.field(kw_only=True)
    alpha: float = 0.95

    gates: ClassVar[tuple[str, ...]] = ("h",)
    params_type: ClassVar[type] = SCRNParams
    output_first: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        checks.positive_int("context_size", self.context_size)
        checks.rate("alpha", self.alpha)

    @property
    def output_size(self) -> int:
        """Numbers in the output."""
        return self.hidden_size + self.context_size

    def init(self, key: Array, dtype: Any = jnp.float32) -> SCRNParams:
        """Returns fresh parameters in `dtype`; each matrix is drawn on its own."""
        params = super().init(key, dtype)
        key_x, key_s = jax.random.split(jax.random.fold_in(key, 3))
        return params._replace(
            w_xs=self.w_x_init(key_x, (self.input_size, self.context_size), dtype),
            w_sh=self.w_x_init(key_s, (self.context_size, self.hidden_size), dtype),
        )

    def initial_carry(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> SCRNCarry:
        """Returns zeros in `dtype`, by default the parameters' own."""
        return SCRNCarry(*(zeros(self, params, batch_shape, dtype, n) for n in (self.hidden_size, self.context_size)))

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """Returns A x + b, `[*batch, hidden_size]`, and B x, `[*batch, context_size]`, in float32 or better."""
        return super().project(params, x), dot(x, params.w_xs)

    def preactivate(self, params: Any, carry: SCRNCarry, z: Any) -> tuple[Array, Array]:
        a, b_x = z
        s = (1 - self.alpha) * b_x + self.alpha * carry.s.astype(b_x.dtype)
        return dot(s, params.w_sh) + a + dot(carry.h, params.w_h), s

    def update(self, carry: SCRNCarry, a: tuple[Array, Array]) -> tuple[SCRNCarry, Array]:
        h, s = jax.nn.sigmoid(a[0]), a[1]
        return like(carry, SCRNCarry(h, s)), jnp.concatenate([h, s], axis=-1)
