"""Who is timed: our scan, the textbook's, and the peers that are installed; each on the same shapes and numbers."""

import importlib.util
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


def prepare(contender: str, cell: DenseCell, mode: str, shape: tuple[int, int], dtype: str, device: str) -> Prepared:
    """Compiles one contender for one cell, mode and `(batch, time)`."""
    batch, time = shape
    xs = jax.random.normal(jax.random.key(1), (time, batch, cell.input_size)).astype(dtype)
    if contender == "PyTorch":
        return _torch(cell, mode, xs, dtype, device)
    call, params = _CALLS[contender](cell, xs, dtype)
    return compiled(call if mode == "forward" else _gradient(call), params, xs)


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
    params = cell.init(jax.random.key(0), jnp.dtype(dtype))
    return jitted(cell, params, cell.initial_carry(params, (1,)), x)


def available() -> tuple[str, ...]:
    """Ours, the yardstick, and every peer that is installed."""
    peers = {"Flax linen": "flax", "Flax nnx": "flax", "PyTorch": "torch"}
    return (OURS, TEXTBOOK, *(name for name, module in peers.items() if importlib.util.find_spec(module)))


def _gradient(call: Callable) -> Callable:
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


_CALLS: dict[str, Callable[..., tuple[Callable, Any]]] = {
    OURS: _ours,
    TEXTBOOK: _textbook,
    "Flax linen": _linen,
    "Flax nnx": _nnx,
}


def _torch_setup(dtype: str, device: str) -> tuple[Any, dict, Callable]:
    import torch

    place = "cuda" if device == "gpu" and torch.cuda.is_available() else "cpu"
    wait = (lambda _: torch.cuda.synchronize()) if place == "cuda" else (lambda _: None)
    return torch, {"device": place, "dtype": getattr(torch, dtype)}, wait


def _torch(cell: DenseCell, mode: str, xs: Any, dtype: str, device: str) -> Prepared:
    torch, where, wait = _torch_setup(dtype, device)
    make = {lj.LSTM: torch.nn.LSTM, lj.GRU: torch.nn.GRU, lj.Elman: torch.nn.RNN}[type(cell)]
    module = make(cell.input_size, cell.hidden_size, **where)
    inputs = torch.randn(*xs.shape, **where, requires_grad=mode == "training")

    def forward() -> Any:
        with torch.no_grad():
            return module(inputs)[0]

    def training() -> Any:
        module.zero_grad()
        inputs.grad = None
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
