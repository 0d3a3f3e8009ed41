"""Embedding, tagger and classifier: against float64 loops written from the equations, cut, padded, dropped."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax import losses
from lstm_jax.models.classifier import Classifier
from lstm_jax.models.embedding import Embedding
from lstm_jax.models.tagger import Tagger
from tests import oracle
from tests.contenders import close, in_float64, random_params, same, weigh
from tests.messages import check_message
from tests.models.test_language_model import THROUGH

WORDS, TIME = 5, 4
EMBEDDING = Embedding(WORDS, 3)
TOKENS = jnp.asarray(np.random.default_rng(3).integers(0, WORDS, (TIME, 3)), jnp.int32)
LABELS = jnp.asarray(np.random.default_rng(4).integers(0, 2, (TIME, 3)), jnp.int32)
LENGTHS = jnp.array([0, TIME, 2], jnp.int32)
VALID = np.arange(TIME)[:, None] < np.asarray(LENGTHS)
PADDED = jnp.where(jnp.asarray(VALID), TOKENS, 99)
ONE_WAY, BOTH_WAYS = lj.Recurrent(lj.LSTM(3, 2)), lj.Bidirectional(lj.LSTM(3, 2))


def outputs(layer, params, tokens):
    """One sequence: what the layer returns at each step, and each direction's last output."""
    if isinstance(layer, lj.Bidirectional):
        ahead, last = outputs(layer.forward, params._replace(layer=params.layer.forward), tokens)
        back, first = outputs(layer.forward, params._replace(layer=params.layer.backward), tokens[::-1])
        return [np.concatenate(pair) for pair in zip(ahead, back[::-1], strict=True)], np.concatenate([last, first])
    cell = params.layer.cell
    zero = np.zeros(len(cell.w_h), cell.w_h.dtype)
    carry, ys = (zero, zero), []
    for token in tokens:
        carry, y = oracle.lstm(cell, carry, params.embedding[token])
        ys.append(y)
    return ys, carry[0]


def sequences(tokens=TOKENS):
    return [np.asarray(tokens)[:length, b] for b, length in enumerate(np.asarray(LENGTHS))]


class TestEmbedding:
    params = random_params(EMBEDDING)

    def test_looks_up_rows_of_whatever_shape(self):
        found = jax.jit(EMBEDDING)(self.params, TOKENS.astype(jnp.uint8))
        for place, word in np.ndenumerate(np.asarray(TOKENS)):
            same(found[place], self.params[word])
        same(EMBEDDING(self.params, jnp.int32(4)), self.params[4])
        same(EMBEDDING(self.params, np.array([3, 3])), self.params[jnp.array([3, 3])])

    def test_gradient_is_that_of_the_product_with_one_hot_vectors(self):
        found = jax.jit(jax.grad(lambda w: weigh(EMBEDDING(w, TOKENS))))(self.params)
        close(found, jax.grad(lambda w: weigh(jax.nn.one_hot(TOKENS, WORDS, dtype=w.dtype) @ w))(self.params))

    def test_a_traced_id_out_of_range_is_nan(self):
        found = np.asarray(jax.jit(EMBEDDING)(self.params, jnp.array([-1, 0, WORDS])))
        assert np.isnan(found[[0, 2]]).all() and np.isfinite(found[1]).all()

    def test_starts_within_its_bound(self):
        fresh = np.asarray(Embedding(40, 50, bound=0.25).init(jax.random.key(0), jnp.bfloat16), np.float64)
        assert np.abs(fresh).max() <= 0.25
        np.testing.assert_allclose(fresh.std(), 0.25 / np.sqrt(3), rtol=0.05)
        np.testing.assert_allclose(np.std(Embedding(40, 50).init(jax.random.key(0))), 1, rtol=0.05)


TAGGERS = {
    "one way": Tagger(EMBEDDING, ONE_WAY, 2),
    "both ways": Tagger(EMBEDDING, BOTH_WAYS, 2),
    "crf": Tagger(EMBEDDING, BOTH_WAYS, 2, crf=True),
}
taggers = pytest.mark.parametrize("name", TAGGERS)


def tag_scores(model, params, tokens):
    w, b = params.readout[0]
    return [y @ w + b for y in outputs(model.layer, params, tokens)[0]]


def score(crf, scores, labels):
    total = sum(s[y] for s, y in zip(scores, labels, strict=True))
    moves = sum(crf.transitions[a, b] for a, b in itertools.pairwise(labels))
    return total + moves + crf.start[labels[0]] + crf.stop[labels[-1]]


def tag_loss(model, params, tokens=TOKENS):
    """Nats a token; under a CRF every labelling is written out."""
    total = 0.0
    for words, truth in zip(sequences(tokens), sequences(LABELS), strict=True):
        scores = tag_scores(model, params, words)
        if model.crf and len(words):
            every = [score(params.crf, scores, y) for y in itertools.product(range(2), repeat=len(words))]
            total += np.log(np.exp(np.array(every)).sum()) - score(params.crf, scores, truth)
        elif not model.crf:
            total += sum(np.log(np.exp(s).sum()) - s[y] for s, y in zip(scores, truth, strict=True))
    return total / VALID.sum()


@taggers
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_tagger_is_its_equations(name, dtype):
    model = TAGGERS[name]
    params = random_params(model, dtype=dtype)
    point = in_float64(params)
    loss, scores, tags = jax.jit(
        lambda params, tokens: (
            model.loss(params, tokens, LABELS, lengths=LENGTHS),
            model(params, tokens, lengths=LENGTHS)[1],
            model.predict(params, tokens, lengths=LENGTHS),
        )
    )(params, PADDED)
    assert scores.dtype == loss.dtype == jnp.float32 and tags.dtype == jnp.int32
    close(loss, tag_loss(model, point), dtype)
    assert (np.asarray(tags)[~VALID] == 0).all()
    for b, words in enumerate(sequences()):
        of = tag_scores(model, point, words)
        for t, s in enumerate(of):
            close(scores[t, b], s, dtype)
        if len(words):
            best = np.argmax(of, 1)
            if model.crf:
                best = max(itertools.product(range(2), repeat=len(words)), key=lambda y, of=of: score(point.crf, of, y))
            np.testing.assert_array_equal(tags[: len(words), b], best)


@taggers
def test_a_tagger_s_gradients_and_its_padding(name):
    model = TAGGERS[name]
    params = random_params(model)
    graded = jax.jit(jax.value_and_grad(lambda p, x, y: model.loss(p, x, y, lengths=LENGTHS)))
    found = graded(params, TOKENS, LABELS)
    same(graded(params, PADDED, jnp.where(jnp.asarray(VALID), LABELS, -5)), found)
    check_gradient(found[1], params, lambda params: tag_loss(model, params))


def check_gradient(found, params, loss):
    found, point = in_float64(found), in_float64(params)
    along = jax.tree.map(lambda x: np.random.default_rng(x.size).normal(size=x.shape), point)
    exact = oracle.derivative(loss, point, along)
    terms = [np.sum(a * g) for a, g in zip(jax.tree.leaves(along), jax.tree.leaves(found), strict=True)]
    assert abs(exact) > 1e-3
    np.testing.assert_allclose(sum(terms), exact, rtol=1e-4)
    assert all(np.abs(g).max() > 1e-5 for g in jax.tree.leaves(found))


def test_a_tagger_over_seeds_and_with_dropout():
    model = Tagger(EMBEDDING, ONE_WAY, 2, dropout=0.5)
    params = random_params(model)
    many = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), params)
    loss = jax.jit(jax.vmap(functools.partial(model.loss, lengths=LENGTHS), (0, None, None)))(many, TOKENS, LABELS)
    half = jax.tree.map(lambda p: 0.5 * p, in_float64(params))
    close(loss, np.array([tag_loss(model, in_float64(params)), tag_loss(model, half)]))
    drawn = [float(model.loss(params, TOKENS, LABELS, key=jax.random.key(k))) for k in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    # The carry goes on, and no tokens make no loss.
    whole = model(params, TOKENS)
    carry, early = model(params, TOKENS[:2])
    carry, late = model(params, TOKENS[2:], carry)
    close((carry, jnp.concatenate([early, late])), whole)
    assert model.loss(params, TOKENS, LABELS, lengths=0 * LENGTHS) == 0


CLASSIFIERS = {
    (layer, pool): Classifier(EMBEDDING, {"one way": ONE_WAY, "both ways": BOTH_WAYS}[layer], 3, pool)
    for layer in ("one way", "both ways")
    for pool in ("last", "mean", "max")
}
classifiers = pytest.mark.parametrize("name", CLASSIFIERS, ids="-".join)


def class_logits(model, params):
    w, b = params.readout[0]
    logits = []
    for tokens in sequences():
        ys, ends = outputs(model.layer, params, tokens)
        if model.pool == "mean" and ys:
            ends = sum(ys) / len(ys)
        if model.pool == "max" and ys:
            ends = np.array([max(column, key=np.real) for column in zip(*ys, strict=True)])
        logits.append(ends @ w + b)
    return np.stack(logits)


@classifiers
def test_a_classifier_is_its_equations(name):
    model = CLASSIFIERS[name]
    params = random_params(model)
    labels = jnp.array([2, 0, 1], jnp.int32)

    def loss(params, tokens):
        logits = model(params, tokens, lengths=LENGTHS)
        return losses.cross_entropy(logits, labels), logits

    graded = jax.jit(jax.value_and_grad(loss, has_aux=True))
    found = graded(params, TOKENS)
    same(graded(params, PADDED), found)
    (_, logits), gradient = found
    close(logits, class_logits(model, in_float64(params)))
    same(logits[0], params.readout[0].b)  # of nothing

    def equations(params):
        logits = class_logits(model, params)
        return (np.log(np.exp(logits).sum(1)) - logits[np.arange(3), np.asarray(labels)]).mean()

    check_gradient(gradient, params, equations)


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
def test_a_classifier_in_bfloat16_over_seeds_and_without_lengths(pool):
    model = CLASSIFIERS["one way", pool]
    params = random_params(model, dtype=jnp.bfloat16)
    many = jax.tree.map(lambda p: jnp.stack([p, p + 1]), params)
    logits = jax.jit(jax.vmap(lambda p: model(p, TOKENS, lengths=LENGTHS)))(many)
    assert logits.dtype == jnp.float32
    close(logits[0], class_logits(model, in_float64(params)), "bfloat16")
    assert np.abs(np.asarray(logits[1] - logits[0])).max() > 0.1
    alone = model(params, TOKENS[:2, 2])
    close(alone, logits[0, 2], "bfloat16")


def test_a_classifier_drops_only_with_a_key():
    model = Classifier(EMBEDDING, ONE_WAY, 3, dropout=0.5)
    params = random_params(model)
    run = jax.jit(lambda key=None: model(params, TOKENS, lengths=LENGTHS, key=key))
    close(run(), class_logits(model, in_float64(params)))
    assert np.abs(np.asarray(run(jax.random.key(0)) - run(jax.random.key(1)))).max() > 1e-2


@pytest.mark.parametrize("make", [Tagger, Classifier])
def test_dropout_is_of_the_layer_s_inputs_and_of_what_is_read_out(make):
    model = make(Embedding(64, 64), THROUGH, 64, dropout=0.5)
    params = model.init(jax.random.key(0))
    params = params._replace(embedding=jnp.ones((64, 64)), readout=(params.readout[0]._replace(w=jnp.eye(64)),))
    tokens = jnp.zeros((20, 16), jnp.int32)
    for key, share in ((jax.random.key(0), 0.75), (None, 0)):
        seen = np.asarray(jax.tree.leaves(model(params, tokens, key=key))[-1])
        assert set(np.unique(seen)) == ({0, 4} if share else {1})
        assert abs(np.mean(seen == 0) - share) < 0.06


TAGGER, CLASSIFIER = TAGGERS["crf"], CLASSIFIERS["one way", "mean"]
PARAMS, CLASSIFIER_PARAMS = random_params(TAGGER), random_params(CLASSIFIER)
BAD = {
    "vocabulary": (lambda: Embedding(0, 3), "vocabulary_size", "an integer >= 1", "0"),
    "bound": (lambda: Embedding(2, 3, -1.0), "bound", "a number > 0", "-1.0"),
    "matrix": (lambda: EMBEDDING(jnp.zeros((3, 5)), TOKENS), "params", "float32[5, 3]", "float32[3, 5]"),
    "integers": (lambda: EMBEDDING(jnp.zeros((5, 3), int), TOKENS), "params", "floating-point", "int"),
    "tags": (lambda: Tagger(EMBEDDING, ONE_WAY, 0), "tags", "an integer >= 1", "0"),
    "crf": (lambda: Tagger(EMBEDDING, ONE_WAY, 2, crf="yes"), "crf", "True or False", "'yes'"),
    "layer": (lambda: Tagger(EMBEDDING, lj.Recurrent(lj.LSTM(4, 2)), 2), "layer", "input shape (3,)", "(4,)"),
    "tagger's params": (lambda: TAGGER(CLASSIFIER_PARAMS, TOKENS), "params", "TaggerParams", "ClassifierParams"),
    "no crf": (lambda: TAGGER(PARAMS._replace(crf=None), TOKENS), "params", "CRFParams", "crf=None"),
    "id": (lambda: TAGGER(PARAMS, TOKENS.at[1, 1].set(8)), "tokens", "ids from 0 to 4", "8"),
    "label": (lambda: TAGGER.loss(PARAMS, TOKENS, LABELS + 1), "labels", "ids from 0 to 1", "2"),
    "labels": (lambda: TAGGER.loss(PARAMS, TOKENS, LABELS[1:]), "labels", "[4, 3]", "int32[3, 3]"),
    "lengths": (lambda: TAGGER.predict(PARAMS, TOKENS, lengths=LENGTHS[1:]), "lengths", "[3]", "int32[2]"),
    "pool": (lambda: Classifier(EMBEDDING, ONE_WAY, 2, "sum"), "pool", "'mean'", "'sum'"),
    "classes": (lambda: Classifier(EMBEDDING, ONE_WAY, 0), "classes", "an integer >= 1", "0"),
    "class params": (lambda: CLASSIFIER(PARAMS, TOKENS), "params", "ClassifierParams", "TaggerParams"),
    "class lengths": (lambda: CLASSIFIER(CLASSIFIER_PARAMS, TOKENS, lengths=LENGTHS[1:]), "lengths", "[3]", "int32[2]"),
    "class key": (lambda: CLASSIFIER(CLASSIFIER_PARAMS, TOKENS, key=3), "key", "a typed key", "3"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_error(name):
    check_message(*BAD[name])
