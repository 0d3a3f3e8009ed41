"""Training with several seeds: the suite's one compiled program beside Flax's nn.RNN in Python loops."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import lstm_jax as lj
from benchmarks.claims import row
from benchmarks.contenders import CELLS
from benchmarks.runs import Budget, Problem, Setting, build
from benchmarks.seeds_flax import Run, loop
from benchmarks.switch import THEIRS
from benchmarks.timing import Prepared
from lstm_jax.tasks import TemporalOrder

SEEDS = 5
HIDDEN = 16
RATE = 0.01
BUDGET = Budget(steps=200, batch=64, period=20)
TASK = TemporalOrder(100)
TESTED = 512


def count(cells: tuple[str, ...]) -> int:
    """How many steps the progress bar has."""
    return len(cells)


def measure(cells: tuple[str, ...], rounds: int, advance: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row a cell: the same task, sizes, batches, steps, looks and optimizer; nothing stops early."""
    rows = []
    shape = BUDGET.batch, TASK.time, TASK.input_size, HIDDEN
    for name in cells:
        advance(f"{name}: {SEEDS} seeds")
        pair = {f"Flax RNN({THEIRS[name]}), Python loops": _flax(name), "one program": _ours(name)}
        rows.append(row(name, f"{SEEDS} seeds of {BUDGET.steps} training steps", shape, pair, rounds))
    return rows


def _test() -> Any:
    return TASK.sample(jax.random.key(2**31 - 1), TESTED)


def _flax(name: str) -> Prepared:
    train = loop(THEIRS[name], Run(TASK, HIDDEN, RATE, BUDGET.batch, BUDGET.steps, BUDGET.period, _test()))
    return Prepared(lambda: train(SEEDS))


def _ours(name: str) -> Prepared:
    def judge(measure: Callable) -> Callable:
        return lambda outputs, batch: measure(outputs, batch.targets, batch.mask)

    problem = Problem(
        batch=lambda key, position: TASK.sample(jax.random.fold_in(key, position), BUDGET.batch),
        loss=judge(TASK.loss),
        validation=_test(),
        error=judge(TASK.error),
        solved=lambda outputs, batch: jnp.zeros((), bool),
        output_size=TASK.output_size,
    )
    layer = lj.Recurrent(CELLS[name](TASK.input_size, HIDDEN))
    program = build(problem, {"default": layer}, (Setting("default", RATE),), SEEDS, BUDGET)
    return Prepared(program.run, compile_seconds=program.compile_seconds)
