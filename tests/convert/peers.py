"""The other libraries' own cells: arrays of theirs, and their own loop over them."""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import lstm_jax as lj
from lstm_jax import convert
from tests.contenders import random_like

os.environ.setdefault("KERAS_BACKEND", "jax")  # before anything imports it
INPUT, HIDDEN = 3, 4


class Peer(NamedTuple):
    """One cell of one library."""

    cell: Any
    """Ours."""
    source: Any
    """Arrays of theirs, as `from_X` reads them: random numbers, no bias at zero."""
    run: Callable[[Any, Any], Any]
    """Their outputs `[time, batch, hidden]` from such arrays and `[time, batch, input]`."""
    read: Callable[[Any, Any], Any]
    write: Callable[[Any, Any], Any]
    lacks: str = ""
    """The field of our parameters that it has no place for."""
    rounds: str = ""
    """The field to which its equation adds a constant."""


def linen(cell: Any, make: Callable[[Any], Any]) -> Peer:
    from flax import linen as nn

    module = nn.RNN(make(nn), time_major=True)
    like = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((2, 1, INPUT))))["params"]["cell"]
    run = lambda source, xs: module.apply({"params": {"cell": source}}, xs)  # noqa: E731
    return Peer(cell, random_like(like, 1), run, convert.from_linen, convert.to_linen)


def nnx(cell: Any, make: Callable[[Any], Callable], cell_type: str | None = None) -> Peer:
    from flax import nnx

    graph, state = nnx.split(make(nnx)(INPUT, HIDDEN, rngs=nnx.Rngs(0)))
    like = nnx.to_pure_dict(state)

    def run(source: Any, xs: Any) -> Any:
        module = nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(source)))
        zeros = jnp.zeros((xs.shape[1], HIDDEN))
        carry = (zeros, zeros) if isinstance(cell, lj.LSTM) else zeros
        return nnx.RNN(module, time_major=True, rngs=False)(xs, initial_carry=carry)

    write = functools.partial(convert.to_nnx, cell_type=cell_type)
    return Peer(
        cell, random_like(like, 1), run, convert.from_nnx, write, lacks="b_hn" if cell.gates == ("r", "z", "n") else ""
    )


def equinox(cell: Any, name: str, **options: Any) -> Peer:
    import equinox as eqx

    module = getattr(eqx.nn, name)(INPUT, HIDDEN, key=jax.random.key(0), **options)
    names = [n for n in ("weight_ih", "weight_hh", "bias", "bias_n") if getattr(module, n, None) is not None]

    def run(source: dict, xs: Any) -> Any:
        made = eqx.tree_at(lambda m: [getattr(m, n) for n in names], module, [source[n] for n in names])
        zeros = jnp.zeros((xs.shape[1], HIDDEN))

        def body(carry: Any, x: Any) -> Any:
            carry = jax.vmap(made)(x, carry)
            return carry, carry[0] if isinstance(carry, tuple) else carry

        return jax.lax.scan(body, (zeros, zeros) if isinstance(cell, lj.LSTM) else zeros, xs)[1]

    like = {n: getattr(module, n) for n in names}
    return Peer(cell, random_like(like, 1), run, convert.from_equinox, convert.to_equinox)


def haiku(cell: Any, make: Callable[[Any], Any], cell_type: str | None = None) -> Peer:
    import haiku as hk

    def unroll(xs: Any) -> Any:
        core = make(hk)
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

    made = hk.without_apply_rng(hk.transform(unroll))
    like = jax.eval_shape(lambda: made.init(jax.random.key(0), jnp.zeros((2, 1, INPUT))))
    write = functools.partial(convert.to_haiku, cell_type=cell_type)
    return Peer(
        cell,
        random_like(like, 1),
        made.apply,
        convert.from_haiku,
        write,
        rounds="b" if isinstance(cell, lj.LSTM) else "",
    )


def keras(cell: Any, make: Callable[[Any], Any]) -> Peer:
    import keras

    layer = make(keras.layers)
    layer.build((1, 2, INPUT))
    names = [w.path.rpartition("/")[2] for w in layer.weights]

    def run(source: dict, xs: Any) -> Any:
        rest = [v.value for v in layer.non_trainable_variables]
        ys = layer.stateless_call([source[n] for n in names], rest, jnp.swapaxes(xs, 0, 1))[0]
        return jnp.swapaxes(ys, 0, 1)

    like = {n: w.value for n, w in zip(names, layer.weights, strict=True)}
    return Peer(cell, random_like(like, 1), run, convert.from_keras, convert.to_keras)


def _lstm(**options: Any) -> Any:
    return lj.LSTM(INPUT, HIDDEN, **options)


def _gru(**options: Any) -> Any:
    return lj.GRU(INPUT, HIDDEN, **options)


def _elman(activation: str, **options: Any) -> Any:
    return lj.Elman(INPUT, HIDDEN, activation=activation, **options)


_FUNCTIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}
_SEQUENCES = {"return_sequences": True}

PEERS: dict[str, Callable[[], Peer]] = {
    "linen-LSTMCell": lambda: linen(_lstm(), lambda nn: nn.LSTMCell(HIDDEN)),
    "linen-OptimizedLSTMCell": lambda: linen(_lstm(), lambda nn: nn.OptimizedLSTMCell(HIDDEN)),
    "linen-GRUCell": lambda: linen(_gru(), lambda nn: nn.GRUCell(HIDDEN)),
    "linen-MGUCell": lambda: linen(lj.MGU(INPUT, HIDDEN, reset_after=True), lambda nn: nn.MGUCell(HIDDEN)),
    "nnx-LSTMCell": lambda: nnx(_lstm(), lambda nnx: nnx.LSTMCell, "LSTMCell"),
    "nnx-OptimizedLSTMCell": lambda: nnx(_lstm(), lambda nnx: nnx.OptimizedLSTMCell),
    "nnx-GRUCell": lambda: nnx(_gru(), lambda nnx: nnx.GRUCell),
    "equinox-LSTMCell": lambda: equinox(_lstm(), "LSTMCell"),
    "equinox-LSTMCell-no-bias": lambda: equinox(_lstm(use_bias=False), "LSTMCell", use_bias=False),
    "equinox-GRUCell": lambda: equinox(_gru(), "GRUCell"),
    "equinox-GRUCell-no-bias": lambda: equinox(_gru(use_bias=False), "GRUCell", use_bias=False),
    "haiku-LSTM": lambda: haiku(_lstm(), lambda hk: hk.LSTM(HIDDEN)),
    "haiku-GRU": lambda: haiku(_gru(reset_after=False), lambda hk: hk.GRU(HIDDEN)),
    "haiku-VanillaRNN": lambda: haiku(_elman("relu"), lambda hk: hk.VanillaRNN(HIDDEN)),
    "haiku-VanillaRNN-one-bias": lambda: haiku(
        _elman("relu"), lambda hk: hk.VanillaRNN(HIDDEN, double_bias=False), "VanillaRNN(double_bias=False)"
    ),
    "keras-LSTM": lambda: keras(_lstm(), lambda k: k.LSTM(HIDDEN, **_SEQUENCES)),
    "keras-LSTM-no-bias": lambda: keras(_lstm(use_bias=False), lambda k: k.LSTM(HIDDEN, use_bias=False, **_SEQUENCES)),
    "keras-GRU": lambda: keras(_gru(), lambda k: k.GRU(HIDDEN, **_SEQUENCES)),
    "keras-GRU-no-bias": lambda: keras(_gru(use_bias=False), lambda k: k.GRU(HIDDEN, use_bias=False, **_SEQUENCES)),
    "keras-GRU-before": lambda: keras(
        _gru(reset_after=False), lambda k: k.GRU(HIDDEN, reset_after=False, **_SEQUENCES)
    ),
    **{
        f"linen-SimpleCell-{a}": lambda a=a: linen(
            _elman(a), lambda nn: nn.SimpleCell(HIDDEN, activation_fn=_FUNCTIONS[a])
        )
        for a in _FUNCTIONS
    },
    **{
        f"nnx-SimpleCell-{a}": lambda a=a: nnx(
            _elman(a), lambda nnx: functools.partial(nnx.SimpleCell, activation_fn=_FUNCTIONS[a])
        )
        for a in _FUNCTIONS
    },
    **{
        f"keras-SimpleRNN-{a}": lambda a=a: keras(_elman(a), lambda k: k.SimpleRNN(HIDDEN, activation=a, **_SEQUENCES))
        for a in _FUNCTIONS
    },
}
