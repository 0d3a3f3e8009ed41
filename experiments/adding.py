"""The adding problem: one cell learns it from several seeds at once.

    python -m experiments.adding --length 100 --cell lstm --seeds 3 --steps 1500 --directory results/adding

Expected: a mean squared error under 0.001 in every seed (0.0004, 0.0002, 0.0003; chance 0.1667), in a minute or two
on 2 CPU cores. The same command, stopped at any moment, goes on where it was; a larger --steps goes on from its end.
"""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import jax
import matplotlib.pyplot as plt
import tyro

import lstm_jax as lj
from lstm_jax.models import Linear, Network
from lstm_jax.training import clipped_adam, fit, init_state, make_step


@dataclasses.dataclass(frozen=True)
class Settings:
    length: int = 100  # steps of a sequence
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    hidden: int = 32  # units
    seeds: int = 3  # independent runs, trained at once
    batch: int = 64  # fresh sequences a step and seed
    learning_rate: float = 5e-3
    steps: int = 1500  # training steps in all
    directory: Path = Path("results/adding")  # for checkpoints, metrics and the plot; one directory, one run


def run(settings: Settings) -> jax.Array:
    """Trains, or goes on training, and plots; returns each seed's error on 1024 unseen sequences, `[seeds]`."""
    task = lj.tasks.Adding(settings.length)
    make = {"lstm": lj.LSTM, "gru": lj.GRU, "rnn": lj.Elman}[settings.cell]
    cell = make(task.input_size, settings.hidden, b_init=lj.inits.Chrono(settings.length))  # the rnn's biases stay zero
    network = Network(lj.Recurrent(cell), Linear(settings.hidden, task.output_size))
    optimizer = clipped_adam(settings.learning_rate)

    def error(params, key, batch_size):
        batch = task.sample(key, batch_size)
        return task.error(network(params, batch.inputs)[1], batch.targets, batch.mask)

    def loss_fn(params, batch, carry, key):  # each step and seed draws a batch of its own from the step's key
        return error(params, key, settings.batch), (carry, {})

    seeds = jax.random.split(jax.random.key(0), settings.seeds)
    state = jax.vmap(lambda key: init_state(network.init(key), optimizer, key))(seeds)
    step = jax.vmap(make_step(loss_fn, optimizer), in_axes=(0, None))
    every = max(1, settings.steps // 150)
    state = fit(step, state, lambda position: None, steps=settings.steps, directory=settings.directory, log_every=every)
    plot(settings, task.chance)
    return jax.vmap(error, in_axes=(0, None, None))(state.params, jax.random.key(1), 1024)


def plot(settings: Settings, chance: float) -> None:
    """Draws adding.png: fresh batches make the training loss the error on unseen sequences."""
    lines = [json.loads(line) for line in (settings.directory / "metrics.jsonl").read_text().splitlines()]
    figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
    axis.plot(
        [line["step"] * settings.batch / 1000 for line in lines],
        [line["loss"] for line in lines],
        label=[f"seed {seed}" for seed in range(settings.seeds)],
    )
    axis.axhline(chance, color="black", linestyle=":", label="chance")
    axis.set_title(f"adding, {settings.length} steps: {settings.cell}, {settings.hidden} units")
    axis.set(xlabel="training sequences seen by each seed, thousands", yscale="log")
    axis.set_ylabel(f"mean squared error on {settings.batch} unseen sequences")
    axis.legend(frameon=False)
    figure.savefig(settings.directory / "adding.png", dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    print("mean squared error of each seed:", ", ".join(f"{error:.4f}" for error in run(tyro.cli(Settings))))
