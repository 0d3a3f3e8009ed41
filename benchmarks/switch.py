"""A model of Flax's own, and the same with its recurrent layer changed to ours: one line, the same trained weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.claims import MAPPED, row
from benchmarks.contenders import CELLS, MODES
from benchmarks.timing import Prepared, compiled
from lstm_jax import convert, tree
from lstm_jax.layers import Recurrent

CLASSES = 10
THEIRS = {"LSTM": "OptimizedLSTMCell", "GRU": "GRUCell", "RNN": "SimpleCell"}
Model = tuple[Callable[[Any, jax.Array], jax.Array], Any]
"""A function of parameters and `xs [batch, time, input]`, and the parameters."""


def count(cells: tuple[str, ...]) -> int:
    """How many steps the progress bar has."""
    return len(cells) * 2 * len(MODES)


def measure(cells: tuple[str, ...], rounds: int, advance: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row a cell, a Flax and a mode; a training step is loss, gradients and Adam."""
    batch, time, inputs, hidden = MAPPED
    xs = jax.random.normal(jax.random.key(1), (batch, time, inputs))
    rows = []
    for name in cells:
        cell = CELLS[name](inputs, hidden)
        for flax, models in (("linen", _linen), ("nnx", _nnx)):
            before, after = models(cell, THEIRS[name], xs)
            largest = jnp.abs(before[0](before[1], xs) - after[0](after[1], xs)).max()
            if largest > 1e-5:
                raise AssertionError(f"{name} in {flax}: outputs differ by {largest}")
            for mode in MODES:
                advance(f"{name} in {flax}: {mode}")
                pair = {
                    f"RNN({THEIRS[name]})": _prepared(before, mode, xs),
                    f"Recurrent({type(cell).__name__})": _prepared(after, mode, xs),
                }
                rows.append(row(name, f"{mode}, Flax {flax}", MAPPED, pair, rounds))
    return rows


def _linen(cell: Any, theirs: str, xs: jax.Array) -> tuple[Model, Model]:
    from flax import linen as nn

    from lstm_jax.adapters.linen import Recurrent as Ours

    class Before(nn.Module):
        @nn.compact
        def __call__(self, xs):
            xs = nn.RNN(getattr(nn, theirs)(cell.hidden_size), name="rnn")(xs)
            return nn.Dense(CLASSES, name="readout")(xs)

    class After(nn.Module):
        @nn.compact
        def __call__(self, xs):
            xs = Ours(cell, name="rnn")(xs)
            return nn.Dense(CLASSES, name="readout")(xs)

    trained = Before().init(jax.random.key(0), xs)["params"]
    weights = convert.from_linen(Recurrent(cell), trained[f"{theirs}_0"])
    switched = {"rnn": tree.to_dict(weights), "readout": trained["readout"]}
    return (_applied(Before()), trained), (_applied(After()), switched)


def _applied(module: Any) -> Callable[[Any, jax.Array], jax.Array]:
    return lambda params, xs: module.apply({"params": params}, xs)


def _nnx(cell: Any, theirs: str, xs: jax.Array) -> tuple[Model, Model]:
    from flax import nnx

    from lstm_jax.adapters.nnx import Recurrent as Ours

    class Network(nnx.Module):
        def __init__(self, rnn: Any):
            self.rnn = rnn
            self.readout = nnx.Linear(cell.hidden_size, CLASSES, rngs=nnx.Rngs(2))

        def __call__(self, xs: jax.Array) -> jax.Array:
            return self.readout(self.rnn(xs))

    def model(rnn: Any) -> Model:
        graph, params, rest = nnx.split(Network(rnn), nnx.Param, ...)
        fresh = lambda: jax.tree.map(jnp.asarray, rest)  # noqa: E731 -- random counters of the trace that moves them
        return lambda params, xs: nnx.merge(graph, params, fresh())(xs), params

    before = nnx.RNN(getattr(nnx, theirs)(cell.input_size, cell.hidden_size, rngs=nnx.Rngs(0)))
    after = Ours(cell, rngs=nnx.Rngs(1))
    nnx.update(after, tree.to_dict(convert.from_nnx(after.layer, before.cell)))
    return model(before), model(after)


def _prepared(model: Model, mode: str, xs: jax.Array) -> Prepared:
    call, params = model
    if mode == "forward":
        return compiled(call, params, xs)
    optimizer = optax.adam(1e-3)
    labels = jnp.zeros(xs.shape[:2], jnp.int32)

    def step(params: Any, state: Any, xs: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(call(params, xs), labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    return compiled(step, params, optimizer.init(params), xs)
