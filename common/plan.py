"""The batch plan: which pictures, in which order, changed how, with which masks.

Everything random in training is drawn here, in NumPy, from one seed, and replayed
in both tracks.  A draw depends only on (seed, epoch, step), so a run that goes on
from a later epoch sees what it would have seen.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data import Part
from common.recipe import Augment, Recipe
from common.spec import Spec

# Batches that are handed over together, so that the cost of preparing them and of
# entering a framework is shared.  The sizes were tried on two cores.
CHUNK_BYTES = 8_000_000
CHUNK_BATCHES = 200
# How far preparation runs ahead of training, in chunks.
AHEAD = 3
# Masks compare 16 random bits with a threshold: rates are exact to 1 / 65536.
MASK_LEVELS = 65536


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive batches of equal size.

    Attributes:
        images: (k, batch, h, w, c): uint8, or floats where colours were changed.
        labels: (k, batch), int32.
        masks: Dropout layer -> (k, batch, *shape), bool; true where kept.
    """

    images: NDArray[np.uint8] | NDArray[np.floating]
    labels: NDArray[np.int32]
    masks: dict[str, NDArray[np.bool_]]

    def __getitem__(self, part: slice) -> Chunk:
        """Some of the batches."""
        masks = {name: mask[part] for name, mask in self.masks.items()}
        return Chunk(self.images[part], self.labels[part], masks)

    def digest(self) -> str:
        """SHA-256 (hex) of all that a track is given."""
        total = hashlib.sha256(self.images.tobytes() + self.labels.tobytes())
        for name, mask in self.masks.items():
            total.update(name.encode() + mask.tobytes())
        return total.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The randomness of one run.

    Attributes:
        seed: Where all draws come from.
        dtype: Of the pictures whose colours were changed: "float64" in strict mode.
    """

    seed: int
    dtype: str = "float32"

    def order(
        self, epoch: int, labels: NDArray[np.int64], sampling: str
    ) -> NDArray[np.int64]:
        """Which examples `epoch` sees, (n,), of n `labels`; see `Recipe.sampling`."""
        rng, n = self._stream(0, epoch), len(labels)
        if sampling == "shuffled":
            return rng.permutation(n)
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        turns = -(-n // len(members))
        return np.stack([_again(rng, rows, turns) for rows in members], 1).ravel()[:n]

    def chunks(
        self, part: Part, spec: Spec, recipe: Recipe, epoch: int
    ) -> Iterator[Chunk]:
        """The batches of one epoch."""
        order = self.order(epoch, part.labels, recipe.sampling)
        batch, n = recipe.batch, len(part)
        whole = n // batch
        many = self._batches_per_chunk(part, spec, recipe)
        for start in range(0, whole, many):
            stop = min(start + many, whole)
            rows = order[start * batch : stop * batch].reshape(-1, batch)
            yield self._chunk(part, spec, recipe, epoch, start, rows)
        if n % batch and not recipe.drop_last:
            rows = order[whole * batch :].reshape(1, -1)
            yield self._chunk(part, spec, recipe, epoch, whole, rows)

    def _batches_per_chunk(self, part: Part, spec: Spec, recipe: Recipe) -> int:
        width = 1 if not recipe.augment.recolours else np.dtype(self.dtype).itemsize
        example = prod(spec.input) * width
        example += sum(prod(shape) for shape, _ in spec.masks.values())
        fits = CHUNK_BYTES // (example * recipe.batch)
        return int(min(max(fits, 1), CHUNK_BATCHES))

    def _chunk(
        self,
        part: Part,
        spec: Spec,
        recipe: Recipe,
        epoch: int,
        start: int,
        rows: NDArray[np.int64],
    ) -> Chunk:
        k, batch = rows.shape
        images: NDArray[Any] = part.take(rows.ravel())
        labels = part.labels[rows].astype(np.int32)
        augment = recipe.augment
        changed = augment != Augment() or spec.input != spec.image
        # To make a stream takes longer than to gather a batch of small pictures.
        steps = range(start, start + k) if changed or spec.masks else ()
        streams = [self._stream(1, epoch, step) for step in steps]
        if changed:
            changes = [draw_changes(rng, batch, spec, recipe) for rng in streams]
            joined = _joined(changes)
            if augment.alternate != "never":
                # One draw for each picture of the run, not for each time it is seen.
                first = self._stream(2).random(len(part)) < 0.5
                again = (epoch % 2 == 1) == (augment.alternate == "odd")
                joined = replace(joined, flip=first[rows.ravel()] ^ again)
            images = apply_changes(images, joined, spec, recipe, self.dtype)
        masks = {
            name: np.stack([self.mask(rng, (batch, *shape), rate) for rng in streams])
            for name, (shape, rate) in spec.masks.items()
        }
        return Chunk(images.reshape(k, batch, *images.shape[1:]), labels, masks)

    @staticmethod
    def mask(
        rng: np.random.Generator, shape: tuple[int, ...], rate: float
    ) -> NDArray[np.bool_]:
        """Which values stay when a share `rate` is dropped."""
        bits = np.frombuffer(rng.bytes(2 * prod(shape)), dtype="<u2")
        return (bits >= round(rate * MASK_LEVELS)).reshape(shape)

    def _stream(self, *purpose: int) -> np.random.Generator:
        key = np.random.SeedSequence([self.seed, *purpose])
        return np.random.Generator(np.random.Philox(key))


def _again(
    rng: np.random.Generator, rows: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """`n` of `rows`: each once before any comes again, every time in a new order."""
    rounds = [rng.permutation(rows) for _ in range(-(-n // len(rows)))]
    return np.concatenate(rounds)[:n]


@dataclass(frozen=True, slots=True)
class Changes:
    """What happens to each of n pictures.

    Attributes:
        top, left: (n,), the corner of the crop, in pixels, of the picture with the
            border that `Augment.shift` gives it.
        flip: (n,), bool, whether it is mirrored.
        brightness: (n,), added to every value.
        contrast: (n,), factor on the distance from each channel's mean.
        hole: (n, 2), the corner of the square of black.
    """

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    flip: NDArray[np.bool_]
    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]
    hole: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))


def draw_changes(
    rng: np.random.Generator, n: int, spec: Spec, recipe: Recipe
) -> Changes:
    """Draws for `n` pictures; a change the recipe lacks is drawn as none."""
    augment = recipe.augment
    (h, w, _), (ch, cw, _) = spec.image, spec.input
    none = np.zeros(n, np.int64)
    h, w = h + 2 * augment.shift, w + 2 * augment.shift
    bound = augment.brightness
    low, high = augment.contrast or (1.0, 1.0)
    return Changes(
        rng.integers(0, h - ch + 1, n) if h > ch else none,
        rng.integers(0, w - cw + 1, n) if w > cw else none,
        rng.random(n) < 0.5 if augment.flip else none.astype(bool),
        rng.uniform(-bound, bound, n) if bound else np.zeros(n),
        rng.uniform(low, high, n) if augment.contrast else np.ones(n),
        _holes(rng, n, (ch, cw), augment.cutout),
    )


def _holes(
    rng: np.random.Generator, n: int, size: tuple[int, int], side: int
) -> NDArray[np.int64]:
    """Corners of squares that lie inside, (n, 2)."""
    if not side:
        return np.zeros((n, 2), np.int64)
    if side > min(size):
        raise ValueError(
            f"a cutout must fit the picture, got {side} px of {size}; use a smaller one"
        )
    return np.stack([rng.integers(0, own - side + 1, n) for own in size], 1)


def _joined(changes: list[Changes]) -> Changes:
    fields = Changes.__slots__
    return Changes(*(np.concatenate([getattr(c, f) for c in changes]) for f in fields))


def apply_changes(
    images: NDArray[np.uint8],
    changes: Changes,
    spec: Spec,
    recipe: Recipe,
    dtype: str,
) -> NDArray[np.uint8] | NDArray[np.floating]:
    """Move, crop, mirror, cut out, then brightness and contrast: (n, *spec.input)."""
    h, w, _ = spec.input
    images = bordered(images, recipe.augment.shift)
    if (h, w) != images.shape[1:3]:
        windows = np.lib.stride_tricks.sliding_window_view(images, (h, w), axis=(1, 2))
        chosen = windows[np.arange(len(images)), changes.top, changes.left]
        images = np.ascontiguousarray(np.moveaxis(chosen, 1, -1))
    if changes.flip.any():
        images[changes.flip] = images[changes.flip, :, ::-1]
    if side := recipe.augment.cutout:
        for image, (top, left) in zip(images, changes.hole, strict=True):
            image[top : top + side, left : left + side] = 0
    if not recipe.augment.recolours:
        return images
    n, _, _, c = images.shape
    # Rows of w * c values and einsum: with a last axis of 3, NumPy's own sums and
    # broadcasts take five times as long.
    pixels: NDArray[np.floating] = images.astype(dtype).reshape(n, h, w * c)
    pixels += changes.brightness.astype(dtype)[:, None, None]
    values = pixels.reshape(n, h * w, c)
    # (With one channel, the order in which einsum adds depends on the processor.)
    total = np.einsum("npc->nc", values) if c > 1 else values.sum(axis=1)
    means = np.tile(total / (h * w), w)[:, None]
    pixels -= means
    pixels *= changes.contrast.astype(dtype)[:, None, None]
    pixels += means
    return pixels.reshape(n, h, w, c)


def bordered(images: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Pictures (n, h, w, c) with a border of their own reflection.

    Raises:
        ValueError: It is as wide as a picture, which has no more to reflect.
    """
    if not width:
        return images
    if width >= min(images.shape[1:3]):
        raise ValueError(
            f"a picture is moved by less than its size, got {width} px of "
            f"{images.shape[1:3]}; move it less"
        )
    sides = (width, width)
    return np.pad(images, ((0, 0), sides, sides, (0, 0)), "reflect")


def ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same chunks, prepared in a thread while the ones before are trained on."""
    ready: queue.Queue[Chunk | BaseException | None] = queue.Queue(AHEAD)
    stopped = threading.Event()

    def put(item: Chunk | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for chunk in chunks:
                put(chunk)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # raised again by the reader
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
