import hashlib
import sys
import time

import numpy as np
import pytest

from lstm_jax.data import labelled, pairs, tagged, text, tfds_sets

ELSEWHERE = "; make it where there is a network and TensorFlow, and copy it here: "
LINES = [f"sentence number {i}\n" for i in range(100)]


@pytest.fixture(scope="module")
def tfds():
    """TFDS; TensorFlow is not installed with it, so what passes here does without."""
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def write(tfds):
    """Writes a TFDS data set, which TFDS then finds by its name in the folder alone."""

    def write(folder, name, features, parts, keys=None, file_format="array_record"):
        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return self.dataset_info_from_configs(
                    features=features, supervised_keys=keys, disable_shuffling=True, description="", homepage=""
                )

            def _split_generators(self, dl_manager):
                return {part: enumerate(records) for part, records in parts.items()}

            def _generate_examples(self):
                raise NotImplementedError

        Builder.name = name
        builder = Builder(data_dir=folder)
        builder.download_and_prepare(file_format=file_format)
        return builder

    return write


def texts(tfds, *names):
    return tfds.features.FeaturesDict({name: tfds.features.Text() for name in names or ["text"]})


# Running text.


def test_corpora_of_ours(tfds, tmp_path):
    corpus = text("python_reference", tmp_path)
    source = tfds.data_source("python_reference", split="test", data_dir=tmp_path)
    assert corpus.test == "".join(record["text"].decode() for record in source)
    assert len(corpus.train) > 8 * len(corpus.test)
    assert text("tfds:python_reference", tmp_path) == corpus


def test_digest_names_the_content():
    corpus = text(__file__)
    sha = [hashlib.sha256(part.encode()).digest() for part in corpus]
    assert corpus.digest == hashlib.sha256(b"".join(sha)).hexdigest()[:16]
    assert corpus._replace(test=corpus.test + " ").digest != corpus.digest
    moved = corpus._replace(train=corpus.train[:-1], validation=corpus.train[-1] + corpus.validation)
    assert moved.digest != corpus.digest


def test_a_tfds_set_with_all_three_parts(tfds, write, tmp_path):
    write(tmp_path, "bard", texts(tfds), {p: [{"text": f"{p}\nÄ"}] for p in ("train", "validation", "test", "more")})
    assert text("tfds:bard", tmp_path) == ("train\nÄ", "validation\nÄ", "test\nÄ")


def test_a_tfds_set_without_validation_holds_out_every_20th_record(tfds, write, tmp_path):
    records = [{"text": f"{i}"} for i in range(60)]
    write(tmp_path, "few_parts", texts(tfds), {"train": records, "test": [{"text": "t"}]})
    train = "\n".join(str(i) for i in range(60) if i not in (0, 20, 40))
    assert text("tfds:few_parts", tmp_path) == (train, "0\n20\n40", "t")


def test_a_tfds_set_of_one_record_is_cut_by_position(tfds, write, tmp_path):
    write(tmp_path, "one_record", texts(tfds), {"train": [{"text": "".join(LINES)}]})
    assert text("tfds:one_record", tmp_path) == text_of_lines()


def text_of_lines():
    whole = "".join(LINES)
    ends = np.cumsum([len(line) for line in LINES])
    first, second = (int(ends[ends >= round(share * len(whole))][0]) for share in (0.9, 0.95))
    return whole[:first], whole[first:second], whole[second:]


def test_a_file_is_cut_by_position(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"\xef\xbb\xbf" + "".join(LINES).replace("\n", "\r\n").encode())
    assert text(tmp_path / "mine.txt") == text(str(tmp_path / "mine.txt")) == text_of_lines()


def test_penn_treebank_comes_as_it_is(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / f"ptb.{name}.txt").write_text(f" no it was n't <unk> monday \n {name} N \n")
    (tmp_path / "README").write_text("not this")
    assert text(tmp_path) == tuple(f" no it was n't <unk> monday \n {n} N \n" for n in ("train", "valid", "test"))
    (tmp_path / "ptb.valid.txt").unlink()
    with pytest.raises(FileNotFoundError, match=rf"^`source`: there is no file {tmp_path}/ptb.valid.txt$"):
        text(tmp_path)


def test_a_folder_gives_every_file_whole_to_one_part(tmp_path):
    for i in range(40):
        file = tmp_path / f"folder {i % 3}" / f"{i}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"file {i}\n" * 10)
    (tmp_path / "empty.txt").touch()
    (tmp_path / ".hidden").write_bytes(b"\xff")
    parts = [{line for line in part.splitlines() if line} for part in text(tmp_path)]
    assert [len(part) for part in parts] == [36, 2, 2]
    assert set().union(*parts) == {f"file {i}" for i in range(40)}


def test_bad_files_are_one_clear_line(tmp_path):
    empty, binary, short = (tmp_path / name for name in ("empty.txt", "binary.txt", "short.txt"))
    empty.touch()
    binary.write_bytes("Ä".encode() + b"bc\xffd")
    short.write_text("one line only\n")
    for source, kind, message in (
        (empty, ValueError, f"`source`: {empty} is empty"),
        (binary, ValueError, f"`source`: {binary} is not UTF-8: byte 0xff at offset 4"),
        (short, ValueError, f"`source`: {short} is too small: nothing is left for validation"),
        (tmp_path, ValueError, f"`source`: {binary} is not UTF-8: byte 0xff at offset 4"),
        (tmp_path / "none.txt", FileNotFoundError, f"`source`: there is no {tmp_path}/none.txt; it must be one of "),
        ("ptb", ValueError, "`source` must be one of python_reference, python_source, scikit_digits, tfds:NAME, or "),
    ):
        with pytest.raises(kind) as caught:
            text(source)
        assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    binary.unlink()
    with pytest.raises(ValueError, match=r"needs three documents or more; got 1$"):
        text(tmp_path)


# TFDS, and what goes wrong with it.


def test_no_network_is_one_clear_line_at_once(tfds, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_sets, "_NETWORK", "http://127.0.0.1:9/")
    began = time.monotonic()
    with pytest.raises(FileNotFoundError) as caught:
        text("tfds:tiny_shakespeare", tmp_path)
    assert time.monotonic() - began < 10
    assert str(caught.value) == (
        f"`source`: there is no {tmp_path}/tiny_shakespeare/1.0.0 (`data_dir` or TFDS_DATA_DIR), and no network "
        f'(ConnectionError){ELSEWHERE}python -c "import tensorflow_datasets; tensorflow_datasets.builder('
        f"'tiny_shakespeare', data_dir='{tmp_path}').download_and_prepare(file_format='array_record')\""
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("raised", "kind", "why"),
    [
        (ModuleNotFoundError("No module", name="tensorflow"), ImportError, "TFDS needs tensorflow to write it"),
        (OSError("gone\nfor good"), FileNotFoundError, "TFDS cannot make it (OSError: gone)"),
    ],
)
def test_what_tfds_cannot_write_is_one_clear_line(tfds, tmp_path, monkeypatch, raised, kind, why):
    def fail(self, **options):
        raise raised

    monkeypatch.setattr("requests.head", lambda url, timeout: None)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(kind) as caught:
        labelled("tfds:imdb_reviews", tmp_path)
    assert f"(`data_dir` or TFDS_DATA_DIR), and {why}{ELSEWHERE}python -c " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_only_tensorflow_reads_is_one_clear_line(tfds, write, tmp_path):
    there = write(tmp_path, "records", texts(tfds), {"train": [{"text": "a"}]}).data_path
    info = there / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError) as caught:
        text("tfds:records", tmp_path)
    assert str(caught.value) == (
        f"`data_dir`: {there} is in the format tfrecord, which takes TensorFlow to read; it needs array_record: name "
        "another folder"
    )


def test_unfit_tfds_sets_are_one_clear_line(tfds, write, tmp_path):
    write(tmp_path, "two_texts", texts(tfds, "title", "body"), {"train": [{"title": "a", "body": "b"}]})
    write(tmp_path, "no_train", texts(tfds), {"test": [{"text": "a"}]})
    for read, source, message in (
        (text, "two_texts", "`source`: two_texts must have one Text feature; its features: body, title"),
        (labelled, "no_train", "`source`: no_train must have one ClassLabel feature; its features: text"),
        (tagged, "no_train", "`source`: tfds:no_train must have the features tokens and ner; has text"),
        (pairs, "two_texts", "`source`: tfds:two_texts is no translation set; its features: body, title"),
        (text, "no_train", "`source`: no_train has no train, only test"),
        (text, "unheard_of", "`source`: TFDS cannot build 'unheard_of': Dataset unheard_of not found."),
    ):
        with pytest.raises(ValueError) as caught:
            read(f"tfds:{source}", tmp_path)
        assert str(caught.value) == message


def test_missing_tfds_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"^`tfds:lm1b` needs TFDS: pip install 'lstm_jax\[tfds\]'$"):
        text("tfds:lm1b")


@pytest.fixture
def mocked(tfds, tmp_path):
    """TFDS's own mock of any of its data sets: the real features, made-up examples."""

    def mocked(name, *splits, count=50):
        builder = tfds.builder(name, data_dir=tmp_path, file_format="array_record")
        info = tfds.core.SplitInfo
        builder.info.set_splits(
            tfds.core.splits.SplitDict(
                [
                    info(
                        name=split,
                        shard_lengths=[count],
                        num_bytes=1,
                        filename_template=tfds.core.ShardedFileTemplate(
                            data_dir=builder.data_path,
                            dataset_name=builder.name,
                            split=split,
                            filetype_suffix="array_record",
                        ),
                    )
                    for split in splits
                ]
            )
        )
        builder.data_path.mkdir(parents=True)
        builder.info.write_to_directory(builder.data_path)
        return tfds.testing.mock_data(num_examples=count, data_dir=tmp_path)

    return mocked


def test_mocked_text(mocked):
    with mocked("tiny_shakespeare", "train", "validation", "test", count=3):
        corpus = text("tfds:tiny_shakespeare")
    assert corpus.train == corpus.test and corpus.train.count("\n") == 2
    assert set(corpus.train) <= set(" abcdefghij\n")  # what TFDS makes up


def test_mocked_labels(mocked):
    with mocked("imdb_reviews", "train", "test", "unsupervised"):
        data = labelled("tfds:imdb_reviews")
    assert data.names == ("neg", "pos")
    assert [len(part.texts) for part in data[:3]] == [len(part.labels) for part in data[:3]] == [47, 3, 50]
    assert data.validation.texts == data.test.texts[::20]
    assert np.array_equal(data.validation.labels, data.test.labels[::20]) and set(data.test.labels) == {0, 1}
    assert data.train.labels.dtype == np.int32


def test_mocked_tags(mocked):
    with mocked("conll2003", "train", "dev", "test"):
        data, parts_of_speech = tagged("tfds:conll2003"), tagged("tfds:conll2003", tags="pos")
    assert len(data.names) == 9 and data.names[:2] == ("O", "B-PER") and len(parts_of_speech.names) == 47
    assert len(data.train.tokens) == 47 and len(data.validation.tags) == 3
    assert isinstance(data.train.tokens[0][0], str) and data.train.tags[0].dtype == np.int32
    assert max(tags.max() for tags in parts_of_speech.test.tags) > 9


def test_mocked_translations(mocked):
    with mocked("ted_hrlr_translate/pt_to_en", "train", "validation", "test"):
        data = pairs("tfds:ted_hrlr_translate/pt_to_en")
    assert [len(part.sources) for part in data] == [len(part.targets) for part in data] == [50, 50, 50]
    assert data.train.sources != data.train.targets


# Labels, tags and pairs, really on disk or in files.


def test_labels_on_disk(tfds, write, tmp_path):
    features = tfds.features.FeaturesDict(
        {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["no", "yes"])}
    )
    records = [{"text": f"é {i}", "label": i % 2} for i in range(40)]
    write(tmp_path, "answers", features, {"train": records})
    data = labelled("tfds:answers", tmp_path)
    assert data.names == ("no", "yes")
    assert data.validation.texts == ["é 0", "é 20"] and data.test.texts == ["é 1", "é 21"]
    assert data.test.labels.tolist() == [1, 1] and data.train.labels.tolist()[:3] == [0, 1, 0]
    hidden = [{"text": "?", "label": -1}]
    write(tmp_path, "quiz", features, {"train": records, "test": hidden})
    with pytest.raises(ValueError, match=r"^`source`: tfds:quiz, test: labels must be from 0 to 1; got -1 to -1$"):
        labelled("tfds:quiz", tmp_path)


def test_labels_want_a_tfds_set(tmp_path):
    with pytest.raises(ValueError, match=r"^`source` must be a TFDS data set, tfds:NAME; got "):
        labelled(str(tmp_path))


def test_tags_on_disk(tfds, write, tmp_path):
    features = tfds.features.FeaturesDict(
        {
            "tokens": tfds.features.Sequence(tfds.features.Text()),
            "ner": tfds.features.Sequence(tfds.features.ClassLabel(names=["O", "B-LOC"])),
        }
    )
    records = [{"tokens": ["in"] * i + ["Århus"], "ner": [0] * i + [1]} for i in range(3)]
    write(tmp_path, "places", features, dict.fromkeys(("train", "validation", "test"), records))
    data = tagged("tfds:places", tmp_path)
    assert data.names == ("O", "B-LOC")
    assert data.train.tokens == [["Århus"], ["in", "Århus"], ["in", "in", "Århus"]]
    assert [tags.tolist() for tags in data.validation.tags] == [[1], [0, 1], [0, 0, 1]]


COLUMNS = """-DOCSTART- -X- O O

EU NNP I-NP S-ORG
rejects VBZ I-VP O

Peter NNP I-NP S-PER
"""


def test_tags_in_conll_columns(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(COLUMNS)
    data = tagged(tmp_path)
    assert data.names == ("O", "S-ORG", "S-PER")
    for part in data[:3]:
        assert part.tokens == [["EU", "rejects"], ["Peter"]]
        assert [tags.tolist() for tags in part.tags] == [[1, 0], [2]]
    (tmp_path / "one.conll").write_text("".join(f"word{i} O\n\n" for i in range(40)))
    data = tagged(tmp_path / "one.conll")
    assert data.validation.tokens == [["word0"], ["word20"]] and data.test.tokens == [["word1"], ["word21"]]
    (tmp_path / "one.conll").write_text("word O\nlonely\n")
    with pytest.raises(ValueError, match=r"one.conll, line 2: expected a word and a tag, got 'lonely'$"):
        tagged(tmp_path / "one.conll")


def test_translations_on_disk(tfds, write, tmp_path):
    features = tfds.features.Translation(languages=("de", "en"))
    records = [{"de": f"Nummer {i}", "en": f"number {i}"} for i in range(21)]
    write(tmp_path, "numbers", features, {"train": records, "test": records}, keys=("en", "de"))
    data = pairs("tfds:numbers", tmp_path)
    assert data.validation == (["number 0", "number 20"], ["Nummer 0", "Nummer 20"])
    assert len(data.train.sources) == 19 and len(data.test.targets) == 21


def test_translations_in_a_file(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"number {i}\tNummer {i}\n" for i in range(40)) + "\n")
    data = pairs(file)
    assert data.validation == (["number 0", "number 20"], ["Nummer 0", "Nummer 20"])
    assert len(data.train.sources) == 36
    file.write_text("one\teins\none, eins\n")
    with pytest.raises(ValueError, match=r"line 2: expected two columns with a tab between, got 'one, eins'$"):
        pairs(file)
    file.write_text("one\teins\n")
    with pytest.raises(ValueError, match=r"pairs.tsv is too small: nothing is left for train$"):
        pairs(file)
