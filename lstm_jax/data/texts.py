"""What the sources of text give: three parts of one kind."""

import hashlib
from typing import NamedTuple

import numpy as np


class Text(NamedTuple):
    """Running text in three parts, none empty."""

    train: str
    validation: str
    test: str

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content: of the SHA-256 of the three parts' SHA-256, UTF-8 encoded."""
        parts = b"".join(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest() for part in self)
        return hashlib.sha256(parts).hexdigest()[:16]


class LabelledTexts(NamedTuple):
    """Texts with a label each."""

    texts: list[str]
    labels: np.ndarray  # [n] int32


class Labelled(NamedTuple):
    """Labelled texts in three parts, none empty."""

    train: LabelledTexts
    validation: LabelledTexts
    test: LabelledTexts
    names: tuple[str, ...]  # of the labels


class TaggedSentences(NamedTuple):
    """Sentences with a tag for each token."""

    tokens: list[list[str]]
    tags: list[np.ndarray]  # [time] int32 each


class Tagged(NamedTuple):
    """Tagged sentences in three parts, none empty."""

    train: TaggedSentences
    validation: TaggedSentences
    test: TaggedSentences
    names: tuple[str, ...]  # of the tags


class PairedTexts(NamedTuple):
    """Sources and their targets."""

    sources: list[str]
    targets: list[str]


class Pairs(NamedTuple):
    """Pairs of texts in three parts, none empty."""

    train: PairedTexts
    validation: PairedTexts
    test: PairedTexts
