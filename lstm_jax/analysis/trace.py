"""What the gates of a cell do over a sequence, by name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lstm_jax.cells.dense import ACTIVATIONS, dot, split_gates
from lstm_jax.cells.elman import Elman
from lstm_jax.cells.full_gate import FullGateLSTM
from lstm_jax.cells.gru import GRU
from lstm_jax.cells.indrnn import IndRNN
from lstm_jax.cells.layer_norm import LayerNormGRU
from lstm_jax.cells.lstm import LSTM
from lstm_jax.cells.multiplicative import MultiplicativeLSTM
from lstm_jax.cells.peephole import PeepholeLSTM
from lstm_jax.scan import scan
from lstm_jax.types import Array, Carry, Params

Names = dict[str, Array]


def trace(cell: Any, params: Params, xs: Array, carry: Carry | None = None) -> Names:
    """Returns every gate, candidate and carry of a cell over time, by the letters of its equations.

        LSTM, MultiplicativeLSTM, PeepholeLSTM, FullGateLSTM    i, f, g, o, c, h
        GRU, LayerNormGRU                                       r, z, n, h
        Elman, IndRNN                                           h

    Gates and candidates are what multiplies: after the squashing function, not before. An open gate is 1, a coupled
    i is 1 - f.

    Args:
      cell: one of the cells above.
      params: the cell's parameters, in the dtype of `xs`.
      xs: inputs, `[time, *batch, input_size]`.
      carry: where the sequence starts; by default `cell.initial_carry`.

    Returns:
      For each name `[time, *batch, hidden_size]`. Entry t of c and h is the carry after step t, in the carry's dtype,
      as `scan(..., return_history=True, implementation="xla")` gives it; gates and candidates are those of step t, in
      float32 or better.

    Raises:
      NotImplementedError: a cell whose gates are not known here, a subclass of a known one included.
      ValueError: a wrong shape or dtype, as `scan` says.
    """
    read = READERS.get(type(cell))
    if read is None:
        known = ", ".join(kind.__name__ for kind in READERS)
        raise NotImplementedError(f"`cell`: trace knows the gates of {known}, got {cell!r}")
    _, (_, after) = scan(cell, params, xs, carry, return_history=True, implementation="xla")
    first = cell.initial_carry(params, xs.shape[1:-1]) if carry is None else carry
    before = jax.tree.map(lambda c, cs: jnp.concatenate([jnp.asarray(c)[None], cs])[: xs.shape[0]], first, after)
    # No leading axis is special to a cell: once the carries are known, all steps are one.
    a = cell.preactivate(params, before, cell.project(params, jnp.asarray(xs)))
    carried = {"c": after.c, "h": after.h} if hasattr(after, "c") else {"h": after}
    return {**read(cell, params, before, a), **carried}


def _lstm(cell: LSTM, params: Any, before: Any, a: Array) -> Names:
    i, f, g, o = split_gates(a, 4)
    return {"i": jax.nn.sigmoid(i), "f": jax.nn.sigmoid(f), "g": jnp.tanh(g), "o": jax.nn.sigmoid(o)}


def _peephole(cell: PeepholeLSTM, params: Any, before: Any, a: Any) -> Names:
    g = ACTIVATIONS[cell.input_activation](a[0]["g"])
    _, _, gates = cell.gated(before.c, *a)
    i, f, o = (jnp.broadcast_to(jnp.asarray(gates[name], g.dtype), g.shape) for name in "ifo")
    return {"i": i, "f": f, "g": g, "o": o}


def _gru(cell: GRU, params: Any, before: Array, a: tuple[Array, ...]) -> Names:
    r, z = jax.nn.sigmoid(a[0]), jax.nn.sigmoid(a[1])
    if cell.reset_after:
        n = a[2] + r * a[3]
    else:
        n = a[2] + dot(r * before.astype(r.dtype), params.w_h[:, 2 * cell.hidden_size :])
    return {"r": r, "z": z, "n": jnp.tanh(n)}


def _ungated(cell: Any, params: Any, before: Any, a: Array) -> Names:
    return {}


# By exact type: a subclass may have other equations.
READERS: dict[type, Callable[..., Names]] = {
    LSTM: _lstm,
    MultiplicativeLSTM: _lstm,
    PeepholeLSTM: _peephole,
    FullGateLSTM: _peephole,
    GRU: _gru,
    LayerNormGRU: _gru,
    Elman: _ungated,
    IndRNN: _ungated,
}
