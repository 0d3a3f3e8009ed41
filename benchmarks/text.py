"""An LSTM language model, trained on one text from one start: here, with Flax's nn.RNN, and in PyTorch."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax as lj
from benchmarks.text_peers import flax_trainer, torch_trainer
from benchmarks.timing import median_ratio
from lstm_jax import data, losses
from lstm_jax.models import Embedding, LanguageModel
from lstm_jax.training import clipped_adam, fit, init_state, make_step

BATCH, TIME, EMBEDDING, HIDDEN = 32, 100, 64, 256
EPOCHS = 4
RATE = 4e-3
"""Adam's, constant; the gradient's norm is clipped to 1."""
SEEDS = 3
"""Rounds, whatever `--rounds` says: in each everyone trains once, from the same parameters."""
OURS = "LanguageModel, fit"
MODEL = LanguageModel(Embedding(256, EMBEDDING), lj.Recurrent(lj.LSTM(EMBEDDING, HIDDEN)))


class Run(NamedTuple):
    """What everyone is given."""

    params: Any
    """LanguageModelParams, the start."""
    train: data.Streams
    test: data.Streams
    steps: int


Train = Callable[[Run], float]
"""Trains, and returns the test text's loss in nats a byte."""


def count(cells: tuple[str, ...]) -> int:
    """How many steps the progress bar has."""
    return 3 * (SEEDS + 1)


def measure(cells: tuple[str, ...], rounds: int, advance: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row a peer: seconds of whole trainings side by side, and the bits a byte that each ends at."""
    parts = data.text("python_reference")
    train, test = (np.frombuffer(part.encode(), np.uint8) for part in (parts.train, parts.test))
    streams, judged = data.Streams(train, BATCH, TIME), data.every_token(test, TIME, 8)
    trainers: dict[str, Train] = {
        "Flax nn.RNN": flax_trainer(HIDDEN, RATE),
        "PyTorch nn.LSTM": torch_trainer(HIDDEN, RATE),
        OURS: _ours,
    }
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    bits: dict[str, list[float]] = {name: [] for name in trainers}
    for seed in range(-1, SEEDS):  # the first one compiles
        steps = 3 if seed < 0 else EPOCHS * len(streams)
        run = Run(MODEL.init(jax.random.key(max(seed, 0))), streams, judged, steps)
        for name, train_one in trainers.items():
            advance(f"{name}: seed {seed}" if seed >= 0 else f"{name}: compiling")
            began = time.perf_counter()
            nats = train_one(run)
            if seed >= 0:
                seconds[name].append(time.perf_counter() - began)
                bits[name].append(nats / math.log(2))
    return [
        {
            "cell": "LSTM",
            "what": f"language model, {EPOCHS} epochs of python_reference {parts.digest}, whole training",
            "shape": (BATCH, TIME, EMBEDDING, HIDDEN),
            "a": name,
            "b": OURS,
            "a_seconds": statistics.median(seconds[name]),
            "b_seconds": statistics.median(seconds[OURS]),
            "rounds": {each: seconds[each] for each in (name, OURS)},
            "time_ratio": median_ratio(seconds[OURS], seconds[name]),
            "a_temp_bytes": None,
            "b_temp_bytes": None,
            "a_bits": bits[name],
            "b_bits": bits[OURS],
        }
        for name in trainers
        if name != OURS
    ]


_OPTIMIZER = clipped_adam(RATE, 1.0)


def _loss(params: Any, batch: Any, carry: Any, key: Any) -> tuple[Any, tuple[Any, dict]]:
    carry, logits = MODEL(params, batch.inputs, carry, resets=batch.resets)
    return losses.cross_entropy(logits, batch.targets, batch.mask), (carry, {})


_STEP = make_step(_loss, _OPTIMIZER)


@jax.jit
def _judge(params: Any, carry: Any, batch: Any) -> tuple[Any, Any]:
    nats, (carry, _) = _loss(params, batch, carry, None)
    return carry, nats * jnp.sum(batch.mask)


def _ours(run: Run) -> float:
    carry = MODEL.initial_carry(run.params, run.train[0].inputs.shape[1:])
    state = init_state(run.params, _OPTIMIZER, jax.random.key(0), carry)
    params = fit(_STEP, state, run.train.__getitem__, steps=run.steps, progress=False).params
    carry, total = MODEL.initial_carry(params, run.test[0].inputs.shape[1:]), 0.0
    for batch in run.test:
        carry, nats = _judge(params, carry, batch)
        total += float(nats)
    return total / sum(int(batch.mask.sum()) for batch in run.test)
