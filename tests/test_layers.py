"""Layers and networks: against the float64 loop, as streams, with dropout, residuals and learned carries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax.models import MLP, Linear, Network
from tests.contenders import (
    BASE,
    CELLS,
    Arrays,
    close,
    contenders,
    cut,
    draw,
    oracle_scan,
    random_like,
    random_params,
    same,
    sharpest,
    weigh,
)

LENGTHS = jnp.array([0, 5, 2], jnp.int32)
VALID = np.arange(5)[:, None] < np.asarray(LENGTHS)


def sequence(size=3, seed=1, dtype=jnp.float32, time=5):
    return random_like(jax.ShapeDtypeStruct((time, 3, size), dtype), seed, scale=1.0)


def random_carry(layer, params, seed=2):
    return random_like(jax.eval_shape(lambda: layer.initial_carry(params, (3,))), seed)


@contenders(*BASE)
def test_stacked_and_bidirectional_are_the_equations(x64, name, implementation):
    make = CELLS[name].make
    layer = lj.Stack((lj.Recurrent(make(3, 4), reverse=True), lj.Bidirectional(make(4, 2), make(4, 3))))
    dtype = sharpest(implementation)
    params = random_params(layer, dtype=dtype)
    carry = random_carry(layer, params)
    xs = sequence(dtype=dtype)
    resets = draw(make(3, 4), batch=(3,)).resets
    options = {"lengths": LENGTHS, "resets": resets, "implementation": implementation}
    last, ys = jax.jit(lambda *a: layer(*a, **options))(params, xs, carry)

    def expected(params, xs, carry, reverse):
        return oracle_scan(name, Arrays(params.cell, xs, carry, None, LENGTHS, resets), reverse)[:2]

    below, middle = expected(params[0], xs, carry[0], True)
    forward, left = expected(params[1].forward, middle, carry[1].forward, False)
    backward, right = expected(params[1].backward, middle, carry[1].backward, True)
    close(jax.tree.leaves(last), [*below, *forward, *backward])
    close(ys, np.concatenate([left, right], -1))
    close(layer.last(ys, LENGTHS), np.concatenate([end(left, VALID), right[0]], -1))


def end(ys, valid):
    """The output of each sequence's last valid step, zeros where there is none."""
    out = np.zeros(ys.shape[1:])
    for b, count in enumerate(valid.sum(0)):
        if count:
            out[b] = ys[count - 1, b]
    return out


@contenders("lstm", "gru", "elman-tanh")
@pytest.mark.parametrize("learned", [False, True])
def test_streams(name, implementation, learned):
    """Step by step, and in two parts: as one pass."""
    make = CELLS[name].make
    layer = lj.Stack(
        (lj.Recurrent(make(3, 4), learned_carry=learned), lj.Recurrent(make(4, 4))), residual=True, dropout=0.5
    )
    params = random_params(layer)
    xs = sequence()
    last, ys = jax.jit(lambda p, x: layer(p, x, implementation=implementation))(params, xs)
    carry, outputs = layer.initial_carry(params, (3,)), []
    step = jax.jit(layer.step)
    for x in xs:
        carry, y = step(params, carry, x)
        outputs.append(y)
    close((carry, jnp.stack(outputs)), (last, ys))
    halfway, early = layer(params, xs[:2], implementation=implementation)
    carry, late = layer(params, xs[2:], halfway, implementation=implementation)
    close((carry, jnp.concatenate([early, late])), (last, ys))


def test_what_looks_ahead_does_not_stream():
    cell = lj.GRU(3, 4)
    for layer in (lj.Bidirectional(cell), lj.Recurrent(cell, reverse=True), lj.Stack((lj.Bidirectional(cell),))):
        params = random_params(layer)
        with pytest.raises(ValueError, match="`step`: expected a causal layer, got"):
            layer.step(params, layer.initial_carry(params), jnp.zeros(3))


@contenders("lstm", "gru", "elman-tanh")
@pytest.mark.parametrize("reverse", [False, True])
def test_a_learned_carry_is_where_sequences_and_episodes_start(x64, name, implementation, reverse):
    layer = lj.Recurrent(CELLS[name].make(3, 4), reverse=reverse, learned_carry=True)
    dtype = sharpest(implementation)
    params = random_params(layer, dtype=dtype)
    xs = sequence(dtype=dtype)
    resets = jnp.zeros((5, 3), bool).at[2, 1].set(True)

    def everywhere(p):
        return jax.tree.map(lambda c: jnp.broadcast_to(c, (3, 4)), p.carry)

    def loss(p, by_layer):
        if by_layer:
            out = layer(p, xs, resets=resets, implementation=implementation)
        else:
            start = everywhere(p)
            out = lj.scan(layer.cell, p.cell, xs, start, resets=resets, reset_carry=start, reverse=reverse)
        return weigh(out), out

    graded = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
    found, expected = graded(params, True), graded(params, False)
    close(found, expected)
    assert all(np.abs(np.asarray(g)).min() > 1e-6 for g in jax.tree.leaves(found[0].carry))
    cold = oracle_scan(name, Arrays(params.cell, xs, everywhere(params), everywhere(params), None, resets), reverse)
    close(jax.tree.leaves(found[1]), [*cold[0], cold[1]])
    # A carry that is given comes first; the learned one still starts every episode.
    given = random_carry(layer, params)
    warm = oracle_scan(name, Arrays(params.cell, xs, given, everywhere(params), None, resets), reverse)
    close(jax.tree.leaves(layer(params, xs, given, resets=resets, implementation=implementation)), [*warm[0], warm[1]])


def test_a_learned_carry_begins_at_the_cells_own():
    layer = lj.Bidirectional(lj.LSTM(3, 4), learned_carry=True)
    params = layer.init(jax.random.key(0))
    assert len(jax.tree.leaves(params)) == 2 * (3 + 2) and not any(np.asarray(c).any() for c in params.forward.carry)
    assert lj.Recurrent(lj.LSTM(3, 4)).init(jax.random.key(0)).carry is None


def test_both_directions_have_parameters_of_their_own():
    layer = lj.Bidirectional(lj.GRU(3, 4))
    params = layer.init(jax.random.key(0))
    assert np.abs(np.asarray(params.forward.cell.w_h - params.backward.cell.w_h)).max() > 0.1
    stack = lj.Stack((lj.Recurrent(lj.GRU(4, 4)), lj.Recurrent(lj.GRU(4, 4)))).init(jax.random.key(0))
    assert np.abs(np.asarray(stack[0].cell.w_h - stack[1].cell.w_h)).max() > 0.1


class TestDropout:
    """Seen through a top layer without memory that reports what it is fed: relu(x + 10)."""

    below = lj.Elman(3, 64)
    above = lj.Elman(64, 64, activation="relu")
    rate = 0.25

    def layer(self, rate=rate, residual=False):
        return lj.Stack((lj.Recurrent(self.below), lj.Recurrent(self.above)), dropout=rate, residual=residual)

    def params(self):
        below = random_params(lj.Recurrent(self.below))
        identity = lj.ElmanParams(jnp.eye(64), jnp.zeros((64, 64)), jnp.full(64, 10.0))
        return below, lj.RecurrentParams(identity)

    def fed(self, key, time=50):
        """What the top layer was fed, and what the layer below had given."""
        params, xs = self.params(), sequence(time=time)
        _, below = lj.scan(self.below, params[0].cell, xs)
        _, ys = self.layer()(params, xs, key=key)
        return np.asarray(ys) - 10, np.asarray(below)

    def test_it_drops_and_scales(self):
        fed, below = self.fed(jax.random.key(0))
        kept = np.abs(fed) > 1e-5
        np.testing.assert_allclose(fed[kept], below[kept] / (1 - self.rate), atol=2e-5)
        clear = np.abs(below) > 1e-3
        assert kept[clear].mean() == pytest.approx(1 - self.rate, abs=0.02)

    def test_every_step_sequence_and_key_has_a_mask_of_its_own(self):
        dropped = np.abs(self.fed(jax.random.key(0))[0]) <= 1e-5
        other = np.abs(self.fed(jax.random.key(1))[0]) <= 1e-5
        for one, another in ((dropped[0], dropped[1]), (dropped[:, 0], dropped[:, 1]), (dropped, other)):
            both = (one & another).mean()
            assert both == pytest.approx(self.rate**2, abs=0.05)

    def test_without_a_key_or_a_rate_nothing_is_dropped(self):
        params, xs = self.params(), sequence()
        calm = self.layer()(params, xs)
        same(calm, self.layer(rate=0.0)(params, xs))
        close(self.layer(rate=0.0)(params, xs, key=jax.random.key(0)), calm)

    def test_the_residual_adds_what_the_layer_was_fed(self):
        params, xs, key = self.params(), sequence(), jax.random.key(0)
        _, plain = self.layer()(params, xs, key=key)
        _, summed = self.layer(residual=True)(params, xs, key=key)
        close(summed, plain + (plain - 10))

    @pytest.mark.parametrize("rate", [0.0, 0.5])
    def test_dropout_itself(self, rate):
        x = jnp.ones(4000)
        out = np.asarray(lj.layers.dropout(jax.random.key(0), x, rate))
        assert set(np.unique(out)) == ({1.0} if rate == 0 else {0.0, 2.0})
        assert out.mean() == pytest.approx(1, abs=0.05)

    def test_the_kernel_stays(self, monkeypatch):
        called = []
        name = lj.kernels.explain(lj.LSTM(3, 4), sequence()).chosen
        kernel = lj.kernels.TABLE[name]
        spied = kernel._replace(run=lambda *args: called.append(1) or kernel.run(*args))
        monkeypatch.setitem(lj.kernels.TABLE, name, spied)
        self.layer()(self.params(), sequence(), key=jax.random.key(0))
        assert len(called) == 2


@pytest.mark.parametrize("residual", [False, True])
def test_residual_stack(residual):
    layer = lj.Stack(tuple(lj.Recurrent(lj.GRU(d, 4)) for d in (3, 4, 4)), residual=residual)
    params, xs = random_params(layer), sequence()
    _, ys = layer(params, xs, lengths=LENGTHS)
    here = xs
    for i, p in enumerate(params):
        out = oracle_scan("gru", Arrays(p.cell, here, None, None, LENGTHS))[1]
        here = out + here if residual and i > 0 else out
    close(ys, here)
    assert not np.asarray(ys)[~VALID].any()


def mlp_by_hand(params, x, activation):
    for i, (w, b) in enumerate(params):
        x = (activation(x) if i > 0 else x) @ np.asarray(w, np.float64) + np.asarray(b, np.float64)
    return x


@pytest.mark.parametrize(
    ("name", "activation"),
    [("relu", lambda a: np.maximum(a, 0)), ("tanh", np.tanh), ("sigmoid", lambda a: 1 / (1 + np.exp(-a)))],
)
def test_mlp(name, activation):
    for sizes in ((4, 2), (4, 5, 3, 2)):
        mlp = MLP(sizes, activation=name)
        params = random_params(mlp)
        x = random_like(jnp.zeros((5, 3, 4)), 4)
        close(mlp(params, x), mlp_by_hand(params, np.asarray(x, np.float64), activation))
        close(mlp(params, x[0, 0]), mlp(params, x)[0, 0])
    assert Linear(4, 2) == MLP((4, 2))
    fresh = MLP((40, 60, 2)).init(jax.random.key(0))
    assert not np.asarray(fresh[0].b).any() and 0.2 < np.abs(np.asarray(fresh[0].w)).max() <= np.sqrt(6 / 100)


LAYERS = {
    "forward": lambda make: lj.Recurrent(make(3, 4)),
    "reverse": lambda make: lj.Recurrent(make(3, 4), reverse=True),
    "both": lambda make: lj.Bidirectional(make(3, 2), make(3, 2)),
    "stack": lambda make: lj.Stack((lj.Bidirectional(make(3, 2)), lj.Recurrent(make(4, 4)))),
}


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("kind", LAYERS)
def test_network_reads_every_step_or_the_last(kind, lengths):
    layer = LAYERS[kind](lj.LSTM)
    every, last = (Network(layer, MLP((4, 5, 2)), at=at) for at in ("every", "last"))
    params, xs = random_params(every), sequence()
    carry, ys = jax.jit(layer)(params.layer, xs, lengths=lengths)
    options = {"lengths": lengths, "chunk": 2, "implementation": "xla"}
    found, outputs = jax.jit(lambda p, x: every(p, x, **options))(params, xs)
    close((found, outputs), (carry, every.readout(params.readout, ys)))
    valid = VALID if lengths is not None else np.ones((5, 3), bool)
    ys = np.asarray(ys)
    ends = {
        "forward": lambda: end(ys, valid),
        "reverse": lambda: ys[0],
        "both": lambda: np.concatenate([end(ys[..., :2], valid), ys[0, :, 2:]], -1),
        "stack": lambda: end(ys, valid),
    }
    expected = mlp_by_hand(params.readout, ends[kind](), lambda a: np.maximum(a, 0))
    close(jax.jit(lambda p, x: last(p, x, **options))(params, xs)[1], expected)
    # What a direction ends with is its carry, for sequences that took a step.
    if kind in ("forward", "reverse"):
        close(carry.h, ends[kind]())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_shortcut_shows_the_readout_each_steps_input(dtype):
    layer = LAYERS["stack"](lj.LSTM)
    network = Network(layer, MLP((7, 5, 2)), shortcut=True)
    params = random_params(network)
    params, xs = jax.tree.map(lambda x: jnp.asarray(x, dtype), (params, sequence()))
    carry, outputs = network(params, xs, lengths=LENGTHS)
    last, ys = layer(params.layer, xs, lengths=LENGTHS)
    same((carry, outputs), (last, network.readout(params.readout, jnp.concatenate([ys, xs], -1))))
    assert outputs.dtype == jnp.float32


def test_no_steps_have_no_last_output():
    layer = lj.Bidirectional(lj.GRU(3, 2))
    params = random_params(layer)
    _, ys = layer(params, sequence(time=0))
    same(layer.last(ys), jnp.zeros((3, 4)))


def test_a_network_trains_through_lengths():
    """Padding moves neither the loss nor a gradient of the whole network."""
    network = Network(LAYERS["stack"](lj.GRU), MLP((4, 2)), at="last")
    params, xs = random_params(network), sequence()
    graded = jax.jit(jax.value_and_grad(lambda p, x: weigh(network(p, x, lengths=LENGTHS)[1])))
    poisoned = jnp.asarray(np.where(VALID[..., None], xs, np.nan))
    same(graded(params, poisoned), graded(params, xs))
    assert all(np.abs(np.asarray(g)).max() > 1e-3 for g in jax.tree.leaves(cut(graded(params, xs)[1], ...)))
