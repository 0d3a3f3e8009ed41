"""A small causal Transformer, to stand beside recurrent layers: the layer that keeps no state but the whole past."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax import checks, inits
from lstm_jax.cells.call import check_params
from lstm_jax.cells.dense import biased, dot, matrix
from lstm_jax.cells.layer_norm import normalise
from lstm_jax.models.embedding import valid_steps
from lstm_jax.types import Array

WEIGHTS = inits.Glorot()
EPSILON = 1e-5
Attend = Callable[[int, Array, Array, Array], Array]
"""From a block's number and its q, k, v `[batch, time, heads, head_size]` to what the heads read, in that shape."""


class BlockParams(NamedTuple):
    """`w_qkv [size, 3 * size]` in order q, k, v, each head after head; `w_o [size, size]`; gains `[size]`.

    `w_up [size, mlp]`, `b_up [mlp]`, `w_down [mlp, size]`, `b_down [size]`.
    """

    gain_attention: Array
    w_qkv: Array
    w_o: Array
    gain_mlp: Array
    w_up: Array
    b_up: Array
    w_down: Array
    b_down: Array


class TransformerParams(NamedTuple):
    """`w_x [input, size]`, `b [size]`, the blocks' parameters, `gain [size]`."""

    w_x: Array
    b: Array
    blocks: tuple[BlockParams, ...]
    gain: Array


class Cache(NamedTuple):
    """What `decode` has seen: every block's keys and values `[batch, steps, heads, head_size]`, and how many steps."""

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    position: Array  # int32 scalar


@dataclasses.dataclass(frozen=True)
class Transformer:
    """A causal pre-norm Transformer with rotary positions; a layer for `Network`, whose carry is empty, `()`.

        h = W_x x + b
        h = h + W_o heads(LN(h)),    h = h + W_down relu(W_up LN(h) + b_up) + b_down    in each of the blocks
        y = LN(h)

    A head reads sum_s softmax_s(q_t k_s / sqrt(head_size)) v_s over the steps s <= t, with q and k rotated: feature i
    and feature i + head_size / 2, as a pair, by the angle t 10000^(-2 i / head_size), t counted from 0. LN is without
    a shift: gain (a - mean(a)) / sqrt(variance(a) + 1e-5). The softmax is in float32, whatever the dtype.

    It has no carry to go on from: streaming is `decode`, with a cache that grows with the sequence.

    Raises:
      ValueError: a size is below 1, or `size` is no multiple of twice `heads`.

    References:
      Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; Xiong et al. 2020, https://arxiv.org/abs/2002.04745
      (pre-norm); Su et al. 2021, https://arxiv.org/abs/2104.09864 (rotary positions, pairs of neighbours there)
    """

    input_size: int
    size: int
    heads: int = 4
    blocks: int = 2
    mlp_size: int | None = None
    """Hidden units of the MLP; None makes them 4 * size, as in the paper."""

    def __post_init__(self):
        for name in ("input_size", "size", "heads", "blocks"):
            checks.positive_int(name, getattr(self, name))
        if self.mlp_size is not None:
            checks.positive_int("mlp_size", self.mlp_size)
        if self.size % (2 * self.heads):
            raise checks.fail("size", f"a multiple of twice the {self.heads} heads", str(self.size))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.input_size,)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.size,)

    def init(self, key: Array, dtype: Any = jnp.float32) -> TransformerParams:
        """Returns fresh parameters in `dtype`: gains of one, biases of zero, q, k and v each drawn on its own."""
        checks.drawing(key, dtype)
        mlp, ones = self.mlp_size or 4 * self.size, jnp.ones(self.size, dtype)

        def block(key: Array) -> BlockParams:
            qkv, out, up, down = jax.random.split(key, 4)
            return BlockParams(
                gain_attention=ones,
                w_qkv=matrix(WEIGHTS, qkv, self.size, 3, self.size, dtype),
                w_o=WEIGHTS(out, (self.size, self.size), dtype),
                gain_mlp=ones,
                w_up=WEIGHTS(up, (self.size, mlp), dtype),
                b_up=jnp.zeros(mlp, dtype),
                w_down=WEIGHTS(down, (mlp, self.size), dtype),
                b_down=jnp.zeros(self.size, dtype),
            )

        first, *keys = jax.random.split(key, self.blocks + 1)
        w_x = WEIGHTS(first, (self.input_size, self.size), dtype)
        return TransformerParams(w_x, jnp.zeros(self.size, dtype), tuple(map(block, keys)), ones)

    def initial_carry(self, params: TransformerParams, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> tuple:
        """Returns `()`: every sequence starts from nothing."""
        return ()

    def __call__(
        self,
        params: TransformerParams,
        xs: Array,
        carry: tuple | None = None,
        *,
        lengths: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
        chunk: int | None = None,
        unroll: int = 1,
        implementation: str | None = None,
    ) -> tuple[tuple, Array]:
        """Returns `((), ys [time, *batch, size])` from `xs [time, *batch, input_size]`; zeros past a length.

        `implementation` is that of `jax.nn.dot_product_attention`, "xla" or "cudnn"; `key` and `unroll` change nothing.

        Raises:
          ValueError: a shape or dtype does not fit, there is no step, or a carry, `resets` or `chunk` is given.
        """
        checks.array("xs", xs)
        if xs.ndim < 2 or not xs.shape[0] or xs.shape[-1] != self.input_size:
            raise checks.fail("xs", f"shape [time >= 1, *batch, {self.input_size}]", checks.describe(xs))
        check_params(self, params, "xs", xs.dtype)
        if carry is not None and (not isinstance(carry, tuple) or carry):
            raise checks.fail("carry", "None or (): a Transformer has none to go on from", checks.describe(carry))
        for name, value in (("resets", resets), ("chunk", chunk)):
            if value is not None:
                raise checks.fail(name, "None: a Transformer runs no loop to cut", checks.describe(value))
        time, *batch = xs.shape[:-1]
        valid = valid_steps(lengths, xs.shape[:-1])[..., None]
        xs = jnp.where(valid, xs, jnp.zeros_like(xs))  # nothing reads what is not valid, but NaN times zero is NaN

        def attend(block: int, q: Array, k: Array, v: Array) -> Array:
            return attention(q, k, v, is_causal=True, implementation=implementation)

        ys = self._run(params, xs.reshape(time, -1, self.input_size).swapaxes(0, 1), jnp.int32(0), attend)
        ys = ys.swapaxes(0, 1).reshape(time, *batch, self.size)
        return (), jnp.where(valid, ys, jnp.zeros_like(ys))

    def step(self, params: TransformerParams, carry: tuple, x: Array) -> Any:
        """Raises ValueError: there is no carry to step from; `decode` takes steps."""
        raise checks.fail("step", "a layer with a carry", "Transformer, which streams by `decode` from a Cache")

    def last(self, ys: Array, lengths: Array | None = None) -> Array:
        """Returns the outputs of the last valid step, `[*batch, size]`; zeros where there is none."""
        if lengths is None:
            return ys[-1]
        checks.lengths("lengths", lengths, ys.shape[1:-1])
        place = jnp.maximum(jnp.asarray(lengths).astype(jnp.int32) - 1, 0)  # outputs of no step are zero
        return jnp.take_along_axis(ys, place[None, ..., None], axis=0)[0]

    def empty_cache(self, params: TransformerParams, batch_size: int, steps: int) -> Cache:
        """Returns room for `steps` steps of `batch_size` sequences."""
        shape = (batch_size, steps, self.heads, self.size // self.heads)
        room = tuple(jnp.zeros(shape, params.w_x.dtype) for _ in params.blocks)
        return Cache(room, room, jnp.zeros((), jnp.int32))

    def decode(self, params: TransformerParams, cache: Cache, x: Array) -> tuple[Cache, Array]:
        """Takes one step from `x [batch, input_size]`: a pass over all room of the cache, which must not be full."""
        batch, position = x.shape[0], cache.position
        keys, values = list(cache.keys), list(cache.values)

        def attend(block: int, q: Array, k: Array, v: Array) -> Array:
            keys[block] = lax.dynamic_update_slice_in_dim(keys[block], k, position, axis=1)
            values[block] = lax.dynamic_update_slice_in_dim(values[block], v, position, axis=1)
            seen = jnp.full(batch, position + 1)
            return attention(q, keys[block], values[block], key_value_seq_lengths=seen)

        y = self._run(params, x[:, None], position, attend)[:, 0]
        return Cache(tuple(keys), tuple(values), position + 1), y

    def _run(self, params: TransformerParams, xs: Array, start: Array, attend: Attend) -> Array:
        """All blocks on `xs [batch, time, input_size]`, whose first step is step `start`."""
        h = biased(dot(xs, params.w_x), params.b)
        for number, p in enumerate(params.blocks):
            qkv = dot(normalise(h, 1, p.gain_attention, EPSILON), p.w_qkv)
            q, k, v = jnp.moveaxis(qkv.reshape(*h.shape[:-1], 3, self.heads, -1), -3, 0)
            read = attend(number, *(a.astype(xs.dtype) for a in (rotate(q, start), rotate(k, start), v)))
            h = h + dot(read.reshape(h.shape), p.w_o)
            hidden = jax.nn.relu(biased(dot(normalise(h, 1, p.gain_mlp, EPSILON), p.w_up), p.b_up))
            h = h + biased(dot(hidden, p.w_down), p.b_down)
        return normalise(h, 1, params.gain, EPSILON).astype(xs.dtype)


def attention(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """`jax.nn.dot_product_attention`, but float16 in float32 unless cuDNN takes it: XLA compiles it for GPUs alone."""
    if q.dtype == jnp.float16 and options.get("implementation") != "cudnn":
        q, k, v = (a.astype(jnp.float32) for a in (q, k, v))
    with jax.numpy_dtype_promotion("standard"):  # it asks what bfloat16 and float32 make together
        return jax.nn.dot_product_attention(q, k, v, **options)


def rotate(a: Array, start: Array) -> Array:
    """Turns each head's pairs of features in `a [batch, time, heads, head_size]`, whose first step is step `start`."""
    half = a.shape[-1] // 2
    steps = (start + jnp.arange(a.shape[1], dtype=jnp.int32)).astype(a.dtype)
    angles = steps[:, None, None] * 10000.0 ** -(jnp.arange(half, dtype=jnp.int32).astype(a.dtype) / half)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    left, right = a[..., :half], a[..., half:]
    return jnp.concatenate([left * cos - right * sin, left * sin + right * cos], axis=-1)
