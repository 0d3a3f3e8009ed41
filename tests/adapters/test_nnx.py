"""What only nnx has: modules with state, their transformations, metadata of variables, its own loops for cells."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lstm_jax as lj
from lstm_jax import convert, tree
from lstm_jax.adapters.nnx import Cell, Recurrent
from tests.contenders import BASE, CELLS, close, random_like, random_params, same, weigh

XS = random_like(jax.ShapeDtypeStruct((4, 7, 3), jnp.float32), 2, scale=1.0)
LENGTHS = jnp.array([4, 7, 1, 0])
STACK = lj.Stack((lj.Bidirectional(lj.GRU(3, 4)), lj.Recurrent(lj.LSTM(8, 5), learned_carry=True)))


def names(module):
    return sorted("/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module)))


def test_parameters_have_readable_names():
    cell = ["b", "b_hn", "w_h", "w_x"]
    assert names(Recurrent(STACK, rngs=nnx.Rngs(0))) == [
        *(f"layers_0/backward/cell/{name}" for name in cell),
        *(f"layers_0/forward/cell/{name}" for name in cell),
        *(f"layers_1/carry/{name}" for name in ("c", "h")),
        *(f"layers_1/cell/{name}" for name in ("b", "w_h", "w_x")),
    ]
    assert names(Cell(lj.GRU(3, 4), rngs=nnx.Rngs(0))) == cell
    dropping = Recurrent(lj.Stack((lj.Recurrent(lj.GRU(3, 4)),), dropout=0.5), rngs=nnx.Rngs(0))
    assert names(dropping)[-2:] == ["rngs/count", "rngs/key"]


def test_parameters_go_in_and_out():
    module = Recurrent(STACK, rngs=nnx.Rngs(0))
    params = random_params(STACK, 1)
    definition = nnx.graphdef(module)
    module.load(params)
    same(module.params, params)
    with pytest.raises(ValueError, match=r"`params`: expected \(BidirectionalParams"):
        module.load(params[0])
    assert nnx.graphdef(module) == definition, "new numbers compile nothing anew"
    close(module(XS), jnp.swapaxes(STACK(params, jnp.swapaxes(XS, 0, 1))[1], 0, 1))


def test_parameters_are_drawn_by_the_cell():
    layer = lj.Recurrent(lj.LSTM(3, 4, b_init=lj.inits.KeepBias(2.0)))
    params, other = (Recurrent(layer, rngs=nnx.Rngs(k)).params.cell for k in (0, 1))
    same(params.b, jnp.repeat(jnp.array([0.0, 2.0, 0.0, 0.0]), 4))
    for gate in jnp.split(params.w_h, 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), atol=1e-5)
    assert not np.allclose(params.w_x, other.w_x)
    half = Recurrent(layer, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert {p.dtype for p in jax.tree.leaves(half.params)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("make", [
    lambda **o: Recurrent(lj.Bidirectional(lj.GRU(3, 4)), **o).params.backward.cell,
    lambda **o: Recurrent(lj.Stack((lj.Recurrent(lj.GRU(3, 4)),)), **o).params[0].cell,
    lambda **o: lj.GRUParams(*(getattr(Cell(lj.GRU(3, 4), **o), name)[...] for name in lj.GRUParams._fields)),
])  # fmt: skip
def test_flaxs_initialisers_are_called_once_a_gate(make):
    params = make(
        kernel_init=nnx.initializers.constant(2.0),
        recurrent_kernel_init=nnx.initializers.orthogonal(),
        bias_init=nnx.initializers.constant(3.0),
        rngs=nnx.Rngs(0),
    )
    assert (params.w_x == 2).all() and (params.b == 3).all() and (params.b_hn == 3).all()
    for gate in jnp.split(params.w_h, 3, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), atol=1e-5)


def test_partitioning_metadata():
    mesh = jax.make_mesh((1, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    plain = Recurrent(lj.GRU(3, 4), rngs=nnx.Rngs(0))
    with jax.set_mesh(mesh):
        boxed = Recurrent(
            lj.GRU(3, 4),
            kernel_init=nnx.with_partitioning(nnx.initializers.lecun_normal(), (None, "model")),
            recurrent_kernel_metadata={"out_sharding": ("data", "model"), "note": "recurrent"},
            bias_metadata={"out_sharding": ("model",)},
            rngs=nnx.Rngs(0),
        )
        spec = nnx.get_partition_spec(nnx.state(boxed))["cell"]
        found = {name: tuple(part.get_value() or ()) for name, part in spec.items()}
        assert found == {"w_x": (None, "model"), "w_h": ("data", "model"), "b": ("model",), "b_hn": ("model",)}
        assert boxed.cell["w_h"].note == "recurrent"
        assert boxed.cell["w_x"][...].sharding.spec == jax.sharding.PartitionSpec(None, "model")
        nnx.update(boxed, jax.tree.map(np.asarray, tree.to_dict(plain.params)))
        ys = nnx.jit(lambda m, xs: m(xs))(boxed, XS)
    close(ys, plain(XS))


def loss_of(module, xs):
    return weigh(module(xs, lengths=LENGTHS))


def test_transformations_see_through_the_module():
    module = Recurrent(STACK, rngs=nnx.Rngs(0))
    params = module.params
    xs = jnp.swapaxes(XS, 0, 1)
    expected, gradient = jax.value_and_grad(lambda p: weigh(jnp.swapaxes(STACK(p, xs, lengths=LENGTHS)[1], 0, 1)))(
        params
    )
    close(nnx.jit(loss_of)(module, XS), expected)
    value, state = nnx.value_and_grad(loss_of)(module, XS)
    close((value, nnx.to_pure_dict(state)), (expected, tree.to_dict(gradient)))
    close(nnx.to_pure_dict(nnx.jit(nnx.grad(loss_of))(module, XS)), tree.to_dict(gradient))
    close(nnx.remat(loss_of)(module, XS), expected)

    graph, state = nnx.split(module)
    close(loss_of(nnx.merge(graph, state), XS), expected)
    close(jax.jit(lambda state: loss_of(nnx.merge(graph, state), XS))(state), expected)


def test_vmap_makes_ensembles():
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(key):
        return Recurrent(lj.LSTM(3, 4), rngs=nnx.Rngs(key))

    many = make(jax.random.split(jax.random.key(0), 3))
    assert many.cell["w_x"].shape == (3, 3, 16)
    ys = nnx.vmap(lambda module, xs: module(xs), in_axes=(0, None))(many, XS)
    one = Recurrent(lj.LSTM(3, 4), rngs=nnx.Rngs(0))
    for seed in range(3):
        nnx.update(one, jax.tree.map(lambda p, seed=seed: p[seed], nnx.state(many)))
        close(ys[seed], one(XS))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_an_optimizer_trains_it(dropout):
    layer = lj.Stack((lj.Recurrent(lj.LSTM(3, 4)), lj.Recurrent(lj.LSTM(4, 4))), dropout=dropout)
    module = Recurrent(layer, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, optax.adam(1e-2), wrt=nnx.Param)

    def loss(module):
        return jnp.mean(jnp.square(module(XS) - 0.3))

    @nnx.jit
    def step(module, optimizer):
        value, gradient = nnx.value_and_grad(loss)(module)
        optimizer.update(module, gradient)
        return value

    with jax.numpy_dtype_promotion("standard"):
        values = [step(module, optimizer) for _ in range(60)]
    assert values[-1] < 0.5 * values[0]


def test_flaxs_tools_see_the_module():
    module = Recurrent(STACK, rngs=nnx.Rngs(0))
    assert "Total Parameters: 490" in nnx.tabulate(module, XS)
    close(nnx.as_pure(module)(XS), module(XS))
    shapes = nnx.eval_shape(lambda: Recurrent(STACK, rngs=nnx.Rngs(0)))
    assert shapes.layers_1.cell.w_h.shape == (5, 20)


def test_a_view_without_dropout():
    layer = lj.Stack((lj.Recurrent(lj.LSTM(3, 4)), lj.Recurrent(lj.LSTM(4, 4))), dropout=0.5)
    module = nnx.Sequential(Recurrent(layer, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(1)))
    still = nnx.view(module, deterministic=True)
    same(still(XS), still(XS))
    assert not np.allclose(module(XS), module(XS))


def test_train_and_eval():
    layer = lj.Stack((lj.Recurrent(lj.LSTM(3, 4)), lj.Recurrent(lj.LSTM(4, 4))), dropout=0.5)
    module = Recurrent(layer, rngs=nnx.Rngs(0))
    first, second = module(XS), module(XS)
    assert not np.allclose(first, second), "each call draws anew"
    module.eval()
    still = module(XS)
    same(module(XS), still)
    module.train()
    assert not np.allclose(module(XS), still)
    same(module(XS, deterministic=True), still)


def test_keys_reach_cells_that_draw(monkeypatch):
    seen = []
    layer = lj.Recurrent(lj.LSTM(3, 4))
    call = lj.Recurrent.__call__
    monkeypatch.setattr(lj.Recurrent, "__call__", lambda *a, key=None, **o: (seen.append(key), call(*a, **o))[1])
    module = Recurrent(layer, rngs=nnx.Rngs(0))
    module(XS)
    module(XS, rngs=nnx.Rngs(dropout=1))
    module(XS, rngs=nnx.RngStream(1, tag="dropout"))
    module(XS, rngs=jax.random.key(1))
    module(XS, rngs=nnx.Rngs(params=1), deterministic=True)
    assert [key is None for key in seen] == [True, False, False, False, True]


@pytest.mark.parametrize("name", [*BASE, "peephole", "projected", "slstm", "scrn", "lru"])
@pytest.mark.parametrize("lengths", [None, LENGTHS[:3]], ids=["whole", "lengths"])
def test_a_cell_in_flaxs_own_loop(name, lengths):
    cell, xs = CELLS[name].make(3, 4), XS[:3]
    params = random_params(cell, 1)
    inner = Cell(cell, rngs=nnx.Rngs(0))
    nnx.update(inner, tree.to_dict(params))
    carry, ys = nnx.RNN(inner, return_carry=True)(xs, seq_lengths=lengths)
    expected, out = lj.scan(cell, params, jnp.swapaxes(xs, 0, 1), lengths=lengths)
    close(carry, expected)
    if lengths is None:  # Flax lets outputs run on past the end of a sequence
        close(ys, jnp.swapaxes(out, 0, 1))
        gradient = nnx.grad(lambda m: weigh(nnx.RNN(m)(xs)))(inner)
        ours = jax.grad(lambda p: weigh(jnp.swapaxes(lj.scan(cell, p, jnp.swapaxes(xs, 0, 1))[1], 0, 1)))(params)
        close(nnx.to_pure_dict(gradient), tree.to_dict(ours))


def test_cells_in_flaxs_bidirectional():
    layer = lj.Bidirectional(lj.LSTM(3, 4))
    params = random_params(layer, 1)
    cells = [Cell(layer.cell, rngs=nnx.Rngs(0)) for _ in range(2)]
    for cell, direction in zip(cells, params, strict=True):
        nnx.update(cell, tree.to_dict(direction.cell))
    ys = nnx.Bidirectional(*map(nnx.RNN, cells))(XS)
    close(ys, jnp.swapaxes(layer(params, jnp.swapaxes(XS, 0, 1))[1], 0, 1))


def test_what_is_no_cell_and_no_carry():
    with pytest.raises(ValueError, match="`cell`: expected a cell, such as LSTM"):
        Cell(lj.Recurrent(lj.LSTM(3, 4)), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`carry_init`: expected None"):
        Cell(lj.LSTM(3, 4), rngs=nnx.Rngs(0)).initialize_carry((2, 3), carry_init=nnx.initializers.ones)


def test_a_cell_in_bfloat16():
    cell = Cell(lj.LSTM(3, 4), dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert cell.w_x.dtype == jnp.float32
    carry, ys = nnx.RNN(cell, return_carry=True)(XS)
    assert {x.dtype for x in (*carry, ys)} == {jnp.dtype(jnp.bfloat16)}


def test_trained_weights_of_flaxs_own_cells_go_on_in_ours():
    theirs = nnx.RNN(nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(0)))
    ours = Recurrent(lj.LSTM(3, 4), rngs=nnx.Rngs(1))
    ours.load(convert.from_nnx(ours.layer, theirs.cell))
    close(ours(XS), theirs(XS))


def test_a_cell_that_draws_is_for_recurrent():
    """Flax's loops hand no key on: a cell in them would keep its noise to itself."""
    with pytest.raises(ValueError, match="`cell`: expected a cell that draws nothing"):
        Cell(lj.Zoneout(lj.LSTM(3, 4)), rngs=nnx.Rngs(0))
    module = Recurrent(lj.WeightDrop(lj.LSTM(3, 4)), rngs=nnx.Rngs(0))
    assert module.rngs is not None
    one, other = module(XS), module(XS)
    assert np.abs(np.asarray(one - other)).max() > 0.01
    module.eval()
    same(module(XS), module(XS))
