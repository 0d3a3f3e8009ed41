"""Batches that are spread over devices: every compiled loop runs its own shard, and nothing is gathered."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import lstm_jax as lj
from lstm_jax.kernels import cpu, tpu
from tests.contenders import CELLS, Arrays, close, draw, serves

COMPILED = [
    pytest.param("cpu", marks=pytest.mark.skipif(cpu.missing() is not None, reason=str(cpu.missing()))),
    "tpu",
]


@pytest.fixture(params=COMPILED)
def compiled(request, monkeypatch):
    """The name of an implementation that splits a call; that for TPUs is interpreted."""
    if request.param == "tpu":
        monkeypatch.setattr(lj.kernels, "platform", lambda: "tpu")
        monkeypatch.setattr(tpu, "INTERPRET", True)
    return request.param


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-reset-before", "elman-tanh"])
@pytest.mark.parametrize("options", [(), ("lengths",), ("resets", "reset_carry")])
def test_shards_of_a_batch_stay_where_they_are(compiled, name, options):
    cell = CELLS[name].make(3, 8)
    if not serves(compiled, cell):
        pytest.skip(f"{compiled!r} does not serve it")
    arrays = draw(cell, 5, (4,))
    arrays = Arrays(arrays.params, arrays.xs, **{n: getattr(arrays, n) for n in options})
    mesh = two_devices()

    def place(x, batch_axis):
        spec = [None] * x.ndim
        if batch_axis is not None:
            spec[batch_axis] = "data"
        return jax.device_put(x, jax.NamedSharding(mesh, jax.P(*spec)))

    axes = {"params": None, "xs": 1, "reset_carry": 0, "lengths": 0, "resets": 1}
    spread = Arrays(
        *(
            jax.tree.map(functools.partial(place, batch_axis=axes.get(n)), x)
            for n, x in zip(Arrays._fields, arrays, strict=True)
        )
    )

    @jax.jit
    def graded(arrays):
        def loss(params, xs):
            ys = lj.scan(cell, params, xs, **given(arrays), implementation=compiled)[1]
            return jnp.sum(ys**2), ys

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(arrays.params, arrays.xs)

    def given(arrays):
        return {n: getattr(arrays, n) for n in options}

    out = graded(spread)
    close(out, graded(arrays))
    (_, ys), (_, d_xs) = out
    assert {tuple(x.sharding.spec)[1] for x in (ys, d_xs)} == {"data"}
    text = graded.lower(spread).compile().as_text()
    assert "all-gather" not in text and "all-reduce" in text


@pytest.mark.parametrize("spec", [jax.P(None, "data"), jax.P(None, None, "data")])
def test_a_batch_of_two_axes_is_spread_along_either(compiled, spec):
    cell = CELLS["lstm"].make(3, 8)
    params, xs, *_ = draw(cell, 5, (4, 2))
    spread = jax.device_put(xs, jax.NamedSharding(two_devices(), spec))

    def program(implementation):
        def loss(p, x):
            ys = lj.scan(cell, p, x, implementation=implementation)[1]
            return jnp.sum(ys**2), ys

        return jax.jit(jax.grad(loss, has_aux=True))

    gradients, ys = program(compiled)(params, spread)
    close((gradients, ys), program("xla")(params, xs))
    assert tuple(ys.sharding.spec)[: len(spec)] == tuple(spec)
    assert "all-gather" not in program(compiled).lower(params, spread).compile().as_text()


def test_an_axis_of_the_mesh_that_xla_splits(compiled):
    """A batch of 2 x 4, cut from one of 8 that is spread over four devices: two of them along each axis."""
    if jax.device_count() < 4:
        pytest.skip("wants four devices: the next test runs it")
    cell = CELLS["lstm"].make(3, 8)
    params, xs, *_ = draw(cell, 5, (8,))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(xs, jax.NamedSharding(mesh, jax.P(None, "data")))

    def graded(implementation, xs):
        def loss(p, x):
            return jnp.sum(lj.scan(cell, p, x.reshape(5, 2, 4, 3), implementation=implementation)[1] ** 2)

        return jax.jit(jax.grad(loss))(params, xs)

    close(graded(compiled, spread), graded("xla", xs))


def test_with_four_devices():
    flags = os.environ["XLA_FLAGS"].replace("device_count=2", "device_count=4")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-k", "xla_splits", __file__]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and " passed" in done.stdout and "skipped" not in done.stdout, done.stdout


def test_what_groups_share_is_split_too(compiled):
    """Seeds by vmap: groups of weights, one batch that all of them read."""
    cell = CELLS["gru"].make(3, 8)
    params, xs, *_ = draw(cell, 5, (4,))
    several = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    spread = jax.device_put(xs, jax.NamedSharding(two_devices(), jax.P(None, "data")))

    def program(implementation):
        def loss(p, x):
            return jnp.sum(lj.scan(cell, p, x, implementation=implementation)[1] ** 2)

        return jax.jit(jax.vmap(jax.grad(loss), (0, None)))

    close(program(compiled)(several, spread), program("xla")(several, xs))
    assert "all-gather" not in program(compiled).lower(several, spread).compile().as_text()


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("rows", [slice(0, 3), slice(1, 6)])
def test_shards_that_xla_would_fill_up(compiled, name, rows):
    """A batch that does not divide among the devices: rows that fill the last shard up have no gradient."""
    cell = CELLS[name].make(3, 8)
    params, xs, *_ = draw(cell, 5, (8,))
    spread = jax.device_put(xs, jax.NamedSharding(two_devices(), jax.P(None, "data")))

    def graded(implementation, xs):
        return jax.jit(
            jax.grad(lambda p, x: jnp.sum(lj.scan(cell, p, x[:, rows], implementation=implementation)[1] ** 2))
        )(params, xs)

    close(graded(compiled, spread), graded("xla", xs))


@pytest.mark.parametrize("constrained", [False, True])
def test_under_a_mesh_that_no_argument_is_on(compiled, constrained):
    """`jax.set_mesh` compiles for all its devices, and XLA then has no names for what it splits."""
    cell, mesh = CELLS["gru"].make(3, 8), two_devices()
    params, xs, *_ = draw(cell, 5, (4,))

    def loss(params, xs):
        if constrained:
            xs = jax.lax.with_sharding_constraint(xs, jax.NamedSharding(mesh, jax.P(None, "data")))
        return jnp.sum(lj.scan(cell, params, xs, implementation=compiled)[1] ** 2)

    expected = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, xs)
    with jax.set_mesh(mesh):
        close(jax.jit(jax.grad(loss, argnums=(0, 1)))(params, xs), expected)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("name", ["lstm", "gru", "elman-tanh", "min-gru", "peephole"])
def test_inside_shard_map(name, chunk):
    """Weights that every device has get one gradient, the sum over the devices: the plain loop's, which keeps track."""
    cell = CELLS[name].make(3, 8)
    params, xs, *_ = draw(cell, 5, (4,))

    def loss(p, x, implementation=None):
        return jnp.sum(lj.scan(cell, p, x, implementation=implementation, chunk=chunk)[1] ** 2)

    def inside(fn):
        return jax.shard_map(fn, mesh=two_devices(), in_specs=(jax.P(), jax.P(None, "data")), out_specs=jax.P())

    expected = jax.jit(jax.grad(loss))(params, xs)
    close(jax.jit(inside(jax.grad(loss)))(params, xs), expected)
    close(jax.jit(jax.grad(inside(lambda p, x: jax.lax.psum(loss(p, x), "data"))))(params, xs), expected)
    for named in ("cpu", "xla_vjp"):
        if serves(named, cell):
            with pytest.raises(NotImplementedError, match="check_vma=False"):
                jax.jit(inside(jax.grad(functools.partial(loss, implementation=named))))(params, xs)


def two_devices():
    return jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
