"""What the whole family of cells shares beyond values and gradients; and each cell's own promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import lstm_jax as lj
from tests import test_derivatives, test_scan
from tests.contenders import (
    BASE,
    CELLS,
    SMOOTH,
    close,
    contenders,
    draw,
    evaluate,
    random_like,
    random_params,
    run,
    same,
    weigh,
)

FAMILY = tuple(name for name in CELLS if name not in BASE)


@pytest.mark.parametrize("name", FAMILY)
def test_seeds_with_inputs_of_their_own(name):
    """On what runs a cell by default: the others are the loops' own matter."""
    implementation = lj.kernels.explain(CELLS[name].make(3, 4), jnp.zeros(0)).chosen
    test_derivatives.test_vmap_over_some_arrays_is_a_loop_over_them(name, implementation, "params-inputs")


@contenders(*FAMILY)
def test_one_step_at_a_time(name, implementation):
    test_scan.test_one_step_at_a_time(name, implementation)


@contenders(*FAMILY)
def test_padding_is_never_read(name, implementation):
    test_scan.test_padding_is_never_read(name, implementation, False)


@pytest.mark.parametrize("name", FAMILY)
def test_finite_differences(x64, name):
    """Of both modes of the reference."""
    cell = CELLS[name].make(2, 5 if "layer-norm" in name else 2)  # of two units a norm leaves little but a sign
    arrays = draw(cell, 2, (), jnp.float64)

    @jax.jit
    def loss(*smooth):
        return weigh(run(cell, arrays._replace(**dict(zip(SMOOTH, smooth, strict=True))), implementation="xla"))

    check_grads(loss, arrays[:4], order=1, modes=["rev", "fwd"], atol=1e-4, rtol=1e-4)


def test_what_changes_only_weights_runs_in_the_lstms_kernel():
    cells = [
        lj.PeepholeLSTM(3, 4, peepholes=False),
        lj.PeepholeLSTM(3, 4, peepholes=False, coupled=True),
        lj.PeepholeLSTM(3, 4, peepholes=False, open_gates=("f",)),
        lj.WeightDrop(lj.LSTM(3, 4)),
        lj.WeightDrop(lj.PeepholeLSTM(3, 4, peepholes=False, coupled=True)),
    ]
    for cell in cells:
        assert lj.kernels.explain(cell).chosen == lj.kernels.explain(lj.LSTM(3, 4)).chosen
    for cell in (lj.PeepholeLSTM(3, 4), lj.FullGateLSTM(3, 4, peepholes=False)):
        assert lj.kernels.explain(cell).chosen == "xla_vjp"
    assert lj.kernels.explain(lj.Zoneout(lj.LSTM(3, 4))).chosen == "xla"
    assert lj.kernels.explain(lj.IRNN(3, 4)).chosen == lj.kernels.explain(lj.Elman(3, 4)).chosen


class Noisy(lj.LSTM):
    draws = True

    def project(self, params, x, *, key=None):
        z = super().project(params, x)
        return z if key is None else z + jax.random.normal(key, z.shape, z.dtype)


class Forgetful(lj.GRU):
    def step(self, params, carry, z):
        return super().step(params, jnp.zeros_like(carry), z)


class Lazy(lj.PeepholeLSTM):
    def step(self, params, carry, z):
        return carry, carry.h


def test_a_subclass_is_what_it_says():
    """No kernel takes a cell for the one that it extends."""
    for cell in (Noisy(3, 4), Forgetful(3, 4), Lazy(3, 4, peepholes=False), lj.WeightDrop(Noisy(3, 4), rate=0.0)):
        params, xs, carry, *_ = draw(cell)
        key = jax.random.key(3)
        assert lj.kernels.explain(cell).chosen == "xla"
        expected = lj.scan(cell, params, xs, carry, key=key, implementation="xla")
        same(lj.scan(cell, params, xs, carry, key=key), expected)


@pytest.mark.parametrize("name", ["min-lstm", "min-gru", "lru"])
@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_crosses_a_cut(name, reverse):
    """Not even NaN, and without a loop as little as with one."""
    cell = CELLS[name].make(3, 4)
    params, xs, carry, first, *_ = draw(cell, 6)
    resets = jnp.zeros((6, 3), bool).at[3].set(True)
    xs = xs.at[4 if reverse else 1].set(jnp.nan)
    runs = [
        lj.scan(cell, params, xs, carry, resets=resets, reset_carry=first, reverse=reverse, implementation=i)[1]
        for i in ("xla", "associative")
    ]
    finite = [np.isfinite(np.asarray(ys)).all((1, 2)) for ys in runs]
    np.testing.assert_array_equal(*finite)
    assert finite[0].tolist() == ([True] * 3 + [False] * 2 + [True] if reverse else [True] + [False] * 2 + [True] * 3)
    close(*(jnp.nan_to_num(ys) for ys in runs))


def test_all_gates_may_stand_open():
    """Then the memory is a running sum."""
    cell = lj.PeepholeLSTM(3, 4, open_gates=("i", "f", "o"))
    params, xs, carry, *_ = draw(cell)
    assert params.p is None
    here, c = carry, carry.c
    for x in xs:
        c = c + jnp.tanh(x @ params.w_x + here.h @ params.w_h + params.b)
        here = lj.LSTMCarry(jnp.tanh(c), c)
    close(lj.scan(cell, params, xs, carry)[0], here)


def test_an_open_gate_is_one_to_the_bit():
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        assert jax.nn.sigmoid(jnp.asarray(lj.cells.peephole.OPEN, dtype)) == 1


@pytest.mark.parametrize("heads", [1, 2])
def test_slstms_stabiliser_keeps_large_gates_finite(heads):
    cell = lj.SLSTM(3, 4, heads=heads, forget="exp")
    params = draw(cell, 20, (2,)).params
    for scale in (100.0, -100.0, 1e4):
        (_, ys), gradients = evaluate(
            cell,
            draw(cell, 20, (2,))._replace(
                params=params._replace(b=params.b.at[:8].add(scale)), carry=None, reset_carry=None, lengths=None
            ),
            key=None,
        )
        assert np.isfinite(np.asarray(ys)).all() and np.abs(np.asarray(ys)).max() <= 1
        assert all(np.isfinite(np.asarray(g)).all() for g in jax.tree.leaves(gradients))


def test_an_lru_starts_inside_its_ring():
    params = lj.LRU(3, 500, r_min=0.7, r_max=0.9, max_phase=1.0).init(jax.random.key(0))
    radius = np.exp(-np.exp(np.asarray(params.nu, np.float64)))
    assert radius.min() >= 0.7 - 1e-6 and radius.max() <= 0.9 + 1e-6 and np.ptp(radius) > 0.18
    assert np.asarray(np.exp(params.theta)).max() <= 1.0
    close(jnp.exp(params.gamma), np.sqrt(1 - radius**2), scale=10)


GATED = {
    "lstm": lj.LSTM,
    "peephole": lj.PeepholeLSTM,
    "cifg": functools.partial(lj.PeepholeLSTM, coupled=True),
    "memory-block": functools.partial(lj.MemoryBlockLSTM, block_size=2),
    "projected": functools.partial(lj.ProjectedLSTM, proj_size=2),
    "layer-norm-lstm": lj.LayerNormLSTM,
    "multiplicative": lj.MultiplicativeLSTM,
    "gru": lj.GRU,
    "layer-norm-gru": lj.LayerNormGRU,
    "janet": lj.JANET,
    "mgu": lj.MGU,
    "mgu-reset-after": functools.partial(lj.MGU, reset_after=True),
    "mut1": lj.MUT1,
    "mut2": lj.MUT2,
    "mut3": lj.MUT3,
    "light-gru": lj.LightGRU,
    "min-gru": lj.MinGRU,
    "min-lstm": lj.MinLSTM,
}


@pytest.mark.parametrize("name", GATED)
def test_biases_that_keep_keep(name):
    """With them, and no weights, a cell holds what it has: no gate that writes is taken for one that keeps."""
    inits = [lj.inits.Chrono(1e13)] + [lj.inits.KeepBias(30.0)] * (name != "min-lstm")  # which needs i closed, too
    for init in inits:
        cell = GATED[name](3, 4, b_init=init)
        params = cell.init(jax.random.key(0))
        params = jax.tree.map(jnp.zeros_like, params)._replace(b=params.b)
        _, xs, carry, *_ = draw(cell, 5)
        last, _ = lj.scan(cell, params, xs, carry)
        close(jax.tree.leaves(last)[-1], jax.tree.leaves(carry)[-1], scale=1e3)  # c, or h where it is all there is


def test_blocks_of_one_cell_are_an_lstm():
    blocks, lstm = lj.MemoryBlockLSTM(3, 4), lj.LSTM(3, 4)
    params, xs, *_ = draw(lstm)

    def turned(p):  # i, f, g, o as i, f, o, g
        i, f, g, o = jnp.split(p, 4, axis=-1)
        return jnp.concatenate([i, f, o, g], axis=-1)

    theirs = lj.MemoryBlockParams(*map(turned, params))
    close(lj.scan(blocks, theirs, xs), lj.scan(lstm, params, xs))
    assert lj.MemoryBlockLSTM.of_1997(3, 4, 2).gates == ("i", "o")


def test_the_mutations_with_the_identity_are_the_papers():
    """Where the paper adds the input itself, here is a matrix: as the identity it is no other function."""
    x = random_like(jnp.zeros((5, 4)), 1)
    for cell, column in ((lj.MUT1(4, 4), 2), (lj.MUT2(4, 4), 0)):
        params = random_params(cell)
        w_x = params.w_x.at[:, 4 * column : 4 * column + 4].set(jnp.eye(4))
        z = cell.project(params._replace(w_x=w_x, b=None), x)[:, 4 * column : 4 * column + 4]
        close(z, jnp.tanh(x) if column else x)


ERRORS = {
    "open gates": (lambda: lj.PeepholeLSTM(3, 4, open_gates="i"), "open_gates"),
    "coupled": (lambda: lj.PeepholeLSTM(3, 4, open_gates=("f",), coupled=True), "open_gates"),
    "squash": (lambda: lj.PeepholeLSTM(3, 4, input_activation="relu"), "input_activation"),
    "full gates": (lambda: lj.FullGateLSTM(3, 4, coupled=True), "coupled"),
    "full gates open": (lambda: lj.FullGateLSTM(3, 4, open_gates=("o",)), "open_gates"),
    "zoneout of what belongs together": (lambda: lj.Zoneout(lj.SLSTM(3, 4), rates=0.1), "rates"),
    "rates list": (lambda: lj.Zoneout(lj.LSTM(3, 4), rates=[0.1, 0.1]), "rates"),
    "weights without a bias": (lambda: lj.WeightDrop(lj.LSTM(3, 4, use_bias=False), weights=("b",)), "weights"),
    "weights of a controller": (lambda: lj.WeightDrop(lj.NTM(3, 4, 2), weights=("controller",)), "weights"),
    "proj_size": (lambda: lj.ProjectedLSTM(3, 4, proj_size=0), "proj_size"),
    "blocks": (lambda: lj.MemoryBlockLSTM(3, 4, block_size=3), "block_size"),
    "heads": (lambda: lj.SLSTM(3, 4, heads=3), "heads"),
    "forget": (lambda: lj.SLSTM(3, 4, forget="relu"), "forget"),
    "epsilon": (lambda: lj.LayerNormLSTM(3, 4, epsilon=0), "epsilon"),
    "reset": (lambda: lj.LayerNormGRU(3, 4, reset_after=False), "reset_after"),
    "beta": (lambda: lj.JANET(3, 4, beta=float("nan")), "beta"),
    "activation": (lambda: lj.IndRNN(3, 4, activation="identity"), "activation"),
    "context": (lambda: lj.SCRN(3, 4, context_size=0), "context_size"),
    "alpha": (lambda: lj.SCRN(3, 4, context_size=2, alpha=1.0), "alpha"),
    "ring": (lambda: lj.LRU(3, 4, r_min=0.9, r_max=0.5), "r_max"),
    "output": (lambda: lj.LRU(3, 4, output_size=0), "output_size"),
    "between": (lambda: lj.inits.Between(1.0, 0.0), "high"),
    "initialiser": (lambda: lj.IndRNN(3, 4, u_init=1), "u_init"),
    "zoneout of what has no output": (lambda: lj.Zoneout(lj.LRU(3, 4)), "cell"),
    "zoneout of a layer": (lambda: lj.Zoneout(lj.Recurrent(lj.LSTM(3, 4))), "cell"),
    "rates": (lambda: lj.Zoneout(lj.LSTM(3, 4), rates=(0.1,)), "rates"),
    "rate": (lambda: lj.Zoneout(lj.LSTM(3, 4), rates=1.5), "rates"),
    "gate": (lambda: lj.MultiplicativeLSTM(3, 4, gate_last=1), "gate_last"),
    "variational without a product": (lambda: lj.VariationalDropout(lj.MinGRU(3, 4)), "cell"),
    "variational around a wrapper": (lambda: lj.VariationalDropout(lj.Zoneout(lj.LSTM(3, 4))), "cell"),
    "weights": (lambda: lj.WeightDrop(lj.LSTM(3, 4), weights=("w_q",)), "weights"),
    "weights string": (lambda: lj.WeightDrop(lj.LSTM(3, 4), weights="w_h"), "weights"),
    "carry": (lambda: lj.scan(lj.SLSTM(3, 4), lj.SLSTM(3, 4).init(jax.random.key(0)), jnp.zeros((5, 3)),
                              lj.LSTMCarry(jnp.zeros(4), jnp.zeros(4))), "carry"),
    "key": (lambda: lj.SCRN(3, 4, context_size=2).init(None), "key"),
    "params": (lambda: lj.JANET(3, 4).initial_carry(lj.GRU(3, 4).init(jax.random.key(0))), "params"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_argument(case):
    call, name = ERRORS[case]
    with pytest.raises(ValueError, match=rf"^`{name}`: expected .*, got "):
        call()


def test_a_named_kernel_refuses_by_name():
    xs = jnp.zeros((5, 3))
    for cell, name in ((lj.LSTM(3, 4), "associative"), (lj.PeepholeLSTM(3, 4), "cpu"), (lj.MUT1(3, 4), "xla_vjp")):
        if name in lj.kernels.TABLE:
            with pytest.raises(NotImplementedError, match=rf"`implementation`: '{name}' cannot serve this call"):
                lj.scan(cell, cell.init(jax.random.key(0)), xs, implementation=name)
