"""Sequence labelling: a tag for every token."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax import checks, losses
from lstm_jax.models.crf import CRF, CRFParams
from lstm_jax.models.embedding import Embedding, check_params, check_tokens, drop, kept, split, valid_steps
from lstm_jax.models.language_model import check_parts
from lstm_jax.models.readout import MLP, DenseParams, Linear
from lstm_jax.types import Array, Carry, Layer, Params


class TaggerParams(NamedTuple):
    """Of each part; `crf` is None where there is none."""

    embedding: Array
    layer: Params
    readout: tuple[DenseParams, ...]
    crf: CRFParams | None


@dataclasses.dataclass(frozen=True)
class Tagger:
    """An embedding, a layer, and scores of the `tags` at every step, each step on its own or under a CRF.

    `dropout` is of the layer's inputs and the readout's, anew at every step; it acts only when a key is given.

    References: Graves and Schmidhuber 2005, https://doi.org/10.1016/j.neunet.2005.06.042 (with `Bidirectional`);
    Huang, Xu, Yu 2015, https://arxiv.org/abs/1508.01991 (and a CRF)
    """

    embedding: Embedding
    layer: Layer
    tags: int
    crf: bool = False
    dropout: float = 0.0

    def __post_init__(self):
        check_parts(self.embedding, self.layer)
        checks.positive_int("tags", self.tags)
        checks.boolean("crf", self.crf)
        checks.rate("dropout", self.dropout)

    @property
    def readout(self) -> MLP:
        return Linear(self.layer.output_shape[0], self.tags)

    def init(self, key: Array, dtype: Any = jnp.float32) -> TaggerParams:
        """Returns fresh parameters in `dtype`."""
        checks.drawing(key, dtype)
        embedding, layer, readout, crf = jax.random.split(key, 4)
        return TaggerParams(
            self.embedding.init(embedding, dtype),
            self.layer.init(layer, dtype),
            self.readout.init(readout, dtype),
            CRF(self.tags).init(crf, dtype) if self.crf else None,
        )

    def __call__(
        self,
        params: TaggerParams,
        tokens: Array,
        carry: Carry | None = None,
        *,
        lengths: Array | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> tuple[Carry, Array]:
        """Returns `(carry, scores [time, *batch, tags])`, in float32 or better, from `tokens [time, *batch]`.

        Past a length scores mean nothing, and no token there is looked at. `options` go to the layer: resets, chunk,
        unroll, implementation.

        Raises:
          ValueError: a shape, a dtype or an id does not fit.
        """
        check_params(self, params)
        input_key, layer_key, output_key = split(key, 3)
        xs = drop(input_key, self.embedding.sequence(params.embedding, tokens, lengths), self.dropout)
        carry, ys = self.layer(params.layer, xs, carry, lengths=lengths, key=layer_key, **options)
        return carry, self.readout(params.readout, drop(output_key, ys, self.dropout))

    def loss(
        self, params: TaggerParams, tokens: Array, labels: Array, *, lengths: Array | None = None, **options: Any
    ) -> Array:
        """Returns the negative log-likelihood of `labels [time, *batch]` in nats a token, a scalar.

        With a CRF it is that of the whole labellings, divided by the number of tokens. `options` as in a call.

        Raises:
          ValueError: as a call, and where a label within a length is no tag.
        """
        checks.array("labels", labels)
        checks.array("tokens", tokens)
        if labels.shape != tokens.shape:
            raise checks.fail("labels", f"the shape of `tokens`, {list(tokens.shape)}", checks.describe(labels))
        check_tokens("labels", kept(labels, lengths), self.tags)
        _, scores = self(params, tokens, lengths=lengths, **options)
        valid = valid_steps(lengths, tokens.shape)
        if params.crf is None:
            return losses.cross_entropy(scores, labels, valid)
        total = jnp.sum(CRF(self.tags).log_likelihood(params.crf, scores, labels, lengths))
        return -total / jnp.maximum(jnp.sum(valid), 1).astype(total.dtype)

    def predict(self, params: TaggerParams, tokens: Array, *, lengths: Array | None = None, **options: Any) -> Array:
        """Returns the most probable tags, int32 `[time, *batch]`: of each step, or of the sequence under a CRF.

        Of equal ones it is the first; past a length stands 0.
        """
        _, scores = self(params, tokens, lengths=lengths, **options)
        if params.crf is not None:
            return CRF(self.tags).decode(params.crf, scores, lengths)[0]
        return kept(jnp.argmax(scores, axis=-1).astype(jnp.int32), lengths)
