"""Many settings and seeds in one program, beside one setting and one seed trained alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from benchmarks.runs import Budget, Problem, Setting, build, grid
from lstm_jax import tasks
from lstm_jax.models import Linear, Network
from lstm_jax.training import clipped_adam, init_state, make_step

TASK = tasks.Adding(6)
LAYERS = {"zero": lj.Recurrent(lj.GRU(2, 4)), "keep": lj.Recurrent(lj.GRU(2, 4, b_init=lj.inits.KeepBias()))}
SETTINGS = (Setting("zero", 0.01), Setting("keep", 0.05))
BUDGET = Budget(steps=6, batch=8, period=3)


def problem(solved):
    return Problem(
        batch=lambda key, position: TASK.sample(jax.random.fold_in(key, position), BUDGET.batch),
        loss=lambda outputs, batch: TASK.loss(outputs, batch.targets, batch.mask),
        validation=TASK.sample(jax.random.key(5), 16),
        error=lambda outputs, batch: TASK.error(outputs, batch.targets, batch.mask),
        solved=lambda outputs, batch: jnp.asarray(solved),
        output_size=1,
        tests=(TASK.sample(jax.random.key(6), 16), tasks.Adding(9).sample(jax.random.key(6), 8)),
    )


def alone(setting, key, decay):
    """The losses of every step, the validation errors of every look and the test errors."""
    made = problem(solved=False)
    network = Network(LAYERS[setting.init], Linear(4, 1))
    rate = setting.learning_rate

    def half_a_cosine(step):
        return rate * (1 + jnp.cos(jnp.pi * step / BUDGET.steps)) / 2

    optimizer = clipped_adam(half_a_cosine if decay else rate, 1.0)
    key_params, key_run = jax.random.split(key)
    state = init_state(network.init(key_params), optimizer, key_run)

    def loss_fn(params, batch, carry, key):
        return made.loss(network(params, batch.inputs)[1], batch), (carry, {})

    def error(params, batch):
        return made.error(network(params, batch.inputs)[1], batch)

    step = jax.jit(make_step(loss_fn, optimizer))
    losses, errors = [], []
    for position in range(BUDGET.steps):
        state, metrics = step(state, made.batch(key_run, position))
        losses.append(metrics["loss"])
        if (position + 1) % BUDGET.period == 0:
            errors.append(error(state.params, made.validation))
    return np.asarray(losses).reshape(-1, BUDGET.period).mean(1), errors, [error(state.params, x) for x in made.tests]


@pytest.fixture(scope="module", params=[False, True], ids=["constant", "decay"])
def decay(request):
    return request.param


@pytest.fixture(scope="module")
def outcome(decay):
    return build(problem(solved=False), LAYERS, SETTINGS, 2, dataclasses.replace(BUDGET, decay=decay), seed=3)()


@pytest.mark.parametrize("i", range(2))
@pytest.mark.parametrize("j", range(2))
def test_each_run_is_what_it_is_alone(outcome, decay, i, j):
    losses, errors, tested = alone(SETTINGS[i], jax.random.split(jax.random.key(3), 2)[j], decay)
    np.testing.assert_allclose(outcome.loss[i, j], losses, rtol=1e-4)
    np.testing.assert_allclose(outcome.error[i, j], errors, rtol=1e-4)
    np.testing.assert_allclose([test.error[i, j] for test in outcome.tests], tested, rtol=1e-4)


def test_the_budget_ends_a_run_that_solves_nothing(outcome):
    assert outcome.error.shape == outcome.solved.shape == outcome.loss.shape == (2, 2, 2)
    assert not outcome.solved.any() and not any(test.solved.any() for test in outcome.tests)
    assert outcome.seconds > 0 and outcome.compile_seconds > 0
    assert outcome.parameters == 3 * (2 * 4 + 4 * 4 + 4) + 4 + 4 + 1


def test_a_solved_setting_ends_the_run_at_its_look_unless_its_rate_has_yet_to_fall(decay):
    outcome = build(problem(solved=True), LAYERS, SETTINGS, 2, dataclasses.replace(BUDGET, decay=decay))()
    assert outcome.solved.shape == (2, 2, 2 if decay else 1) and outcome.solved.all()
    assert np.isfinite(outcome.error).all()


def test_one_solved_seed_of_two_does_not_end_the_run():
    first = jax.random.split(jax.random.key(0), 2)[0]
    made = problem(solved=False)
    network = Network(LAYERS["zero"], Linear(4, 1))
    params = network.init(jax.random.split(first)[0])
    fixed = jnp.mean(network(params, made.validation.inputs)[1])  # for good, since the learning rate is zero

    def solved(outputs, batch):
        return jnp.abs(jnp.mean(outputs) - fixed) < 1e-5

    outcome = build(made._replace(solved=solved), {"zero": LAYERS["zero"]}, (Setting("zero", 0.0),), 2, BUDGET)()
    assert outcome.solved.tolist() == [[[True, True], [False, False]]]


def test_the_same_call_gives_the_same_numbers():
    program = build(problem(solved=False), {"zero": LAYERS["zero"]}, SETTINGS[:1], 1, BUDGET)
    assert program().error.tobytes() == program().error.tobytes()


def test_grid_is_every_pair():
    assert grid(("a", "b"), (0.1, 0.2)) == tuple(Setting(i, r) for i in "ab" for r in (0.1, 0.2))
