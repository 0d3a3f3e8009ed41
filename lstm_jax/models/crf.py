"""A linear-chain conditional random field: what stands on a tagger when neighbouring labels depend on each other."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lstm_jax import checks
from lstm_jax.types import Array, wide


class CRFParams(NamedTuple):
    """`transitions [tags, tags]`, from the row's tag to the column's; `start [tags]`, `stop [tags]`."""

    transitions: Array
    start: Array
    stop: Array


@dataclasses.dataclass(frozen=True)
class CRF:
    """The distribution over whole label sequences y, given scores s such as a layer's readout:

        log p(y | s) = score(y) - log sum_y' exp(score(y'))
        score(y) = start[y_1] + sum_t s_t[y_t] + sum_t transitions[y_t, y_t+1] + stop[y_T]

    Scores are `[time, *batch, tags]`, any number of batch axes, of any float dtype; results have float32, or float64
    where the scores or the parameters do. `lengths [*batch]` are integers, None for whole sequences; what stands past
    a length never counts, and a sequence of length 0 has one labelling, of score 0.

    A transition is forbidden by a large negative number such as -1e4; with -inf, gradients may be NaN.

    References:
        Lafferty, McCallum & Pereira, "Conditional random fields: probabilistic models for segmenting and labeling
        sequence data", ICML 2001. Huang, Xu & Yu, "Bidirectional LSTM-CRF models for sequence tagging", 2015,
        arXiv:1508.01991.
    """

    tags: int

    def __post_init__(self):
        checks.positive_int("tags", self.tags)

    def init(self, key: Array, dtype: Any = jnp.float32) -> CRFParams:
        """Returns zeros in `dtype`: at first every step is labelled on its own, by the softmax of its scores."""
        checks.drawing(key, dtype)
        one = jnp.zeros(self.tags, dtype)
        return CRFParams(jnp.zeros((self.tags, self.tags), dtype), one, one)

    def log_likelihood(self, params: CRFParams, scores: Array, labels: Array, lengths: Array | None = None) -> Array:
        """Returns log p(labels | scores) `[*batch]`, in nats.

        `labels [time, *batch]` are integers from 0 to tags - 1; any other number within the length gives NaN.

        Raises:
            ValueError: a shape or a dtype is not as described.
        """
        params, scores, mask = self._prepare(params, scores, lengths)
        checks.array("labels", labels)
        if labels.shape != scores.shape[:-1] or not jnp.issubdtype(labels.dtype, jnp.integer):
            raise checks.fail("labels", f"integers of shape {list(scores.shape[:-1])}", checks.describe(labels))
        labels = jnp.where(mask, jnp.asarray(labels).astype(jnp.int32), 0)
        labels = jnp.where(labels < 0, self.tags, labels)  # past the end, so that it is not counted from the end
        return _score(params, scores, labels, mask) - _log_partition(params, scores, mask)

    def log_partition(self, params: CRFParams, scores: Array, lengths: Array | None = None) -> Array:
        """Returns the logarithm of the sum over all labellings of exp(score), `[*batch]`.

        Raises:
            ValueError: a shape or a dtype is not as described.
        """
        return _log_partition(*self._prepare(params, scores, lengths))

    def marginals(self, params: CRFParams, scores: Array, lengths: Array | None = None) -> Array:
        """Returns the probability of each label at each step, `[time, *batch, tags]`; zeros past the length.

        It is the derivative of the log partition by the scores.

        Raises:
            ValueError: a shape or a dtype is not as described.
        """
        params, scores, mask = self._prepare(params, scores, lengths)
        return jax.grad(lambda scores: jnp.sum(_log_partition(params, scores, mask)))(scores)

    def decode(self, params: CRFParams, scores: Array, lengths: Array | None = None) -> tuple[Array, Array]:
        """Returns the labelling of the highest score, `[time, *batch]` int32, and that score, `[*batch]` (Viterbi).

        Labels past the length are 0. Of equal labellings it is the one whose last label is smallest, then the last
        but one, and so on to the first.

        Raises:
            ValueError: a shape or a dtype is not as described.
        """
        params, scores, mask = self._prepare(params, scores, lengths)
        if scores.shape[0] == 0:
            return jnp.zeros(mask.shape, jnp.int32), jnp.zeros(scores.shape[1:-1], scores.dtype)

        def forward(best: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
            s, valid = step
            paths = best[..., None] + params.transitions
            before = jnp.argmax(paths, axis=-2).astype(jnp.int32)
            before = jnp.where(valid, before, jnp.arange(self.tags, dtype=jnp.int32))  # past the end: as it was
            return jnp.where(valid, jnp.max(paths, axis=-2) + s, best), before

        def back(label: Array, before: Array) -> tuple[Array, Array]:
            return jnp.take_along_axis(before, label[..., None], axis=-1)[..., 0], label

        best, before = lax.scan(forward, params.start + scores[0], (scores[1:], mask[1:, ..., None]))
        best = best + params.stop
        last = jnp.argmax(best, axis=-1).astype(jnp.int32)
        first, labels = lax.scan(back, last, before, reverse=True)
        labels = jnp.concatenate([first[None], labels])
        return jnp.where(mask, labels, 0), jnp.where(mask[0], jnp.max(best, axis=-1), 0)

    def _prepare(self, params: CRFParams, scores: Array, lengths: Array | None) -> tuple[CRFParams, Array, Array]:
        """Parameters and scores in one dtype, zeros past the length, and the mask `[time, *batch]`."""
        checks.array("scores", scores)
        checks.float_dtype("scores", scores.dtype)
        if scores.ndim < 2 or scores.shape[-1] != self.tags:
            raise checks.fail("scores", f"shape [time, *batch, {self.tags}]", checks.describe(scores))
        checks.same_tree("params", params, jax.eval_shape(lambda: self.init(jax.random.key(0))))
        time, *batch = scores.shape[:-1]
        mask = jnp.ones((time, *batch), bool)
        if lengths is not None:
            checks.lengths("lengths", lengths, tuple(batch))
            t = jnp.arange(time, dtype=jnp.int32).reshape(time, *(1 for _ in batch))
            mask = t < jnp.asarray(lengths).astype(jnp.int32)
        dtype = np.result_type(*(wide(x.dtype) for x in (scores, *params)))
        params, scores = jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), (params, scores))
        return params, jnp.where(mask[..., None], scores, 0), mask


def _score(params: CRFParams, scores: Array, labels: Array, mask: Array) -> Array:
    """The score of the labels; NaN where one that counts is past the end."""
    after = jnp.concatenate([mask[1:], jnp.zeros_like(mask[:1])])  # whether the sequence goes on
    own = jnp.where(mask, jnp.take_along_axis(scores, labels[..., None], axis=-1, mode="fill")[..., 0], 0)
    first = jnp.where(mask[:1], params.start[labels[:1]], 0)
    last = jnp.where(mask & ~after, params.stop[labels], 0)
    moves = jnp.where(mask[1:], params.transitions[labels[:-1], labels[1:]], 0)
    return jnp.sum(own + last, axis=0) + jnp.sum(first, axis=0) + jnp.sum(moves, axis=0)


def _log_partition(params: CRFParams, scores: Array, mask: Array) -> Array:
    if scores.shape[0] == 0:
        return jnp.zeros(scores.shape[1:-1], scores.dtype)

    def forward(total: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
        s, valid = step
        moved = jax.nn.logsumexp(total[..., None] + params.transitions, axis=-2) + s
        return jnp.where(valid, moved, total), None

    total, _ = lax.scan(forward, params.start + scores[0], (scores[1:], mask[1:, ..., None]))
    return jnp.where(mask[0], jax.nn.logsumexp(total + params.stop, axis=-1), 0)
