"""What only linen has: a variable tree, lifted transformations, boxes of metadata, and loops of its own for cells."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import serialization, traverse_util
from flax.errors import InvalidRngError

import lstm_jax as lj
from lstm_jax import convert, tree
from lstm_jax.adapters.common import initialise
from lstm_jax.adapters.linen import Cell, Recurrent
from tests.contenders import BASE, CELLS, close, random_like, random_params, same, weigh

XS = random_like(jax.ShapeDtypeStruct((4, 7, 3), jnp.float32), 2, scale=1.0)
LENGTHS = jnp.array([4, 7, 1, 0])


def test_variables_have_readable_names():
    layer = lj.Stack((lj.Bidirectional(lj.GRU(3, 4)), lj.Recurrent(lj.LSTM(8, 5), learned_carry=True)))
    params = Recurrent(layer).init(jax.random.key(0), XS)["params"]
    cell = ["b", "b_hn", "w_h", "w_x"]
    assert sorted("/".join(path) for path in traverse_util.flatten_dict(params)) == [
        *(f"layers_0/backward/cell/{name}" for name in cell),
        *(f"layers_0/forward/cell/{name}" for name in cell),
        *(f"layers_1/carry/{name}" for name in ("c", "h")),
        *(f"layers_1/cell/{name}" for name in ("b", "w_h", "w_x")),
    ]
    params = Recurrent(lj.LSTM(3, 5)).init(jax.random.key(0), XS)["params"]
    assert jax.tree.map(jnp.shape, params) == {"cell": {"b": (20,), "w_h": (5, 20), "w_x": (3, 20)}}
    assert set(
        Cell(lj.LSTM(3, 5)).init(jax.random.key(0), lj.LSTMCarry(*jnp.zeros((2, 4, 5))), XS[:, 0])["params"]
    ) == {
        "b",
        "w_h",
        "w_x",
    }


def test_variables_survive_flaxs_serialization():
    module = Recurrent(lj.Stack((lj.Recurrent(lj.GRU(3, 4)),)))
    variables = module.init(jax.random.key(0), XS)
    blank = jax.tree.map(jnp.zeros_like, variables)
    same(serialization.from_bytes(blank, serialization.to_bytes(variables)), variables)


def test_parameters_are_drawn_by_the_cell():
    layer = lj.Recurrent(lj.LSTM(3, 4, b_init=lj.inits.KeepBias(2.0)))
    module = Recurrent(layer)
    params, other = (module.init(jax.random.key(k), XS)["params"]["cell"] for k in (0, 1))
    same(params["b"], jnp.repeat(jnp.array([0.0, 2.0, 0.0, 0.0]), 4))
    for gate in jnp.split(params["w_h"], 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), atol=1e-5)
    assert not np.allclose(params["w_x"], other["w_x"])
    half = Recurrent(layer, param_dtype=jnp.bfloat16).init(jax.random.key(0), XS.astype(jnp.bfloat16))
    assert {p.dtype for p in jax.tree.leaves(half)} == {jnp.dtype(jnp.bfloat16)}


INITS = {
    "kernel_init": nn.initializers.constant(2.0),
    "recurrent_kernel_init": nn.initializers.orthogonal(),
    "bias_init": nn.initializers.constant(3.0),
}


@pytest.mark.parametrize("make", [
    lambda **o: (Recurrent(lj.Bidirectional(lj.GRU(3, 4)), **o), (XS,), lambda p: p["backward"]["cell"]),
    lambda **o: (Recurrent(lj.Stack((lj.Recurrent(lj.GRU(3, 4)),)), **o), (XS,), lambda p: p["layers_0"]["cell"]),
    lambda **o: (Cell(lj.GRU(3, 4), **o), (jnp.zeros((4, 4)), XS[:, 0]), lambda p: p),
])  # fmt: skip
def test_flaxs_initialisers_are_called_once_a_gate(make):
    module, inputs, find = make(**INITS)
    params = find(module.init(jax.random.key(0), *inputs)["params"])
    assert (params["w_x"] == 2).all() and (params["b"] == 3).all() and (params["b_hn"] == 3).all()
    for gate in jnp.split(params["w_h"], 3, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), atol=1e-5)


def test_an_initialiser_for_what_a_cell_has_not():
    @dataclasses.dataclass(frozen=True)
    class Bare:
        project = None

    with pytest.raises(ValueError, match=r"`layer`: expected cells with the options w_x_init, got"):
        initialise(Bare(), jax.random.key(0), jnp.float32, {"kernel": INITS["kernel_init"]}, nn.unbox, lambda *_: None)


def partitioned(**options):
    inits = {
        "kernel_init": nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model")),
        "recurrent_kernel_init": nn.with_partitioning(nn.initializers.orthogonal(), ("data", "model")),
        "bias_init": nn.with_partitioning(nn.initializers.zeros_init(), ("model",)),
    }
    return Recurrent(lj.Recurrent(lj.GRU(3, 4), learned_carry=True), **inits, **options)


def test_partitioning_metadata():
    module = partitioned()
    variables = module.init(jax.random.key(0), XS)
    spec = nn.get_partition_spec(variables)["params"]
    cell = {name: tuple(part) for name, part in spec["cell"].items()}
    assert cell == {"w_x": (None, "model"), "w_h": ("data", "model"), "b": ("model",), "b_hn": ("model",)}
    assert tuple(spec["carry"]) == ()
    plain = nn.unbox(variables)
    same(module.apply(variables, XS), module.apply(plain, XS))
    same(
        jax.grad(lambda v: weigh(module.apply(v, XS)))(variables), jax.grad(lambda v: weigh(module.apply(v, XS)))(plain)
    )


def test_partitioned_variables_on_devices():
    mesh = jax.make_mesh((1, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    module = partitioned()
    expected = module.apply(nn.unbox(module.init(jax.random.key(0), XS)), XS)
    with jax.set_mesh(mesh):
        spec = nn.get_partition_spec(jax.eval_shape(module.init, jax.random.key(0), XS))
        places = jax.tree.map(lambda s: jax.sharding.NamedSharding(mesh, s), spec)
        variables = jax.jit(module.init, out_shardings=places)(jax.random.key(0), XS)
        assert variables["params"]["cell"]["w_x"].value.sharding.spec == jax.sharding.PartitionSpec(None, "model")
        close(jax.jit(module.apply)(variables, XS), expected)


class Wrapped(nn.Module):
    """The module under a lifted transformation."""

    lift: object

    @nn.compact
    def __call__(self, xs, lengths):
        return self.lift(Recurrent)(lj.Bidirectional(lj.GRU(3, 4)), name="rnn")(xs, lengths=lengths)


@pytest.mark.parametrize("lift", [nn.remat, nn.jit], ids=["remat", "jit"])
def test_lifted_transformations(lift):
    plain, lifted = Wrapped(lambda module: module), Wrapped(lift)
    variables = plain.init(jax.random.key(0), XS, LENGTHS)

    def graded(module):
        return jax.value_and_grad(lambda v: weigh(module.apply(v, XS, LENGTHS)))(variables)

    close(graded(lifted), graded(plain))


def test_vmap_makes_ensembles():
    lift = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "axis_size": 3}
    many = nn.vmap(Recurrent, in_axes=None, metadata_params={nn.PARTITION_NAME: "seed"}, **lift)
    inits = {"kernel_init": nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))}
    module = many(lj.LSTM(3, 4), **inits)
    variables = module.init(jax.random.key(0), XS)
    boxed = variables["params"]["cell"]["w_x"]
    assert boxed.names == ("seed", None, "model") and boxed.value.shape == (3, 3, 16)
    assert not np.allclose(boxed.value[0], boxed.value[1])
    ys = module.apply(variables, XS)
    one = Recurrent(lj.LSTM(3, 4))
    for seed in range(3):
        params = jax.tree.map(lambda p, seed=seed: p[seed], nn.unbox(variables))
        close(ys[seed], one.apply(params, XS))


@pytest.mark.parametrize("name", [*BASE, "peephole", "projected", "slstm", "scrn", "lru"])
@pytest.mark.parametrize("lengths", [None, LENGTHS[:3]], ids=["whole", "lengths"])
def test_a_cell_in_flaxs_own_loop(name, lengths):
    cell, xs = CELLS[name].make(3, 4), XS[:3]
    params = random_params(cell, 1)

    def theirs(params, xs):
        module = nn.RNN(Cell(cell), return_carry=True)
        carry, ys = module.apply({"params": {"cell": tree.to_dict(params)}}, xs, seq_lengths=lengths)
        return weigh((carry, ys[0])), (carry, ys[0])

    def ours(params, xs):
        carry, ys = lj.scan(cell, params, jnp.swapaxes(xs, 0, 1), lengths=lengths)
        return weigh((carry, ys[:4, 0] if lengths is not None else ys[:, 0])), (carry, ys[:, 0])

    (d_params, d_xs), (carry, ys) = jax.grad(ours, (0, 1), has_aux=True)(params, xs)
    if lengths is None:
        close(jax.grad(theirs, (0, 1), has_aux=True)(params, xs), ((d_params, d_xs), (carry, ys)))
    else:  # Flax lets outputs run on past the end of a sequence
        close(theirs(params, xs)[1][0], carry)


def test_cells_in_flaxs_bidirectional_and_scan():
    layer = lj.Bidirectional(lj.LSTM(3, 4))
    params = random_params(layer, 1)
    module = nn.Bidirectional(nn.RNN(Cell(layer.cell)), nn.RNN(Cell(layer.cell)))
    named = {
        "forward_rnn": {"cell": tree.to_dict(params.forward.cell)},
        "backward_rnn": {"cell": tree.to_dict(params.backward.cell)},
    }
    xs = jnp.swapaxes(XS, 0, 1)
    close(module.apply({"params": named}, XS), jnp.swapaxes(layer(params, xs)[1], 0, 1))

    lift = {"variable_broadcast": "params", "split_rngs": {"params": False}, "in_axes": 1, "out_axes": 1}
    scanned = nn.scan(Cell, **lift)(layer.cell)
    first = layer.cell.initial_carry(params.forward.cell, (4,))
    carry, ys = scanned.apply({"params": tree.to_dict(params.forward.cell)}, first, XS)
    close((carry, jnp.swapaxes(ys, 0, 1)), lj.scan(layer.cell, params.forward.cell, xs))


def test_names_that_are_missing_are_named():
    params = tree.to_dict(random_params(lj.Recurrent(lj.LSTM(3, 4))))
    module = Recurrent(lj.LSTM(3, 4))
    with pytest.raises(ValueError, match="`params`: expected keys cell, got keys w_x, w_h, b"):
        module.apply({"params": params["cell"]}, XS)
    params["cell"].pop("w_h")
    with pytest.raises(ValueError, match=r"`params.cell`: expected keys w_x, w_h, b, got keys w_x, b"):
        module.apply({"params": params}, XS)
    with pytest.raises(ValueError, match="`cell`: expected a cell, such as LSTM"):
        Cell(lj.Recurrent(lj.LSTM(3, 4))).init(jax.random.key(0), jnp.zeros((4, 4)), XS[:, 0])


def test_keys_of_the_older_kind():
    layer = lj.Stack((lj.Recurrent(lj.LSTM(3, 4)), lj.Recurrent(lj.LSTM(4, 4))), dropout=0.5)
    module = Recurrent(layer)
    variables = module.init(jax.random.PRNGKey(0), XS)
    same(variables, module.init(jax.random.key(0), XS))
    old, new = ({"dropout": key} for key in (jax.random.PRNGKey(1), jax.random.key(1)))
    same(module.apply(variables, XS, rngs=old), module.apply(variables, XS, rngs=new))


def test_an_initialiser_sees_only_the_shape_of_a_gate():
    module = Recurrent(lj.GRU(3, 4), bias_init=nn.initializers.constant(jnp.arange(4.0)))
    same(module.init(jax.random.key(0), XS)["params"]["cell"]["b"], jnp.tile(jnp.arange(4.0), 3))


def test_a_gate_need_not_divide_among_devices():
    mesh = jax.make_mesh((2,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    init = nn.with_partitioning(nn.initializers.zeros_init(), ("model",))
    with jax.set_mesh(mesh):
        variables = Recurrent(lj.LSTM(3, 3), bias_init=init).init(jax.random.key(0), XS)
    assert variables["params"]["cell"]["b"].names == ("model",)


def test_a_cell_in_bfloat16():
    module = nn.RNN(Cell(lj.LSTM(3, 4), dtype=jnp.bfloat16), return_carry=True)
    variables = module.init(jax.random.key(0), XS)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    carry, ys = module.apply(variables, XS)
    assert {x.dtype for x in (*carry, ys)} == {jnp.dtype(jnp.bfloat16)}


def test_dropout_that_is_wanted_needs_its_stream():
    layer = lj.Stack((lj.Recurrent(lj.LSTM(3, 4)), lj.Recurrent(lj.LSTM(4, 4))), dropout=0.5)
    module = Recurrent(layer, deterministic=False)
    variables = Recurrent(layer).init(jax.random.key(0), XS)
    with pytest.raises(InvalidRngError, match="dropout"):
        module.apply(variables, XS)


class Before(nn.Module):
    @nn.compact
    def __call__(self, xs):
        xs = nn.Dense(3)(xs)
        xs = nn.RNN(nn.OptimizedLSTMCell(4))(xs)
        return nn.Dense(2)(xs)


class After(nn.Module):
    @nn.compact
    def __call__(self, xs):
        xs = nn.Dense(3)(xs)
        xs = Recurrent(lj.LSTM(3, 4))(xs)
        return nn.Dense(2)(xs)


def test_a_trained_model_of_flaxs_own_loop_goes_on_in_ours():
    before, after = Before(), After()
    params = before.init(jax.random.key(0), XS)["params"]
    optimizer = optax.adam(1e-2)
    state = optimizer.init(params)

    def loss(params, module):
        return jnp.mean(jnp.square(module.apply({"params": params}, XS) - 1))

    with jax.numpy_dtype_promotion("standard"):
        for _ in range(5):
            updates, state = optimizer.update(jax.grad(loss)(params, before), state)
            params = optax.apply_updates(params, updates)

    layer = lj.Recurrent(lj.LSTM(3, 4))
    switched = dict(params)
    switched["Recurrent_0"] = tree.to_dict(convert.from_linen(layer, switched.pop("OptimizedLSTMCell_0")))
    assert jax.tree.map(jnp.shape, switched) == jax.tree.map(jnp.shape, after.init(jax.random.key(0), XS)["params"])
    close(after.apply({"params": switched}, XS), before.apply({"params": params}, XS))
    close(loss(switched, after), loss(params, before))


def test_a_cell_that_draws_is_for_recurrent():
    """Flax's loops hand no key on: a cell in them would keep its noise to itself."""
    cell = lj.Zoneout(lj.LSTM(3, 4), rates=0.3)
    with pytest.raises(ValueError, match="`cell`: expected a cell that draws nothing"):
        Cell(cell).init(jax.random.key(0), cell.initial_carry(cell.init(jax.random.key(0))), XS[0, 0])
    module = Recurrent(cell)
    variables = module.init(jax.random.key(0), XS)
    one, other = (module.apply(variables, XS, rngs={"dropout": jax.random.key(k)}) for k in (1, 2))
    assert np.abs(np.asarray(one - other)).max() > 0.01
    close(module.apply(variables, XS), module.apply(variables, XS, deterministic=True))
