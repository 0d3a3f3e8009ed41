"""What only the compiled CPU kernels promise: accuracy beside XLA's own, shards, threads, and reasons for absence."""

import concurrent.futures
import functools
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_jax as lj
from lstm_jax.kernels import cpu
from lstm_jax.kernels.cpu import library
from tests.contenders import CELLS, Arrays, close, cut, draw, evaluate, in_float64, same, serves, sharpest

needs_kernels = pytest.mark.skipif(cpu.missing() is not None, reason=str(cpu.missing()))
SERVED = [name for name, row in CELLS.items() if serves("cpu", row.make(3, 4))]


@needs_kernels
def test_they_are_the_default_here():
    assert cpu.instructions() in ("baseline", "avx2", "avx512", "neon")
    assert sharpest("cpu") == "float32"
    for cell in (lj.LSTM(3, 4), lj.GRU(3, 4), lj.Elman(3, 4)):
        with jax.default_device(jax.devices("cpu")[0]):
            assert lj.kernels.explain(cell, jnp.zeros((2, 3))).chosen == "cpu"


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_they_are_ahead_wherever_it_was_measured(cell):
    """What makes them the default: every shape of the committed measurements, forward and training."""
    path = Path(__file__).parents[1] / "benchmarks" / "results" / f"2026-11-kernels-{cell}" / "results.json"
    rows = [r for r in json.loads(path.read_text())["throughput"] if r["contender"] == "textbook scan"]
    assert {r["mode"] for r in rows} == {"forward", "training"}
    assert min(r["speedup_of_ours"] for r in rows) > 1.1


def test_without_them_the_reason_is_said(monkeypatch, tmp_path):
    library._load.cache_clear()
    try:
        monkeypatch.setattr(library, "PATH", tmp_path / "none.so")
        why = lj.kernels.explain(lj.LSTM(3, 4), jnp.zeros((2, 3)))
        assert why.chosen == "xla_vjp" and "without a C++ compiler" in why.passed_over["cpu"]
        with pytest.raises(NotImplementedError, match=r"`implementation`: 'cpu' cannot serve.*compiler"):
            lj.scan(lj.LSTM(3, 4), lj.LSTM(3, 4).init(jax.random.key(0)), jnp.zeros((2, 3)), implementation="cpu")
        with pytest.raises(RuntimeError, match="without a C\\+\\+ compiler"):
            cpu.instructions()
        library._load.cache_clear()
        library.PATH.write_text("no library")
        assert "does not load" in str(cpu.missing())
    finally:
        monkeypatch.undo()
        library._load.cache_clear()


def test_elsewhere_they_are_passed_over(monkeypatch):
    monkeypatch.setattr(lj.kernels, "platform", lambda: "gpu")
    assert "'cpu' serves cpu, got gpu" in lj.kernels.explain(lj.LSTM(3, 4)).passed_over["cpu"]


@needs_kernels
@pytest.mark.parametrize("name", ["lstm", "gru", "elman-tanh"])
def test_an_export_has_the_reference_in_their_place(name):
    """It runs where this library is not; by name they are kept, and then jax says what is missing."""
    cell = CELLS[name].make(3, 4)
    params, xs, *_ = draw(cell, 5, (2,))

    def graded(implementation):
        def loss(weights, xs):
            ys = lj.scan(cell, cell.params_type(*weights), xs, implementation=implementation)[1]
            return jnp.sum(ys**2), ys

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

    exported = jax.export.export(graded(None), platforms=("cpu", "cuda", "tpu"))(tuple(params), xs)
    assert "@lstm_jax" not in exported.mlir_module()
    close(exported.call(tuple(params), xs), graded("xla")(tuple(params), xs))
    assert "lstm_jax_backward" in graded(None).lower(tuple(params), xs).compile().as_text()
    with pytest.raises(ValueError, match="lstm_jax_forward"):
        jax.export.export(graded("cpu"))(tuple(params), xs)


def test_a_history_goes_to_another():
    cell = lj.LSTM(3, 4)
    arrays = Arrays(*draw(cell)[:2])
    with pytest.raises(NotImplementedError, match="`return_history`" if cpu.missing() is None else "compiler"):
        evaluate(cell, arrays, implementation="cpu", return_history=True)
    carry, (_, history) = lj.scan(cell, *arrays[:2], return_history=True)
    close(carry, cut(history, -1))


@st.composite
def calls(draw_from):
    name = draw_from(st.sampled_from(SERVED))
    batch, hidden = draw_from(st.sampled_from([1, 2, 3, 7, 20, 600])), draw_from(st.sampled_from([1, 8, 17, 33, 100]))
    time, inputs = draw_from(st.sampled_from([0, 1, 4])), draw_from(st.sampled_from([1, 5, 150]))
    arrays = draw(CELLS[name].make(inputs, hidden), time, (batch,), seed=draw_from(st.integers(0, 9)))
    omitted = draw_from(st.sets(st.sampled_from(["carry", "reset_carry", "lengths", "resets"]), max_size=4))
    return name, inputs, hidden, arrays._replace(**dict.fromkeys(omitted)), draw_from(st.booleans())


@needs_kernels
@settings(max_examples=20)
@given(calls())
def test_errors_are_no_more_than_twice_those_of_xla(call):
    """Against the same numbers in float64; two roundings of the largest entry are always allowed."""
    name, inputs, hidden, arrays, reverse = call
    cell = CELLS[name].make(inputs, hidden)
    found = {i: jax.tree.leaves(evaluate(cell, arrays, implementation=i, reverse=reverse)) for i in ("xla", "cpu")}
    with jax.enable_x64(True):
        exact = evaluate(cell, jax.tree.map(jnp.asarray, in_float64(arrays)), implementation="xla", reverse=reverse)
    for a, b, e in zip(found["cpu"], found["xla"], jax.tree.leaves(exact), strict=True):
        if e.size:
            a, b, e = (np.asarray(x, np.float64) for x in (a, b, e))
            rounding = 2 * np.finfo(np.float32).eps * max(np.abs(e).max(), 1e-3)
            assert np.abs(a - e).max() <= 2 * np.abs(b - e).max() + rounding


@needs_kernels
@pytest.mark.parametrize(
    ("batch", "hidden", "time", "reverse"),
    [(1, 150, 30, False), (3, 150, 30, True), (8, 400, 30, False), (600, 200, 5, True), (1, 150, 700, False)],
)
@pytest.mark.parametrize("name", ["lstm", "gru", "gru-reset-before", "elman-tanh"])
def test_units_shared_between_threads(name, batch, hidden, time, reverse):
    """Large weights, or few sequences, are split by units: threads then meet at every step, and every few hundred it is
    asked anew whether they gain by it. Of 600 sequences the gradients are made every two steps."""
    cell = CELLS[name].make(5, hidden)
    arrays = draw(cell, time, (batch,))
    arrays = arrays._replace(params=jax.tree.map(lambda w: w / cell.hidden_size**0.5, arrays.params))  # no chaos
    found = [evaluate(cell, arrays, implementation=i, reverse=reverse) for i in ("cpu", "xla")]
    close(*found, scale=4)


@needs_kernels
@pytest.mark.skipif(
    bool({"LSTM_JAX_CPU_INSTRUCTIONS", "LSTM_JAX_CPU_LIBRARY"} & set(os.environ)), reason="another library is looked at"
)
@pytest.mark.parametrize("instructions", ["avx2", "baseline"])
def test_lesser_instruction_sets(instructions):
    """What machines with less run is right too: the tests of numbers, with its vectors."""
    if instructions not in {"avx512": ["avx2", "baseline"], "avx2": ["baseline"]}.get(cpu.instructions(), []):
        pytest.skip(f"{cpu.instructions()} machine")
    env = {**os.environ, "LSTM_JAX_CPU_INSTRUCTIONS": instructions}
    program = f"from lstm_jax.kernels import cpu; assert cpu.instructions() == {instructions!r}"
    subprocess.run([sys.executable, "-c", program], env=env, check=True)
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-n0",
        "-k",
        "errors or units or bounds",
        __file__,
    ]
    done = subprocess.run(tests, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@needs_kernels
@pytest.mark.parametrize(("activation", "bound"), [("tanh", 4e-7), ("sigmoid", 2e-7)])
def test_gate_functions_keep_their_bounds(activation, bound):
    """An RNN of one unit that reads x and forgets computes the function itself; relative error."""
    cell = lj.Elman(1, 1, use_bias=False, activation=activation)
    params = lj.ElmanParams(jnp.ones((1, 1)), jnp.zeros((1, 1)), None)
    x = np.concatenate([np.linspace(-20, 20, 100_001), np.geomspace(1e-7, 1, 20_000)]).astype(np.float32)
    y = np.asarray(lj.scan(cell, params, jnp.asarray(x)[None, :, None], implementation="cpu")[1])[0, :, 0]
    wide = x.astype(np.float64)
    exact = np.tanh(wide) if activation == "tanh" else 1 / (1 + np.exp(-wide))
    with np.errstate(invalid="ignore"):
        assert np.nanmax(np.abs(y / exact - 1)) <= bound
    assert np.abs(y).max() <= 1
    far = jnp.array([np.inf, -np.inf, np.nan, 1e30, -1e30])[None, :, None]
    low = -1.0 if activation == "tanh" else 0.0
    at = np.asarray(lj.scan(cell, params, far, implementation="cpu")[1])[0, :, 0]
    np.testing.assert_allclose(at, [1, low, np.nan, 1, low], atol=1e-30)


@needs_kernels
def test_many_threads_at_once():
    """2,000 calls from 8 threads, of different shapes: right answers, no hang, and no growth of memory."""
    shapes = [(1, 4, 3, 5), (4, 30, 16, 32), (9, 12, 40, 24), (1, 60, 8, 100), (32, 20, 8, 64)]
    programs, answers = [], []
    for number, (batch, time, inputs, hidden) in enumerate(shapes):
        cell = (lj.LSTM, lj.GRU, lj.Elman)[number % 3](inputs, hidden)
        arrays = Arrays(*draw(cell, time, (batch,))[:2])

        @jax.jit
        def program(params, xs, cell=cell):
            return jax.grad(lambda p: jnp.sum(lj.scan(cell, p, xs, implementation="cpu")[1] ** 2))(params)

        programs.append(functools.partial(program, *arrays[:2]))
        answers.append(jax.block_until_ready(programs[-1]()))

    def calls(worker, many):
        for i in range(many):
            which = (worker + i) % len(programs)
            same(programs[which](), answers[which])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(calls, range(8), [50] * 8))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        list(pool.map(calls, range(8), [250] * 8))
    if "LSTM_JAX_CPU_LIBRARY" not in os.environ:  # sanitizers keep what was freed
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64_000  # kB
