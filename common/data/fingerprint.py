"""The hash that identifies a data set by its content, however it is stored."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.photos.decode import RESIZED

if TYPE_CHECKING:  # `Dataset.from_arrays` is built on this module
    from common.data.dataset import Part

# Changing anything below changes every fingerprint, so it changes this number.
VERSION = 1

# Bytes of pixels per inner hash: many, so that hashing runs on all cores, and few, so
# that a part whose rows must be gathered first never holds a second copy of itself.
BLOCK = 4 << 20


def fingerprint(classes: Sequence[str], parts: Sequence[Part]) -> str:
    """SHA-256 (hex) of splits, class names, labels and pixels.

    Args:
        classes: Name of each label.
        parts: The train, valid and test parts.

    Returns:
        A hash of the content alone: the same for a memory map, an array, and rows
        chosen from a larger array.
    """
    header: dict[str, object] = {
        "twintrack data": VERSION,
        "classes": list(classes),
        "image": list(parts[0].images.shape[1:]),
        "sizes": [len(part) for part in parts],
    }
    if parts[0].size:
        header["resized"] = [*parts[0].size, RESIZED]
    total = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for part in parts:
            total.update(np.ascontiguousarray(part.labels, dtype="<i8").data)
            for digest in pool.map(_digest, *_blocks(part)):
                total.update(digest)
    return total.hexdigest()


def _blocks(part: Part) -> tuple[Iterator[Part], Iterator[slice]]:
    """The part again and again, and the slices of it to hash, of about BLOCK bytes."""
    step = max(1, BLOCK // max(1, prod(part.images.shape[1:])))
    starts = range(0, len(part), step)
    return (part for _ in starts), (slice(i, i + step) for i in starts)


def _digest(part: Part, block: slice) -> bytes:
    return hashlib.sha256(_pixels(part, block).data).digest()


def _pixels(part: Part, block: slice) -> NDArray[np.uint8]:
    """The images of `block`, uncopied where they already lie side by side."""
    rows = part.rows[block]
    if rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return np.ascontiguousarray(part.images[rows[0] : rows[-1] + 1])
    return np.take(part.images, rows, axis=0)
