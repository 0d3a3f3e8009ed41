"""The fixed-window model: what comes next, given the last few tokens."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, inits
from lstm_jax.cells.dense import dot
from lstm_jax.models.embedding import Embedding, check_params, check_tokens, kept
from lstm_jax.models.readout import MLP, DenseParams
from lstm_jax.types import Array


class WindowParams(NamedTuple):
    """The embedding `[vocabulary + 1, size]`, the two dense layers, `direct [window * size, vocabulary]` or None."""

    embedding: Array
    dense: tuple[DenseParams, ...]
    direct: Any


@dataclasses.dataclass(frozen=True)
class WindowModel:
    """Bengio's neural language model: the next token from the `window` tokens before it.

        x = (E[token_t], E[token_t-1], .., E[token_t-window+1])
        logits = U tanh(H x + d) + b    (+ W x with `direct`)

    It is called as a `LanguageModel` is; its carry are the last `window` - 1 tokens, int32 `[*batch, window - 1]`,
    oldest first, so that a stream that goes on where it stopped equals one pass. Before a sequence's first token, and
    after a reset, stands a padding token of its own, the last row of the embedding.

    References: Bengio, Ducharme, Vincent, Jauvin 2003, https://www.jmlr.org/papers/v3/bengio03a.html
    """

    vocabulary_size: int
    window: int
    embedding_size: int
    hidden_size: int
    direct: bool = False
    """Whether the embeddings reach the logits past the hidden layer too."""

    def __post_init__(self):
        for name in ("vocabulary_size", "window", "embedding_size", "hidden_size"):
            checks.positive_int(name, getattr(self, name))
        checks.boolean("direct", self.direct)

    @property
    def embedding(self) -> Embedding:
        """With a row for the padding."""
        return Embedding(self.vocabulary_size + 1, self.embedding_size)

    @property
    def dense(self) -> MLP:
        """H, d, U and b."""
        return MLP((self.window * self.embedding_size, self.hidden_size, self.vocabulary_size), "tanh")

    def init(self, key: Array, dtype: Any = jnp.float32) -> WindowParams:
        """Returns fresh parameters in `dtype`; biases start at zero."""
        checks.drawing(key, dtype)
        keys = jax.random.split(key, 3)
        shape = self.window * self.embedding_size, self.vocabulary_size
        direct = inits.Glorot()(keys[2], shape, dtype) if self.direct else None
        return WindowParams(self.embedding.init(keys[0], dtype), self.dense.init(keys[1], dtype), direct)

    def initial_carry(self, params: WindowParams, batch_shape: tuple[int, ...] = (), dtype: Any = None) -> Array:
        """Returns padding, int32 `[*batch, window - 1]`; `dtype` changes nothing."""
        check_params(self, params)
        checks.shape("batch_shape", batch_shape)
        return jnp.full((*batch_shape, self.window - 1), self.vocabulary_size, jnp.int32)

    def __call__(
        self,
        params: WindowParams,
        tokens: Array,
        carry: Array | None = None,
        *,
        resets: Array | None = None,
        lengths: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """Returns `(carry, logits [time, *batch, vocabulary])`, in float32 or better, from `tokens [time, *batch]`.

        `logits[t]` are those of token t + 1. After a reset before step t, step t reads no token before t. Past a
        length logits mean nothing, and no token there is looked at. `key` changes nothing.

        Raises:
          ValueError: a shape, a dtype or an id does not fit.
        """
        check_params(self, params)
        checks.array("tokens", tokens)
        if tokens.ndim < 1:
            raise checks.fail("tokens", "shape [time, *batch]", checks.describe(tokens))
        time, *batch = tokens.shape
        tokens = kept(tokens, lengths)
        check_tokens("tokens", tokens, self.vocabulary_size)
        carry = self.initial_carry(params, tuple(batch)) if carry is None else self._carry(carry, tuple(batch))
        before = self.window - 1
        seen = jnp.concatenate([jnp.moveaxis(carry, -1, 0), jnp.asarray(tokens).astype(jnp.int32)])
        place = jnp.arange(before + time, dtype=jnp.int32).reshape(-1, *(1,) * len(batch))
        start = jnp.zeros(seen.shape, jnp.int32)  # for each place, the first that a window ending there may read
        if resets is not None:
            checks.array("resets", resets)
            if resets.dtype != jnp.bool_ or resets.shape != tokens.shape:
                raise checks.fail("resets", f"bool{list(tokens.shape)} ([time, *batch])", checks.describe(resets))
            start = start.at[before:].set(jnp.where(resets, place[before:], 0))
            start = jax.lax.cummax(start)

        def back(steps: int) -> Array:
            """The tokens that stood `steps` steps before each of `tokens`."""
            place_back, end = place[before - steps :][:time], before + time - steps
            return jnp.where(place_back >= start[before:], seen[before - steps : end], self.vocabulary_size)

        logits = self._logits(params, jnp.stack([back(steps) for steps in range(self.window)], axis=-1))
        return self._last(seen, start, lengths, time), logits

    def step(self, params: WindowParams, carry: Array, token: Array) -> tuple[Array, Array]:
        """Takes one step of a stream from `token [*batch]`; returns `(carry, logits [*batch, vocabulary])`."""
        check_params(self, params)
        check_tokens("token", token, self.vocabulary_size)
        window = jnp.concatenate([self._carry(carry, token.shape), jnp.asarray(token, jnp.int32)[..., None]], axis=-1)
        return window[..., 1:], self._logits(params, jnp.flip(window, axis=-1))

    def _logits(self, params: WindowParams, window: Array) -> Array:
        """From `[..., window]` tokens, latest first."""
        x = self.embedding(params.embedding, window)
        x = x.reshape(*window.shape[:-1], -1)
        logits = self.dense(params.dense, x)
        if not self.direct:
            return logits
        return logits + dot(x, params.direct)

    def _last(self, seen: Array, start: Array, lengths: Array | None, time: int) -> Array:
        """The last `window - 1` tokens that each sequence has seen since its last reset, oldest first."""
        places = jnp.arange(self.window - 1, dtype=jnp.int32).reshape(-1, *(1,) * (seen.ndim - 1))
        places = jnp.broadcast_to(places, (self.window - 1, *seen.shape[1:]))
        taken = time if lengths is None else jnp.clip(jnp.asarray(lengths).astype(jnp.int32), 0, time)
        places = places + taken
        if self.window == 1:
            return jnp.moveaxis(places, 0, -1)
        last = jnp.broadcast_to(jnp.asarray(taken + self.window - 2, jnp.int32), (1, *seen.shape[1:]))
        since = jnp.take_along_axis(start, last, axis=0)
        tokens = jnp.where(places >= since, jnp.take_along_axis(seen, places, axis=0), self.vocabulary_size)
        return jnp.moveaxis(tokens, 0, -1)

    def _carry(self, carry: Any, batch: tuple[int, ...]) -> Array:
        shape = (*batch, self.window - 1)
        if not hasattr(carry, "dtype") or carry.dtype != jnp.int32 or carry.shape != shape:
            raise checks.fail("carry", f"int32{list(shape)}, the tokens before", checks.describe(carry))
        return jnp.asarray(carry)
