"""The wrappers that draw, with what they drew: values and gradients beside their papers' equations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import lstm_jax as lj
from tests import oracle
from tests.contenders import (
    CELLS,
    SMOOTH,
    close,
    draw,
    in_float64,
    random_params,
    run,
    same,
    serves,
    weigh,
)

KEY = jax.random.key(5)
WRAPPED = {
    "zoneout-lstm": lj.Zoneout(lj.LSTM(3, 4), rates=(0.3, 0.5)),
    "zoneout-gru": lj.Zoneout(lj.GRU(3, 4), rates=0.4),
    "variational-lstm": lj.VariationalDropout(lj.LSTM(3, 4), rate=0.4),
    "variational-gru-reset-before": lj.VariationalDropout(lj.GRU(3, 4, reset_after=False), rate=0.4),
    "weight-drop-lstm": lj.WeightDrop(lj.LSTM(3, 4), rate=0.4),
    "weight-drop-controller": lj.WeightDrop(
        lj.NTM(3, 4, 2, memory_slots=4, memory_width=3), rate=0.4, weights=("controller.w_h", "w_y")
    ),
    "all": lj.WeightDrop(lj.Zoneout(lj.VariationalDropout(lj.LSTM(3, 4)), rates=(0.1, 0.3))),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_finite_differences(x64, name):
    """Of both modes, with the masks that one key draws."""
    arrays = draw(WRAPPED[name], 3, (2,), jnp.float64)

    @jax.jit
    def loss(*smooth):
        return weigh(
            run(WRAPPED[name], arrays._replace(**dict(zip(SMOOTH, smooth, strict=True))), key=KEY, implementation="xla")
        )

    check_grads(loss, arrays[:4], order=1, modes=["rev", "fwd"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", WRAPPED)
def test_seeds_have_masks_of_their_own(name):
    """A call mapped over parameters, inputs and keys is a loop over them."""
    cell, keys = WRAPPED[name], jax.random.split(KEY, 3)
    each = [draw(cell, seed=10 * seed) for seed in range(3)]
    arrays = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    expected = [run(cell, a, key=k) for a, k in zip(each, keys, strict=True)]
    close(jax.vmap(lambda a, k: run(cell, a, key=k))(arrays, keys), jax.tree.map(lambda *x: jnp.stack(x), *expected))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("name", "rates"), [("lstm", (0.3, 0.5)), ("lstm", (0.4, 0.0)), ("gru", (0.4,))])
def test_zoneout_by_its_equations(x64, name, rates, reverse):
    """Krueger et al. 2017, and haste's LSTM and GRU, which zone out h alone: h' = h + m (h_cell - h), m is 1 - ours.

    The oracle gets the masks as further inputs, and so through lengths, resets and reversal, too.
    """
    cell = lj.Zoneout(CELLS[name].make(3, 4), rates=rates)
    arrays = draw(cell, 6, (4,), jnp.float64)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.split(KEY)[1], jnp.arange(6))
    masks = jax.vmap(lambda x, k: cell.project(arrays.params, x, key=k).masks)(arrays.xs, keys)
    assert not any(jnp.any(m) for m, rate in zip(masks, rates, strict=True) if rate == 0)

    def step(params, carry, x):
        x, stay = x[:3], np.split(x[3:], len(rates))
        new, _ = CELLS[name].equations(params, carry, x)
        after = tuple(old + (1 - m) * (leaf - old) for m, old, leaf in zip(stay, carry, new, strict=True))
        return after, after[0]

    joined = jnp.concatenate([arrays.xs, *(mask.astype(float) for mask in masks)], axis=-1)
    params, xs = in_float64((arrays.params, joined))
    start, first = ([np.asarray(x) for x in jax.tree.leaves(c)] for c in (arrays.carry, arrays.reset_carry))
    carry, ys, _ = oracle.scan(step, params, xs, start, first, arrays.lengths, arrays.resets, reverse, (4,), 1)
    last, out = run(cell, arrays, key=KEY, reverse=reverse)
    close((jax.tree.leaves(last), out), (carry, ys))


def rows(params, scale):
    return params._replace(w_h=scale[:, None] * params.w_h)


SCALED = {
    "multiplicative": lambda params, scale: params._replace(w_mh=scale[:, None] * params.w_mh),
    "slstm-heads-exp": lambda params, scale: params._replace(w_h=scale.reshape(2, -1, 1) * params.w_h),
    "indrnn": lambda params, scale: params._replace(u=scale * params.u),
    "ntm": lambda params, scale: params._replace(controller=rows(params.controller, scale)),
} | dict.fromkeys(
    ("lstm", "gru", "gru-reset-before", "elman-tanh", "peephole", "full-gate", "projected", "memory-block", "janet",
     "layer-norm-lstm", "layer-norm-gru", "mgu", "mgu-reset-after", "mut1", "mut2", "light-gru", "scrn"), rows
)  # fmt: skip
"""The weights that h meets, every row of them scaled by a number of its own; MUT3 squashes h before."""


@pytest.mark.parametrize("name", SCALED)
def test_a_mask_on_h_is_one_on_rows(x64, name):
    """W (m h) = (W diag m) h: a sequence under its mask is the plain cell with weights of its own."""
    plain = CELLS[name].make(3, 4)
    cell = lj.VariationalDropout(plain, rate=0.4)
    arrays = draw(plain, 5, (3,), jnp.float64)
    scale = cell.prepare(arrays.params, (3,), key=jax.random.split(KEY)[0]).mask.astype(float) / 0.6

    def alone(smooth, lengths, resets, scale):
        smooth = smooth | {"params": SCALED[name](smooth["params"], scale)}
        return run(plain, arrays._replace(lengths=lengths, resets=resets, **smooth))

    def each(smooth):
        axes = {"params": None, "xs": 1, "carry": 0, "reset_carry": 0}
        return jax.vmap(alone, (axes, 0, 1, 0), (0, 1))(smooth, arrays.lengths, arrays.resets, scale)

    def masked(smooth):
        return run(cell, arrays._replace(**smooth), key=KEY)

    smooth = {field: getattr(arrays, field) for field in SMOOTH}
    close(*((jax.jit(f)(smooth), jax.jit(jax.grad(lambda s, f=f: weigh(f(s))))(smooth)) for f in (masked, each)))


@pytest.mark.parametrize(
    ("space", "plain"), [(lj.ConvLSTM, lj.LSTM), (lj.ConvGRU, functools.partial(lj.GRU, reset_after=False))]
)
def test_a_mask_over_images(x64, space, plain):
    """With a kernel of one place, every place is a sequence under its own mask."""
    plain = plain(3, 4)
    cell = lj.VariationalDropout(space((3, 2), 3, 4, kernel_size=1), rate=0.4)
    params, xs, carry, *_ = draw(cell, 5, (2,), jnp.float64)
    mask = cell.prepare(params, (2,), key=jax.random.split(KEY)[0]).mask.astype(float)
    flat = plain.init(KEY, jnp.float64)._replace(w_x=params.w_x[0, 0], w_h=params.w_h[0, 0], b=params.b)
    alone = functools.partial(lj.scan, plain)
    for _ in range(3):
        alone = jax.vmap(alone, (0, 1, 0), (0, 1))
    weights = jax.tree.map(lambda w: jnp.broadcast_to(w, (2, 3, 2, *w.shape)), flat)
    weights = weights._replace(w_h=(mask / 0.6)[..., None] * weights.w_h)
    close(lj.scan(cell, params, xs, carry, key=KEY), alone(weights, xs, carry))


class TestNoise:
    cell = lj.LSTM(3, 16)

    def draws(self):
        return draw(self.cell, 12, (64,))

    def test_zoneout_keeps_units_at_its_rates(self):
        params, xs, carry, *_ = self.draws()
        cell = lj.Zoneout(self.cell, rates=(0.25, 0.5))
        _, (ys, after) = lj.scan(cell, params, xs, carry, key=KEY, return_history=True)
        same(ys, after.h)
        for leaf, first, rate in ((after.h, carry.h, 0.25), (after.c, carry.c, 0.5)):
            kept = leaf == jnp.concatenate([first[None], leaf[:-1]])
            assert np.abs(np.asarray(kept).mean((0, 1)) - rate).max() < 0.07  # 768 draws a unit
        again = lj.scan(cell, params, xs, carry, key=KEY, return_history=True, chunk=5)
        close(again[1], (ys, after))

    def test_zoneout_of_rate_zero_is_the_cell(self):
        params, xs, *_ = self.draws()
        expected = lj.scan(self.cell, params, xs, implementation="xla")
        close(lj.scan(lj.Zoneout(self.cell, rates=0.0), params, xs, key=KEY), expected)
        close(lj.scan(lj.Zoneout(self.cell, rates=0.0), params, xs), expected)

    def test_variational_dropout_has_one_mask_a_sequence(self):
        params, xs, carry, *_ = self.draws()
        cell = lj.VariationalDropout(self.cell, rate=0.25)
        prepared = cell.prepare(params, (64,), key=jax.random.split(KEY)[0])
        keep = np.asarray(prepared.mask)
        assert keep.shape == (64, 16) and abs(keep.mean() - 0.75) < 0.05
        here, ys = carry, []
        for x in xs:
            masked = here._replace(h=jnp.where(keep, here.h / 0.75, 0))
            after, y = self.cell(params, masked, x)
            here = after
            ys.append(y)
        close(lj.scan(cell, params, xs, carry, key=KEY), (here, jnp.stack(ys)))

    def test_variational_dropout_leaves_a_grus_own_past_whole(self):
        """A GRU that keeps everything keeps it under any mask."""
        gru = lj.GRU(3, 16)
        params, xs, carry, *_ = draw(gru, 12, (8,))
        params = params._replace(b=params.b.at[16:32].set(60.0))
        last, _ = lj.scan(lj.VariationalDropout(gru, rate=0.5), params, xs, carry, key=KEY)
        close(last, carry)

    @pytest.mark.parametrize("implementation", [i for i in lj.kernels.TABLE if serves(i, lj.LSTM(3, 16))])
    def test_weight_drop_drops_weights_once_for_the_batch(self, implementation):
        params, xs, carry, *_ = self.draws()
        cell = lj.WeightDrop(self.cell, rate=0.5)
        dropped = cell.prepare(params, (64,), key=jax.random.split(KEY)[0])
        keep = np.asarray(dropped.w_h != 0)
        assert abs(keep.mean() - 0.5) < 0.06
        close(dropped.w_h, np.where(keep, 2 * np.asarray(params.w_h), 0))
        same((dropped.w_x, dropped.b), (params.w_x, params.b))
        expected = lj.scan(self.cell, dropped, xs, carry, implementation=implementation)
        close(lj.scan(cell, params, xs, carry, key=KEY, implementation=implementation), expected)
        gradient = jax.grad(lambda p: weigh(lj.scan(cell, p, xs, carry, key=KEY, implementation=implementation)))(
            params
        )
        assert not np.asarray(gradient.w_h)[~keep].any() and np.asarray(gradient.w_h)[keep].any()

    def test_wrappers_compose(self):
        cell = lj.WeightDrop(lj.Zoneout(lj.VariationalDropout(self.cell), rates=(0.1, 0.0)), rate=0.3)
        params, xs, *_ = self.draws()
        close(lj.scan(cell, params, xs), lj.scan(lj.Zoneout(self.cell, rates=(0.1, 0.0)), params, xs))
        one, other = (lj.scan(cell, params, xs, key=k)[1] for k in jax.random.split(KEY))
        assert np.abs(np.asarray(one - other)).max() > 0.1
        stack = lj.Stack((lj.Recurrent(cell), lj.Bidirectional(lj.Zoneout(lj.GRU(16, 4)))), dropout=0.2)
        params = random_params(stack)
        _, ys = jax.jit(lambda p, x, k: stack(p, x, key=k))(params, xs, KEY)
        assert ys.shape == (12, 64, 8) and np.isfinite(np.asarray(ys)).all()
