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
from dataclasses import dataclass
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
        changed = recipe.augment != Augment() or spec.input != spec.image
        # To make a stream takes longer than to gather a batch of small pictures.
        steps = range(start, start + k) if changed or spec.masks else ()
        streams = [self._stream(1, epoch, step) for step in steps]
        if changed:
            changes = [draw_changes(rng, batch, spec, recipe) for rng in streams]
            images = apply_changes(images, _joined(changes), spec, recipe, self.dtype)
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
        top, left: (n,), the corner of the crop, in pixels.
        flip: (n,), bool, whether it is mirrored.
        brightness: (n,), added to every value.
        contrast: (n,), factor on the distance from each channel's mean.
    """

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    flip: NDArray[np.bool_]
    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]


def draw_changes(
    rng: np.random.Generator, n: int, spec: Spec, recipe: Recipe
) -> Changes:
    """Draws for `n` pictures; a change the recipe lacks is drawn as none."""
    augment = recipe.augment
    (h, w, _), (ch, cw, _) = spec.image, spec.input
    none = np.zeros(n, np.int64)
    bound = augment.brightness
    low, high = augment.contrast or (1.0, 1.0)
    return Changes(
        rng.integers(0, h - ch + 1, n) if h > ch else none,
        rng.integers(0, w - cw + 1, n) if w > cw else none,
        rng.random(n) < 0.5 if augment.flip else none.astype(bool),
        rng.uniform(-bound, bound, n) if bound else np.zeros(n),
        rng.uniform(low, high, n) if augment.contrast else np.ones(n),
    )


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
    """Crop, mirror, then brightness and contrast: pictures (n, *spec.input)."""
    h, w, _ = spec.input
    if (h, w) != images.shape[1:3]:
        windows = np.lib.stride_tricks.sliding_window_view(images, (h, w), axis=(1, 2))
        chosen = windows[np.arange(len(images)), changes.top, changes.left]
        images = np.ascontiguousarray(np.moveaxis(chosen, 1, -1))
    if changes.flip.any():
        images[changes.flip] = images[changes.flip, :, ::-1]
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
