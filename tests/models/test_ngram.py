"""n-gram models against loops over dictionaries, written from the definitions, and against NLTK."""

import collections
import itertools
import math

import numpy as np
import pytest

from lstm_jax.models.ngram import AddK, KneserNey, NGram

SIZE = 5
RANDOM = np.random.default_rng(0)
TEXT = RANDOM.choice(SIZE - 1, 120, p=[0.5, 0.3, 0.15, 0.05])  # the last token is never seen
OTHER = RANDOM.integers(SIZE, size=60)


def count(text, order):
    return collections.Counter(tuple(text[i : i + order]) for i in range(len(text) - order + 1))


def add_k(text, order, k, context, token):
    context = tuple(context[max(len(context) - order + 1, 0) :])
    counts = count(text, len(context) + 1)
    seen = sum(counts[(*context, w)] for w in range(SIZE))
    return (counts[(*context, token)] + k) / (seen + k * SIZE)


def kneser_ney_tables(text, order, discount):
    """The counts and the discount of each order, from the highest down."""
    counts = {order: count(text, order)}
    for n in range(1, order):
        counts[n] = collections.Counter(gram[1:] for gram in count(text, n + 1))
    discounts = {}
    for n, table in counts.items():
        once, twice = (sum(c == times for c in table.values()) for times in (1, 2))
        discounts[n] = discount if discount is not None else once / (once + 2 * twice) if once else 0.5
    return counts, discounts


def kneser_ney(counts, discounts, context, token):
    n = len(context) + 1
    below = kneser_ney(counts, discounts, context[1:], token) if n > 1 else 1 / SIZE
    here = [counts[n][(*context, w)] for w in range(SIZE)]
    if sum(here) == 0:
        return below
    kinds = sum(c > 0 for c in here)
    return (max(here[token] - discounts[n], 0) + discounts[n] * kinds * below) / sum(here)


def all_contexts(order):
    return itertools.chain.from_iterable(itertools.product(range(SIZE), repeat=n) for n in range(order))


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("discount", [None, 0.3])
@pytest.mark.parametrize("first", [[], [0, SIZE - 1]])  # what stands before some tokens at the beginning only
def test_kneser_ney_equals_a_loop_over_its_definition(order, discount, first):
    text = [*first, *TEXT.tolist()]
    model = NGram(order, SIZE, KneserNey(discount)).fit(text)
    tables = kneser_ney_tables(text, order, discount)
    for context in all_contexts(order):
        expected = [kneser_ney(*tables, context, w) for w in range(SIZE)]
        np.testing.assert_allclose(model.distribution(context), expected, rtol=1e-12)
    expected = [
        math.log(kneser_ney(*tables, tuple(OTHER[max(t - order + 1, 0) : t].tolist()), OTHER[t])) for t in range(60)
    ]
    np.testing.assert_allclose(model.log_probabilities(OTHER), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 3])
def test_add_k_equals_a_loop_over_its_definition(order):
    model = NGram(order, SIZE, AddK(0.2)).fit(TEXT)
    for context in all_contexts(order):
        expected = [add_k(TEXT.tolist(), order, 0.2, context, w) for w in range(SIZE)]
        np.testing.assert_allclose(model.distribution(context), expected, rtol=1e-12)
    expected = [math.log(add_k(TEXT.tolist(), order, 0.2, OTHER[:t].tolist(), OTHER[t])) for t in range(60)]
    np.testing.assert_allclose(model.log_probabilities(OTHER), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [2, 3])
def test_kneser_ney_equals_nltk(order):
    """NLTK takes bare continuation counts for single tokens: discount 0. It counts the kinds of tokens after a context
    in the text itself, here as we do, since the beginning comes again and so everything has a token before it.
    """
    from nltk.lm import KneserNeyInterpolated
    from nltk.util import everygrams

    text = [*TEXT.tolist(), *TEXT[:order].tolist()]
    words = [str(w) for w in text]
    theirs = KneserNeyInterpolated(order, discount=0.1)
    theirs.fit([list(everygrams(words, max_len=order))], vocabulary_text=words)
    ours = NGram(order, SIZE, KneserNey((0.0, *[0.1] * (order - 1)))).fit(text)
    for context in all_contexts(order):
        expected = [theirs.score(str(w), [str(c) for c in context]) for w in range(SIZE - 1)]
        np.testing.assert_allclose(ours.distribution(context)[:-1], expected, rtol=1e-12)


@pytest.mark.parametrize("smoothing", [AddK(0.5), KneserNey(), KneserNey(1.0), KneserNey((0.0, 0.5, 0.5))])
def test_distributions_sum_to_one_and_give_the_log_probabilities(smoothing):
    model = NGram(3, SIZE, smoothing).fit(TEXT)
    for t, log_p in enumerate(model.log_probabilities(OTHER)):
        p = model.distribution(OTHER[:t])  # longer than the model looks back
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
        np.testing.assert_allclose(np.exp(log_p), p[OTHER[t]], rtol=1e-12)


@pytest.mark.parametrize("smoothing", [AddK(), KneserNey()])
@pytest.mark.parametrize("size", [1, 7])
def test_without_text_it_is_uniform_and_perplexity_the_size_of_the_vocabulary(smoothing, size):
    model = NGram(3, size, smoothing).fit([])
    tokens = np.arange(40) % size
    assert np.exp(-np.mean(model.log_probabilities(tokens))) == pytest.approx(size, rel=1e-12)
    assert model.entries == model.contexts == (0, 0, 0)
    assert len(model.log_probabilities([])) == 0


def test_one_symbol_is_certain():
    for smoothing in (AddK(), KneserNey()):
        model = NGram(4, 1, smoothing).fit(np.zeros(10, np.uint8))
        np.testing.assert_allclose(model.log_probabilities(np.zeros(20, np.int32)), np.zeros(20), atol=1e-12)
        np.testing.assert_array_equal(model.generate(np.random.default_rng(0), 5), np.zeros(5))


def test_a_text_shorter_than_the_order_is_counted_as_far_as_it_goes():
    model = NGram(4, 3, AddK(1.0)).fit([0, 1])
    assert model.entries == (2, 1, 0, 0)
    np.testing.assert_allclose(model.distribution([0]), [1 / 4, 2 / 4, 1 / 4])
    np.testing.assert_allclose(np.exp(model.log_probabilities([0, 1])), [2 / 5, 2 / 4])
    assert math.isnan(model.sparsity([0, 1])[2].unseen)
    assert [row.unseen for row in model.sparsity([2, 2, 2, 2])] == [1, 1, 1, 1]


def test_storage_and_sparsity_are_counted():
    model = NGram(3, SIZE).fit(TEXT)
    grams = [set(count(TEXT.tolist(), n)) for n in (1, 2, 3)]
    contexts = [{gram[:-1] for gram in seen} for seen in grams]
    assert model.entries == tuple(map(len, grams))
    assert model.contexts == tuple(map(len, contexts))
    assert model.bytes == sum(12 * len(seen) for seen in grams) + 8 * (1 + len(grams[0]) + len(grams[1]))
    for n, row in enumerate(model.sparsity(OTHER), 1):
        tested = [tuple(OTHER[i : i + n].tolist()) for i in range(60 - n + 1)]
        assert row.unseen == pytest.approx(sum(gram not in grams[n - 1] for gram in tested) / len(tested))
        assert row.ngrams == len(grams[n - 1]) / SIZE**n
        assert row.contexts == len(contexts[n - 1]) / SIZE ** (n - 1)


def test_generation_follows_the_distribution_and_the_prefix():
    model = NGram(2, SIZE, AddK(0.1)).fit(TEXT)
    text = model.generate(np.random.default_rng(1), 20_000, prefix=[3])
    assert text.dtype == np.int32
    seen = np.zeros((SIZE, SIZE))
    np.add.at(seen, (text[:-1], text[1:]), 1)
    for context in range(SIZE):
        n = seen[context].sum()
        p = model.distribution([context])
        assert np.all(np.abs(seen[context] - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1)
    after = [NGram(2, 3, AddK(1e-9)).fit([0, 1, 2, 0, 1, 2]).generate(np.random.default_rng(0), 4, [w]) for w in (0, 1)]
    np.testing.assert_array_equal(after, [[1, 2, 0, 1], [2, 0, 1, 2]])


def test_what_has_no_probability_is_never_generated():
    class Lowest(np.random.Generator):
        def random(self):
            return 0.0

    model = NGram(1, 3, KneserNey(0.0)).fit([1, 2])
    np.testing.assert_array_equal(model.generate(Lowest(np.random.PCG64(0)), 2), [1, 1])
    assert model.log_probabilities([0])[0] == -np.inf


def test_many_tokens_and_a_large_vocabulary_do_not_overflow():
    """Numbers of n-grams are packed, not their tokens: 2^31 to the fifth would not fit."""
    text = [2**31 - 1, 5, 2**31 - 1, 5, 2**31 - 2, 5, 2**31 - 1]
    model = NGram(5, 2**31, AddK(1e-3)).fit(text)
    assert model.entries == (3, 4, 5, 4, 3)
    assert model.sparsity(text)[-1].unseen == 0
    p = (1 + 1e-3) / (1 + 1e-3 * 2**31)
    np.testing.assert_allclose(model.log_probabilities(text)[-1], math.log(p))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NGram(0, 3), "`order`: expected an integer >= 1, got 0"),
        (lambda: NGram(2, 0), "`vocabulary_size`: expected an integer >= 1, got 0"),
        (lambda: NGram(2, 2**31 + 1), "`vocabulary_size`: expected at most 2"),
        (lambda: NGram(2, 3, "laplace"), "`smoothing`: expected AddK"),
        (lambda: NGram(2, 3, KneserNey((0.1,))), "`smoothing`: expected one discount for each of the 2 orders"),
        (lambda: AddK(0), "`k`: expected a number > 0, got 0"),
        (lambda: KneserNey(1.5), r"`discount`: expected None, or a number in \[0, 1\]"),
        (lambda: NGram(2, 3).fit([0, 3]), "`tokens`: expected integers from 0 to 2, got 0 to 3"),
        (lambda: NGram(2, 3).fit([0, -1]), "`tokens`: expected integers from 0 to 2, got -1 to 0"),
        (lambda: NGram(2, 3).fit([[0, 1]]), r"`tokens`: expected integers of shape \[n\]"),
        (lambda: NGram(2, 3).fit([0.0, 1.0]), r"`tokens`: expected integers of shape \[n\]"),
        (lambda: NGram(2, 3).fit([0]).distribution([7]), "`context`: expected integers from 0 to 2, got 7 to 7"),
        (lambda: NGram(2, 3).fit([0]).generate(RANDOM, -1), "`n`: expected an integer >= 0, got -1"),
    ],
)
def test_bad_input_raises_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
