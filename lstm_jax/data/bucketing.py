"""Sequences of differing lengths in batches of like ones, shuffled by Grain."""

import importlib
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from lstm_jax import checks


class Padded(NamedTuple):
    """Sequences side by side, zero past their ends."""

    values: np.ndarray  # [time, batch, ...]
    lengths: np.ndarray  # [batch] int32


class BucketBatch(NamedTuple):
    """Examples of one bucket."""

    columns: tuple[Any, ...]  # in the data set's order: Padded of sequences, [batch, ...] of what has no time
    mask: np.ndarray  # [batch] bool; True where an example stands, False where one of zeros fills up


class Bucketed:
    """Batches of examples of like length: an endless indexable data set.

    An example goes to the first bucket whose limit its longest sequence is within, and all of a bucket's batches are
    padded to its limit, so that a compiled step is compiled once a bucket. Of each bucket but the last as many
    examples as do not fill a batch, its longest, go to the next one.

    With a `seed`, Grain shuffles the examples of each bucket and then the batches, every epoch (of `len(self)`
    batches) anew: batch number `position` is a pure function of seed and position. No example comes twice in an
    epoch, and fewer than `batch_size`, of the last bucket, are left out, others each time.

    With `seed=None` an epoch has every example once, in order of length, as validation wants it; what fills up the
    last batch has mask False and length 0.

    Args:
        columns: the examples' parts, each of the same length n: a list of `[time, ...]` arrays, the sequences, or an
            array `[n, ...]` of what has no time, such as labels. Sequences of one example may differ in length.
        batch_size: the examples of a batch.
        limits: the lengths that buckets are padded to, rising; or their number, for the quantiles of the lengths.
        seed: 0 to 2**32 - 1, or None.
        too_long: what becomes of an example with a sequence longer than the last limit: `"error"`, `"cut"` (the end
            of its too long sequences is) or `"drop"`.

    Raises:
        ImportError: Grain is not installed, and there is a seed.
        ValueError: columns that do not belong together, an example that is too long, fewer examples than `batch_size`
            where there is a seed, none otherwise, or limits that do not rise.
    """

    def __init__(
        self,
        columns: Sequence[Sequence[np.ndarray] | np.ndarray],
        batch_size: int,
        *,
        limits: int | Sequence[int] = 4,
        seed: int | None = 0,
        too_long: Literal["error", "cut", "drop"] = "error",
    ):
        checks.positive_int("batch_size", batch_size)
        checks.one_of("too_long", too_long, ("error", "cut", "drop"))
        self._columns = tuple(map(_column, columns))
        self._batch_size = batch_size
        lengths = _lengths(self._columns)
        limits = _limits(limits, lengths)
        index = np.arange(lengths.size, dtype=np.int64)
        if (over := lengths > limits[-1]).any():
            if too_long == "error":
                first = int(np.argmax(over))
                raise checks.fail(
                    "columns",
                    f"sequences of at most {limits[-1]} steps, the last of `limits`, or `too_long`",
                    f"{lengths[first]} in example {first}, and {over.sum()} such examples in all",
                )
            if too_long == "drop":
                index = index[~over]
        if index.size < (1 if seed is None else batch_size):
            raise checks.fail("columns", f"{1 if seed is None else batch_size} examples or more", index.size)
        index = index[np.argsort(lengths[index], kind="stable")]
        lengths = np.minimum(lengths[index], limits[-1])
        limits = limits[: np.searchsorted(limits, lengths[-1]) + 1]  # longer ones would take what is left over
        bounds = _bounds(lengths, limits, batch_size, whole=seed is None)
        buckets = [(limit, index[a:b]) for limit, (a, b) in zip(limits, pairwise(bounds), strict=True) if b > a]
        self._order = _in_order(buckets, batch_size) if seed is None else _shuffled(buckets, batch_size, seed)

    def __len__(self) -> int:
        """The batches of an epoch."""
        return len(self._order)

    def __getitem__(self, position: int) -> BucketBatch:
        position = operator.index(position)
        if position < 0:
            raise checks.fail("position", "0 or more", position)
        limit, index = self._order[position]
        mask = np.arange(self._batch_size) < len(index)
        return BucketBatch(tuple(_batch(column, index, limit, mask) for column in self._columns), mask)


class _InOrder:
    """The batches of buckets, one after the other, in every epoch the same."""

    def __init__(self, batches: list[tuple[int, np.ndarray]]):
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, position: int) -> tuple[int, np.ndarray]:
        return self._batches[position % len(self._batches)]


def _shuffled(buckets: list[tuple[int, np.ndarray]], batch_size: int, seed: int) -> Any:
    """Grain's data set of `(limit, examples)`, in an order of its own every epoch."""
    try:
        grain: Any = importlib.import_module("grain")
    except ImportError as error:
        raise ImportError("`Bucketed` with a seed needs Grain: pip install 'lstm_jax[data]'") from error
    if not 0 <= operator.index(seed) < 2**32:
        raise checks.fail("seed", "0 to 2**32 - 1, or None", seed)
    # A place in Grain's order costs the more the fewer there are (2 ms of 20, 50 us of 1,000): some 40 ms an epoch and
    # bucket, whatever its size.
    # Grain adds the epoch to a shuffle's seed: seeds drawn apart keep the buckets' orders apart.
    seeds = np.random.SeedSequence(seed).generate_state(len(buckets) + 1).tolist()

    def batches(limit: int, index: np.ndarray, seed: int) -> Any:
        examples = grain.MapDataset.source(index).shuffle(seed=seed).batch(batch_size, drop_remainder=True)
        return examples.map(lambda chosen: (limit, chosen))

    parts = [batches(limit, index, s) for (limit, index), s in zip(buckets, seeds, strict=False)]
    return grain.MapDataset.concatenate(parts).shuffle(seed=seeds[-1])


def _in_order(buckets: list[tuple[int, np.ndarray]], batch_size: int) -> _InOrder:
    return _InOrder([(limit, i[k : k + batch_size]) for limit, i in buckets for k in range(0, i.size, batch_size)])


def _column(column: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray] | np.ndarray:
    if isinstance(column, np.ndarray):
        return column
    return [np.asarray(sequence) for sequence in column]


def _lengths(columns: tuple[list[np.ndarray] | np.ndarray, ...]) -> np.ndarray:
    """The length of each example's longest sequence."""
    if len({len(column) for column in columns}) != 1:
        raise checks.fail("columns", "columns of the same length", [len(column) for column in columns])
    sequences = [column for column in columns if isinstance(column, list)]
    if not sequences:
        raise checks.fail("columns", "a list of sequences among them", f"{len(columns)} arrays")
    for column in sequences:
        kinds = {(sequence.dtype, sequence.shape[1:]) for sequence in column if sequence.ndim}
        if len(kinds) > 1 or any(sequence.ndim == 0 for sequence in column):
            raise checks.fail("columns", "sequences [time, ...] of one dtype and shape", sorted(map(str, kinds)))
    return np.max([[len(sequence) for sequence in column] for column in sequences], axis=0)


def _limits(limits: int | Sequence[int], lengths: np.ndarray) -> tuple[int, ...]:
    if isinstance(limits, int):
        checks.positive_int("limits", limits)
        if not lengths.size:
            return (1,)
        quantiles = np.quantile(lengths, np.linspace(0, 1, limits + 1)[1:], method="higher")
        return tuple(np.unique(np.maximum(quantiles, 1)).tolist())
    limits = tuple(map(operator.index, limits))
    if not limits or limits[0] < 1 or any(a >= b for a, b in pairwise(limits)):
        raise checks.fail("limits", "a number, or rising lengths of 1 or more", limits)
    return limits


def _bounds(lengths: np.ndarray, limits: tuple[int, ...], batch_size: int, *, whole: bool) -> list[int]:
    """Where each bucket begins among sorted lengths, and where the last one ends."""
    ends = np.searchsorted(lengths, limits, side="right") // batch_size * batch_size
    ends[-1] = lengths.size
    if not whole and lengths.size % batch_size > 0:
        # The last bucket needs one whole batch, or the longest examples would never be seen.
        ends[:-1] = np.minimum(ends[:-1], (lengths.size // batch_size - 1) * batch_size)
    return [0, *ends.tolist()]


def _batch(column: list[np.ndarray] | np.ndarray, index: np.ndarray, limit: int, mask: np.ndarray) -> Any:
    if isinstance(column, np.ndarray):
        values = np.zeros((mask.size, *column.shape[1:]), column.dtype)
        values[mask] = column[index]
        return values
    chosen = [column[i][:limit] for i in index]
    lengths = np.zeros(mask.size, np.int32)
    lengths[mask] = [len(sequence) for sequence in chosen]
    values = np.zeros((limit, mask.size, *chosen[0].shape[1:]), chosen[0].dtype)
    for i, sequence in enumerate(chosen):
        values[: len(sequence), i] = sequence
    return Padded(values, lengths)
