"""MNIST, read pixel by pixel."""

import gzip
import importlib
import io
import os
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from lstm_jax.data.digits import Digits, Examples

# RandomState, for its streams are frozen for good; those of numpy's Generator may change with a release.
_SPLIT_SEED = 0
_ORDER_SEED = 1
_VALIDATION = 5000


def mnist(permuted: bool = False, data_dir: str | os.PathLike[str] | None = None) -> Digits:
    """The 70,000 handwritten digits of MNIST, 28 by 28 grey pixels read row by row: 784 steps of one number.

    The split is fixed: MNIST's own test set, and of its training set 5,000 examples for validation, drawn once for
    all. The horizon for chrono initialisation is 784.

    The first call downloads 12 MB and writes them to `data_dir` as array_record, in some 15 seconds; later ones need no
    network and take some five. TFDS does both, without TensorFlow. The inputs are 220 MB, and twice that on the way.

    Args:
        permuted: read the pixels in one fixed order drawn at random, the same for every image, which breaks up what
            lies close together.
        data_dir: the folder of all of TFDS's data sets; by default the environment's TFDS_DATA_DIR, as it stands when
            TFDS is first imported, or `~/tensorflow_datasets`.

    Returns:
        Digits of Examples: inputs `[784, n, 1]` float32 in [0, 1], labels `[n]` int32; n is 55000, 5000 and 10000.

    Raises:
        ImportError: TFDS or Pillow is not installed.
        FileNotFoundError: the data set is not in `data_dir`, and its server does not answer.
        ValueError: `data_dir` has it in a format that takes TensorFlow to read.

    References:
        LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", 1998: MNIST.
        Le, Jaitly & Hinton, "A simple way to initialize recurrent networks of rectified linear units", 2015: images
        read pixel by pixel, plain and permuted.
    """
    (pixels, labels), test = map(_read, _sources(data_dir))
    order = np.random.RandomState(_ORDER_SEED).permutation(784) if permuted else slice(None)

    def examples(pixels: np.ndarray, labels: np.ndarray) -> Examples:
        inputs = pixels[:, order].T[..., None] / np.float32(255)
        return Examples(jnp.asarray(inputs, jnp.float32), jnp.asarray(labels, jnp.int32))

    validation = examples(pixels[:_VALIDATION], labels[:_VALIDATION])
    return Digits(examples(pixels[_VALIDATION:], labels[_VALIDATION:]), validation, examples(*test))


def _read(source: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels `[n, 784]` and labels `[n]`, both uint8, in a fixed order drawn at random."""
    from PIL import Image

    records = source.__getitems__(range(len(source)))
    rows = [Image.open(io.BytesIO(record["image"])).tobytes() + bytes([record["label"]]) for record in records]
    # Sorted, then shuffled: whatever order TFDS gave the records on disk, the split is the same.
    rows = np.frombuffer(b"".join(sorted(rows)), np.uint8).reshape(len(rows), 785)
    rows = rows[np.random.RandomState(_SPLIT_SEED).permutation(len(rows))]
    return rows[:, :-1], rows[:, -1]


def _sources(data_dir: str | os.PathLike[str] | None) -> list[Any]:
    """The records for training and for testing, with PNG files for images."""
    builder, tfds = _builder(data_dir)
    if not builder.data_path.exists():
        _check_server(builder)
        builder.download_and_prepare(file_format="array_record")
    try:
        return builder.as_data_source(["train", "test"], decoders={"image": tfds.decode.SkipDecoding()})
    except NotImplementedError:
        format_ = builder.info.file_format.value
        raise ValueError(
            f"`data_dir`: {builder.data_path} is in the format {format_}, which takes TensorFlow; name another folder"
        ) from None


def _check_server(builder: Any) -> None:
    """Raises an error at once where TFDS would try for minutes."""
    import requests

    try:
        requests.head(f"{builder.URL}train-images-idx3-ubyte.gz", timeout=5).raise_for_status()
    except requests.RequestException as error:
        raise FileNotFoundError(
            f"`mnist`: there is no {builder.data_path} (`data_dir` or TFDS_DATA_DIR), and {builder.URL} does not "
            f"answer ({type(error).__name__}); make it where there is a network, and copy it here: "
            f"python -c \"from lstm_jax.data import mnist; mnist(data_dir='{builder.data_dir_root}')\""
        ) from None


def _builder(data_dir: str | os.PathLike[str] | None) -> tuple[Any, Any]:
    """TFDS's builder of MNIST, and TFDS."""
    try:
        tfds: Any = importlib.import_module("tensorflow_datasets")
        from PIL import Image
    except ImportError as error:
        raise ImportError("`mnist` needs TFDS and Pillow: pip install 'lstm_jax[tfds]'") from error

    class Mnist(tfds.image_classification.MNIST, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        """The same data set, of the same name and version; its parent needs TensorFlow to write it."""

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
            files = {"images": "images-idx3-ubyte.gz", "labels": "labels-idx1-ubyte.gz"}
            parts = {"train": "train", "test": "t10k"}
            urls = {part: {key: f"{self.URL}{p}-{f}" for key, f in files.items()} for part, p in parts.items()}
            return {part: self._generate_examples(**paths) for part, paths in dl_manager.download(urls).items()}

        def _generate_examples(self, images: Any, labels: Any) -> Iterator:
            pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
            classes = gzip.decompress(labels.read_bytes())[8:]
            for i, (image, label) in enumerate(zip(pixels, classes, strict=True)):
                png = io.BytesIO()
                Image.fromarray(image).save(png, "png")
                yield i, {"image": png.getvalue(), "label": label}

    return Mnist(data_dir=data_dir), tfds
