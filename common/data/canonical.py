"""A public data set in the one form and order that both tracks must bring it to."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import check_images, check_labels, whole
from common.data.fingerprint import fingerprint
from common.errors import Refused

PUBLIC = ("mnist", "cifar10")

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


def unknown(name: str) -> Refused:
    """What to say when no track can download `name`."""
    return Refused(
        f"a public data set must be {' or '.join(PUBLIC)}, got {name}; choose one of "
        "them"
    )


def not_fetched(name: str, error: Exception, files: str, root: Path) -> Refused:
    """What to say when `name` could not be downloaded, or is not what it should be."""
    if isinstance(error, OSError) and error.errno in FULL:
        return Refused(
            f"{name} needs room for its download, {root} has none left "
            f"({error.strerror}); free some, or choose another folder"
        )
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return Refused(
        f"{name} must be downloaded once and pass its checksum, got: {why}; check the "
        f"network, or put {files} into {root} by hand, and prepare it again"
    )
