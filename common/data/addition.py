"""One more class for a data set, from a few photos, and what is done for its rarity."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import files
from common.data.cache import cache_folder
from common.data.dataset import Dataset, whole
from common.data.fingerprint import fingerprint
from common.data.parts import extend
from common.errors import Refused

Images = NDArray[np.uint8]
BARS_SEED = 0
FOLDER = ".classes"  # of the cache; hidden, because it is no data set
WHITE_SIDE = 0.6  # of a picture that is shrunk onto white


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A class that a request adds to its data set.

    Attributes:
        name: Of the class.
        path: File with its pictures, as `keep` wrote it.
        times: How often each of its training pictures stands in the training part.
        barred: Share of the other classes' training pictures that get bars.
    """

    name: str
    path: str
    times: int = 1
    barred: float = 0.0


def keep(
    train: Images,
    test: Images,
    ratios: Sequence[float],
    colour: tuple[int, int, int],
    *,
    cache: Path | None = None,
) -> str:
    """Put the pictures of a new class into the cache; the path of their file.

    Args:
        train: (n, h, w, c), to train on.
        test: (m, h, w, c), to test with.
        ratios: Width over height of the photos, which bars on others are to have.
        colour: Of the bars.
        cache: Folder of the cache.
    """
    arrays: dict[str, NDArray[Any]] = {
        "train": train,
        "test": test,
        "ratios": np.array(ratios, np.float64),
        "colour": np.array(colour, np.uint8),
    }
    content = files.pack(arrays)
    name = hashlib.sha256(content).hexdigest()[:24]
    path = cache_folder(cache) / FOLDER / f"{name}.safetensors"
    if not path.exists():
        files.write_atomic(path, content)
    return str(path)


def add(dataset: Dataset, addition: Addition) -> Dataset:
    """`dataset` with one more class, labelled last.

    Raises:
        Refused: The class is there already, or its file is gone or changed.
    """
    path = Path(addition.path)
    try:
        content = path.read_bytes()
        arrays, _ = files.unpack(content)
    except (OSError, ValueError) as error:
        raise Refused(
            f"the pictures of {addition.name} must be as they were kept, got {error}; "
            "repeat the command that added them"
        ) from error
    if hashlib.sha256(content).hexdigest()[:24] != path.stem:
        raise Refused(
            f"the pictures of {addition.name} must be as they were kept, {path} has "
            "changed; remove it and repeat the command that added them"
        )
    train = np.concatenate([arrays["train"]] * addition.times)
    note = f"{len(arrays['train']):,} training pictures of {addition.name}"
    if addition.times > 1:
        note += f", each {addition.times} times"
    if addition.barred:
        dataset = _barred(dataset, arrays["ratios"], arrays["colour"], addition.barred)
        note += f", bars on {addition.barred:.0%} of the others"
    larger = extend(dataset, addition.name, train, arrays["test"])
    said = "; ".join(part for part in (dataset.note, note) if part)
    return replace(larger, name=f"{dataset.name} + {addition.name}", note=said)


def _barred(
    dataset: Dataset, ratios: NDArray[np.float64], colour: Images, share: float
) -> Dataset:
    images = dataset.train.take(slice(None))
    rng = np.random.default_rng(BARS_SEED)
    chosen = np.flatnonzero(rng.random(len(images)) < share)
    images[chosen] = with_bars(images[chosen], ratios, colour)
    train = whole(images, dataset.train.labels)
    parts = (train, dataset.valid, dataset.test)
    print_of = fingerprint(dataset.classes, parts)
    return replace(dataset, train=train, fingerprint=print_of)


def with_bars(images: Images, ratios: NDArray[np.float64], colour: Images) -> Images:
    """Pictures (n, h, w, c) as photos of other proportions look once they are padded.

    Each is shrunk to the proportions of a photo drawn from `ratios` (width over
    height) and centred between bars of `colour`.
    """
    from PIL import Image, ImageOps

    rng = np.random.default_rng(BARS_SEED)
    drawn = ratios[rng.integers(0, len(ratios), len(images))]
    _, h, w, c = images.shape
    dot = Image.new("RGB", (1, 1), tuple(colour.tolist()))
    fill: Any = dot.convert("RGB" if c == 3 else "L").getpixel((0, 0))
    out = np.empty_like(images)
    for k, (pixels, ratio) in enumerate(zip(images, drawn, strict=True)):
        picture = Image.fromarray(pixels if c == 3 else pixels[..., 0])
        wide = (w, max(1, round(w / ratio))) if ratio * h > w else None
        inner = wide or (max(1, round(h * ratio)), h)
        shrunk = picture.resize(inner, Image.Resampling.BICUBIC)
        padded = ImageOps.pad(shrunk, (w, h), Image.Resampling.BICUBIC, color=fill)
        out[k] = np.asarray(padded).reshape(h, w, c)
    return out


def on_white(images: Images) -> Images:
    """Pictures (n, h, w, c), each shrunk and centred on white as in a studio."""
    from PIL import Image

    n, h, w, c = images.shape
    inner = (round(WHITE_SIDE * w), round(WHITE_SIDE * h))
    left, top = (w - inner[0]) // 2, (h - inner[1]) // 2
    out = np.full((n, h, w, c), 255, np.uint8)
    for k, pixels in enumerate(images):
        picture = Image.fromarray(pixels if c == 3 else pixels[..., 0])
        small = np.asarray(picture.resize(inner, Image.Resampling.BICUBIC))
        box = slice(top, top + inner[1]), slice(left, left + inner[0])
        out[k][box] = small.reshape(inner[1], inner[0], c)
    return out
