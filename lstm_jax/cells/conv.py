"""Convolutional LSTM and GRU: states that are images, and weights that slide over them."""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.call import Called, zeros
from lstm_jax.cells.convolve import convolve
from lstm_jax.cells.dense import biased, like, matrix, split_gates
from lstm_jax.cells.lstm import LSTMCarry
from lstm_jax.types import Array, Carry


class ConvLSTMParams(NamedTuple):
    """`w_x [*kernel, input, 4 * hidden]`, `w_h [*kernel, hidden, 4 * hidden]`, `b [4 * hidden]`; gates i, f, g, o.

    The peepholes `p [*spatial, 3 * hidden]` are those of i, f, o. `b` and `p` are None where the cell has none.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    p: Array | None = None


class ConvGRUParams(NamedTuple):
    """`w_x [*kernel, input, 3 * hidden]`, `w_h [*kernel, hidden, 3 * hidden]`, `b [3 * hidden]` or None; r, z, n."""

    w_x: Array
    w_h: Array
    b: Array | None


@dataclasses.dataclass(frozen=True)
class ConvCell(Called):
    """What cells fed with images share: fields, initialisation, the convolution. Not a cell of its own.

    Images `[*spatial_shape, channels]` have 1, 2 or 3 spatial dimensions; `kernel_size` is one integer or one for each.
    An initialiser sees a gate's kernel as a matrix `(prod(kernel) * channels, hidden_channels)`.
    """

    spatial_shape: tuple[int, ...]
    input_channels: int
    hidden_channels: int
    kernel_size: tuple[int, ...] | int = 3
    use_bias: bool = True
    w_x_init: inits.WeightInit = inits.Glorot()
    w_h_init: inits.WeightInit = inits.Orthogonal()
    b_init: inits.BiasInit = inits.ZeroBias()

    gates: ClassVar[tuple[str, ...]]
    params_type: ClassVar[type]
    output_first: ClassVar[bool] = True

    def __post_init__(self):
        if not isinstance(self.spatial_shape, tuple) or not 1 <= len(self.spatial_shape) <= 3:
            raise checks.fail("spatial_shape", "a tuple of 1, 2 or 3 integers", repr(self.spatial_shape))
        if len(self.kernel_shape) != len(self.spatial_shape):
            expected = f"an integer, or a tuple of {len(self.spatial_shape)}, as many as in `spatial_shape`"
            raise checks.fail("kernel_size", expected, repr(self.kernel_size))
        sizes = {"spatial_shape": self.spatial_shape, "kernel_size": self.kernel_shape}
        sizes |= {name: (getattr(self, name),) for name in ("input_channels", "hidden_channels")}
        for name, values in sizes.items():
            for value in values:
                checks.positive_int(name, value)
        checks.boolean("use_bias", self.use_bias)
        checks.initialisers(self)

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        size = self.kernel_size
        return size if isinstance(size, tuple) else (size,) * len(self.spatial_shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (*self.spatial_shape, self.input_channels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (*self.spatial_shape, self.hidden_channels)

    def init(self, key: Array, dtype: Any = jnp.float32) -> Any:
        """Returns fresh parameters in `dtype`; each gate's kernel is drawn on its own."""
        checks.drawing(key, dtype)
        key_x, key_h, key_b = jax.random.split(key, 3)

        def kernel(init: inits.WeightInit, key: Array, channels: int) -> Array:
            rows = math.prod(self.kernel_shape) * channels
            w = matrix(init, key, rows, len(self.gates), self.hidden_channels, dtype)
            return w.reshape(*self.kernel_shape, channels, -1)

        return self.params_type(
            kernel(self.w_x_init, key_x, self.input_channels),
            kernel(self.w_h_init, key_h, self.hidden_channels),
            self.b_init(key_b, self.gates, self.hidden_channels, dtype) if self.use_bias else None,
        )

    def initial_carry(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Carry:
        """Returns zeros, each leaf `[*batch, *spatial_shape, hidden_channels]`, in `dtype` or the parameters' own."""
        return zeros(self, params, batch_shape, dtype, *self.output_shape)

    def project(self, params: Any, x: Array, *, key: Array | None = None) -> Array:
        """Returns W_x * x + b, `[*batch, *spatial_shape, gates * hidden_channels]`, in float32 or better."""
        return biased(convolve(x, params.w_x), params.b)


@dataclasses.dataclass(frozen=True)
class ConvLSTM(ConvCell):
    """An LSTM over images; `*` convolves, every other product goes entry by entry.

        i, f = sigmoid(W_x * x + W_h * h + p c + b)
        g = tanh(W_x * x + W_h * h + b)
        c' = f c + i g
        o = sigmoid(W_x * x + W_h * h + p c' + b)
        h' = o tanh(c'),    y = h'

    The peepholes p, a weight for every place and channel, stand only with `peepholes=True`, and start at zero. Images
    are padded with zeros to keep their shape, for an even kernel by one more behind than before; kernels are not
    flipped. The forget gate's bias starts at 1 (`inits.KeepBias`); nothing is added to it in the equation.

    References: Shi et al. 2015, https://arxiv.org/abs/1506.04214
    """

    b_init: inits.BiasInit = inits.KeepBias()
    peepholes: bool = False

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    params_type: ClassVar[type] = ConvLSTMParams

    def __post_init__(self):
        super().__post_init__()
        checks.boolean("peepholes", self.peepholes)

    def init(self, key: Array, dtype: Any = jnp.float32) -> ConvLSTMParams:
        """Returns fresh parameters in `dtype`; each gate's kernel is drawn on its own."""
        params = super().init(key, dtype)
        if not self.peepholes:
            return params
        return params._replace(p=jnp.zeros((*self.spatial_shape, 3 * self.hidden_channels), dtype))

    def initial_carry(self, params: Any, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> LSTMCarry:
        """Returns zeros, each leaf `[*batch, *spatial_shape, hidden_channels]`, in `dtype` or the parameters' own."""
        return LSTMCarry(*(zeros(self, params, batch_shape, dtype, *self.output_shape) for _ in range(2)))

    def recur(self, params: ConvLSTMParams, carry: LSTMCarry, seen: LSTMCarry, z: Array) -> tuple[LSTMCarry, Array]:
        i, f, g, o = split_gates(z + convolve(seen.h, params.w_h), 4)
        c = carry.c.astype(z.dtype)
        p = [] if params.p is None else split_gates(params.p.astype(z.dtype), 3)
        if p:
            i, f = i + p[0] * c, f + p[1] * c
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        if p:
            o = o + p[2] * c
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return like(carry, LSTMCarry(h, c)), h.astype(params.w_h.dtype)


@dataclasses.dataclass(frozen=True)
class ConvGRU(ConvCell):
    """A GRU over images, reset before the convolution `*`; its carry is h `[*batch, *spatial_shape, hidden_channels]`.

        r, z = sigmoid(W_x * x + W_h * h + b)
        n = tanh(W_x * x + W_h * (r h) + b)
        h' = (1 - z) n + z h,    y = h'

    Here z keeps, as in `GRU`; the paper's z writes. Padding and kernels as in `ConvLSTM`.

    References: Ballas, Yao, Pal, Courville 2016, https://arxiv.org/abs/1511.06432
    """

    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    params_type: ClassVar[type] = ConvGRUParams

    def recur(self, params: ConvGRUParams, carry: Array, seen: Array, z: Array) -> tuple[Array, Array]:
        both = 2 * self.hidden_channels
        h, x_n = seen.astype(z.dtype), z[..., both:]
        r, z = split_gates(jax.nn.sigmoid(z[..., :both] + convolve(h, params.w_h[..., :both])), 2)
        n = jnp.tanh(x_n + convolve(r * h, params.w_h[..., both:]))
        h = (1 - z) * n + z * carry.astype(z.dtype)
        return like(carry, h), h.astype(params.w_h.dtype)
