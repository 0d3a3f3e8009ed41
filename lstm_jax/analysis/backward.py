"""Backpropagation through time by hand: the LSTM with peepholes gate by gate, the plain network lag by lag."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lstm_jax import checks
from lstm_jax.cells import Elman, ElmanParams, LSTMCarry, PeepholeLSTM, PeepholeParams
from lstm_jax.cells.call import check_carry, check_params
from lstm_jax.cells.dense import ACTIVATIONS, like, split_gates
from lstm_jax.scan import scan
from lstm_jax.types import Array


def _d_sigmoid(a: Array) -> Array:
    return jax.nn.sigmoid(a) * (1 - jax.nn.sigmoid(a))


DERIVATIVES = {
    "tanh": lambda a: 1 - jnp.tanh(a) ** 2,
    "relu": lambda a: jnp.where(a > 0, jnp.ones_like(a), jnp.zeros_like(a)),
    "sigmoid": _d_sigmoid,
    "identity": jnp.ones_like,
    "sigmoid(-1,1)": lambda a: 2 * _d_sigmoid(a),
    "sigmoid(-2,2)": lambda a: 4 * _d_sigmoid(a),
}
"""Of `cells.dense.ACTIVATIONS`, by name."""


class LSTMDeltas(NamedTuple):
    """delta_j = dO/da_j, the derivatives of the cost by the net inputs, each `[time, *batch, hidden_size]`.

    In the order of the parameters' gates: of the input gate (iota), the forget gate (phi), the cell (c) and the output
    gate (omega).
    """

    iota: Array
    phi: Array
    c: Array
    omega: Array


class LSTMGradients(NamedTuple):
    """The derivatives of the cost by parameters, inputs and first carry, each like its original, and the deltas."""

    params: PeepholeParams
    xs: Array
    carry: LSTMCarry
    deltas: LSTMDeltas


class _Forward(NamedTuple):
    """What the forward pass leaves at one step; `s_before` and `b_before` are of the step before."""

    s_before: Array
    b_before: Array
    a_iota: Array
    a_phi: Array
    a_c: Array
    a_omega: Array
    s_c: Array


def lstm_gradients(
    cell: PeepholeLSTM, params: PeepholeParams, xs: Array, errors: Array, carry: LSTMCarry | None = None
) -> LSTMGradients:
    """Returns the exact gradient of an LSTM over a sequence: the forward pass and the backward pass, gate by gate.

    In Graves's letters: O is the cost, a_j the net input of a unit and b_j its output, s_c the memory's state (c in the
    cell), w_cg the weights from the cells' outputs, f the gates' sigmoid, g and h the squashing functions of the cell's
    input and output. With one cell behind each set of gates, and `errors` for what flows in from above:

        epsilon_c^t   = dO/dy^t + sum_g w_cg delta_g^{t+1}
        delta_omega^t = f'(a_omega^t) h(s_c^t) epsilon_c^t
        epsilon_s^t   = b_omega^t h'(s_c^t) epsilon_c^t + b_phi^{t+1} epsilon_s^{t+1}
                        + w_c,iota delta_iota^{t+1} + w_c,phi delta_phi^{t+1} + w_c,omega delta_omega^t
        delta_c^t     = b_iota^t g'(a_c^t) epsilon_s^t
        delta_phi^t   = f'(a_phi^t) s_c^{t-1} epsilon_s^t
        delta_iota^t  = f'(a_iota^t) g(a_c^t) epsilon_s^t
        dO/dw_ij      = sum_t delta_j^t b_i^t

    This is for reading and for looking at the deltas; `jax.grad` of `scan` gives the same numbers.

    Args:
      cell: a `PeepholeLSTM` with all its gates, with or without peepholes and biases.
      params: its parameters.
      xs: inputs, `[time, *batch, input_size]`, in the parameters' dtype.
      errors: the derivatives of the cost by the outputs, `[time, *batch, hidden_size]`.
      carry: where the sequence starts, by default zeros.

    Raises:
      ValueError: another cell, or a wrong shape or dtype.

    References: Graves 2012, Supervised sequence labelling with recurrent neural networks, chapter 4,
    https://doi.org/10.1007/978-3-642-24797-2
    """
    if type(cell) is not PeepholeLSTM or cell.open_gates or cell.coupled:
        raise checks.fail("cell", "a PeepholeLSTM with all its gates", repr(cell))
    start = _checked(cell, params, xs, errors, carry)
    f, d_f = jax.nn.sigmoid, _d_sigmoid
    g, d_g = ACTIVATIONS[cell.input_activation], DERIVATIVES[cell.input_activation]
    h, d_h = ACTIVATIONS[cell.output_activation], DERIVATIVES[cell.output_activation]
    p = jnp.zeros(3 * cell.hidden_size, xs.dtype) if params.p is None else params.p
    w_iota, w_phi, w_omega = split_gates(p, 3)  # the peepholes

    def forward(before: LSTMCarry, x: Array) -> tuple[LSTMCarry, _Forward]:
        b_before, s_before = before
        a = x @ params.w_x + b_before @ params.w_h + (0 if params.b is None else params.b)
        a_iota, a_phi, a_c, a_omega = split_gates(a, 4)
        a_iota = a_iota + w_iota * s_before
        a_phi = a_phi + w_phi * s_before
        s_c = f(a_phi) * s_before + f(a_iota) * g(a_c)
        a_omega = a_omega + w_omega * s_c
        return LSTMCarry(f(a_omega) * h(s_c), s_c), _Forward(s_before, b_before, a_iota, a_phi, a_c, a_omega, s_c)

    def backward(later: tuple[Array, Array], now: tuple[Array, _Forward]) -> tuple[tuple[Array, Array], LSTMDeltas]:
        (epsilon_c, epsilon_s), (error, at) = later, now
        epsilon_c = error + epsilon_c
        delta_omega = d_f(at.a_omega) * h(at.s_c) * epsilon_c
        epsilon_s = f(at.a_omega) * d_h(at.s_c) * epsilon_c + epsilon_s + w_omega * delta_omega
        delta_c = f(at.a_iota) * d_g(at.a_c) * epsilon_s
        delta_phi = d_f(at.a_phi) * at.s_before * epsilon_s
        delta_iota = d_f(at.a_iota) * g(at.a_c) * epsilon_s
        deltas = LSTMDeltas(delta_iota, delta_phi, delta_c, delta_omega)
        # What this step sends to the one before: the shares of epsilon_c and of epsilon_s that have t + 1 above.
        to_output = jnp.concatenate(deltas, axis=-1) @ params.w_h.T
        to_state = f(at.a_phi) * epsilon_s + w_iota * delta_iota + w_phi * delta_phi
        return (to_output, to_state), deltas

    _, trace = lax.scan(forward, start, xs)
    nothing = jnp.zeros_like(start.h), jnp.zeros_like(start.c)
    first, deltas = lax.scan(backward, nothing, (errors, trace), reverse=True)

    delta = jnp.concatenate(deltas, axis=-1)
    peepholes = [(deltas.iota, trace.s_before), (deltas.phi, trace.s_before), (deltas.omega, trace.s_c)]
    d_params = PeepholeParams(
        _over_time(xs, delta),
        _over_time(trace.b_before, delta),
        None if params.b is None else _sum(delta),
        None if params.p is None else jnp.concatenate([_sum(d * s) for d, s in peepholes]),
    )
    return LSTMGradients(d_params, delta @ params.w_x.T, LSTMCarry(*first), deltas)


def elman_gradient(
    cell: Elman, params: ElmanParams, xs: Array, errors: Array, carry: Array | None = None
) -> tuple[ElmanParams, ElmanParams]:
    """Returns a plain network's gradient by its parameters as a sum over lags, and the terms of that sum.

    The cost J = sum_t J^(t) reaches the weights of step k from every later step t, through a product of Jacobians:

        dJ/dW = sum_t sum_{k<=t} dJ^(t)/dh^(t) (dh^(t)/dh^(t-1) ... dh^(k+1)/dh^(k)) dh^(k)/dW

    where the last factor holds h^(k-1) fixed. The terms of the second result have t - k, the lag, as first axis,
    `[time, ...]`; the first result is their sum. How fast they fade or grow is how fast gradients vanish or explode.
    Time is quadratic in the length: time^2 * hidden_size^2 multiplications a sequence, and time copies of the weights.

    Args:
      cell: an `Elman` network with any activation.
      params: its parameters.
      xs: inputs, `[time, *batch, input_size]`, in the parameters' dtype.
      errors: dJ^(t)/dh^(t), the derivatives of the cost by the outputs, `[time, *batch, hidden_size]`.
      carry: where the sequence starts, by default zeros.

    Raises:
      ValueError: another cell, or a wrong shape or dtype.

    References: Pascanu, Mikolov, Bengio 2013, https://arxiv.org/abs/1211.5063
    """
    if type(cell) is not Elman:
        raise checks.fail("cell", "an Elman network", repr(cell))
    start = _checked(cell, params, xs, errors, carry)
    h = scan(cell, params, xs, start)[1]
    before = jnp.concatenate([start[None], h[:-1]])
    a = xs @ params.w_x + before @ params.w_h + (0 if params.b is None else params.b)
    slope = DERIVATIVES[cell.activation](a)
    jacobians = slope[..., None] * params.w_h.T  # dh^(k)/dh^(k-1), [time, *batch, hidden, hidden]

    def lag(rows: Array, _: None) -> tuple[Array, ElmanParams]:
        """`rows[k]` is dJ^(k + lag)/dh^(k): one more factor on its right moves it to k - 1."""
        delta = rows * slope
        b = None if params.b is None else _sum(delta)
        term = ElmanParams(_over_time(xs, delta), _over_time(before, delta), b)
        moved = jnp.einsum("t...i,t...ij->t...j", rows, jacobians)[1:]
        return jnp.concatenate([moved, jnp.zeros_like(rows[:1])]), term

    terms = lax.scan(lag, errors, length=xs.shape[0])[1]
    return jax.tree.map(lambda term: term.sum(0), terms), terms


def _checked(cell: Any, params: Any, xs: Array, errors: Array, carry: Any) -> Any:
    """Checks a call and returns its first carry in the dtype of `xs`."""
    checks.array("xs", xs)
    if xs.ndim < 2 or xs.shape[-1] != cell.input_size:
        raise checks.fail("xs", f"shape [time, *batch, {cell.input_size}]", checks.describe(xs))
    check_params(cell, params, "xs", xs.dtype)
    checks.same_tree("errors", errors, jax.ShapeDtypeStruct((*xs.shape[:-1], cell.hidden_size), xs.dtype), dtypes=True)
    zeros = cell.initial_carry(params, xs.shape[1:-1])
    if carry is None:
        return zeros
    check_carry(cell, params, carry, xs.shape[1:-1])
    return like(zeros, carry)


def _over_time(b: Array, delta: Array) -> Array:
    """Returns sum_t b_i^t delta_j^t, over the batch as well: `[i, j]`."""
    return jnp.einsum("...i,...j->ij", b, delta)


def _sum(delta: Array) -> Array:
    return delta.sum(range(delta.ndim - 1))
