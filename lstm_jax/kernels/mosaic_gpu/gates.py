"""What happens between two products, and its derivative by hand: the compiler of kernels knows no `jax.vjp`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax.cells import GRU, LSTM, Elman
from lstm_jax.cells.lstm import LSTMCarry
from lstm_jax.types import Array

States = tuple[Array, ...]
"""The leaves of a carry, the output first."""
Slots = tuple[Array, ...]
"""The pre-activations that `update` wants, a slot each."""


class Gates(NamedTuple):
    """Of a cell, its pre-activations: how many come with the inputs, and where the recurrent product goes."""

    inputs: int
    slots: int
    recurrent: tuple[int, ...]
    """The slots that the product is a part of, in the order of its columns."""


def gates_of(cell: Any) -> Gates:
    if isinstance(cell, LSTM):
        return Gates(4, 4, (0, 1, 2, 3))
    if isinstance(cell, GRU):
        return Gates(3, 4, (0, 1, 3))
    return Gates(1, 1, (0,))


def update(cell: Any, states: States, inputs: Slots, products: Slots, bias: Array | None) -> States:
    """The cell's own equations."""
    if isinstance(cell, GRU):
        r, z, n = products
        h_n = n if bias is None else n + bias
        return (cell.update(states[0], (inputs[0] + r, inputs[1] + z, inputs[2], h_n))[1],)
    a = tuple(x + h for x, h in zip(inputs, products, strict=True))
    if isinstance(cell, LSTM):
        return tuple(cell.update(LSTMCarry(*states), a)[0])
    if cell.activation == "relu":  # jax's own has a rule of its own for derivatives, which the compiler does not know
        return (jnp.maximum(a[0], 0),)
    return (cell.update(states[0], a[0])[1],)


def pull(cell: Any, before: States, a: Slots, d: States) -> tuple[States, Slots]:
    """Cotangents of the state before, but for what comes through the product, and of the pre-activations."""
    if isinstance(cell, LSTM):
        return _pull_lstm(before[1], a, *d)
    return _pull_gru(before[0], a, *d) if isinstance(cell, GRU) else _pull_elman(cell, a, *d)


def _pull_lstm(c: Array, a: Slots, d_h: Array, d_c: Array) -> tuple[States, Slots]:
    i, f, o = (jax.nn.sigmoid(a[slot]) for slot in (0, 1, 3))
    g = jnp.tanh(a[2])
    memory = jnp.tanh(f * c + i * g)
    d_c = d_c + d_h * o * (1 - memory * memory)
    d_a = (
        d_c * g * i * (1 - i),
        d_c * c * f * (1 - f),
        d_c * i * (1 - g * g),
        d_h * memory * o * (1 - o),
    )
    return (jnp.zeros_like(d_h), d_c * f), d_a


def _pull_gru(h: Array, a: Slots, d: Array) -> tuple[States, Slots]:
    r, z, h_n = jax.nn.sigmoid(a[0]), jax.nn.sigmoid(a[1]), a[3]
    n = jnp.tanh(a[2] + r * h_n)
    d_n = d * (1 - z) * (1 - n * n)
    return (d * z,), (d_n * h_n * r * (1 - r), d * (h - n) * z * (1 - z), d_n, d_n * r)


def _pull_elman(cell: Elman, a: Slots, d: Array) -> tuple[States, Slots]:
    if cell.activation == "relu":
        return (jnp.zeros_like(d),), (jnp.where(a[0] > 0, d, jnp.zeros_like(d)),)
    if cell.activation == "sigmoid":
        s = jax.nn.sigmoid(a[0])
        return (jnp.zeros_like(d),), (d * s * (1 - s),)
    y = jnp.tanh(a[0])
    return (jnp.zeros_like(d),), (d * (1 - y * y),)
