"""Global attention: each step of a decoder reads a mixture of all that an encoder returned."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.dense import dot
from lstm_jax.types import Array, wide

GLOROT = inits.Glorot()


class AttentionParams(NamedTuple):
    """`w_c [memory + size, size]`, and of the score None, `w [size, memory]`, or `(w [size + memory, size], v [size])`.

    Joined rows are in the order of the names.
    """

    score: Any
    w_c: Array


@dataclasses.dataclass(frozen=True)
class Attention:
    """Luong's global attention, read after the decoder's step and not fed back into it.

        score(h, m) = h m    or    h W m    or    v tanh(W [h; m])
        a_s = softmax_s(score(h, m_s)),    c = sum_s a_s m_s
        h~ = tanh(W_c [c; h])

    `score` is "dot" (then both sizes are one), "general" or "additive" (Luong's "concat", and Bahdanau's form; at a
    decoder's output here, where his reads the state before). As nothing is fed back, all steps are read at once, behind
    the decoder's loop. The softmax is in float32 or better; a sequence without a valid step reads zeros.

    References: Luong, Pham, Manning 2015, https://arxiv.org/abs/1508.04025;
    Bahdanau, Cho, Bengio 2015, https://arxiv.org/abs/1409.0473
    """

    size: int
    memory_size: int
    score: str = "general"

    def __post_init__(self):
        checks.positive_int("size", self.size)
        checks.positive_int("memory_size", self.memory_size)
        checks.one_of("score", self.score, ("dot", "general", "additive"))
        if self.score == "dot" and self.size != self.memory_size:
            expected = f"{self.size}, the decoder's, to score by a dot product"
            raise checks.fail("memory_size", expected, str(self.memory_size))

    def init(self, key: Array, dtype: Any = jnp.float32) -> AttentionParams:
        """Returns fresh parameters in `dtype`."""
        checks.drawing(key, dtype)
        score_key, v_key, out_key = jax.random.split(key, 3)
        score: Any = None
        if self.score == "general":
            score = GLOROT(score_key, (self.size, self.memory_size), dtype)
        if self.score == "additive":
            w = GLOROT(score_key, (self.size + self.memory_size, self.size), dtype)
            score = (w, GLOROT(v_key, (self.size, 1), dtype)[:, 0])
        return AttentionParams(score, GLOROT(out_key, (self.memory_size + self.size, self.size), dtype))

    def __call__(self, params: AttentionParams, h: Array, memory: Array, valid: Array) -> tuple[Array, Array]:
        """Returns `(h~ [*batch, time, size], weights [*batch, time, steps])`.

        From `h [*batch, time, size]`, `memory [*batch, steps, memory_size]`, and which of its steps count, bool
        `[*batch, steps]`. h~ has the dtype of h, the weights float32 or better; what does not count must be finite.
        """
        accumulate = {"preferred_element_type": wide(h.dtype)}
        if self.score == "additive":
            w_h, w_m = jnp.split(params.score[0], [self.size])
            joined = jnp.tanh(dot(h, w_h)[..., :, None, :] + dot(memory, w_m)[..., None, :, :])
            scores = dot(joined, params.score[1])
        else:
            query = h if params.score is None else dot(h, params.score).astype(h.dtype)
            scores = jnp.einsum("...tm,...sm->...ts", query, memory, **accumulate)
        counts = valid[..., None, :]
        some = jnp.any(counts, axis=-1, keepdims=True)  # a row without any, all -inf, would make NaN
        weights = jnp.where(some, jax.nn.softmax(jnp.where(counts | ~some, scores, -jnp.inf)), 0)
        context = jnp.einsum("...ts,...sm->...tm", weights.astype(h.dtype), memory, **accumulate)
        read = dot(jnp.concatenate([context.astype(h.dtype), h], axis=-1), params.w_c)
        return jnp.tanh(read).astype(h.dtype), weights
