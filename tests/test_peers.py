"""Values and gradients beside PyTorch's and Flax's, which share no line with this library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from tests.contenders import IMPLEMENTATIONS, close, random_like, random_params, weigh

TIME, BATCH, INPUT, HIDDEN = 6, 3, 3, 4
LENGTHS = np.array([4, 6, 1], np.int32)

CELLS = {
    "lstm": lambda d: lj.LSTM(d, HIDDEN),
    "gru": lambda d: lj.GRU(d, HIDDEN),
    "elman-tanh": lambda d: lj.Elman(d, HIDDEN),
    "elman-relu": lambda d: lj.Elman(d, HIDDEN, activation="relu"),
}
CASES = pytest.mark.parametrize(
    ("name", "depth", "bidirectional", "lengths"),
    [
        pytest.param(name, depth, bidirectional, lengths, id=f"{name}-{depth}{'-both' * bidirectional}{suffix}")
        for name in CELLS
        for depth, bidirectional in [(1, False), (2, False), (2, True)]
        for lengths, suffix in [(None, ""), (LENGTHS, "-lengths")]
        if (depth, suffix) != (1, "")
    ],
)


def make_layer(name, depth, bidirectional):
    wrap = lj.Bidirectional if bidirectional else lj.Recurrent
    width = 2 * HIDDEN if bidirectional else HIDDEN
    return lj.Stack(tuple(wrap(CELLS[name](INPUT if i == 0 else width)) for i in range(depth)))


def draw(layer):
    params = random_params(layer, 1)
    xs = random_like(jax.ShapeDtypeStruct((TIME, BATCH, INPUT), jnp.float32), 2)
    carry = random_like(jax.eval_shape(lambda: layer.initial_carry(params, (BATCH,))), 3)
    return params, xs, carry


def ours(layer, params, xs, carry, lengths):
    """Gradients and results of every implementation."""

    def loss(params, xs, carry, implementation):
        out = layer(params, xs, carry, lengths=lengths, implementation=implementation)
        return weigh(out), out

    graded = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True), static_argnums=3)
    return [graded(params, xs, carry, i) for i in IMPLEMENTATIONS]


def recurrences(params):
    """The cells' parameters of a stack, layer by layer, forward before backward."""
    out = []
    for p in params:
        out += [p.forward.cell, p.backward.cell] if isinstance(p, lj.BidirectionalParams) else [p.cell]
    return out


def torch_module(torch, name, depth, bidirectional):
    options = {"num_layers": depth, "bidirectional": bidirectional}
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    if name in kinds:
        return kinds[name](INPUT, HIDDEN, **options)
    return torch.nn.RNN(INPUT, HIDDEN, nonlinearity=name.removeprefix("elman-"), **options)


def to_torch(x):
    import torch

    return torch.tensor(np.asarray(x))


@CASES
def test_pytorch(name, depth, bidirectional, lengths):
    torch = pytest.importorskip("torch")
    layer = make_layer(name, depth, bidirectional)
    params, xs, carry = draw(layer)
    results = ours(layer, params, xs, carry, lengths)

    module = torch_module(torch, name, depth, bidirectional)
    suffixes = [f"l{i}{s}" for i in range(depth) for s in (["", "_reverse"] if bidirectional else [""])]
    keep = {}  # PyTorch's two biases: ours is split between them at random, except b_hn, which has its own place
    with torch.no_grad():
        for number, (suffix, p) in enumerate(zip(suffixes, recurrences(params), strict=True)):
            b_hh = np.random.default_rng(number).normal(size=p.b.shape).astype(np.float32)
            b_ih = np.asarray(p.b) - b_hh
            if name == "gru":
                b_ih[2 * HIDDEN :], b_hh[2 * HIDDEN :] = p.b[2 * HIDDEN :], p.b_hn
            values = {"weight_ih": p.w_x.T, "weight_hh": p.w_h.T, "bias_ih": b_ih, "bias_hh": b_hh}
            for kind, value in values.items():
                keep[suffix, kind] = getattr(module, f"{kind}_{suffix}")
                keep[suffix, kind].copy_(to_torch(value))

    inputs = to_torch(xs).requires_grad_()
    leaves = jax.tree.leaves(carry)
    parts = 2 if name == "lstm" else 1
    first = [torch.stack([to_torch(x) for x in leaves[k::parts]]).requires_grad_() for k in range(parts)]
    given = inputs
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(inputs, torch.tensor(lengths), enforce_sorted=False)
    out, end = module(given, tuple(first) if parts == 2 else first[0])
    if lengths is not None:
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, total_length=TIME)
    end = list(end) if parts == 2 else [end]
    ends = [end[k][place] for place in range(len(suffixes)) for k in range(parts)]  # in the order of our leaves

    loss = 0.0
    for number, leaf in enumerate([*ends, out]):
        loss = loss + (leaf * to_torch(weights(leaf, number))).sum()
    loss.backward()
    expected = [e.detach().numpy() for e in ends], out.detach().numpy()
    carry_gradients = [first[k].grad[place].numpy() for place in range(len(suffixes)) for k in range(parts)]
    for (d_params, d_xs, d_carry), (last, ys) in results:
        close((jax.tree.leaves(last), ys), expected)
        close(d_xs, inputs.grad.numpy())
        close(jax.tree.leaves(d_carry), carry_gradients)
        for suffix, d in zip(suffixes, recurrences(d_params), strict=True):
            w_x, w_h, b_x, b_h = (
                keep[suffix, kind].grad.numpy() for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            close((d.w_x, d.w_h, d.b), (w_x.T, w_h.T, b_x))
            if name == "gru":
                close(d.b_hn, b_h[2 * HIDDEN :])


def weights(leaf, number):
    """Those of `weigh`."""
    size = int(np.prod(leaf.shape))
    return np.cos(1.3 * np.arange(size) + number).reshape(leaf.shape).astype(np.float32)


def flax_cell(nn, name):
    if name == "lstm":
        return nn.OptimizedLSTMCell(HIDDEN)
    if name == "gru":
        return nn.GRUCell(HIDDEN)
    return nn.SimpleCell(HIDDEN, activation_fn=jnp.tanh if name == "elman-tanh" else jax.nn.relu)


def to_flax(name, p):
    """Our parameters in the names of linen's cells."""

    def gate(w, k):
        return w[..., k * HIDDEN : (k + 1) * HIDDEN]

    tree = {}
    if name == "lstm":
        for k, g in enumerate("ifgo"):
            tree[f"i{g}"] = {"kernel": gate(p.w_x, k)}
            tree[f"h{g}"] = {"kernel": gate(p.w_h, k), "bias": gate(p.b, k)}
    elif name == "gru":
        for k, g in enumerate("rzn"):
            tree[f"i{g}"] = {"kernel": gate(p.w_x, k), "bias": gate(p.b, k)}
            tree[f"h{g}"] = {"kernel": gate(p.w_h, k)}
        tree["hn"]["bias"] = p.b_hn
    else:
        tree = {"i": {"kernel": p.w_x, "bias": p.b}, "h": {"kernel": p.w_h}}
    return {"params": {"cell": tree}}


def flax_carry(name, carry):
    return (carry.c, carry.h) if name == "lstm" else carry


@CASES
def test_flax(name, depth, bidirectional, lengths):
    from flax import linen as nn

    layer = make_layer(name, depth, bidirectional)
    params, xs, carry = draw(layer)
    results = ours(layer, params, xs, carry, lengths)
    valid = jnp.asarray(np.arange(TIME)[:, None] < (TIME if lengths is None else lengths))[..., None]

    def one(p, xs, c, reverse):
        rnn = nn.RNN(flax_cell(nn, name), time_major=True, return_carry=True, reverse=reverse, keep_order=reverse)
        end, out = rnn.apply(to_flax(name, p.cell), xs, initial_carry=flax_carry(name, c), seq_lengths=lengths)
        # Flax lets outputs run on past the end of a sequence.
        return (lj.LSTMCarry(end[1], end[0]) if name == "lstm" else end), jnp.where(valid, out, 0)

    def theirs(params, xs, carry):
        ends, ys = [], xs
        for p, c in zip(params, carry, strict=True):
            if bidirectional:
                f, forward = one(p.forward, ys, c.forward, False)
                b, backward = one(p.backward, ys, c.backward, True)
                end, ys = lj.BidirectionalCarry(f, b), jnp.concatenate([forward, backward], -1)
            else:
                end, ys = one(p, ys, c, False)
            ends.append(end)
        return weigh((tuple(ends), ys)), (tuple(ends), ys)

    with jax.numpy_dtype_promotion("standard"):
        expected, out = jax.jit(jax.grad(theirs, argnums=(0, 1, 2), has_aux=True))(params, xs, carry)
    for gradients, results_here in results:
        close(results_here, out)
        close(gradients, expected)
