"""A public data set from files that lie on this machine, whatever packed them.

What is published are the contents: of MNIST four unpacked files, of CIFAR-10 60,000
pictures with labels and a split.  Archives, and folders of lossless pictures, are ways
to carry them, and each carries its own checksum.  So contents are checked, and then
the data set is the one that a track would have downloaded, in the same order.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.canonical import PUBLIC, Canonical, by_content, unknown
from common.data.folder import scan
from common.data.layout import TEST, TRAIN
from common.errors import Refused

# MD5 of the unpacked files that yann.lecun.com published; torchvision's list has that
# of the archives.
MNIST_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
HEADERS = {"images": 16, "labels": 8}  # bytes: a magic number and the sizes, idx format
# SHA-256 of CIFAR-10's pixels and labels, sorted by content: train, then test.
CIFAR10_CONTENT = (
    "bfbd3c6d167103e4499b78ba4a039aac2fbb5398063c62f7e8d12d634b9403f1",
    "47f2aa745c2b3013bcaf9eb392c973b4e860cdae9e8db4f57ec3d966af8f5699",
)


def read_at_hand(name: str, folder: Path) -> Canonical:
    """Both splits of `name` from `folder`, checked, in canonical order.

    Args:
        name: "mnist": four idx files, gzipped or not; or "cifar10": lossless pictures
            as {train,test}/<class>/*.
        folder: Where they are.

    Raises:
        Refused: Files are missing, or are not what was published.
    """
    if name not in PUBLIC:
        raise unknown(name)
    if not folder.is_dir():
        raise Refused(f"--from names a folder that is there, got {folder}; check it")
    return _mnist(folder) if name == "mnist" else _cifar10(folder)


def _mnist(folder: Path) -> Canonical:
    arrays = [_idx(folder, file) for file in MNIST_FILES]
    train = by_content(arrays[0].reshape(-1, 28, 28, 1), arrays[1])
    test = by_content(arrays[2].reshape(-1, 28, 28, 1), arrays[3])
    return Canonical.of(*train, *test, classes="0123456789")


def _idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """The values of an idx file, flat."""
    # Some unpack "train-images-idx3-ubyte" as "train-images.idx3-ubyte".
    names = [name, name.replace("-idx", ".idx")]
    there = [folder / f"{n}{end}" for n in names for end in ("", ".gz")]
    path = next((p for p in there if p.exists()), None)
    if path is None:
        raise Refused(
            f"MNIST is {', '.join(MNIST_FILES)}, each with .gz or without, {folder} "
            f"has no {name}; put all four there"
        )
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(
            f"a file of MNIST must be readable, {path} is not ({error}); get it again"
        ) from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != MNIST_FILES[name]:
        raise Refused(
            f"a file of MNIST must be the published one, {path} has unpacked the MD5 "
            f"{found} instead of {MNIST_FILES[name]}; get it again"
        )
    kind = "images" if "images" in name else "labels"
    return np.frombuffer(content, np.uint8, offset=HEADERS[kind])


def _cifar10(folder: Path) -> Canonical:
    listing = scan(folder)
    if [part for part, _ in listing.arranged.tops] != [TRAIN, TEST]:
        raise Refused(
            f"CIFAR-10 has an official split, {folder} has no train/ and test/ with "
            "pictures in class folders, or more than these; arrange it so"
        )
    images: tuple[list[NDArray[np.uint8]], ...] = ([], [])
    labels: tuple[list[int], ...] = ([], [])
    for split, label, path in listing.files():
        images[split].append(_pixels(path))
        labels[split].append(label)
    parts = [
        by_content(np.stack(found), np.array(known))
        for found, known in zip(images, labels, strict=True)
    ]
    for part, wanted, name in zip(
        parts, CIFAR10_CONTENT, ("train", "test"), strict=True
    ):
        if content(*part) != wanted:
            raise Refused(
                f"CIFAR-10 must have the published pixels, {folder / name} has others "
                f"in its {len(part[1]):,} pictures (a copy as JPEG has); use it under "
                f"its own name as --data {folder}, or get a lossless copy"
            )
    return Canonical.of(*parts[0], *parts[1], classes=listing.classes)


def _pixels(path: Path) -> NDArray[np.uint8]:
    from PIL import Image  # not for `twintrack data` alone

    try:
        with Image.open(path) as image:
            found = np.asarray(image)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(
            f"every file of CIFAR-10 must be a picture, {path} is none ({error}); get "
            "it again"
        ) from error
    if found.shape != (32, 32, 3) or found.dtype != np.uint8:
        raise Refused(
            "a picture of CIFAR-10 has 32 x 32 pixels of three 8-bit colours, "
            f"{path} has {found.shape} of {found.dtype}; get the data again"
        )
    return found


def content(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """SHA-256 (hex) of examples in the order of `by_content`."""
    total = hashlib.sha256(np.ascontiguousarray(images).tobytes())
    total.update(labels.astype("<i8").tobytes())
    return total.hexdigest()
