"""Every cell on every implementation against the float64 loop: values, and gradients by the complex step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

import lstm_jax as lj
from tests.contenders import (
    BASE,
    CELLS,
    IMPLEMENTATIONS,
    SMOOTH,
    TOLERANCE,
    Arrays,
    close,
    contenders,
    cut,
    draw,
    evaluate,
    in_float64,
    keeps_history,
    oracle_scan,
    random_like,
    run,
    same,
    serves,
    sharpest,
    weigh,
)
from tests.oracle import derivative

# What is left out of the call, and the options that come with it.
CALLS = {
    "plain": (("carry", "reset_carry", "lengths", "resets"), {}),
    "reverse": (("carry", "reset_carry", "lengths", "resets"), {"reverse": True}),
    "all": ((), {"return_history": True}),
    "all-reverse": ((), {"reverse": True, "return_history": True}),
    "chunk": (("reset_carry",), {"chunk": 2, "unroll": 2, "return_history": True}),
    "chunk-reverse": (("lengths",), {"chunk": 2, "unroll": 3, "reverse": True}),
}


def check_against_oracle(name, cell, arrays, options, implementation):
    """Values entry by entry, gradients along one random direction for each array; returns the gradients."""
    dtype = sharpest(implementation)
    arrays = jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, arrays)
    if not keeps_history(implementation):
        options = options | {"return_history": False}
    out, gradients = evaluate(cell, arrays, implementation=implementation, **options)
    reverse = options.get("reverse", False)
    history = options.get("return_history", False)

    def expected(smooth):
        last, ys, after = oracle_scan(name, arrays._replace(**smooth), reverse, cell)
        return (last, (ys, after)) if history else (last, ys)

    smooth = {n: in_float64(getattr(arrays, n)) for n in SMOOTH}
    close(jax.tree.leaves(out), jax.tree.leaves(expected(smooth)))
    for path, gradient in jax.tree.leaves_with_path(gradients):
        along = np.random.default_rng(gradient.size).normal(size=gradient.shape)
        direction = jax.tree.map_with_path(lambda p, x: along if p == path else np.zeros(x.shape), smooth)  # noqa: B023
        slope = derivative(lambda s: weigh(jax.tree.map(np.asarray, expected(s))), smooth, direction)
        products = np.asarray(gradient) * along
        error = abs(slope - products.sum())
        assert error <= TOLERANCE[dtype] * max(1, np.abs(products).sum()), (jax.tree_util.keystr(path), error)
    return gradients


@contenders()
@pytest.mark.parametrize("call", CALLS)
def test_values_and_gradients_are_the_equations(x64, name, implementation, call):
    if name not in BASE and call not in ("all-reverse", "chunk"):
        pytest.skip("what these calls add to the others is the loop's, not the cell's")
    cell = CELLS[name].make(3, 4)
    omitted, options = CALLS[call]
    arrays = draw(cell, dtype=jnp.float64)._replace(**dict.fromkeys(omitted))
    check_against_oracle(name, cell, arrays, options, implementation)


@st.composite
def calls(draw_from):
    name = draw_from(st.sampled_from(sorted(CELLS)))
    batch = draw_from(st.sampled_from([(), (1,), (3,), (2, 2), (0,)]))
    time = draw_from(st.integers(0, 6))
    sizes = draw_from(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    cell = CELLS[name].make(*sizes)
    with jax.enable_x64(True):
        arrays = draw(cell, time, batch, jnp.float64, seed=draw_from(st.integers(0, 99)))
        many = int(np.prod(batch, dtype=int))
        lengths = draw_from(st.lists(st.integers(0, time), min_size=many, max_size=many))
        resets = draw_from(st.lists(st.booleans(), min_size=time * many, max_size=time * many))
        arrays = arrays._replace(
            lengths=jnp.asarray(np.array(lengths, int).reshape(batch)),
            resets=jnp.asarray(np.array(resets, bool).reshape(time, *batch)),
        )
    omitted = draw_from(st.sets(st.sampled_from(["carry", "reset_carry", "lengths", "resets"]), max_size=2))
    options = {
        "reverse": draw_from(st.booleans()),
        "chunk": draw_from(st.sampled_from([None, 1, 2, 4])),
        "unroll": draw_from(st.sampled_from([1, 2, 9])),
        "return_history": draw_from(st.booleans()),
    }
    return name, cell, arrays._replace(**dict.fromkeys(omitted)), options


@settings(max_examples=25)
@given(calls())
def test_any_shape_and_any_options(call):
    cell = call[1]
    with jax.enable_x64(True):
        for i in IMPLEMENTATIONS:
            if serves(i, cell):
                check_against_oracle(*call, i)


@contenders("lstm", "gru", "gru-reset-before", "elman-tanh", dtype="float64")
def test_finite_differences_to_the_second_order(x64, name, implementation):
    cell = CELLS[name].make(2, 2)
    arrays = draw(cell, 3, (2,), jnp.float64)
    modes = ["rev", "fwd"] if implementation == "xla" else ["rev"]

    @jax.jit
    def loss(*smooth):
        return weigh(
            run(cell, arrays._replace(**dict(zip(SMOOTH, smooth, strict=True))), implementation=implementation)
        )

    check_grads(loss, arrays[:4], order=2, modes=modes, atol=1e-5, rtol=1e-5)


@contenders("lstm")
def test_chunk_keeps_less_for_the_backward_pass(name, implementation):
    cell = CELLS[name].make(4, 32)
    arrays = Arrays(*draw(cell, 1024, (8,))[:2])

    def temporary(chunk):
        def loss(params):
            carry, _ = lj.scan(cell, params, arrays.xs, chunk=chunk, implementation=implementation)
            return weigh(carry)

        return jax.jit(jax.grad(loss)).lower(arrays.params).compile().memory_analysis().temp_size_in_bytes

    assert temporary(32) < 0.25 * temporary(None)


@contenders("lstm", "gru", "gru-reset-before", "elman-relu")
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_never_read(name, implementation, reverse):
    cell = CELLS[name].make(3, 4)
    arrays = draw(cell, time=6, batch=(4,))._replace(lengths=jnp.array([0, 6, 2, 5]))
    padding = np.arange(6)[:, None] >= np.asarray(arrays.lengths)
    options = {"implementation": implementation, "reverse": reverse, "return_history": keeps_history(implementation)}
    out, gradients = evaluate(cell, arrays, **options)
    carry, ys = out
    ys, *history = ys if keeps_history(implementation) else (ys,)
    for poison in (np.nan, np.inf):
        xs = jnp.asarray(np.where(padding.reshape(6, 4, *(1 for _ in cell.input_shape)), poison, arrays.xs))
        resets = jnp.asarray(np.asarray(arrays.resets) ^ padding)  # resets past a length are ignored too
        same(evaluate(cell, arrays._replace(xs=xs, resets=resets), **options), (out, gradients))
    assert not np.asarray(ys)[padding].any() and np.asarray(ys)[~padding].any()
    assert not np.asarray(gradients["xs"])[padding].any() and np.asarray(gradients["xs"])[~padding].any()
    same(cut(carry, 0), cut(arrays.carry, 0))
    held = jax.tree.map(lambda c: jnp.stack([c[0]] * 6), arrays.carry)
    same(cut(history, (slice(None), 0)), [held] * len(history))


@contenders("lstm")
def test_lengths_out_of_range_count_as_the_nearest(name, implementation):
    cell = CELLS[name].make(3, 4)
    arrays = draw(cell, batch=(4,))
    for dtype in (jnp.int32, jnp.int8, jnp.uint8):
        wild = jnp.array([-3, 9, 2, 5] if dtype != jnp.uint8 else [0, 200, 2, 5], dtype)
        tame = jnp.array([0, 5, 2, 5])
        same(
            evaluate(cell, arrays._replace(lengths=wild), implementation=implementation),
            evaluate(cell, arrays._replace(lengths=tame), implementation=implementation),
        )


def test_int32_lengths_in_x64(x64):
    cell = lj.GRU(3, 4)
    layer = lj.Recurrent(cell)
    arrays = draw(cell, dtype=jnp.float64)
    for dtype in (jnp.int32, jnp.int64, jnp.uint8):
        lengths = arrays.lengths.astype(dtype)
        _, ys = lj.scan(cell, arrays.params, arrays.xs, lengths=lengths)
        last, expected, _ = oracle_scan("gru", Arrays(arrays.params, arrays.xs, lengths=arrays.lengths))
        close(ys, expected)
        close(layer.last(ys, lengths), last[0])  # a GRU's output is its carry, and it started from zero


def test_short_integer_lengths_of_long_sequences():
    """300 steps do not fit the lengths' own dtype."""
    cell = lj.Elman(1, 2)
    layer = lj.Recurrent(cell)
    arrays = draw(cell, time=300, batch=(2,))
    lengths = jnp.array([100, 7], jnp.int8)
    last, ys, _ = oracle_scan("elman-tanh", Arrays(arrays.params, arrays.xs, lengths=lengths))
    _, actual = lj.scan(cell, arrays.params, arrays.xs, lengths=lengths)
    close(actual, ys)
    close(layer.last(actual, lengths), last[0])


@contenders("lstm", "gru", "elman-tanh")
@pytest.mark.parametrize("reverse", [False, True])
def test_a_reset_is_a_new_sequence(name, implementation, reverse):
    """Cut at step 2, one sequence of 5 steps is two, of 2 and of 3, whichever way the loop runs."""
    cell = CELLS[name].make(3, 4)
    params, xs, carry, first, _, _ = draw(cell)
    options = {"implementation": implementation, "reverse": reverse}
    resets = jnp.zeros((5, 3), bool).at[2].set(True)
    start, middle = (first, carry) if reverse else (carry, first)
    late, late_ys = lj.scan(cell, params, xs[2:], middle, **options)
    early, early_ys = lj.scan(cell, params, xs[:2], start, **options)
    last, ys = lj.scan(cell, params, xs, carry, resets=resets, reset_carry=first, **options)
    close((last, ys), (early if reverse else late, jnp.concatenate([early_ys, late_ys])))
    # The first cut of all stands before step 0: forward it replaces `carry`, backward nothing is left to replace.
    at_start = jnp.zeros((5, 3), bool).at[0].set(True)
    cut_at_start = lj.scan(cell, params, xs, carry, resets=at_start, reset_carry=first, **options)
    close(cut_at_start, lj.scan(cell, params, xs, carry if reverse else first, **options))
    # Without `reset_carry` a reset goes to the cell's own first carry.
    zeros = jax.tree.map(jnp.zeros_like, carry)
    close(
        lj.scan(cell, params, xs, carry, resets=resets, **options),
        lj.scan(cell, params, xs, carry, resets=resets, reset_carry=zeros, **options),
    )


@contenders("lstm", "gru", "gru-reset-before", "elman-relu")
def test_one_step_at_a_time(name, implementation):
    cell = CELLS[name].make(3, 4)
    for batch in ((), (3,), (2, 2)):
        params, xs, carry, *_ = draw(cell, batch=batch)
        last, ys = lj.scan(cell, params, xs, carry, implementation=implementation)
        here, outputs = carry, []
        for x in xs:
            here, y = cell(params, here, x)
            outputs.append(y)
        close((here, jnp.stack(outputs)), (last, ys))


@contenders("lstm", "gru")
def test_a_stream_may_donate_its_carry(name, implementation):
    cell = CELLS[name].make(3, 4)
    params, xs, *_ = draw(cell, 4, (2,))
    step = jax.jit(lambda c, x: lj.scan(cell, params, x, c, implementation=implementation), donate_argnums=0)
    carry = cell.initial_carry(params, (2,))
    last, ys = step(step(carry, xs[:2])[0], xs[2:])
    assert all(x.is_deleted() for x in jax.tree.leaves(carry))
    expected, whole = lj.scan(cell, params, xs, implementation=implementation)
    close((last, ys), (expected, whole[2:]))


@contenders("lstm", "gru", "elman-tanh")
def test_a_stream_goes_on_where_it_stopped(name, implementation):
    cell = CELLS[name].make(3, 4)
    params, xs, carry, first, _, resets = draw(cell, time=6)
    options = {"implementation": implementation, "reset_carry": first}
    whole = lj.scan(cell, params, xs, carry, resets=resets, **options)
    halfway, early = lj.scan(cell, params, xs[:2], carry, resets=resets[:2], **options)
    last, late = lj.scan(cell, params, xs[2:], halfway, resets=resets[2:], **options)
    close((last, jnp.concatenate([early, late])), whole)


@contenders("lstm", "gru", "elman-tanh")
def test_no_steps_hand_the_carry_on(name, implementation):
    cell = CELLS[name].make(3, 4)
    params, xs, carry, first, _, _ = draw(cell, time=0)
    for options in ({}, {"reverse": True, "chunk": 2}, {"unroll": 3}):
        last, ys = lj.scan(cell, params, xs, carry, implementation=implementation, **options)
        same(last, carry)
        assert ys.shape == (0, 3, 4) and ys.dtype == xs.dtype
    _, gradients = evaluate(cell, Arrays(params, xs, carry, first), implementation=implementation)
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(gradients["params"]))
    weights = jax.grad(lambda c: weigh((c, jnp.zeros((0, 3, 4)))))(carry)
    same(gradients["carry"], weights)


def first_of(cell):
    return next(i for i in IMPLEMENTATIONS if serves(i, cell))


def test_without_a_name_the_first_that_serves_runs(monkeypatch):
    called = []
    for name, kernel in lj.kernels.TABLE.items():

        def spy(*args, name=name, kernel=kernel):
            called.append(name)
            return kernel.run(*args)

        monkeypatch.setitem(lj.kernels.TABLE, name, kernel._replace(run=spy))
    for row in CELLS.values():
        cell = row.make(3, 4)
        params, xs, *_ = draw(cell)
        for implementation in [None, *(i for i in IMPLEMENTATIONS if serves(i, cell))]:
            called.clear()
            lj.scan(cell, params, xs, implementation=implementation)
            why = lj.kernels.explain(cell, xs, implementation=implementation)
            assert called == [why.chosen] == [implementation or first_of(cell)]
            assert {why.chosen, *why.passed_over} == set(IMPLEMENTATIONS)
    assert "reset_after=False" in lj.kernels.explain(lj.GRU(3, 4, reset_after=False)).passed_over["xla_vjp"]
    assert str(lj.kernels.explain(lj.LSTM(3, 4))).splitlines()[0] == f"{first_of(lj.LSTM(3, 4))}: chosen"


@contenders("lstm", "gru", "gru-reset-before", "elman-tanh")
@pytest.mark.parametrize("hoist", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_the_arrangement_of_products_changes_no_number(monkeypatch, x64, name, implementation, hoist, flat):
    monkeypatch.setattr(lj.kernels, "arrangement", lambda: {"hoist": hoist, "flat": flat})
    cell = CELLS[name].make(2 + hoist, 3 + flat)  # sizes of its own: no compiled program of another test is found again
    check_against_oracle(name, cell, draw(cell, 4, dtype=jnp.float64), {"chunk": 2, "reverse": True}, implementation)


def test_equal_cells_compile_once():
    traces = []

    @jax.jit(static_argnums=0)
    def forward(cell, params, xs):
        traces.append(cell)
        return lj.scan(cell, params, xs)[1]

    def cells():
        return [
            lj.LSTM(3, 4, b_init=lj.inits.Chrono(t_max=20)),
            lj.GRU(3, 4, reset_after=False),
            lj.Elman(3, 4, activation="relu"),
        ]

    for first, second in zip(cells(), cells(), strict=True):
        assert first == second and hash(first) == hash(second) and first is not second
        traces.clear()
        arrays = draw(first)
        same(forward(first, arrays.params, arrays.xs), forward(second, arrays.params, arrays.xs))
        assert len(traces) == 1
    assert lj.LSTM(3, 4) != lj.LSTM(3, 5) and lj.LSTM(3, 4) != lj.LSTM(3, 4, use_bias=False)
    assert lj.LSTM(3, 4) != lj.LSTM(3, 4, b_init=lj.inits.Chrono(t_max=20))
    assert lj.Stack((lj.Recurrent(lj.GRU(3, 4)),)) == lj.Stack((lj.Recurrent(lj.GRU(3, 4)),))
    assert len({lj.Bidirectional(lj.GRU(3, 4)), lj.Bidirectional(lj.GRU(3, 4)), lj.Recurrent(lj.GRU(3, 4))}) == 2


def test_random_like_leaves_no_bias_at_zero():
    """The comparisons above would not see a bias that is forgotten."""
    assert all(np.abs(np.asarray(x)).min() > 0 for x in jax.tree.leaves(draw(lj.GRU(3, 4)).params))
    assert random_like(jnp.zeros(3, jnp.bfloat16), 0).dtype == jnp.bfloat16
