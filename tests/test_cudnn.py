"""cuDNN's LSTM: without a GPU jax's own reference stands in for the two calls, and refuses to be read past a length."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

import lstm_jax as lj
from lstm_jax import convert
from lstm_jax.kernels import cudnn
from tests.contenders import Arrays, close, draw, evaluate, random_params, run, same, weigh

CELL = lj.LSTM(3, 4)
REAL = rnn.lstm_fwd, rnn.lstm_bwd


def referred(x, h, c, weights, lengths, sizes):
    input_size, hidden_size, *_ = sizes
    unpacked = rnn.unpack_lstm_weights(weights, input_size, hidden_size, 1, False)
    return rnn.lstm_ref(x, h, c, *unpacked, lengths, *sizes)


def past(x, lengths):
    """NaN past the lengths, x elsewhere."""
    return jnp.where((jnp.arange(x.shape[1]) < lengths[:, None])[..., None], x, jnp.nan)


def forward(x, h, c, w, lengths, *sizes):
    """What cuDNN promises and no more: NaN where a length is not in 1..time, and past it."""
    *sizes, _ = sizes
    served = jnp.all((lengths >= 1) & (lengths <= x.shape[1]))
    y, *ends = referred(x, h, c, w, lengths, sizes)
    y, *ends = (jnp.where(served, out, jnp.nan) for out in (past(y, lengths), *ends))
    return (y, *ends), (x, h, c, w, lengths, y, reserved(x, h, c, w, y))


def reserved(*arrays):
    return jnp.concatenate([array.ravel() for array in arrays])


def backward(*args):
    """From the arguments, y and reserve of one call: NaN where they are of several."""
    *sizes, _, (x, h, c, w, lengths, y, reserve), gradients = args
    own = jnp.array_equal(reserve, reserved(x, h, c, w, y), equal_nan=True)
    found = jax.vjp(lambda x, h, c, w: referred(x, h, c, w, lengths, sizes), x, h, c, w)[1](gradients)
    d_x, *rest = (jnp.where(own, d, jnp.nan) for d in found)
    return past(d_x, lengths), *rest, jnp.zeros_like(lengths)


@pytest.fixture(scope="module", autouse=True)
def on_a_gpu():
    if jax.default_backend() == "gpu":
        with jax.default_matmul_precision("highest"):  # cuDNN's own choice is TF32
            yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rnn, "lstm_fwd", forward)
        patch.setattr(rnn, "lstm_bwd", backward)
        patch.setattr(lj.kernels, "platform", lambda: "gpu")
        patch.setitem(lj.kernels.TABLE, "cudnn", lj.kernels.TABLE["cudnn"]._replace(missing=lambda: None))
        yield


def arrays(cell: Any = CELL, time=5, batch=(3,), **changes: Any):
    return draw(cell, time, batch)._replace(reset_carry=None, resets=None, **changes)


def check(cell, given, **options):
    """Values and gradients by params, inputs and first carry, beside the reference's."""
    found, expected = (evaluate(cell, given, implementation=i, **options) for i in ("cudnn", "xla"))
    close(found, expected)
    assert all(np.abs(np.asarray(x)).max() > 1e-4 for x in jax.tree.leaves(expected) if x.size), "nothing to compare"


@pytest.mark.parametrize("use_bias", [True, False])
def test_the_vector_is_jaxs(use_bias):
    cell = lj.LSTM(3, 4, use_bias=use_bias)
    params = random_params(cell)
    vector = cudnn.pack(params)
    w_x, w_h, b, b_h = (part[0] for part in rnn.unpack_lstm_weights(vector, 3, 4, 1, False))
    same((w_x.T, w_h.T, b, b_h), (params.w_x, params.w_h, params.b if use_bias else jnp.zeros(16), jnp.zeros(16)))
    same(vector, convert.to_cudnn(cell, params))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("omitted", [(), ("lengths", "carry")], ids=["all", "no lengths, no carry"])
def test_values_and_gradients(omitted, reverse):
    check(CELL, arrays()._replace(**dict.fromkeys(omitted)), reverse=reverse)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_any_batch(batch):
    check(CELL, arrays(batch=batch, lengths=jnp.full(batch, 3, jnp.int32)), reverse=True)


def test_without_a_bias_and_in_chunks():
    check(lj.LSTM(3, 4, use_bias=False), arrays(lj.LSTM(3, 4, use_bias=False)), reverse=True, chunk=2)


@pytest.mark.parametrize(("time", "batch"), [(0, (3,)), (4, (0,))])
def test_nothing_to_run(time, batch):
    given = arrays(time=time, batch=batch)
    found, expected = (evaluate(CELL, given, implementation=i) for i in ("cudnn", "xla"))
    close(found, expected)


def test_a_cell_that_runs_as_an_lstm():
    cell = lj.PeepholeLSTM(3, 4, peepholes=False, coupled=True)
    check(cell, arrays(cell))


MAPS = {
    "inputs": [("xs",)],
    "params": [("params",)],
    "inputs in params": [("params", "xs"), ("lengths",)],
    "params in inputs": [("xs", "lengths"), ("params", "carry")],
}


@pytest.mark.parametrize("maps", MAPS.values(), ids=MAPS)
@pytest.mark.parametrize("inside", [False, True], ids=["gradient-of-vmap", "vmap-of-gradient"])
def test_vmap(maps, inside):
    given = arrays(time=4)
    for names in reversed(maps):
        two = {n: jax.tree.map(lambda x: jnp.stack([x, x[..., ::-1]]), getattr(given, n)) for n in names}
        given = given._replace(**two)

    def mapped(fn):
        for names in reversed(maps):
            params, xs, carry, lengths = (0 if n in names else None for n in ("params", "xs", "carry", "lengths"))
            fn = jax.vmap(fn, in_axes=((params, xs, carry), lengths))
        return fn

    def gradient(fn):
        def loss(smooth, lengths):
            out = fn(smooth, lengths)
            return weigh(out), out

        return jax.grad(loss, has_aux=True)

    def results(implementation):
        def one(smooth, lengths):
            return run(CELL, Arrays(*smooth, lengths=lengths), implementation=implementation, reverse=True)

        fn = mapped(gradient(one)) if inside else gradient(mapped(one))
        return jax.jit(fn)((given.params, given.xs, given.carry), given.lengths)

    close(results("cudnn"), results("xla"))


def test_shared_parameters_make_one_call(monkeypatch):
    """vmap over inputs is a larger batch, vmap over parameters one call after another."""
    batches = []
    monkeypatch.setattr(rnn, "lstm_fwd", lambda x, *args: batches.append(len(x)) or forward(x, *args))
    params, xs, *_ = arrays(lj.LSTM(3, 5), batch=(2,))
    cell = lj.LSTM(3, 5)

    def ys(params, xs):
        return lj.scan(cell, params, xs, implementation="cudnn")[1]

    jax.make_jaxpr(jax.vmap(ys, (None, 0)))(params, jnp.stack([xs] * 7))
    assert batches[-1] == 14
    jax.make_jaxpr(jax.vmap(ys, (0, None)))(jax.tree.map(lambda p: jnp.stack([p] * 7), params), xs)
    assert batches[-1] == 2


def test_jacobian():
    params, xs, *_ = arrays(time=2, batch=(2,))

    def jacobian(implementation):
        return jax.jit(jax.jacrev(lambda xs: lj.scan(CELL, params, xs, implementation=implementation)[1]))(xs)

    close(jacobian("cudnn"), jacobian("xla"))


REFUSED = {
    "gru": ({"cell": lj.GRU(3, 4)}, "`cell`: 'cudnn' serves LSTM, got GRU"),
    "bfloat16": ({"dtype": jnp.bfloat16}, "`xs`: 'cudnn' serves float32, got bfloat16"),
    "float16": ({"dtype": jnp.float16}, "`xs`: 'cudnn' serves float32, got float16"),
    "resets": ({"resets": jnp.zeros((5, 3), bool)}, "`resets`: 'cudnn' does not serve them"),
    "history": ({"return_history": True}, "`return_history`: 'cudnn' does not serve it"),
    "carry": ({"carry": jnp.bfloat16}, "`carry`: 'cudnn' serves the dtype of `xs` alone, float32, got bfloat16"),
    "wide carry": ({"carry": jnp.float64}, "`carry`: 'cudnn' serves the dtype of `xs` alone, float32, got float64"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_it_does_not_serve_is_refused_by_name(x64, change, message):
    change = dict(change)
    cell, dtype = change.pop("cell", CELL), change.pop("dtype", jnp.float32)
    params, xs, *_ = draw(cell, dtype=dtype)
    if "carry" in change:
        change["carry"] = cell.initial_carry(params, (3,), change["carry"])
    with pytest.raises(NotImplementedError, match=re.escape(f"'cudnn' cannot serve this call: {message}")):
        lj.scan(cell, params, xs, implementation="cudnn", **change)
    assert lj.kernels.explain(cell, xs, **change).passed_over["cudnn"] == message
    lj.scan(cell, params, xs, **change)


def test_it_is_taken_by_name_alone():
    why = lj.kernels.explain(CELL, jnp.zeros((2, 3)))
    assert why.chosen == "xla_vjp" and why.passed_over["cudnn"] == "not measured yet: taken by name alone"
    assert lj.kernels.explain(CELL, jnp.zeros((2, 3)), implementation="cudnn").chosen == "cudnn"


def test_elsewhere_the_platform_is_named(monkeypatch):
    assert cudnn.missing() == "`jax` is installed without CUDA" or jax.default_backend() == "gpu"
    monkeypatch.setattr(lj.kernels, "platform", lambda: "cpu")
    with pytest.raises(NotImplementedError, match="platform: 'cudnn' serves gpu, got cpu"):
        lj.scan(CELL, random_params(CELL), jnp.zeros((2, 3)), implementation="cudnn")


def test_second_derivatives_are_the_reference_s():
    params, xs, *_ = arrays()

    def derivatives(implementation):
        def ys(xs):
            return lj.scan(CELL, params, xs, implementation=implementation)[1]

        def slope(xs):
            return weigh(jax.grad(lambda xs: weigh(ys(xs)))(xs))

        def linear(ct):
            return weigh(jax.vjp(ys, xs)[1](ct))

        return jax.jit(lambda xs: (jax.grad(slope)(xs), jax.grad(linear)(jnp.ones_like(ys(xs)))))(xs)

    close(derivatives("cudnn"), derivatives("xla"))


def test_no_forward_mode():
    params, xs, *_ = arrays()
    with pytest.raises(NotImplementedError, match=r"'cudnn' has no forward-mode derivative.*'xla'"):
        jax.jvp(lambda xs: lj.scan(CELL, params, xs, implementation="cudnn"), (xs,), (xs,))


@pytest.mark.parametrize(("precision", "tf32"), [(None, True), ("highest", False), ("tensorfloat32", True)])
def test_jaxs_own_binding_takes_the_call(monkeypatch, precision, tf32):
    """As far as it goes without a GPU: the real functions, traced. The backward pass stands outside the context."""
    seen, backwards = [], []

    class Sizes:
        @staticmethod
        def compute_rnn_workspace_reserve_space_sizes(*sizes):
            seen.append(sizes)
            return 5, 7

    monkeypatch.setattr(rnn, "gpu_rnn", Sizes)
    monkeypatch.setattr(rnn, "lstm_fwd", REAL[0])
    monkeypatch.setattr(rnn, "lstm_bwd", lambda *args: backwards.append(args[5]) or REAL[1](*args))
    params, xs, *_ = arrays(lj.LSTM(3, 6), time=5, batch=(2, 4))

    def gradients(params, xs):
        with jax.default_matmul_precision(precision):
            pullback = jax.vjp(lambda *args: lj.scan(lj.LSTM(3, 6), *args, implementation="cudnn")[1], params, xs)[1]
        return pullback(jnp.ones((5, 2, 4, 6)))

    params = jax.tree.map(lambda p: jnp.stack([p, p]), params)
    program = jax.make_jaxpr(jax.vmap(jax.jit(gradients), (0, None)))(params, xs)
    assert set(seen) == {(3, 6, 1, 8, 5, 0.0, False, tf32)}
    assert [tuple(v.shape) for v in program.out_avals] == [
        x.shape for x in jax.tree.leaves((params, jnp.stack([xs, xs])))
    ]
    assert set(backwards) == {precision}
