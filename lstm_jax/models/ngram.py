"""n-gram language models: counts over a fixed window of tokens, smoothed; in NumPy, on sorted arrays."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax import checks


@dataclasses.dataclass(frozen=True)
class AddK:
    """Every count is raised by k: `p(w | h) = (c(h w) + k) / (c(h) + k vocabulary_size)`; k = 1 is Laplace's rule.

    After a context that was never seen, every token is equally likely: no shorter context is asked.
    """

    k: float = 1.0

    def __post_init__(self):
        checks.positive("k", self.k)


@dataclasses.dataclass(frozen=True)
class KneserNey:
    """Interpolated Kneser-Ney, one discount D per order:

        p(w | h) = (max(c(h w) - D, 0) + D N(h) p(w | h')) / c(h)

    where h' is h without its first token, c(h) the sum of c(h w) over all w and N(h) the number of w that make
    c(h w) > 0. At the highest order c counts occurrences; below, how many different tokens stand before `h w`. After a
    context whose c(h) is 0, p(w | h) is p(w | h'); below the single token stands the uniform distribution.

    `discount` is None for Ney's estimate, n1 / (n1 + 2 n2) at each order, n1 and n2 the numbers of n-grams that count
    once and twice (where none counts once it would be 0, and what was never seen impossible: 1/2 then); one number for
    every order; or a tuple of them, the single token's first.

    `nltk.lm.KneserNeyInterpolated(order, d)` is `KneserNey((0, d, ..., d))`: its single tokens have bare continuation
    counts. It also differs where an n-gram stands at the beginning of the text only, with no token before it: it counts
    towards N(h) there and not here, so that here all distributions sum to one.

    References:
        Kneser & Ney, "Improved backing-off for m-gram language modeling", ICASSP 1995. Ney, Essen & Kneser, "On
        structuring probabilistic dependences in stochastic language modelling", Computer Speech and Language 8, 1994.
        Chen & Goodman, "An empirical study of smoothing techniques for language modeling", Computer Speech and
        Language 13, 1999: the interpolated form.
    """

    discount: float | tuple[float, ...] | None = None

    def __post_init__(self):
        given = self.discount if isinstance(self.discount, tuple) else (self.discount,)
        for d in given if self.discount is not None else ():
            if isinstance(d, bool) or not isinstance(d, (int, float)) or not 0 <= d <= 1:
                raise checks.fail("discount", "None, or a number in [0, 1] or a tuple of them", repr(self.discount))


class Sparsity(NamedTuple):
    """Of one order: the share of all possible contexts and n-grams that were seen, of a text's n-grams that were not.

    `unseen` is NaN for a text shorter than one n-gram.
    """

    contexts: float
    ngrams: float
    unseen: float


class Level(NamedTuple):
    """The n-grams of one order, sorted: an n-gram's number is its place.

    keys `[entries]` int64: the number that the context has one level below, times vocabulary_size, plus the token;
    counts `[entries]` int32: c of the smoothing; totals, kinds `[entries one level below]` int32: the sum of each
    context's counts, and how many of them are above 0.
    """

    keys: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    kinds: np.ndarray
    discount: float


@dataclasses.dataclass(frozen=True)
class NGram:
    """A model of `order` tokens: each is predicted from the `order - 1` before it.

    At the beginning of a text, and after a shorter context, there is nothing to pad with: the model of that lower order
    predicts.
    """

    order: int
    vocabulary_size: int
    smoothing: AddK | KneserNey = KneserNey()

    def __post_init__(self):
        checks.positive_int("order", self.order)
        checks.positive_int("vocabulary_size", self.vocabulary_size)
        if not isinstance(self.smoothing, (AddK, KneserNey)):
            raise checks.fail("smoothing", "AddK(k) or KneserNey(discount)", repr(self.smoothing))
        if self.vocabulary_size > 2**31:
            raise checks.fail("vocabulary_size", "at most 2^31, so that a context and a token fit 64 bits", "more")
        discount = self.smoothing.discount if isinstance(self.smoothing, KneserNey) else None
        if isinstance(discount, tuple) and len(discount) != self.order:
            raise checks.fail("smoothing", f"one discount for each of the {self.order} orders", repr(self.smoothing))

    def fit(self, tokens: ArrayLike) -> "NGramModel":
        """Counts the n-grams of `tokens [n]`, integers from 0 to vocabulary_size - 1, of all orders up to `order`.

        No token at all makes the uniform model.

        Raises:
            ValueError: `tokens` are not as described, or 2^31 or more.
        """
        tokens = _checked("tokens", tokens, self.vocabulary_size)
        if len(tokens) >= 2**31:
            raise checks.fail("tokens", "fewer than 2^31", str(len(tokens)))
        levels: list[Level] = []
        ids, below = np.zeros(len(tokens) + 1, np.int64), 1  # of the n-gram that starts at each place; the empty one: 0
        for order in range(1, self.order + 1):
            starts = max(len(tokens) - order + 1, 0)
            keys, first, inverse, counts = np.unique(
                ids[:starts] * self.vocabulary_size + tokens[order - 1 :],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            if levels and isinstance(self.smoothing, KneserNey):  # each n-gram is one more token before its suffix
                continued = np.bincount(ids[first + 1], minlength=below)
                levels[-1] = _level(levels[-1].keys, continued, len(levels[-1].totals), self.vocabulary_size)
            levels.append(_level(keys, counts, below, self.vocabulary_size))
            ids, below = inverse, len(keys)
        discounts = [_discount(self.smoothing, i, x.counts) for i, x in enumerate(levels)]
        return NGramModel(self, tuple(x._replace(discount=d) for x, d in zip(levels, discounts, strict=True)))


@dataclasses.dataclass(frozen=True, eq=False)
class NGramModel:
    """Counts with their smoothing; made by `NGram.fit`. Probabilities are float64, logarithms natural."""

    ngram: NGram
    levels: tuple[Level, ...]

    @property
    def contexts(self) -> tuple[int, ...]:
        """How many different contexts each order, 1 first, has seen a token after."""
        return tuple(len(np.unique(level.keys // self.ngram.vocabulary_size)) for level in self.levels)

    @property
    def entries(self) -> tuple[int, ...]:
        """How many different n-grams each order, 1 first, has seen."""
        return tuple(len(level.keys) for level in self.levels)

    @property
    def bytes(self) -> int:
        """The storage of all orders: about 12 bytes an n-gram and 8 a context; the highest order needs those below."""
        return sum(x.nbytes for level in self.levels for x in level[:4])

    def sparsity(self, tokens: ArrayLike) -> tuple[Sparsity, ...]:
        """The sparsity of each order, 1 first, with the share of the n-grams of `tokens [n]` that were never seen.

        Raises:
            ValueError: `tokens` are not integers from 0 to vocabulary_size - 1.
        """
        tokens = _checked("tokens", tokens, self.ngram.vocabulary_size)
        size, contexts, entries, rows = self.ngram.vocabulary_size, self.contexts, self.entries, []
        for i, (_, ids) in enumerate(self._find(tokens)):
            unseen = float(np.mean(ids < 0)) if len(ids) else math.nan
            rows.append(Sparsity(contexts[i] / size**i, entries[i] / size ** (i + 1), unseen))
        return tuple(rows)

    def log_probabilities(self, tokens: ArrayLike) -> np.ndarray:
        """Returns ln p `[n]` of each of `tokens [n]`, given the order - 1 before it; at the beginning those there are.

        Raises:
            ValueError: `tokens` are not integers from 0 to vocabulary_size - 1.
        """
        tokens = _checked("tokens", tokens, self.ngram.vocabulary_size)
        p = np.full(len(tokens), 1 / self.ngram.vocabulary_size)
        for i, (contexts, ids) in enumerate(self._find(tokens)):
            level = self.levels[i]
            # A number of -1, not found, counts 0: behind the last entry stands one more.
            counts, totals, kinds = (
                np.append(x, 0)[n] for x, n in ((level.counts, ids), (level.totals, contexts), (level.kinds, contexts))
            )
            p[i:] = self._mix(level, counts, totals, kinds, p[i:])
        with np.errstate(divide="ignore"):  # a discount of 0 may leave 0
            return np.log(p)

    def distribution(self, context: ArrayLike) -> np.ndarray:
        """Returns p `[vocabulary_size]` of every token after `context [n]`, whose last order - 1 tokens count.

        Raises:
            ValueError: `context` is not of integers from 0 to vocabulary_size - 1.
        """
        context = _checked("context", context, self.ngram.vocabulary_size)
        context = context[max(len(context) - self.ngram.order + 1, 0) :]
        size = self.ngram.vocabulary_size
        p = np.full(size, 1 / size)
        for i, level in enumerate(self.levels[: len(context) + 1]):
            node = 0
            for token, below in zip(context[len(context) - i :], self.levels, strict=False):
                node = int(_search(below.keys, np.array([node * size + token]))[0]) if node >= 0 else -1
            counts, total, kinds = np.zeros(size, np.int64), 0, 0
            if node >= 0:
                children = slice(*np.searchsorted(level.keys, (node * size, (node + 1) * size)))
                counts[level.keys[children] - node * size] = level.counts[children]
                total, kinds = level.totals[node], level.kinds[node]
            p = self._mix(level, counts, np.full(size, total), np.full(size, kinds), p)
        return p

    def generate(self, rng: np.random.Generator, n: int, prefix: ArrayLike = ()) -> np.ndarray:
        """Draws `n` tokens `[n]` int32 that go on after `prefix [m]`, which is not returned.

        Raises:
            ValueError: `n` is not an integer of 0 or more, or `prefix` not as `distribution` wants its context.
        """
        checks.positive_int("n", n, 0)
        context: Sequence[int] = _checked("prefix", prefix, self.ngram.vocabulary_size).tolist()
        out = np.zeros(n, np.int32)
        for i in range(n):
            context = context[max(len(context) - self.ngram.order + 1, 0) :]
            up_to = np.cumsum(self.distribution(context))
            out[i] = np.searchsorted(up_to, rng.random() * up_to[-1], side="right")
            context = [*context, int(out[i])]
        return out

    def _find(self, tokens: np.ndarray):
        """For each order the numbers of the contexts and of the n-grams that start at each place; -1 if never seen."""
        ids = np.zeros(len(tokens) + 1, np.int64)
        for i, level in enumerate(self.levels):
            starts = max(len(tokens) - i, 0)
            contexts = ids[:starts]
            ids = _search(level.keys, contexts * self.ngram.vocabulary_size + tokens[i:])
            yield contexts, ids

    def _mix(
        self, level: Level, counts: np.ndarray, totals: np.ndarray, kinds: np.ndarray, below: np.ndarray
    ) -> np.ndarray:
        """The probabilities of one order from those of the order below, all arrays `[n]`."""
        if isinstance(self.ngram.smoothing, AddK):
            k = self.ngram.smoothing.k
            return (counts + k) / (totals + k * self.ngram.vocabulary_size)
        kept = np.maximum(counts - level.discount, 0)
        return np.where(totals > 0, (kept + level.discount * kinds * below) / np.maximum(totals, 1), below)


def _level(keys: np.ndarray, counts: np.ndarray, contexts: int, vocabulary_size: int) -> Level:
    """A level whose contexts have numbers below `contexts`; its discount is not known yet."""
    context = keys // vocabulary_size
    totals = np.bincount(context, counts, contexts).astype(np.int32)  # summed in float64, exact below 2^53
    kinds = np.bincount(context[counts > 0], minlength=contexts).astype(np.int32)
    return Level(keys, counts.astype(np.int32), totals, kinds, math.nan)


def _discount(smoothing: AddK | KneserNey, level: int, counts: np.ndarray) -> float:
    if isinstance(smoothing, AddK):
        return 0.0
    if isinstance(smoothing.discount, tuple):
        return float(smoothing.discount[level])
    if smoothing.discount is not None:
        return float(smoothing.discount)
    once, twice = (int(np.count_nonzero(counts == n)) for n in (1, 2))
    return once / (once + 2 * twice) if once else 0.5


def _search(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The places of `wanted` in the sorted `keys`; -1 where it is not there, nothing below 0 ever."""
    places = np.searchsorted(keys, wanted)
    found = np.append(keys, -1)[places] == wanted
    return np.where(found & (wanted >= 0), places, -1)


def _checked(name: str, tokens: ArrayLike, vocabulary_size: int) -> np.ndarray:
    """The tokens as int64 `[n]`."""
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or (tokens.size and not np.issubdtype(tokens.dtype, np.integer)):
        raise checks.fail(name, "integers of shape [n]", checks.describe(tokens))
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary_size:
        got = f"{tokens.min()} to {tokens.max()}"
        raise checks.fail(name, f"integers from 0 to {vocabulary_size - 1}", got)
    return tokens.astype(np.int64)
