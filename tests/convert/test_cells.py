"""Every cell of every library: its outputs and gradients are ours, and its weights come back."""

import jax
import jax.numpy as jnp
import pytest

import lstm_jax as lj
from lstm_jax import convert
from tests.contenders import IMPLEMENTATIONS, close, random_like, random_params, same, serves, weigh
from tests.convert.peers import HIDDEN, INPUT, PEERS

NEEDS = {"equinox": "equinox", "haiku": "haiku", "keras": "keras"}


@pytest.fixture(params=PEERS)
def peer(request):
    if module := NEEDS.get(request.param.partition("-")[0]):
        pytest.importorskip(module)
    with jax.numpy_dtype_promotion("standard"):
        return PEERS[request.param]()


def test_outputs_and_gradients(peer):
    xs = random_like(jax.ShapeDtypeStruct((5, 3, INPUT), jnp.float32), 2)

    def graded(run):
        def loss(source, xs):
            ys = run(source, xs)
            return weigh(ys), ys

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(peer.source, xs)

    with jax.numpy_dtype_promotion("standard"):
        (d_source, d_xs), ys = graded(peer.run)
    for implementation in IMPLEMENTATIONS:
        if serves(implementation, peer.cell):

            def ours(source, xs, implementation=implementation):
                return lj.scan(peer.cell, peer.read(peer.cell, source), xs, implementation=implementation)[1]

            (our_d_source, our_d_xs), our_ys = graded(ours)
            close(our_ys, ys)
            close(our_d_xs, d_xs)
            close(our_d_source, d_source)


def test_ours_to_theirs_to_ours_is_exact(peer):
    params = random_params(peer.cell, 3)
    if peer.lacks:
        with pytest.raises(ValueError, match=rf"`params.{peer.lacks}`: expected zeros for gate n: .*GRUCell has none"):
            peer.write(peer.cell, params)
        params = params._replace(**{peer.lacks: jnp.zeros_like(getattr(params, peer.lacks))})
    back = peer.read(peer.cell, peer.write(peer.cell, params))
    if peer.rounds:
        b, size = getattr(params, peer.rounds), peer.cell.hidden_size
        off = jnp.abs(getattr(back, peer.rounds) - b)
        assert off.max() <= jnp.finfo(b.dtype).eps, "one rounding of a number under 2"
        assert not off[:size].any() and not off[2 * size :].any(), "where nothing is added, nothing is rounded"
        back = back._replace(**{peer.rounds: b})
    same(back, params)


def test_theirs_to_ours_to_theirs_is_the_same_function(peer):
    xs = random_like(jax.ShapeDtypeStruct((5, 3, INPUT), jnp.float32), 2)
    back = peer.write(peer.cell, peer.read(peer.cell, peer.source))
    assert jax.tree.structure(back) == jax.tree.structure(peer.source)
    with jax.numpy_dtype_promotion("standard"):
        close(peer.run(back, xs), peer.run(peer.source, xs))


@pytest.mark.parametrize("cell", [lj.LSTM, lj.GRU, lj.Elman])
@pytest.mark.parametrize("library", ["torch", "keras", "equinox", "haiku", "linen", "nnx", "cudnn"])
def test_a_cell_without_biases_comes_back(library, cell):
    options = {"reset_after": False} if (library, cell) == ("haiku", lj.GRU) else {}
    options |= {"activation": "relu"} if (library, cell) == ("haiku", lj.Elman) else {}
    layer = lj.Recurrent(cell(INPUT, HIDDEN, use_bias=False, **options))
    params = random_params(layer, 3)
    read, write = getattr(convert, f"from_{library}"), getattr(convert, f"to_{library}")
    if (library, cell) in [("equinox", lj.Elman), ("cudnn", lj.GRU), ("cudnn", lj.Elman)]:
        with pytest.raises(ValueError, match="has too"):
            write(layer, params)
    else:
        same(read(layer, write(layer, params)), params)


def test_nnx_gru_with_the_bias_to_come():
    """github.com/google/flax/pull/5595 names it; no release has it yet, so its equations are taken from linen's."""
    cell = lj.GRU(INPUT, HIDDEN)
    params = random_params(cell, 3)
    written = convert.to_nnx(cell, params, cell_type="GRUCell with hn_bias")
    same(written["hn_bias"], params.b_hn)
    same(convert.from_nnx(cell, written), params)
    written.pop("hn_bias")
    same(convert.from_nnx(cell, written), params._replace(b_hn=jnp.zeros_like(params.b_hn)))


def test_modules_themselves_are_read():
    from flax import nnx

    for cell, module in [
        (lj.LSTM(INPUT, HIDDEN), nnx.OptimizedLSTMCell(INPUT, HIDDEN, rngs=nnx.Rngs(0))),
        (lj.LSTM(INPUT, HIDDEN), nnx.LSTMCell(INPUT, HIDDEN, rngs=nnx.Rngs(0))),
        (lj.GRU(INPUT, HIDDEN), nnx.GRUCell(INPUT, HIDDEN, rngs=nnx.Rngs(0))),
        (lj.Elman(INPUT, HIDDEN), nnx.SimpleCell(INPUT, HIDDEN, rngs=nnx.Rngs(0))),
    ]:
        params = convert.from_nnx(cell, module)
        same(convert.from_nnx(cell, nnx.state(module, nnx.Param)), params)
        nnx.update(module, jax.tree.map(jnp.zeros_like, nnx.state(module, nnx.Param)))
        nnx.update(module, convert.to_nnx(cell, params, cell_type=type(module).__name__))
        same(convert.from_nnx(cell, module), params)


def test_an_equinox_module_is_read():
    eqx = pytest.importorskip("equinox")
    cell = lj.GRU(INPUT, HIDDEN)
    module = eqx.nn.GRUCell(INPUT, HIDDEN, key=jax.random.key(0))
    params = convert.from_equinox(cell, module)
    same(params.b_hn, module.bias_n)
    same(convert.to_equinox(cell, params)["weight_hh"], module.weight_hh)


def test_haiku_modules_by_their_names():
    cell = lj.LSTM(INPUT, HIDDEN)
    params = random_params(cell, 3)
    written = convert.to_haiku(cell, params, name="net/~/lstm_1")
    assert list(written) == ["net/~/lstm_1/linear"]
    written |= convert.to_haiku(cell, random_params(cell, 4), name="net/~/lstm")
    same(convert.from_haiku(cell, written, name="net/~/lstm_1").w_h, params.w_h)
    with pytest.raises(ValueError, match=r"`source`: expected parameters of a module 'lstm', got"):
        convert.from_haiku(cell, written)


def test_partitioned_parameters_of_linen():
    from flax import linen as nn

    init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    module = nn.GRUCell(HIDDEN, kernel_init=init)
    x = jnp.zeros((1, INPUT))
    boxed = module.init(jax.random.key(0), jnp.zeros((1, HIDDEN)), x)["params"]
    cell = lj.GRU(INPUT, HIDDEN)
    same(convert.from_linen(cell, boxed), convert.from_linen(cell, nn.unbox(boxed)))


def test_layers_nest_as_pairs_and_tuples():
    layer = lj.Stack((lj.Bidirectional(lj.GRU(3, 4), learned_carry=True), lj.Recurrent(lj.LSTM(8, 4))))
    params = random_params(layer, 3)
    with pytest.raises(ValueError, match=r"`params.carry`: expected zeros: a learned first carry has no place"):
        convert.to_linen(layer, params)
    forward, backward = (p._replace(carry=jnp.zeros_like(p.carry)) for p in params[0])
    params = (lj.BidirectionalParams(forward, backward), params[1])
    (first, second), top = convert.to_linen(layer, params)
    assert set(first) == set(second) == {"ir", "iz", "in", "hr", "hz", "hn"} and len(top) == 8
    same(convert.from_linen(layer, [(first, second), top]), params)
