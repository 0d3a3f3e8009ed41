"""Handwritten digits, read pixel by pixel."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

# RandomState, for its streams are frozen for good; those of numpy's Generator may change with a release.
_SPLIT_SEED = 0
_ORDER_SEED = 1
_PER_CLASS = {"test": 36, "validation": 18}


class Examples(NamedTuple):
    """Time-major sequences, one label each."""

    inputs: Array  # [time, n, 1] float32 in [0, 1]
    labels: Array  # [n] int32, 0 to 9


class Digits(NamedTuple):
    """The three parts of the data set, with no example in common."""

    train: Examples
    validation: Examples
    test: Examples


def digits(permuted: bool = False) -> Digits:
    """The 1,797 handwritten digits of scikit-learn, 8 by 8 grey pixels read row by row: 64 steps of one number.

    The split is fixed: of each digit 36 examples for testing and 18 for validation, drawn once for all, and the rest
    (1,257 in all) for training. The parts may share writers. Chance is 9/10 misclassified; the horizon for
    chrono initialisation is 64.

    Args:
        permuted: read the pixels in one fixed order drawn at random, the same for every image, which breaks up what
            lies close together.

    Returns:
        Digits of Examples: inputs `[64, n, 1]` float32 in [0, 1], labels `[n]` int32; n is 1257, 180 and 360.

    Raises:
        ImportError: scikit-learn is not installed.

    References:
        Alpaydin & Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.
        Le, Jaitly & Hinton, "A simple way to initialize recurrent networks of rectified linear units", 2015: images
        read pixel by pixel, plain and permuted.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("`digits` needs scikit-learn: pip install 'lstm_jax[data]'") from error
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    if permuted:
        pixels = pixels[:, np.random.RandomState(_ORDER_SEED).permutation(pixels.shape[1])]

    def examples(indices: np.ndarray) -> Examples:
        inputs = jnp.asarray(pixels[indices].T[..., None] / 16, jnp.float32)
        return Examples(inputs, jnp.asarray(labels[indices], jnp.int32))

    return Digits(*(examples(part) for part in _split(labels)))


def _split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices for training, validation and testing, in rising order."""
    random = np.random.RandomState(_SPLIT_SEED)
    parts = []
    for label in range(10):
        shuffled = random.permutation(np.flatnonzero(labels == label))
        parts.append(np.split(shuffled, np.cumsum([_PER_CLASS["test"], _PER_CLASS["validation"]])))
    test, validation, train = (np.sort(np.concatenate(part)) for part in zip(*parts, strict=True))
    return train, validation, test
