"""Transformations: forward mode, higher orders, vmap over inputs and parameters, jit, scan and checkpoint."""

import functools
import re

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from tests.contenders import (
    CELLS,
    Arrays,
    close,
    contenders,
    cut,
    draw,
    evaluate,
    keeps_history,
    random_like,
    random_params,
    run,
    serves,
    sharpest,
    weigh,
)

SEEDS = 3


def last_loss(cell, implementation, **options):
    def loss(params, xs, carry=None, **arrays):
        return weigh(lj.scan(cell, params, xs, carry, implementation=implementation, **arrays, **options))

    return loss


def ravelled(cell, arrays, implementation):
    """The loss as a function of one vector, made of params and inputs."""
    flat, unravel = jax.flatten_util.ravel_pytree((arrays.params, arrays.xs))
    loss = last_loss(cell, implementation, reverse=True)
    return flat, lambda v: loss(*unravel(v), arrays.carry, lengths=arrays.lengths, resets=arrays.resets)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-reset-before", "elman-sigmoid"])
def test_forward_mode_of_the_reference(x64, name):
    cell = CELLS[name].make(2, 2)
    flat, loss = ravelled(cell, draw(cell, 3, (2,), jnp.float64), "xla")
    along = random_like(flat, 5)
    gradient = jax.jit(jax.grad(loss))(flat)
    slope = jax.jit(lambda v: jax.jvp(loss, (v,), (along,))[1])(flat)
    close(slope, gradient @ along)
    close(jax.jit(jax.jacfwd(loss))(flat), gradient)
    hessian = jax.jit(jax.hessian(loss))(flat)
    close(hessian, hessian.T)
    graded = jax.jit(jax.grad(loss))
    step = 1e-6
    differences = (graded(flat + step * along) - graded(flat - step * along)) / (2 * step)
    close(hessian @ along, differences, scale=1e4)  # the error of a central difference in float64
    assert np.abs(np.asarray(hessian)).max() > 1e-2


@contenders("lstm", "gru", "gru-reset-before", "elman-tanh")
def test_reverse_over_reverse(x64, name, implementation):
    cell = CELLS[name].make(2, 2)
    arrays = draw(cell, 3, (2,), sharpest(implementation))
    flat, loss = ravelled(cell, arrays, implementation)
    _, reference = ravelled(cell, arrays, "xla")
    along = random_like(flat, 5)
    expected = jax.jit(lambda v: jax.jvp(jax.grad(reference), (v,), (along,))[1])(flat)
    close(jax.jit(jax.grad(lambda v: jax.grad(loss)(v) @ along))(flat), expected)
    close(jax.jit(jax.jacrev(jax.grad(loss)))(flat) @ along, expected)
    close(jax.jit(jax.hessian(loss))(flat) @ along, expected)  # forward mode over the finished gradient


@pytest.mark.parametrize("implementation", [i for i in ("xla_vjp", "cpu") if serves(i, lj.LSTM(2, 2))])
@pytest.mark.parametrize("jitted", [False, True])
def test_forward_mode_of_the_others_names_the_way_out(jitted, implementation):
    cell = lj.LSTM(2, 2)
    flat, loss = ravelled(cell, draw(cell, 2, (2,)), implementation)
    calls = {
        "jvp": lambda v: jax.jvp(loss, (v,), (v,)),
        "jacfwd": jax.jacfwd(loss),
        "jacfwd of jacfwd": jax.jacfwd(jax.jacfwd(loss)),
        "linearize": lambda v: jax.linearize(loss, v)[1](v),
    }
    for name, call in calls.items():
        with pytest.raises(NotImplementedError, match=rf"`implementation`.*'{implementation}'.*implementation='xla'"):
            (jax.jit(call) if jitted else call)(flat)
            pytest.fail(name)
    assert np.isfinite(loss(flat))


@contenders("lstm", "gru", "gru-reset-before", "elman-tanh")
@pytest.mark.parametrize("reverse", [False, True])
def test_vmap_over_inputs_is_an_explicit_batch(name, implementation, reverse):
    """Everything mapped at once: values, and the gradients of each example's arrays and of the shared parameters."""
    cell = CELLS[name].make(3, 4)
    arrays = draw(cell, 4, (3, 2))
    options = {"implementation": implementation, "reverse": reverse, "return_history": keeps_history(implementation)}
    expected, gradients = evaluate(cell, arrays, **options)
    axes = (None, 1, 0, 0, 0, 1)

    def mapped(smooth):
        here = arrays._replace(**smooth)
        out = jax.vmap(lambda *a: run(cell, Arrays(*a), **options), axes, (0, 1))(*here)
        return weigh(out), out

    smooth = {n: getattr(arrays, n) for n in gradients}
    again, out = jax.jit(jax.grad(mapped, has_aux=True))(smooth)
    close(out, expected)
    close(again, gradients)


MIXED = {
    "inputs": {"xs": 1},
    "carry": {"carry": 0},
    "lengths": {"lengths": 0},
    "resets": {"resets": 1, "reset_carry": 0},
    "params": {"params": 0},
    "params-inputs": {"params": 0, "xs": 1, "resets": 1},
    "params-carry-lengths": {"params": 0, "carry": 0, "lengths": 0},
}


@contenders("lstm", "gru", "elman-tanh")
@pytest.mark.parametrize("mixed", MIXED)
def test_vmap_over_some_arrays_is_a_loop_over_them(name, implementation, mixed):
    """What is not mapped is shared: its gradient is the sum over the examples."""
    cell = CELLS[name].make(3, 4)
    axes = MIXED[mixed]
    several = [draw(cell, 4, (2,), seed=10 * s) for s in range(SEEDS)]
    several = [several[0]._replace(**{n: getattr(one, n) for n in axes}) for one in several]
    stacked = several[0]._replace(
        **{n: jax.tree.map(lambda *x, a=a: jnp.stack(x, a), *(getattr(o, n) for o in several)) for n, a in axes.items()}
    )
    options = {"implementation": implementation, "chunk": 3 if mixed == "params-inputs" else None}
    each = [evaluate(cell, one, **options) for one in several]

    def mapped(smooth):
        here = stacked._replace(**smooth)
        in_axes = tuple(axes.get(n) for n in Arrays._fields)
        out = jax.vmap(lambda *a: run(cell, Arrays(*a), **options), in_axes)(*here)
        return sum(weigh(cut(out, s)) for s in range(SEEDS)), out

    smooth = {n: getattr(stacked, n) for n in each[0][1]}
    gradients, out = jax.jit(jax.grad(mapped, has_aux=True))(smooth)
    for s, (expected, _) in enumerate(each):
        close(cut(out, s), expected)
    for n, gradient in gradients.items():
        parts = [g[n] for _, g in each]
        join = functools.partial(lambda *x, a: jnp.stack(x, a), a=axes[n]) if n in axes else lambda *x: sum(x)
        close(gradient, jax.tree.map(join, *parts), scale=3)  # a sum of three


@contenders("lstm", "gru", "elman-tanh", "peephole", "layer-norm-lstm", "layer-norm-gru", "multiplicative", "scrn")
def test_vmap_over_some_weights_is_a_loop_over_them(name, implementation):
    """Pre-activations that no mapped weight goes into get their cotangent once, not once for every example."""
    cell = CELLS[name].make(3, 4)
    arrays = draw(cell, 4, (2,))
    several = jnp.stack([draw(cell, seed=10 * s).params.w_h for s in range(SEEDS)])

    def one(params, w_h):
        return run(cell, arrays._replace(params=params._replace(w_h=w_h)), implementation=implementation)

    def mapped(params, several):
        return jax.vmap(one, (None, 0))(params, several)

    def each(params, several):
        return jax.tree.map(lambda *out: jnp.stack(out), *(one(params, w_h) for w_h in several))

    both = [jax.jit(jax.grad(lambda p, w, f=f: weigh(f(p, w)), (0, 1))) for f in (mapped, each)]
    close(*(gradient(arrays.params, several) for gradient in both), scale=3)  # sums of three


@contenders("lstm", "gru", "gru-reset-before", "elman-tanh")
def test_nested_vmap_grad_inside_and_outside(name, implementation):
    """Seeds around examples and examples around seeds, with one gradient for each seed."""
    cell = CELLS[name].make(3, 4)
    xs = draw(cell, 4, (5,)).xs
    seeds = [random_params(cell, s) for s in range(SEEDS)]
    params = jax.tree.map(lambda *p: jnp.stack(p), *seeds)
    batch_loss = last_loss(cell, implementation)

    def one(p, x):
        return lj.scan(cell, p, x, implementation=implementation)[1]

    def total(ys):  # [time, batch, hidden], as one batch
        return weigh(ys)

    outer_seeds = jax.vmap(jax.vmap(one, (None, 1), 1), (0, None))
    outer_examples = jax.vmap(jax.vmap(one, (0, None)), (None, 1), 2)
    expected_ys = jnp.stack([jax.jit(one)(p, xs) for p in seeds])
    graded = jax.jit(jax.grad(lambda p: total(one(p, xs))))
    expected = jax.tree.map(lambda *g: jnp.stack(g), *(graded(p) for p in seeds))
    for mapped in (outer_seeds, outer_examples):
        ys = jax.jit(mapped)(params, xs)
        close(ys, expected_ys)
        outside = jax.grad(lambda p, f=mapped: sum(total(y) for y in f(p, xs)))
        close(jax.jit(outside)(params), expected)
    inside = jax.vmap(jax.grad(lambda p: total(jax.vmap(one, (None, 1), 1)(p, xs))))
    close(jax.jit(inside)(params), expected)
    # One gradient per example and seed: their sum over the examples is that of the sum of the examples' losses.
    per_example = jax.vmap(jax.vmap(jax.grad(batch_loss), (None, 1)), (0, None))
    summed = jax.vmap(jax.grad(lambda p: sum(batch_loss(p, xs[:, b]) for b in range(5))))
    close(jax.tree.map(lambda g: g.sum(1), jax.jit(per_example)(params, xs)), jax.jit(summed)(params), scale=3)


@contenders("lstm", "gru", "elman-tanh")
@pytest.mark.parametrize("seeds_inside", [True, False])
def test_seeds_with_inputs_of_their_own_in_a_batch(name, implementation, seeds_inside):
    """Inputs, resets, lengths and carry mapped over the seeds and over examples, the parameters over the seeds only."""
    cell = CELLS[name].make(3, 4)
    examples, history = 2, keeps_history(implementation)
    each = [[draw(cell, 4, (), seed=10 * s + e) for e in range(examples)] for s in range(SEEDS)]
    each = [[one._replace(params=row[0].params) for one in row] for row in each]
    stacked = jax.tree.map(
        lambda *rows: jnp.stack(rows), *(jax.tree.map(lambda *x: jnp.stack(x), *row) for row in each)
    )._replace(params=jax.tree.map(lambda *p: jnp.stack(p), *(row[0].params for row in each)))

    def mapped(smooth):
        def one(*arrays):
            return run(cell, Arrays(*arrays), implementation=implementation, return_history=history)

        here = stacked._replace(**smooth)
        if seeds_inside:
            out = jax.vmap(jax.vmap(one), (None, 1, 1, 1, 1, 1), 1)(*here)
        else:
            out = jax.vmap(jax.vmap(one, (None, 0, 0, 0, 0, 0)))(*here)
        return sum(weigh(cut(out, (s, e))) for s in range(SEEDS) for e in range(examples)), out

    smooth = {n: getattr(stacked, n) for n in ("params", "xs", "carry", "reset_carry")}
    gradients, out = jax.jit(jax.grad(mapped, has_aux=True))(smooth)
    for s in range(SEEDS):
        sums: list = []
        for e in range(examples):
            expected, by_hand = evaluate(cell, each[s][e], implementation="xla", return_history=history)
            close(cut(out, (s, e)), expected)
            sums.append(by_hand.pop("params"))
            close({n: cut(gradients[n], (s, e)) for n in by_hand}, by_hand)
        close(cut(gradients["params"], s), jax.tree.map(lambda *g: sum(g), *sums), scale=3)


@contenders("lstm", "gru", "elman-tanh")
def test_hessian_vector_products_over_seeds(x64, name, implementation):
    cell = CELLS[name].make(2, 2)
    dtype = sharpest(implementation)
    xs = draw(cell, 3, (2,), dtype).xs
    loss = last_loss(cell, implementation)

    def curvature(p):
        return jax.grad(lambda q: weigh(jax.grad(loss)(q, xs)))(p)

    seeds = [random_params(cell, s, dtype) for s in range(SEEDS)]
    mapped = jax.jit(jax.vmap(curvature))(jax.tree.map(lambda *p: jnp.stack(p), *seeds))
    for s, p in enumerate(seeds):
        close(cut(mapped, s), jax.jit(curvature)(p))


@contenders("lstm", "gru")
def test_hessian_vector_products_by_a_carry_that_seeds_share(x64, name, implementation):
    cell = CELLS[name].make(2, 2)
    dtype = sharpest(implementation)
    _, xs, carry, *_ = draw(cell, 3, (2,), dtype)
    loss = last_loss(cell, implementation)
    seeds = [random_params(cell, s, dtype) for s in range(SEEDS)]

    def curvature(carry, params):
        return jax.grad(lambda c: weigh(jax.grad(loss, argnums=(1, 2))(params, xs, c)))(carry)

    def total(carry):
        each = jax.vmap(jax.grad(loss, argnums=(1, 2)), (0, None, None))
        return weigh(jax.tree.map(lambda g: g.sum(0), each(jax.tree.map(lambda *p: jnp.stack(p), *seeds), xs, carry)))

    close(jax.jit(jax.grad(total))(carry), jax.tree.map(lambda *c: sum(c), *(curvature(carry, p) for p in seeds)))


@contenders("lstm", "gru", "elman-tanh")
def test_under_scan_and_checkpoint(name, implementation):
    """Windows of a long sequence in a loop, each recomputed in the backward pass."""
    cell = CELLS[name].make(3, 4)
    params, xs, carry, *_ = draw(cell, 6)

    def windows(params, xs, carry):
        window = jax.checkpoint(lambda c, x: lj.scan(cell, params, x, c, implementation=implementation))
        last, ys = jax.lax.scan(window, carry, xs.reshape(3, 2, *xs.shape[1:]))
        return weigh((last, ys.reshape(6, *ys.shape[2:])))

    graded = jax.jit(jax.grad(windows, argnums=(0, 1, 2)))(params, xs, carry)
    expected = jax.jit(jax.grad(last_loss(cell, implementation), argnums=(0, 1, 2)))(params, xs, carry)
    close(graded, expected)


@contenders("lstm", "gru", "elman-tanh")
def test_without_jit(name, implementation):
    cell = CELLS[name].make(2, 3)
    arrays = draw(cell, 3, (2,))
    out, gradients = evaluate(cell, arrays, implementation=implementation)
    close(run(cell, arrays, implementation=implementation), out)
    eager = jax.grad(lambda p: weigh(run(cell, arrays._replace(params=p), implementation=implementation)))
    close(eager(arrays.params), gradients["params"])


SIZES = {"time": 13, "batch": 5, "input": 7, "hidden": 11}


def holds_a_matrix_per_example(text, gates):
    """Whether a program's text has a buffer in which every example has a weight matrix of its own."""
    matrices = [(SIZES[rows], gates * SIZES["hidden"]) for rows in ("input", "hidden")]
    shapes = {tuple(sorted(map(int, s.split(",")))) for s in re.findall(r"f32\[(\d+(?:,\d+)+)\]", text)}
    return any(tuple(sorted((SIZES["batch"], *m))) in shapes for m in matrices)


@contenders("lstm", "gru", "elman-tanh")
def test_shared_weights_get_one_gradient_not_one_for_each_example(name, implementation):
    cell = CELLS[name].make(SIZES["input"], SIZES["hidden"])
    gates = len(cell.gates)
    params, xs, *_ = draw(cell, SIZES["time"], (SIZES["batch"],))
    loss = last_loss(cell, implementation)

    def program(f):
        return jax.jit(f).lower(params, xs).compile().as_text()

    shared = program(jax.grad(lambda p, x: jax.vmap(loss, (None, 1))(p, x).sum()))
    assert not holds_a_matrix_per_example(shared, gates)
    each = program(jax.vmap(jax.grad(loss), (None, 1)))  # asked for, it is there: the search finds what it looks for
    assert holds_a_matrix_per_example(each, gates)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-reset-before", "elman-relu"])
def test_one_step_under_every_transformation(x64, name):
    cell = CELLS[name].make(3, 4)
    params, xs, carry, *_ = draw(cell, 1, (3,), jnp.float64)
    x = xs[0]
    carries, ys = jax.jit(lambda p, c, x: cell(p, c, x))(params, carry, x)
    close(jax.vmap(cell, (None, 0, 0))(params, carry, x), (carries, ys))
    close(cell(params, cut(carry, 1), x[1]), (cut(carries, 1), ys[1]))
    stacked = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    both = jax.vmap(cell, (0, None, None))(stacked, carry, x)
    close(cut(both, 0), (carries, ys))
    close(cut(both, 1), cell(jax.tree.map(lambda p: 2 * p, params), carry, x))
    along = random_like((params, carry, x), 9)

    def loss(args):
        return weigh(cell(*args))

    point = (params, carry, x)
    gradient = jax.grad(loss)(point)
    slope = jax.jvp(loss, (point,), (along,))[1]
    close(slope, sum(jnp.vdot(g, v) for g, v in zip(*map(jax.tree.leaves, (gradient, along)), strict=True)))
    step = 1e-6
    up, down = (loss(jax.tree.map(lambda p, v, s=s: p + s * v, point, along)) for s in (step, -step))
    close(slope, (up - down) / (2 * step), scale=1e4)
