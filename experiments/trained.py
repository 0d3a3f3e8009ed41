"""What the text experiments share: several runs of one model, trained at once, that go on where they were stopped.

Not an experiment itself.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.training import clipped_adam, fit, init_state, make_step


class Trained(NamedTuple):
    """Runs of one model: leaves of `params` are `[runs, ...]`, every learning rate with all its seeds in turn."""

    params: Any
    learning_rates: tuple[float, ...]  # of each run
    seeds: tuple[int, ...]  # of each run
    seconds: float  # of training, over all calls that it took

    @property
    def parameters(self) -> int:
        """How many numbers one run learns."""
        return sum(leaf[0].size for leaf in jax.tree.leaves(self.params))


def folder(directory: Path, name: str) -> Path:
    """Where in an experiment's directory what is trained under a name stays."""
    return directory / "trained" / name.replace(", ", "-").replace(" ", "_")


def seconds_of(directory: Path) -> float:
    """What a training took, over all calls that it took, from its metrics."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["seconds"] if lines else math.nan


def claim(directory: Path, batch: Any, **settings: Any) -> None:
    """Makes `directory` that of one training; where it is another's, it stays so.

    Raises:
      ValueError: what `directory` holds was trained with other settings, or from another first batch.
    """
    digest = hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(batch))).hexdigest()[:16]
    own = {"batch": digest, **{name: str(value) for name, value in settings.items()}}
    file = directory / "training.json"
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        (aside := file.with_suffix(".unfinished")).write_text(json.dumps(own, indent=1) + "\n")
        os.replace(aside, file)
    held = json.loads(file.read_text())
    for name in own | held:
        if held.get(name) != own.get(name):
            raise ValueError(
                f"`directory`: {directory} was trained with {name} {held.get(name)}; asked for {own.get(name)}"
            )


def train(
    model: Any,
    loss_fn: Callable[[Any, Any, Any], Any],
    *,
    steps: int,
    learning_rates: Sequence[float],
    seeds: int,
    directory: Path,
    batches: Callable[[int], Any] = lambda position: None,
) -> Trained:
    """Trains every learning rate with every seed as one program, or goes on with what `directory` holds.

    `loss_fn(params, batch, key)` is the loss of one run; all runs see the same batches, each with a key of its own.
    Adam's learning rate falls to nothing.

    Raises:
      ValueError: no step, seed or learning rate, or `directory` holds another training.
    """
    for name, least in {"steps": steps, "seeds": seeds, "learning_rates": len(learning_rates)}.items():
        if least < 1:
            raise ValueError(f"`{name}` must be at least one; got {least}")
    claim(directory, batches(0), model=model, steps=steps, learning_rates=tuple(learning_rates), seeds=seeds)
    pairs = [(rate, seed) for rate in learning_rates for seed in range(seeds)]
    rates = jnp.asarray([rate for rate, _ in pairs], jnp.float32)
    keys = jax.vmap(jax.random.key)(jnp.asarray([seed for _, seed in pairs], jnp.uint32))

    def start(key: Any) -> Any:
        return init_state(model.init(key), clipped_adam(lambda step: 0.0), jax.random.fold_in(key, 1))

    def one(state: Any, rate: Any, batch: Any) -> tuple:
        optimizer = clipped_adam(lambda step: rate * (1 - step / steps))
        return make_step(lambda p, batch, carry, key: (loss_fn(p, batch, key), (carry, {})), optimizer)(state, batch)

    state = fit(
        lambda state, batch: jax.vmap(one, (0, 0, None))(state, rates, batch),
        jax.jit(jax.vmap(start))(keys),
        batches,
        steps=steps,
        directory=directory,
        checkpoint_every=max(1, steps // 5),
        log_every=max(1, steps // 20),
        keep=1,
    )
    rates_of_runs, seeds_of_runs = zip(*pairs, strict=True)
    return Trained(state.params, rates_of_runs, seeds_of_runs, seconds_of(directory))
