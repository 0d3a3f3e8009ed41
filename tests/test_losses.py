"""Losses against float64 NumPy and PyTorch; what the mask leaves out never counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax.losses import accuracy, cross_entropy, hits, mean_squared_error, perplexity

SHAPES = [((), 5), ((4, 3), 5), ((0, 2), 5), ((3,), 1)]
graded = {loss: jax.jit(jax.value_and_grad(loss)) for loss in (cross_entropy, mean_squared_error)}


def example(shape, classes, seed):
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3, size=(*shape, classes)).astype(np.float32)
    targets = random.normal(size=(*shape, classes)).astype(np.float32)
    labels = random.integers(classes, size=shape).astype(np.int32)
    mask = random.random(shape) < 0.6
    return logits, targets, labels, mask


def reference_cross_entropy(logits, labels, mask):
    total, count = 0.0, 0
    for index in np.argwhere(mask):
        row = logits[tuple(index)].astype(np.float64)
        total += np.log(np.exp(row).sum()) - row[labels[tuple(index)]]
        count += 1
    return total / max(count, 1)


def reference_mean_squared_error(outputs, targets, mask):
    errors = [(outputs[tuple(i)].astype(np.float64) - targets[tuple(i)]) ** 2 for i in np.argwhere(mask)]
    return np.mean(errors) if errors else 0.0


@settings(max_examples=40, deadline=None)
@given(classes=st.integers(1, 5), kind=st.sampled_from(["<f4", "<f2"]), seed=st.integers(0, 2**32 - 1))
def test_a_hit_is_the_first_of_the_largest_and_never_beside_a_nan(classes, kind, seed):
    random = np.random.default_rng(seed)
    values = np.array([-np.inf, -1, 0, 1, np.inf, np.nan], kind)
    logits = random.choice(values, size=(40, classes), p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05])
    labels = random.integers(-1, classes + 1, size=40)
    expected = (logits.argmax(-1) == labels) & ~np.isnan(logits).any(-1)
    np.testing.assert_array_equal(hits(jnp.asarray(logits), jnp.asarray(labels)), expected)


@settings(max_examples=40, deadline=None)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 2**32 - 1))
def test_values_and_gradients_ignore_what_is_masked_out(shape, seed):
    shape, classes = shape
    logits, targets, labels, mask = example(shape, classes, seed)
    poison = np.where(mask[..., None], 0, np.random.default_rng(seed).choice([np.nan, np.inf, -np.inf]))
    cases = [
        (cross_entropy, labels, np.where(mask, labels, -100), reference_cross_entropy),
        (mean_squared_error, targets, (targets + poison).astype(np.float32), reference_mean_squared_error),
    ]
    for loss, clean, dirty, reference in cases:
        value, gradient = graded[loss]((logits + poison).astype(np.float32), dirty, mask)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, reference(logits, clean, mask), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(gradient, graded[loss](logits, clean, mask)[1])
        assert np.isfinite(gradient).all() and not np.asarray(gradient)[~mask].any()
    hits = [logits[tuple(i)].argmax() == labels[tuple(i)] for i in np.argwhere(mask)]
    result = jax.jit(accuracy)((logits + poison).astype(np.float32), np.where(mask, labels, -100), mask)
    assert result == pytest.approx(np.mean(hits) if hits else 0, abs=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, mean_squared_error, accuracy])
def test_nothing_counts(loss):
    logits, targets, labels, _ = example((4, 3), 5, 0)
    second = targets if loss is mean_squared_error else labels
    assert loss(logits, second, np.zeros((4, 3), bool)) == 0
    assert loss(logits, second) == loss(logits, second, np.ones((4, 3), bool)) != 0


def test_values_and_gradients_match_pytorch():
    torch = pytest.importorskip("torch")
    logits, targets, labels, mask = example((7, 3), 6, 1)
    cases = [
        (cross_entropy, labels, lambda x, y: torch.nn.functional.cross_entropy(x, y.long())),
        (mean_squared_error, targets, torch.nn.functional.mse_loss),
    ]
    for ours, second, theirs in cases:
        x = torch.from_numpy(logits[mask]).requires_grad_()
        expected = theirs(x, torch.from_numpy(second[mask]))
        expected.backward()
        value, gradient = graded[ours](logits, second, mask)
        np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
        np.testing.assert_allclose(np.asarray(gradient)[mask], x.grad.numpy(), atol=1e-6)


def test_mask_may_cover_every_axis_or_the_leading_ones():
    outputs, targets, _, mask = example((4, 3), 5, 2)
    whole = np.broadcast_to(mask[..., None], outputs.shape)
    assert mean_squared_error(outputs, targets, mask) == mean_squared_error(outputs, targets, whole)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_arguments_are_summed_in_float32(dtype):
    logits = np.zeros((5000, 3), dtype)
    assert jax.jit(cross_entropy)(logits, np.zeros(5000, np.int32)) == pytest.approx(np.log(3), rel=1e-6)
    outputs, targets = np.ones((5000, 1), dtype), np.zeros((5000, 1), np.float32)
    assert jax.jit(mean_squared_error)(outputs, targets) == 1
    assert perplexity(jnp.asarray(2.0, dtype)).dtype == jnp.float32


def test_float64_stays():
    with jax.enable_x64(True):
        logits, targets, labels, mask = example((4, 3), 5, 3)
        loss = jax.jit(cross_entropy)(logits.astype(np.float64), labels, mask)
        assert loss.dtype == jnp.float64
        np.testing.assert_allclose(loss, reference_cross_entropy(logits, labels, mask), rtol=1e-13)
        for function, dtypes, expected in (
            (mean_squared_error, (jnp.float32, jnp.float64), jnp.float64),
            (mean_squared_error, (jnp.float32, jnp.float32), jnp.float32),
            (cross_entropy, (jnp.float32, jnp.int64), jnp.float32),
            (accuracy, (jnp.float64, jnp.int32), jnp.float32),
            (perplexity, (jnp.float64,), jnp.float64),
        ):
            second = targets if function is mean_squared_error else labels
            arguments = [
                jax.ShapeDtypeStruct(x.shape, dtype) for x, dtype in zip((logits, second), dtypes, strict=False)
            ]
            assert jax.eval_shape(function, *arguments).dtype == expected


def test_large_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4, 0.0], [3e38, 0.0, -jnp.inf]])
    value, gradient = graded[cross_entropy](logits, np.zeros(2, np.int32))
    assert value == 0 and np.isfinite(gradient).all()


@pytest.mark.parametrize("label", [-1, 3])
def test_label_outside_the_classes_shows(label):
    assert jnp.isnan(cross_entropy(jnp.zeros((2, 3)), jnp.array([0, label])))


def test_perplexity_of_even_odds_is_their_number():
    assert perplexity(cross_entropy(np.zeros((2, 50), np.float32), np.zeros(2, np.int32))) == pytest.approx(
        50, rel=1e-5
    )


X, Y, M = jnp.zeros((4, 3, 5), jnp.float32), jnp.zeros((4, 3), jnp.int32), jnp.ones((4, 3), bool)
ERRORS = [
    (lambda: cross_entropy(jnp.zeros(()), jnp.int32(0)), "`logits` must have shape [..., classes]"),
    (lambda: cross_entropy(jnp.zeros((3, 0)), jnp.zeros(3, jnp.int32)), "`logits` must have shape [..., classes]"),
    (lambda: cross_entropy(Y, Y), "`logits` must have a float dtype; got int32"),
    (lambda: cross_entropy(X, X), "`labels` must have an integer dtype; got float32"),
    (
        lambda: cross_entropy(X, Y[0]),
        "`labels` must have the shape of `logits` without its last axis, (4, 3); got (3,)",
    ),
    (lambda: cross_entropy(X, Y, M[0]), "`mask` must have the shape of `labels`, (4, 3); got (3,)"),
    (lambda: cross_entropy(X, Y, Y), "`mask` must have dtype bool; got int32"),
    (lambda: accuracy(X, Y[:2]), "`labels` must have the shape of `logits` without its last axis, (4, 3); got (2, 3)"),
    (lambda: accuracy(X, Y, M[:2]), "`mask` must have the shape of `labels`, (4, 3); got (2, 3)"),
    (lambda: mean_squared_error(Y, X), "`outputs` must have a float dtype; got int32"),
    (lambda: mean_squared_error(X, Y), "`targets` must have a float dtype; got int32"),
    (lambda: mean_squared_error(X, X[0]), "`targets` must have the shape of `outputs`, (4, 3, 5); got (3, 5)"),
    (lambda: mean_squared_error(X, X, M.T), "`mask` must have the leading axes of `outputs`, (4, 3, 5); got (3, 4)"),
    (lambda: mean_squared_error(X, X, X), "`mask` must have dtype bool; got float32"),
    (lambda: perplexity(jnp.int32(1)), "`loss` must have a float dtype; got int32"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_errors(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(message)
