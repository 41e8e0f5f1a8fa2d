"""Seeded pictures that can be learned from, for checks that need no data set."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Dataset, Part, whole
from common.data.parts import assemble
from common.data.split import raw
from common.errors import Refused

GRID = 4  # control points per side of a smooth picture
BLOCK = 2048  # pictures made at a time, to bound the memory


def pictures(image: tuple[int, int, int], classes: int, n: int, seed: int) -> Dataset:
    """Smooth random pictures; those of a class have half of their light in common.

    They are as dark as MNIST (root mean square .3 of white; CIFAR-10 has .5): at its
    published rate `rasbt-mlp` is chaotic on brighter ones of this kind, where torch
    left itself by 4e-12 in 200 float64 steps after a start one ulp away.

    Args:
        image: (height, width, channels).
        classes: Number of classes, equally frequent.
        n: Training pictures; a quarter as many are for testing.
        seed: Of all draws.  Integer arithmetic only: the same bytes everywhere.

    Raises:
        Refused: There are fewer than two classes, or no picture for a class.
    """
    if classes < 2 or n < classes:
        raise Refused(
            f"pictures need two classes and a picture for each, got {n} of {classes}; "
            "ask for more"
        )
    shared = _smooth(image, classes, seed=(seed << 2) + 1)
    train = _part(shared, n, seed=(seed << 2) + 2)
    test = _part(shared, max(n // 4, classes), seed=(seed << 2) + 3)
    return assemble(
        "pictures",
        [str(k) for k in range(classes)],
        train,
        test,
        note=f"seeded random pictures, seed {seed}",
    )


def _part(shared: NDArray[np.int32], n: int, *, seed: int) -> Part:
    """`n` pictures: the mean of their class's picture, their own, and some grain."""
    labels = np.argsort(raw(seed, n), kind="stable") % len(shared)
    image = shared.shape[1:]
    images = np.empty((n, *image), np.uint8)
    for block, start in enumerate(range(0, n, BLOCK)):
        chosen = labels[start : start + BLOCK]
        # The first 2 ** 40 keys belong to callers; blocks take theirs from above.
        key = ((block + 1) << 40) + seed
        own = _smooth(image, len(chosen), seed=key)
        grain = _bytes((len(chosen), *image), seed=key + (1 << 80))
        mixed = (7 * (shared[chosen] + own) + 2 * grain.astype(np.int32)) >> 4
        images[start : start + BLOCK] = (mixed * mixed) >> 8
    return whole(images, labels)


def _smooth(image: tuple[int, ...], n: int, *, seed: int) -> NDArray[np.int32]:
    """(n, h, w, c), 0 to 255, int32: bilinear between random control points."""
    h, w, c = image
    points = _bytes((n, GRID, GRID, c), seed=seed + (1 << 90)).astype(np.int32)
    return _stretch(_stretch(points, h, axis=1), w, axis=2)


def _stretch(points: NDArray[np.int32], size: int, *, axis: int) -> NDArray[np.int32]:
    """Interpolate `axis` to `size`, in steps of 1 / 256."""
    at = np.arange(size) * (GRID - 1) * 256 // max(size - 1, 1)
    low = np.minimum(at >> 8, GRID - 2)
    weight = (at - (low << 8)).astype(np.int32)
    weight = weight.reshape([-1 if k == axis else 1 for k in range(4)])
    a, b = np.take(points, low, axis=axis), np.take(points, low + 1, axis=axis)
    return np.asarray((a * (256 - weight) + b * weight) >> 8, np.int32)


def _bytes(shape: tuple[int, ...], *, seed: int) -> NDArray[np.uint8]:
    words = raw(seed, -(-prod(shape) // 8)).astype("<u8")
    return words.view(np.uint8)[: prod(shape)].reshape(shape)
