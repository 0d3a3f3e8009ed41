"""Real sequences, and the order in which training reads them."""

from lstm_jax.data.batching import batch_indices
from lstm_jax.data.bucketing import BucketBatch, Bucketed, Padded
from lstm_jax.data.corpora import CORPORA, corpus
from lstm_jax.data.digits import Digits, Examples, digits
from lstm_jax.data.mnist import mnist
from lstm_jax.data.prefetch import prefetched
from lstm_jax.data.sources import labelled, pairs, tagged, text
from lstm_jax.data.streams import StreamBatch, Streams, every_token
from lstm_jax.data.texts import Labelled, LabelledTexts, PairedTexts, Pairs, Tagged, TaggedSentences, Text
from lstm_jax.data.vocabulary import Vocabulary

__all__ = [
    "CORPORA",
    "BucketBatch",
    "Bucketed",
    "Digits",
    "Examples",
    "Labelled",
    "LabelledTexts",
    "Padded",
    "PairedTexts",
    "Pairs",
    "StreamBatch",
    "Streams",
    "Tagged",
    "TaggedSentences",
    "Text",
    "Vocabulary",
    "batch_indices",
    "corpus",
    "digits",
    "every_token",
    "labelled",
    "mnist",
    "pairs",
    "prefetched",
    "tagged",
    "text",
]
