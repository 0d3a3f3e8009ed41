"""One long sequence, read along contiguous streams: for truncated backpropagation, and for scoring every token."""

import operator
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lstm_jax import checks


class StreamBatch(NamedTuple):
    """The next stretch of every stream."""

    inputs: np.ndarray  # [time, batch] int32
    targets: np.ndarray  # [time, batch] int32: the tokens that follow the inputs; 0 where the mask is False
    mask: np.ndarray  # [time, batch] bool; True where a target counts
    resets: np.ndarray  # [time, batch] bool; True at an epoch's first step, where no carry is handed on


class Streams:
    """Batches in which every column goes on where it stopped in the batch before: an endless indexable data set.

    The tokens are cut into `batch_size` streams of `(n - 1) // batch_size` steps, side by side; batch number
    `position` is a pure function of the position, and the epoch starts over after `len(self)` batches, with `resets`
    to say so. Steps left over at the end of the streams, fewer than `time`, are dropped, and so are fewer than
    `batch_size` tokens behind the last stream. `iter` gives one epoch.

    With `whole`, nothing is dropped: every token but the first is a target once, and what fills up the last batches
    has mask False. With one stream (`every_token`) all its context stands before each of them.

    Args:
        tokens: integers `[n]`, of int32's range.
        batch_size: the number of streams.
        time: the steps of a batch.

    Raises:
        ValueError: there are fewer than `batch_size * time + 1` tokens (with `whole`: 2), or they are of another shape
            or dtype.

    References:
        Zaremba, Sutskever & Vinyals, "Recurrent neural network regularization", 2014, section 4.1: the hidden state
        at the end of one minibatch starts the next.
    """

    def __init__(self, tokens: np.ndarray, batch_size: int, time: int, *, whole: bool = False):
        checks.positive_int("batch_size", batch_size)
        checks.positive_int("time", time)
        checks.boolean("whole", whole)
        tokens = np.asarray(tokens)
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise checks.fail("tokens", "integers of shape [n]", checks.describe(tokens))
        least = 2 if whole else batch_size * time + 1
        if tokens.size < least:
            raise checks.fail("tokens", f"{least} or more", tokens.size)
        if tokens.min() < -(2**31) or tokens.max() >= 2**31:
            raise checks.fail("tokens", "int32's range", f"{tokens.min()} to {tokens.max()}")
        tokens = tokens.astype(np.int32)
        steps = -(-(tokens.size - 1) // batch_size) if whole else (tokens.size - 1) // batch_size
        batches = -(-steps // time) if whole else steps // time

        def stretches(values: np.ndarray) -> np.ndarray:
            """`[batches, time, batch]`: the streams side by side, cut or filled up with zeros."""
            line = np.zeros(batch_size * steps, values.dtype)
            line[: values.size] = values[: line.size]
            streams = np.zeros((batches * time, batch_size), values.dtype)
            streams[:steps] = line.reshape(batch_size, steps).T[: batches * time]
            streams.setflags(write=False)  # batches are views of it
            return streams.reshape(batches, time, batch_size)

        self._inputs, self._targets = stretches(tokens[:-1]), stretches(tokens[1:])
        self._mask = stretches(np.ones(tokens.size - 1, np.bool_))

    def __len__(self) -> int:
        """The batches of an epoch."""
        return len(self._inputs)

    def __getitem__(self, position: int) -> StreamBatch:
        position = operator.index(position)
        if position < 0:
            raise checks.fail("position", "0 or more", position)
        batch = position % len(self)
        resets = np.zeros(self._mask.shape[1:], np.bool_)
        resets[0] = batch == 0
        return StreamBatch(self._inputs[batch], self._targets[batch], self._mask[batch], resets)

    def __iter__(self) -> Iterator[StreamBatch]:
        return (self[i] for i in range(len(self)))


def every_token(tokens: np.ndarray, time: int, batch_size: int = 1) -> Streams:
    """Batches that have every token but the first as a target exactly once, for perplexities; see `Streams`.

    More than one stream is faster, and the tokens at the beginning of each have no context but the one before them.
    """
    return Streams(tokens, batch_size, time, whole=True)
