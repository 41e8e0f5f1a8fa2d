"""The embedded data set: scikit-learn's 1,797 real digits of 8x8 pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.data.cache import IMAGES, Content, write_images
from common.data.split import stratified

TRAIN = 1000  # images to train on; the other 797 are for testing
SEED = 0  # of the split


def build_digits(folder: Path) -> Content:
    """Write the digits into `folder`, in scikit-learn's order.

    Their grey values 0 to 16 become 0 to 255: (255 v + 8) // 16, so rounded.
    """
    # Imported here: it takes a second, and a cached data set never needs it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = digits.images.astype(np.int64)  # (1797, 8, 8), 0 to 16
    labels = digits.target.astype(np.int64)
    split = np.ones(len(labels), np.uint8)
    split[stratified(labels, TRAIN, SEED)] = 0
    images = ((255 * grey + 8) // 16).astype(np.uint8)[..., None]
    write_images(folder / IMAGES, iter(images))
    return Content(
        name="digits",
        classes=tuple("0123456789"),
        labels=labels,
        split=split,
    )
