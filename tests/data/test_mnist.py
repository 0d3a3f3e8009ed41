import contextlib
import functools
import gzip
import hashlib
import http.server
import shutil
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.data import mnist

TRAIN, TEST = 5060, 40  # of noise, in MNIST's own files
NOWHERE = "http://127.0.0.1:9/"

# Of every part's pixels (as bytes, image after image) and labels (as bytes), plain and permuted.
SHA256 = (
    "7ad35f66ac4ba8f9948b85adccf16ffb03c0eba8a47e3017de457077a5a48923",
    "448c10a4d2eef69f20a0504d6a52e3045fc9a09d49295523cd8a765e6f9aae8e",
)


def sha256(data):
    digest = hashlib.sha256()
    for inputs, labels in data:
        digest.update(np.round(np.asarray(inputs)[..., 0].T * 255).astype(np.uint8).tobytes())
        digest.update(np.asarray(labels).astype(np.uint8).tobytes())
    return digest.hexdigest()


def rows(images, labels):
    """Each image's pixels and label, as bytes."""
    return [image.tobytes() + bytes([label]) for image, label in zip(images, labels, strict=True)]


def noise():
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (TRAIN + TEST, 28, 28)).astype(np.uint8)
    images[:, :, :20] = 0
    labels = random.randint(0, 10, TRAIN + TEST).astype(np.uint8)
    return {"train": (images[:TRAIN], labels[:TRAIN]), "t10k": (images[TRAIN:], labels[TRAIN:])}


@contextlib.contextmanager
def server(folder, data):
    """The address of a server that has the data as MNIST's files."""
    folder.mkdir()
    for name, (images, labels) in data.items():
        n = np.array([len(labels)], ">i4").tobytes()
        header = b"\0\0\x08\x03" + n + b"\0\0\0\x1c" * 2
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes(), 1))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01" + n + labels.tobytes(), 1))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}/"
        finally:
            httpd.shutdown()


@pytest.fixture(scope="module")
def tfds():
    """TFDS; TensorFlow is not installed with it, so what passes here does without."""
    pytest.importorskip("PIL")
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def address(tfds, monkeypatch):
    """Sets the address that MNIST is downloaded from."""
    return functools.partial(monkeypatch.setattr, tfds.image_classification.MNIST, "URL")


@pytest.fixture(scope="module")
def folder(tfds, tmp_path_factory):
    """Where MNIST has been written by `mnist`."""
    folder = tmp_path_factory.mktemp("tfds")
    with server(folder / "server", noise()) as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds.image_classification.MNIST, "URL", url)
        mnist(data_dir=folder)
    return folder


@pytest.fixture(scope="module")
def data(folder):
    return mnist(data_dir=folder)


@pytest.fixture(scope="module")
def permuted(folder):
    return mnist(permuted=True, data_dir=folder)


def test_parts_have_every_example_once_with_its_label(data):
    raw = noise()
    for (inputs, labels), n in zip(data, (TRAIN - 5000, 5000, TEST), strict=True):
        assert inputs.shape == (784, n, 1) and inputs.dtype == jnp.float32
        assert labels.shape == (n,) and labels.dtype == jnp.int32
        assert inputs.min() == 0 and inputs.max() == 1
    train, validation, test = (
        rows(np.round(np.asarray(inputs)[..., 0].T * 255).astype(np.uint8), labels.tolist()) for inputs, labels in data
    )
    assert sorted(train + validation) == sorted(rows(*raw["train"]))
    assert sorted(test) == sorted(rows(*raw["t10k"]))


def test_the_split_and_the_order_never_change(data, permuted):
    assert (sha256(data), sha256(permuted)) == SHA256


def test_the_order_on_disk_is_all_one(data, address, tmp_path):
    turned = {name: (images[::-1], labels[::-1]) for name, (images, labels) in noise().items()}
    with server(tmp_path / "server", turned) as url:
        address(url)
        other = mnist(data_dir=tmp_path)
    assert sha256(other) == sha256(data)


def test_permuted_reads_every_image_in_the_same_order(data, permuted):
    plain, permuted = data.test, permuted.test
    assert np.array_equal(plain.labels, permuted.labels)
    plain, permuted = (np.asarray(part.inputs)[..., 0] for part in (plain, permuted))
    assert not np.array_equal(plain, permuted)
    assert sorted(map(bytes, plain)) == sorted(map(bytes, permuted))  # rows are steps: whole steps moved


def test_tfds_itself_reads_what_was_written(tfds, folder):
    source = tfds.data_source("mnist", split="test", data_dir=folder, download=False)
    found = rows([record["image"] for record in source], [record["label"] for record in source])
    assert sorted(found) == sorted(rows(*noise()["t10k"]))


def test_no_network_and_no_data_is_one_clear_line_at_once(address, tmp_path):
    address(NOWHERE)
    began = time.monotonic()
    with pytest.raises(FileNotFoundError) as caught:
        mnist(data_dir=tmp_path)
    assert time.monotonic() - began < 10
    assert str(caught.value) == (
        f"`mnist`: there is no {tmp_path}/mnist/3.0.1 (`data_dir` or TFDS_DATA_DIR), and {NOWHERE} does not answer "
        "(ConnectionError); make it where there is a network, and copy it here: "
        f"python -c \"from lstm_jax.data import mnist; mnist(data_dir='{tmp_path}')\""
    )
    assert not list(tmp_path.iterdir())


def test_what_only_tensorflow_reads_is_one_clear_line(folder, tmp_path):
    there = tmp_path / "mnist" / "3.0.1"
    shutil.copytree(folder / "mnist" / "3.0.1", there)
    info = there / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    for path in there.glob("*array_record*"):
        path.rename(there / path.name.replace("array_record", "tfrecord"))
    with pytest.raises(ValueError) as caught:
        mnist(data_dir=tmp_path)
    expected = f"`data_dir`: {there} is in the format tfrecord, which takes TensorFlow; name another folder"
    assert str(caught.value) == expected


@pytest.mark.parametrize("package", ["tensorflow_datasets", "PIL"])
def test_missing_packages_are_one_clear_line(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"^`mnist` needs TFDS and Pillow: pip install 'lstm_jax\[tfds\]'$"):
        mnist()
