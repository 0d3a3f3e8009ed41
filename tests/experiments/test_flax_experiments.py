"""The experiments in Flax run from end to end, small, and learn something."""

import jax
import matplotlib
import pytest

from experiments import digits_classifier, source_tagger

matplotlib.use("Agg")

PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def usual_promotion():
    """What a user has: Optax's Adam is not written for the strict one."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_source_tagger(tmp_path):
    settings = source_tagger.Settings(hidden=8, window=32, batch=8, steps=200, files=30, directory=tmp_path)
    share, count = source_tagger.run(settings)
    assert 0.4 < count < share < 1
    assert (tmp_path / "tags.png").read_bytes().startswith(PNG)


def test_tags_are_the_tokenizers():
    source = 'if x1:  # why\n    y = """a\nb""" + 0x1F\n'
    tags = source_tagger.tag(source)
    letters = {"space": " ", "name": "n", "keyword": "k", "number": "0", "operator": "o", "string": "s", "comment": "c"}
    drawn = "".join(letters[source_tagger.TAGS[tag]] for tag in tags)
    assert drawn == "kk nno  ccccc     n o sssssssss o 0000 "
    assert (source_tagger.tag("x = 1\n\f\ny = 2\n")[-6:] == source_tagger.tag("y = 2\n")).all(), "a form feed"


def test_digits_classifier(tmp_path):
    settings = digits_classifier.Settings(hidden=16, batch=32, steps=250, directory=tmp_path)
    assert digits_classifier.run(settings) > 0.2, "twice chance"
    assert (tmp_path / "digits.png").read_bytes().startswith(PNG)
