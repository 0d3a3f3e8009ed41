"""cuDNN's LSTM, by the binding that jax ships: `jax.experimental.rnn`.

One call runs one layer over a whole batch: sequences of at least one step, each from its first step on, float32. What
`scan` promises beyond that stands around the call. cuDNN cannot run several weights at once: groups follow each other.

Tested with jax's own reference in the place of the two calls; it never ran on a GPU, and is taken by name alone.

References: https://docs.nvidia.com/deeplearning/cudnn/latest/api/cudnn-adv-library.html (cudnnRNNForward)
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.experimental import rnn

from lstm_jax.cells.lstm import LSTMCarry, LSTMParams
from lstm_jax.kernels import loop
from lstm_jax.kernels.compiled import compiled
from lstm_jax.kernels.loop import Call
from lstm_jax.kernels.xla import Options, Sequence, select
from lstm_jax.types import Array, Carry, Params


def missing() -> str | None:
    """Why jax has no cuDNN here, None where it has: for AMD's GPUs it binds MIOpen, whose gates have another order."""
    return None if getattr(getattr(rnn, "gpu_rnn", None), "_cuda_rnn", None) else "`jax` is installed without CUDA"


@dataclasses.dataclass(frozen=True)
class _Options(Options):
    precision: str | None = None
    """Of the products: read once, so that the backward pass has the forward pass's."""


def run_cudnn(cell: Any, options: Options, params: Params, seq: Sequence) -> tuple[Carry, Any]:
    """The same results as `xla.run` up to rounding, for LSTMs without resets; reverse mode, any order."""
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return loop.run(ENGINE, cell, _Options(**vars(options), precision=precision), params, seq)


def pack(params: LSTMParams) -> Array:
    """Returns cuDNN's flat vector of one layer: W_x and W_h transposed, then both biases, the second zero."""
    zeros = jnp.zeros(params.w_h.shape[1:], params.w_h.dtype)
    return jnp.concatenate([params.w_x.T.ravel(), params.w_h.T.ravel(), zeros if params.b is None else params.b, zeros])


# The two calls. x and y are [batch, time, ...], h and c [1, batch, hidden], lengths int32 in 1..time.


def _sizes(call: Call) -> tuple[int, int, int, float, bool, Any]:
    """Sizes, layers, dropout, whether bidirectional, and the precision, as both calls take them."""
    precision = call.options.precision  # pyright: ignore[reportAttributeAccessIssue]
    return call.cell.input_size, call.cell.hidden_size, 1, 0.0, False, precision


def _forward(call: Call, x: Array, h: Array, c: Array, weights: Array, lengths: Array) -> tuple[Array, ...]:
    """y, the last h and c, and what the backward pass reads beside y."""
    results, (*_, reserve) = rnn.lstm_fwd(x, h, c, weights, lengths, *_sizes(call))
    return (*results, reserve)


def _backward(call: Call, args: tuple, y: Array, reserve: Array, cts: tuple) -> tuple[Array, ...]:
    """The cotangents of x, h, c and the weights."""
    return rnn.lstm_bwd(*_sizes(call), (*args, y, reserve), cts)[:4]


def _around(call: Call, leaves: list, lstm: Callable) -> list[Array]:
    """The leaves of the carry and ys by `lstm(x, h, c, weights, lengths) -> y, h, c, *more`, and `more`.

    Nothing that stands past a length is read. `scan` has zeroed the inputs there, and so their cotangents.
    """
    params, seq = call.parts(leaves)
    time, *batch, _ = seq.xs.shape
    rows = math.prod(batch)
    valid = None if seq.valid is None else seq.valid.reshape(time, rows).T
    lengths = jnp.full(rows, time, jnp.int32) if valid is None else valid.sum(1, dtype=jnp.int32)

    def turned(x: Array) -> Array:
        """Each sequence from its last valid step to its first, where the loop runs so; its own inverse."""
        if not call.options.reverse:
            return x
        if valid is None:
            return x[:, ::-1]
        steps = jnp.arange(time, dtype=jnp.int32)
        order = jnp.where(valid, lengths[:, None] - 1 - steps, steps)
        row = jnp.arange(rows, dtype=jnp.int32)[:, None]
        return x.at[row, order].get(unique_indices=True, mode="promise_in_bounds")

    x = jnp.moveaxis(seq.xs.reshape(time, rows, -1), 0, 1)
    first = LSTMCarry(*(state.reshape(rows, -1) for state in seq.carry))
    y, h, c, *more = lstm(turned(x), first.h[None], first.c[None], pack(params), jnp.maximum(lengths, 1))
    y = turned(y)
    if valid is not None:
        y = select(valid, y, jnp.zeros_like(y))
    carry = select(lengths > 0, LSTMCarry(h[0], c[0]), first)
    return [
        *(state.reshape(*batch, -1) for state in carry),
        jnp.moveaxis(y, 0, 1).reshape(time, *batch, -1),
        *more,
    ]


def _run(call: Call, operands: list, keep: bool) -> list[Array]:
    """The leaves of the carry and ys, and what the backward pass reads: y as cuDNN returned it, and its reserve."""

    def one(leaves: list) -> list[Array]:
        def lstm(*args: Array) -> tuple[Array, ...]:
            y, h, c, reserve = _forward(call, *args)
            return (y, h, c, y, reserve) if keep else (y, h, c)

        return _around(call, leaves, lstm)

    return call.lift(sequential_vmap(one))(operands)


def _back(call: Call, operands: list) -> list[Array]:
    """The cotangents of the leaves at `call.wanted` in every group, from leaves, what was kept, and cotangents."""
    n = call.tree.num_leaves

    def one(operands: list) -> list[Array]:
        leaves, (y, reserve), cts = operands[:n], operands[n : n + 2], operands[n + 2 :]

        @jax.custom_vjp
        def lstm(x: Array, h: Array, c: Array, weights: Array, lengths: Array) -> tuple[Array, ...]:
            return y, h, c  # all that follows is linear: the values do not matter

        lstm.defvjp(
            lambda *args: (lstm(*args), args), lambda args, cts: (*_backward(call, args, y, reserve, cts), None)
        )

        def moved(wanted: list) -> list[Array]:
            return _around(call, loop.replaced(leaves, call.wanted, wanted), lstm)

        return jax.vjp(moved, [leaves[place] for place in call.wanted])[1](cts)[0]

    return call.lift(sequential_vmap(one))(operands)


ENGINE = compiled("cudnn", _run, _back, residuals=lambda call: 2, platform="cuda", whole=True)
