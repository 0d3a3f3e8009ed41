"""Parameters under readable names, and back."""

import jax
import jax.numpy as jnp
import pytest

import lstm_jax as lj
from lstm_jax import tree
from lstm_jax.models import Linear, Network
from tests.contenders import CELLS, random_params, same

MODULES = {name: row.make(3, 4) for name, row in CELLS.items()} | {
    "recurrent": lj.Recurrent(lj.LSTM(3, 4), learned_carry=True),
    "stack": lj.Stack((lj.Bidirectional(lj.GRU(3, 4)), lj.Recurrent(lj.LSTM(8, 4, use_bias=False)))),
    "network": Network(lj.Recurrent(lj.Elman(3, 4)), Linear(4, 2)),
}


@pytest.mark.parametrize("name", MODULES)
def test_there_and_back(name):
    params = random_params(MODULES[name])
    named = tree.to_dict(params)
    assert len(jax.tree.leaves(named)) == len(jax.tree.leaves(params))
    back = tree.from_dict(MODULES[name], named)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    same(back, params)


def test_names():
    named = tree.to_dict(random_params(MODULES["network"]))
    shapes = {
        "layer": {"cell": {"w_x": (3, 4), "w_h": (4, 4), "b": (4,)}},
        "readout": {"layers_0": {"w": (4, 2), "b": (2,)}},
    }
    assert jax.tree.map(jnp.shape, named) == shapes
    assert set(tree.to_dict(random_params(MODULES["gru-no-bias"]))) == {"w_x", "w_h"}
    carry = (lj.LSTMCarry(1, 2), lj.BidirectionalCarry(3, lj.LSTMCarry(4, 5)))
    named = {"layers_0": {"h": 1, "c": 2}, "layers_1": {"forward": 3, "backward": {"h": 4, "c": 5}}}
    assert tree.to_dict(carry) == named and tree.from_dict(carry, named) == carry


@pytest.mark.parametrize(("named", "message"), [
    ({}, r"`named`: expected keys layers_0, layers_1, got keys"),
    ({"layers_0": {}, "layers_1": {}}, r"`named.layers_0`: expected keys forward, backward, got keys"),
    (jnp.zeros(3), r"`named`: expected keys layers_0, layers_1, got float32\[3\]"),
])  # fmt: skip
def test_errors(named, message):
    with pytest.raises(ValueError, match=message):
        tree.from_dict(MODULES["stack"], named)


def test_shapes_follow_jaxs_64_bits():
    from lstm_jax.cells.call import params_like

    cell = lj.GRU(5, 6)
    assert params_like(cell, jnp.float64).w_x.dtype == jnp.float32
    with jax.enable_x64(True):
        assert params_like(cell, jnp.float64).w_x.dtype == jnp.float64
