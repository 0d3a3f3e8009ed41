"""One way in to text: corpora of ours, TFDS data sets by name, files and folders of one's own."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.data.corpora import CORPORA
from lstm_jax.data.files import file_pairs, file_sentences, folder_text, joined, read_utf8
from lstm_jax.data.split import PARTS, hold_out, split_lines
from lstm_jax.data.texts import Labelled, LabelledTexts, PairedTexts, Pairs, Tagged, TaggedSentences, Text
from lstm_jax.data.tfds_sets import tfds_builder, tfds_parts

Source = str | os.PathLike[str]

# How the three files of a folder in CoNLL's form are called.
_CONLL = (("train.txt", "valid.txt", "test.txt"), ("eng.train", "eng.testa", "eng.testb"))
_FEW = 20  # records: a text of fewer is cut at line ends


def text(source: Source, data_dir: Source | None = None) -> Text:
    """Running text for a language model, in three fixed parts.

    Args:
        source: one of
            - `python_reference`, `python_source`: corpora of ours (`lstm_jax.data.corpora.corpus`), offline;
            - `tfds:NAME`: a TFDS data set with one text feature, such as `tfds:tiny_shakespeare`. What is not on disk
              is downloaded where that is possible without TensorFlow. Records are joined line by line; where there
              is no validation or test, every 20th record of train serves for it, or 5% of a train of few records;
            - a UTF-8 file: 90/5/5 by position, cut at line ends;
            - a folder: Mikolov's Penn Treebank files `ptb.train.txt`, `ptb.valid.txt`, `ptb.test.txt` as they are, or
              any text files, each whole in one part (`lstm_jax.data.split.split_whole`).
        data_dir: the folder of all of TFDS's data sets; by default the environment's TFDS_DATA_DIR, as it stands when
            TFDS is first imported, or `~/tensorflow_datasets`. Files and folders take no notice of it.

    Raises:
        FileNotFoundError: no such file or folder, or a TFDS data set that is not on disk and cannot be had.
        ImportError: a package is missing.
        ValueError: an unknown name; a file that is empty or not UTF-8 (says at which byte); a part without text; a
            TFDS data set in a format that takes TensorFlow, or with other features than one text.
    """
    builder, path = _open(source, data_dir)
    if builder is None:
        parts = folder_text(path) if path.is_dir() else split_lines(read_utf8(path))
        return Text(*_none_empty(source, parts))
    feature = _only(builder, "Text", "text")
    given = {part: [_str(record[feature]) for record in records] for part, records in tfds_parts(builder).items()}
    missing = [part for part in PARTS if part not in given]
    if missing and len(given["train"]) < _FEW:
        cut = split_lines(joined(given["train"]), len(missing))
        given |= {part: [piece] for part, piece in zip(["train", *missing], cut, strict=True)}
    complete = hold_out(given)
    return Text(*_none_empty(source, [joined(complete[part]) for part in PARTS]))


def labelled(source: str, data_dir: Source | None = None) -> Labelled:
    """Texts with labels, from a TFDS data set with one text and one label, such as `tfds:imdb_reviews`.

    Where it has no validation or test, every 20th record of train serves for it. Raises as `text` does.
    """
    builder, path = _open(source, data_dir)
    if builder is None:
        raise ValueError(f"`source` must be a TFDS data set, tfds:NAME; got {path}")
    words, label = _only(builder, "Text", "text"), _only(builder, "ClassLabel", "label")
    names = tuple(builder.info.features[label].names)

    def part(records: Sequence[Any]) -> LabelledTexts:
        return LabelledTexts([_str(r[words]) for r in records], np.asarray([r[label] for r in records], np.int32))

    parts = [part(records) for records in _none_empty(source, _three(builder))]
    for name, (_, labels) in zip(PARTS, parts, strict=True):
        if labels.min() < 0 or labels.max() >= len(names):
            raise ValueError(
                f"`source`: {source}, {name}: labels must be from 0 to {len(names) - 1}; got "
                f"{labels.min()} to {labels.max()}"
            )
    return Labelled(parts[0], parts[1], parts[2], names)


def tagged(source: Source, data_dir: Source | None = None, tags: str = "ner") -> Tagged:
    """Sentences with a tag for each token, in three fixed parts.

    Args:
        source: a TFDS data set with `tokens` and a sequence of labels, such as `tfds:conll2003`; or a file in CoNLL's
            column form (a token a line, word first and tag last, sentences parted by blank lines), of which every
            20th sentence goes to validation and every 20th to test; or a folder of three such files, `train.txt`,
            `valid.txt`, `test.txt` or `eng.train`, `eng.testa`, `eng.testb`.
        data_dir: as for `text`.
        tags: the feature of a TFDS data set that holds the tags.

    Raises:
        ValueError: a line without a tag; otherwise as `text`.
    """
    builder, path = _open(source, data_dir)
    if builder is not None:
        features = builder.info.features
        if not {"tokens", tags} <= set(features):
            has = ", ".join(sorted(features))
            raise ValueError(f"`source`: {source} must have the features tokens and {tags}; has {has}")
        names = tuple(features[tags].feature.names)
        raw = [[([_str(t) for t in r["tokens"]], list(r[tags])) for r in records] for records in _three(builder)]
    else:
        columns = _conll(path)
        names = tuple(sorted({tag for part in columns for _, labels in part for tag in labels}))
        ids = {name: i for i, name in enumerate(names)}
        raw = [[(tokens, [ids[tag] for tag in labels]) for tokens, labels in part] for part in columns]
    parts = [
        TaggedSentences([tokens for tokens, _ in part], [np.asarray(labels, np.int32) for _, labels in part])
        for part in _none_empty(source, raw)
    ]
    return Tagged(parts[0], parts[1], parts[2], names)


def pairs(source: Source, data_dir: Source | None = None) -> Pairs:
    """Pairs of source and target, in three fixed parts.

    Args:
        source: a TFDS translation set, such as `tfds:ted_hrlr_translate/pt_to_en`; or a UTF-8 file with two columns
            and a tab between, of which every 20th pair goes to validation and every 20th to test.
        data_dir: as for `text`.

    Raises:
        ValueError: a line without two columns; otherwise as `text`.
    """
    builder, path = _open(source, data_dir)
    if builder is None:
        raw: list[Any] = list(map(hold_out({"train": file_pairs(path)}).__getitem__, PARTS))
    else:
        keys = builder.info.supervised_keys
        if keys is None or len(keys) != 2 or not set(keys) <= set(_features(builder, "Text")):
            features = ", ".join(sorted(builder.info.features))
            raise ValueError(f"`source`: {source} is no translation set; its features: {features}")
        raw = [[(_str(record[keys[0]]), _str(record[keys[1]])) for record in part] for part in _three(builder)]
    parts = [PairedTexts([s for s, _ in part], [t for _, t in part]) for part in _none_empty(source, raw)]
    return Pairs(*parts)


def _open(source: Source, data_dir: Source | None) -> tuple[Any, Path]:
    """TFDS's builder and no path that counts, or None and a file or folder that exists."""
    name = os.fspath(source)
    if name in CORPORA or name.startswith("tfds:"):
        return tfds_builder(name.removeprefix("tfds:"), data_dir), Path()
    path = Path(name)
    if path.exists():
        return None, path
    known = f"{', '.join(CORPORA)}, tfds:NAME, or a file or folder"
    if isinstance(source, str) and path.name == name and not path.suffix:
        raise ValueError(f"`source` must be one of {known}; got {name!r}")
    raise FileNotFoundError(f"`source`: there is no {path}; it must be one of {known}")


def _three(builder: Any) -> list[Sequence[Any]]:
    parts = hold_out(tfds_parts(builder))
    return [parts[part] for part in PARTS]


def _only(builder: Any, kind: str, preferred: str) -> str:
    """The name of the one feature of a kind, or of the one with the preferred name."""
    found = _features(builder, kind)
    if preferred in found:
        return preferred
    if len(found) != 1:
        features = ", ".join(sorted(builder.info.features))
        raise ValueError(f"`source`: {builder.name} must have one {kind} feature; its features: {features}")
    return found[0]


def _features(builder: Any, kind: str) -> list[str]:
    return [name for name, feature in builder.info.features.items() if type(feature).__name__ == kind]


def _str(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8")


def _conll(path: Path) -> list[Sequence[tuple[list[str], list[str]]]]:
    if path.is_file():
        return list(map(hold_out({"train": file_sentences(path)}).__getitem__, PARTS))
    for files in _CONLL:
        if (path / files[0]).exists():
            return [file_sentences(path / file) for file in files]
    raise FileNotFoundError(f"`source`: {path} must hold {' or '.join(', '.join(files) for files in _CONLL)}")


def _none_empty(source: Source, parts: Sequence[Any]) -> Sequence[Any]:
    for name, part in zip(PARTS, parts, strict=True):
        if not part:
            raise ValueError(f"`source`: {os.fspath(source)} is too small: nothing is left for {name}")
    return parts
