"""Calls that must fail, each with what its one error says: the argument, what was expected, what came."""

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.training import clipped_adam, clipped_sgd, fit, init_state, latest_step, make_step, restore, save
from tests.training.runs import batches, first_state, loss_fn, optimizer, step

NOWHERE = "/nonexistent/run"


def train(**changed):
    arguments = {"step": step, "state": first_state(), "batches": batches, "steps": 1, **changed}
    return fit(arguments.pop("step"), arguments.pop("state"), arguments.pop("batches"), **arguments)


def one_step(result):
    one = make_step(lambda params, batch, carry, key: result(params, carry), optimizer)
    return one(first_state(), batches(0))


CASES = [
    (lambda: clipped_adam(0.1, 0), r"`max_norm` must be a number above 0, and finite, got 0"),
    (lambda: clipped_adam(0.1, -1.0), r"`max_norm` must be a number above 0, and finite, got -1.0"),
    (lambda: clipped_adam(0.1, float("nan")), r"`max_norm` must be a number above 0, and finite, got nan"),
    (lambda: clipped_adam(np.float32(-0.5)), r"`learning_rate` must be a number at least 0, and finite, got .*-0.5"),
    (lambda: clipped_adam(0.1, None), r"`max_norm` must be a number above 0, and finite, got None"),
    (lambda: clipped_adam("0.1"), r"`learning_rate` must be a number at least 0, and finite, got '0.1'"),
    (lambda: clipped_adam(-0.1), r"`learning_rate` must be a number at least 0, and finite, got -0.1"),
    (lambda: clipped_adam(jnp.ones(2)), r"`learning_rate` must be a number or a floating scalar, got float32\[2\]"),
    (lambda: clipped_adam(0.1, b1=1.0), r"`b1` must be a number at least 0 and below 1, got 1.0"),
    (lambda: clipped_adam(0.1, b2=-0.1), r"`b2` must be a number at least 0 and below 1, got -0.1"),
    (lambda: clipped_adam(0.1, eps=0.0), r"`eps` must be a number above 0, and finite, got 0.0"),
    (lambda: clipped_adam(0.1, weight_decay=-1), r"`weight_decay` must be a number at least 0, and finite, got -1"),
    (lambda: clipped_sgd(0.1, True), r"`max_norm` must be a number above 0, and finite, got True"),
    (lambda: clipped_sgd(jnp.int32(1)), r"`learning_rate` must be a number or a floating scalar, got int32\[\]"),
    (lambda: clipped_sgd(0.1, momentum=1.5), r"`momentum` must be a number at least 0 and below 1, got 1.5"),
    (lambda: clipped_sgd(0.1, nesterov=True), r"`nesterov` must come with a `momentum`, got momentum=None"),
    (lambda: clipped_sgd(0.1, nesterov=1), r"`nesterov` must be True or False, got 1"),
    (lambda: init_state({}, "adam", jax.random.key(0)), r"`optimizer` must be an optax.Grad.*, got str"),
    (lambda: init_state({}, optimizer, 0), r"`key` must be one typed key, .*, got int"),
    (lambda: init_state({}, optimizer, jax.random.PRNGKey(0)), r"`key` must be one typed key, .*, got uint32\[2\]"),
    (lambda: init_state({}, optimizer, jax.random.split(jax.random.key(0))), r"`key` must be one typed key, .*\[2\]"),
    (lambda: make_step(None, optimizer), r"`loss_fn` must be a function \(params, .*, got NoneType"),
    (lambda: make_step(loss_fn, clipped_adam), r"`optimizer` must be an optax.GradientTransformation, got function"),
    (lambda: one_step(lambda p, c: p["w"].sum()), r"`loss_fn` must return \(loss, \(carry, metrics\)\), .*"),
    (lambda: one_step(lambda p, c: (p["w"].sum(), c, {})), r"`loss_fn` must return .* got \(array, array, dict\)"),
    (lambda: one_step(lambda p, c: (p["w"], (c, {}))), r"`loss_fn` must return a floating scalar .* float32\[3\]"),
    (lambda: one_step(lambda p, c: (1, (c, {}))), r"`loss_fn` must return a floating scalar .* int32\[\]"),
    (lambda: one_step(lambda p, c: (p["w"].sum(), (None, {}))), r"`loss_fn` must .* carry .* got nothing"),
    (lambda: one_step(lambda p, c: (p["w"].sum(), (c, {"loss": 1.0}))), r"`loss_fn` must leave .* got \['loss'\]"),
    (lambda: train(step="step"), r"`step` must be a function \(state, batch\) -> \(state, metrics\), got str"),
    (lambda: train(state={"params": 1}), r"`state` must be a TrainState, got dict"),
    (lambda: train(batches=[batches(0)]), r"`batches` must be a function position -> batch, got list"),
    (lambda: train(steps=-1), r"`steps` must be a whole number of at least 0, got -1"),
    (lambda: train(steps=1.5), r"`steps` must be a whole number of at least 0, got 1.5"),
    (lambda: train(checkpoint_every=0), r"`checkpoint_every` must be a whole number of at least 1, got 0"),
    (lambda: train(log_every=True), r"`log_every` must be a whole number of at least 1, got True"),
    (lambda: train(keep=0), r"`keep` must be a whole number of at least 1, got 0"),
    (lambda: train(resume="yes"), r"`resume` must be True or False, got 'yes'"),
    (lambda: train(progress=None), r"`progress` must be True or False, got None"),
    (lambda: train(directory=3), r"`directory` must be a path, got 3"),
    (lambda: train(directory=__file__), r"`directory` must be a directory, got the file .*error_cases.py"),
    (lambda: train(step=lambda s, b: (s._replace(carry=jnp.zeros(5)), {})), r"`step` must return a state .*\[5\]"),
    (lambda: train(step=lambda s, b: (s, {"loss": jnp.float32(1)})), r"`step` must return .* got no \['grad_norm'\]"),
    (
        lambda: train(step=lambda s, b: (s, {"loss": jnp.float32(1), "grad_norm": jnp.float32(1)})),
        r"`step` must count \(step, position\) on to \(1, 1\), got \(0, 0\)",
    ),
    (
        lambda: train(state=first_state()._replace(step=jnp.arange(2))),
        r"`state` must have one step for all its runs, got \[0, 1\]",
    ),
    (lambda: save(NOWHERE, None), r"`state` must be a TrainState, got NoneType"),
    (lambda: save(NOWHERE, first_state(), keep=0), r"`keep` must be a whole number of at least 1, got 0"),
    (lambda: restore(NOWHERE, first_state()), r"`directory` must hold a checkpoint, got /nonexistent/run .*\[\]"),
    (lambda: restore(NOWHERE, first_state().params), r"`state_like` must be a TrainState, got dict"),
    (lambda: restore(NOWHERE, first_state(), step="last"), r"`step` must be a whole number of at least 0, got 'last'"),
    (lambda: latest_step(""), r"`directory` must be a path, got ''"),
]
