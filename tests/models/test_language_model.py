"""Models of the next token: against float64 loops written from the equations, as streams, cut, padded, dropped."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax as lj
from lstm_jax import losses
from lstm_jax.models.decoding import sample
from lstm_jax.models.embedding import Embedding
from lstm_jax.models.language_model import LanguageModel, SequenceDropout, awd_lstm, log_probability, zaremba
from lstm_jax.models.window import WindowModel
from tests import oracle
from tests.contenders import close, cut, in_float64, random_params, same
from tests.messages import check_message

VOCABULARY, TIME = 5, 6
STACK = lj.Stack((lj.Recurrent(lj.LSTM(3, 4)), lj.Recurrent(lj.LSTM(4, 3))))
MODELS = {
    "lstm": LanguageModel(Embedding(VOCABULARY, 3), STACK),
    "tied": LanguageModel(Embedding(VOCABULARY, 3), STACK, tied=True),
    "gru": LanguageModel(Embedding(VOCABULARY, 2), lj.Recurrent(lj.GRU(2, 4))),
    "window": WindowModel(VOCABULARY, 3, 2, 4),
    "direct": WindowModel(VOCABULARY, 4, 2, 3, direct=True),
    "bigram": WindowModel(VOCABULARY, 1, 2, 3),
}
each = pytest.mark.parametrize("name", MODELS)
TOKENS = jnp.asarray(np.random.default_rng(3).integers(0, VOCABULARY, (TIME, 3)), jnp.int32)
LENGTHS = jnp.array([0, TIME, 4], jnp.int32)
VALID = np.arange(TIME)[:, None] < np.asarray(LENGTHS)
RESETS = jnp.zeros((TIME, 3), bool).at[2, 1].set(True).at[3, 2].set(True).at[5, 2].set(True)
NONE = jnp.zeros_like(RESETS)


@functools.partial(jax.jit, static_argnums=0)
def run(model, params, tokens, carry=None, **options):
    return model(params, tokens, carry, **options)


def numbers(tree):
    """Tokens as floats, to compare a carry of either kind."""
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)


def recurrent(model, params, tokens, resets):
    """One sequence: every layer's leaves of the carry from zero, step by step."""
    if isinstance(model.layer, lj.Stack):
        cells, equations, leaves = [p.cell for p in params.layer], oracle.lstm, 2
    else:
        cells, equations, leaves = [params.layer.cell], oracle.gru, 1

    def fresh():
        return [(np.zeros(len(p.w_h), p.w_h.dtype),) * leaves for p in cells]

    w, b = (params.embedding.T, params.readout) if model.tied else params.readout[0]
    carries, logits = fresh(), []
    for token, reset in zip(tokens, resets, strict=True):
        carries = fresh() if reset else carries
        y = params.embedding[token]
        for i, p in enumerate(cells):
            carries[i], y = equations(p, carries[i], y)
        logits.append(y @ w + b)
    return logits


def window(model, params, tokens, resets):
    """One sequence: the last `window` tokens joined, latest first, behind them padding."""
    (h, d), (u, b) = params.dense
    past, logits = [], []
    for token, reset in zip(tokens, resets, strict=True):
        past = [token] if reset else [token, *past]
        words = (past + [model.vocabulary_size] * model.window)[: model.window]
        x = np.concatenate([params.embedding[word] for word in words])
        out = np.tanh(x @ h + d) @ u + b
        logits.append(out + x @ params.direct if model.direct else out)
    return logits


def expected(model, params, tokens=TOKENS, resets=RESETS):
    tokens, resets = np.asarray(tokens), np.asarray(resets)
    equations = window if isinstance(model, WindowModel) else recurrent
    return np.stack([equations(model, params, t, r) for t, r in zip(tokens.T, resets.T, strict=True)], 1)


def valid(logits):
    return np.asarray(logits)[VALID]


@each
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_is_its_equations(name, dtype):
    model = MODELS[name]
    params = random_params(model, dtype=dtype)
    _, logits = run(model, params, TOKENS, resets=RESETS, lengths=LENGTHS)
    assert logits.dtype == jnp.float32 and logits.shape == (TIME, 3, VOCABULARY)
    close(valid(logits), valid(expected(model, in_float64(params))), dtype)


@each
def test_gradients_are_those_of_the_equations(name):
    model = MODELS[name]
    params = random_params(model)
    targets = jnp.roll(TOKENS, -1, 0)

    @jax.jit
    @jax.grad
    def graded(params):
        _, logits = model(params, TOKENS, resets=RESETS, lengths=LENGTHS)
        return losses.cross_entropy(logits, targets, jnp.asarray(VALID))

    def loss(params):
        logits = expected(model, params)[VALID]
        chosen = np.take_along_axis(logits, np.asarray(targets)[VALID][:, None], 1)[:, 0]
        return (np.log(np.exp(logits).sum(1)) - chosen).mean()

    found, point = in_float64(graded(params)), in_float64(params)
    for seed in range(2):
        along = jax.tree.map(lambda x, s=seed: np.random.default_rng(s).normal(size=x.shape), point)
        exact = oracle.derivative(loss, point, along)
        terms = [np.sum(a * g) for a, g in zip(jax.tree.leaves(along), jax.tree.leaves(found), strict=True)]
        assert abs(exact) > 1e-3
        np.testing.assert_allclose(sum(terms), exact, rtol=1e-4)
    assert all(np.abs(g).max() > 1e-5 for g in jax.tree.leaves(found))


@each
def test_a_stream_is_the_whole(name):
    model = MODELS[name]
    params = random_params(model)
    last, logits = run(model, params, TOKENS, resets=RESETS)
    carry, early = run(model, params, TOKENS[:4], resets=RESETS[:4])
    again, late = run(model, params, TOKENS[4:], carry, resets=RESETS[4:])
    close((numbers(again), jnp.concatenate([early, late])), (numbers(last), logits))
    whole, logits = run(model, params, TOKENS)
    carry, steps = model.initial_carry(params, (3,)), []
    step = jax.jit(model.step)
    for token in TOKENS:
        carry, out = step(params, carry, token)
        steps.append(out)
    close((numbers(carry), jnp.stack(steps)), (numbers(whole), logits))
    assert jax.tree.structure(carry) == jax.tree.structure(whole)


@each
def test_what_stands_past_a_length_changes_nothing(name):
    model = MODELS[name]
    params = random_params(model)
    other = jnp.where(jnp.asarray(VALID), TOKENS, 99)
    carry, logits = run(model, params, TOKENS, resets=RESETS, lengths=LENGTHS)
    again, same_logits = run(model, params, other, resets=RESETS, lengths=LENGTHS)
    same((again, valid(same_logits)), (carry, valid(logits)))
    # A carry is that of the last valid step; of none, the one that came.
    short, _ = run(model, params, TOKENS[:4], resets=RESETS[:4])
    full, _ = run(model, params, TOKENS, resets=RESETS)
    for b, there in enumerate((model.initial_carry(params, (3,)), full, short)):
        close(cut(numbers(carry), b), cut(numbers(there), b))


@pytest.mark.parametrize("name", ["lstm", "window"])
def test_ids_past_a_length_are_not_checked_though_they_are_known(name):
    model = MODELS[name]
    params = random_params(model)
    _, logits = model(params, jnp.where(jnp.asarray(VALID), TOKENS, -1), lengths=LENGTHS)
    close(valid(logits), valid(expected(model, in_float64(params), resets=NONE)))


@each
def test_vmap_over_seeds_and_any_batch(name):
    model = MODELS[name]
    params = random_params(model)
    _, logits = run(model, params, TOKENS)
    many = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), params)
    _, two = jax.jit(jax.vmap(model, (0, None)))(many, TOKENS)
    close(two[0], logits)
    close(two[1], expected(model, jax.tree.map(lambda p: 0.5 * p, in_float64(params)), resets=NONE))
    close(run(model, params, TOKENS[:, 1])[1], logits[:, 1])
    close(run(model, params, TOKENS.reshape(TIME, 3, 1))[1][:, :, 0], logits)


@pytest.mark.parametrize("name", ["lstm", "window"])
def test_decodes(name):
    """The most probable token after each, as one pass over what came out of it says."""
    model = MODELS[name]
    params = random_params(model)
    state, first = model.initial_carry(params, (3,)), TOKENS[0]
    tokens = sample(functools.partial(model.step, params), state, first, jax.random.key(0), 4, temperature=0)
    _, logits = run(model, params, jnp.concatenate([first[None], tokens[:-1]]))
    np.testing.assert_array_equal(tokens, np.argmax(logits, -1))


@pytest.mark.parametrize("name", ["tied", "window"])
def test_log_probabilities_sum_to_one(name):
    model = MODELS[name]
    params = random_params(model)
    all_three = jnp.array(list(itertools.product(range(VOCABULARY), repeat=3)), jnp.int32).T
    score = jax.jit(functools.partial(log_probability, model), static_argnames="begin")
    scored = score(params, all_three, begin=2)
    np.testing.assert_allclose(np.exp(np.asarray(scored, np.float64).sum(0)).sum(), 1, rtol=1e-5)
    given = score(params, all_three)
    assert (given[0] == 0).all()
    np.testing.assert_allclose(np.exp(np.asarray(given, np.float64).sum(0)).sum(), VOCABULARY, rtol=1e-5)


def test_log_probability_is_that_of_the_equations():
    model = MODELS["lstm"]
    params = random_params(model)
    logits = expected(model, in_float64(params), jnp.concatenate([jnp.full_like(TOKENS[:1], 4), TOKENS[:-1]]), NONE)
    told = np.take_along_axis(logits - np.log(np.exp(logits).sum(-1, keepdims=True)), np.asarray(TOKENS)[..., None], -1)
    padded = jnp.where(jnp.asarray(VALID), TOKENS, -7)
    close(log_probability(model, params, padded, begin=4, lengths=LENGTHS), np.where(VALID, told[..., 0], 0))
    uniform = jax.tree.map(jnp.zeros_like, params)
    mean = -jnp.mean(log_probability(model, uniform, TOKENS, begin=0))
    np.testing.assert_allclose(losses.perplexity(mean), VOCABULARY, rtol=1e-6)


class Through:
    """A layer that returns its inputs: what reaches the readout can be read off the logits."""

    input_shape = output_shape = (64,)

    def init(self, key, dtype=jnp.float32):
        return ()

    def initial_carry(self, params, batch_shape=(), dtype=None):
        return ()

    def __call__(self, params, xs, carry=None, *, key=None, **options):
        return (), xs

    def last(self, ys, lengths=None):
        return ys[-1]


ONES = jnp.ones((20, 8), jnp.int32)
THROUGH = Through()


def dropped(tokens=ONES, layer=None, key=0, **rates):
    """What the readout sees of embeddings of ones, `[time, batch, 64]`: 0 where dropped."""
    model = LanguageModel(Embedding(64, 64), layer or THROUGH, **rates)
    params = model.init(jax.random.key(0))
    readout = params.readout[0]._replace(w=jnp.eye(64))
    params = params._replace(embedding=jnp.ones((64, 64)), readout=(readout,))
    return np.asarray(run(model, params, tokens, key=None if key is None else jax.random.key(key))[1])


@pytest.mark.parametrize("rates", [{"input_dropout": 0.25}, {"output_dropout": 0.25}])
def test_dropout_is_anew_at_every_step_or_once_a_sequence(rates):
    assert (dropped(key=None, **rates) == 1).all()
    for once in (False, True):
        seen = dropped(variational=once, **rates)
        np.testing.assert_allclose(np.unique(seen), [0, 4 / 3], rtol=1e-6)
        assert abs(np.mean(seen == 0) - 0.25) < (0.07 if once else 0.02)
        assert (seen == seen[:1]).all() == once and not (seen == seen[:, :1]).all()
        same(dropped(variational=once, **rates), seen)
        assert (dropped(variational=once, key=1, **rates) != seen).any()


def test_inputs_and_outputs_have_masks_of_their_own():
    seen = dropped(input_dropout=0.5, output_dropout=0.5)
    assert set(np.unique(seen)) == {0, 4} and abs(np.mean(seen == 0) - 0.75) < 0.02


def test_word_dropout_drops_a_word_wherever_it_stands():
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 64, (40, 8)), jnp.int32)
    seen = dropped(tokens, word_dropout=0.4)
    assert (seen == seen[..., :1]).all()
    np.testing.assert_allclose(np.unique(seen), [0, 1 / 0.6], rtol=1e-6)
    of = {int(word): {float(s) for s in seen[np.asarray(tokens) == word, 0]} for word in np.unique(tokens)}
    assert all(len(values) == 1 for values in of.values())
    assert 0.2 < np.mean([0.0 in values for values in of.values()]) < 0.6
    assert (dropped(tokens, word_dropout=0.4, key=None) == 1).all()


def test_a_layer_with_sequence_dropout_has_one_mask_a_sequence():
    layer = SequenceDropout(THROUGH, 0.25)
    seen = dropped(layer=layer)
    np.testing.assert_allclose(np.unique(seen), [0, 4 / 3], rtol=1e-6)
    assert (seen == seen[:1]).all() and not (seen == seen[:, :1]).all() and abs(np.mean(seen == 0) - 0.25) < 0.07
    assert (dropped(layer=layer, key=None) == 1).all()
    inner = lj.Recurrent(lj.GRU(3, 4))
    wrapped, params = SequenceDropout(inner), random_params(inner)
    xs = jnp.ones((4, 2, 3))
    (carry, ys), plain = wrapped(params, xs), inner(params, xs)
    same((carry, ys), plain)
    same(wrapped.last(ys, LENGTHS[:2]), inner.last(ys, LENGTHS[:2]))
    same(wrapped.step(params, carry, xs[0]), inner.step(params, carry, xs[0]))
    same(wrapped.initial_carry(params, (2,)), inner.initial_carry(params, (2,)))


def count(model):
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(lambda: model.init(jax.random.key(0)))))


def test_the_published_models_have_their_sizes():
    # 2 layers of 4 n (2 n + 1), the embedding 10,000 n and the readout 10,000 (n + 1).
    for size, n in (("small", 200), ("medium", 650), ("large", 1500)):
        assert count(zaremba(10_000, size)) == 8 * n * (2 * n + 1) + 10_000 * (2 * n + 1)
    assert round(count(zaremba(10_000, "large")) / 1e6) == 66
    assert round(count(awd_lstm(10_000)) / 1e6) == 24


def test_zaremba_draws_everything_in_one_range():
    model = zaremba(30)
    for leaf in jax.tree.leaves(jax.jit(model.init)(jax.random.key(1))):
        assert np.abs(leaf).max() <= 0.1
        np.testing.assert_allclose(np.std(leaf), 0.1 / np.sqrt(3), rtol=0.5 if leaf.size < 100 else 0.1)
    assert model.layer.dropout == model.input_dropout == model.output_dropout == 0
    large = zaremba(30, "large")
    assert large.layer.dropout == large.input_dropout == large.output_dropout == 0.65 and large.bound == 0.04
    assert not large.variational and zaremba(30, "medium").bound == 0.05


def test_awd_drops_only_with_a_key():
    model = awd_lstm(VOCABULARY, 3, 4, 2)
    fresh = jax.jit(model.init)(jax.random.key(0))
    assert np.abs(fresh.embedding).max() <= 0.1 and not np.any(fresh.readout)
    for layer, size in zip(fresh.layer, (4, 3), strict=True):
        for leaf in layer.cell:
            assert 0.7 / np.sqrt(size) < np.abs(leaf).max() <= 1 / np.sqrt(size)
    params = random_params(model)
    _, logits = run(model, params, TOKENS, lengths=LENGTHS, resets=RESETS)
    close(valid(logits), valid(expected(MODELS["tied"], in_float64(params))))
    first, second = (run(model, params, TOKENS, key=jax.random.key(k))[1] for k in (0, 1))
    assert np.abs(np.asarray(first - second)).max() > 1e-2
    # The weights alone: drop nothing else.
    model = awd_lstm(VOCABULARY, 3, 4, 2, input_dropout=0.0, hidden_dropout=0.0, output_dropout=0.0, word_dropout=0.0)
    _, drawn = run(model, params, TOKENS, key=jax.random.key(0))
    _, plain = run(model, params, TOKENS)
    close(drawn[0], plain[0])  # from zero nothing recurs
    assert np.abs(np.asarray(drawn - plain))[1:].max() > 1e-2


LM, WINDOW = MODELS["lstm"], MODELS["window"]
PARAMS, WINDOW_PARAMS = random_params(LM), random_params(WINDOW)
BAD = {
    "embedding": (lambda: LanguageModel(3, STACK), "embedding", "an Embedding", "3"),
    "layer": (lambda: LanguageModel(Embedding(5, 3), lj.LSTM(3, 4)), "layer", "a layer", "LSTM"),
    "layer size": (lambda: LanguageModel(Embedding(5, 4), STACK), "layer", "input shape (4,)", "(3,)"),
    "tied": (
        lambda: LanguageModel(Embedding(5, 3), lj.Recurrent(lj.GRU(3, 4)), tied=True),
        "layer",
        "output shape (3,)",
        "(4,)",
    ),
    "rate": (lambda: LanguageModel(Embedding(5, 3), STACK, word_dropout=1.0), "word_dropout", "[0, 1)", "1.0"),
    "bound": (lambda: LanguageModel(Embedding(5, 3), STACK, bound=0), "bound", "a number > 0", "0"),
    "large": (lambda: zaremba(5, "huge"), "size", "'medium'", "'huge'"),
    "layers": (lambda: awd_lstm(5, layers=0), "layers", "an integer >= 1", "0"),
    "params": (lambda: LM(PARAMS.layer, TOKENS), "params", "LanguageModelParams", "RecurrentParams"),
    "id": (lambda: LM(PARAMS, TOKENS.at[1, 1].set(5)), "tokens", "ids from 0 to 4", "5"),
    "negative id": (lambda: LM(PARAMS, TOKENS.at[1, 1].set(-2)), "tokens", "ids from 0 to 4", "-2"),
    "float": (lambda: LM(PARAMS, TOKENS.astype(jnp.float32)), "tokens", "integers", "float32[6, 3]"),
    "list": (lambda: LM(PARAMS, [1, 2]), "tokens", "an array", "[1, 2]"),
    "scalar": (lambda: LM(PARAMS, TOKENS[0, 0]), "tokens", "[time, *batch]", "int32[]"),
    "lengths": (lambda: LM(PARAMS, TOKENS, lengths=LENGTHS[:2]), "lengths", "[3]", "int32[2]"),
    "key": (lambda: LM(PARAMS, TOKENS, key=jax.random.PRNGKey(0)), "key", "a typed key", "uint32[2]"),
    "token": (lambda: LM.step(PARAMS, LM.initial_carry(PARAMS), jnp.int32(7)), "token", "ids from 0 to 4", "7"),
    "begin": (lambda: log_probability(LM, PARAMS, TOKENS, begin=5), "begin", "an id from 0 to 4", "5"),
    "nothing": (lambda: log_probability(LM, PARAMS, TOKENS[:0]), "tokens", "time >= 1", "int32[0, 3]"),
    "window": (lambda: WindowModel(5, 0, 2, 3), "window", "an integer >= 1", "0"),
    "window id": (lambda: WINDOW(WINDOW_PARAMS, TOKENS.at[5, 2].set(7)), "tokens", "ids from 0 to 4", "7"),
    "window params": (lambda: WINDOW(PARAMS, TOKENS), "params", "WindowParams", "LanguageModelParams"),
    "window carry": (lambda: WINDOW(WINDOW_PARAMS, TOKENS, TOKENS), "carry", "int32[3, 2]", "int32[6, 3]"),
    "window resets": (lambda: WINDOW(WINDOW_PARAMS, TOKENS, resets=RESETS[1:]), "resets", "bool[6, 3]", "bool[5, 3]"),
    "window token": (
        lambda: WINDOW.step(WINDOW_PARAMS, WINDOW.initial_carry(WINDOW_PARAMS), jnp.int32(5)),
        "token",
        "ids from 0 to 4",
        "5",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_error(name):
    check_message(*BAD[name])
