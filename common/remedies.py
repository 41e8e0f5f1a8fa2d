"""What can be done when a class has 30 pictures and the others 5,000 each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]

# name -> what it does, in one line
REMEDIES = {
    "none": "nothing: every picture counts once",
    "weights": "weights in the loss by inverse frequency, capped",
    "oversample": "the photos repeated until the class is no longer rare",
    "balanced-batches": "every batch has every class equally often",
    "logit-adjust": "none's logits minus the log frequency of each class",
    "augment": "as many crops, mirrorings and recolourings of the photos",
}

# With 100, rasbt-mlp at its published rate fell to 10 to 28 % on CIFAR-10: a batch's
# loss is a weighted mean, and a single photo was half of it.
WEIGHT_CAP = 10.0
ENOUGH = 500  # pictures to which `oversample` and `augment` bring a class
AUGMENT_SEED = 0
# Crops keep so much of each side; colours move as far as deep-cnn's recipe moves them
# (brightness) and half as far (contrast, of the distance from the mean).
LEAST_SIDE = 0.7
BRIGHTNESS = 63.0
CONTRAST = (0.6, 1.4)


def overrides(remedy: str, counts: Sequence[int]) -> tuple[str, ...]:
    """What the recipe changes for a remedy; counts: training pictures per class."""
    if remedy == "weights":
        most = max(counts)
        weights = [min(most / count, WEIGHT_CAP) for count in counts]
        return (f"recipe.class_weights=({', '.join(map(repr, weights))})",)
    if remedy == "balanced-batches":
        return ("recipe.sampling=balanced",)
    return ()


def times(remedy: str, n: int) -> int:
    """How often each of `n` photos stands in the training part."""
    return max(1, round(ENOUGH / n)) if remedy == "oversample" else 1


def adjusted(
    logits: NDArray[np.floating], counts: Sequence[int]
) -> NDArray[np.float64]:
    """Logits (n, classes) minus the log of each class's share of `counts`.

    Menon et al. 2021, arXiv 2007.07314, section 4.1 with tau = 1: what a network
    trained on the given shares would say if all classes were equally frequent.
    """
    share = np.array(counts, np.float64) / sum(counts)
    return logits.astype(np.float64) - np.log(share)


def augmented(masters: Images, size: tuple[int, int]) -> Images:
    """`ENOUGH` variants (k, h, w, c) of photos (n, H, W, c), larger than `size`.

    Each photo comes once as it is, then cropped, mirrored and recoloured; all draws
    are from one seed, so both tracks get the same pictures.
    """
    from PIL import Image

    rng = np.random.default_rng(AUGMENT_SEED)
    h, w = size
    n, high, wide, c = masters.shape
    out = np.empty((max(ENOUGH, n), h, w, c), np.uint8)
    for k in range(len(out)):
        pixels = masters[k % n]
        picture = Image.fromarray(pixels if c == 3 else pixels[..., 0])
        side = 1.0 if k < n else rng.uniform(LEAST_SIDE, 1)
        left = rng.uniform(0, wide * (1 - side))
        top = rng.uniform(0, high * (1 - side))
        box = (left, top, left + side * wide, top + side * high)
        small = picture.resize((w, h), Image.Resampling.BICUBIC, box)
        value = np.asarray(small, np.float64).reshape(h, w, c)
        if k >= n:
            value = value[:, ::-1] if rng.random() < 0.5 else value
            mean = value.mean(axis=(0, 1))
            value = (value - mean) * rng.uniform(*CONTRAST) + mean
            value = value + rng.uniform(-BRIGHTNESS, BRIGHTNESS)
        out[k] = np.clip(np.rint(value), 0, 255)
    return out
