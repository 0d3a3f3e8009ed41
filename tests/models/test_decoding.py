"""Generation from a Markov model of second order, whose state matters, against enumeration and known frequencies."""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lstm_jax.models.decoding import beam_search, filter_logits, sample

SIZE, BATCH, STEPS = 3, 2, 4
TOKEN = np.array([1, 2], np.int32)


class State(NamedTuple):
    """The token before the last `[batch]`, and every entry's own logits `[batch, before, last, next]`."""

    before: jax.Array
    table: jax.Array


def step(state, token):
    logits = jax.vmap(lambda table, before, last: table[before, last])(state.table, state.before, token)
    return State(token, state.table), logits


def model(batch=BATCH, seed=0, whole=False, dtype=np.float32):
    random = np.random.default_rng(seed)
    shape = (batch, SIZE, SIZE, SIZE)
    table = random.integers(0, 2, shape) if whole else random.normal(size=shape)
    return State(jnp.zeros(batch, jnp.int32), jnp.asarray(table.astype(dtype)))


def hypotheses(table, token, stop, length_penalty=0.0):
    """Every hypothesis of one entry with its score, best first; of equals the one that is first in the dictionary."""
    log_p = table - np.log(np.exp(table).sum(-1, keepdims=True))
    found = {}
    for tokens in itertools.product(range(SIZE), repeat=STEPS):
        tokens = tokens[: tokens.index(stop) + 1] if stop in tokens else tokens
        past = (0, token, *tokens)
        total = sum(log_p[past[i : i + 3]] for i in range(len(tokens)))
        found[tokens] = total / ((5 + len(tokens)) / 6) ** length_penalty
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize(("stop", "length_penalty"), [(None, 0.0), (0, 0.0), (2, 1.5)])
def test_full_width_equals_exhaustive_search(stop, length_penalty):
    state = model()
    beams = beam_search(step, state, TOKEN, SIZE**STEPS, STEPS, stop, length_penalty)
    for b in range(BATCH):
        expected = hypotheses(np.asarray(state.table[b], np.float64), TOKEN[b], stop, length_penalty)
        lengths = [len(tokens) for tokens, _ in expected]
        padded = [[*tokens, *[stop] * (STEPS - len(tokens))] for tokens, _ in expected]
        np.testing.assert_array_equal(beams.tokens[b, : len(expected)], padded)
        np.testing.assert_array_equal(beams.lengths[b, : len(expected)], lengths)
        np.testing.assert_allclose(beams.scores[b, : len(expected)], [s for _, s in expected], rtol=1e-5)
        np.testing.assert_array_equal(beams.scores[b, len(expected) :], -np.inf)
        assert (len(expected) == SIZE**STEPS) == (stop is None)


def beam_by_hand(table, token, width, stop, length_penalty):
    """The search as a loop over lists, for one entry."""
    log_p = table - np.log(np.exp(table).sum(-1, keepdims=True))

    def ranked(hypothesis):
        tokens, total = hypothesis
        return total / ((5 + len(tokens)) / 6) ** length_penalty

    kept = [((), 0.0)]
    for _ in range(STEPS):
        longer = []
        for tokens, total in kept:
            if stop in tokens:
                longer.append((tokens, total))
            else:
                past = (0, token, *tokens)[-2:]
                longer += [((*tokens, w), total + log_p[(*past, w)]) for w in range(SIZE)]
        kept = sorted(longer, key=lambda h: -ranked(h))[:width]  # stable
    return [(tokens, ranked((tokens, total))) for tokens, total in kept]


@pytest.mark.parametrize(("stop", "length_penalty"), [(None, 0.0), (1, 0.0), (1, 2.0)])
def test_a_narrow_beam_equals_a_loop_over_lists(stop, length_penalty):
    state, token = model(batch=30, seed=3), np.resize(TOKEN, 30)
    beams = jax.jit(lambda state: beam_search(step, state, token, 2, STEPS, stop, length_penalty))(state)
    differs = 0
    for b in range(30):
        table = np.asarray(state.table[b], np.float64)
        expected = beam_by_hand(table, token[b], 2, stop, length_penalty)
        for i, (tokens, score) in enumerate(expected):
            np.testing.assert_array_equal(beams.tokens[b, i, : len(tokens)], tokens)
            assert beams.lengths[b, i] == len(tokens)
            np.testing.assert_allclose(beams.scores[b, i], score, rtol=1e-5)
        differs += expected[0][0] != hypotheses(table, token[b], stop, length_penalty)[0][0]
    assert differs > 0  # or the width made no difference


def test_the_length_penalty_prefers_the_longer():
    state, token = model(batch=30, seed=3), np.resize(TOKEN, 30)
    lengths = [np.mean(beam_search(step, state, token, 4, STEPS, 1, a).lengths[:, 0]) for a in (0.0, 2.0)]
    assert lengths[0] < lengths[1]


def test_ties_fall_to_the_first():
    flat = State(jnp.zeros(1, jnp.int32), jnp.zeros((1, SIZE, SIZE, SIZE)))
    beams = beam_search(step, flat, TOKEN[:1], 4, 2)
    np.testing.assert_array_equal(beams.tokens[0], [[0, 0], [0, 1], [0, 2], [1, 0]])
    np.testing.assert_array_equal(sample(step, flat, TOKEN[:1], jax.random.key(0), 3, 0), np.zeros((3, 1)))


def test_a_width_of_one_is_greedy_and_so_is_temperature_zero():
    state = model(batch=20, seed=1)
    token = np.resize(TOKEN, 20)
    greedy = jax.jit(lambda state, key: sample(step, state, token, key, STEPS, temperature=0))
    tokens = greedy(state, jax.random.key(0))
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(beam_search(step, state, token, 1, STEPS).tokens[:, 0], tokens.T)
    for b in range(20):
        past = [0, token[b]]
        for _ in range(STEPS):
            past.append(int(np.argmax(state.table[b, past[-2], past[-1]])))
        np.testing.assert_array_equal(tokens[:, b], past[2:])


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.5}, {"temperature": 2.0, "top_k": 2}, {"temperature": 1.5, "top_p": 0.7}]
)
def test_frequencies_are_those_of_the_filtered_distribution(options):
    batch = 4000
    one = model(batch=1, seed=5)
    state = State(jnp.zeros(batch, jnp.int32), jnp.broadcast_to(one.table, (batch, SIZE, SIZE, SIZE)))
    draw = jax.jit(lambda state, key: sample(step, state, np.full(batch, 1, np.int32), key, 2, **options))
    first, second = np.asarray(draw(state, jax.random.key(7)))
    p = np.zeros((SIZE, SIZE))
    for a, b in itertools.product(range(SIZE), repeat=2):
        p[a, b] = probability(one.table[0, 0, 1], **options)[a] * probability(one.table[0, 1, a], **options)[b]
    seen = np.bincount(first * SIZE + second, minlength=SIZE * SIZE)
    possible = p.ravel() > 0
    assert not seen[~possible].any()
    assert stats.chisquare(seen[possible], batch * p.ravel()[possible]).pvalue > 1e-3


def probability(logits, temperature=1.0, top_k=SIZE, top_p=1.0):
    """Of one row, by the definition."""
    p = np.exp(np.asarray(logits, np.float64) / temperature)
    order = sorted(range(SIZE), key=lambda i: -p[i])
    p[order[top_k:]] = 0
    p /= p.sum()
    kept = next(order[:n] for n in range(1, SIZE + 1) if p[order[:n]].sum() >= top_p - 1e-12)
    p[[i for i in range(SIZE) if i not in kept]] = 0
    return p / p.sum()


def test_top_p_picks_the_smallest_set_and_top_k_that_many():
    random = np.random.default_rng(0)
    logits = random.normal(scale=2, size=(3, 7, 6)).astype(np.float32)
    for top_p in (0.05, 0.5, 0.9, 0.999):
        kept = np.isfinite(filter_logits(logits, top_p=top_p))
        for row, keep in zip(logits.reshape(-1, 6), kept.reshape(-1, 6), strict=True):
            p = np.exp(row.astype(np.float64)) / np.exp(row.astype(np.float64)).sum()
            sizes = [n for n in range(1, 7) if max(map(sum, itertools.combinations(p, n))) >= top_p]
            assert keep.sum() == sizes[0]
            assert p[keep].sum() >= top_p
    for top_k in (1, 4, 6, 9):
        filtered = np.asarray(filter_logits(logits, top_k))
        largest = logits >= np.sort(logits, axis=-1)[..., [-min(top_k, 6)]]
        np.testing.assert_array_equal(filtered, np.where(largest, logits, -np.inf))


def test_filters_at_their_edges():
    ties = jnp.log(jnp.array([0.25, 0.25, 0.25, 0.25]))
    np.testing.assert_array_equal(np.isfinite(filter_logits(ties, top_k=2)), [True, True, False, False])
    np.testing.assert_array_equal(np.isfinite(filter_logits(ties, top_p=0.5)), [True, True, False, False])
    np.testing.assert_array_equal(filter_logits(ties, 4, 1.0), ties)
    # The nucleus is taken of what top_k leaves: .4 and .3 of .7, of which .4 is more than half.
    both = jnp.log(jnp.array([0.1, 0.3, 0.4, 0.2]))
    np.testing.assert_array_equal(np.isfinite(filter_logits(both, 2, 0.5)), [False, False, True, False])
    np.testing.assert_array_equal(np.isfinite(filter_logits(both, None, 0.5)), [False, True, True, False])
    excluded = jnp.array([-jnp.inf, 0.0, 1.0])
    np.testing.assert_array_equal(filter_logits(excluded, 3, 0.99), excluded)


def test_narrow_logits_are_widened():
    state = model(dtype=jnp.bfloat16)
    wide = State(state.before, state.table.astype(np.float32))
    beams, expected = (beam_search(step, s, TOKEN, 3, STEPS) for s in (state, wide))
    assert beams.scores.dtype == np.float32
    for got, want in zip(beams, expected, strict=True):
        np.testing.assert_array_equal(got, want)
    filtered = filter_logits(state.table, 2, 0.9)
    assert filtered.dtype == np.float32
    np.testing.assert_array_equal(filtered, filter_logits(wide.table, 2, 0.9))
    key = jax.random.key(3)
    drawn, same = (sample(step, s, TOKEN, key, 20, 0.7, 2, 0.9) for s in (state, wide))
    np.testing.assert_array_equal(drawn, same)


def test_double_precision_stays(x64):
    state = model(dtype=np.float64)
    beams = beam_search(step, state, TOKEN, 5, STEPS, 0, 0.6)
    assert beams.scores.dtype == np.float64
    assert beams.tokens.dtype == beams.lengths.dtype == np.int32
    assert sample(step, state, TOKEN, jax.random.key(0), 2, 0.5, 2, 0.5).dtype == np.int32


def test_no_step_is_nothing():
    assert sample(step, model(), TOKEN, jax.random.key(0), 0).shape == (0, BATCH)
    beams = beam_search(step, model(), TOKEN, 3, 0)
    assert beams.tokens.shape == (BATCH, 3, 0)
    np.testing.assert_array_equal(beams.scores, [[0, -np.inf, -np.inf]] * BATCH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token": np.zeros((2, 1), np.int32)}, r"`token`: expected integers of shape \[batch\]"),
        ({"token": np.zeros(2, np.float32)}, r"`token`: expected integers of shape \[batch\]"),
        ({"token": np.zeros(3, np.int32)}, r"`state`: expected leaves of shape \[3, ...\]"),
        ({"step": lambda s, t: (s, s.table)}, r"`step`: expected logits of shape \[2, vocabulary\]"),
        ({"step": lambda s, t: (s.before, s.table[:, 0, 0])}, "`step`: expected State"),
        ({"steps": -1}, "`steps`: expected an integer >= 0"),
    ],
)
def test_a_bad_model_raises_one_clear_error(change, message):
    arguments = {"step": step, "state": model(), "token": TOKEN, "steps": 2} | change
    with pytest.raises(ValueError, match=message):
        sample(key=jax.random.key(0), **arguments)
    with pytest.raises(ValueError, match=message):
        beam_search(width=2, **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(sample, key=jax.random.key(0), temperature=-1.0), "`temperature`: expected a number >= 0"),
        (partial(sample, key=jax.random.key(0), top_k=0), "`top_k`: expected an integer >= 1"),
        (partial(sample, key=jax.random.key(0), top_p=0.0), r"`top_p`: expected None or a number in \(0, 1\]"),
        (partial(sample, key=0), "`key`: expected a typed key"),
        (partial(beam_search, width=0), "`width`: expected an integer >= 1"),
        (partial(beam_search, width=2, stop=SIZE), "`stop`: expected a token below 3, got 3"),
        (partial(beam_search, width=2, length_penalty=-1.0), "`length_penalty`: expected a number >= 0"),
    ],
)
def test_bad_options_raise_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call(step, model(), TOKEN, steps=2)
