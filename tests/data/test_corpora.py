import hashlib
import json
import os
import sys
import time

import numpy as np
import pytest

from lstm_jax.data import CORPORA, corpus
from lstm_jax.data import digits as scikit_digits
from lstm_jax.data.split import hold_out, split_lines, split_whole

TEXTS = ("python_reference", "python_source")


@pytest.fixture(scope="module")
def tfds():
    """TFDS; TensorFlow is not installed with it, so what passes here does without."""
    pytest.importorskip("sklearn")
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def folder(tfds, tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def builders(folder):
    return {name: corpus(name, folder) for name in CORPORA}


def documents(builder):
    """Name -> text of every part."""
    sources = builder.as_data_source(["train", "validation", "test"])
    parts = [source.__getitems__(range(len(source))) for source in sources]
    return [{record["name"].decode(): record["text"].decode() for record in part} for part in parts]


@pytest.mark.parametrize("name", TEXTS)
def test_documents_are_whole_in_one_part_in_about_their_shares(builders, name):
    parts = documents(builders[name])
    names = [name for part in parts for name in part]
    assert len(names) == len(set(names)) == sum(map(len, parts))
    sizes = [sum(map(len, part.values())) for part in parts]
    assert np.allclose(np.array(sizes) / sum(sizes), (0.9, 0.05, 0.05), atol=0.005)
    assert [list(part) for part in parts] == [sorted(part) for part in parts]


def test_the_reference_is_that_of_help_without_what_stands_in_it_twice(builders):
    from pydoc_data.topics import topics

    train, validation, test = documents(builders["python_reference"])
    everything = {**train, **validation, **test}
    for name, text in everything.items():
        lines = iter(topics[name].splitlines())
        assert all(line in lines for line in text.splitlines() if line)  # a subsequence, in order
    paragraphs = [p for text in everything.values() for p in {p.strip() for p in text.split("\n\n")}]
    assert len(paragraphs) == len(set(paragraphs))
    # Nothing is lost: what is left out as a copy stands elsewhere, but for rests of topics of which most is left out.
    all_of_it = {p.strip() for text in topics.values() for p in text.split("\n\n")}
    assert sum(map(len, all_of_it - set(paragraphs))) < 0.03 * sum(map(len, all_of_it))
    assert sum(map(len, everything.values())) > 300_000


def test_the_source_is_that_of_the_standard_library(builders):
    import textwrap
    from pathlib import Path

    everything = {name: text for part in documents(builders["python_source"]) for name, text in part.items()}
    assert everything["textwrap.py"] == Path(textwrap.__file__).read_text("utf-8")
    assert {name.removesuffix(".py") for name in everything} <= sys.stdlib_module_names
    assert sum(map(len, everything.values())) > 3_000_000


def test_the_digits_are_split_as_everywhere(builders):
    for part, (inputs, labels) in scikit_digits()._asdict().items():
        source = builders["scikit_digits"].as_data_source(part)
        records = source.__getitems__(range(len(source)))
        images = np.stack([record["image"] for record in records])
        assert images.shape[1:] == (8, 8) and images.dtype == np.uint8
        assert np.array_equal(images.reshape(len(records), 64).T, np.asarray(inputs)[..., 0] * 16)
        assert [record["label"] for record in records] == labels.tolist()


def test_version_and_hash_of_the_content_are_on_disk(builders):
    sources = {part: builders["python_reference"].as_data_source(part) for part in ("train", "validation", "test")}
    records = {part: [{key: r[key].decode() for key in ("name", "text")} for r in s] for part, s in sources.items()}
    expected = hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
    stored = json.loads((builders["python_reference"].data_path / "metadata.json").read_text())
    python = ".".join(map(str, sys.version_info[:3]))
    assert stored == {"python": python, "sha256": expected} == dict(builders["python_reference"].info.metadata)
    assert builders["python_reference"].data_path.parts[-3:] == ("python_reference", python, "1.0.0")


def test_tfds_reads_them_by_name(tfds, builders, folder):
    for name in CORPORA:
        expected = len(builders[name].as_data_source("test"))
        assert len(tfds.data_source(name, split="test", data_dir=folder, download=False)) == expected


def test_tfds_writes_them_by_name(tfds, builders, tmp_path):
    source = tfds.data_source("python_reference", split="test", data_dir=tmp_path)
    assert source[0]["text"] == builders["python_reference"].as_data_source("test")[0]["text"]


def test_what_is_on_disk_is_not_written_again(builders, folder, monkeypatch):
    def refuse(self):
        raise AssertionError

    monkeypatch.setattr(type(builders["python_reference"]), "records", refuse)
    assert corpus("python_reference", folder).info.splits["train"].num_examples > 10


def test_the_process_that_is_done_first_wins(builders, tmp_path, monkeypatch):
    kind = type(builders["python_reference"])
    make = kind.records

    def beaten(self):
        monkeypatch.setattr(kind, "records", make)
        corpus("python_reference", tmp_path)  # another process's whole work, while this one is at it
        return {part: [{"name": "x", "text": "late"}] for part in ("train", "validation", "test")}

    monkeypatch.setattr(kind, "records", beaten)
    assert documents(corpus("python_reference", tmp_path)) == documents(builders["python_reference"])
    assert not list(tmp_path.rglob("incomplete*"))


def test_a_failure_leaves_nothing_and_old_leftovers_go(builders, tmp_path, monkeypatch):
    kind = type(builders["python_reference"])

    def broken(part, records):
        yield 0, {"name": "x", "text": "y"}
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(kind, "_generate_examples", broken)
        with pytest.raises(RuntimeError, match="power cut"):
            corpus("python_reference", tmp_path)
    assert not [path for path in tmp_path.rglob("*") if "1.0.0" in path.name]
    versions = kind(data_dir=tmp_path).data_path.parent
    old, new = ((versions / f"incomplete.{x}_1.0.0") for x in ("AAAAAA", "BBBBBB"))
    for path in (old, new):
        path.mkdir(parents=True)
    os.utime(old, (time.time() - 3600,) * 2)
    corpus("python_reference", tmp_path)
    assert sorted(path.name for path in versions.iterdir()) == ["1.0.0", "incomplete.BBBBBB_1.0.0"]


def test_unknown_names_and_missing_packages_are_one_clear_line(monkeypatch):
    with pytest.raises(ValueError, match=r"^`name` must be one of python_reference, .*, scikit_digits; got 'ptb'$"):
        corpus("ptb")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"^`python_source` needs TFDS: pip install 'lstm_jax\[tfds\]'$"):
        corpus("python_source")


def test_split_whole_is_greedy_in_the_order_of_the_hashes():
    sizes = {f"file {i}": 1 + 37 * i % 101 for i in range(60)} | {"huge": 900, "none": 0}
    left = {"test": 0.05 * sum(sizes.values())}
    left["validation"] = left["test"]
    expected = {"train": [], "validation": [], "test": []}
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if sizes[name] == 0:
            continue
        if sizes[name] <= left["test"]:
            part = "test"
        elif sizes[name] <= left["validation"]:
            part = "validation"
        else:
            part = "train"
        expected[part].append(name)
        if part != "train":
            left[part] -= sizes[name]
    assert split_whole(sizes) == {part: tuple(sorted(names)) for part, names in expected.items()}
    assert split_whole(dict(reversed(sizes.items()))) == split_whole(sizes)


def test_split_whole_gives_no_part_nothing():
    assert split_whole({"a": 5, "b": 3, "c": 4}) == {"train": ("a",), "validation": ("c",), "test": ("b",)}
    with pytest.raises(ValueError, match="three documents or more; got 2"):
        split_whole({"a": 5, "b": 3, "c": 0})


def test_split_lines_cuts_where_lines_end():
    text = "".join(f"{i:04}\n" for i in range(200))  # 1,000 characters
    assert list(map(len, split_lines(text))) == [900, 50, 50]
    assert list(map(len, split_lines(text[:-2]))) == [900, 50, 48]
    assert list(map(len, split_lines(text, held=1))) == [950, 50]
    assert "".join(split_lines(text)) == text
    assert split_lines("no line end" * 20) == ["no line end" * 18, "no line end", "no line end"]
    assert split_lines("a") == ["a", "", ""]


def test_hold_out_serves_only_what_is_missing():
    train = list(range(100))
    both = hold_out({"train": train})
    assert both["validation"] == [0, 20, 40, 60, 80] and both["test"] == [1, 21, 41, 61, 81]
    assert sorted(both["train"] + both["validation"] + both["test"]) == train
    one = hold_out({"train": train, "test": [7]})
    assert one["test"] == [7] and one["validation"] == [0, 20, 40, 60, 80] and len(one["train"]) == 95
    assert hold_out({"train": train, "validation": [1], "test": [2]})["train"] == train
