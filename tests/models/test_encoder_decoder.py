"""Encoder-decoder: against a float64 loop written from the equations, step by step, cut, padded, dropped."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax import losses
from lstm_jax.models.attention import Attention
from lstm_jax.models.decoding import beam_search
from lstm_jax.models.embedding import Embedding
from lstm_jax.models.encoder_decoder import EncoderDecoder
from tests import oracle
from tests.contenders import close, in_float64, random_like, random_params, same
from tests.messages import check_message
from tests.models.test_transformer import LAYER as TRANSFORMER

READS, WRITES = Embedding(6, 2), Embedding(5, 3)
LSTM, GRU = lj.Recurrent(lj.LSTM(3, 4)), lj.Recurrent(lj.GRU(3, 4))
MODELS = {
    "plain": EncoderDecoder(READS, WRITES, lj.Recurrent(lj.LSTM(2, 4)), LSTM),
    "reversed": EncoderDecoder(READS, WRITES, lj.Recurrent(lj.LSTM(2, 4), reverse=True), LSTM),
    "bridge": EncoderDecoder(READS, WRITES, lj.Bidirectional(lj.LSTM(2, 3)), LSTM),
    "dot": EncoderDecoder(READS, WRITES, lj.Bidirectional(lj.GRU(2, 2)), GRU, "dot"),
    "general": EncoderDecoder(READS, WRITES, lj.Recurrent(lj.GRU(2, 3)), GRU, "general"),
    "additive": EncoderDecoder(READS, WRITES, lj.Recurrent(lj.GRU(2, 4), reverse=True), GRU, "additive"),
}
each = pytest.mark.parametrize("name", MODELS)
attending = pytest.mark.parametrize("name", ["dot", "general", "additive"])
RANDOM = np.random.default_rng(3)
SOURCE = jnp.asarray(RANDOM.integers(0, 6, (5, 3)), jnp.int32)
INPUTS = jnp.asarray(RANDOM.integers(0, 5, (4, 3)), jnp.int32)
TARGETS = jnp.asarray(RANDOM.integers(0, 5, (4, 3)), jnp.int32)
SOURCE_LENGTHS, TARGET_LENGTHS = jnp.array([0, 5, 3], jnp.int32), jnp.array([4, 0, 2], jnp.int32)
LENGTHS = {"source_lengths": SOURCE_LENGTHS, "target_lengths": TARGET_LENGTHS}
VALID = np.arange(4)[:, None] < np.asarray(TARGET_LENGTHS)
BEHIND = np.arange(5)[:, None] >= np.asarray(SOURCE_LENGTHS)


def loop(cell, carry, xs):
    """A cell over a list of vectors, from its leaves: the last leaves, the outputs."""
    ys = []
    for x in xs:
        carry, y = (oracle.gru if hasattr(cell, "b_hn") else oracle.lstm)(cell, carry, x)
        ys.append(y)
    return carry, ys


def rest(cell):
    return (np.zeros(len(cell.w_h), cell.w_h.dtype),) * (1 if hasattr(cell, "b_hn") else 2)


def read(model, params, source):
    """One source: the first leaves of the decoder's carry, the memory."""
    xs, p = [params.source[word] for word in source], params.encoder
    if isinstance(model.encoder, lj.Bidirectional):
        ahead, left = loop(p.forward.cell, rest(p.forward.cell), xs)
        back, right = loop(p.backward.cell, rest(p.backward.cell), xs[::-1])
        carry, ys = ahead + back, [np.concatenate(pair) for pair in zip(left, right[::-1], strict=True)]
    elif model.encoder.reverse:
        carry, ys = loop(p.cell, rest(p.cell), xs[::-1])
        ys = ys[::-1]
    else:
        carry, ys = loop(p.cell, rest(p.cell), xs)
    if params.bridge is not None:
        w, b = params.bridge[0]
        carry = tuple(np.split(np.concatenate(carry) @ w + b, len(rest(params.decoder.cell))))
    return carry, ys


def attend(p, h, memory):
    """h~ and the weights."""
    if p.score is None:
        scores = [m @ h for m in memory]
    elif isinstance(p.score, tuple):
        scores = [p.score[1] @ np.tanh(np.concatenate([h, m]) @ p.score[0]) for m in memory]
    else:
        scores = [h @ p.score @ m for m in memory]
    risen = np.exp(np.array(scores))
    weights = risen / risen.sum()
    context = sum((a * m for a, m in zip(weights, memory, strict=True)), np.zeros(len(p.w_c) - len(h)))
    return np.tanh(np.concatenate([context, h]) @ p.w_c), weights


def one(model, params, source, inputs):
    """One pair: the logits and the weights of every step."""
    carry, memory = read(model, params, source)
    _, hs = loop(params.decoder.cell, carry, [params.target[word] for word in inputs])
    w, b = params.readout[0]
    if model.attention is None:
        return [h @ w + b for h in hs], None
    found = [attend(params.attention, h, memory) for h in hs]
    return [h @ w + b for h, _ in found], [a for _, a in found]


def pairs():
    for b, (s, t) in enumerate(zip(np.asarray(SOURCE_LENGTHS), np.asarray(TARGET_LENGTHS), strict=True)):
        yield b, np.asarray(SOURCE)[:s, b], np.asarray(INPUTS)[:t, b]


def matches(model, params, logits, dtype=None):
    """Every valid step."""
    for b, source, inputs in pairs():
        for t, row in enumerate(one(model, params, source, inputs)[0]):
            close(logits[t, b], row, dtype)


@each
def test_is_its_equations_and_so_are_its_gradients(name):
    model = MODELS[name]
    params = random_params(model)

    def loss(params, source, inputs):
        logits = model(params, source, inputs, **LENGTHS)
        return losses.cross_entropy(logits, TARGETS, jnp.asarray(VALID)), logits

    graded = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, logits), gradient = graded(params, SOURCE, INPUTS)
    matches(model, in_float64(params), logits)
    # What stands past a length, ids out of range among it, changes nothing.
    (again, _), other = graded(params, jnp.where(BEHIND, 99, SOURCE), jnp.where(VALID, INPUTS, -1))
    same((again, other), (value, gradient))

    def equations(params):
        total = 0
        for b, source, inputs in pairs():
            for t, row in enumerate(one(model, params, source, inputs)[0]):
                total = total + np.log(np.exp(row).sum()) - row[int(TARGETS[t, b])]
        return total / VALID.sum()

    found, point = in_float64(gradient), in_float64(params)
    along = jax.tree.map(lambda x: np.random.default_rng(x.size).normal(size=x.shape), point)
    exact = oracle.derivative(equations, point, along)
    terms = [np.sum(a * g) for a, g in zip(jax.tree.leaves(along), jax.tree.leaves(found), strict=True)]
    assert abs(exact) > 1e-3
    np.testing.assert_allclose(sum(terms), exact, rtol=1e-4)
    assert all(np.abs(g).max() > 1e-6 for g in jax.tree.leaves(found))  # every parameter is at work


@each
def test_step_by_step_is_teacher_forcing(name):
    model = MODELS[name]
    params = random_params(model)
    logits = jax.jit(model)(params, SOURCE, INPUTS, source_lengths=SOURCE_LENGTHS)
    state = jax.jit(model.start)(params, jnp.where(BEHIND, -1, SOURCE), SOURCE_LENGTHS)
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(state))
    step, steps = jax.jit(model.step), []
    for token in INPUTS:
        state, out = step(params, state, token)
        steps.append(out)
    close(jnp.stack(steps), logits)
    # The batch comes first in every leaf: beams can be gathered.
    beams = jnp.array([2, 2, 0, 1], jnp.int32)
    start = jax.jit(model.start)(params, SOURCE, SOURCE_LENGTHS)
    _, out = step(params, jax.tree.map(lambda leaf: leaf[beams], start), INPUTS[0, beams])
    close(out, logits[0, beams])


@attending
def test_weights_are_those_of_the_equations(name):
    model = MODELS[name]
    params = random_params(model)
    weights = np.asarray(jax.jit(lambda p: model.weights(p, SOURCE, INPUTS, **LENGTHS))(params))
    assert weights.shape == (4, 3, 5)
    np.testing.assert_allclose(weights.sum(-1), np.broadcast_to(np.asarray(SOURCE_LENGTHS) > 0, (4, 3)), rtol=1e-6)
    for b, source, inputs in pairs():
        assert (weights[:, b, len(source) :] == 0).all()
        for t, row in enumerate(one(model, in_float64(params), source, inputs)[1]):
            close(weights[t, b, : len(source)], row, "float32")


def test_a_beam_scores_as_teacher_forcing_does():
    model = MODELS["general"]
    params = random_params(model)
    state, token = model.start(params, SOURCE, SOURCE_LENGTHS), jnp.zeros(3, jnp.int32)
    beams = jax.jit(lambda s: beam_search(functools.partial(model.step, params), s, token, width=3, steps=4))(state)
    flat = jnp.moveaxis(beams.tokens, -1, 0).reshape(4, 9)
    inputs = jnp.concatenate([jnp.zeros_like(flat[:1]), flat[:-1]])
    logits = model(params, jnp.repeat(SOURCE, 3, 1), inputs, source_lengths=jnp.repeat(SOURCE_LENGTHS, 3))
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), flat[..., None], -1)[..., 0]
    close(beams.scores, picked.sum(0).reshape(3, 3))


def test_the_reversed_source_is_the_source_turned_by_hand():
    params = random_params(MODELS["plain"])
    turned = SOURCE
    for b, length in enumerate(np.asarray(SOURCE_LENGTHS)):
        turned = turned.at[:length, b].set(SOURCE[:length, b][::-1])
    close(MODELS["reversed"](params, SOURCE, INPUTS, **LENGTHS), MODELS["plain"](params, turned, INPUTS, **LENGTHS))


@pytest.mark.parametrize("name", ["bridge", "general", "additive"])
def test_bfloat16_and_seeds(name):
    model = MODELS[name]
    params = random_params(model, dtype=jnp.bfloat16)
    many = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), params)
    logits = jax.jit(jax.vmap(lambda p: model(p, SOURCE, INPUTS, **LENGTHS)))(many)
    assert logits.dtype == jnp.float32
    matches(model, in_float64(params), logits[0], "bfloat16")
    matches(model, jax.tree.map(lambda p: 0.5 * p, in_float64(params)), logits[1], "bfloat16")


def test_no_batch_and_two_batch_axes():
    model = MODELS["general"]
    params = random_params(model)
    run = jax.jit(model)
    logits = run(params, SOURCE, INPUTS)
    close(run(params, SOURCE[:, 1], INPUTS[:, 1]), logits[:, 1])
    close(run(params, SOURCE[:, None], INPUTS[:, None])[:, 0], logits)
    _, out = model.step(params, model.start(params, SOURCE[:, 1]), INPUTS[0, 1])
    close(out, logits[0, 1])


def test_dropout_acts_only_with_a_key():
    model = EncoderDecoder(READS, WRITES, MODELS["general"].encoder, GRU, "general", dropout=0.5)
    params = random_params(model)
    run = jax.jit(lambda key=None: model(params, SOURCE, INPUTS, **LENGTHS, key=key))
    matches(model, in_float64(params), run())
    first, again, second = (run(jax.random.key(k)) for k in (0, 0, 1))
    same(first, again)
    assert (np.abs(np.asarray(first - second)).max(-1)[VALID] > 1e-3).all()


ONES = jnp.ones((64, 64))
KEEP, NOTHING = jnp.eye(64), jnp.zeros((64, 64))


@pytest.mark.parametrize("site", ["source", "target", "output"])
def test_dropout_stands_at_the_non_recurrent_edges(site):
    """Through matrices that keep or lose what comes, from embeddings of ones: what is dropped can be read off."""
    cell, embedding = lj.Elman(64, 64, activation="relu"), Embedding(64, 64)
    layer = lj.Recurrent(cell)
    model = EncoderDecoder(embedding, embedding, layer, layer, dropout=0.5)
    params = model.init(jax.random.key(0))
    encoder = params.encoder._replace(cell=params.encoder.cell._replace(w_x=KEEP, w_h=NOTHING))
    of_decoder = {"source": (NOTHING, KEEP), "target": (KEEP, NOTHING), "output": (NOTHING, NOTHING)}[site]
    b = jnp.full(64, float(site == "output"))
    decoder = params.decoder._replace(cell=params.decoder.cell._replace(w_x=of_decoder[0], w_h=of_decoder[1], b=b))
    readout = (params.readout[0]._replace(w=KEEP),)
    params = params._replace(source=ONES, target=ONES, encoder=encoder, decoder=decoder, readout=readout)
    tokens = jnp.zeros((6, 8), jnp.int32)
    seen = np.asarray(jax.jit(model)(params, tokens, tokens, key=jax.random.key(0)))
    assert set(np.unique(seen)) == ({0, 2} if site == "output" else {0, 4})
    assert abs(np.mean(seen == 0) - (0.5 if site == "output" else 0.75)) < 0.06
    assert not (seen == seen[:1]).all()
    assert (np.asarray(jax.jit(model)(params, tokens, tokens)) == 1).all()


class Told(lj.Recurrent):
    """A layer that notes which implementation it is asked for."""

    asked = ()

    def __call__(self, *arguments, **options):
        Told.asked += (options["implementation"],)
        return super().__call__(*arguments, **options)


def test_options_go_to_both_layers():
    model = EncoderDecoder(READS, WRITES, Told(lj.GRU(2, 4)), Told(lj.GRU(3, 4)))
    jax.eval_shape(lambda p: model(p, SOURCE, INPUTS, implementation="xla"), random_params(model))
    assert Told.asked == ("xla", "xla")


def test_attention_by_hand():
    """Two memories, the one twice as near: weights e^2 : e, whatever W_c."""
    attention = Attention(1, 1, "dot")
    params = attention.init(jax.random.key(0))._replace(w_c=jnp.array([[1.0], [0.0]]))
    h, memory = jnp.ones((1, 1)), jnp.array([[2.0], [1.0], [9.0]])
    out, weights = attention(params, h, memory, jnp.array([True, True, False]))
    share = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(weights, [[share, 1 - share, 0]], rtol=1e-6)
    np.testing.assert_allclose(out, [[np.tanh(1 + share)]], rtol=1e-6)
    out, weights = attention(params, h, memory, jnp.zeros(3, bool))
    assert (weights == 0).all() and (out == 0).all()
    huge = attention(params, 1e4 * h, memory, jnp.array([True, True, False]))[1]
    np.testing.assert_array_equal(huge, [[1, 0, 0]])


MODEL, PLAIN = MODELS["general"], MODELS["plain"]
PARAMS = random_params(MODEL)
STATE = random_like(jax.eval_shape(lambda: MODEL.start(PARAMS, SOURCE).carry), 0)
BAD = {
    "source": (lambda: EncoderDecoder(3, WRITES, LSTM, LSTM), "source", "an Embedding", "3"),
    "encoder": (lambda: EncoderDecoder(READS, WRITES, LSTM, LSTM), "encoder", "input shape (2,)", "(3,)"),
    "decoder": (
        lambda: EncoderDecoder(READS, WRITES, MODEL.encoder, lj.Recurrent(lj.GRU(2, 4))),
        "decoder",
        "input shape (3,)",
        "(2,)",
    ),
    "no carry": (
        lambda: EncoderDecoder(READS, WRITES, MODEL.encoder, TRANSFORMER),
        "decoder",
        "a layer with a carry",
        "Transformer",
    ),
    "not causal": (
        lambda: EncoderDecoder(READS, WRITES, MODEL.encoder, lj.Bidirectional(lj.GRU(3, 4))),
        "decoder",
        "a causal layer",
        "Bidirectional",
    ),
    "attention": (lambda: EncoderDecoder(READS, WRITES, MODEL.encoder, GRU, "local"), "attention", "'dot'", "'local'"),
    "sizes": (lambda: EncoderDecoder(READS, WRITES, MODEL.encoder, GRU, "dot"), "memory_size", "4", "3"),
    "rate": (lambda: EncoderDecoder(READS, WRITES, MODEL.encoder, GRU, dropout=1.5), "dropout", "[0, 1)", "1.5"),
    "params": (lambda: PLAIN(PARAMS, SOURCE, INPUTS), "params", "LSTMParams", "GRUParams"),
    "id": (lambda: MODEL(PARAMS, SOURCE.at[0, 0].set(6), INPUTS), "source", "ids from 0 to 5", "6"),
    "target id": (lambda: MODEL(PARAMS, SOURCE, INPUTS.at[0, 0].set(5)), "target_inputs", "ids from 0 to 4", "5"),
    "batch": (lambda: MODEL(PARAMS, SOURCE, INPUTS[:, :2]), "target_inputs", "[time, 3]", "int32[4, 2]"),
    "source lengths": (
        lambda: MODEL(PARAMS, SOURCE, INPUTS, source_lengths=SOURCE_LENGTHS[1:]),
        "source_lengths",
        "[3]",
        "int32[2]",
    ),
    "target lengths": (
        lambda: MODEL(PARAMS, SOURCE, INPUTS, target_lengths=TARGET_LENGTHS.astype(jnp.float32)),
        "target_lengths",
        "[3]",
        "float32[3]",
    ),
    "lengths": (lambda: MODEL.start(PARAMS, SOURCE, SOURCE_LENGTHS[1:]), "lengths", "[3]", "int32[2]"),
    "weights": (lambda: PLAIN.weights(random_params(PLAIN), SOURCE, INPUTS), "attention", "to have weights", "None"),
    "state": (lambda: MODEL.step(PARAMS, STATE, INPUTS[0]), "state", "DecoderState", "float32"),
    "token": (lambda: MODEL.step(PARAMS, MODEL.start(PARAMS, SOURCE), INPUTS[0] + 5), "token", "from 0 to 4", ""),
    "score": (lambda: Attention(3, 3, "cosine"), "score", "'additive'", "'cosine'"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_error(name):
    check_message(*BAD[name])
