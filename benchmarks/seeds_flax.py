"""The training loop that a Flax user writes: nn.RNN, a jitted step, Python loops over seeds and steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

from lstm_jax.tasks import Task


class Run(NamedTuple):
    """What is trained, for how long, and how often it is looked at."""

    task: Task
    hidden_size: int
    learning_rate: float
    batch: int
    steps: int
    period: int
    test: Any


def loop(cell: str, run: Run) -> Callable[[int], Any]:
    """Returns `train(seeds)`, which gives the errors of all looks, `[seeds, looks]`; `cell` is a class of linen's."""
    task = run.task

    class Network(nn.Module):
        @nn.compact
        def __call__(self, xs: jax.Array) -> jax.Array:
            ys = nn.RNN(getattr(nn, cell)(run.hidden_size), time_major=True)(xs)
            return nn.Dense(task.output_size)(ys)

    network = Network()
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(run.learning_rate))

    @jax.jit
    def begin(key: jax.Array) -> TrainState:
        params = network.init(key, run.test.inputs)["params"]
        return TrainState.create(apply_fn=network.apply, params=params, tx=optimizer)

    @jax.jit
    def step(state: TrainState, key: jax.Array) -> TrainState:
        batch = task.sample(key, run.batch)

        def loss(params: Any) -> jax.Array:
            return task.loss(network.apply({"params": params}, batch.inputs), batch.targets, batch.mask)  # pyright: ignore

        return state.apply_gradients(grads=jax.grad(loss)(state.params))

    @jax.jit
    def look(state: TrainState) -> jax.Array:
        outputs = network.apply({"params": state.params}, run.test.inputs)
        return task.error(outputs, run.test.targets, run.test.mask)  # pyright: ignore

    def train(seeds: int) -> jax.Array:
        found = []
        for seed in range(seeds):
            key_params, key_run = jax.random.split(jax.random.key(seed))
            state, errors = begin(key_params), []
            for position in range(run.steps):
                state = step(state, jax.random.fold_in(key_run, position))
                if (position + 1) % run.period == 0:
                    errors.append(look(state))
            found.append(jnp.stack(errors))
        return jnp.stack(found)

    return train
