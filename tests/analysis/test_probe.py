"""Probes beside ridge regression as least squares with rows for the penalty, and on states that tell or do not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.analysis import probe as probes
from lstm_jax.analysis.probe import probe_accuracy

fit_probe = jax.jit(probes.fit_probe, static_argnums=(2, 3))
TIME, BATCH, SIZE, CLASSES = 3, 40, 5, 4


def draw(seed, labels_over_time=True, dtype: Any = np.float64):
    random = np.random.default_rng(seed)
    states = random.normal(size=(TIME, BATCH, SIZE)) * [0.1, 1, 2, 3, 1] + 1.5
    labels = random.integers(0, CLASSES, (TIME, BATCH) if labels_over_time else BATCH)
    return jnp.asarray(states, dtype), jnp.asarray(labels, jnp.int32)


def ridge(x, label, l2):
    """w and b of one step: min |x w + b - y|^2 / batch + penalty |w|^2, by rows of sqrt(penalty) below the states."""
    y = np.eye(CLASSES)[label]
    penalty = l2 * x.var(0).mean()
    rows = np.concatenate([np.c_[x, np.ones(len(x))], np.sqrt(penalty * len(x)) * np.eye(SIZE, SIZE + 1)])
    solution = np.linalg.lstsq(rows, np.concatenate([y, np.zeros((SIZE, CLASSES))]), rcond=None)[0]
    return solution[:-1], solution[-1]


@pytest.mark.parametrize("over_time", [True, False])
def test_a_probe_is_ridge_regression_at_every_step(x64, over_time):
    states, labels = draw(0, over_time)
    probe = fit_probe(states, labels, CLASSES, 0.05)
    held_out, truths = draw(1, over_time)
    accuracy = probe_accuracy(probe, held_out, truths)
    for t in range(TIME):
        now = (labels[t], truths[t]) if over_time else (labels, truths)
        w, b = ridge(np.asarray(states[t]), np.asarray(now[0]), 0.05)
        np.testing.assert_allclose(probe.w[t], w, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(probe.b[t], b, rtol=1e-9, atol=1e-12)
        named = (np.asarray(held_out[t]) @ w + b).argmax(-1)
        np.testing.assert_allclose(accuracy[t], (named == np.asarray(now[1])).mean(), rtol=1e-6)


def test_the_scale_of_states_does_not_matter(x64):
    states, labels = draw(0)
    probe, small = fit_probe(states, labels, CLASSES), fit_probe(1e-6 * states, labels, CLASSES)
    np.testing.assert_allclose(small.w, 1e6 * probe.w, rtol=1e-9)
    np.testing.assert_allclose(small.b, probe.b, rtol=1e-9)


def test_accuracy_follows_what_the_states_hold():
    """The label stands in the first state, is hidden by noise in the second and gone from the third."""

    def sequences(key):
        key_label, key_noise = jax.random.split(key)
        labels = jax.random.randint(key_label, (600,), 0, CLASSES, dtype=jnp.int32)
        noise = jax.random.normal(key_noise, (TIME, 600, SIZE))
        shown = jax.nn.one_hot(labels, SIZE, dtype=jnp.float32)
        return jnp.stack([shown + 0.01 * noise[0], shown + 0.5 * noise[1], noise[2]]), labels

    probe = fit_probe(*sequences(jax.random.key(0)), CLASSES)
    sure, noisy, none = probe_accuracy(probe, *sequences(jax.random.key(1)))
    assert sure == 1 and 0.5 < noisy < 0.95 and abs(none - 1 / CLASSES) < 0.08


def test_states_that_are_all_the_same_name_the_most_frequent_label():
    labels = jnp.asarray([2, 2, 2, 1, 0], jnp.int32)
    probe = fit_probe(jnp.full((1, 5, 3), 0.7), labels, CLASSES)
    assert (probe.w == 0).all()
    np.testing.assert_allclose(probe_accuracy(probe, jnp.full((1, 5, 3), 0.7), labels), [0.6], rtol=1e-6)


def test_wrong_arguments_are_named():
    states, labels = draw(0, dtype=np.float32)
    probe = fit_probe(states, labels, CLASSES)
    cases = {
        r"`states`: expected float32 or float64\[time, batch, size\]": lambda: fit_probe(states[0], labels, 2),
        "none of them 0, got": lambda: fit_probe(states[:, :0], labels[:, :0], 2),
        "`states`: .* got bfloat16": lambda: fit_probe(states.astype(jnp.bfloat16), labels, 2),
        r"`labels`: expected integers \[3, 40\] or \[40\], got int32\[3\]": lambda: fit_probe(states, labels[:, 0], 2),
        "`labels`: .* got float32": lambda: probe_accuracy(probe, states, labels.astype(jnp.float32)),
        "`classes`: expected an integer >= 2, got 1": lambda: fit_probe(states, labels, 1),
        "`l2`: expected a number > 0, got 0": lambda: fit_probe(states, labels, 2, 0),
        r"`probe`: expected w \[2, 5, classes\]": lambda: probe_accuracy(probe, states[:2], labels[:2]),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
