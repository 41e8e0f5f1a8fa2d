"""What every data set is to the rest of twintrack: uint8 images, labels, names.

Images are canonical, (n, h, w, c).  A part of a data set selects rows of an
array that may be memory-mapped, so choosing, limiting and splitting copy no
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import Refused


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled images: one split of a data set.

    Attributes:
        images: (m, h, w, c), uint8; possibly a memory map, shared by parts.
        labels: (n,), int64, the class of each selected image.
        rows: (n,), int64, which rows of `images` are selected, in order.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        """Images (k, h, w, c) at `index` of this part, copied and contiguous."""
        return np.take(self.images, self.rows[index], axis=0)

    def choose(self, index: NDArray[np.integer] | slice) -> Part:
        """The examples at `index` of this part, with the same `images`."""
        return Part(self.images, self.labels[index], self.rows[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A named data set with its three splits.

    Attributes:
        name: What the user called it ("digits", "cifar10", a folder's name).
        classes: Name of each label, label 0 first.
        train: What is trained on.
        valid: What settings may be chosen on; may be empty.
        test: What is reported.
        fingerprint: SHA-256 (hex) of the content: pixels, labels, class names, splits.
        note: What a table must say of it ("2,000 of 50,000 training images"), or "".

    Raises:
        Refused: A part is not uint8 (n, h, w, c), the parts differ in image shape, or
            a label names no class.
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    valid: Part
    test: Part
    fingerprint: str
    note: str = ""

    def __post_init__(self) -> None:
        for split in ("train", "valid", "test"):
            part: Part = getattr(self, split)
            check_images(part.images, f"{split} images of {self.name}")
            check_labels(part.labels, self.classes, f"{split} labels of {self.name}")
            if part.images.shape[1:] != self.train.images.shape[1:]:
                raise Refused(
                    f"all parts of {self.name} must have one image shape, got "
                    f"{self.train.images.shape[1:]} in train and "
                    f"{part.images.shape[1:]} in {split}; convert one of them"
                )

    @property
    def image(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        _, h, w, c = self.train.images.shape
        return h, w, c


def whole(images: NDArray[np.uint8], labels: NDArray[np.integer]) -> Part:
    """All of `images` (n, h, w, c) with `labels` (n,), as a part."""
    if len(images) != len(labels):
        raise Refused(
            f"images and labels must describe the same examples, got {len(images)} "
            f"images and {len(labels)} labels; give one label per image"
        )
    return Part(images, labels.astype(np.int64), np.arange(len(labels)))


def check_images(images: NDArray[np.generic], what: str) -> None:
    """Refuse `images` that are not uint8 (n, h, w, c).

    Raises:
        Refused: `what` has another dtype or number of axes.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise Refused(
            f"{what} must be uint8 (n, h, w, c), got {images.dtype} {images.shape}; "
            "convert with np.moveaxis and astype"
        )


def check_labels(
    labels: NDArray[np.integer], classes: Sequence[str], what: str
) -> None:
    """Refuse labels that name none of `classes`.

    Raises:
        Refused: A label is below 0 or not below the number of classes.
    """
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise Refused(
            f"{what} must be in [0, {len(classes)}) for {len(classes)} classes, got "
            f"values from {labels.min()} to {labels.max()}; correct the labels or "
            "name every class"
        )
