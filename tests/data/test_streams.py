import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.data import Streams, every_token

sizes = {"n": st.integers(2, 60), "batch_size": st.integers(1, 5), "time": st.integers(1, 7)}


@given(**sizes)
def test_every_stream_goes_on_where_it_stopped(n, batch_size, time):
    tokens = np.arange(100, 100 + n)
    if n < batch_size * time + 1:
        with pytest.raises(ValueError, match=f"^`tokens`: expected {batch_size * time + 1} or more, got {n}$"):
            Streams(tokens, batch_size, time)
        return
    streams = Streams(tokens, batch_size, time)
    length = (n - 1) // batch_size
    assert len(streams) == length // time
    for position in range(2 * len(streams) + 1):
        inputs, targets, mask, resets = streams[position]
        assert inputs.dtype == targets.dtype == np.int32 and mask.dtype == resets.dtype == np.bool_
        assert inputs.shape == targets.shape == mask.shape == resets.shape == (time, batch_size)
        assert mask.all()
        for t in range(time):
            for b in range(batch_size):
                step = position % len(streams) * time + t
                assert inputs[t, b] == tokens[b * length + step]
                assert targets[t, b] == tokens[b * length + step + 1]
                assert resets[t, b] == (step == 0)


@given(**sizes)
def test_every_token_but_the_first_is_a_target_once(n, batch_size, time):
    tokens = np.arange(100, 100 + n)
    found = []
    batches = every_token(tokens, time, batch_size)
    assert len(batches) == math.ceil(math.ceil((n - 1) / batch_size) / time)
    before = None
    for i, batch in enumerate(batches):
        assert np.array_equal(batch.inputs[batch.mask] + 1, batch.targets[batch.mask])
        assert not batch.inputs[~batch.mask].any() and not batch.targets[~batch.mask].any()
        assert batch.resets.any() == (i == 0)
        found += batch.targets[batch.mask].tolist()
        if before is not None:  # no stream has a gap
            on = batch.mask[0]
            assert before.mask[-1][on].all() and np.array_equal(before.targets[-1][on], batch.inputs[0][on])
        before = batch
    assert sorted(found) == tokens[1:].tolist()
    if batch_size == 1:
        assert found == tokens[1:].tolist()


def test_a_carry_that_is_reset_sees_its_own_epoch_only():
    """A recurrence that adds up its inputs, started anew at resets: what the flag is for."""
    streams = Streams(np.arange(1, 26), 2, 4)

    def step(carry, now):
        token, reset = now
        carry = jnp.where(reset, 0, carry) + token
        return carry, carry

    run = jax.jit(lambda carry, inputs, resets: jax.lax.scan(step, carry, (inputs, resets)))
    carry = jnp.zeros(2, jnp.int32)
    sums = []
    for position in range(2 * len(streams)):
        batch = streams[position]
        carry, out = run(carry, batch.inputs, batch.resets)
        sums.append(np.asarray(out))
    epoch = np.concatenate([batch.inputs for batch in streams]).cumsum(0)
    assert np.array_equal(np.concatenate(sums), np.concatenate([epoch, epoch]))


def test_batches_cannot_be_written_into():
    streams = Streams(np.arange(9), 2, 2)
    with pytest.raises(ValueError, match="read-only"):
        streams[0].inputs[0] = 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 9), np.int32), 1, 1), r"`tokens`: expected integers of shape \[n\], got int32\[2, 9\]"),
        ((np.zeros(9), 1, 1), r"`tokens`: expected integers of shape \[n\], got float64\[9\]"),
        ((np.array([0, 2**31, 0]), 1, 1), "`tokens`: expected int32's range, got 0 to 2147483648"),
        ((np.arange(9), 0, 1), "`batch_size`: expected an integer >= 1, got 0"),
        ((np.arange(9), 1, 0), "`time`: expected an integer >= 1, got 0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Streams(*arguments)


def test_few_tokens_and_positions_out_of_range():
    with pytest.raises(ValueError, match=r"^`tokens`: expected 2 or more, got 1$"):
        every_token(np.arange(1), 3)
    with pytest.raises(ValueError, match=r"^`position`: expected 0 or more, got -1$"):
        Streams(np.arange(9), 1, 1)[-1]
