"""A cell that draws: one mask for each sequence in `prepare`, noise for each step in `project`."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from tests.contenders import close, contenders, draw, random_like, random_params, same, weigh


class NoisyParams(NamedTuple):
    w_x: Any
    w_h: Any
    mask: Any = None


@dataclasses.dataclass(frozen=True)
class Noisy:
    """h' = tanh(W_x x + noise + W_h (mask * h)): as small as a cell of the protocol can be."""

    input_size: int = 3
    hidden_size: int = 4

    @property
    def input_shape(self):
        return (self.input_size,)

    @property
    def output_shape(self):
        return (self.hidden_size,)

    def init(self, key, dtype=jnp.float32):
        k_x, k_h = jax.random.split(key)
        return NoisyParams(
            jax.random.normal(k_x, (self.input_size, self.hidden_size), dtype),
            jax.random.normal(k_h, (self.hidden_size, self.hidden_size), dtype),
        )

    def initial_carry(self, params, batch_shape=(), dtype=None):
        return jnp.zeros((*batch_shape, self.hidden_size), params.w_h.dtype if dtype is None else dtype)

    def prepare(self, params, batch_shape, *, key=None):
        if key is None:
            return params
        keep = jax.random.bernoulli(key, 0.5, (*batch_shape, self.hidden_size))
        return params._replace(mask=2 * keep.astype(params.w_h.dtype))

    def project(self, params, x, *, key=None):
        z = x @ params.w_x
        return z if key is None else z + jax.random.normal(key, z.shape, z.dtype)

    def step(self, params, carry, z):
        h = jnp.tanh(z + (carry if params.mask is None else params.mask * carry) @ params.w_h)
        return h, h

    def __call__(self, params, carry, x, *, key=None):
        return self.step(params, carry, self.project(params, x, key=key))


CELL = Noisy()
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def arrays():
    return draw(CELL, time=5, batch=(3,))


def by_hand(params, xs, carry, key, reverse=False):
    """Step t draws from fold_in(key, t), whichever way the loop runs; the mask is drawn once."""
    key_prepare, key_steps = jax.random.split(key)
    params = CELL.prepare(params, xs.shape[1:-1], key=key_prepare)
    ys: dict = {}
    for t in reversed(range(len(xs))) if reverse else range(len(xs)):
        carry, ys[t] = CELL(params, carry, xs[t], key=jax.random.fold_in(key_steps, t))
    return carry, jnp.stack([ys[t] for t in range(len(xs))])


@pytest.mark.parametrize("reverse", [False, True])
def test_every_step_has_a_key_of_its_own(arrays, reverse):
    params, xs, carry = arrays[:3]
    expected = by_hand(params, xs, carry, KEY, reverse)
    close(lj.scan(CELL, params, xs, carry, key=KEY, reverse=reverse), expected)
    plain = lj.scan(CELL, params, xs, carry, reverse=reverse)[1]
    assert np.abs(np.asarray(plain - expected[1])).max() > 0.1
    other = lj.scan(CELL, params, xs, carry, key=jax.random.key(4), reverse=reverse)[1]
    assert np.abs(np.asarray(other - expected[1])).max() > 0.1


@pytest.mark.parametrize("reverse", [False, True])
def test_recomputation_draws_the_same_numbers(monkeypatch, arrays, reverse):
    """With chunk, unroll, history, and where the platform hoists: the same numbers and the same gradients."""
    params, xs, carry, first, lengths, resets = arrays

    def results(**options):
        def loss(params, xs):
            carry_ys = lj.scan(
                CELL, params, xs, carry, lengths=lengths, resets=resets, reset_carry=first, reverse=reverse, **options
            )
            return weigh(carry_ys), carry_ys

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, xs)

    expected = results(key=KEY)
    for options in ({"chunk": 2}, {"unroll": 5}, {"chunk": 3, "unroll": 2}):
        close(results(key=KEY, **options), expected)
    monkeypatch.setattr(lj.kernels, "arrangement", lambda: {"hoist": True})
    close(results(key=KEY), expected)
    assert np.abs(np.asarray(results()[1][1] - expected[1][1])).max() > 0.1


def test_without_a_key_nothing_is_drawn(monkeypatch, arrays):
    params, xs, carry = arrays[:3]
    elman = lj.ElmanParams(params.w_x, params.w_h, None)
    expected = lj.scan(lj.Elman(3, 4, use_bias=False), elman, xs, carry)
    close(lj.scan(CELL, params, xs, carry), expected)
    monkeypatch.setattr(lj.kernels, "arrangement", lambda: {"hoist": True})
    close(lj.scan(CELL, params, xs, carry), expected)


def test_keys_under_vmap(arrays):
    params, xs, carry = arrays[:3]
    keys = jax.random.split(KEY, 3)
    mapped = jax.jit(jax.vmap(lambda k: lj.scan(CELL, params, xs, carry, key=k)))(keys)
    for s in range(3):
        close(jax.tree.map(lambda x, s=s: x[s], mapped), lj.scan(CELL, params, xs, carry, key=keys[s]))


def test_in_layers_every_direction_and_layer_draws_its_own():
    twin = lj.Bidirectional(CELL)
    params = random_params(twin)
    params = params._replace(backward=params.forward)
    xs = random_like(jnp.zeros((1, 3, 3)), 1)  # one step: without draws both directions would agree
    _, ys = twin(params, xs, key=KEY)
    assert np.abs(np.asarray(ys[..., :4] - ys[..., 4:])).max() > 0.1
    _, calm = twin(params, xs)
    same(calm[..., :4], calm[..., 4:])
    stack = lj.Stack((lj.Recurrent(CELL), lj.Recurrent(Noisy(4, 4))))
    params = random_params(stack)
    noisy, again = (stack(params, xs, key=KEY)[1] for _ in range(2))
    same(noisy, again)
    assert np.abs(np.asarray(noisy - stack(params, xs)[1])).max() > 0.1


def test_only_the_reference_serves_it():
    why = lj.kernels.explain(CELL, key=KEY)
    assert why.chosen == "xla" and "Noisy" in why.passed_over["xla_vjp"]
    params = random_params(CELL)
    with pytest.raises(NotImplementedError, match=r"`implementation`.*'xla_vjp'.*Noisy"):
        lj.scan(CELL, params, jnp.zeros((2, 3)), implementation="xla_vjp")


@contenders("lstm", "gru", "elman-tanh")
def test_a_key_changes_nothing_for_cells_that_do_not_draw(name, implementation):
    """Nor does it cost them their kernel: dropout between layers needs a key, the recurrences do not."""
    from tests.contenders import CELLS

    cell = CELLS[name].make(3, 4)
    params, xs, *_ = draw(cell)
    expected = lj.scan(cell, params, xs, implementation=implementation)
    for options in ({}, {"chunk": 2}):
        close(lj.scan(cell, params, xs, key=KEY, implementation=implementation, **options), expected)
    assert lj.kernels.explain(cell, xs, key=KEY).chosen == lj.kernels.explain(cell, xs).chosen
