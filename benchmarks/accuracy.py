"""What a cell learns to remember: the suite's tasks, every cell with its settings and seeds, beside chance."""

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import cache, suite
from benchmarks.entry import Entry, Level
from benchmarks.learners import CELLS
from benchmarks.runs import Budget, Outcome, Problem, Program, build, grid
from benchmarks.suite import SUITE
from benchmarks.throughput import equal_parameters
from lstm_jax import losses
from lstm_jax.data import batch_indices
from lstm_jax.tasks import Batch


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


def cases(level: Level, only: tuple[str, ...], cells: tuple[str, ...], seeds: int) -> list[Case]:
    """The runs of a report, in order; without names every task of the level and every task's own cells."""
    found = []
    for task, entry in SUITE.items():
        if task not in (only or suite.usual(level)):
            continue
        for length, usual in entry.plan(level).items():
            for cell in cells or entry.cells:
                steps = entry.longer.get(cell, usual)
                found.append(Case(task, length, cell, entry.hidden_size, "hidden size", steps, seeds))
                if cell in ("GRU", "RNN") and length in entry.matched:
                    size = equal_parameters(cell, _inputs(entry.make(length)), entry.hidden_size)
                    found.append(Case(task, length, cell, size, "parameters", steps, seeds))
    return found


AT_ONCE = 8
"""Runs compiled together, before they are trained one after the other."""


def measure(
    found: list[Case],
    advance: Callable[[str], None],
    *,
    kept: Path | None = None,
    fresh: bool = False,
    minutes: float | None = None,
) -> list[dict[str, Any]]:
    """Trains the runs one after the other, each alone on the machine; a run that is kept is read instead.

    Args:
        found: the runs.
        advance: told what begins, twice a run.
        kept: a folder, where every run is stored as soon as it ends, and where those of earlier calls are found.
        fresh: store runs, but take none of those that are found.
        minutes: after this time no further run is begun, and those that are missing are left out.
    """
    until = time.perf_counter() + 60 * (minutes or float("inf"))
    rows = {} if fresh else {case: row for case in found if (row := cache.read(kept, described(case))) is not None}
    for case in rows:
        advance(f"kept: {case.task} {case.length}: {case.cell}")
        advance("")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for some in _slices([case for case in found if case not in rows], AT_ONCE):
            if time.perf_counter() > until:
                break
            programs = list(pool.map(lambda case: _compile(case, advance), some))
            for case in some:
                compiled = programs.pop(0)
                if time.perf_counter() > until:
                    break
                advance(f"{case.task} {case.length}: {case.cell}")
                rows[case] = _row(case, *compiled)
                cache.write(kept, described(case), rows[case])
    return [rows[case] | _said(case) for case in found if case in rows]


def _slices(found: list[Case], size: int) -> Iterator[list[Case]]:
    return (found[i : i + size] for i in range(0, len(found), size))


class Facts(NamedTuple):
    """What stands beside a figure."""

    chance: float
    figure: str
    t_max: float


def described(case: Case) -> dict[str, Any]:
    """Every setting of a run, as plain data: what tells a kept run from another."""
    entry = SUITE[case.task]
    made, t_max = entry.make(case.length), _facts(entry, case.length).t_max
    names = [_name(case, task) for task in (made, *(_tested(entry, n) for n in (case.length, *entry.further)))]
    layers = CELLS[case.cell].layers(_inputs(made), case.hidden_size, t_max)
    settings = {"batch": entry.batch, "period": entry.period, "rates": _rates(case)}
    settings |= {"validation": entry.tested, "test": entry.tested}
    if entry.decay:
        settings["decay"] = True
    if CELLS[case.cell].shortcut:
        settings["shortcut"] = True
    return {**dataclasses.asdict(case), **settings, "tasks": names, "layers": repr(layers)}


def _name(case: Case, made: Any) -> str:
    """The task with all its settings, as code."""
    return repr(made) if hasattr(made, "sample") else case.task


def _facts(entry: Entry, length: int) -> Facts:
    made = _tested(entry, length)
    if not hasattr(made, "sample"):
        return Facts(0.9, "misclassified images", made.train.inputs.shape[0])
    figure = entry.figure or ("misclassified" if made.kind == "classification" else "mean squared error")
    return Facts(made.chance, figure, made.t_max or 64)


def _tested(entry: Entry, length: int) -> Any:
    return (entry.make_test or entry.make)(length)


def _inputs(made: Any) -> int:
    return made.input_size if hasattr(made, "sample") else made.train.inputs.shape[-1]


def _rates(case: Case) -> tuple[float, ...]:
    return CELLS[case.cell].rates or SUITE[case.task].rates


class _Compiled(NamedTuple):
    facts: Facts
    settings: tuple
    program: Program


def _compile(case: Case, advance: Callable[[str], None]) -> _Compiled:
    entry = SUITE[case.task]
    made, facts = entry.make(case.length), _facts(entry, case.length)
    budget = _budget(case)
    layers = CELLS[case.cell].layers(_inputs(made), case.hidden_size, facts.t_max)
    settings = grid(tuple(layers), _rates(case))
    problem = _generated(case, made, budget) if hasattr(made, "sample") else _labelled(made, budget)
    learner = CELLS[case.cell]
    program = build(problem, layers, settings, case.seeds, budget, readout=learner.readout, shortcut=learner.shortcut)
    advance(f"compiling {case.task} {case.length}: {case.cell}")
    return _Compiled(facts, settings, program)


def _budget(case: Case) -> Budget:
    entry = SUITE[case.task]
    return Budget(case.steps, entry.batch, entry.period, entry.decay)


def _generated(case: Case, task: Any, budget: Budget) -> Problem:
    entry = SUITE[case.task]
    judged = _tested(entry, case.length)

    def judge(measure: Callable) -> Callable:
        return lambda outputs, batch: measure(outputs, batch.targets, batch.mask)

    def drawn(task: Any, seed: int) -> Batch:
        return jax.jit(task.sample, static_argnums=1)(jax.random.key(seed), entry.tested)

    return Problem(
        batch=lambda key, position: task.sample(jax.random.fold_in(key, position), budget.batch),
        loss=judge(task.loss),
        validation=drawn(judged, 2**31 - 1),
        error=judge(judged.error),
        solved=judge(judged.solved),
        output_size=task.output_size,
        tests=tuple(drawn(_tested(entry, length), 2**31 - 2) for length in (case.length, *entry.further)),
    )


def _labelled(data: Any, budget: Budget) -> Problem:
    train = data.train

    def batch(key: Any, position: Any) -> Any:
        i = batch_indices(key, position, size=train.labels.shape[0], batch_size=budget.batch)
        return train._replace(inputs=train.inputs[:, i], labels=train.labels[i])

    return Problem(
        batch=batch,
        loss=lambda outputs, batch: losses.cross_entropy(outputs, batch.labels),
        validation=data.validation,
        error=lambda outputs, batch: 1 - losses.accuracy(outputs, batch.labels),
        solved=lambda outputs, batch: jnp.zeros((), bool),  # no criterion: every run spends its budget
        output_size=10,
        at="last",
        tests=(data.test,),
    )


def _row(case: Case, facts: Facts, settings: tuple, program: Program) -> dict[str, Any]:
    outcome, budget, entry = program(), _budget(case), SUITE[case.task]
    looks = outcome.error.shape[-1]
    seconds_per_step = outcome.seconds / (looks * budget.period)
    test, *further = outcome.tests
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
                "confirmed": (outcome.solved[i, :, -1] & test.solved[i]).tolist(),
                "final_error": test.error[i].tolist(),
                "validation_error": outcome.error[i, :, -1].tolist(),
                "further": {str(n): x.error[i].tolist() for n, x in zip(entry.further, further, strict=True)},
                "error": outcome.error[i].tolist(),
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
        "further_chance": {str(n): _tested(entry, n).chance for n in entry.further},
        "best": _best(found, outcome),
        "settings": found,
    }


def _said(case: Case) -> dict[str, Any]:
    """What the suite says of a task beside its settings: no part of a run, so that a kept one is never out of date."""
    entry = SUITE[case.task]
    sequences = entry.published.sequences.get(case.length) if entry.published else None
    published = {"sequences": sequences, "source": entry.published.source} if entry.published and sequences else None
    defined = _name(case, entry.make(case.length))
    return {
        "group": entry.group,
        "control": entry.control,
        "published": published,
        "tried": entry.tried,
        "defined": defined if defined == case.task else f"{defined}, {entry.tested} sequences each to choose and test",
    }


def _best(found: list[dict], outcome: Outcome) -> int:
    """The setting with most seeds solved, then with the lowest error; one that diverged comes last."""
    errors = [float(e) for e in jnp.nan_to_num(jnp.asarray(outcome.error[:, :, -1]), nan=jnp.inf).mean(axis=1)]
    return min(range(len(found)), key=lambda i: (-sum(found[i]["solved"]), errors[i]))
