"""Subject-verb agreement across relative clauses: English-like sentences, word by word."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from lstm_jax.tasks.base import AnswerAtEnd, StepwiseClassification, at_least

# Classes of words. The first four come in pairs of numbers, so that the plural of class k is k ^ 1.
NOUN, NOUNS, VERB, VERBS, THE, WHOM, AND, ADJECTIVE, ADVERB = range(9)
WORDS = {
    NOUN: ("boy", "girl", "dog", "cat", "farmer", "teacher", "doctor", "king"),
    NOUNS: ("boys", "girls", "dogs", "cats", "farmers", "teachers", "doctors", "kings"),
    VERB: ("sees", "likes", "chases", "follows", "knows", "fears", "helps", "trusts"),
    VERBS: ("see", "like", "chase", "follow", "know", "fear", "help", "trust"),
    THE: ("the",),
    WHOM: ("whom",),
    AND: ("and",),
    ADJECTIVE: ("small", "tall", "old", "young", "happy", "quiet", "clever", "brave"),
    ADVERB: ("often", "today", "now", "again", "here", "there", "daily", "sometimes"),
}
SIZES = np.array([len(words) for words in WORDS.values()], np.int32)
STARTS = np.cumsum(SIZES, dtype=np.int32) - SIZES  # the id of each class's first word
DEPTH = 2  # clauses within clauses, at most

Node = tuple[int, tuple[int, ...]]


def _arcs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The automaton of what stands between a subject and its verb, written for a singular subject.

    A node is the kind of the last word, and the numbers (0 for the subject's, 1 for the other) of the nouns whose verbs
    are still to come, but for the subject itself. It begins behind the subject and may stop where a clause of the
    subject's is complete.

    Returns:
        The classes and the ends of the arcs out of each node, `[nodes, 3]`, the class being -1 where there is no arc;
        and the nodes where it may stop, `[nodes]` bool. It begins at node 0.
    """
    arcs: dict[Node, Sequence[tuple[int, Node]]] = {(NOUN, ()): [(WHOM, (WHOM, ()))]}
    for outer in itertools.chain.from_iterable(itertools.product((0, 1), repeat=n) for n in range(DEPTH)):
        close = [(VERB ^ outer[-1], (VERB, outer[:-1]))] if outer else []
        further = [(AND, (AND, outer)), *close]
        nouns = [(NOUN ^ other, (NOUN, (*outer, other))) for other in (0, 1)]
        arcs[WHOM, outer] = [(THE, (THE, outer))]
        arcs[AND, outer] = [(WHOM, (WHOM, outer))]
        arcs[THE, outer] = [(ADJECTIVE, (THE, outer)), *nouns]
        arcs[VERB, outer] = [(ADVERB, (ADVERB, outer)), *further]
        arcs[ADVERB, outer] = further
        for other in (0, 1):
            clause = (*outer, other)
            nested = [(WHOM, (WHOM, clause))] if len(clause) < DEPTH else []
            arcs[NOUN, clause] = [(VERB ^ other, (VERB, outer)), *nested]
    nodes = list(arcs)
    kinds, ends = np.full((len(nodes), 3), -1, np.int32), np.zeros((len(nodes), 3), np.int32)
    for i, out in enumerate(arcs.values()):
        kinds[i, : len(out)] = [kind for kind, _ in out]
        ends[i, : len(out)] = [nodes.index(node) for _, node in out]
    return kinds, ends, np.array([node in ((VERB, ()), (ADVERB, ())) for node in nodes])


KINDS, ENDS, STOPS = _arcs()


@dataclass(frozen=True)
class Agreement(StepwiseClassification, AnswerAtEnd):
    """Say whether the verb that must come next is singular (class 0) or plural (class 1).

    A sequence is a sentence up to its main verb, such as

        the dogs whom the small girl whom the boys like follows today and whom the king fears

    where a plural verb must follow, `length` words after "dogs"; a shorter one has at least `shortest` words between
    subject and verb. These words are relative clauses, whose verbs agree with nouns of their own; a noun may have
    adjectives and a clause of its own, a verb an adverb, and further clauses follow upon "and". No clause lies deeper
    than two, and none has the subject as its own subject, so that nothing between tells the subject's number. All
    words out of a class are drawn evenly, as is the subject's number; so is the next word's class, given that the
    sentence comes out at its length. Inputs are one-hot over `vocabulary`.

    Nouns between subject and verb that have the other number are attractors. With `attractors=None` every noun's
    number is drawn evenly by itself: train so. An exact count, for tests, draws from the same sentences those that
    have so many; it makes the nouns between tell something about the subject.

    Departures from the papers, which take their sentences from text, and from text with words replaced: these are made
    of 51 words without commas, the subject is always the second one, and only relative clauses stand behind it.

    Args:
        length: the most words between subject and verb.
        shortest: the fewest, at least 4; distances are drawn evenly from there to `length`.
        attractors: the number of attractors in every sentence, or None.

    Raises:
        ValueError: `shortest` is not an integer of at least 4, or `length` of at least `shortest`, or `attractors` is
            neither None nor an integer from 0 to the most that `shortest` words have room for.

    References:
        Linzen, Dupoux & Goldberg, "Assessing the ability of LSTMs to learn syntax-sensitive dependencies", TACL 4,
        2016, number prediction.
        Gulordava et al., "Colorless green recurrent networks dream hierarchically", NAACL 2018.
    """

    length: int = 20
    shortest: int = 4
    attractors: int | None = None

    vocabulary: ClassVar[tuple[str, ...]] = tuple(itertools.chain.from_iterable(WORDS.values()))
    input_size = len(vocabulary)

    def __post_init__(self):
        at_least(4, shortest=self.shortest)
        at_least(self.shortest, length=self.length)
        if self.attractors is not None:
            # Two nouns take 8 words, "whom the N whom the N V V", and 9 behind "and"; the odd one takes 4, or 5.
            room = 2 * ((self.shortest + 1) // 9) + ((self.shortest + 1) % 9 >= 5)
            if not isinstance(self.attractors, int) or not 0 <= self.attractors <= room:
                raise ValueError(
                    f"`attractors` must be None or an integer from 0 to {room}, which `shortest` has room for;"
                    f" got {self.attractors!r}"
                )

    @property
    def time(self) -> int:
        """The steps of a batch: the subject's two words, and the most between it and the verb."""
        return self.length + 2

    @property
    def output_size(self) -> int:
        """The number of classes."""
        return 2

    def sentence(self, words: ArrayLike) -> str:
        """Spells out one sequence: one-hot rows `[time, input_size]`, zero past the end, or ids `[time]`."""
        ids = np.asarray(words)
        if ids.ndim == 2:
            ids = np.argmax(ids[np.any(ids != 0, axis=-1)], axis=-1)
        return " ".join(self.vocabulary[i] for i in ids)

    def draw(self, key: Array, batch_size: int, dtype: DTypeLike) -> tuple[Array, Array, Array]:
        """Draws one-hot inputs `[time, batch, input_size]`, classes `[batch]` and lengths `[batch]`."""
        ids, plural, lengths = self.sentences(key, batch_size)
        return jax.nn.one_hot(ids, self.input_size, dtype=dtype), plural, lengths

    def sentences(self, key: Array, batch_size: int) -> tuple[Array, Array, Array]:
        """Draws sentences up to their main verbs.

        Args:
            key: a typed key, `jax.random.key`.
            batch_size: at least 1, static under jit.

        Returns:
            Words as places in `vocabulary`, `[time, batch]` int32, anything past the ends; the numbers of the subjects,
            0 for singular and 1 for plural, `[batch]` int32; and the lengths, `[batch]` int32.

        Raises:
            ValueError: `batch_size` is not an integer of at least 1.
        """
        at_least(1, batch_size=batch_size)
        key_distance, key_number, key_kinds, key_words = jax.random.split(key, 4)
        distances = jax.random.randint(key_distance, (batch_size,), self.shortest, self.length + 1, dtype=jnp.int32)
        plural = jax.random.randint(key_number, (batch_size,), 0, 2, dtype=jnp.int32)
        below = jnp.asarray(self._below, jnp.float32)
        kinds, ends = jnp.asarray(KINDS), jnp.asarray(ENDS)
        counts = jnp.asarray(self._counts)

        def step(at, draw):
            node, left = at  # attractors still to come
            uniform, t = draw
            bounds = below[jnp.maximum(distances - t, 0), left, node]
            arc = jnp.sum(uniform[:, None] >= bounds, axis=-1, dtype=jnp.int32)
            return (ends[node, arc], left - counts[node, arc]), kinds[node, arc]

        uniform = jax.random.uniform(key_kinds, (self.length, batch_size), jnp.float32)
        begin = jnp.zeros(batch_size, jnp.int32), jnp.full(batch_size, self.attractors or 0, jnp.int32)
        _, between = jax.lax.scan(step, begin, (uniform, jnp.arange(self.length, dtype=jnp.int32)))
        subject = jnp.broadcast_to(jnp.array([[THE], [NOUN]], jnp.int32), (2, batch_size))
        classes = jnp.concatenate([subject, between])
        classes = jnp.where(classes < THE, classes ^ plural, classes)
        words = jax.random.randint(key_words, classes.shape, 0, jnp.asarray(SIZES)[classes], dtype=jnp.int32)
        return jnp.asarray(STARTS)[classes] + words, plural, distances + 2

    @property
    def _counts(self) -> np.ndarray:
        """How many of the attractors that must be counted an arc brings, `[nodes, 3]` int32."""
        return ((KINDS == NOUNS) & (self.attractors is not None)).astype(np.int32)

    @property
    def _below(self) -> np.ndarray:
        """The probabilities of all arcs up to each but the last, `[words + 1, attractors + 1, nodes, 2]`.

        They are those of an even choice, given that the sentence can stop after just so many more words and
        attractors.
        """
        even = (KINDS >= 0) / np.sum(KINDS >= 0, axis=1, keepdims=True)
        left = np.arange((self.attractors or 0) + 1)[:, None, None] - self._counts
        stops = np.zeros((len(left), len(KINDS)))
        stops[0] = STOPS
        rows, below = stops, [np.ones((*left.shape[:2], 2))]
        for _ in range(self.length):
            ways = np.where(left >= 0, even * rows[left, ENDS], 0)
            rows = ways.sum(axis=-1)
            upto = np.cumsum(ways, axis=-1)
            total = upto[..., -1:]
            below.append(np.divide(upto, total, out=np.ones_like(upto), where=total > 0)[..., :-1])
            rows = rows / rows.max()  # only their ratios count
        return np.stack(below)
