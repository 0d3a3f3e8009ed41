"""What the experiments share: many runs in one program, and the choice of a learning rate.

Not an experiment itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import lstm_jax as lj
from lstm_jax.models import Linear, Network
from lstm_jax.tasks import Task
from lstm_jax.training import clipped_adam, init_state, make_step

Runs = list[dict[str, Any]]
Figures = Callable[[Any, Any], dict[str, Any]]
"""A run, from learning rate and key to figures: "validation" is an error of at most chance, so that means are sound."""


Optimizer = Callable[[optax.Schedule], optax.GradientTransformation]


def train(
    loss_fn: Callable, params: Any, carry: Any, rate: Any, key: Any, steps: int, optimizer: Optimizer = clipped_adam
) -> Any:
    """Returns the parameters after `steps` steps, while the learning rate falls to nothing."""
    made = optimizer(lambda step: rate * (1 - step / steps))
    state = init_state(params, made, key, carry)
    return lax.scan(make_step(loss_fn, made), state, length=steps)[0].params


def on_sequences(
    cell: lj.Cell,
    task: Task,
    test_task: Task,
    *,
    steps: int,
    batch: int,
    tested: int,
    validation_task: Task | None = None,
    optimizer: Optimizer = clipped_adam,
) -> Figures:
    """A run on fresh sequences; tested on `tested` sequences of `test_task`, and validated on as many others."""
    network = Network(lj.Recurrent(cell), Linear(cell.output_shape[0], task.output_size))

    def judged(task: Task, params: Any, key: Any, count: int) -> tuple:
        sample = task.sample(key, count)
        return network(params, sample.inputs)[1], sample.targets, sample.mask

    def loss_fn(params: Any, _: None, carry: None, key: Any) -> tuple:
        return task.loss(*judged(task, params, key, batch)), (carry, {})

    def run(rate: Any, key: Any) -> dict[str, Any]:
        params = train(loss_fn, network.init(key), None, rate, key, steps, optimizer)
        test = judged(test_task, params, jax.random.key(1), tested)
        error = test_task.error(*judged(validation_task or test_task, params, jax.random.key(2), tested))
        validation = jnp.fmin(error, test_task.chance)
        return {"validation": validation, "error": test_task.error(*test), "solved": test_task.solved(*test)}

    return run


def every_run(run: Figures, learning_rates: Sequence[float], seeds: int, **name: Any) -> Runs:
    """Runs every learning rate with every seed as one program; "best" marks those of the best rate on average."""
    rates, keys = jnp.asarray(learning_rates, jnp.float32), jax.random.split(jax.random.key(0), seeds)
    figures = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(rates, keys))
    best = int(np.argmin(figures["validation"].mean(1)))
    return [
        {
            **name,
            "learning_rate": rate,
            "seed": seed,
            "best": i == best,
            **{figure: x[i, seed].tolist() for figure, x in figures.items()},
        }
        for i, rate in enumerate(learning_rates)
        for seed in range(seeds)
    ]
