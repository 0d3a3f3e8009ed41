"""TFDS's own data sets, read without TensorFlow."""

import importlib
import os
from collections.abc import Sequence
from typing import Any

from lstm_jax.data.corpora import CORPORA, corpus
from lstm_jax.data.split import PARTS

_NETWORK = "https://storage.googleapis.com/tfds-data/"  # TFDS's own server


def tfds_builder(name: str, data_dir: str | os.PathLike[str] | None = None) -> Any:
    """TFDS's builder of the data set `name`, one of ours too, which is on disk when this returns.

    Args:
        name: as TFDS has it: `imdb_reviews`, `wmt14_translate/de-en`, ...
        data_dir: the folder of all of TFDS's data sets; by default the environment's TFDS_DATA_DIR, as it stands when
            TFDS is first imported, or `~/tensorflow_datasets`.

    Raises:
        ImportError: TFDS is not installed, or TensorFlow where the data set is not on disk and cannot be written
            without.
        FileNotFoundError: the data set is not on disk, and there is no network or it cannot be downloaded.
        ValueError: TFDS knows no such data set.
    """
    if name in CORPORA:
        return corpus(name, data_dir)
    try:
        tfds: Any = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise ImportError(f"`tfds:{name}` needs TFDS: pip install 'lstm_jax[tfds]'") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except ValueError as error:
        raise ValueError(f"`source`: TFDS cannot build {name!r}: {_first_line(error)}") from None
    if not builder.data_path.exists():
        _download(name, builder)
    return builder


def tfds_parts(builder: Any) -> dict[str, Sequence[Any]]:
    """The records of train and, where the data set has them, of validation and test.

    Raises:
        ValueError: there is no train, or the data set is on disk in a format that takes TensorFlow to read.
    """
    splits = [part for part in PARTS if part in builder.info.splits]
    if "train" not in splits:
        raise ValueError(f"`source`: {builder.name} has no train, only {', '.join(builder.info.splits) or 'nothing'}")
    try:
        sources = builder.as_data_source(splits)
    except NotImplementedError:
        format_ = builder.info.file_format.value
        raise ValueError(
            f"`data_dir`: {builder.data_path} is in the format {format_}, which takes TensorFlow to read; it needs "
            "array_record: name another folder"
        ) from None
    return {part: list(source) for part, source in zip(splits, sources, strict=True)}


def _download(name: str, builder: Any) -> None:
    """Has TFDS fetch and write the data set; raises an error at once where TFDS would try for minutes."""
    import requests

    elsewhere = (
        'make it where there is a network and TensorFlow, and copy it here: python -c "import tensorflow_datasets; '
        f"tensorflow_datasets.builder('{name}', data_dir='{builder.data_dir_root}')"
        ".download_and_prepare(file_format='array_record')\""
    )
    missing = f"`source`: there is no {builder.data_path} (`data_dir` or TFDS_DATA_DIR)"
    try:
        requests.head(_NETWORK, timeout=5)
    except requests.RequestException as error:
        raise FileNotFoundError(f"{missing}, and no network ({type(error).__name__}); {elsewhere}") from None
    try:
        builder.download_and_prepare(file_format="array_record")
    except ImportError as error:
        raise ImportError(f"{missing}, and TFDS needs {error.name or 'more'} to write it; {elsewhere}") from error
    except Exception as error:  # of the server, of the archive, of TFDS's own code: whatever it is, there is no data
        why = f"{type(error).__name__}: {_first_line(error)}"
        raise FileNotFoundError(f"{missing}, and TFDS cannot make it ({why}); {elsewhere}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")
