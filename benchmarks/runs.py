"""One accuracy run as one compiled program: several settings and seeds at once, until one setting is solved."""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lstm_jax.models import MLP, Linear, Network
from lstm_jax.training import TrainState, clipped_adam, init_state, make_step
from lstm_jax.types import Layer


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to start and train a cell; settings of one run differ in numbers only, so that vmap takes them all."""

    init: str
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long a run may take: sequences seen are `steps * batch`."""

    steps: int
    batch: int = 64
    period: int = 20
    """Steps between two looks at the validation sequences."""
    decay: bool = False
    """Whether the learning rate falls to zero over the steps, along half a cosine."""


class Problem(NamedTuple):
    """What a run is trained on, as pure functions of keys: a task's generator or a data set's batches."""

    batch: Callable[[Any, Any], Any]
    """`(key, position) -> batch`, a training batch of a run."""
    loss: Callable[[Any, Any], Any]
    """`(outputs, batch) -> scalar`"""
    validation: Any
    """The batch looked at while training: it stops a run and chooses its setting."""
    error: Callable[[Any, Any], Any]
    """`(outputs, batch) -> scalar`"""
    solved: Callable[[Any, Any], Any]
    """`(outputs, batch) -> bool`"""
    output_size: int
    at: str = "every"
    tests: tuple[Any, ...] = ()
    """Batches of any lengths, on which the runs are judged at their end; nothing is chosen by them."""


class Verdict(NamedTuple):
    """What the runs know of one batch: `[settings, seeds]`."""

    error: np.ndarray
    solved: np.ndarray


class Outcome(NamedTuple):
    """Figures of one run: `[settings, seeds, looks]`, up to the look at which it stopped."""

    error: np.ndarray
    solved: np.ndarray
    loss: np.ndarray
    tests: tuple[Verdict, ...]
    """On each of the problem's test batches, where training ended."""
    seconds: float
    compile_seconds: float
    parameters: int


class _Progress(NamedTuple):
    look: Any
    states: Any
    error: Any
    solved: Any
    loss: Any


MAX_NORM = 1.0


class Program(NamedTuple):
    """A run, compiled: the same call gives the same numbers."""

    run: Callable[[], Any]
    compile_seconds: float
    parameters: int

    def __call__(self) -> Outcome:
        began = time.perf_counter()
        end, judged = jax.block_until_ready(self.run())
        seconds = time.perf_counter() - began
        looks = int(end.look)
        error, solved, loss = (np.asarray(x)[:, :, :looks] for x in (end.error, end.solved, end.loss))
        tests = tuple(Verdict(*map(np.asarray, x)) for x in judged)
        return Outcome(error, solved, loss, tests, seconds, self.compile_seconds, self.parameters)


def build(
    problem: Problem,
    layers: Mapping[str, Layer],
    settings: tuple[Setting, ...],
    seeds: int,
    budget: Budget,
    *,
    readout: Callable[[int, int], MLP] = Linear,
    shortcut: bool = False,
    seed: int = 0,
) -> Program:
    """Compiles the training of every setting with every seed at once; `layers` maps an initialisation to its layer.

    The run stops when all seeds of one setting are solved, or when the budget is spent; where the rate falls, it always
    falls to zero. The layers differ in their initialisers alone, and the equations of the first serve all.
    """

    def joined(layer: Layer) -> Network:
        reads = layer.output_shape[-1] + (layer.input_shape[-1] if shortcut else 0)
        return Network(layer, readout(reads, problem.output_size), problem.at, shortcut)

    networks = {name: joined(layer) for name, layer in layers.items()}
    network = next(iter(networks.values()))

    def optimizer(rate: Any) -> optax.GradientTransformation:
        return clipped_adam(optax.cosine_decay_schedule(rate, budget.steps) if budget.decay else rate, MAX_NORM)

    def start(init: str, learning_rate: Any, key: Any) -> TrainState:
        key_params, key_run = jax.random.split(key)
        return init_state(networks[init].init(key_params), optimizer(learning_rate), key_run)

    def loss_fn(params: Any, batch: Any, carry: Any, key: Any) -> tuple[Any, Any]:
        return problem.loss(network(params, batch.inputs)[1], batch), (carry, {})

    def step(rate: Any, state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        state, metrics = make_step(loss_fn, optimizer(rate))(state, batch)
        return state, metrics["loss"]

    steps = jax.vmap(jax.vmap(step, in_axes=(None, 0, 0)), in_axes=(0, 0, None))

    def train(rates: Any, states: TrainState) -> tuple[TrainState, Any]:
        """A period of every setting and seed. A seed's batches are the same in all settings, and drawn once."""

        def body(states: TrainState, _: None) -> tuple[TrainState, Any]:
            return steps(rates, states, jax.vmap(problem.batch)(states.key[0], states.position[0]))

        states, losses = lax.scan(body, states, length=budget.period)
        return states, losses.mean(axis=0)

    def judge(params: Any, batch: Any) -> tuple[Any, Any]:
        """Takes all seeds of a setting at once and the settings in turn: what is kept at every step fills memory."""

        def one(params: Any) -> tuple[Any, Any]:
            outputs = _some_at_once(functools.partial(network, params), batch.inputs)
            return problem.error(outputs, batch), problem.solved(outputs, batch)

        return lax.map(jax.vmap(one), params)

    looks = -(-budget.steps // budget.period)
    shape = (len(settings), seeds, looks)

    def going(p: _Progress) -> Any:
        latest = p.solved[:, :, jnp.maximum(p.look - 1, 0)]
        return (p.look < looks) & (budget.decay | ~jnp.any(jnp.all(latest, axis=1)))

    def advance(validation: Any, rates: Any, p: _Progress) -> _Progress:
        states, loss = train(rates, p.states)
        new = *judge(states.params, validation), loss
        histories = (p.error, p.solved, p.loss)
        put = [history.at[:, :, p.look].set(x) for history, x in zip(histories, new, strict=True)]
        return _Progress(p.look + 1, states, *put)

    def begin(rates: Any, keys: Any) -> TrainState:
        """Starts every initialisation with its learning rates; `settings` lists them in this order."""
        states = []
        for name in networks:
            own = jnp.stack([rate for s, rate in zip(settings, rates, strict=True) if s.init == name])
            each = jax.vmap(functools.partial(start, name), in_axes=(None, 0))
            states.append(jax.vmap(each, in_axes=(0, None))(own, keys))
        return jax.tree.map(lambda *x: jnp.concatenate(x), *states)

    def run(validation: Any, tests: Any, rates: Any, states: TrainState) -> tuple[_Progress, list[Any]]:
        empty = jnp.full(shape, jnp.nan, jnp.float32)
        first = _Progress(jnp.int32(0), states, empty, jnp.zeros(shape, bool), empty)
        end = lax.while_loop(going, functools.partial(advance, validation, rates), first)
        return end, [judge(end.states.params, batch) for batch in tests]

    rates = jnp.asarray([s.learning_rate for s in settings], jnp.float32)
    keys = jax.random.split(jax.random.key(seed), seeds)
    began = time.perf_counter()
    states = _compile(begin, 0, rates, keys)(rates, keys)
    given = problem.validation, problem.tests, rates, states
    program = _compile(run, 1, *given)
    size = sum(x.size for x in jax.tree.leaves(states.params)) // (len(settings) * seeds)
    return Program(lambda: program(*given), time.perf_counter() - began, size)


AT_ONCE = 1024
"""Sequences that a network is judged on at once, for the same reason."""


def _some_at_once(network: Callable, inputs: Any) -> Any:
    """The outputs for `inputs [time, batch, input_size]`, batch after batch."""
    if inputs.shape[1] <= AT_ONCE:
        return network(inputs)[1]
    outputs = lax.map(lambda xs: network(xs)[1], jnp.moveaxis(inputs, 1, 0), batch_size=AT_ONCE)
    return jnp.moveaxis(outputs, 0, -2)


def _compile(fn: Callable, effort: int, *args: Any) -> Callable:
    """Compiles with less effort than XLA's usual: a run of seconds does not earn back what the last percents cost."""
    return jax.jit(fn).lower(*args).compile(compiler_options={"xla_backend_optimization_level": str(effort)})


def grid(inits: tuple[str, ...], rates: tuple[float, ...]) -> tuple[Setting, ...]:
    """Every initialisation with every learning rate."""
    return tuple(Setting(i, r) for i, r in itertools.product(inits, rates))
