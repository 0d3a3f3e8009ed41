import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax.data import batch_indices

KEY = jax.random.key(5)
SIZE, BATCH = 10, 3  # three batches an epoch, one example left over
run = jax.jit(lambda key, position: batch_indices(key, position, size=SIZE, batch_size=BATCH))


@settings(deadline=None)
@given(epoch=st.integers(0, 10**6))
def test_no_example_comes_twice_in_an_epoch(epoch):
    indices = np.concatenate([run(KEY, 3 * epoch + i) for i in range(3)])
    assert len(set(indices.tolist())) == 9 and indices.min() >= 0 and indices.max() < SIZE


def test_epochs_differ_and_every_example_is_seen():
    epochs = [tuple(np.concatenate([run(KEY, 3 * epoch + i) for i in range(3)]).tolist()) for epoch in range(20)]
    assert len(set(epochs)) == 20 and {i for epoch in epochs for i in epoch} == set(range(SIZE))


def test_pure_function_of_key_and_position():
    plain = batch_indices(KEY, 7, size=SIZE, batch_size=BATCH)
    assert plain.shape == (BATCH,) and plain.dtype == np.int32
    assert np.array_equal(plain, run(KEY, 7))
    assert np.array_equal(plain, jax.vmap(run, in_axes=(None, 0))(KEY, np.arange(9))[7])
    assert not np.array_equal(plain, run(jax.random.key(6), 7))
    with jax.enable_x64(True):
        wide = batch_indices(KEY, 7, size=SIZE, batch_size=BATCH)
    assert wide.dtype == np.int32 and np.array_equal(plain, wide)


def test_one_batch_may_be_the_whole_set():
    assert sorted(batch_indices(KEY, 2, size=SIZE, batch_size=SIZE).tolist()) == list(range(SIZE))


@pytest.mark.parametrize("batch_size", [0, 11])
def test_errors(batch_size):
    with pytest.raises(ValueError, match=f"^`batch_size` must be between 1 and `size`, 10; got {batch_size}$"):
        batch_indices(KEY, 0, size=SIZE, batch_size=batch_size)
