import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax.data import Bucketed, Streams, prefetched

pytest.importorskip("grain")


def examples(lengths):
    """Sequences of which every step tells the example, and their numbers."""
    return [np.full(length, i + 1, np.int32) for i, length in enumerate(lengths)], np.arange(1, len(lengths) + 1)


def seen(batch):
    """The numbers of the examples of a batch, checked against its contents."""
    (values, lengths), numbers = batch.columns
    assert values.shape[1:] == lengths.shape == numbers.shape == batch.mask.shape
    assert lengths.dtype == np.int32 and values.dtype == np.int32
    for b, number in enumerate(numbers):
        assert values[:, b].tolist() == [number] * lengths[b] + [0] * (len(values) - lengths[b])
        assert batch.mask[b] or (number == 0 and lengths[b] == 0)
    return numbers[batch.mask].tolist()


lengths_ = st.lists(st.integers(0, 20), min_size=1, max_size=40)
limits_ = st.one_of(st.integers(1, 5), st.sets(st.integers(1, 19), max_size=4).map(lambda s: (*sorted(s), 20)))


@given(lengths=lengths_, limits=limits_, batch_size=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_no_example_comes_twice_in_an_epoch_and_few_are_left_out(lengths, limits, batch_size, seed):
    columns = examples(lengths)
    if len(lengths) < batch_size:
        with pytest.raises(
            ValueError, match=f"^`columns`: expected {batch_size} examples or more, got {len(lengths)}$"
        ):
            Bucketed(columns, batch_size, limits=limits, seed=seed)
        return
    batches = Bucketed(columns, batch_size, limits=limits, seed=seed)
    assert len(batches) == len(lengths) // batch_size
    for epoch in (0, 1):
        numbers = [n for i in range(len(batches)) for n in seen(batches[epoch * len(batches) + i])]
        assert len(numbers) == len(set(numbers)) == len(batches) * batch_size


@given(lengths=lengths_, limits=limits_, batch_size=st.integers(1, 6))
@settings(max_examples=60)
def test_without_a_seed_every_example_comes_once_an_epoch(lengths, limits, batch_size):
    batches = Bucketed(examples(lengths), batch_size, limits=limits, seed=None)
    numbers = [n for i in range(len(batches)) for n in seen(batches[i])]
    assert sorted(numbers) == list(range(1, len(lengths) + 1))
    assert numbers == sorted(numbers, key=lambda n: (lengths[n - 1], n))
    assert seen(batches[len(batches)]) == seen(batches[0])


def test_every_example_is_seen_and_epochs_differ():
    lengths = [3] * 9 + [7] * 5 + [12] * 3  # of 17, four batches of 4
    batches = Bucketed(examples(lengths), 4, limits=(4, 8, 12), seed=5)
    epochs = [[seen(batches[4 * epoch + i]) for i in range(4)] for epoch in range(10)]
    assert {n for epoch in epochs for batch in epoch for n in batch} == set(range(1, 18))
    assert len({str(epoch) for epoch in epochs}) == 10
    assert len({str(sorted(map(sorted, epoch))) for epoch in epochs}) > 8  # not the batches' order alone
    assert len({len(batch) for epoch in epochs for batch in epoch}) == 1
    assert len({lengths[epoch[0][0] - 1] for epoch in epochs}) > 1  # nor the examples' order within buckets alone


def test_pure_function_of_seed_and_position():
    columns = examples(np.random.default_rng(0).integers(1, 30, 200))
    first, second, other = (Bucketed(columns, 8, seed=seed) for seed in (3, 3, 4))
    positions = np.random.default_rng(1).permutation(60).tolist()
    expected = {position: seen(first[position]) for position in range(60)}
    assert {position: seen(second[position]) for position in positions} == expected
    assert {position: seen(other[position]) for position in positions} != expected


def test_padding_is_to_the_bucket_and_what_is_left_over_goes_up():
    lengths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    batches = Bucketed(examples(lengths), 2, limits=(3, 6, 100, 1000), seed=None)
    found = [(len(batches[i].columns[0].values), seen(batches[i])) for i in range(len(batches))]
    assert found == [(3, [1, 2]), (6, [3, 4]), (6, [5, 6]), (100, [7, 8]), (100, [9, 10])]
    batches = Bucketed(examples(lengths[:9]), 2, limits=(3, 8, 9, 1000), seed=0)
    found = sorted((len(batches[i].columns[0].values), sorted(seen(batches[i]))) for i in range(len(batches)))
    assert [limit for limit, _ in found] == [3, 8, 8, 9] and found[0] == (3, [1, 2])
    assert set(found[3][1]) < {7, 8, 9}  # one batch and the example left over


def test_limits_by_quantiles():
    lengths = list(range(1, 101))
    batches = Bucketed(examples(lengths), 5, limits=4, seed=None)
    limits = sorted({len(batches[i].columns[0].values) for i in range(len(batches))})
    assert limits[-1] == 100 and np.allclose(limits[:3], (25, 50, 75), atol=1)
    batches = Bucketed(examples([0, 0, 0]), 2, seed=None)
    assert [seen(batches[i]) for i in range(2)] == [[1, 2], [3]]


def test_several_sequences_of_an_example():
    sources = [np.arange(n, dtype=np.int32) for n in (2, 5, 1)]
    targets = [np.ones((n, 3), np.float32) for n in (4, 1, 2)]
    weights = np.arange(6.0).reshape(3, 2)
    batches = Bucketed((sources, targets, weights), 3, limits=(2, 5), seed=None)
    ((source, source_lengths), (target, target_lengths), weight), _ = batches[0]
    assert source.shape == (5, 3) and target.shape == (5, 3, 3) and target.dtype == np.float32
    order = [2, 0, 1]  # by the longest: 2, 4, 5
    assert source_lengths.tolist() == [1, 2, 5] and target_lengths.tolist() == [2, 4, 1]
    assert np.array_equal(weight, weights[order])
    assert target.sum() == 3 * (4 + 1 + 2) and source[:, 2].tolist() == [0, 1, 2, 3, 4]


def test_what_is_too_long():
    sequences = [np.arange(n, dtype=np.int32) for n in (2, 9, 3, 8)]
    with pytest.raises(ValueError) as caught:
        Bucketed([sequences], 1, limits=(3, 5))
    assert str(caught.value) == (
        "`columns`: expected sequences of at most 5 steps, the last of `limits`, or `too_long`, "
        "got 9 in example 1, and 2 such examples in all"
    )
    cut = Bucketed([sequences], 1, limits=(3, 5), seed=None, too_long="cut")
    assert [cut[i].columns[0].lengths.tolist() for i in range(len(cut))] == [[2], [3], [5], [5]]
    assert cut[2].columns[0].values[:, 0].tolist() == [0, 1, 2, 3, 4]
    dropped = Bucketed([sequences], 1, limits=(3, 5), seed=None, too_long="drop")
    assert [dropped[i].columns[0].lengths.tolist() for i in range(len(dropped))] == [[2], [3]]
    with pytest.raises(ValueError, match=r"^`columns`: expected 1 examples or more, got 0$"):
        Bucketed([sequences], 1, limits=(1,), too_long="drop")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": [[np.zeros(2)], np.zeros(2)]}, r"`columns`: expected columns of the same length, got \[1, 2\]"),
        ({"columns": [np.zeros(2)]}, "`columns`: expected a list of sequences among them, got 1 arrays"),
        ({"columns": [[np.zeros(2), np.zeros(2, int)]]}, r"`columns`: expected sequences \[time, ...\] of one dtype.*"),
        ({"columns": [[np.zeros(2), 3]]}, r"`columns`: expected sequences \[time, ...\] of one dtype.*"),
        ({"batch_size": 0}, "`batch_size`: expected an integer >= 1, got 0"),
        ({"limits": (4, 4)}, r"`limits`: expected a number, or rising lengths of 1 or more, got \(4, 4\)"),
        ({"limits": 0}, "`limits`: expected an integer >= 1, got 0"),
        ({"seed": -1}, r"`seed`: expected 0 to 2\*\*32 - 1, or None, got -1"),
        ({"too_long": "keep"}, "`too_long`: expected one of 'error', 'cut', 'drop', got 'keep'"),
    ],
)
def test_errors(arguments, message):
    columns = [[np.zeros(2, np.int32)] * 3]
    with pytest.raises(ValueError, match=f"^{message}$"):
        Bucketed(**{"columns": columns, "batch_size": 1, **arguments})


def test_positions_are_not_negative():
    for batches in (Bucketed(examples([1, 2]), 1), prefetched(Bucketed(examples([1, 2]), 1))):
        with pytest.raises(ValueError, match=r"^`position`: expected 0 "):
            (batches if callable(batches) else batches.__getitem__)(-1)


# Reading ahead.


class Recorder:
    """A data set that remembers what was read, and where."""

    def __init__(self):
        self.read, self.threads = [], set()

    def __getitem__(self, position):
        self.read.append(position)
        self.threads.add(threading.current_thread())
        if position == 50:
            raise ValueError("position 50 is bad")
        return {"position": np.asarray(position)}


@pytest.mark.parametrize("threads", [1, 3])
def test_prefetched_gives_what_the_data_set_gives_at_any_position(threads):
    batches = prefetched(Recorder(), ahead=4, threads=threads)
    positions = [0, 1, 2, 3, 3, 3, 4, 17, 18, 2, 3, 2, 2, 0, 1, 10**9, np.int32(4), 5]
    assert [int(batches(position)["position"]) for position in positions] == positions


def test_prefetched_reads_ahead_in_threads_and_nothing_twice():
    dataset = Recorder()
    batches = prefetched(dataset, ahead=3)
    for position in range(20):
        batches(position)
    assert threading.current_thread() not in dataset.threads
    assert len(dataset.read) == len(set(dataset.read)) and set(range(20)) <= set(dataset.read)
    assert max(dataset.read) <= 20 + 4


def test_prefetched_goes_on_after_an_error():
    batches = prefetched(Recorder(), ahead=2)
    assert int(batches(48)["position"]) == 48
    assert int(batches(49)["position"]) == 49
    for _ in range(2):
        with pytest.raises(ValueError, match="position 50 is bad"):
            batches(50)
    assert int(batches(51)["position"]) == 51
    assert int(batches(49)["position"]) == 49


def test_prefetched_goes_through_epochs():
    lengths = np.random.default_rng(0).integers(1, 9, 20)
    buckets, streams = Bucketed(examples(lengths), 3, seed=1), Streams(np.arange(50), 2, 5)
    ahead = prefetched(buckets), prefetched(streams)
    for position in [*range(3 * len(buckets)), 7, 8]:
        assert seen(ahead[0](position)) == seen(buckets[position])
        for found, expected in zip(ahead[1](position), streams[position], strict=True):
            assert np.array_equal(found, expected)


def test_missing_grain_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r"^`prefetched` needs Grain: pip install 'lstm_jax\[data\]'$"):
        prefetched(Recorder())
    with pytest.raises(ImportError, match=r"^`Bucketed` with a seed needs Grain: pip install 'lstm_jax\[data\]'$"):
        Bucketed(examples([1]), 1)
    assert len(Bucketed(examples([1]), 1, seed=None)) == 1
