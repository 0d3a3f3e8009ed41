"""Classification: one answer for a whole sequence of tokens."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks
from lstm_jax.models.embedding import Embedding, check_params, drop, split, valid_steps
from lstm_jax.models.language_model import check_parts
from lstm_jax.models.readout import MLP, DenseParams, Linear
from lstm_jax.types import Array, Layer, Params, wide


class ClassifierParams(NamedTuple):
    """Of each part."""

    embedding: Array
    layer: Params
    readout: tuple[DenseParams, ...]


@dataclasses.dataclass(frozen=True)
class Classifier:
    """An embedding, a layer, and a readout of what the layer returned over the whole sequence.

    `pool` says what of it: "last", each direction's output where that direction ends; "mean" or "max", feature by
    feature over the valid steps. Of an empty sequence it is zeros. `dropout` is of the layer's inputs, anew at every
    step, and of what is read out; it acts only when a key is given.

    References: Collobert et al. 2011, https://www.jmlr.org/papers/v12/collobert11a.html (max over time)
    """

    embedding: Embedding
    layer: Layer
    classes: int
    pool: str = "last"
    dropout: float = 0.0

    def __post_init__(self):
        check_parts(self.embedding, self.layer)
        checks.positive_int("classes", self.classes)
        checks.one_of("pool", self.pool, ("last", "mean", "max"))
        checks.rate("dropout", self.dropout)

    @property
    def readout(self) -> MLP:
        return Linear(self.layer.output_shape[0], self.classes)

    def init(self, key: Array, dtype: Any = jnp.float32) -> ClassifierParams:
        """Returns fresh parameters in `dtype`."""
        checks.drawing(key, dtype)
        embedding, layer, readout = jax.random.split(key, 3)
        return ClassifierParams(
            self.embedding.init(embedding, dtype), self.layer.init(layer, dtype), self.readout.init(readout, dtype)
        )

    def __call__(
        self,
        params: ClassifierParams,
        tokens: Array,
        *,
        lengths: Array | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> Array:
        """Returns logits `[*batch, classes]`, in float32 or better, from `tokens [time, *batch]`.

        No token past a length is looked at. `options` go to the layer: carry, resets, chunk, unroll, implementation.

        Raises:
          ValueError: a shape, a dtype or an id does not fit.
        """
        check_params(self, params)
        input_key, layer_key, output_key = split(key, 3)
        xs = drop(input_key, self.embedding.sequence(params.embedding, tokens, lengths), self.dropout)
        _, ys = self.layer(params.layer, xs, lengths=lengths, key=layer_key, **options)
        return self.readout(params.readout, drop(output_key, self._pooled(ys, lengths), self.dropout))

    def _pooled(self, ys: Array, lengths: Array | None) -> Array:
        """From `[time, *batch, size]` to `[*batch, size]`."""
        if self.pool == "last":
            return self.layer.last(ys, lengths)
        shape = ys.shape[:-1]
        valid = valid_steps(lengths, shape)[..., None]
        if self.pool == "mean":
            total = jnp.sum(jnp.where(valid, ys.astype(wide(ys.dtype)), 0), axis=0)
            return (total / jnp.maximum(jnp.sum(valid, axis=0), 1).astype(total.dtype)).astype(ys.dtype)
        most = jnp.max(jnp.where(valid, ys, -jnp.inf), axis=0, initial=-jnp.inf)
        return jnp.where(jnp.any(valid, axis=0), most, jnp.zeros_like(most))
