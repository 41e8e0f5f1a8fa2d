"""Public data from files that lie on this machine: the same data set, or a refusal."""

import gzip
import hashlib
import struct

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import prepare
from common.data import DataRequest, at_hand, open_data
from common.data.canonical import by_content
from common.errors import Refused

CLASSES = ("cat", "dog", "ship")


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Four small idx files, one gzipped, one named as some unpack it."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "idx"
    folder.mkdir()
    arrays = {}
    for name in at_hand.MNIST_FILES:
        n = 20 if name.startswith("train") else 8
        labels = "labels" in name
        values = rng.integers(0, 10 if labels else 256, n if labels else (n, 28, 28))
        values = values.astype(np.uint8)
        sizes = struct.pack(f">{values.ndim}i", *values.shape)
        packed = bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()
        digest = hashlib.md5(packed, usedforsecurity=False).hexdigest()
        monkeypatch.setitem(at_hand.MNIST_FILES, name, digest)
        (folder / name).write_bytes(packed)
        arrays[name] = values
    first = folder / "train-images-idx3-ubyte"
    (folder / f"{first.name}.gz").write_bytes(gzip.compress(first.read_bytes()))
    first.unlink()
    last = folder / "t10k-labels-idx1-ubyte"
    last.rename(folder / "t10k-labels.idx1-ubyte")
    return folder, arrays


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Small folders of lossless pictures, and the content that is asked for."""
    rng = np.random.default_rng(1)
    digests = []
    for split, each in (("train", 4), ("test", 2)):
        images, labels = [], []
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "cifar" / split / name
            folder.mkdir(parents=True)
            for k in range(each):
                pixels = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.png")
                images.append(pixels)
                labels.append(label)
        sorted_ = by_content(np.stack(images), np.array(labels))
        digests.append(at_hand.content(*sorted_))
    monkeypatch.setattr(at_hand, "CIFAR10_CONTENT", tuple(digests))
    return tmp_path / "cifar"


def test_mnists_files_become_the_data_set(mnist, tmp_path):
    folder, arrays = mnist
    prepare("mnist", at_hand=folder, cache=tmp_path / "cache")
    found = open_data(DataRequest(source="mnist"), cache=tmp_path / "cache")
    images = arrays["train-images-idx3-ubyte"][..., None]
    wanted = by_content(images, arrays["train-labels-idx1-ubyte"])
    assert (found.train.take(slice(None)) == wanted[0]).all()
    assert (found.train.labels == wanted[1]).all()
    assert (found.name, len(found.test)) == ("mnist", 8)


def test_cifars_pictures_become_the_data_set(cifar, tmp_path):
    prepare("cifar10", at_hand=str(cifar), cache=tmp_path / "cache")
    found = open_data(DataRequest(source="cifar10"), cache=tmp_path / "cache")
    assert (found.name, found.classes) == ("cifar10", CLASSES)
    assert (len(found.train), len(found.test)) == (12, 6)


def test_the_order_of_the_files_is_forgotten(cifar):
    first = at_hand.read_at_hand("cifar10", cifar)
    one, other = cifar / "train/cat/0.png", cifar / "train/cat/1.png"
    one.rename(cifar / "train/cat/zzz.png")
    other.rename(cifar / "train/cat/aaa.png")
    again = at_hand.read_at_hand("cifar10", cifar)
    assert again.fingerprint == first.fingerprint


def test_one_changed_pixel_is_refused(cifar):
    path = cifar / "test/dog/1.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    with pytest.raises(Refused, match=r"published pixels, .*test has others in its 6 "):
        at_hand.read_at_hand("cifar10", cifar)


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("mnist", "t10k-images-idx3-ubyte", "the published one, .* has unpacked the"),
        ("mnist", "train-images-idx3-ubyte.gz", "must be readable, .* is not"),
        ("cifar10", "train/cat/0.png", "must be a picture, .* is none"),
    ],
)
def test_damaged_files_are_named(mnist, cifar, name, spoil, said):
    folder = mnist[0] if name == "mnist" else cifar
    (folder / spoil).write_bytes((folder / spoil).read_bytes()[:-9][:40])
    with pytest.raises(Refused, match=said) as refusal:
        at_hand.read_at_hand(name, folder)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_named(mnist):
    folder, _ = mnist
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(Refused, match="has no train-labels-idx1-ubyte; put all four"):
        at_hand.read_at_hand("mnist", folder)


def test_a_grey_picture_or_no_split_is_no_cifar(cifar, tmp_path):
    Image.new("L", (32, 32)).save(cifar / "train/cat/0.png")
    with pytest.raises(Refused, match="three 8-bit colours"):
        at_hand.read_at_hand("cifar10", cifar)
    with pytest.raises(Refused, match="has no train/ and test/"):
        at_hand.read_at_hand("cifar10", cifar / "train")


def test_only_public_sets_and_folders_that_are_there(tmp_path):
    with pytest.raises(Refused, match="must be mnist or cifar10, got digits"):
        prepare("digits", at_hand=tmp_path, cache=tmp_path)
    with pytest.raises(Refused, match="a folder that is there"):
        prepare("mnist", at_hand=tmp_path / "none", cache=tmp_path)
