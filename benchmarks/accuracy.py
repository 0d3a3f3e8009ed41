"""What a cell learns to remember: tasks by length, every cell with its settings and seeds, beside the chance level."""

import concurrent.futures
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import lstm_jax as lj
from benchmarks.contenders import CELLS
from benchmarks.runs import Budget, Outcome, Problem, Program, Setting, build, grid
from benchmarks.throughput import equal_parameters
from lstm_jax import losses, tasks
from lstm_jax.data import batch_indices, digits

GATED_RATES = (1e-2,)
RNN_RATES = (1e-2, 3e-3, 1e-3)
DIGITS_RATES = (2e-2, 1e-2, 3e-3)
"""The same for every cell: which of them a cell is shown at, the validation set decides."""
TEST_SEQUENCES = 512


@dataclasses.dataclass(frozen=True)
class Case:
    """One cell on one task at one length."""

    task: str
    length: int
    cell: str
    hidden_size: int
    equal: str
    """By what it equals the LSTM beside it: "hidden size" or "parameters"."""
    steps: int
    seeds: int


class Plan(NamedTuple):
    """A task's sizes: by length the training steps that every cell gets."""

    steps: dict[int, int]
    hidden_size: int
    matched: tuple[int, ...]
    """The lengths at which GRU and RNN also run with as many parameters as the LSTM."""


QUICK = {
    "temporal order": Plan({30: 300, 100: 300}, 16, (100,)),
    "adding": Plan({30: 300, 100: 400}, 32, ()),
    "long lag": Plan({30: 120, 100: 120}, 16, ()),
    "digits": Plan({64: 300}, 32, ()),
    "permuted digits": Plan({64: 300}, 32, ()),
}
QUICK_TASKS = tuple(task for task in QUICK if task != "permuted digits")  # that one when named, or with --full
FULL = {
    "temporal order": Plan({30: 1000, 60: 1000, 100: 2000, 200: 2000, 400: 2000}, 16, (30, 100, 400)),
    "adding": Plan({30: 2000, 60: 2000, 100: 3000, 200: 3000, 400: 3000}, 32, (30, 100, 400)),
    "long lag": Plan({30: 1000, 100: 1000, 300: 1000, 1000: 1000}, 16, (30, 100, 1000)),
    "digits": Plan({64: 3000}, 64, (64,)),
    "permuted digits": Plan({64: 3000}, 64, (64,)),
}


def cases(full: bool, only: tuple[str, ...], cells: tuple[str, ...], seeds: int) -> list[Case]:
    """The runs of a report, in order."""
    found = []
    for task, plan in (FULL if full else QUICK).items():
        if task not in (only or (FULL if full else QUICK_TASKS)):
            continue
        for length, steps in plan.steps.items():
            inputs = problem_of(task, length)[1]
            for cell in cells:
                found.append(Case(task, length, cell, plan.hidden_size, "hidden size", steps, seeds))
                if cell != "LSTM" and length in plan.matched:
                    size = equal_parameters(cell, inputs, plan.hidden_size)
                    found.append(Case(task, length, cell, size, "parameters", steps, seeds))
    return found


def measure(found: list[Case], advance: Callable[[str], None]) -> list[dict[str, Any]]:
    """Compiles all runs, two at a time, and then trains one after the other, each alone on the machine."""
    rows = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        programs = list(pool.map(lambda case: _compile(case, advance), found))
    for case, (settings, problem, program) in zip(found, programs, strict=True):
        advance(f"{case.task} {case.length}: {case.cell}")
        rows.append(_row(case, settings, problem, program()))
    return rows


class Facts(NamedTuple):
    """What stands beside a figure."""

    chance: float
    figure: str
    t_max: float


def problem_of(task: str, length: int) -> tuple[Any, int, Facts]:
    """Returns the task, or the digits, with its input size and what to print beside its figures."""
    if task.endswith("digits"):
        return None, 1, Facts(0.9, "misclassified test digits", 64)
    made = {
        "temporal order": lambda: tasks.TemporalOrder(length),
        "adding": lambda: tasks.Adding(length),
        "long lag": lambda: tasks.LongLag(length, p=20),
    }[task]()
    figure = "misclassified" if made.kind == "classification" else "mean squared error"
    return made, made.input_size, Facts(made.chance, figure, made.t_max or 64)


def _compile(case: Case, advance: Callable[[str], None]) -> tuple[tuple[Setting, ...], Facts, Program]:
    task, inputs, facts = problem_of(case.task, case.length)
    budget = Budget(case.steps)
    problem = _digits(case.task.startswith("permuted"), budget) if task is None else _generated(task, budget)
    make, size = CELLS[case.cell], (inputs, case.hidden_size)
    rates = DIGITS_RATES if task is None else RNN_RATES if case.cell == "RNN" else GATED_RATES
    if case.cell == "RNN":
        cells = {"orthogonal": make(*size), "identity": make(*size, w_h_init=lj.inits.Identity())}
    else:
        default = "forget bias 1" if case.cell == "LSTM" else "zero bias"
        cells = {"chrono": make(*size, b_init=lj.inits.Chrono(facts.t_max)), default: make(*size)}
    settings = grid(tuple(cells), rates)
    layers = {name: lj.Recurrent(cell) for name, cell in cells.items()}
    program = build(problem, layers, settings, case.seeds, budget)
    advance(f"compiling {case.task} {case.length}: {case.cell}")
    return settings, facts, program


def _generated(task: Any, budget: Budget) -> Problem:
    def judge(measure: Callable) -> Callable:
        return lambda outputs, batch: measure(outputs, batch.targets, batch.mask)

    return Problem(
        batch=lambda key, position: task.sample(jax.random.fold_in(key, position), budget.batch),
        loss=judge(task.loss),
        test=jax.jit(task.sample, static_argnums=1)(jax.random.key(2**31 - 1), TEST_SEQUENCES),
        error=judge(task.error),
        score=judge(task.error),
        solved=judge(task.solved),
        output_size=task.output_size,
    )


class _Labelled(NamedTuple):
    inputs: Any
    labels: Any
    chooses: Any
    """bool: validation examples, by which settings are compared; the others are the test set."""


def _digits(permuted: bool, budget: Budget) -> Problem:
    data = digits(permuted)
    train = data.train
    parts = (data.validation, data.test)
    inputs, labels = (jnp.concatenate(x, axis) for x, axis in zip(zip(*parts, strict=True), (1, 0), strict=True))
    chooses = jnp.arange(labels.shape[0]) < data.validation.labels.shape[0]

    def batch(key: Any, position: Any) -> _Labelled:
        i = batch_indices(key, position, size=train.labels.shape[0], batch_size=budget.batch)
        return _Labelled(train.inputs[:, i], train.labels[i], None)

    return Problem(
        batch=batch,
        loss=lambda outputs, batch: losses.cross_entropy(outputs, batch.labels),
        test=_Labelled(inputs, labels, chooses),
        error=lambda outputs, batch: 1 - losses.accuracy(outputs, batch.labels, batch.chooses),
        score=lambda outputs, batch: 1 - losses.accuracy(outputs, batch.labels, ~batch.chooses),
        solved=lambda outputs, batch: jnp.zeros((), bool),  # no criterion: every run spends its budget
        output_size=10,
        at="last",
    )


def _row(case: Case, settings: tuple[Setting, ...], facts: Facts, outcome: Outcome) -> dict[str, Any]:
    budget = Budget(case.steps)
    looks = outcome.error.shape[-1]
    seconds_per_step = outcome.seconds / (looks * budget.period)
    found = []
    for i, setting in enumerate(settings):
        first = [int(s.argmax() + 1) * budget.period if s.any() else None for s in outcome.solved[i]]
        found.append(
            {
                "init": setting.init,
                "learning_rate": setting.learning_rate,
                "solved": [bool(s) for s in outcome.solved[i, :, -1]],
                "steps_to_solve": first,
                "seconds_to_solve": [None if s is None else s * seconds_per_step for s in first],
                "final_error": outcome.score[i, :, -1].tolist(),
                "validation_error": outcome.error[i, :, -1].tolist(),
                "error": outcome.score[i].tolist(),
                "loss": outcome.loss[i].tolist(),
            }
        )
    return {
        **dataclasses.asdict(case),
        "parameters": outcome.parameters,
        "batch": budget.batch,
        "period": budget.period,
        "steps_taken": looks * budget.period,
        "sequences": looks * budget.period * budget.batch,
        "seconds": outcome.seconds,
        "compile_seconds": outcome.compile_seconds,
        "chance": facts.chance,
        "figure": facts.figure,
        "best": min(range(len(settings)), key=lambda i: (-sum(found[i]["solved"]), outcome.error[i, :, -1].mean())),
        "settings": found,
    }
