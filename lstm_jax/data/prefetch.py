"""Batches read ahead by Grain, at any position."""

import importlib
import operator
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from lstm_jax import checks

Batch_co = TypeVar("Batch_co", covariant=True)


class Indexable(Protocol[Batch_co]):
    """An endless data set: batch number `position`, a pure function of it."""

    def __getitem__(self, position: int, /) -> Batch_co: ...


def prefetched(dataset: Indexable[Batch_co], *, ahead: int = 4, threads: int = 1) -> Callable[[int], Batch_co]:
    """`batches(position)` for `lstm_jax.training.fit`: `dataset[position]`, made beforehand by threads of Grain.

    Positions that follow each other are read ahead. Any other, as when a run resumes, sets the state of Grain's
    iterator to it; the last position again gives the last batch again. So the position is all the state there is, and
    a checkpoint that holds it (`TrainState.position`) resumes the data too.

    Args:
        dataset: an endless indexable data set, such as `Streams` or `Bucketed`; its threads read it at the same time.
        ahead: how many batches are kept ready.
        threads: how many threads make them.

    Raises:
        ImportError: Grain is not installed.
        ValueError: `ahead` or `threads` is not a positive integer; later, a position is not an integer of 0 or more.
    """
    checks.positive_int("ahead", ahead)
    checks.positive_int("threads", threads)
    return _Prefetched(dataset, ahead, threads)


class _Prefetched:
    def __init__(self, dataset: Any, ahead: int, threads: int):
        try:
            grain: Any = importlib.import_module("grain")
        except ImportError as error:
            raise ImportError("`prefetched` needs Grain: pip install 'lstm_jax[data]'") from error
        # Over positions, for Grain would wrap the positions of a data set of finite length to its first epoch's.
        batches = grain.MapDataset.range(2**31 - 1).map(dataset.__getitem__)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        self._iterator = iter(batches.to_iter_dataset(options))
        self._next = 0
        self._last: Any = None

    def __call__(self, position: int) -> Any:
        position = operator.index(position)
        if not 0 <= position < 2**31 - 1:
            raise checks.fail("position", "0 to 2**31 - 2", position)
        if self._last is not None and position == self._next - 1:
            return self._last
        if position != self._next:
            self._iterator.set_state({"next_index": position})
        self._next, self._last = -1, None  # nowhere, should this raise
        self._last = next(self._iterator)
        self._next = position + 1
        return self._last
