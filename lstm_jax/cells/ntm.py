"""The Neural Turing Machine: an LSTM with a memory that it addresses by content and by place."""

import dataclasses
import itertools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.call import Called, zeros
from lstm_jax.cells.dense import biased, dot, like, matrix
from lstm_jax.cells.lstm import LSTM, LSTMCarry, LSTMParams
from lstm_jax.types import Array


class NTMParams(NamedTuple):
    """The controller's parameters, and the matrices and biases of what its output emits.

    `w_read [hidden, read_heads * (width + shifts + 3)]`, each head's k, beta, g, s, gamma side by side;
    `w_write [hidden, write_heads * (3 * width + shifts + 3)]`, the same and then e, a;
    `w_y [hidden + read_heads * width, output]`; each with its `b_`. Of the controller's `w_x` the last
    `read_heads * width` rows belong to the reads; `shifts` is `2 * shift + 1`.
    """

    controller: LSTMParams
    w_read: Array
    b_read: Array
    w_write: Array
    b_write: Array
    w_y: Array
    b_y: Array


class NTMCarry(NamedTuple):
    """The controller's carry, and the memory with what its heads hold.

    `memory [*batch, slots, width]`, `reads [*batch, read_heads, width]`, and the weightings
    `read_weights [*batch, read_heads, slots]` and `write_weights [*batch, write_heads, slots]`, which sum to one.
    """

    controller: LSTMCarry
    memory: Array
    reads: Array
    read_weights: Array
    write_weights: Array


@dataclasses.dataclass(frozen=True)
class NTM(Called):
    """A Neural Turing Machine with an LSTM for its controller, a memory M of slots i, and heads with weightings w.

        h' = LSTM(x and the reads r, h)
        k, beta, g, s, gamma, and for a write head e, a = W h' + b, for each head

    k and a as they are, beta = softplus > 0, g = sigmoid, s = softmax over the shifts -`shift` .. `shift`,
    gamma = 1 + softplus >= 1, e = sigmoid. Every head moves its weighting over the memory in five steps:

        K(i) = k . M(i) / (|k| |M(i)|)
        w_c = softmax(beta K)
        w_g = g w_c + (1 - g) w
        w_s(i) = sum_j w_g(j) s(i - j)                      round the ring of slots
        w'(i) = w_s(i)^gamma / sum_j w_s(j)^gamma

    First the write heads, by the memory as it was, then the read heads, by the memory as it is:

        M'(i) = M(i) prod (1 - w'(i) e) + sum w'(i) a       over the write heads
        r' = sum_i w'(i) M'(i)                              for every read head
        y = W_y (h', r') + b_y

    The paper leaves y open; here it is affine: what squashes it belongs to the loss. Squared norms are taken with
    1e-12 more, for the sake of their gradient at zero. The memory starts at 1e-6 and reads at zero. Weightings start on
    the first slot: as long as the slots and their weights are all equal, no head could ever tell one from another.

    References: Graves, Wayne, Danihelka 2014, https://arxiv.org/abs/1410.5401
    """

    input_size: int
    hidden_size: int
    output_size: int
    memory_slots: int = 128
    memory_width: int = 20
    read_heads: int = 1
    write_heads: int = 1
    shift: int = 1
    w_x_init: inits.WeightInit = inits.Glorot()
    w_h_init: inits.WeightInit = inits.Orthogonal()
    b_init: inits.BiasInit = inits.KeepBias()
    head_init: inits.WeightInit = inits.Glorot()

    params_type: ClassVar[type] = NTMParams
    output_first: ClassVar[bool] = False

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not field.name.endswith("_init"):
                checks.positive_int(field.name, value, 0 if field.name == "shift" else 1)
        checks.initialisers(self)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.input_size,)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.output_size,)

    @property
    def controller(self) -> LSTM:
        inputs = self.input_size + self.read_heads * self.memory_width
        return LSTM(inputs, self.hidden_size, w_x_init=self.w_x_init, w_h_init=self.w_h_init, b_init=self.b_init)

    @property
    def emissions(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """How many numbers a read head gets for k, beta, g, s, gamma, and a write head for these and e, a."""
        read = (self.memory_width, 1, 1, 2 * self.shift + 1, 1)
        return read, (*read, self.memory_width, self.memory_width)

    def init(self, key: Array, dtype: Any = jnp.float32) -> NTMParams:
        """Returns fresh parameters in `dtype`; each head's matrix is drawn on its own, biases of heads are zero."""
        checks.drawing(key, dtype)
        key_lstm, *keys, key_y = jax.random.split(key, 4)
        w_read, w_write = (
            matrix(self.head_init, key, self.hidden_size, heads, sum(sizes), dtype)
            for key, heads, sizes in zip(keys, (self.read_heads, self.write_heads), self.emissions, strict=True)
        )
        w_y = self.head_init(key_y, (self.hidden_size + self.read_heads * self.memory_width, self.output_size), dtype)
        b_read, b_write, b_y = (jnp.zeros(w.shape[1], dtype) for w in (w_read, w_write, w_y))
        return NTMParams(self.controller.init(key_lstm, dtype), w_read, b_read, w_write, b_write, w_y, b_y)

    def initial_carry(self, params: NTMParams, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> NTMCarry:
        """Returns the memory nearly empty and all weight on its first slot, in `dtype` or the parameters' own."""
        reads = zeros(self, params, batch_shape, dtype, self.read_heads, self.memory_width)
        controller = self.controller.initial_carry(params.controller, batch_shape, dtype)
        first, heads = jax.nn.one_hot(0, self.memory_slots, dtype=reads.dtype), (self.read_heads, self.write_heads)
        return NTMCarry(
            controller,
            jnp.full((*batch_shape, self.memory_slots, self.memory_width), 1e-6, reads.dtype),
            reads,
            *(jnp.tile(first, (*batch_shape, count, 1)) for count in heads),
        )

    def project(self, params: NTMParams, x: Array, *, key: Array | None = None) -> Array:
        """Returns the input's part of the controller's gates, `[*batch, 4 * hidden_size]`, in float32 or better."""
        lstm = params.controller
        return self.controller.project(lstm._replace(w_x=lstm.w_x[: self.input_size]), x)

    def recur(self, params: NTMParams, carry: NTMCarry, seen: NTMCarry, z: Array) -> tuple[NTMCarry, Array]:
        flat = (*z.shape[:-1], self.read_heads * self.memory_width)
        z = z + dot(carry.reads.reshape(flat), params.controller.w_x[self.input_size :])
        lstm, h = self.controller.recur(params.controller, carry.controller, seen.controller, z)
        memory = carry.memory.astype(z.dtype)

        to_read, to_write = self.emissions
        *where, e, a = _emitted(h, params.w_write, params.b_write, to_write)
        w_write = self._address(memory, carry.write_weights, *where)
        e = jax.nn.sigmoid(e)
        for head in range(self.write_heads):
            memory = memory * (1 - w_write[..., head, :, None] * e[..., head, None, :])
        memory = memory + jnp.einsum("...hi,...hm->...im", w_write, a)

        where = _emitted(h, params.w_read, params.b_read, to_read)
        w_read = self._address(memory, carry.read_weights, *where)
        reads = jnp.einsum("...hi,...im->...hm", w_read, memory)

        joined = jnp.concatenate([h.astype(z.dtype), reads.reshape(flat)], axis=-1)
        y = biased(dot(joined, params.w_y), params.b_y)
        new = NTMCarry(lstm, memory, reads, w_read, w_write)
        return like(carry, new), y.astype(params.w_y.dtype)

    def _address(self, memory: Array, w: Array, k: Array, beta: Array, g: Array, s: Array, gamma: Array) -> Array:
        """The weightings `[*batch, heads, slots]` that heads with `w` go on to."""
        similarity = jnp.einsum("...hm,...im->...hi", _unit(k), _unit(memory))
        w_c = jax.nn.softmax(jax.nn.softplus(beta) * similarity)
        g, s = jax.nn.sigmoid(g), jax.nn.softmax(s)
        w_g = g * w_c + (1 - g) * w.astype(g.dtype)
        w_s = jnp.zeros_like(w_g)
        for place, shift in enumerate(range(-self.shift, self.shift + 1)):
            w_s = w_s + s[..., place, None] * jnp.roll(w_g, shift, axis=-1)
        # The power by way of its logarithm: no gamma brings the sum down to zero, no empty slot a gradient to NaN.
        log_w = jnp.log(jnp.maximum(w_s, jnp.finfo(w_s.dtype).tiny))
        return jax.nn.softmax((1 + jax.nn.softplus(gamma)) * log_w)


def _emitted(h: Array, w: Array, b: Array, sizes: tuple[int, ...]) -> list[Array]:
    """What the controller's output tells every head, part by part, each `[*batch, heads, size]`."""
    out = biased(dot(h, w), b).reshape(*h.shape[:-1], b.size // sum(sizes), sum(sizes))
    return jnp.split(out, list(itertools.accumulate(sizes[:-1])), axis=-1)


def _unit(v: Array) -> Array:
    """Vectors along the last axis in length one, or less where they are hardly there."""
    return v * jax.lax.rsqrt(jnp.sum(v * v, axis=-1, keepdims=True) + 1e-12)
