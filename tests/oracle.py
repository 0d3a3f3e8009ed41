"""Float64 NumPy loops written straight from the papers' equations, one sequence at a time, one gate at a time.

Nothing here knows of lstm_jax but the names in its parameters. The equations also hold for complex numbers, so that
`derivative` can take the complex step: exact to rounding, without the cancellation of finite differences.
"""

import jax
import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def relu(a):
    return np.where(a.real > 0, a, 0)


def gate(w, number, size):
    """The columns of one gate, None for a missing bias."""
    return 0 if w is None else w[..., number * size : (number + 1) * size]


def lstm(params, carry, x):
    h, c = carry
    size = h.size

    def affine(k):
        return x @ gate(params.w_x, k, size) + h @ gate(params.w_h, k, size) + gate(params.b, k, size)

    i, f, g, o = sigmoid(affine(0)), sigmoid(affine(1)), np.tanh(affine(2)), sigmoid(affine(3))
    c = f * c + i * g
    h = o * np.tanh(c)
    return (h, c), h


def _gru(params, carry, x, candidate):
    (h,) = carry
    size = h.size
    from_x = [x @ gate(params.w_x, k, size) + gate(params.b, k, size) for k in range(3)]
    w_hr, w_hz, w_hn = (gate(params.w_h, k, size) for k in range(3))
    r = sigmoid(from_x[0] + h @ w_hr)
    z = sigmoid(from_x[1] + h @ w_hz)
    n = np.tanh(from_x[2] + candidate(r, h, w_hn))
    h = (1 - z) * n + z * h
    return (h,), h


def gru(params, carry, x):
    b_hn = 0 if params.b_hn is None else params.b_hn
    return _gru(params, carry, x, lambda r, h, w_hn: r * (h @ w_hn + b_hn))


def gru_reset_before(params, carry, x):
    return _gru(params, carry, x, lambda r, h, w_hn: (r * h) @ w_hn)


def elman(activation):
    def step(params, carry, x):
        (h,) = carry
        b = 0 if params.b is None else params.b
        h = activation(x @ params.w_x + h @ params.w_h + b)
        return (h,), h

    return step


elman_tanh, elman_relu, elman_sigmoid = elman(np.tanh), elman(relu), elman(sigmoid)


def one_sequence(step, params, xs, start, first, length, resets, reverse, output_shape):
    """Runs `xs [time, *input]`; returns the last carry, the outputs, and the carry after every step."""
    time = len(xs)
    carry, ys, history = start, {}, {}
    for t in reversed(range(length)) if reverse else range(length):
        cut = t + 1 if reverse else t  # the cut that lies between the step just taken and this one
        if cut < length and resets[cut]:
            carry = first
        carry, ys[t] = step(params, carry, xs[t])
        history[t] = carry
    for t in range(length, time):
        ys[t] = np.zeros(output_shape)
        history[t] = start if reverse else carry
    return carry, [ys[t] for t in range(time)], [history[t] for t in range(time)]


def scan(step, params, xs, start, first, lengths=None, resets=None, reverse=False, output_shape=None, input_rank=1):
    """Runs `xs [time, *batch, *input]` from `start`, after a reset from `first`: lists of leaves `[*batch, ...]`.

    An output has the shape of the first leaf, unless `output_shape` says another. Returns last carry, outputs and
    history; the carries as lists of leaves.
    """
    time, *batch = xs.shape[: xs.ndim - input_rank]
    output_shape = start[0].shape[len(batch) :] if output_shape is None else output_shape
    lengths = np.full(batch, time) if lengths is None else np.asarray(lengths)
    resets = np.zeros((time, *batch), bool) if resets is None else np.asarray(resets)
    dtype = np.result_type(xs, *start, *first, *jax.tree.leaves(params))
    ys = np.zeros((time, *batch, *output_shape), dtype)
    last = [np.zeros(leaf.shape, dtype) for leaf in start]
    history = [np.zeros((time, *leaf.shape), dtype) for leaf in start]
    for b in np.ndindex(*batch):
        carry, outputs, carries = one_sequence(
            step,
            params,
            xs[(slice(None), *b)],
            tuple(leaf[b].astype(dtype) for leaf in start),
            tuple(leaf[b].astype(dtype) for leaf in first),
            int(lengths[b]),
            resets[(slice(None), *b)],
            reverse,
            output_shape,
        )
        for leaf, value in zip(last, carry, strict=True):
            leaf[b] = value
        for t in range(time):
            ys[(t, *b)] = outputs[t]
            for leaf, value in zip(history, carries[t], strict=True):
                leaf[(t, *b)] = value
    return last, ys, history


def derivative(loss, point, direction, step=1e-30):
    """The derivative of `loss(pytree)` along a direction, by one imaginary step."""
    return loss(jax.tree.map(lambda x, v: x + 1j * step * v, point, direction)).imag / step
