"""The Mosaic GPU kernels in Pallas's interpreter, beside the float64 loop and the reference.

Not collected by itself: the interpreter runs every worker as a thread of XLA, which has as many as `NPROC` says when
the process starts, and its effects cannot stand inside a primitive or what XLA splits. `tests/test_mosaic_gpu.py` runs
this file as it wants to be run: `NPROC=16 pytest -n0 tests/mosaic_gpu_interpreted.py`.
"""

import jax
import jax.numpy as jnp
import pytest
from jax._src.pallas.mosaic_gpu.interpret import gpu_callbacks
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

import lstm_jax as lj
from lstm_jax.kernels import compiled, loop
from tests import contenders

# What the interpreter calls must not wait for threads behind what a test has dispatched in the meantime.
jax.config.update("jax_cpu_enable_async_dispatch", False)
compiled.by_shards = lambda run, roles: run
loop._pull = loop._pull.__wrapped__
contenders._evaluate = contenders._evaluate.__wrapped__

from lstm_jax.kernels.mosaic_gpu import loops, plan  # noqa: E402 -- after the lines above
from tests.contenders import BASE, Arrays, close, draw, evaluate, random_like, run, weigh  # noqa: E402
from tests.test_scan import CALLS, check_against_oracle  # noqa: E402

SOME = ["lstm", "gru", "elman-tanh"]


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """Every test's kernels are also searched for races."""
    kernels, state = [], gpu_callbacks.RaceDetectionState

    def watched(**sizes):
        kernels.append(state(**sizes))
        return kernels[-1]

    monkeypatch.setattr(gpu_callbacks, "RaceDetectionState", watched)
    monkeypatch.setattr(lj.kernels, "platform", lambda: "gpu")
    monkeypatch.setattr(loops, "INTERPRET", InterpretGPUParams(detect_races=True))
    monkeypatch.setitem(contenders.TOLERANCE, "float32", 4e-5)  # a product's rounding is 2^-17, not 2^-24
    yield
    assert not any(kernel.races_found for kernel in kernels)


@pytest.fixture(params=["in a block", "across the grid"])
def exchange(request, monkeypatch):
    if request.param == "across the grid":
        monkeypatch.setattr(plan, "WORKERS", 0)
    return request.param


def beside_the_reference(cell, arrays, dtype=None, **options):
    """The reference always in float32 or better."""
    wide = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, arrays)
    out = evaluate(cell, arrays, implementation="mosaic_gpu", **options)
    close(out, evaluate(cell, wide, implementation="xla", **options), dtype)
    return out


@pytest.mark.parametrize(
    ("name", "call"),
    [(name, call) for name in SOME for call in ("plain", "all", "all-reverse")]
    + [(name, "reverse") for name in BASE if name not in (*SOME, "gru-reset-before")],
)
def test_values_and_gradients_are_the_equations(exchange, name, call):
    omitted, options = CALLS[call]
    cell = BASE[name].make(3, 20)  # two workers, of which one has units to spare
    arrays = draw(cell)._replace(**dict.fromkeys(omitted))
    params = arrays.params._replace(w_h=arrays.params.w_h / 3)  # else 20 units are chaotic, and so is what is rounded
    check_against_oracle(name, cell, arrays._replace(params=params), options, "mosaic_gpu")


@pytest.mark.parametrize("name", SOME)
def test_bfloat16_keeps_float32_inside(exchange, name):
    cell = BASE[name].make(3, 20)
    out = beside_the_reference(cell, draw(cell, dtype=jnp.bfloat16), "bfloat16")
    assert out[0][1].dtype == jnp.bfloat16


def test_what_is_read_in_chunks_by_teams_that_take_turns(monkeypatch):
    """Three workers and two batches of 64, of which one fits; what they publish is three reads, two under way."""
    patched = {"WORKERS": 0, "MULTIPROCESSORS": 3, "TOGETHER": (1,), "UNITS": (16,), "SHARED_BYTES": 48_000}
    for name, value in patched.items():
        monkeypatch.setattr(plan, name, value)
    cell = lj.LSTM(3, 40)
    cut = plan.fit(40, 4, "float32", True)
    assert cut is not None and cut.across and cut.chunks == 3 and cut.depth == 2 and cut.resident(4) == 1
    beside_the_reference(cell, draw(cell, 3, (2, 35)))


def test_four_workers_of_32_units():
    cell = lj.GRU(3, 100)
    assert plan.fit(100, 3, "bfloat16", True)[:2] == (32, 4)
    beside_the_reference(cell, draw(cell, 3, (2,), dtype=jnp.bfloat16), "bfloat16")


@pytest.mark.parametrize("mapped", ["params", "inputs", "both"])
def test_vmap_is_groups_and_batch(exchange, mapped):
    cell = lj.GRU(2, 20)
    arrays = draw(cell, 3, (2,))
    params = random_like(jax.tree.map(lambda p: jnp.stack([p] * 2), arrays.params), 7)
    several = Arrays(
        arrays.params if mapped == "inputs" else params,
        arrays.xs if mapped == "params" else jnp.stack([arrays.xs, -arrays.xs]),
    )
    axes = {"params": (0, None), "inputs": (None, 0), "both": (0, 0)}[mapped]

    def graded(implementation):
        def one(params, xs):
            given = arrays._replace(params=params, xs=xs)
            return jax.grad(
                lambda p, x: weigh(run(cell, given._replace(params=p, xs=x), implementation=implementation)), (0, 1)
            )(params, xs)

        return jax.vmap(one, axes)(*several[:2])

    close(graded("mosaic_gpu"), graded("xla"))


def test_nothing_to_run():
    cell = lj.LSTM(3, 4)
    for shape in ((0, (3,)), (4, (0,))):
        beside_the_reference(cell, draw(cell, *shape))
