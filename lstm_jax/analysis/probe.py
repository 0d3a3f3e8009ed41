"""Linear probes: what can be read off a state with one matrix."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap

from lstm_jax import checks
from lstm_jax.types import Array


class Probe(NamedTuple):
    """One readout a step: `w [time, size, classes]` and `b [time, classes]`."""

    w: Array
    b: Array


def fit_probe(states: Array, labels: Array, classes: int, l2: float = 1e-3) -> Probe:
    """Fits, for every step on its own, a ridge regression from states to one-hot labels.

    The closed form: w = (S + l2 v I)^-1 C with S the states' covariance, v its mean variance and C the states'
    covariance with the one-hot labels, means over the batch. Since the penalty grows with v, states times a constant
    are read as well as the states.

    Args:
      states: `[time, batch, size]`, float32 or float64, such as `trace(...)["c"]`.
      labels: integers from 0 to `classes - 1`, `[time, batch]`, or `[batch]` where they hold for every step.
      classes: how many labels there are, at least 2.
      l2: the penalty, relative to the mean variance.

    Returns:
      A probe for every step, in the states' dtype.

    Raises:
      ValueError: a wrong shape, dtype or option.

    References: Alain and Bengio 2016, https://arxiv.org/abs/1610.01644 (with logistic regression)
    """
    labels = _check(states, labels)
    checks.positive_int("classes", classes, minimum=2)
    checks.positive("l2", l2)

    def fit(x: Array, label: Array) -> tuple[Array, Array]:
        y = jax.nn.one_hot(label, classes, dtype=x.dtype)
        mean_x, mean_y = x.mean(0), y.mean(0)
        x, y = x - mean_x, y - mean_y
        covariance = x.T @ x / x.shape[0]
        variance = jnp.trace(covariance) / x.shape[1]
        penalty = jnp.where(variance > 0, l2 * variance, 1)  # states that are all the same tell nothing: w = 0
        w = _solve(covariance + penalty * jnp.eye(x.shape[1], dtype=x.dtype), x.T @ y / x.shape[0])
        return w, mean_y - mean_x @ w

    return Probe(*jax.vmap(fit)(jnp.asarray(states), labels))


def probe_accuracy(probe: Probe, states: Array, labels: Array) -> Array:
    """Returns the share of sequences whose label each step's probe names: `[time]`, float32.

    Args:
      probe: one for each step of `states`, as `fit_probe` returns it.
      states, labels: as for `fit_probe`, of sequences that it has not seen.

    Raises:
      ValueError: a wrong shape or dtype.
    """
    labels = _check(states, labels)
    time, _, size = states.shape
    if probe.w.shape[:2] != (time, size):
        raise checks.fail("probe", f"w [{time}, {size}, classes], as the states", checks.describe(probe.w))
    scores = jnp.asarray(states) @ probe.w + probe.b[:, None]
    return (jnp.argmax(scores, -1).astype(jnp.int32) == labels).mean(1, dtype=jnp.float32)


# One system at a time: two batches at once may wait for each other's threads for ever, as in `inits.Orthogonal`.
_solve = jax.jit(sequential_vmap(jnp.linalg.solve))


def _check(states: Array, labels: Array) -> Array:
    """Returns the labels as `[time, batch]`."""
    checks.array("states", states)
    if states.dtype not in (jnp.float32, jnp.float64) or states.ndim != 3 or 0 in states.shape:
        raise checks.fail("states", "float32 or float64[time, batch, size], none of them 0", checks.describe(states))
    checks.array("labels", labels)
    time, batch, _ = states.shape
    if not jnp.issubdtype(labels.dtype, jnp.integer) or labels.shape not in ((time, batch), (batch,)):
        raise checks.fail("labels", f"integers [{time}, {batch}] or [{batch}]", checks.describe(labels))
    return jnp.broadcast_to(jnp.asarray(labels).astype(jnp.int32), (time, batch))
