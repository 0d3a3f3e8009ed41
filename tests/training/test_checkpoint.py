"""Checkpoints: every bit comes back, and what cannot come back says so."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.training import TrainState, fit, latest_step, restore, save
from tests.training.runs import assert_same, batches, first_state, step


def state_of(params, carry=None, at=3, impl="threefry2x32"):
    number = jnp.int32(at)
    return TrainState(params, (), carry, jax.random.key(7, impl=impl), number, number)


ODD = {
    "bfloat16": jnp.array([0.1, -0.0, jnp.inf], jnp.bfloat16),
    "float16": jnp.array(0.1, jnp.float16),
    "float32": jnp.array([[1e-45, jnp.nan, 3.0]]),
    "int8": jnp.array([-128], jnp.int8),
    "bool": jnp.array([True, False]),
    "empty": jnp.zeros((0, 4)),
    "a/b.c": [jnp.float32(1.0), (jnp.float32(2.0), None)],
}


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_every_dtype_and_key_comes_back_to_the_bit(tmp_path, impl):
    state = state_of(ODD, carry={"keys": jax.random.split(jax.random.key(1, impl=impl), 3)}, impl=impl)
    assert save(tmp_path, state) == tmp_path / "checkpoints" / "3"
    assert_same(restore(tmp_path, state), state)
    assert_same(restore(tmp_path, jax.eval_shape(lambda: state)), state)
    draw = jax.random.normal(restore(tmp_path, state).key, (2,))
    np.testing.assert_array_equal(draw, jax.random.normal(state.key, (2,)))


def test_float64_comes_back(tmp_path, x64):
    state = state_of(jnp.array([1 / 3], jnp.float64))
    save(tmp_path, state)
    assert_same(restore(tmp_path, state), state)


def test_leaves_go_where_their_likeness_is(tmp_path):
    first, second = jax.devices()[:2]
    save(tmp_path, state_of(jnp.arange(3.0)))
    free = restore(tmp_path, state_of(jnp.zeros(3)))
    assert not free.params.committed and free.params.devices() == {first}
    bound = restore(tmp_path, jax.device_put(state_of(jnp.zeros(3)), second))
    assert all(leaf.committed and leaf.devices() == {second} for leaf in jax.tree.leaves(bound))


def test_keeps_the_newest_and_finds_each(tmp_path):
    assert latest_step(tmp_path / "none yet") is None
    states = [state_of(jnp.float32(at), at=at) for at in (8, 9, 10, 11)]
    for state in states:
        save(tmp_path, state, keep=3)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["10", "11", "9"]
    assert latest_step(tmp_path) == 11
    assert_same(restore(tmp_path, states[0]), states[3])
    assert_same(restore(tmp_path, states[0], step=9), states[1])
    with pytest.raises(FileNotFoundError, match=r"`directory` must hold a checkpoint of step 8, got .* \[9, 10, 11\]"):
        restore(tmp_path, states[0], step=8)


def test_another_layout_is_one_error(tmp_path):
    save(tmp_path, state_of({"w": jnp.zeros((3, 4)), "b": jnp.zeros(4)}))
    for params, match in [
        ({"w": jnp.zeros((3, 5)), "b": jnp.zeros(4)}, r"\['w'\]: expected float32\[3,4\], got float32\[3,5\]$"),
        ({"w": jnp.zeros((3, 4), jnp.bfloat16), "b": jnp.zeros(4)}, r"expected float32\[3,4\], got bfloat16\[3,4\]$"),
        ({"w": jnp.zeros((3, 4))}, r"\['b'\]: expected float32\[4\], got nothing$"),
        ({"w": jnp.zeros((3, 4)), "b": jnp.zeros(4), "c": jnp.zeros(1)}, r"expected nothing, got float32\[1\]$"),
        ([jnp.zeros(1)] * 6, r"`state_like` must have the layout of the checkpoint .*; and 4 more$"),
    ]:
        with pytest.raises(ValueError, match=match):
            restore(tmp_path, state_of(params))
    with pytest.raises(ValueError, match=r"\.key: expected key<fry>\[\], got key<rbg>\[\]"):
        restore(tmp_path, state_of({"w": jnp.zeros((3, 4)), "b": jnp.zeros(4)}, impl="rbg"))


def test_a_checkpoint_is_never_overwritten(tmp_path):
    save(tmp_path, state_of(jnp.zeros(1)))
    with pytest.raises(FileExistsError, match=r"`directory` must have no checkpoint of this step yet, got .*3"):
        save(tmp_path, state_of(jnp.ones(1)))
    assert restore(tmp_path, state_of(jnp.ones(1))).params == 0


def lose_all(path):
    shutil.rmtree(path)
    path.mkdir()


def lose_metadata(path):
    (path / "_CHECKPOINT_METADATA").unlink()


@pytest.mark.parametrize("damage", [lose_all, lose_metadata])
def test_a_damaged_checkpoint_says_so(tmp_path, damage):
    state = state_of(jnp.zeros(1))
    damage(save(tmp_path, state))
    with pytest.raises(ValueError, match=r"`directory` must hold whole checkpoints, but .*3 cannot be read"):
        restore(tmp_path, state)


def test_leftovers_of_a_killed_process_are_not_checkpoints(tmp_path):
    fit(step, first_state(), batches, steps=4, directory=tmp_path / "run", checkpoint_every=2)
    whole = tmp_path / "run" / "checkpoints" / "4"
    for leftover in ("6.orbax-checkpoint-tmp", "2.deleted"):
        (whole.parent / leftover / "d").mkdir(parents=True)
        (whole.parent / leftover / "manifest.ocdbt").write_bytes(b"half")
    assert latest_step(tmp_path / "run") == 4
    resumed = fit(step, first_state(), batches, steps=6, directory=tmp_path / "run", checkpoint_every=2)
    assert_same(resumed, fit(step, first_state(), batches, steps=6))
    assert sorted(path.name for path in whole.parent.iterdir()) == ["4", "6"]
