"""The Transformer: against a float64 loop written from the equations, its gradients, the future, lengths, the cache."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax.models import Linear, Network, Transformer
from tests.contenders import close, random_like, random_params, same, weigh
from tests.messages import check_message
from tests.oracle import derivative, relu

LAYER = Transformer(3, 8, heads=2, blocks=2, mlp_size=5)
XS = random_like(jax.ShapeDtypeStruct((6, 2, 3), jnp.float32), 1, scale=1.0)
PARAMS = random_params(LAYER)
LENGTHS = jnp.array([0, 4], jnp.int32)
apply = jax.jit(lambda params, xs, lengths=None: LAYER(params, xs, lengths=lengths)[1])


def normalised(a, gain):
    centred = a - a.mean()
    return gain * centred / np.sqrt((centred * centred).mean() + 1e-5)


def rotated(a, t):
    """Pairs of features (i, i + half) turned by t 10000^(-2i/d)."""
    out, size = np.array(a), len(a)
    for i in range(size // 2):
        angle = t * 10000.0 ** (-2 * i / size)
        x, y = a[i], a[i + size // 2]
        out[i] = x * np.cos(angle) - y * np.sin(angle)
        out[i + size // 2] = x * np.sin(angle) + y * np.cos(angle)
    return out


def one_sequence(params, xs, heads):
    """`xs [time, input]`, float64 or complex: head by head, step by step."""
    h = [x @ params.w_x + params.b for x in xs]
    size = len(params.b)
    width = size // heads
    for p in params.blocks:
        q, k, v = ([normalised(a, p.gain_attention) @ w for a in h] for w in np.split(p.w_qkv, 3, axis=1))
        for t in range(len(h)):
            read = np.zeros(size, h[t].dtype)
            for head in range(heads):
                of = slice(head * width, (head + 1) * width)
                at_t = rotated(q[t][of], t)
                scores = [np.exp(at_t @ rotated(k[s][of], s) / np.sqrt(width)) for s in range(t + 1)]
                read[of] = sum(score * v[s][of] for s, score in enumerate(scores)) / sum(scores)
            h[t] = h[t] + read @ p.w_o
        h = [a + relu(normalised(a, p.gain_mlp) @ p.w_up + p.b_up) @ p.w_down + p.b_down for a in h]
    return np.stack([normalised(a, params.gain) for a in h])


def expected(params, xs, heads=LAYER.heads):
    params, xs = jax.tree.map(np.asarray, (params, xs))
    if not np.iscomplexobj(xs):
        params, xs = jax.tree.map(np.float64, (params, xs))
    return np.stack([one_sequence(params, xs[:, b], heads) for b in range(xs.shape[1])], axis=1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_layer_is_its_equations(dtype):
    params, xs = jax.tree.map(lambda a: a.astype(dtype), (PARAMS, XS))
    ys = apply(params, xs)
    assert ys.dtype == dtype
    close(ys, expected(params, xs), scale=2)  # two blocks of it


def test_in_float64_only_the_softmax_is_narrow(x64):
    layer = Transformer(2, 12, heads=3, blocks=1)  # the MLP 4 * size wide
    params = random_params(layer, dtype=jnp.float64)
    assert params.blocks[0].w_up.shape == (12, 48)
    xs = random_like(jax.ShapeDtypeStruct((5, 1, 2), jnp.float64), 3)
    ys = jax.jit(layer)(params, xs)[1]
    assert ys.dtype == jnp.float64
    close(ys, expected(params, xs, 3), "float32", scale=0.1)
    first = ys[0]  # a softmax over one step is exact
    close(first, expected(params, xs[:1], 3)[0])


@pytest.mark.parametrize("seed", [5, 6])
def test_gradients_are_those_of_the_equations(seed):
    graded = jax.jit(jax.grad(lambda params, xs: weigh(LAYER(params, xs)[1]), (0, 1)))(PARAMS, XS)
    along = random_like(graded, seed)
    terms = jax.tree.leaves(jax.tree.map(lambda a, g: np.asarray(a * g, np.float64), along, graded))
    point = jax.tree.map(lambda a: np.asarray(a, np.float64), (PARAMS, XS))
    exact = derivative(lambda both: weigh(expected(*both)), point, jax.tree.map(np.asarray, along))
    assert abs(exact) > 0.1
    assert abs(sum(map(np.sum, terms)) - exact) < 1e-5 * sum(map(np.linalg.norm, terms))
    assert all(np.abs(g).max() > 1e-4 for g in jax.tree.leaves(graded))  # every parameter is at work


def test_the_future_changes_nothing():
    changed = XS.at[4:].set(jnp.nan).at[4:, 1].set(100.0)
    ys, other = apply(PARAMS, XS), apply(PARAMS, changed)
    same(other[:4, 1], ys[:4, 1])
    assert np.abs(np.asarray(other[4:, 1] - ys[4:, 1])).min() > 1e-4
    past = apply(PARAMS, XS.at[0].add(0.1))
    assert (np.abs(np.asarray(past - ys)).max((1, 2)) > 1e-4).all()  # and the past does


def test_lengths_cut_what_is_behind_them():
    behind = jnp.arange(6, dtype=jnp.int32)[:, None] >= LENGTHS
    ys = apply(PARAMS, jnp.where(behind[..., None], jnp.nan, XS), LENGTHS)
    assert (np.asarray(ys)[np.asarray(behind)] == 0).all()
    close(ys[:4, 1:], expected(PARAMS, XS[:4, 1:]), scale=2)
    same(LAYER.last(ys, LENGTHS), jnp.stack([jnp.zeros(8), ys[3, 1]]))
    same(LAYER.last(ys), ys[-1])
    clean = jax.jit(jax.grad(lambda params, xs: jnp.sum(apply(params, xs, LENGTHS)), (0, 1)))
    for g in jax.tree.leaves(clean(PARAMS, jnp.where(behind[..., None], jnp.nan, XS))):
        assert np.isfinite(g).all()


def test_any_batch_shape_and_vmap_give_the_same():
    ys = apply(PARAMS, XS)
    close(apply(PARAMS, XS[:, 0]), ys[:, 0])
    close(apply(PARAMS, XS.reshape(6, 2, 1, 3)), ys.reshape(6, 2, 1, 8))
    many = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), PARAMS)
    each = jax.jit(jax.vmap(apply, (0, None)))(many, XS)
    close(each[1], apply(jax.tree.map(lambda p: 0.5 * p, PARAMS), XS))


def test_steps_from_a_cache_are_the_whole_pass():
    room = LAYER.empty_cache(PARAMS, 2, 8)
    cache, ys = jax.jit(lambda p, c, xs: jax.lax.scan(functools.partial(LAYER.decode, p), c, xs))(PARAMS, room, XS)
    close(ys, expected(PARAMS, XS), scale=2)
    assert int(cache.position) == 6 and (np.asarray(cache.keys[1][:, 6:]) == 0).all()


def test_fresh_parameters_are_glorot_s_each_matrix_on_its_own():
    fresh = jax.jit(Transformer(40, 40, heads=1).init)(jax.random.key(0))
    square = [fresh.w_x, *(w for p in fresh.blocks for w in (p.w_o, *np.split(np.asarray(p.w_qkv), 3, axis=1)))]
    for w in square:
        np.testing.assert_allclose(np.std(np.asarray(w)), np.sqrt(2 / 80), rtol=0.1)
    for p in fresh.blocks:
        np.testing.assert_allclose([np.std(np.asarray(w)) for w in (p.w_up, p.w_down)], np.sqrt(2 / 200), rtol=0.1)
    assert len({float(w[0, 0]) for w in square}) == len(square) == 9
    assert (fresh.gain == 1).all() and not any(np.any(b) for p in fresh.blocks for b in (p.b_up, p.b_down, fresh.b))


def test_stands_in_a_network_and_in_a_stack():
    network = Network(LAYER, Linear(8, 4), at="last")
    params = random_params(network, dtype=jnp.bfloat16)
    carry, out = jax.jit(network)(params, XS.astype(jnp.bfloat16))
    assert carry == () == LAYER.initial_carry(params.layer, (2,))
    ys = expected(params.layer, XS.astype(jnp.bfloat16))[-1]
    close(out, ys @ np.float64(params.readout[0].w) + np.float64(params.readout[0].b), "bfloat16", scale=2)
    stack = lj.Stack((LAYER, lj.Recurrent(lj.GRU(8, 3))))
    (empty, _), ys = jax.jit(stack)(below := (PARAMS, random_params(stack.layers[1])), XS)
    assert empty == ()
    close(ys, jax.jit(stack.layers[1])(below[1], apply(PARAMS, XS))[1])


BAD = {
    "heads": (lambda: Transformer(3, 6, heads=2), "size", "a multiple of twice the 2 heads", "6"),
    "size": (lambda: Transformer(0, 8), "input_size", "an integer >= 1", "0"),
    "blocks": (lambda: Transformer(3, 8, blocks=1.5), "blocks", "an integer >= 1", "1.5"),
    "mlp": (lambda: Transformer(3, 8, mlp_size=0), "mlp_size", "an integer >= 1", "0"),
    "key": (lambda: LAYER.init(jax.random.PRNGKey(0)), "key", "a typed key", "uint32[2]"),
    "xs": (lambda: LAYER(PARAMS, XS[..., :2]), "xs", "[time >= 1, *batch, 3]", "float32[6, 2, 2]"),
    "no step": (lambda: LAYER(PARAMS, XS[:0]), "xs", "time >= 1", "float32[0, 2, 3]"),
    "dtype": (lambda: LAYER(PARAMS, XS.astype(jnp.bfloat16)), "xs", "dtype float32", "bfloat16"),
    "params": (lambda: LAYER(PARAMS.blocks, XS), "params", "TransformerParams", "BlockParams"),
    "lengths": (lambda: LAYER(PARAMS, XS, lengths=jnp.zeros(3, jnp.int32)), "lengths", "[2]", "int32[3]"),
    "carry": (lambda: LAYER(PARAMS, XS, XS[0]), "carry", "None or ()", "float32[2, 3]"),
    "resets": (lambda: LAYER(PARAMS, XS, resets=XS[..., 0] > 0), "resets", "None", "bool[6, 2]"),
    "chunk": (lambda: LAYER(PARAMS, XS, chunk=2), "chunk", "None", "2"),
    "step": (lambda: LAYER.step(PARAMS, (), XS[0]), "step", "a layer with a carry", "`decode`"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_error(name):
    check_message(*BAD[name])
