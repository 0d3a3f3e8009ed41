"""The training loop, the one place with side effects: progress, metrics, checkpoints, signals."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.training.checkpoint import check_state, checked_directory, counter, latest_step, restore, save
from lstm_jax.training.checks import check_callable, check_count, check_flag
from lstm_jax.training.layout import difference, layout
from lstm_jax.training.metrics import MetricsLog
from lstm_jax.training.progress import progress_bar
from lstm_jax.training.signals import deferred_signals
from lstm_jax.training.state import TrainState
from lstm_jax.training.step import Step


class NonFiniteLossError(FloatingPointError):
    """The loss, the gradient's norm or a parameter is not finite after step `step`, counted from 1."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


def fit(
    step: Step,
    state: TrainState,
    batches: Callable[[int], Any],
    *,
    steps: int,
    directory: str | os.PathLike | None = None,
    checkpoint_every: int = 1000,
    log_every: int = 100,
    keep: int | None = 2,
    resume: bool = True,
    progress: bool = True,
) -> TrainState:
    """Takes `state` on to `steps` steps in all, and returns it.

    `step` is what `make_step` returns, or its vmap over runs; it is compiled here, once however often `fit` is called
    with it, and `state` can still be used afterwards. `batches(position)` gives the batch of that position and depends
    on nothing else: an indexable data set's `__getitem__`, or a compiled generator that draws from
    `fold_in(key, position)`. A progress bar with the last logged loss stands on stderr, where that is a terminal.

    With a `directory`, `metrics.jsonl` there gets the metrics of every `log_every`-th step, one JSON object a line, and
    `checkpoints/` the state every `checkpoint_every` steps and at the end, of which the newest `keep` stay (None keeps
    all). Where it holds a checkpoint already, the run goes on from there, not from `state`, as if it had never stopped:
    on the same device every number is the same to the bit. A run that is killed, at any moment, loses no more than the
    steps since its last checkpoint.

    SIGINT and SIGTERM let the step in hand end, save, and then raise KeyboardInterrupt and SystemExit(143); a SIGINT
    after that raises at once. Without a `directory` they act as they always do.

    Raises:
      NonFiniteLossError: a loss, gradient norm or parameter is not finite; names the first such step, counted from 1.
        No checkpoint is made of that step or a later one, those before it stay.
      FileExistsError: `directory` holds a checkpoint and `resume` is False.
      TypeError, ValueError: an argument of the wrong kind or value, a checkpoint with another layout than `state`, or a
        `step` that changes that layout or does not count its steps.
    """
    check_callable("step", step, "(state, batch) -> (state, metrics)")
    check_state("state", state)
    check_callable("batches", batches, "position -> batch")
    steps = check_count("steps", steps, low=0)
    checkpoint_every = check_count("checkpoint_every", checkpoint_every, low=1)
    log_every = check_count("log_every", log_every, low=1)
    if keep is not None:
        check_count("keep", keep, low=1)
    check_flag("resume", resume)
    check_flag("progress", progress)

    saved = None
    if directory is not None:
        directory = checked_directory(directory)
        saved = latest_step(directory)
    if directory is not None and saved is not None:
        if not resume:
            raise FileExistsError(
                f"`directory` must hold no checkpoint with resume=False, got {directory} at step {saved}"
            )
        state = restore(directory, state)
    state = jax.tree.map(_strong, state)
    taken, position = counter("step", state.step), counter("position", state.position)
    log = None
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        log = MetricsLog(directory / "metrics.jsonl", taken)

    def settle(number: int, metrics: dict[str, jax.Array], finite: jax.Array) -> None:
        if not finite:
            kept = None if directory is None else latest_step(directory)
            raise NonFiniteLossError(_complaint(number, jax.device_get(metrics), kept), number)
        logged = jax.device_get(metrics) if number % log_every == 0 else {}
        if log is not None and logged:
            log.write(number, logged)
        report(number, logged.get("loss"))

    with deferred_signals(directory is not None) as caught, progress_bar(taken, steps, progress) as report:
        last = None
        for number in range(taken + 1, steps + 1):
            state, *outcome = _advance(step, state, batches(position))
            position += 1
            if last is not None:  # looked at one step late, so that the device never waits
                settle(*last)
            last = (number, *outcome)
            leaving = caught.signum is not None
            if leaving or number % checkpoint_every == 0 or number == steps:
                settle(*last)
                last = None
                counted = counter("step", state.step), counter("position", state.position)
                if counted != (number, position):
                    raise ValueError(f"`step` must count (step, position) on to {(number, position)}, got {counted}")
                if directory is not None:
                    save(directory, state, keep=keep)
            if leaving:
                break
    return state


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _advance(step: Step, state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array], jax.Array]:
    after, metrics = step(state, batch)
    if changed := difference(layout(state), layout(after)):
        raise ValueError(f"`step` must return a state with the layout of the one it got; {changed}")
    if missing := {"loss", "grad_norm"} - metrics.keys():
        raise ValueError(f"`step` must return 'loss' and 'grad_norm' among its metrics, got no {sorted(missing)}")
    watched = [metrics["loss"], metrics["grad_norm"], *jax.tree.leaves(after.params)]
    finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in watched]).all()
    return jax.tree.map(_strong, after), metrics, finite


def _strong(leaf: Any) -> jax.Array:
    # A copy that may be donated, and no weak type: that one would not come back from a checkpoint.
    return jnp.array(leaf, dtype=leaf.dtype if hasattr(leaf, "dtype") else None)


def _complaint(step: int, metrics: dict[str, Any], kept: int | None) -> str:
    seen = f"loss {metrics['loss']} and grad_norm {metrics['grad_norm']}"
    if np.isfinite(metrics["loss"]).all() and np.isfinite(metrics["grad_norm"]).all():
        seen += ", after which some parameters are not finite"
    left = "no checkpoint was made" if kept is None else f"the last checkpoint is of step {kept}"
    return f"training left the finite numbers at step {step}: {seen}; {left}"
