"""Both tracks bring a public data set to the same bytes, and refuse any others.

The archives are small, but of the real formats, and reach the tracks as the real
ones do: over HTTP (from this machine), or put into the download folder by hand.
"""

from __future__ import annotations

import ast
import gc
import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import tempfile
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine.download import fetch
from common.data import DataRequest, open_data
from common.data.canonical import Canonical, by_content
from common.errors import Refused

pytestmark = pytest.mark.leaves

TRACKS = ("torch", "tensorflow")
NAMES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]  # the official order
PER_BATCH = 6  # images in each of CIFAR-10's five training files, and in its test file
MNIST = {"train": 30, "t10k": 12}


# --- archives ---------------------------------------------------------------------


def cifar_batches() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """File name -> images (n, 3, 32, 32) and labels (n,), training files first."""
    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    return {
        name: (
            rng.integers(0, 256, (PER_BATCH, 3, 32, 32), dtype=np.uint8),
            rng.integers(0, 10, PER_BATCH),
        )
        for name in names
    }


def cifar_wanted() -> Canonical:
    """What both tracks must make of them, in the order of their content."""
    *train, test = cifar_batches().values()
    images = np.concatenate([images for images, _ in train]).transpose(0, 2, 3, 1)
    return Canonical.of(
        *by_content(images, np.concatenate([labels for _, labels in train])),
        *by_content(test[0].transpose(0, 2, 3, 1), test[1]),
        classes=NAMES,
    )


def mnist_arrays() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    return {
        split: (
            rng.integers(0, 256, (n, 28, 28), dtype=np.uint8),
            rng.integers(0, 10, n).astype(np.uint8),
        )
        for split, n in MNIST.items()
    }


def tar(path: Path, files: dict[str, bytes]) -> bytes:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path.read_bytes()


def idx(array: np.ndarray) -> bytes:
    """The idx format: type, number of axes, sizes (big-endian), bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + bytes(
        array
    )


def write_cifar_python(folder: Path) -> dict[str, bytes]:
    files = {
        name: pickle.dumps(
            {"data": images.reshape(len(images), -1), "labels": labels.tolist()}, 2
        )
        for name, (images, labels) in cifar_batches().items()
    }
    files["batches.meta"] = pickle.dumps({"label_names": NAMES}, 2)
    tar(
        folder / "cifar-10-python.tar.gz",
        {f"cifar-10-batches-py/{name}": content for name, content in files.items()},
    )
    return files


def write_cifar_binary(folder: Path) -> None:
    files = {
        f"{name}.bin": b"".join(
            bytes([label]) + bytes(image)
            for image, label in zip(images, labels, strict=True)
        )
        for name, (images, labels) in cifar_batches().items()
    }
    files["batches.meta.txt"] = ("\n".join(NAMES) + "\n\n").encode()
    tar(
        folder / "cifar-10-binary.tar.gz",
        {f"cifar-10-batches-bin/{name}": content for name, content in files.items()},
    )


def write_mnist(folder: Path) -> None:
    for split, (images, labels) in mnist_arrays().items():
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{split}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(array), mtime=0))


# --- where the frameworks find them -------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not write to the terminal."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder with all archives, and its address; the frameworks ask there."""
    folder = tmp_path / "server"
    folder.mkdir()
    write_cifar_binary(folder)
    write_mnist(folder)
    batches = write_cifar_python(folder)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # TFDS makes an empty temporary folder for each builder, and leaves it.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
    ) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{http.server_port}/"
        point_torchvision(monkeypatch, folder, address, batches)
        point_tfds(monkeypatch, folder, address)
        yield folder
        http.shutdown()
        thread.join()
    with warnings.catch_warnings():
        # TFDS leaves its sockets to the garbage collector when a download fails.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def point_torchvision(monkeypatch, folder, address, batches) -> None:
    datasets = pytest.importorskip("torchvision.datasets")

    def md5(content: bytes) -> str:
        return hashlib.md5(content).hexdigest()

    cifar = datasets.CIFAR10
    archive = (folder / cifar.filename).read_bytes()
    told = {name: md5(content) for name, content in batches.items()}
    meta = cifar.meta | {"md5": told.pop("batches.meta")}
    monkeypatch.setattr(cifar, "url", address + cifar.filename)
    monkeypatch.setattr(cifar, "tgz_md5", md5(archive))
    monkeypatch.setattr(cifar, "train_list", [*told.items()][:5])
    monkeypatch.setattr(cifar, "test_list", [*told.items()][5:])
    monkeypatch.setattr(cifar, "meta", meta)
    names = [name for name, _ in datasets.MNIST.resources]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(
        datasets.MNIST,
        "resources",
        [(name, md5((folder / name).read_bytes())) for name in names],
    )


def point_tfds(monkeypatch, folder, address) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.image_classification import mnist

    tfds.disable_progress_bar()
    cifar = tfds.builder_cls("cifar10")
    info = cifar._cifar_info.fget

    def here(self):
        return info(self)._replace(url=address + "cifar-10-binary.tar.gz")

    monkeypatch.setattr(cifar, "_cifar_info", property(here))
    monkeypatch.setattr(mnist.MNIST, "URL", address)
    monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", MNIST["train"])
    monkeypatch.setattr(mnist, "_TEST_EXAMPLES", MNIST["t10k"])
    for builder in (cifar, mnist.MNIST):
        for path in folder.glob("*.gz"):
            content = path.read_bytes()
            checksum = hashlib.sha256(content).hexdigest()
            told = tfds.download.checksums.UrlInfo(len(content), checksum, path.name)
            monkeypatch.setitem(builder.url_infos, address + path.name, told)


def load(track: str, name: str, root: Path) -> Canonical:
    module = {"torch": "pt_track", "tensorflow": "tf_track"}[track]
    return pytest.importorskip(f"{module}.data").load_dataset(name, root)


# --- the claims -----------------------------------------------------------------


@pytest.mark.parametrize("track", TRACKS)
def test_cifar10_comes_sorted_by_content(server, tmp_path, track):
    got = load(track, "cifar10", tmp_path / "root")
    wanted = cifar_wanted()
    np.testing.assert_array_equal(got.train_images, wanted.train_images)
    np.testing.assert_array_equal(got.train_labels, wanted.train_labels)
    np.testing.assert_array_equal(got.test_images, wanted.test_images)
    np.testing.assert_array_equal(got.test_labels, wanted.test_labels)
    assert got.classes == wanted.classes


def test_tfds_stores_cifar10_in_another_order_so_that_sorting_it_matters(
    server, tmp_path
):
    load("tensorflow", "cifar10", tmp_path)
    tfds = pytest.importorskip("tensorflow_datasets")
    stored = tfds.load("cifar10", split="train", data_dir=tmp_path / "tfds")
    ids = [example["id"] for example in tfds.as_numpy(stored)]
    assert ids != sorted(ids)


@pytest.mark.parametrize("track", TRACKS)
def test_mnist_comes_sorted_by_content(server, tmp_path, track):
    got = load(track, "mnist", tmp_path / "root")
    images, labels = mnist_arrays()["train"]
    wanted = by_content(images[..., None], labels)
    np.testing.assert_array_equal(got.train_images, wanted[0])
    np.testing.assert_array_equal(got.train_labels, wanted[1])
    assert got.test_images.shape == (MNIST["t10k"], 28, 28, 1)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_both_tracks_give_the_same_fingerprint(server, tmp_path, name):
    prints = [load(track, name, tmp_path / track).fingerprint for track in TRACKS]
    assert prints[0] == prints[1]


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("track", TRACKS)
def test_files_put_in_place_by_hand_need_no_network(server, tmp_path, track, name):
    root = tmp_path / "root"
    root.mkdir()
    for path in server.iterdir():
        path.rename(root / path.name)  # the server has nothing left to give
    if name == "cifar10":
        wanted = cifar_wanted().fingerprint
        assert load(track, name, root).fingerprint == wanted
    else:
        assert len(load(track, name, root).train_labels) == MNIST["train"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # as in the fixture
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("track", TRACKS)
def test_a_download_with_another_checksum_is_refused(server, tmp_path, track, name):
    for path in server.iterdir():  # sound archives, of the same content even
        again = gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=1)
        assert again != path.read_bytes()
        path.write_bytes(again)
    said = {  # torchvision leaves the archive where it is looked for, TFDS elsewhere
        "torch": rf"has the MD5 .* published one .* run twintrack data import {name} ",
        "tensorflow": rf"^{name} must be .* by hand, and prepare",
    }
    with pytest.raises(Refused, match=said[track]):
        load(track, name, tmp_path / "root")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # as in the fixture
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("track", TRACKS)
def test_a_failed_download_is_refused_in_one_line(server, tmp_path, track, name):
    for path in server.iterdir():
        path.unlink()
    with pytest.raises(Refused, match=r"check the network, or put .*gz") as refusal:
        load(track, name, tmp_path / "root")
    assert "\n" not in str(refusal.value)


def test_torchvisions_half_unpacked_mnist_is_unpacked_again(server, tmp_path):
    sound = load("torch", "mnist", tmp_path).fingerprint
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"cut off")
    assert load("torch", "mnist", tmp_path).fingerprint == sound


@pytest.mark.parametrize("track", TRACKS)
def test_an_unknown_name_is_refused(tmp_path, track):
    with pytest.raises(Refused, match="must be mnist or cifar10, got cifar100"):
        load(track, "cifar100", tmp_path)


@pytest.mark.parametrize("track", TRACKS)
def test_what_a_track_prepared_can_be_opened_without_it(server, tmp_path, track):
    values = {"name": "cifar10", "track": track, "folder": str(tmp_path), "keep": True}
    told = fetch(values, lambda event, **rest: None)["fingerprint"]
    opened = open_data(DataRequest(source="cifar10"), cache=tmp_path)
    assert told == opened.fingerprint == cifar_wanted().fingerprint


@pytest.mark.parametrize("track", ["pt_track", "tf_track"])
def test_a_track_imports_its_downloader_only_when_it_downloads(track):
    source = Path(__file__).parents[1] / track / "data.py"
    top = ast.parse(source.read_text()).body
    imports = [
        ast.unparse(n) for n in top if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    assert imports
    assert not [line for line in imports if "torchvision" in line or "tensor" in line]
