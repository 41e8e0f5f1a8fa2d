"""A public data set in the one form and order that both tracks must bring it to."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import check_images, check_labels, whole
from common.data.fingerprint import fingerprint
from common.errors import Refused

PUBLIC = ("mnist", "cifar10")
CLASSES = {
    "mnist": tuple("0123456789"),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}
# SHA-256 of what was published, pixels and labels sorted by content: train, test.
CONTENT = {
    "mnist": (
        "0b5cd76aaead97b7c2947ec3ece583c2caeb23080e732c77d900cfc0ea8dd915",
        "356c0d4cf6d4b6251a227c84e3df3f9e645b68913909ae3cb824d5229452ad62",
    ),
    "cifar10": (
        "bfbd3c6d167103e4499b78ba4a039aac2fbb5398063c62f7e8d12d634b9403f1",
        "47f2aa745c2b3013bcaf9eb392c973b4e860cdae9e8db4f57ec3d966af8f5699",
    ),
}
# MD5 of the archives that are downloaded, which torchvision and TFDS ask for.
ARCHIVES = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    "cifar10": {
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    },
}

# No room: the disk, the quota, or the largest file that is allowed.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canonical:
    """Both official splits of a data set.

    Attributes:
        train_images: (n, h, w, c), uint8.
        train_labels: (n,), int64.
        test_images: (m, h, w, c), uint8.
        test_labels: (m,), int64.
        classes: Name of each label.

    Raises:
        Refused: Images and labels do not describe the same examples, are not uint8
            (n, h, w, c), or a label names no class.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for images, labels, split in (
            (self.train_images, self.train_labels, "train"),
            (self.test_images, self.test_labels, "test"),
        ):
            check_images(images, f"{split} images")
            check_labels(labels, self.classes, f"{split} labels")
            whole(images, labels)

    @classmethod
    def of(cls, *arrays: NDArray[Any], classes: Sequence[str]) -> Canonical:
        """From train images, train labels, test images, test labels, in that order.

        Labels of any integer type are taken, and arrays that are not contiguous.
        """
        train_images, train_labels, test_images, test_labels = arrays
        return cls(
            train_images=np.ascontiguousarray(train_images),
            train_labels=train_labels.astype(np.int64),
            test_images=np.ascontiguousarray(test_images),
            test_labels=test_labels.astype(np.int64),
            classes=tuple(classes),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the content, as `Dataset.fingerprint`."""
        train = whole(self.train_images, self.train_labels)
        test = whole(self.test_images, self.test_labels)
        return fingerprint(self.classes, (train, train.choose(slice(0, 0)), test))


def by_content(
    images: NDArray[np.uint8], labels: NDArray[np.integer]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Examples sorted by their pixels, byte by byte, and then by label.

    An order that can be had from any shuffle of the same examples: the shuffle of a
    source that numbers none of them cannot be undone, but it can be forgotten.

    Args:
        images: (n, h, w, c), uint8.
        labels: (n,).
    """
    flat = np.ascontiguousarray(images).reshape(len(images), prod(images.shape[1:]))
    # Big-endian bytes after the pixels: then the order of bytes is that of labels too.
    tail = labels.astype(">i8")[:, None].view(np.uint8)
    keyed = np.ascontiguousarray(np.concatenate([flat, tail], axis=1))
    order = np.argsort(keyed.view(f"V{keyed.shape[1]}").ravel(), kind="stable")
    return images[order], labels[order].astype(np.int64)


def content(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """SHA-256 (hex) of examples in the order of `by_content`."""
    total = hashlib.sha256(np.ascontiguousarray(images).tobytes())
    total.update(labels.astype("<i8").tobytes())
    return total.hexdigest()


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The data set that is meant by `name`, however it is spelt: CIFAR-10, MNIST."""
    plain = "".join(c for c in name.lower() if c.isalnum())
    near = [plain] if plain in names else get_close_matches(plain, names, 1)
    return near[0] if near else None


def unknown(name: str) -> Refused:
    """What to say when no track can download `name`."""
    near = nearest(name, PUBLIC)
    return Refused(
        f"a public data set must be {' or '.join(PUBLIC)}, got {name}; "
        + (f"did you mean {near}?" if near else "choose one of them")
    )


def not_fetched(name: str, error: Exception, files: str, root: Path) -> Refused:
    """What to say when `name` could not be downloaded, or is not what it should be."""
    if isinstance(error, OSError) and error.errno in FULL:
        return Refused(
            f"{name} needs room for its download, {root} has none left "
            f"({error.strerror}); free some, or choose another folder"
        )
    for file, known in ARCHIVES[name].items():
        if (found := _md5(root / file)) not in (known, None):
            return Refused(
                f"{name} is downloaded as archives with known checksums, {file} in "
                f"{root} has the MD5 {found} and the published one {known}; if its "
                f"content is right all the same, run twintrack data import {name} "
                f"{root}, else delete it"
            )
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return Refused(
        f"{name} must be downloaded once and pass its checksum, got: {why}; check the "
        f"network, or put {files} into {root} by hand, and prepare it again; files of "
        f"another form are taken by twintrack data import {name} PATH"
    )


def _md5(path: Path) -> str | None:
    """Of a file that is there."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.md5(usedforsecurity=False)
        ).hexdigest()
