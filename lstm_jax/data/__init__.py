"""Real sequences, and the order in which training reads them."""

from lstm_jax.data.batching import batch_indices
from lstm_jax.data.digits import Digits, Examples, digits
from lstm_jax.data.mnist import mnist

__all__ = ["Digits", "Examples", "batch_indices", "digits", "mnist"]
