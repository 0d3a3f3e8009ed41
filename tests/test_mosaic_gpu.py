"""The Mosaic GPU kernels without a GPU: how calls are cut, as far as the GPU's compiler, and interpreted."""

import os
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax.kernels.mosaic_gpu import engine, exchange, plan
from tests.contenders import BASE, close, draw, run, weigh

SOME = ["lstm", "gru", "elman-tanh"]
GATES = {"lstm": 4, "gru": 3, "elman-tanh": 1}


@pytest.fixture(autouse=True)
def on_a_gpu(monkeypatch):
    monkeypatch.setattr(lj.kernels, "platform", lambda: "gpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gates", GATES.values())
@pytest.mark.parametrize("back", [False, True])
def test_every_plan_fits_the_machine(dtype, gates, back):
    """The limits of Hopper: shared memory, registers, the size of a `wgmma`, of a copy's box, and of a tile."""
    found = {hidden: plan.fit(hidden, gates, dtype, back) for hidden in (1, 16, 33, 64, 100, 128, 129, 512, 777, 1024)}
    for hidden, cut in found.items():
        if cut is None:
            assert hidden > 768 and dtype == "float32" and gates == 4
            continue
        assert hidden <= cut.hidden <= 1.07 * hidden + 2 * cut.units
        assert cut.shared <= 227 * 1024 - 2048 and cut.local <= 4 and cut.workers <= plan.MULTIPROCESSORS
        assert (
            cut.columns <= 256 and cut.columns % 8 == 0 and cut.chunk % 16 == 0 and cut.chunks * cut.chunk == cut.rows
        )
        assert cut.units % (cut.swizzle // 2) == 0 and cut.columns % (cut.swizzle // 2) == 0
        assert max(cut.chunk, plan.ROWS) // 8 <= 256 and cut.chunk // (cut.swizzle // 2) <= 256
        assert cut.across or cut.chunks == cut.depth == 1
        assert cut.resident(1000) * (cut.workers if cut.across else 0) <= plan.MULTIPROCESSORS
    assert not found[64].across and found[512].across


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("hidden", [100, 300, 750])
def test_what_workers_compute_together_is_the_product(name, dtype, hidden):
    """The partition and the exchange of kernels too large for the interpreter, in plain arrays."""
    gates = GATES[name]
    w_h = jnp.asarray(np.random.default_rng(0).normal(size=(hidden, gates * hidden)), dtype)
    states = jnp.asarray(np.random.default_rng(1).normal(size=(5, hidden)), dtype)
    cotangents = jnp.asarray(np.random.default_rng(2).normal(size=(5, gates, hidden)), dtype)
    exact = w_h.astype(jnp.float32).reshape(hidden, gates, hidden)
    expected = {
        False: jnp.einsum("rh,hgk->rgk", states.astype(jnp.float32), exact, precision="highest"),
        True: jnp.einsum("rgk,hgk->rh", cotangents.astype(jnp.float32), exact, precision="highest")[:, None],
    }
    for back, published in ((False, states[:, None]), (True, cotangents)):
        cut = plan.fit(hidden, gates, dtype, back)
        pieces = jnp.pad(published, [(0, 0), (0, 0), (0, cut.hidden - hidden)])
        pieces = pieces.reshape(5, -1, cut.workers, cut.units).swapaxes(1, 2).reshape(5, cut.rows)
        numbers = exchange.split(pieces.astype(jnp.float32), cut.parts)
        weights = engine._weights(w_h, cut).astype(jnp.float32)
        together = []
        for worker in weights:
            sums = jnp.zeros((5, cut.columns))
            for a, w in ((0, 0), (0, 1), (1, 0))[: 1 if cut.parts == 1 else None]:
                for chunk in range(cut.chunks):
                    read = numbers[a][:, chunk * cut.chunk : (chunk + 1) * cut.chunk].astype(jnp.float32)
                    sums += jnp.matmul(read, worker[w, chunk], precision="highest")
            together.append(sums.reshape(5, -1, cut.units))
        found = jnp.stack(together, 2).reshape(5, -1, cut.hidden)[..., :hidden]
        close(found, expected[back], scale=2)


def traced(cell, arrays):
    def loss(smooth):
        return weigh(run(cell, arrays._replace(**smooth), implementation="mosaic_gpu"))

    names = ("params", "xs", "carry", "reset_carry")
    return jax.jit(jax.grad(loss)).trace({name: getattr(arrays, name) for name in names})


@pytest.mark.parametrize("name", [name for name in BASE if name != "gru-reset-before"])
@pytest.mark.parametrize("hidden", [20, 200])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mosaic_takes_them(name, hidden, dtype):
    cell = BASE[name].make(3, hidden)
    lowered = traced(cell, draw(cell, 4, (70,), jnp.dtype(dtype))).lower(lowering_platforms=("cuda",))
    text = lowered.as_text()
    assert text.count("mosaic_gpu_v2") == 2  # forward and backward
    # XLA for GPUs takes a cast to bfloat16 and back for nothing: what is split must say that it is rounded.
    assert ("reduce_precision" in text) == (dtype == "float32")


def test_mosaic_takes_them_where_float64_is_allowed(x64):
    cell = lj.LSTM(3, 200)
    lowered = traced(cell, draw(cell, 4, (70,))).lower(lowering_platforms=("cuda",))
    assert lowered.as_text().count("mosaic_gpu_v2") == 2


def test_taken_by_name_alone():
    why = lj.kernels.explain(lj.LSTM(3, 4), jnp.zeros((2, 3)))
    assert why.chosen == "xla_vjp" and "not measured" in why.passed_over["mosaic_gpu"]


@pytest.mark.parametrize(
    ("cell", "dtype", "options", "message"),
    [
        (lj.GRU(3, 4, reset_after=False), "float32", {}, "`cell`: 'mosaic_gpu' serves cells whose step splits"),
        (lj.PeepholeLSTM(3, 4), "float32", {}, "`cell`: 'mosaic_gpu' serves LSTM, GRU, Elman, got PeepholeLSTM"),
        (lj.LSTM(3, 4), "float16", {}, "`xs`: 'mosaic_gpu' serves float32, bfloat16, got float16"),
        (lj.LSTM(3, 4), "float32", {"return_history": True}, "`return_history`: 'mosaic_gpu' does not serve it"),
        (lj.LSTM(3, 900), "float32", {}, "`cell`: 'mosaic_gpu' serves up to 768 units in float32, got 900"),
    ],
)
def test_what_it_does_not_serve(cell, dtype, options, message):
    arrays = draw(cell, dtype=jnp.dtype(dtype))._replace(lengths=None, resets=None, reset_carry=None)
    with pytest.raises(NotImplementedError, match=message):
        run(cell, arrays, implementation="mosaic_gpu", **options)


def test_what_is_not_taken_is_not_imported():
    """A call on a GPU asks every implementation whether it would serve; Pallas is for those that run it."""
    script = (
        "import sys, jax.numpy as jnp, lstm_jax as lj; lj.kernels.platform = lambda: 'gpu';"
        "lj.kernels.explain(lj.LSTM(3, 4), jnp.zeros((2, 3)));"
        "assert 'jax.experimental.pallas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_other_gpus_are_refused(monkeypatch):
    ampere = types.SimpleNamespace(compute_capability="8.0")
    monkeypatch.setattr(plan, "gpus", lambda: [ampere])
    with pytest.raises(NotImplementedError, match=r"compute capability 9\.0, got 8\.0"):
        lj.kernels.explain(lj.LSTM(3, 4), jnp.zeros((2, 3)), implementation="mosaic_gpu")


@pytest.mark.parametrize("axis", ["team", "worker", "thread"])
def test_a_mesh_may_name_its_axes_as_it_likes(axis):
    mesh = jax.make_mesh((2,), (axis,), axis_types=(jax.sharding.AxisType.Auto,))
    cell = lj.LSTM(3, 200)
    params, xs, *_ = draw(cell, 4, (70,))

    def inside(params, xs):
        return lj.scan(cell, params, xs, implementation="mosaic_gpu")[1]

    spread = jax.shard_map(
        inside, mesh=mesh, in_specs=(jax.P(), jax.P(None, axis)), out_specs=jax.P(None, axis), check_vma=False
    )
    text = jax.jit(spread).trace(params, xs).lower(lowering_platforms=("cuda",)).as_text()
    assert "uses_xla_collective_metadata = false" in text


def test_products_in_full_precision_are_refused():
    with (
        jax.default_matmul_precision("highest"),
        pytest.raises(NotImplementedError, match="`jax_default_matmul_precision`: 'mosaic_gpu' multiplies"),
    ):
        lj.kernels.explain(lj.LSTM(3, 4), jnp.zeros((2, 3)), implementation="mosaic_gpu")


def test_interpreted():
    """Values, gradients and races, in a process that has a thread for every worker."""
    there = Path(__file__).with_name("mosaic_gpu_interpreted.py")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(there)]
    done = subprocess.run(command, env=os.environ | {"NPROC": "16"}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-8000:]
    assert " passed" in done.stdout
