import hashlib
import importlib.util
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.data import digits

needs_sklearn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed")

# Of every part's pixels (as bytes, image after image) and labels (as bytes).
SHA256 = {
    False: "46f5dd44ab5fa5cb9601ba1e55e4e31a340e2d2e6ef265449d19ad38db001470",
    True: "936e081099003478cbaa00338568e947d4249e3a22ea08c369a7e0956ea35d51",
}


def sha256(data):
    digest = hashlib.sha256()
    for inputs, labels in data:
        digest.update((np.asarray(inputs)[..., 0].T * 16).astype(np.uint8).tobytes())
        digest.update(np.asarray(labels).astype(np.uint8).tobytes())
    return digest.hexdigest()


@needs_sklearn
@pytest.mark.parametrize("permuted", [False, True])
def test_the_split_and_the_order_never_change(permuted):
    assert sha256(digits(permuted)) == SHA256[permuted]


@needs_sklearn
def test_parts_are_stratified_and_share_nothing():
    data = digits()
    for (inputs, labels), n in zip(data, (1257, 180, 360), strict=True):
        assert inputs.shape == (64, n, 1) and inputs.dtype == jnp.float32
        assert labels.shape == (n,) and labels.dtype == jnp.int32
        assert inputs.min() == 0 and inputs.max() == 1
    assert np.bincount(data.validation.labels).tolist() == [18] * 10
    assert np.bincount(data.test.labels).tolist() == [36] * 10
    images = np.concatenate([np.asarray(part.inputs)[..., 0].T for part in data])
    assert len(np.unique(images, axis=0)) == len(images) == 1797


@needs_sklearn
def test_pixels_come_row_by_row():
    from sklearn.datasets import load_digits

    image = load_digits().images[0]
    train = np.asarray(digits().train.inputs)
    sequence = [image[row][column] / 16 for row in range(8) for column in range(8)]
    assert any(np.array_equal(train[:, n, 0], sequence) for n in range(train.shape[1]))


@needs_sklearn
def test_permuted_reads_every_image_in_the_same_order():
    plain, permuted = digits().train, digits(permuted=True).train
    assert np.array_equal(plain.labels, permuted.labels)
    plain, permuted = (np.asarray(part.inputs)[..., 0] for part in (plain, permuted))
    assert not np.array_equal(plain, permuted)
    assert sorted(map(bytes, plain)) == sorted(map(bytes, permuted))  # rows are steps: whole steps moved


def test_missing_sklearn_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"^`digits` needs scikit-learn: pip install 'lstm_jax\[data\]'$"):
        digits()
