"""The first claim of `design_choices`: that GRUs train faster than LSTMs, in steps and in seconds."""

import time
from bisect import bisect_left
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import lstm_jax as lj
from experiments.report import by_variant, count, spread, table
from experiments.runs import Figures, Runs, every_run
from lstm_jax.models import Linear, Network
from lstm_jax.tasks import Adding, Task, TemporalOrder
from lstm_jax.training import clipped_adam, init_state, make_step


def parameters(network: Any) -> int:
    """How many numbers a network learns."""
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda: network.init(jax.random.key(0)))))


def nearest(make: Callable[[int], Any], goal: int) -> int:
    """The width at which the network that `make` returns comes closest to `goal` parameters."""
    above = 1 + bisect_left(range(1, 1000), goal, key=lambda width: parameters(make(width)))
    return min((max(1, above - 1), above), key=lambda width: abs(parameters(make(width)) - goal))


TASKS = "adding", "temporal order"
COLOURS = {"LSTM": "black", "GRU, same units": "#d1701c", "GRU, same parameters": "#0b5fa5"}


def contenders(task: Task, hidden: int) -> dict[str, Network]:
    """An LSTM, a GRU with as many units, and one with as many parameters."""

    def network(cell: Any, units: int) -> Network:
        cell = cell(task.input_size, units, b_init=lj.inits.Chrono(task.time))
        return Network(lj.Recurrent(cell), Linear(units, task.output_size))

    lstm = network(lj.LSTM, hidden)
    units = nearest(lambda width: network(lj.GRU, width), parameters(lstm))
    return dict(zip(COLOURS, (lstm, network(lj.GRU, hidden), network(lj.GRU, units)), strict=True))


def judged(network: Network, task: Task, params: Any, key: Any, number: int) -> tuple:
    sample = task.sample(key, number)
    return network(params, sample.inputs)[1], sample.targets, sample.mask


def task_step(network: Network, task: Task, rate: Any, batch: int) -> tuple[Any, Callable]:
    """The optimizer, and one training step on fresh sequences."""
    optimizer = clipped_adam(rate)

    def loss_fn(params: Any, _: None, carry: None, key: Any) -> tuple:
        return task.loss(*judged(network, task, params, key, batch)), (carry, {})

    return optimizer, make_step(loss_fn, optimizer)


def steps_to_solve(network: Network, task: Task, settings: Any) -> Figures:
    """A run that is tested every now and then; the validation figure is the share of all steps that it needs."""
    every, tests = settings.task_every, settings.task_steps // settings.task_every

    def run(rate: Any, key: Any) -> dict[str, Any]:
        optimizer, step = task_step(network, task, rate, settings.task_batch)

        def go_on(state: Any, _: None) -> tuple:
            state, _ = lax.scan(step, state, length=every)
            samples = (
                judged(network, task, state.params, jax.random.key(seed), settings.task_tested) for seed in (1, 2)
            )
            return state, jnp.stack([task.solved(*sample) for sample in samples])

        _, solved = lax.scan(go_on, init_state(network.init(key), optimizer, key), length=tests)
        # The first test passed; all steps where none is.
        steps = jnp.where(solved.any(0), every * (1 + jnp.argmax(solved, 0)), every * tests)
        return {"validation": steps[1] / (every * tests), "steps": steps[0], "solved": solved[:, 0].any()}

    return run


def seconds_a_step(networks: dict[str, Network], task: Task, settings: Any) -> dict[str, list[float]]:
    """What a step of training one network takes: every round times every network once."""

    def trainer(network: Network) -> Callable[[], Any]:
        optimizer, step = task_step(network, task, 1e-3, settings.task_batch)
        state = init_state(network.init(jax.random.key(0)), optimizer, jax.random.key(0))
        program = jax.jit(lambda state: lax.scan(step, state, length=settings.timed_steps)[0])
        return lambda: jax.block_until_ready(program(state))

    trainers = {name: trainer(network) for name, network in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for round_ in range(-1, settings.rounds):  # the first one compiles
        for name, train_one in trainers.items():
            began = time.perf_counter()
            train_one()
            if round_ >= 0:
                seconds[name].append((time.perf_counter() - began) / settings.timed_steps)
    return seconds


def speed(settings: Any) -> tuple[Runs, dict[str, str]]:
    runs, tables = [], {}
    tasks = Adding(settings.adding_length), TemporalOrder(settings.order_length)
    for name, task in zip(TASKS, tasks, strict=True):
        networks = contenders(task, settings.hidden)
        for variant, network in networks.items():
            one = steps_to_solve(network, task, settings)
            labels = {"task": name, "variant": variant, "parameters": parameters(network)}
            runs += every_run(one, settings.task_rates, settings.seeds, **labels)
        seconds = seconds_a_step(networks, task, settings)
        runs += [{"task": f"{name}, seconds a step", "variant": key, "seconds": x} for key, x in seconds.items()]
        tables[f"{name.capitalize()}, {task.length} steps"] = table(speed_rows(runs, name, seconds))
    return runs, tables


def speed_rows(runs: Runs, task: str, seconds: dict[str, list[float]]) -> list[dict[str, str]]:
    return [
        {
            "network": variant,
            "parameters": str(own[0]["parameters"]),
            "learning rate": f"{own[0]['learning_rate']:g}",
            "solved": count([run["solved"] for run in own]),
            "steps to solve, median (range) of seeds": spread([run["steps"] for run in own], ".0f"),
            "ms a step, median (range) of rounds": spread([1000 * x for x in seconds[variant]], ".3g"),
            "seconds to solve": f"{median(run['steps'] for run in own) * median(seconds[variant]):.2g}",
        }
        for variant, own in by_variant(runs, task).items()
    ]
