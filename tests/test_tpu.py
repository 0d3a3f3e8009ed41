"""The TPU kernels in Pallas's interpreter, beside the float64 loop and the reference, and as far as Mosaic's input."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.test_util import check_grads

import lstm_jax as lj
from lstm_jax.kernels import tpu
from tests.contenders import BASE, Arrays, close, draw, evaluate, random_like, run, weigh
from tests.test_scan import CALLS, check_against_oracle

SOME = ["lstm", "gru", "elman-tanh"]
PLAIN = {"carry": None, "reset_carry": None, "lengths": None, "resets": None}


@pytest.fixture(autouse=True)
def on_a_tpu(monkeypatch):
    monkeypatch.setattr(lj.kernels, "platform", lambda: "tpu")


@pytest.fixture
def interpreted(monkeypatch):
    monkeypatch.setattr(tpu, "INTERPRET", True)


@pytest.mark.parametrize(
    ("name", "call"),
    [(name, call) for name in SOME for call in ("plain", "all", "all-reverse")]
    + [(name, "chunk-reverse") for name in BASE if name not in (*SOME, "gru-reset-before")],
)
def test_values_and_gradients_are_the_equations(interpreted, x64, name, call):
    omitted, options = CALLS[call]
    cell = BASE[name].make(3, 4)
    check_against_oracle(name, cell, draw(cell)._replace(**dict.fromkeys(omitted)), options, "tpu")


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("reverse", [False, True])
def test_blocks_that_do_not_divide_what_they_cut(interpreted, monkeypatch, name, reverse):
    monkeypatch.setattr(tpu, "ROWS", 4)
    monkeypatch.setattr(tpu, "BLOCK_BYTES", 70_000)  # two steps or three
    cell = BASE[name].make(3, 5)
    arrays = draw(cell, 7, (2, 3))
    close(
        evaluate(cell, arrays, reverse=reverse, implementation="tpu"),
        evaluate(cell, arrays, reverse=reverse, implementation="xla"),
    )


@pytest.mark.parametrize("name", SOME)
def test_bfloat16_keeps_float32_inside(interpreted, name):
    cell = BASE[name].make(3, 4)
    arrays = draw(cell, dtype=jnp.bfloat16)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, arrays)
    out = evaluate(cell, arrays, implementation="tpu")
    assert out[0][1].dtype == jnp.bfloat16
    close(out, evaluate(cell, wide, implementation="xla"), "bfloat16")


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("mapped", ["params", "inputs", "both", "nested"])
def test_vmap_is_groups_and_batch(interpreted, name, mapped):
    cell = BASE[name].make(2, 3)
    arrays = draw(cell, 3, (2,))
    several = {
        "params": Arrays(random_like(jax.tree.map(lambda p: jnp.stack([p] * 2), arrays.params), 7), arrays.xs),
        "inputs": Arrays(arrays.params, jnp.stack([arrays.xs, -arrays.xs])),
    }
    several["both"] = several["nested"] = Arrays(several["params"].params, several["inputs"].xs)
    axes = {"params": [(0, None)], "inputs": [(None, 0)], "both": [(0, 0)], "nested": [(None, 0), (0, None)]}[mapped]

    @functools.partial(jax.jit, static_argnums=0)
    def graded(implementation, params, xs):
        def one(params, xs):
            given = arrays._replace(params=params, xs=xs)
            return jax.grad(
                lambda p, x: weigh(run(cell, given._replace(params=p, xs=x), implementation=implementation)), (0, 1)
            )(params, xs)

        for level in axes:
            one = jax.vmap(one, level)
        return one(params, xs)

    given = several[mapped][:2]
    close(graded("tpu", *given), graded("xla", *given))


@pytest.mark.parametrize("name", SOME)
def test_second_derivatives_are_the_reference_s(interpreted, name):
    cell = BASE[name].make(2, 2)
    arrays = draw(cell, 3, (2,))

    @jax.jit
    def loss(xs):
        return weigh(run(cell, arrays._replace(xs=xs), implementation="tpu"))

    check_grads(loss, (arrays.xs,), order=2, modes=["rev"], atol=2e-2, rtol=2e-2, eps=1e-2)
    with pytest.raises(NotImplementedError, match="forward-mode derivative"):
        jax.jvp(loss, (arrays.xs,), (arrays.xs,))


def test_nothing_to_run(interpreted):
    cell = lj.LSTM(3, 4)
    for shape in ((0, (3,)), (4, (0,))):
        arrays = draw(cell, *shape)
        close(evaluate(cell, arrays, implementation="tpu"), evaluate(cell, arrays, implementation="xla"))


def test_taken_by_name_alone():
    why = lj.kernels.explain(lj.LSTM(3, 4), jnp.zeros((2, 3)))
    assert why.chosen == "xla_vjp" and "not measured" in why.passed_over["tpu"]


@pytest.mark.parametrize(
    ("cell", "dtype", "options", "message"),
    [
        (lj.GRU(3, 4, reset_after=False), "float32", {}, "`cell`: 'tpu' serves cells whose step splits"),
        (lj.PeepholeLSTM(3, 4), "float32", {}, "`cell`: 'tpu' serves LSTM, GRU, Elman, got PeepholeLSTM"),
        (lj.LSTM(3, 4), "float16", {}, "`xs`: 'tpu' serves float32, bfloat16, got float16"),
        (lj.LSTM(3, 4), "float32", {"return_history": True}, "`return_history`: 'tpu' does not serve it"),
    ],
)
def test_what_it_does_not_serve(cell, dtype, options, message):
    arrays = draw(cell, dtype=jnp.dtype(dtype))._replace(**PLAIN)
    with pytest.raises(NotImplementedError, match=message):
        run(cell, arrays, implementation="tpu", **options)


def test_elsewhere_it_is_refused(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(NotImplementedError, match="platform: 'tpu' serves tpu, got cpu"):
        lj.kernels.explain(lj.LSTM(3, 4), implementation="tpu")


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mosaic_takes_them(name, dtype):
    cell = BASE[name].make(16, 128)
    arrays = draw(cell, 20, (200,), jnp.dtype(dtype))

    def loss(smooth):
        return weigh(run(cell, arrays._replace(**smooth), implementation="tpu"))

    smooth = {"params": arrays.params, "xs": arrays.xs, "carry": arrays.carry, "reset_carry": arrays.reset_carry}
    traced = jax.jit(jax.grad(loss)).trace(smooth)
    assert traced.lower(lowering_platforms=("tpu",)).as_text().count("tpu_custom_call") == 2
