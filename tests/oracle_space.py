"""Equations of the cells whose states are images or memories, in loops of float64 NumPy over one sequence.

Written as oracle.py is: straight from the papers, one place, one slot, one head at a time, for complex numbers too.
`carry` is the tuple of the leaves of ours, in their order.
"""

import numpy as np

from tests.oracle import gate, sigmoid


def softplus(a):
    return np.log(1 + np.exp(a))


def softmax(a):
    e = np.exp(a - a.real.max())
    return e / e.sum()


def convolved(w, x):
    """w * x: each place sees the places around it, those before it first, and zeros beyond the edge."""
    *kernel, _, columns = w.shape
    *image, _ = x.shape
    y = np.zeros((*image, columns), np.result_type(w, x))
    for place in np.ndindex(*image):
        for offset in np.ndindex(*kernel):
            there = tuple(p + o - (n - 1) // 2 for p, o, n in zip(place, offset, kernel, strict=True))
            if all(0 <= t < n for t, n in zip(there, image, strict=True)):
                y[place] += x[there] @ w[offset]
    return y


def conv_lstm(cell, params, carry, x):
    h, c = carry
    size = h.shape[-1]

    def affine(k):
        from_x, from_h = convolved(gate(params.w_x, k, size), x), convolved(gate(params.w_h, k, size), h)
        return from_x + from_h + gate(params.b, k, size)

    p_i, p_f, p_o = (gate(params.p, k, size) for k in range(3))
    i = sigmoid(affine(0) + p_i * c)
    f = sigmoid(affine(1) + p_f * c)
    c = f * c + i * np.tanh(affine(2))
    o = sigmoid(affine(3) + p_o * c)
    h = o * np.tanh(c)
    return (h, c), h


def conv_gru(cell, params, carry, x):
    (h,) = carry
    size = h.shape[-1]
    x_r, x_z, x_n = (convolved(gate(params.w_x, k, size), x) + gate(params.b, k, size) for k in range(3))
    w_hr, w_hz, w_hn = (gate(params.w_h, k, size) for k in range(3))
    r = sigmoid(x_r + convolved(w_hr, h))
    z = sigmoid(x_z + convolved(w_hz, h))
    n = np.tanh(x_n + convolved(w_hn, r * h))
    h = (1 - z) * n + z * h
    return (h,), h


def ntm(cell, params, carry, x):
    h, c, memory, reads, read_weights, write_weights = carry
    slots, width = memory.shape
    shifts = range(-cell.shift, cell.shift + 1)

    joined = np.concatenate([x, *reads])
    lstm = params.controller
    affine = [
        joined @ gate(lstm.w_x, k, h.size) + h @ gate(lstm.w_h, k, h.size) + gate(lstm.b, k, h.size) for k in range(4)
    ]
    c = sigmoid(affine[1]) * c + sigmoid(affine[0]) * np.tanh(affine[2])
    h = sigmoid(affine[3]) * np.tanh(c)

    def emitted(w, b, head, heads, writes):
        """k, beta, g, s, gamma, e, a of one head."""
        sizes = [width, 1, 1, len(shifts), 1, *([width, width] if writes else [])]
        own = np.split(h @ w + b, heads)[head]
        k, beta, g, s, gamma, *rest = np.split(own, np.cumsum(sizes)[:-1])
        return k, softplus(beta[0]), sigmoid(g[0]), softmax(s), 1 + softplus(gamma[0]), rest

    def norm(v):
        return np.sqrt(sum(n * n for n in v) + 1e-12)

    def moved(w, k, beta, g, s, gamma):
        """The five steps of addressing."""
        similarity = [sum(k * row) / (norm(k) * norm(row)) for row in memory]
        w_c = softmax(beta * np.array(similarity))
        w_g = g * w_c + (1 - g) * w
        w_s = np.zeros_like(w_g)
        for i in range(slots):
            for place, shift in enumerate(shifts):
                w_s[i] += w_g[(i - shift) % slots] * s[place]
        powers = w_s**gamma
        return powers / powers.sum()

    write_heads, read_heads = len(write_weights), len(read_weights)
    told = [emitted(params.w_write, params.b_write, n, write_heads, True) for n in range(write_heads)]
    write_weights = np.array([moved(w, *t[:5]) for w, t in zip(write_weights, told, strict=True)])
    kept, added = np.ones_like(memory), np.zeros_like(memory)
    for w, (*_, (e, a)) in zip(write_weights, told, strict=True):
        for i in range(slots):
            kept[i] = kept[i] * (1 - w[i] * sigmoid(e))
            added[i] = added[i] + w[i] * a
    memory = memory * kept + added

    told = [emitted(params.w_read, params.b_read, n, read_heads, False) for n in range(read_heads)]
    read_weights = np.array([moved(w, *t[:5]) for w, t in zip(read_weights, told, strict=True)])
    reads = np.array([sum(w[i] * memory[i] for i in range(slots)) for w in read_weights])
    y = np.concatenate([h, *reads]) @ params.w_y + params.b_y
    return (h, c, memory, reads, read_weights, write_weights), y
