"""Layers of several cells beside PyTorch's, Flax linen's, Keras's and cuDNN's, which share no line with this library.

Weights go from theirs to ours through `convert`, inside the derivative: gradients are compared in their layout.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn as cudnn

import lstm_jax as lj
from lstm_jax import convert
from tests.contenders import IMPLEMENTATIONS, close, random_like, random_params, same, serves, weigh

TIME, BATCH, INPUT, HIDDEN = 6, 3, 3, 4
LENGTHS = np.array([4, 6, 1], np.int32)

CELLS = {
    "lstm": lambda d, **options: lj.LSTM(d, HIDDEN, **options),
    "gru": lambda d, **options: lj.GRU(d, HIDDEN, **options),
    "elman-tanh": lambda d, **options: lj.Elman(d, HIDDEN, **options),
    "elman-relu": lambda d, **options: lj.Elman(d, HIDDEN, activation="relu", **options),
}


def cases(*shapes):
    """Every cell, depth and direction, with and without lengths."""
    return pytest.mark.parametrize(
        ("name", "depth", "bidirectional", "lengths"),
        [
            pytest.param(name, depth, bidirectional, lengths, id=f"{name}-{depth}{'-both' * bidirectional}{suffix}")
            for name in CELLS
            for depth, bidirectional in shapes
            for lengths, suffix in [(None, ""), (LENGTHS, "-lengths")]
        ],
    )


def make_layer(name, depth, bidirectional, **options):
    wrap = lj.Bidirectional if bidirectional else lj.Recurrent
    width = 2 * HIDDEN if bidirectional else HIDDEN
    return lj.Stack(tuple(wrap(CELLS[name](INPUT if i == 0 else width, **options)) for i in range(depth)))


def draw(layer):
    """Inputs and a first carry."""
    params = random_params(layer, 1)
    carry = random_like(jax.eval_shape(lambda: layer.initial_carry(params, (BATCH,))), 3)
    return random_like(jax.ShapeDtypeStruct((TIME, BATCH, INPUT), jnp.float32), 2), carry


def ours(layer, read, source, xs, carry, lengths):
    """Gradients by the source's arrays, inputs and carry, and results, of every implementation."""

    def loss(source, xs, carry, implementation):
        out = layer(read(layer, source), xs, carry, lengths=lengths, implementation=implementation)
        return weigh(out), out

    graded = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True), static_argnums=3)
    return [graded(source, xs, carry, i) for i in IMPLEMENTATIONS if serves(i, layer.layers[0].cell)]


def torch_module(torch, name, depth, bidirectional, cell=False, **options):
    """A module or a cell of PyTorch's; all its weights, both biases too, are random, the same in every run."""
    options |= {} if cell else {"num_layers": depth, "bidirectional": bidirectional}
    kind = name.partition("-")[0].replace("elman", "rnn").upper() + ("Cell" if cell else "")
    options |= {"nonlinearity": name.removeprefix("elman-")} if kind.startswith("RNN") else {}
    module = getattr(torch.nn, kind)(INPUT, HIDDEN, **options)
    torch.manual_seed(0)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return module


def to_tensor(x):
    import torch

    return torch.tensor(np.asarray(x))


def weights(leaf, number):
    """Those of `weigh`."""
    size = int(np.prod(leaf.shape))
    return np.cos(1.3 * np.arange(size) + number).reshape(leaf.shape).astype(np.float32)


def in_torch(module, xs, carry, lengths):
    """PyTorch's own run: gradients by weights, inputs and carry, and results, in our order of leaves."""
    import torch

    inputs = to_tensor(xs).requires_grad_()
    leaves = jax.tree.leaves(carry)
    parts = 2 if isinstance(module, torch.nn.LSTM) else 1
    first = [torch.stack([to_tensor(x) for x in leaves[k::parts]]).requires_grad_() for k in range(parts)]
    given = inputs
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(inputs, torch.tensor(lengths), enforce_sorted=False)
    out, end = module(given, tuple(first) if parts == 2 else first[0])
    if lengths is not None:
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, total_length=TIME)
    places = [(place, k) for place in range(len(leaves) // parts) for k in range(parts)]
    end = list(end) if parts == 2 else [end]
    ends = [end[k][place] for place, k in places]
    loss = 0.0
    for number, leaf in enumerate([*ends, out]):
        loss = loss + (leaf * to_tensor(weights(leaf, number))).sum()
    loss.backward()
    d_weights = {n: p.grad.numpy() for n, p in module.named_parameters()}
    d_carry = [first[k].grad[place].numpy() for place, k in places]
    return (d_weights, inputs.grad.numpy(), d_carry), ([e.detach().numpy() for e in ends], out.detach().numpy())


@cases((1, False), (2, False), (3, True))
def test_pytorch(name, depth, bidirectional, lengths):
    beside_torch(name, depth, bidirectional, lengths)


@pytest.mark.parametrize("name", CELLS)
def test_pytorch_without_biases(name):
    beside_torch(name, 2, True, LENGTHS, use_bias=False)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_pytorch_with_projections(bidirectional, use_bias):
    torch = pytest.importorskip("torch")
    wrap, width = (lj.Bidirectional, 4) if bidirectional else (lj.Recurrent, 2)
    cells = [lj.ProjectedLSTM(d, HIDDEN, proj_size=2, use_bias=use_bias) for d in (INPUT, width)]
    layer = lj.Stack(tuple(map(wrap, cells)))
    module = torch_module(torch, "lstm", 2, bidirectional, bias=use_bias, proj_size=2)
    beside(module, layer, LENGTHS)
    params = random_params(layer, 3)
    same(convert.from_torch(layer, convert.to_torch(layer, params)), params)
    for wrong in (make_layer("lstm", 2, bidirectional, use_bias=use_bias), lj.Recurrent(cells[0])):
        with pytest.raises(ValueError, match=r"^`source"):
            convert.from_torch(wrong, module)


def beside_torch(name, depth, bidirectional, lengths, use_bias=True):
    torch = pytest.importorskip("torch")
    layer = make_layer(name, depth, bidirectional, use_bias=use_bias)
    beside(torch_module(torch, name, depth, bidirectional, bias=use_bias), layer, lengths)


def beside(module, layer, lengths):
    xs, carry = draw(layer)
    (d_weights, d_xs, d_carry), (ends, out) = in_torch(module, xs, carry, lengths)
    source = as_arrays(module.state_dict())
    for (our_d_source, our_d_xs, our_d_carry), (last, ys) in ours(
        layer, convert.from_torch, source, xs, carry, lengths
    ):
        close((jax.tree.leaves(last), ys), (ends, out))
        close(our_d_xs, d_xs)
        close(jax.tree.leaves(our_d_carry), d_carry)
        close(our_d_source, {n: d_weights[n] for n in sorted(d_weights)})


def as_arrays(tensors):
    return {n: jnp.asarray(p.detach().numpy()) for n, p in tensors.items()}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_module_is_read_and_written(name, use_bias):
    torch = pytest.importorskip("torch")
    layer = make_layer(name, 2, True, use_bias=use_bias)
    xs, carry = draw(layer)
    module, other = (torch_module(torch, name, 2, True, bias=use_bias) for _ in range(2))
    for weight in other.parameters():
        torch.nn.init.zeros_(weight)
    params = convert.from_torch(layer, module)
    same(convert.from_torch(layer, module.state_dict()), params)
    prefixed = {f"encoder.{n}": p for n, p in module.state_dict().items()} | {"head.weight": to_tensor(xs)}
    same(convert.from_torch(layer, prefixed, prefix="encoder."), params)
    written = {n: to_tensor(a) for n, a in convert.to_torch(layer, params).items()}
    other.load_state_dict(written)
    close(in_torch(other, xs, carry, None)[1], in_torch(module, xs, carry, None)[1])
    close(in_torch(other, xs, carry, None)[1][1], layer(params, xs, carry)[1])


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_cell_of_pytorch(name, use_bias):
    torch = pytest.importorskip("torch")
    cell = CELLS[name](INPUT, use_bias=use_bias)
    module = torch_module(torch, name, 1, False, cell=True, bias=use_bias)
    source = as_arrays(module.state_dict())
    params = convert.from_torch(cell, module)
    x = random_like(jax.ShapeDtypeStruct((BATCH, INPUT), jnp.float32), 2)
    carry = random_like(cell.initial_carry(params, (BATCH,)), 3)

    def step():
        """The carry, and the gradients of its weighted sum by the weights."""
        module.zero_grad()
        given = tuple(map(to_tensor, carry)) if name == "lstm" else to_tensor(carry)
        out = module(to_tensor(x), given)
        out = out if name == "lstm" else (out,)
        sum((o * to_tensor(weights(o, number))).sum() for number, o in enumerate(out)).backward()
        return [o.detach().numpy() for o in out], as_arrays({n: p.grad for n, p in module.named_parameters()})

    def ours(source):
        out = cell(convert.from_torch(cell, source), carry, x)[0]
        return weigh(out), jax.tree.leaves(out)

    gradients, out = jax.grad(ours, has_aux=True)(source)
    close((out, gradients), step())
    for weight in module.parameters():
        torch.nn.init.zeros_(weight)
    module.load_state_dict({n: to_tensor(a) for n, a in convert.to_torch(cell, params).items()})
    close(out, step()[0])


def test_a_module_in_bfloat16():
    torch = pytest.importorskip("torch")
    layer = make_layer("lstm", 1, False)
    module = torch_module(torch, "lstm", 1, False).bfloat16()
    params = convert.from_torch(layer, module)
    assert params[0].cell.w_x.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        np.asarray(params[0].cell.w_h.T, np.float32), module.weight_hh_l0.detach().float().numpy()
    )


@pytest.mark.parametrize(("depth", "bidirectional"), [(1, False), (2, False), (2, True)])
def test_cudnn(depth, bidirectional):
    layer = make_layer("lstm", depth, bidirectional)
    xs, carry = draw(layer)
    sizes = (INPUT, HIDDEN, depth, bidirectional)
    vector = random_like(jax.ShapeDtypeStruct((cudnn.get_num_params_in_lstm(*sizes),), jnp.float32), 4)
    lengths = jnp.full(BATCH, TIME, jnp.int32)

    def theirs(vector, xs, carry):
        leaves = jax.tree.leaves(carry)
        first = jnp.stack(leaves[::2]), jnp.stack(leaves[1::2])
        unpacked = cudnn.unpack_lstm_weights(vector, *sizes)
        options = dict(zip(("input_size", "hidden_size", "num_layers", "bidirectional"), sizes, strict=True))
        ys, h, c = cudnn.lstm_ref(jnp.swapaxes(xs, 0, 1), *first, *unpacked, lengths, dropout=0.0, **options)
        ends = jax.tree.unflatten(jax.tree.structure(carry), [x for pair in zip(h, c, strict=True) for x in pair])
        out = ends, jnp.swapaxes(ys, 0, 1)
        return weigh(out), out

    expected = jax.jit(jax.grad(theirs, argnums=(0, 1, 2), has_aux=True))(vector, xs, carry)
    for result in ours(layer, convert.from_cudnn, vector, xs, carry, lengths):
        close(result, expected)
    params = convert.from_cudnn(layer, vector)
    same(convert.from_cudnn(layer, convert.to_cudnn(layer, params)), params)
    learned = lj.Recurrent(lj.LSTM(INPUT, HIDDEN), learned_carry=True)
    vector = convert.to_cudnn(learned, learned.init(jax.random.key(0)))
    assert not jnp.any(convert.from_cudnn(learned, vector).carry.h)


def flax_cell(nn, name):
    if name == "lstm":
        return nn.OptimizedLSTMCell(HIDDEN)
    if name == "gru":
        return nn.GRUCell(HIDDEN)
    return nn.SimpleCell(HIDDEN, activation_fn=jnp.tanh if name == "elman-tanh" else jax.nn.relu)


@cases((2, False), (2, True))
def test_flax_linen(name, depth, bidirectional, lengths):
    from flax import linen as nn

    layer = make_layer(name, depth, bidirectional)
    xs, carry = draw(layer)
    source = convert.to_linen(layer, random_params(layer, 1))
    valid = jnp.asarray(np.arange(TIME)[:, None] < (TIME if lengths is None else lengths))[..., None]

    def one(tree, xs, c, reverse):
        rnn = nn.RNN(flax_cell(nn, name), time_major=True, return_carry=True, reverse=reverse, keep_order=reverse)
        first = (c.c, c.h) if name == "lstm" else c
        end, out = rnn.apply({"params": {"cell": tree}}, xs, initial_carry=first, seq_lengths=lengths)
        # Flax lets outputs run on past the end of a sequence.
        return (lj.LSTMCarry(end[1], end[0]) if name == "lstm" else end), jnp.where(valid, out, 0)

    def theirs(source, xs, carry):
        ends, ys = [], xs
        for tree, c in zip(source, carry, strict=True):
            if bidirectional:
                f, forward = one(tree[0], ys, c.forward, False)
                b, backward = one(tree[1], ys, c.backward, True)
                end, ys = lj.BidirectionalCarry(f, b), jnp.concatenate([forward, backward], -1)
            else:
                end, ys = one(tree, ys, c, False)
            ends.append(end)
        return weigh((tuple(ends), ys)), (tuple(ends), ys)

    with jax.numpy_dtype_promotion("standard"):
        expected = jax.jit(jax.grad(theirs, argnums=(0, 1, 2), has_aux=True))(source, xs, carry)
    for result in ours(layer, convert.from_linen, source, xs, carry, lengths):
        close(result, expected)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru-before", "elman-tanh"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_keras_masks(name, bidirectional):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    kinds = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "gru-before": keras.layers.GRU}
    options = {"reset_after": name == "gru"} if name.startswith("gru") else {}
    theirs = kinds.get(name, keras.layers.SimpleRNN)(HIDDEN, return_sequences=True, **options)
    cell = CELLS[name.partition("-before")[0]](INPUT, **options)
    layer = lj.Bidirectional(cell) if bidirectional else lj.Recurrent(cell)
    if bidirectional:
        theirs = keras.layers.Bidirectional(theirs)
    theirs.build((BATCH, TIME, INPUT))
    theirs.set_weights([np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(theirs.weights)])
    xs, _ = draw(layer)
    steps = np.arange(TIME)[:, None] < LENGTHS
    values = [w.value for w in theirs.trainable_variables]
    rest = [v.value for v in theirs.non_trainable_variables]

    def in_keras(values, xs):
        out, _ = theirs.stateless_call(values, rest, jnp.swapaxes(xs, 0, 1), mask=jnp.asarray(steps.T))
        ys = jnp.where(steps[..., None], jnp.swapaxes(out, 0, 1), 0)  # Keras repeats the last output
        return weigh(ys), ys

    def here(values, xs):
        source = [values[:3], values[3:]] if bidirectional else values
        ys = layer(convert.from_keras(layer, source), xs, lengths=jnp.asarray(LENGTHS))[1]
        return weigh(ys), ys

    with jax.numpy_dtype_promotion("standard"):
        expected = jax.jit(jax.grad(in_keras, argnums=(0, 1), has_aux=True))(values, xs)
    close(jax.jit(jax.grad(here, argnums=(0, 1), has_aux=True))(values, xs), expected)
    params = convert.from_keras(layer, theirs)
    close(layer(params, xs, lengths=jnp.asarray(LENGTHS))[1], expected[1])
    written = convert.to_keras(layer, params)
    theirs.set_weights([a for part in (written if bidirectional else [written]) for a in part.values()])
    with jax.numpy_dtype_promotion("standard"):
        again = jax.jit(in_keras)([w.value for w in theirs.trainable_variables], xs)
    close(again[1], expected[1])
