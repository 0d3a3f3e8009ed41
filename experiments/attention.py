"""Where attention took over and where it did not: recurrent cells beside a small Transformer of as many parameters.

    python -m experiments.attention --directory results/attention

Expected: attention shines at recall. Four pairs the Transformer and the LSTM learn with all 5 networks, the GRU with 3,
minGRU with none (0.62 of the queries wrong; chance 0.83); six pairs the Transformer alone. It fails where a state must
be kept up to date: on parity it stays at chance, as minGRU does, even at lengths that it was trained on, while LSTM and
GRU learn it with all networks and make no error on 160 bits. Adding 30 steps all four learn (the LSTM with 4 of 5).
The Transformer's tokens a second fall with the length of the sequence, most of all in generation; those of the others
hardly do, but for the LSTM's training at 4096 steps: what it keeps for the backward pass then takes fresh memory at
every step, which `lstm_jax.kernels.keep_memory` prevents. 7 minutes on 2 CPU cores.

All four models of a task have the same budget of parameters, readout included, which they fill as far as whole units
allow: LSTM and GRU with one layer; minGRU with two, since its paper needs more than one where gates must know the past;
the Transformer with two blocks of one head each and rotary positions (of 1, 2 and 4 heads, tried on recall, one learns
most). Initialisation is every model's default. The learning rate is the one of three with the lowest error on
validation sequences, mean over seeds, errors above chance counting as chance.

Recall is MQAR: pairs of a key and a value, then every key again; a sequence has 4 steps a pair. Parity is trained on
1 to 40 bits and tested on more. Speed is that of larger models (see settings), in steps of a sequence times sequences
per second: a training step, a pass forward, and generation one step at a time, where an output is the next input; there
the Transformer reads a cache of keys and values as long as the sequence, and the others their carry. Its attention is
`jax.nn.dot_product_attention`, which on CPUs writes the whole matrix of weights down. Figures are medians over rounds,
each of which takes every model in turn.

References: Arora, Eyuboglu et al. 2023, https://arxiv.org/abs/2312.04927 (recall); Deletang et al. 2022,
https://arxiv.org/abs/2207.02098 (parity); Feng et al. 2024, https://arxiv.org/abs/2410.01201 (minGRU)
"""

import bisect
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from jax import lax

import lstm_jax as lj
from experiments.report import by_variant, count, dots, figure, spread, table, write
from experiments.runs import Figures, Runs, every_run, train
from lstm_jax.models import Linear, Network, Transformer
from lstm_jax.tasks import MQAR, Adding, Batch, Parity, Task
from lstm_jax.training import clipped_adam, init_state, make_step

COLOURS = {"LSTM": "#0b5fa5", "GRU": "#2c8f57", "minGRU": "#8c62b8", "Transformer": "#d1701c"}
SPEED = "speed"


@dataclasses.dataclass(frozen=True)
class Settings:
    parameters: int = 6000  # of each network, at most
    seeds: int = 5  # independent runs of each model and learning rate, trained at once
    learning_rates: tuple[float, ...] = (0.002, 0.01, 0.03)  # at the beginning; they fall to nothing
    tested: int = 500  # sequences for validation, and as many for each test
    pairs: tuple[int, ...] = (4, 6)  # of a recall sequence
    recall_steps: int = 2500  # training steps
    recall_batch: int = 16  # fresh sequences a step
    parity_lengths: tuple[int, ...] = (40, 80, 160)  # bits: at most as many in training, then exactly as many in tests
    parity_steps: int = 3000
    parity_batch: int = 8
    adding_length: int = 30
    adding_steps: int = 500
    adding_batch: int = 16
    speed_parameters: int = 100_000
    speed_inputs: int = 32  # numbers a step
    speed_lengths: tuple[int, ...] = (64, 256, 1024, 4096)  # steps of a sequence
    speed_batch: int = 4
    generated: int = 32  # steps by which generation is measured, the last of a sequence
    rounds: int = 3
    least_seconds: float = 0.05  # of one measurement: quick calls are repeated
    directory: Path = Path("results/attention")


class Trial(NamedTuple):
    """A task to train on, and by name the tasks to be tested on afterwards."""

    name: str
    task: Task
    tests: dict[str, Task]
    steps: int
    batch: int


def trials(settings: Settings) -> list[Trial]:
    recall = {f"recall, {n} pairs": MQAR(4 * n, n, 2 * n + 4) for n in settings.pairs}
    longest, *longer = settings.parity_lengths
    parity = Parity(longest)
    lengths: dict[str, Task] = {f"1 to {longest}": parity, **{f"{n}": Parity(n, n) for n in longer}}
    adding = Adding(settings.adding_length)
    return [
        *(Trial(name, task, {"": task}, settings.recall_steps, settings.recall_batch) for name, task in recall.items()),
        Trial("parity", parity, lengths, settings.parity_steps, settings.parity_batch),
        Trial("adding", adding, {"": adding}, settings.adding_steps, settings.adding_batch),
    ]


def networks(inputs: int, outputs: int, parameters: int) -> dict[str, Network]:
    """The largest of each model with at most so many parameters."""

    def largest(make: Callable[[int], lj.Layer]) -> Network:
        def network(size: int) -> Network:
            layer = make(size)
            return Network(layer, Linear(layer.output_shape[0], outputs))

        return network(bisect.bisect_right(range(1, 4096), parameters, key=lambda size: weights(network(size))))

    def minimal(size: int) -> lj.Layer:
        return lj.Stack(tuple(lj.Recurrent(lj.MinGRU(below, size)) for below in (inputs, size)))

    # The size whose MLP may be the usual four times as wide; what is left widens the MLP.
    size = largest(lambda half: Transformer(inputs, 2 * half, heads=1)).layer.output_shape[0]
    return {
        "LSTM": largest(lambda size: lj.Recurrent(lj.LSTM(inputs, size))),
        "GRU": largest(lambda size: lj.Recurrent(lj.GRU(inputs, size))),
        "minGRU": largest(minimal),
        "Transformer": largest(lambda mlp: Transformer(inputs, size, heads=1, mlp_size=mlp)),
    }


def weights(network: Network) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0))))


def on_tests(network: Network, trial: Trial, tested: int) -> Figures:
    """A run on fresh sequences of the trial's task; "errors" are those of its tests in turn, "error" the first."""

    def judged(params: Any, sample: Batch) -> tuple:
        return network(params, sample.inputs)[1], sample.targets, sample.mask

    def loss_fn(params: Any, _: None, carry: None, key: Any) -> tuple:
        return trial.task.loss(*judged(params, trial.task.sample(key, trial.batch))), (carry, {})

    # Drawn ahead: what is constant in a program, the compiler would compute.
    draw = jax.jit(lambda task, key: task.sample(key, tested), static_argnums=0)
    validated = draw(trial.task, jax.random.key(2))
    tests = [(task, draw(task, jax.random.key(1))) for task in trial.tests.values()]

    def run(rate: Any, key: Any) -> dict[str, Any]:
        params = train(loss_fn, network.init(key), None, rate, key, trial.steps)
        outcomes = [(task, judged(params, sample)) for task, sample in tests]
        errors = jnp.stack([task.error(*outcome) for task, outcome in outcomes])
        return {
            "validation": jnp.fmin(trial.task.error(*judged(params, validated)), trial.task.chance),
            "error": errors[0],
            "errors": errors,
            "solved": jnp.all(jnp.stack([task.solved(*outcome) for task, outcome in outcomes])),
        }

    return run


def speeds(settings: Settings) -> Runs:
    """One entry a model, length and kind of work: tokens (steps times sequences) per second."""
    size, batch = settings.speed_inputs, settings.speed_batch
    models = {
        name: (network, network.init(jax.random.key(0)))
        for name, network in networks(size, size, settings.speed_parameters).items()
    }
    kinds = {"training": training(models), "forward": forward(models), "generation": generation(models, settings)}
    runs = []
    for length in settings.speed_lengths:
        xs = jax.random.normal(jax.random.key(1), (length, batch, size))
        for kind, calls in kinds.items():
            tokens = batch * (settings.generated if kind == "generation" else length)
            seconds = interleaved(calls, xs, settings.rounds, settings.least_seconds)
            for name, taken in seconds.items():
                figures = {"seconds": taken, "tokens_per_second": tokens / taken}
                runs.append({"task": SPEED, "variant": name, "kind": kind, "length": length, **figures})
    return runs


Models = dict[str, tuple[Network, Any]]
Calls = dict[str, Callable[[Any], Any]]
"""By the model's name, what takes inputs `[time, batch, size]` and gives what to wait for."""


def forward(models: Models) -> Calls:
    def call(network: Network, params: Any) -> Callable:
        run = jax.jit(lambda params, xs: network(params, xs)[1])
        return lambda xs: run(params, xs)

    return {name: call(*model) for name, model in models.items()}


def training(models: Models) -> Calls:
    def call(network: Network, params: Any) -> Callable:
        def loss_fn(params: Any, xs: Any, carry: None, key: Any) -> tuple:
            return lj.losses.mean_squared_error(network(params, xs)[1], xs), (carry, {})

        optimizer = clipped_adam(0.001)
        step, state = jax.jit(make_step(loss_fn, optimizer)), init_state(params, optimizer, jax.random.key(0))
        return lambda xs: step(state, xs)

    return {name: call(*model) for name, model in models.items()}


def generation(models: Models, settings: Settings) -> Calls:
    """The last steps of a sequence, one at a time, from whatever carry or full cache."""

    def call(network: Network, params: Any) -> Callable:
        layer, steps = network.layer, settings.generated
        take = layer.decode if isinstance(layer, Transformer) else layer.step

        def step(params: Any, before: tuple) -> tuple:
            carry, y = take(params.layer, *before)
            return carry, network.readout(params.readout, y)

        run = jax.jit(lambda params, *first: lax.scan(lambda c, _: (step(params, c), None), first, length=steps)[0][1])

        def last(xs: Any) -> Any:
            if not isinstance(layer, Transformer):
                return run(params, layer.initial_carry(params.layer, xs.shape[1:2]), xs[0])
            room = layer.empty_cache(params.layer, xs.shape[1], len(xs))
            return run(params, room._replace(position=jnp.int32(len(xs) - steps)), xs[0])

        return last

    return {name: call(*model) for name, model in models.items()}


def interleaved(calls: Calls, xs: Any, rounds: int, least_seconds: float) -> dict[str, float]:
    """The seconds of one call, each model's median over rounds that take all models in turn; compilation is apart."""

    def seconds(call: Callable, repeats: int) -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            jax.block_until_ready(call(xs))
        return (time.perf_counter() - began) / repeats

    for call in calls.values():
        seconds(call, 1)
    repeats = {name: max(1, round(least_seconds / seconds(call, 1))) for name, call in calls.items()}
    figures = [{name: seconds(call, repeats[name]) for name, call in calls.items()} for _ in range(rounds)]
    return {name: median(round_[name] for round_ in figures) for name in calls}


def run(settings: Settings) -> str:
    """Trains and times the models and writes all files; returns the report."""
    began, runs, tables = time.perf_counter(), [], {}
    for trial in trials(settings):
        models = networks(trial.task.input_size, trial.task.output_size, settings.parameters)
        for name, network in models.items():
            labels = {"task": trial.name, "variant": name, "chance": trial.task.chance, "parameters": weights(network)}
            one = on_tests(network, trial, settings.tested)
            runs += every_run(one, settings.learning_rates, settings.seeds, **labels)
        tables[f"{trial.name} (chance {trial.task.chance:.3f})".capitalize()] = table(error_rows(runs, trial))
    runs += speeds(settings)
    seconds = time.perf_counter() - began
    for kind in ("training", "forward", "generation"):
        tables[f"Thousand tokens a second, {kind}"] = table(speed_rows(runs, kind))
    caption = "Recurrence and attention at equal parameter counts"
    return write(settings, "attention", runs, seconds, {"attention": plot(runs, settings)}, caption, tables)


def error_rows(runs: Runs, trial: Trial) -> list[dict[str, str]]:
    return [
        {
            "model": model,
            "parameters": str(own[0]["parameters"]),
            "learning rate": f"{own[0]['learning_rate']:g}",
            "solved": count([run["solved"] for run in own]),
            **{
                f"error{test and ', '}{test}, median (range) of seeds": spread(
                    [run["errors"][i] for run in own], "z.4f"
                )
                for i, test in enumerate(trial.tests)
            },
        }
        for model, own in by_variant(runs, trial.name).items()
    ]


def rates(runs: Runs, kind: str, model: str) -> dict[int, float]:
    """By length, a model's tokens per second."""
    own = [run for run in runs if run["task"] == SPEED and run["kind"] == kind and run["variant"] == model]
    return {run["length"]: run["tokens_per_second"] for run in own}


def speed_rows(runs: Runs, kind: str) -> list[dict[str, str]]:
    return [
        {"model": model, **{f"{n} steps": f"{rate / 1000:,.1f}" for n, rate in rates(runs, kind, model).items()}}
        for model in COLOURS
    ]


def plot(runs: Runs, settings: Settings) -> Any:
    """Above what they learn, below how fast they are."""
    made, (recall, parity, adding, *below) = figure(2, 3, size=(12, 7.2))
    chance = {run["task"]: run["chance"] for run in runs if run["task"] != SPEED}
    names = [f"recall, {n} pairs" for n in settings.pairs]
    groups = [by_variant(runs, name) for name in names]
    errors = {model: [[run["error"] for run in group[model]] for group in groups] for model in COLOURS}
    in_turn(recall, errors, settings.pairs, [chance[name] for name in names])
    recall.set(title="Associative recall (MQAR)", xlabel="pairs of key and value", ylabel="queries answered wrongly")

    longest, *longer = settings.parity_lengths
    errors = {
        model: list(zip(*(run["errors"] for run in own), strict=True))
        for model, own in by_variant(runs, "parity").items()
    }
    in_turn(parity, errors, [f"1 to {longest}", *longer], [chance["parity"]] * (1 + len(longer)))
    parity.set(title="Parity", xlabel=f"bits of a string (training: 1 to {longest})", ylabel="strings answered wrongly")

    own = by_variant(runs, "adding").values()
    dots(adding, [""] * len(own), [[run["error"] for run in seeds] for seeds in own], list(COLOURS.values()))
    adding.axhline(chance["adding"], color="black", linestyle=":", linewidth=1.2)
    adding.set(title=f"Adding, {settings.adding_length} steps", ylabel="mean squared error", xticks=[])

    titles = {"training": "A training step", "forward": "A pass forward", "generation": "Generation, step by step"}
    for axis, (kind, title) in zip(below, titles.items(), strict=True):
        for model, colour in COLOURS.items():
            speed = rates(runs, kind, model)
            axis.plot(list(speed), list(speed.values()), marker="o", color=colour)
        axis.set(xscale="log", yscale="log", title=title, xlabel="steps of a sequence")
        axis.set_xticks(settings.speed_lengths, settings.speed_lengths)
        axis.minorticks_off()
    below[0].set_ylabel("tokens per second")
    handles = {model: recall.scatter([], [], color=colour) for model, colour in COLOURS.items()}
    handles["chance"] = recall.plot([], [], color="black", linestyle=":", linewidth=1.2)[0]
    made.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
    return made


def in_turn(axis: Any, errors: dict[str, list], labels: Any, chances: list[float]) -> None:
    """A dot a seed, and a line through the medians, from one test to the next; chance is dotted."""
    for i, (model, tests) in enumerate(errors.items()):
        places = [place + 0.07 * (i - 1.5) for place in range(len(tests))]
        axis.plot(places, [median(seeds) for seeds in tests], color=COLOURS[model], linewidth=1.5)
        for place, seeds in zip(places, tests, strict=True):
            axis.scatter([place] * len(seeds), seeds, color=COLOURS[model], s=18, zorder=3)
    axis.plot(range(len(labels)), chances, color="black", linestyle=":", linewidth=1.2)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_ylim(-0.02, 1.1 * max(chances))


if __name__ == "__main__":
    print(run(tyro.cli(Settings)))
