"""Corpora that need no network: what every machine with Python has, as TFDS data sets."""

import contextlib
import importlib
import io
import os
from typing import Any

CORPORA = {
    "python_reference": "PythonReference",
    "python_source": "PythonSource",
    "scikit_digits": "ScikitDigits",
}


def corpus(name: str, data_dir: str | os.PathLike[str] | None = None) -> Any:
    """TFDS's builder of a corpus of ours, which is on disk when this returns; the first call writes it, in seconds.

    `corpus("python_reference").as_data_source("train")` is an indexable data set of records, and with it on disk
    `tfds.data_source("python_reference", split="train")` reads the same. Nothing of it takes TensorFlow or a network.

    - `python_reference`: the Python language reference, English prose; records of `name` and `text`, bytes both.
    - `python_source`: the modules of the standard library's top level; the same features.
    - `scikit_digits`: `image` `[8, 8]` uint8 in 0 to 16 and `label`, split as `digits` does.

    The split into train, validation and test is fixed, about 90/5/5 of the characters; every topic or file is whole in
    one part (`lstm_jax.data.split.split_whole`). The first two differ with the version of Python and have a folder for
    each. `info.metadata["sha256"]` is the hash of the records, `info.metadata["python"]` the version that wrote them.

    Args:
        name: one of `CORPORA`.
        data_dir: the folder of all of TFDS's data sets; by default the environment's TFDS_DATA_DIR, as it stands when
            TFDS is first imported, or `~/tensorflow_datasets`. Processes may write the same one at the same time.

    Raises:
        ImportError: TFDS is not installed, or scikit-learn for its digits.
        ValueError: `name` is not one of `CORPORA`.
    """
    if name not in CORPORA:
        raise ValueError(f"`name` must be one of {', '.join(CORPORA)}; got {name!r}")
    try:
        importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise ImportError(f"`{name}` needs TFDS: pip install 'lstm_jax[tfds]'") from error
    builders = importlib.import_module("lstm_jax.data.builders")
    builder = getattr(builders, CORPORA[name])(data_dir=data_dir)
    # TFDS would speak of a download.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        builder.download_and_prepare()
    return builder
