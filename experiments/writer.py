"""What a trained language model is asked: how likely a text is, how it goes on, and which word was meant.

Not an experiment itself; `language_model` is.
"""

import re
import string
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data import Vocabulary
from lstm_jax.models import beam_search, log_probability, sample

WORD = re.compile(r"[A-Za-z]+")


class Writer(NamedTuple):
    """A language model with its vocabulary and the words of its training text; texts begin as if on a new line."""

    model: Any
    params: Any
    vocabulary: Vocabulary
    words: Collection[str] = frozenset()

    def score(self, text: str) -> tuple[float, list[tuple[str, float]]]:
        """The log-probability of a text in nats, and that of each word with the blanks before it."""
        tokens = self.vocabulary.encode(text)
        if not len(tokens):
            raise ValueError("`score` must be a text of at least one token; got none")
        each = self._log_probabilities([tokens])[0]
        if self.vocabulary.unit == "word":
            pieces = [(self.vocabulary.decode([token]), 1) for token in tokens]
        else:
            spans = re.findall(r"\s*\S+|\s+$", text)
            pieces = [(span.strip() or "(blanks)", len(self.vocabulary.encode(span))) for span in spans]
        ends = np.cumsum([0, *(length for _, length in pieces)])
        words = [(word, float(each[a:b].sum())) for (word, _), a, b in zip(pieces, ends, ends[1:], strict=False)]
        return float(each.sum()), words

    def complete(self, prefix: str, length: int, *, width: int | None = None, seed: int = 0, **how: Any) -> str:
        """What comes next: `length` tokens, drawn with `temperature`, `top_k` and `top_p`, or by a beam of `width`."""
        begin, tokens = self._begin(), self.vocabulary.encode(prefix)
        given = jnp.asarray(tokens if begin is None else [begin, *tokens], jnp.int32)[:, None]
        if not len(given):
            raise ValueError("`complete` must be a text of at least one token; got none")
        carry = self.model.initial_carry(self.params, (1,))
        if len(given) > 1:
            carry, _ = self.model(self.params, given[:-1], carry)

        def step(carry: Any, token: Any) -> Any:
            return self.model.step(self.params, carry, token)

        if width is not None:
            found = np.asarray(beam_search(step, carry, given[-1], width, length).tokens)[0, 0]
        else:
            found = np.asarray(sample(step, carry, given[-1], jax.random.key(seed), length, **how))[:, 0]
        between = " " if self.vocabulary.unit == "word" else ""
        return between + self.vocabulary.decode(found)

    def rank(self, before: str, candidates: Collection[str], after: str = "") -> list[tuple[str, float]]:
        """Candidates for the place between two texts, by the log-probability of the whole, the likeliest first."""
        candidates = sorted(candidates)
        texts = [self.vocabulary.encode(before + candidate + after) for candidate in candidates]
        totals = [float(each.sum()) for each in self._log_probabilities(texts)]
        return sorted(zip(candidates, totals, strict=True), key=lambda pair: -pair[1])

    def correct(self, text: str) -> str:
        """The text with every word that the training text has none of replaced by the likeliest one edit away."""
        place = 0
        while (found := WORD.search(text, place)) is not None:
            word, place = found[0], found.end()
            if word in self.words or word.lower() in self.words:
                continue
            near = edits(word) & set(self.words)
            if near:
                best = self.rank(text[: found.start()], near, text[found.end() :])[0][0]
                text = text[: found.start()] + best + text[found.end() :]
                place = found.start() + len(best)
        return text

    def _begin(self) -> int | None:
        """The id of what ends a line; None where there is none."""
        if self.vocabulary.unit == "byte":
            return ord("\n")
        ids = self.vocabulary.encode("\n")
        return None if int(ids[0]) == self.vocabulary.unknown else int(ids[0])

    def _log_probabilities(self, texts: list[np.ndarray]) -> list[np.ndarray]:
        """Of every token of every text, float64; texts are padded to few lengths, so that few programs are compiled."""
        lengths = [len(tokens) for tokens in texts]
        time, batch = -(-max(lengths) // 64) * 64, -(-len(texts) // 16) * 16
        padded = np.zeros((time, batch), np.int32)
        for column, tokens in enumerate(texts):
            padded[: len(tokens), column] = tokens
        counts = jnp.asarray([*lengths, *[0] * (batch - len(texts))], jnp.int32)
        each = log_probability(self.model, self.params, jnp.asarray(padded), begin=self._begin(), lengths=counts)
        return [np.asarray(each[:length, column], np.float64) for column, length in enumerate(lengths)]


def edits(word: str) -> set[str]:
    """Words one edit away: a letter left out, two swapped, one replaced, or one put in."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    letters = string.ascii_lowercase
    found = {a + b[1:] for a, b in cuts if b}
    found |= {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    found |= {a + c + b[1:] for a, b in cuts if b for c in letters}
    found |= {a + c + b for a, b in cuts for c in letters}
    return found - {word, ""}
