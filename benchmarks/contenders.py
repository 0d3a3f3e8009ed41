"""Who is timed: our scan, the textbook's, and the peers that are installed; each on the same shapes and numbers."""

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import lstm_jax as lj
from benchmarks.timing import Prepared, compiled, jitted
from lstm_jax.cells.dense import DenseCell, dot

CELLS: dict[str, type[DenseCell]] = {"LSTM": lj.LSTM, "GRU": lj.GRU, "RNN": lj.Elman}
OURS = "lstm_jax"
TEXTBOOK = "textbook scan"
MODES = ("forward", "training")
PEERS = {
    "Flax linen": "flax",
    "Flax nnx": "flax",
    "Equinox": "equinox",
    "Haiku": "haiku",
    "Keras": "keras",
    "PyTorch": "torch",
}
"""Libraries, and the modules that they are imported as."""


def textbook(cell: DenseCell, params: Any, xs: Any) -> Any:
    """lax.scan over the equations as a tutorial writes them, with both products inside the loop."""
    carry = cell.initial_carry(params, xs.shape[1:2])
    size = cell.hidden_size

    def lstm(carry: Any, x: Any) -> Any:
        h, c = carry
        a = dot(x, params.w_x) + dot(h, params.w_h) + params.b
        i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h.astype(x.dtype), c.astype(x.dtype)), h.astype(x.dtype)

    def gru(h: Any, x: Any) -> Any:
        a, b = dot(x, params.w_x) + params.b, dot(h, params.w_h)
        r, z = (jax.nn.sigmoid(a[:, k * size : (k + 1) * size] + b[:, k * size : (k + 1) * size]) for k in range(2))
        n = jnp.tanh(a[:, 2 * size :] + r * (b[:, 2 * size :] + params.b_hn))
        h = ((1 - z) * n + z * h).astype(x.dtype)
        return h, h

    def rnn(h: Any, x: Any) -> Any:
        h = jnp.tanh(dot(x, params.w_x) + dot(h, params.w_h) + params.b).astype(x.dtype)
        return h, h

    body = {lj.LSTM: lstm, lj.GRU: gru, lj.Elman: rnn}[type(cell)]
    return jax.lax.scan(body, tuple(carry) if isinstance(carry, tuple) else carry, xs)[1]


def prepare(
    contender: str,
    cell: DenseCell,
    mode: str,
    shape: tuple[int, int],
    dtype: str,
    device: str,
    implementation: str | None = None,
    seeds: int = 1,
) -> Prepared:
    """Compiles one contender for one cell, mode and `(batch, time)`; `implementation` is what runs ours.

    Several seeds are one vmapped call on shared inputs, or a loop over modules where the library has no vmap.
    """
    batch, time = shape
    xs = jax.random.normal(jax.random.key(1), (time, batch, cell.input_size)).astype(dtype)
    if contender == "PyTorch":
        return _torch(cell, mode, xs, dtype, device, seeds)
    options = {"implementation": implementation} if contender == OURS else {}
    if contender == "Keras":
        xs = jnp.swapaxes(xs, 0, 1)  # batch-first is its own layout
    call, params = _CALLS[contender](cell, xs, dtype, **options)
    if seeds > 1:
        params = jax.tree.map(lambda p: jnp.stack([p] * seeds), params)
        call = jax.vmap(call, (0, None))
    return compiled(call if mode == "forward" else gradient(call), params, xs)


def prepare_step(contender: str, cell: DenseCell, dtype: str, device: str) -> Prepared:
    """Compiles one step at batch 1: what a stream waits for."""
    x = jnp.ones((1, cell.input_size), dtype)
    if contender == "PyTorch":
        return _torch_step(cell, dtype, device)
    if contender == "Flax linen":
        module = _linen_cell(cell, dtype)
        carry = module.initialize_carry(jax.random.key(0), x.shape)
        variables = module.init(jax.random.key(0), carry, x)
        return jitted(module.apply, variables, carry, x)
    if contender == "Equinox":
        import equinox as eqx

        module = _equinox_cell(cell)
        params, rest = eqx.partition(module, eqx.is_array)
        h = jnp.zeros((1, cell.hidden_size), dtype)
        step = jax.vmap(lambda p, c, x: eqx.combine(p, rest)(x, c), (None, 0, 0))
        return jitted(step, params, (h, h) if isinstance(cell, lj.LSTM) else h, x)
    if contender == "Haiku":
        import haiku as hk

        made = hk.without_apply_rng(hk.transform(lambda x, c: _haiku_core(cell)(x, c)))
        carry = hk.without_apply_rng(hk.transform(lambda: _haiku_core(cell).initial_state(1))).apply({})
        return jitted(made.apply, made.init(jax.random.key(0), x, carry), x, carry)
    params = cell.init(jax.random.key(0), jnp.dtype(dtype))
    return jitted(cell, params, cell.initial_carry(params, (1,)), x)


def available() -> tuple[str, ...]:
    """Ours, the yardstick, and every peer that is installed."""
    return (OURS, TEXTBOOK, *(name for name, module in PEERS.items() if importlib.util.find_spec(module)))


def has(contender: str, cell: type[DenseCell], *, step: bool = False) -> bool:
    """Whether a library has such a cell, and a step of it to be timed alone."""
    if step and contender in (TEXTBOOK, "Flax nnx", "Keras"):
        return False
    return contender != "Equinox" or cell is not lj.Elman


def gradient(call: Callable) -> Callable:
    """Forward and backward: gradients of the mean square of the outputs by the parameters and the inputs."""
    return jax.value_and_grad(lambda p, x: jnp.mean(jnp.square(call(p, x).astype(jnp.float32))), argnums=(0, 1))


def _ours(cell: DenseCell, xs: Any, dtype: str, implementation: str | None = None) -> tuple[Callable, Any]:
    params = cell.init(jax.random.key(0), jnp.dtype(dtype))
    return lambda p, x: lj.scan(cell, p, x, implementation=implementation)[1], params


def _textbook(cell: DenseCell, xs: Any, dtype: str) -> tuple[Callable, Any]:
    return lambda p, x: textbook(cell, p, x), cell.init(jax.random.key(0), jnp.dtype(dtype))


def _linen_cell(cell: DenseCell, dtype: str) -> Any:
    import flax.linen as nn

    make = {lj.LSTM: nn.OptimizedLSTMCell, lj.GRU: nn.GRUCell, lj.Elman: nn.SimpleCell}[type(cell)]
    return make(cell.hidden_size, dtype=jnp.dtype(dtype), param_dtype=jnp.dtype(dtype))


def _linen(cell: DenseCell, xs: Any, dtype: str) -> tuple[Callable, Any]:
    import flax.linen as nn

    module = nn.RNN(_linen_cell(cell, dtype), time_major=True)
    return module.apply, module.init(jax.random.key(0), xs)


def _nnx(cell: DenseCell, xs: Any, dtype: str) -> tuple[Callable, Any]:
    from flax import nnx

    make = {lj.LSTM: nnx.OptimizedLSTMCell, lj.GRU: nnx.GRUCell, lj.Elman: nnx.SimpleCell}[type(cell)]
    kinds = {"dtype": jnp.dtype(dtype), "param_dtype": jnp.dtype(dtype), "rngs": nnx.Rngs(0)}
    module = nnx.RNN(make(cell.input_size, cell.hidden_size, **kinds), time_major=True, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    zeros = jnp.zeros((xs.shape[1], cell.hidden_size), dtype)
    carry = (zeros, zeros) if isinstance(cell, lj.LSTM) else zeros
    return lambda p, x: nnx.merge(graph, p, rest)(x, initial_carry=carry), params


def _equinox_cell(cell: DenseCell) -> Any:
    import equinox as eqx

    make = {lj.LSTM: eqx.nn.LSTMCell, lj.GRU: eqx.nn.GRUCell}[type(cell)]
    return make(cell.input_size, cell.hidden_size, key=jax.random.key(0))


def _equinox(cell: DenseCell, xs: Any, dtype: str) -> tuple[Callable, Any]:
    import equinox as eqx

    params, rest = eqx.partition(_equinox_cell(cell), eqx.is_array)
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    zeros = jnp.zeros((xs.shape[1], cell.hidden_size), dtype)
    carry = (zeros, zeros) if isinstance(cell, lj.LSTM) else zeros

    def call(params: Any, xs: Any) -> Any:
        def body(carry: Any, x: Any) -> Any:
            carry = jax.vmap(eqx.combine(params, rest))(x, carry)
            return carry, carry[0] if isinstance(carry, tuple) else carry

        return jax.lax.scan(body, carry, xs)[1]

    return call, params


def _haiku_core(cell: DenseCell) -> Any:
    import haiku as hk

    return {lj.LSTM: hk.LSTM, lj.GRU: hk.GRU, lj.Elman: hk.VanillaRNN}[type(cell)](cell.hidden_size)


def _haiku(cell: DenseCell, xs: Any, dtype: str) -> tuple[Callable, Any]:
    import haiku as hk

    def unroll(xs: Any) -> Any:
        core = _haiku_core(cell)
        state = jax.tree.map(lambda s: s.astype(dtype), core.initial_state(xs.shape[1]))
        return hk.dynamic_unroll(core, xs, state)[0]

    made = hk.without_apply_rng(hk.transform(unroll))
    return made.apply, jax.tree.map(lambda p: p.astype(dtype), made.init(jax.random.key(0), xs))


def _keras(cell: DenseCell, xs: Any, dtype: str) -> tuple[Callable, Any]:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    make = {lj.LSTM: keras.layers.LSTM, lj.GRU: keras.layers.GRU, lj.Elman: keras.layers.SimpleRNN}[type(cell)]
    layer = make(cell.hidden_size, return_sequences=True, dtype=dtype)
    layer.build(xs.shape)
    weights = [v.value for v in layer.trainable_variables]
    rest = [v.value for v in layer.non_trainable_variables]
    return lambda p, x: layer.stateless_call(p, rest, x)[0], weights


_CALLS: dict[str, Callable[..., tuple[Callable, Any]]] = {
    OURS: _ours,
    TEXTBOOK: _textbook,
    "Flax linen": _linen,
    "Flax nnx": _nnx,
    "Equinox": _equinox,
    "Haiku": _haiku,
    "Keras": _keras,
}


def _torch_setup(dtype: str, device: str) -> tuple[Any, dict, Callable]:
    import torch

    place = "cuda" if device == "gpu" and torch.cuda.is_available() else "cpu"
    wait = (lambda _: torch.cuda.synchronize()) if place == "cuda" else (lambda _: None)
    return torch, {"device": place, "dtype": getattr(torch, dtype)}, wait


def _torch(cell: DenseCell, mode: str, xs: Any, dtype: str, device: str, seeds: int) -> Prepared:
    torch, where, wait = _torch_setup(dtype, device)
    make = {lj.LSTM: torch.nn.LSTM, lj.GRU: torch.nn.GRU, lj.Elman: torch.nn.RNN}[type(cell)]
    modules = [make(cell.input_size, cell.hidden_size, **where) for _ in range(seeds)]
    inputs = torch.randn(*xs.shape, **where, requires_grad=mode == "training")

    def forward() -> Any:
        with torch.no_grad():
            return [module(inputs)[0] for module in modules]

    def training() -> Any:
        inputs.grad = None
        for module in modules:
            module.zero_grad()
            module(inputs)[0].float().square().mean().backward()

    return Prepared(forward if mode == "forward" else training, wait)


def _torch_step(cell: DenseCell, dtype: str, device: str) -> Prepared:
    torch, where, wait = _torch_setup(dtype, device)
    make = {lj.LSTM: torch.nn.LSTMCell, lj.GRU: torch.nn.GRUCell, lj.Elman: torch.nn.RNNCell}[type(cell)]
    module = make(cell.input_size, cell.hidden_size, **where)
    x, h = torch.randn(1, cell.input_size, **where), torch.zeros(1, cell.hidden_size, **where)
    carry = (h, h) if isinstance(cell, lj.LSTM) else h

    def step() -> Any:
        with torch.no_grad():
            return module(x, carry)

    return Prepared(step, wait)
