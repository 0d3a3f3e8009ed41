import json
import random
from collections import Counter

import numpy as np
import pytest

from lstm_jax.data import Vocabulary

TEXT = "the cat sat on the mat\nthe end £\n"


def test_bytes_are_their_own_ids():
    vocabulary = Vocabulary.of(TEXT, "byte")
    assert len(vocabulary) == 256 and vocabulary.unknown is None
    assert vocabulary.encode("£\x00a").tolist() == [0xC2, 0xA3, 0, 97]
    assert vocabulary.encode(b"\xff").tolist() == [255]
    assert vocabulary.decode([0xC2, 0xA3, 97, 0xFF]) == "£a\ufffd"
    assert vocabulary.counts == tuple(TEXT.encode().count(i) for i in range(256))
    ids = vocabulary.encode(TEXT)
    assert ids.dtype == np.int32 and vocabulary.decode(ids) == TEXT


def test_the_most_frequent_come_first_and_ties_by_code_point():
    vocabulary = Vocabulary.of("bbacczZ\U0001f600é", "character")
    assert vocabulary.tokens == ("b", "c", "Z", "a", "z", "é", "\U0001f600", "\ufffd")
    assert vocabulary.counts == (2, 2, 1, 1, 1, 1, 1, 0)
    assert vocabulary.unknown == 7
    assert Vocabulary.of(TEXT, "word").tokens == ("the", "<eos>", "cat", "end", "mat", "on", "sat", "£", "<unk>")


@pytest.mark.parametrize("size", [None, 2, 5, 11, 12, 40])
@pytest.mark.parametrize("least", [1, 3])
@pytest.mark.parametrize("unit", ["character", "word"])
def test_counts_against_a_plain_loop(size, least, unit):
    draw = random.Random(3)
    letters = [draw.choice("aabbbcccdefghijk") for _ in range(99)]
    text = ("" if unit == "character" else " ").join(letters)
    vocabulary = Vocabulary.of(text, unit, size=size, least=least)
    counts = Counter(letters)
    ranked = sorted((c for c in counts if counts[c] >= least), key=lambda c: (-counts[c], ord(c)))
    while size is not None and len(ranked) > size - 1:
        ranked.pop()
    assert vocabulary.tokens[:-1] == tuple(ranked)
    assert vocabulary.counts == (*(counts[c] for c in ranked), sum(counts[c] for c in counts if c not in ranked))
    assert vocabulary.encode(text).tolist() == [ranked.index(c) if c in ranked else len(ranked) for c in letters]
    assert vocabulary.encode(letters).tolist() == vocabulary.encode(text).tolist()


def test_unseen_tokens_are_unknown():
    characters, words = Vocabulary.of("aab", "character"), Vocabulary.of("a a b", "word")
    assert characters.encode("abc\U0010ffff").tolist() == words.encode("a  b\tc d").tolist() == [0, 1, 2, 2]
    assert characters.decode([0, 2]) == "a\ufffd" and words.decode([0, 2]) == "a <unk>"
    assert characters.encode("").shape == (0,) and characters.encode("").dtype == np.int32


def test_penn_treebank_has_its_own_unknown_and_ends():
    text = " no it <unk> monday \n <unk> no N <unk> \n"
    vocabulary = Vocabulary.of(text, "word")
    assert vocabulary.tokens == ("<unk>", "<eos>", "no", "N", "it", "monday") and vocabulary.unknown == 0
    assert vocabulary.counts == (3, 2, 2, 1, 1, 1)
    words = text.replace("\n", "<eos>").split()
    assert [vocabulary.tokens[i] for i in vocabulary.encode(text)] == words
    assert vocabulary.encode(text).tolist() == vocabulary.encode(words).tolist()
    assert vocabulary.decode(vocabulary.encode(text)) == "no it <unk> monday\n<unk> no N <unk>\n"
    small = Vocabulary.of(text, "word", size=3)
    assert small.tokens == ("<unk>", "<eos>", "no") and small.counts == (6, 2, 2)
    assert Vocabulary.of("a a a <unk> b b", "word", size=2).tokens == ("<unk>", "a")  # 3 each: by code point
    assert Vocabulary.of("a a a <unk> b", "word", size=2).tokens == ("a", "<unk>")


def test_words_come_back_line_by_line():
    text = "a b\n\nc\n d  e"
    vocabulary = Vocabulary.of(text, "word")
    assert vocabulary.decode(vocabulary.encode(text)) == "a b\n\nc\nd e"


def test_one_character_is_a_vocabulary():
    vocabulary = Vocabulary.of("aaaa", "character")
    assert vocabulary.tokens == ("a", "\ufffd") and vocabulary.counts == (4, 0)
    assert vocabulary.decode(vocabulary.encode("aa")) == "aa"


def test_equal_by_content_and_hashable():
    first, second = Vocabulary.of("abc"), Vocabulary.of("cba")
    first.encode("a")
    assert first == second and hash(first) == hash(second) and first is not second
    assert first != Vocabulary.of("abcc") and first != Vocabulary.of("a b c", "word")


@pytest.mark.parametrize("unit", ["byte", "character", "word"])
def test_saved_and_loaded(unit, tmp_path):
    vocabulary = (
        Vocabulary.of(TEXT + "\ud800 '\"\\" * (unit != "byte"), unit) if unit != "byte" else Vocabulary.of(TEXT, unit)
    )
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == vocabulary
    assert [path.name for path in tmp_path.iterdir()] == ["vocabulary.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"unit": "word"}', '{"unit": "word", "tokens": ["a"], "counts": [1]}'])
def test_loading_something_else(content, tmp_path):
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=rf"^`file`: {file} is no vocabulary \((ValueError|JSON|TypeError|KeyError)"):
        Vocabulary.load(file)
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "none.json")


def test_json_is_plain(tmp_path):
    Vocabulary.of("é", "character").save(tmp_path / "v")
    assert json.loads((tmp_path / "v").read_text("utf-8")) == {
        "unit": "character",
        "tokens": ["é", "\ufffd"],
        "counts": [1, 0],
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Vocabulary.of(""), "`text`: expected at least one token, got none"),
        (lambda: Vocabulary.of("  ", "word"), "`text`: expected at least one token, got none"),
        (lambda: Vocabulary.of("a", "letter"), "`unit`: expected one of 'byte', 'character', 'word', got 'letter'"),
        (
            lambda: Vocabulary.of("a", "byte", size=9),
            "`unit`: expected characters or words with `size` or `least`, got 'byte'",
        ),
        (lambda: Vocabulary.of("a", size=1), "`size`: expected an integer >= 2, got 1"),
        (lambda: Vocabulary.of("a", least=0), "`least`: expected an integer >= 1, got 0"),
        (lambda: Vocabulary.of(b"a"), "`text`: expected a string for the unit character, got bytes"),
        (lambda: Vocabulary.of(["a"], "byte"), "`text`: expected a string or bytes, got list"),
        (lambda: Vocabulary.of("abc").decode([0, 4]), "`ids`: expected from 0 to 3, got 0 to 4"),
        (lambda: Vocabulary.of("abc").decode([-1]), "`ids`: expected from 0 to 3, got -1 to -1"),
        (lambda: Vocabulary.of("abc").decode([0.5]), "`ids`: expected integers of shape [n], got float64[1]"),
        (
            lambda: Vocabulary("word", ("<unk>", "a", "a"), (1, 1, 1)),
            "`tokens`: expected distinct tokens with a count each, got 3, 3",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
