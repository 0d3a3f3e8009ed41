"""TFDS builders of what every machine with Python has; importing this makes their names known to `tfds.data_source`.

It imports TFDS: `lstm_jax.data.corpora` is the light way in.
"""

import contextlib
import hashlib
import importlib
import json
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.data.split import PARTS, split_whole

tfds: Any = importlib.import_module("tensorflow_datasets")

_PYTHON = ".".join(map(str, sys.version_info[:3]))


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
    """Records that are at hand, written once as array_record, in their own order.

    Metadata on disk: `python`, the version that wrote it, and `sha256`, of the records of the three parts as JSON.
    """

    VERSION = tfds.core.Version("1.0.0")

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The records of train, validation and test."""
        raise NotImplementedError

    def download_and_prepare(self, **options: Any) -> None:
        """As TFDS does, but array_record, and if another process is done first its data set is taken."""
        self._sweep()
        try:
            super().download_and_prepare(**{"file_format": "array_record", **options})
        except OSError:  # the finished folder is moved into place in one step, which fails where there is one
            if not self.data_path.exists():
                raise
        self.info.read_from_directory(self.data_path)

    def _sweep(self) -> None:
        """Removes what processes left that were killed: the others are done within seconds."""
        for folder in Path(self.data_path).parent.glob(f"incomplete.*_{self.data_path.name}"):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > 600:
                    shutil.rmtree(folder)

    def _info(self) -> Any:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(self.features()),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def features(self) -> dict[str, Any]:
        return {"name": tfds.features.Text(), "text": tfds.features.Text()}

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        records = self.records()
        content = json.dumps(records, sort_keys=True, default=lambda value: value.tolist())
        self.info.metadata.update(python=_PYTHON, sha256=hashlib.sha256(content.encode()).hexdigest())
        return {part: self._generate_examples(records[part]) for part in PARTS}

    def _generate_examples(self, records: list[dict[str, Any]]) -> Iterator:
        yield from enumerate(records)


class _PythonBuilder(_Builder, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
    """What differs from one Python to the next has a configuration for each, named after its version."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=_PYTHON)]  # noqa: RUF012


class PythonReference(_PythonBuilder):
    """The Python language reference, English prose: the topics of `help()`, one a record.

    Many of the topics are sections of longer ones. A paragraph that stands in a longer topic is left out, and so is a
    topic of which less than half remains: 372 of 465 kB stay (3.11), and test has no paragraph of train.
    """

    def records(self) -> dict[str, list[dict[str, Any]]]:
        from pydoc_data.topics import topics

        return _whole(distinct(topics))


class PythonSource(_PythonBuilder):
    """The modules of the standard library's top level, Python source, one a record."""

    def records(self) -> dict[str, list[dict[str, Any]]]:
        folder = Path(sysconfig.get_path("stdlib"))
        # By name, for a folder may hold modules of the system's or the user's own beside Python's.
        files = [file for file in sorted(folder.glob("*.py")) if file.stem in sys.stdlib_module_names]
        texts = {file.name: text for file in files if (text := _utf8(file))}
        if len(texts) < len(PARTS):
            raise FileNotFoundError(f"`python_source`: this Python has no source of its standard library in {folder}")
        return _whole(texts)


class ScikitDigits(_Builder):
    """The 1,797 handwritten digits of scikit-learn, 8 by 8 in grey values of 0 to 16; split as `digits` does."""

    def features(self) -> dict[str, Any]:
        image = tfds.features.Tensor(shape=(8, 8), dtype=np.uint8)
        return {"image": image, "label": tfds.features.ClassLabel(num_classes=10)}

    def records(self) -> dict[str, list[dict[str, Any]]]:
        from lstm_jax.data.digits import digits

        def part(inputs: Any, labels: Any) -> list[dict[str, Any]]:
            images = np.round(np.asarray(inputs)[..., 0].T * 16).astype(np.uint8).reshape(-1, 8, 8)
            return [{"image": i, "label": int(label)} for i, label in zip(images, labels.tolist(), strict=True)]

        return {name: part(*examples) for name, examples in digits()._asdict().items()}


def distinct(documents: dict[str, str]) -> dict[str, str]:
    """Documents without the paragraphs of longer ones; those of which less than half remains are left out."""
    seen: set[str] = set()
    kept = {}
    for name in sorted(documents, key=lambda name: (-len(documents[name]), name)):
        paragraphs = documents[name].strip("\n").split("\n\n")
        rest = "\n\n".join(paragraph for paragraph in paragraphs if paragraph.strip() not in seen)
        seen.update(paragraph.strip() for paragraph in paragraphs)
        if 2 * len(rest) >= len(documents[name]):
            kept[name] = rest + "\n"
    return kept


def _whole(texts: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    parts = split_whole({name: len(text) for name, text in texts.items()})
    return {part: [{"name": name, "text": texts[name]} for name in names] for part, names in parts.items()}


def _utf8(file: Path) -> str | None:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        return None
