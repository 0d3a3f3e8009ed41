"""Float64 NumPy steps of the wider family of cells, written from the papers' equations; see `tests.oracle`.

Each step takes `(params, carry, x)` for one sequence and returns `(carry, y)`; the carry is a tuple of vectors.
Everything is analytic, so that the complex step passes through: products of complex numbers are written in real
arithmetic, and a maximum is decided by the real parts.
"""

import numpy as np

from tests.oracle import gate, relu, sigmoid


def affine(params, x, h, number, size):
    """One gate's `W_x x + W_h h + b`."""
    return x @ gate(params.w_x, number, size) + h @ gate(params.w_h, number, size) + gate(params.b, number, size)


def optional(b):
    return 0 if b is None else b


def layer_norm(a, epsilon):
    """Zero mean and unit variance over one vector, without gain and bias."""
    centred = a - a.sum() / a.size
    return centred / np.sqrt((centred * centred).sum() / a.size + epsilon)


# Greff, Srivastava, Koutník, Steunebrink, Schmidhuber 2015 (arXiv 1503.04069): the vanilla LSTM and its variants


def peephole(open_gates="", coupled=False, phi=np.tanh, psi=np.tanh):
    """Peephole LSTM less the `open_gates` (each is then 1), less i where `coupled` (then 1 - f); carry (h, c)."""
    present = [name for name in "ifgo" if name not in open_gates and not (coupled and name == "i")]
    seeing = [name for name in present if name != "g"]

    def step(params, carry, x):
        h, c = carry
        size = h.size

        def net(name):
            return affine(params, x, h, present.index(name), size)

        def gated(name, cell):
            if name not in present:
                return np.ones(size)
            return sigmoid(net(name) + gate(params.p, seeing.index(name), size) * cell)

        f = gated("f", c)
        i = 1 - f if coupled else gated("i", c)
        c = f * c + i * phi(net("g"))
        o = gated("o", c)
        h = o * psi(c)
        return (h, c), h

    return step


def full_gate(params, carry, x):
    """Full gate recurrence: every gate also sees the three gates of the step before; carry (h, c, [i, f, o])."""
    h, c, gates = carry
    size = h.size
    previous = [gate(gates, k, size) for k in range(3)]

    def net(number, k, cell):  # column block `number` of the weights, gate k of i, f, o
        w_gk = gate(params.w_g, k, size)
        from_gates = sum(previous[j] @ w_gk[j * size : (j + 1) * size] for j in range(3))
        return affine(params, x, h, number, size) + gate(params.p, k, size) * cell + from_gates

    i = sigmoid(net(0, 0, c))
    f = sigmoid(net(1, 1, c))
    c = f * c + i * np.tanh(affine(params, x, h, 2, size))
    o = sigmoid(net(3, 2, c))
    h = o * np.tanh(c)
    return (h, c, np.concatenate([i, f, o])), h


def projected(params, carry, x):
    """Sak, Senior, Beaufays 2014 (arXiv 1402.1128), without peepholes and non-recurrent part; carry (h [P], c [H])."""
    h, c = carry
    i, f, g, o = (affine(params, x, h, k, c.size) for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = (sigmoid(o) * np.tanh(c)) @ params.w_p
    return (h, c), h


def memory_block(block_size, forget_gate, g, h):
    """Hochreiter and Schmidhuber 1997, with Gers, Schmidhuber, Cummins 2000's forget gate if asked; carry (y, s).

    The cells of a block share its gates. `g` squashes a cell's input, `h` its state.
    """

    def step(params, carry, x):
        y, s = carry
        size, blocks = s.size, s.size // block_size
        net = x @ params.w_x + y @ params.w_h + optional(params.b)
        y_gates, net_c = [sigmoid(a) for a in net[:-size]], net[-size:]
        y_in, y_out = y_gates[:blocks], y_gates[-blocks:]
        y_forget = y_gates[blocks : 2 * blocks] if forget_gate else [1] * blocks
        block = [k // block_size for k in range(size)]
        s = np.array([y_forget[block[k]] * s[k] + y_in[block[k]] * g(net_c[k]) for k in range(size)])
        y = np.array([y_out[block[k]] * h(s[k]) for k in range(size)])
        return (y, s), y

    return step


# Ba, Kiros, Hinton 2016, supplementary material (arXiv 1607.06450); each gate is normalised over its own units


def layer_norm_lstm(epsilon):
    """Carry (h, c)."""

    def step(params, carry, x):
        h, c = carry
        size = h.size

        def net(k):
            from_x = layer_norm(x @ gate(params.w_x, k, size), epsilon) * gate(params.gain_x, k, size)
            from_h = layer_norm(h @ gate(params.w_h, k, size), epsilon) * gate(params.gain_h, k, size)
            return from_x + from_h + gate(params.b, k, size)

        i, f, g, o = sigmoid(net(0)), sigmoid(net(1)), np.tanh(net(2)), sigmoid(net(3))
        c = f * c + i * g
        h = o * np.tanh(layer_norm(c, epsilon) * params.gain_c + optional(params.b_c))
        return (h, c), h

    return step


def layer_norm_gru(epsilon):
    """Carry (h,); z keeps."""

    def step(params, carry, x):
        (h,) = carry
        size = h.size

        def from_x(k):
            normal = layer_norm(x @ gate(params.w_x, k, size), epsilon)
            return normal * gate(params.gain_x, k, size) + gate(params.b, k, size)

        def from_h(k):
            return layer_norm(h @ gate(params.w_h, k, size), epsilon) * gate(params.gain_h, k, size)

        r, z = sigmoid(from_x(0) + from_h(0)), sigmoid(from_x(1) + from_h(1))
        n = np.tanh(from_x(2) + r * (from_h(2) + optional(params.b_hn)))
        h = (1 - z) * n + z * h
        return (h,), h

    return step


def janet(beta):
    """Van der Westhuizen and Lasenby 2018 (arXiv 1804.04849), where c is h; carry (h,)."""

    def step(params, carry, x):
        (h,) = carry
        s = affine(params, x, h, 0, h.size)
        candidate = np.tanh(affine(params, x, h, 1, h.size))
        h = sigmoid(s) * h + (1 - sigmoid(s - beta)) * candidate
        return (h,), h

    return step


def multiplicative(params, carry, x):
    """Radford, Jozefowicz, Sutskever 2017 (arXiv 1704.01444): m stands where the LSTM has h; carry (h, c)."""
    h, c = carry
    m = (x @ params.w_mx) * (h @ params.w_mh)
    i, f, g, o = (affine(params, x, m, k, h.size) for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def multiplicative_krause(params, carry, x):
    """Krause, Lu, Murray, Renals 2016 (arXiv 1609.07959): no tanh on what is written, the last one behind the gate."""
    h, c = carry
    m = (x @ params.w_mx) * (h @ params.w_mh)
    i, f, written, o = (affine(params, x, m, k, h.size) for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * written
    h = np.tanh(sigmoid(o) * c)
    return (h, c), h


def log_sigmoid(a):
    positive = a.real > 0
    return np.where(positive, 0, a) - np.log1p(np.exp(np.where(positive, -a, a)))


def slstm(heads, forget):
    """Beck et al. 2024 (arXiv 2405.04517), section 2.2, stabilised; forget "sigmoid" or "exp"; carry (h, c, n, m)."""
    log_forget = {"sigmoid": log_sigmoid, "exp": lambda a: a}[forget]

    def step(params, carry, x):
        h, c, n, m = carry
        size, width = h.size, h.size // heads

        def net(k):
            from_h = [h[e * width : (e + 1) * width] @ gate(params.w_h[e], k, width) for e in range(heads)]
            return x @ gate(params.w_x, k, size) + np.concatenate(from_h) + gate(params.b, k, size)

        log_i, log_f = net(0), log_forget(net(1))
        z, o = np.tanh(net(2)), sigmoid(net(3))
        kept = log_f + m
        m = np.where(kept.real > log_i.real, kept, log_i)
        i, f = np.exp(log_i - m), np.exp(kept - m)
        c = f * c + i * z
        n = f * n + i
        h = o * (c / n)
        return (h, c, n, m), h

    return step


def mgu(params, carry, x):
    """Zhou, Wu, Zhang, Zhou 2016 (arXiv 1603.09420); gates f, n, and f writes; carry (h,)."""
    (h,) = carry
    f = sigmoid(affine(params, x, h, 0, h.size))
    n = np.tanh(affine(params, x, f * h, 1, h.size))
    h = (1 - f) * h + f * n
    return (h,), h


def mgu_flax(params, carry, x):
    """The equation that flax.linen.MGUCell documents: f keeps, and acts after the product; carry (h,)."""
    (h,) = carry
    size = h.size
    f = sigmoid(affine(params, x, h, 0, size))
    from_h = h @ gate(params.w_h, 1, size) + optional(params.b_hn)
    n = np.tanh(x @ gate(params.w_x, 1, size) + gate(params.b, 1, size) + f * from_h)
    h = (1 - f) * n + f * h
    return (h,), h


def mutation(number):
    """Jozefowicz, Zaremba, Sutskever 2015, MUT1 to MUT3, with W x where the paper adds x; carry (h,).

    The paper's z writes. Parameters are those of the gate that keeps, 1 - z.
    """

    def step(params, carry, x):
        (h,) = carry
        size = h.size
        x_r, x_z, x_n = (x @ gate(params.w_x, k, size) for k in range(3))
        b_r, b_z, b_n = (gate(params.b, k, size) for k in range(3))
        w_hr, *w_hz, w_hn = (gate(params.w_h, k, size) for k in range(2 if number == 1 else 3))
        h_z = {1: lambda: 0, 2: lambda: h @ w_hz[0], 3: lambda: np.tanh(h) @ w_hz[0]}[number]()
        r, z = sigmoid(x_r + h @ w_hr + b_r), 1 - sigmoid(x_z + h_z + b_z)
        n = np.tanh((r * h) @ w_hn + (np.tanh(x_n) if number == 1 else x_n) + b_n)
        h = n * z + h * (1 - z)
        return (h,), h

    return step


mut1, mut2, mut3 = mutation(1), mutation(2), mutation(3)


def light_gru(epsilon):
    """Ravanelli, Brakel, Omologo, Bengio 2018 (arXiv 1803.10225), layer norm for batch norm; gates z, n; carry (h,)."""

    def step(params, carry, x):
        (h,) = carry
        size = h.size

        def net(k):
            from_x = layer_norm(x @ gate(params.w_x, k, size), epsilon) * gate(params.gain_x, k, size)
            return from_x + h @ gate(params.w_h, k, size) + gate(params.b, k, size)

        z = sigmoid(net(0))
        h = z * h + (1 - z) * relu(net(1))
        return (h,), h

    return step


def indrnn(activation):
    """Li, Li, Cook, Zhu, Gao 2018 (arXiv 1803.04831); carry (h,)."""

    def step(params, carry, x):
        (h,) = carry
        h = activation(x @ params.w_x + params.u * h + optional(params.b))
        return (h,), h

    return step


def scrn(alpha):
    """Mikolov, Joulin, Chopra, Mathieu, Ranzato 2014 (arXiv 1412.7753); carry (h, s), the output is both."""

    def step(params, carry, x):
        h, s = carry
        s = (1 - alpha) * (x @ params.w_xs) + alpha * s
        h = sigmoid(s @ params.w_sh + x @ params.w_x + h @ params.w_h + optional(params.b))
        return (h, s), np.concatenate([h, s])

    return step


def min_lstm(params, carry, x):
    """Feng et al. 2024 (arXiv 2410.01201), section 3.2; gates f, i, g; carry (h,)."""
    (h,) = carry
    f, i, g = (x @ gate(params.w_x, k, h.size) + gate(params.b, k, h.size) for k in range(3))
    f, i = sigmoid(f), sigmoid(i)
    h = f / (f + i) * h + i / (f + i) * g
    return (h,), h


def min_gru(params, carry, x):
    """Feng et al. 2024 (arXiv 2410.01201), section 3.1; gates z, n; carry (h,).

    The paper's z writes. Parameters are those of the gate that keeps, 1 - z.
    """
    (h,) = carry
    z, n = (x @ gate(params.w_x, k, h.size) + gate(params.b, k, h.size) for k in range(2))
    write = 1 - sigmoid(z)
    h = (1 - write) * h + write * n
    return (h,), h


def lru(params, carry, x):
    """Orvieto et al. 2023 (arXiv 2303.06349), section 3; carry (real part, imaginary part)."""
    re, im = carry
    size = re.size
    modulus, angle = np.exp(-np.exp(params.nu)), np.exp(params.theta)
    lambda_re, lambda_im = modulus * np.cos(angle), modulus * np.sin(angle)
    gamma = np.exp(params.gamma)
    re, im = (
        lambda_re * re - lambda_im * im + gamma * (x @ params.w_x[:, :size]),
        lambda_re * im + lambda_im * re + gamma * (x @ params.w_x[:, size:]),
    )
    y = re @ params.w_y[:size] - im @ params.w_y[size:] + x @ params.d
    return (re, im), y


def zoneout(step, rates):
    """Krueger et al. 2017 (arXiv 1606.01305) in evaluation: `step` with each leaf's expectation, a rate for each."""

    def zoned(params, carry, x):
        new, _ = step(params, carry, x)
        leaves = zip(rates, carry, new, strict=True)
        mixed = tuple(rate * old + (1 - rate) * leaf for rate, old, leaf in leaves)
        return mixed, mixed[0]

    return zoned
