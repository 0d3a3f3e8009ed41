"""The CRF against enumeration of every labelling, in float64 NumPy, written from the definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.models.crf import CRF, CRFParams

TAGS = 3
crf = CRF(TAGS)
log_likelihood, log_partition = jax.jit(crf.log_likelihood), jax.jit(crf.log_partition)
decode, marginals = jax.jit(crf.decode), jax.jit(crf.marginals)


def example(time=4, batch=(5,), seed=0, whole=False):
    """Parameters, scores, labels and lengths, 0 and the whole time among them; `whole` makes ties likely."""
    random = np.random.default_rng(seed)

    def draw(*shape):
        return (random.integers(-1, 2, shape) if whole else random.normal(size=shape)).astype(np.float32)

    params = CRFParams(draw(TAGS, TAGS), draw(TAGS), draw(TAGS))
    lengths = np.resize(np.arange(time, -1, -1), batch).astype(np.int32)
    labels = random.integers(TAGS, size=(time, *batch)).astype(np.int32)
    return params, draw(time, *batch, TAGS), labels, lengths


def score(params, scores, labels):
    """One labelling of one sequence, `scores [time, tags]`."""
    if len(labels) == 0:
        return 0.0
    total = params.start[labels[0]] + params.stop[labels[-1]]
    total += sum(scores[t, y] for t, y in enumerate(labels))
    return total + sum(params.transitions[a, b] for a, b in itertools.pairwise(labels))


def enumerate_labellings(params, scores):
    params, scores = CRFParams(*(x.astype(np.float64) for x in params)), scores.astype(np.float64)
    labellings = list(itertools.product(range(TAGS), repeat=len(scores)))
    return labellings, np.array([score(params, scores, y) for y in labellings])


def reference(params, scores, labels, length):
    """Log likelihood, log partition and its derivatives by scores and parameters, from all labellings."""
    labellings, totals = enumerate_labellings(params, scores[:length])
    partition = np.log(np.exp(totals).sum())
    marginal = np.zeros(scores.shape)
    moves, starts, stops = np.zeros((TAGS, TAGS)), np.zeros(TAGS), np.zeros(TAGS)
    for y, p in zip(labellings, np.exp(totals - partition), strict=True):
        for t in range(length):
            marginal[t, y[t]] += p
        for a, b in itertools.pairwise(y):
            moves[a, b] += p
        if length > 0:
            starts[y[0]] += p
            stops[y[-1]] += p
    own = score(params, scores.astype(np.float64), labels[:length])
    return own - partition, partition, marginal, CRFParams(moves, starts, stops)


def test_values_marginals_and_gradients_equal_enumeration():
    params, scores, labels, lengths = example()
    labels_anything = np.where(np.arange(4)[:, None] < lengths, labels, 99)
    scores_anything = np.where((np.arange(4)[:, None] < lengths)[..., None], scores, np.nan)
    rows = [reference(params, scores[:, b], labels[:, b], lengths[b]) for b in range(5)]
    likelihood, partition, marginal, by_params = (list(x) for x in zip(*rows, strict=True))

    got = log_likelihood(params, scores_anything, labels_anything, lengths)
    np.testing.assert_allclose(got, likelihood, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_partition(params, scores_anything, lengths), partition, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(marginals(params, scores_anything, lengths), np.stack(marginal, 1), atol=1e-5)
    gradient = jax.jit(jax.grad(lambda p, s: jnp.sum(crf.log_partition(p, s, lengths)), (0, 1)))
    gradient_params, gradient_scores = gradient(params, scores_anything)
    np.testing.assert_allclose(gradient_scores, np.stack(marginal, 1), atol=1e-5)
    for g, *rows in zip(gradient_params, *by_params, strict=True):
        np.testing.assert_allclose(g, np.sum(rows, axis=0), atol=1e-5)


def test_gradient_of_the_likelihood_equals_finite_differences(x64):
    params, scores, labels, lengths = example(seed=1)
    inputs = jax.tree.map(lambda x: x.astype(np.float64), (params, scores))
    loss = jax.jit(lambda inputs: jnp.sum(crf.log_likelihood(*inputs, labels, lengths)))
    gradient = jax.jit(jax.grad(loss))(inputs)
    assert gradient[1].dtype == np.float64
    random = np.random.default_rng(0)
    for _ in range(5):
        direction = jax.tree.map(lambda x: random.normal(size=x.shape), inputs)
        ahead, behind = (
            loss(jax.tree.map(lambda x, d, h=h: x + h * d, inputs, direction)).item() for h in (1e-5, -1e-5)
        )
        along = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
        np.testing.assert_allclose(along, (ahead - behind) / 2e-5, rtol=1e-8)


@pytest.mark.parametrize("whole", [False, True])
def test_viterbi_equals_enumeration_with_ties_broken_from_the_end(whole):
    params, scores, _, lengths = example(batch=(50,), seed=2, whole=whole)
    labels, best = decode(params, scores, lengths)
    assert labels.dtype == np.int32
    ties = 0
    for b, length in enumerate(lengths):
        labellings, totals = enumerate_labellings(params, scores[:length, b])
        highest = [y for y, total in zip(labellings, totals, strict=True) if total == totals.max()]
        ties += len(highest) > 1
        expected = min(highest, key=lambda y: y[::-1])
        np.testing.assert_array_equal(labels[:, b], [*expected, *[0] * (4 - length)])
        np.testing.assert_allclose(best[b], totals.max(), rtol=1e-6, atol=1e-6)
    assert (ties > 10) == whole


def test_marginals_sum_to_one_within_the_length():
    params, scores, _, lengths = example()
    sums = np.sum(marginals(params, scores, lengths), axis=-1)
    np.testing.assert_allclose(sums, np.arange(4)[:, None] < lengths, atol=1e-5)


def test_any_batch_axes_and_vmap_give_the_same():
    params, scores, labels, lengths = example(batch=(5,))
    expected = log_likelihood(params, scores, labels, lengths)
    best, highest = decode(params, scores, lengths)
    for b in range(5):  # no batch axis
        one = log_likelihood(params, scores[:, b], labels[:, b], lengths[b])
        np.testing.assert_allclose(one, expected[b], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(decode(params, scores[:, b], lengths[b])[0], best[:, b])
    folded = log_likelihood(params, scores.reshape(4, 1, 5, 3), labels.reshape(4, 1, 5), lengths.reshape(1, 5))
    np.testing.assert_allclose(folded, expected[None], rtol=1e-5, atol=1e-5)
    mapped = jax.vmap(crf.log_likelihood, (None, 1, 1, 0))(params, scores, labels, lengths)
    np.testing.assert_allclose(mapped, expected, rtol=1e-5, atol=1e-5)
    mapped_best, mapped_highest = jax.vmap(crf.decode, (None, 1, 0), (1, 0))(params, scores, lengths)
    np.testing.assert_array_equal(mapped_best, best)
    np.testing.assert_allclose(mapped_highest, highest, rtol=1e-6)


def test_without_lengths_every_step_counts_and_no_step_is_no_label():
    params, scores, labels, _ = example()
    whole = np.full(5, 4, np.int32)
    np.testing.assert_array_equal(log_likelihood(params, scores, labels), log_likelihood(params, scores, labels, whole))
    np.testing.assert_array_equal(log_likelihood(params, scores[:0], labels[:0]), np.zeros(5))
    empty, highest = decode(params, scores[:0])
    assert empty.shape == (0, 5)
    np.testing.assert_array_equal(highest, np.zeros(5))
    assert marginals(params, scores[:0]).shape == (0, 5, TAGS)


def test_one_step_is_a_softmax_and_zero_parameters_leave_steps_alone():
    _, scores, labels, _ = example()
    params = crf.init(jax.random.key(0))
    each = jnp.take_along_axis(jax.nn.log_softmax(scores), labels[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(log_likelihood(params, scores, labels), each.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(decode(params, scores)[0], np.argmax(scores, -1))


def test_labels_out_of_range_give_nan_only_where_they_count():
    params, scores, labels, lengths = example()
    for wrong in (-1, TAGS):
        bad = labels.copy()
        bad[1, :] = wrong
        np.testing.assert_array_equal(np.isnan(log_likelihood(params, scores, bad, lengths)), lengths > 1)


def test_a_forbidden_transition_is_never_taken():
    params, scores, _, _ = example(time=4, batch=(200,))
    transitions = params.transitions.copy()
    transitions[0, 1] = -1e4
    labels = np.asarray(decode(params._replace(transitions=transitions), scores)[0])
    assert not np.any((labels[:-1] == 0) & (labels[1:] == 1))
    free = np.asarray(decode(params, scores)[0])
    assert np.any((free[:-1] == 0) & (free[1:] == 1))


def test_narrow_scores_are_widened():
    params, scores, labels, lengths = example()
    narrow = scores.astype(jnp.bfloat16)
    got = log_likelihood(params, narrow, labels, lengths)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, log_likelihood(params, narrow.astype(np.float32), labels, lengths))
    assert marginals(params, narrow, lengths).dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.zeros((4, 5, 2), np.float32)}, r"`scores`: expected shape \[time, \*batch, 3\]"),
        ({"scores": np.zeros((4, 5, 3), np.int32)}, "`scores`: expected a floating-point dtype"),
        ({"labels": np.zeros((4, 5), np.float32)}, r"`labels`: expected integers of shape \[4, 5\]"),
        ({"labels": np.zeros((5, 4), np.int32)}, r"`labels`: expected integers of shape \[4, 5\]"),
        ({"lengths": np.zeros(4, np.int32)}, r"`lengths`: expected integers of shape \[5\]"),
        ({"params": (np.zeros((3, 3)), np.zeros(3), np.zeros(3))}, "`params`: expected CRFParams"),
    ],
)
def test_bad_input_raises_one_clear_error(change, message):
    params, scores, labels, lengths = example()
    with pytest.raises(ValueError, match=message):
        crf.log_likelihood(**{"params": params, "scores": scores, "labels": labels, "lengths": lengths} | change)


def test_tags_are_at_least_one():
    with pytest.raises(ValueError, match="`tags`: expected an integer >= 1, got 0"):
        CRF(0)
