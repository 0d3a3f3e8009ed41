"""Strings of regular languages, words of groups and sentences, read back by judges in plain Python."""

import itertools
from collections import Counter
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.tasks.agreement import Agreement
from lstm_jax.tasks.formal import CycleNavigation, ModularArithmetic, Parity
from lstm_jax.tasks.word_problem import WordProblem
from tests.tasks.test_definitions import assert_even, sequences, symbols

KEY = jax.random.key(13)
JUDGES = {
    Parity: lambda text: text.count("1") % 2,
    CycleNavigation: lambda text: (text.count("+") - text.count("-")) % 5,
    ModularArithmetic: lambda text: eval(text) % 5,
}


@pytest.mark.parametrize(
    "task",
    [
        Parity(12),
        Parity(9, shortest=9),
        CycleNavigation(12, shortest=3),
        ModularArithmetic(13),
        ModularArithmetic(8, 4),
    ],
    ids=repr,
)
def test_regular_languages(task):
    lengths, drawn = [], {0: [], 1: []}  # the symbols at even and at odd places
    for inputs, answer in sequences(task):
        text = "".join(task.alphabet[i] for i in symbols(inputs))
        assert answer == JUDGES[type(task)](text), text
        lengths.append(len(text))
        for t, symbol in enumerate(text):
            drawn[t % 2].append(symbol)
    if isinstance(task, ModularArithmetic):
        counts = Counter(lengths)
        odd = Counter(n - 1 + n % 2 for n in range(task.shortest, task.length + 1))
        assert set(counts) == set(odd) and max(odd) == task.time
        for n, share in odd.items():
            expected = len(lengths) * share / odd.total()
            assert abs(counts[n] - expected) < 5 * expected**0.5
        assert_even(drawn[0], "01234")
        assert_even(drawn[1], "+-*")
    else:
        assert_even(lengths, range(task.shortest, task.length + 1))
        assert_even(drawn[0] + drawn[1], task.alphabet)


def texts(task, length):
    """All strings that a task may draw of a length, all of which are equally likely."""
    if not isinstance(task, ModularArithmetic):
        return map("".join, itertools.product(task.alphabet, repeat=length))
    numbers = (length + 1) // 2
    return map("".join, itertools.product(*(["01234", "+-*"] * numbers)[: 2 * numbers - 1]))


@pytest.mark.parametrize("kind", [Parity, CycleNavigation, ModularArithmetic])
@pytest.mark.parametrize(("shortest", "length"), [(1, 1), (1, 6), (5, 7), (2, 4)])
def test_chance_is_that_of_the_best_fixed_answer_to_all_strings(kind, shortest, length):
    task = kind(length, shortest)
    share = Counter()
    for n in range(shortest, length + 1):
        answers = Counter(map(JUDGES[kind], texts(task, n)))
        for answer, count in answers.items():
            share[answer] += Fraction(count, answers.total() * (length + 1 - shortest))
    assert task.chance == pytest.approx(float(1 - max(share.values())), abs=1e-12)


def composed(first, then):
    return tuple(then[point] for point in first)


def even(permutation):
    return sum(a > b for a, b in itertools.combinations(permutation, 2)) % 2 == 0


A4 = list(filter(even, itertools.permutations(range(4))))
ELEMENTS = {
    "S3": list(itertools.permutations(range(3))),
    "S5": list(itertools.permutations(range(5))),
    "A5": list(filter(even, itertools.permutations(range(5)))),
    "A4xZ5": list(itertools.product(A4, range(5))),
    "Z60": list(range(60)),
}
PRODUCTS = {
    "A4xZ5": lambda a, b: (composed(a[0], b[0]), (a[1] + b[1]) % 5),
    "Z60": lambda a, b: (a + b) % 60,
}


def moved(permutation):
    return sum(i != j for i, j in enumerate(permutation))


@pytest.mark.parametrize(("group", "swaps"), [*((group, False) for group in ELEMENTS), ("S5", True), ("S3", True)])
def test_word_problem(group, swaps):
    task, n = WordProblem(12, shortest=4, group=group, swaps=swaps), 400
    elements, product = ELEMENTS[group], PRODUCTS.get(group, composed)
    inputs_are = [element for element in elements if not swaps or moved(element) <= 2]
    assert task.input_size == len(inputs_are) and task.output_size == len(elements)
    assert task.chance == 1 - 1 / len(elements)
    inputs, targets, mask = (np.asarray(x) for x in jax.jit(lambda key: task.sample(key, n))(KEY))
    assert not inputs[~mask].any() and not targets[~mask].any()
    drawn = []
    for i in range(n):
        length = int(mask[:, i].sum())
        assert mask[:length, i].all()
        word = [inputs_are[j] for j in symbols(inputs[:length, i])]
        assert [elements[j] for j in targets[:length, i]] == list(itertools.accumulate(word, product))
        drawn += word
    assert_even(mask.sum(axis=0).tolist(), range(4, 13))
    assert_even(drawn, inputs_are)


NOUNS = dict.fromkeys(["boy", "girl", "dog", "cat", "farmer", "teacher", "doctor", "king"], 0)
NOUNS |= dict.fromkeys([noun + "s" for noun in NOUNS], 1)
VERBS = dict.fromkeys(["see", "like", "chase", "follow", "know", "fear", "help", "trust"], 1)
VERBS |= dict.fromkeys([verb + "s" for verb in VERBS], 0)
ADJECTIVES = ["small", "tall", "old", "young", "happy", "quiet", "clever", "brave"]
ADVERBS = ["often", "today", "now", "again", "here", "there", "daily", "sometimes"]


class Sentence:
    """A parser by recursive descent: the numbers (1 for plural) of the subject and of the nouns behind it."""

    def __init__(self, text):
        self.words = text.split()
        self.deepest = 0
        assert self.take() == "the"
        self.subject = NOUNS[self.take()]
        self.between = []
        self.clauses(1)
        assert not self.words

    def take(self):
        return self.words.pop(0)

    def comes(self, words):
        return bool(self.words) and self.words[0] in words

    def clauses(self, depth):
        self.deepest = max(depth, self.deepest)
        while True:
            assert self.take() == "whom" and self.take() == "the"
            while self.comes(ADJECTIVES):
                self.take()
            number = NOUNS[self.take()]
            self.between.append(number)
            if self.comes(["whom"]):
                self.clauses(depth + 1)
            assert VERBS[self.take()] == number
            if self.comes(ADVERBS):
                self.take()
            if not self.comes(["and"]):
                return
            self.take()


@pytest.mark.parametrize(
    "task",
    [Agreement(), Agreement(30, 30), Agreement(20, 13, attractors=3), Agreement(9, 9, attractors=0)],
    ids=repr,
)
def test_agreement(task):
    distances, subjects, between, last = [], [], [], []
    for inputs, answer in sequences(task, 1000):
        text = task.sentence(inputs)
        assert text.split() == [task.vocabulary[i] for i in symbols(inputs)]
        parsed = Sentence(text)
        assert parsed.subject == answer and parsed.deepest <= 2
        attractors = sum(number != answer for number in parsed.between)
        assert task.attractors in (None, attractors)
        distances.append(len(inputs) - 2)
        subjects.append(int(answer))
        between += parsed.between
        last.append((int(answer), parsed.between[-1]))
    assert_even(distances, range(task.shortest, task.length + 1))
    assert_even(subjects, range(2))
    if task.attractors is None:
        assert_even(between, range(2))
        assert_even(last, [(0, 0), (0, 1), (1, 0), (1, 1)])
    assert max(distances) + 2 == task.time


def test_agreement_sentences_of_9_words_between_are_drawn_as_defined():
    """All sentences of one length, each as likely as the choices on its way, among those that come out."""

    def spellings(budget, node, depth):
        """Pairs of a probability and the rest of the kinds of words, from the last kind on; `depth` clauses open."""
        if budget == 0:
            return [(Fraction(1), "")] if depth == 0 and node in "VB" else []
        out = {
            "N": [("V", depth - 1)] * (depth > 0) + [("w", depth)] * (depth < 2),
            "w": [("t", depth)],
            "t": [("a", depth), ("N", depth + 1), ("N", depth + 1)],  # singular and plural
            "a": [("a", depth), ("N", depth + 1), ("N", depth + 1)],
            "V": [("B", depth), ("&", depth)] + [("V", depth - 1)] * (depth > 0),
            "B": [("&", depth)] + [("V", depth - 1)] * (depth > 0),
            "&": [("w", depth)],
        }[node]
        rest = ((kind, spellings(budget - 1, kind, below)) for kind, below in out)
        return [(p / len(out), kind + tail) for kind, tails in rest for p, tail in tails]

    expected = Counter()
    for p, kinds in spellings(9, "N", 0):
        expected[kinds] += p
    total = sum(expected.values())
    kind = {"whom": "w", "the": "t", "and": "&"} | dict.fromkeys(NOUNS, "N") | dict.fromkeys(VERBS, "V")
    kind |= dict.fromkeys(ADJECTIVES, "a") | dict.fromkeys(ADVERBS, "B")
    task, n = Agreement(9, shortest=9), 10_000
    ids = np.asarray(jax.jit(lambda key: task.sentences(key, n))(KEY)[0])
    drawn = Counter("".join(kind[word] for word in task.sentence(ids[2:, i]).split()) for i in range(n))
    assert set(drawn) <= set(expected)
    for kinds, p in expected.items():
        mean = float(n * p / total)
        assert abs(drawn[kinds] - mean) < 5 * mean**0.5 + 1, kinds


def test_agreement_draws_all_words_of_a_kind_evenly():
    task = Agreement(20, shortest=20)
    ids = np.asarray(jax.jit(lambda key: task.sentences(key, 1000))(KEY)[0])
    words = [task.vocabulary[i] for i in ids.ravel()]
    assert len(task.vocabulary) == len(set(task.vocabulary)) == task.input_size == 51
    for kind in (NOUNS, VERBS, ADJECTIVES, ADVERBS):
        assert_even([word for word in words if word in kind], kind)


def fewest_words(nouns):
    """The fewest words that so many nouns take: the first clause with any number of them, "and", the others."""
    if nouns == 0:
        return -1  # no "and" behind the last clause
    return min(4 * n + max(n - 2, 0) + 1 + fewest_words(nouns - n) for n in range(1, nouns + 1))


def test_agreement_takes_as_many_attractors_as_there_is_room_for():
    for length in range(4, 40):
        room = max(nouns for nouns in range(10) if fewest_words(nouns) <= length)
        Agreement(length, shortest=length, attractors=room)
        with pytest.raises(ValueError, match=f"^`attractors` must be None or an integer from 0 to {room}, which"):
            Agreement(length, shortest=length, attractors=room + 1)


ERRORS = [
    (lambda: Parity(0), "`length` must be an integer of at least 1; got 0"),
    (lambda: Parity(5, shortest=0), "`shortest` must be an integer of at least 1; got 0"),
    (lambda: ModularArithmetic(5, shortest=6), "`length` must be an integer of at least 6; got 5"),
    (lambda: WordProblem(5.0), "`length` must be an integer of at least 1; got 5.0"),
    (lambda: WordProblem(group="S4"), "`group` must be one of 'S5', 'A5', 'A4xZ5', 'Z60', 'S3'; got 'S4'"),
    (lambda: WordProblem(swaps=1), "`swaps`: expected True or False, got 1"),
    (lambda: WordProblem(group="A5", swaps=True), "`swaps` must be False but for 'S3', 'S5'; got True and 'A5'"),
    (lambda: Agreement(3), "`length` must be an integer of at least 4; got 3"),
    (lambda: Agreement(9, shortest=3), "`shortest` must be an integer of at least 4; got 3"),
    (lambda: Agreement(attractors=-1), "`attractors` must be None or an integer from 0 to 1, which `shortest` has"),
    (lambda: Agreement(attractors=1.0), "`attractors` must be None or an integer from 0 to 1, which `shortest` has"),
    (lambda: Agreement().sentences(KEY, 0), "`batch_size` must be an integer of at least 1; got 0"),
    (lambda: Parity().correct(jnp.zeros((3, 2)), jnp.zeros(3), jnp.ones(3, bool)), "`labels` must have an integer"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_errors(call, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        call()
