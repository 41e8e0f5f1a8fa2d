"""The batch plan: which pictures, in which order, changed how, with which draws.

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


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive batches of equal size.

    Attributes:
        images: (k, batch, h, w, c): uint8, or floats where colours were changed.
        labels: (k, batch), int32.
        draws: What `Spec.draws` names -> one draw for each batch, (k, ...).
    """

    images: NDArray[np.uint8] | NDArray[np.floating]
    labels: NDArray[np.int32]
    draws: dict[str, NDArray[Any]]

    def __getitem__(self, part: slice) -> Chunk:
        """Some of the batches."""
        draws = {name: draw[part] for name, draw in self.draws.items()}
        return Chunk(self.images[part], self.labels[part], draws)

    def digest(self) -> str:
        """SHA-256 (hex) of all that a track is given."""
        total = hashlib.sha256(self.images.tobytes() + self.labels.tobytes())
        for name, draw in self.draws.items():
            total.update(name.encode() + draw.tobytes())
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
        """The batches of one epoch.

        Raises:
            ValueError: Its pictures cannot be changed as the recipe says.
        """
        check_changes(spec, recipe.augment)
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
        example += sum(draw.size for draw in spec.draws.values())
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
        if epoch >= recipe.epochs - recipe.augment.clean:
            recipe = replace(recipe, augment=Augment())
        augment = recipe.augment
        changed = augment != Augment() or spec.input != spec.image
        # To make a stream takes longer than to gather a batch of small pictures.
        steps = range(start, start + k) if changed or spec.draws else ()
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
        draws = {
            name: np.stack([draw.drawn(rng, batch) for rng in streams])
            for name, draw in spec.draws.items()
        }
        return Chunk(images.reshape(k, batch, *images.shape[1:]), labels, draws)

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
        hole: (n, 2), the corner of the square that is painted over.
        affine: (n, 2, 2), what a place (down, right) from the middle is multiplied by;
            nothing where no picture is warped.
        tint: (n, c), added; shade: (n, 2, c), for each pixel down and right.
    """

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    flip: NDArray[np.bool_]
    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]
    hole: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    affine: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2, 2)))
    tint: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 1)))
    shade: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2, 1)))


def check_changes(spec: Spec, augment: Augment) -> None:
    """Refuse changes that cannot be made to the pictures of a spec.

    Raises:
        ValueError: In one line.
    """
    (h, w, c), canvas = spec.image, _canvas(spec)
    on_canvas = augment.warps or augment.tint or augment.shade
    if on_canvas and not canvas:
        raise ValueError(
            "stretch, slant, tint and shade are for pictures on a canvas, got a "
            "network without one; use shift, brightness and contrast"
        )
    if augment.cutout and canvas:
        raise ValueError(
            f"a cutout is for pictures without a canvas, got {augment.cutout} px; set "
            "it to 0"
        )
    if len(augment.paint) not in (0, c):
        raise ValueError(
            f"a cutout's paint has a number for each channel, got {augment.paint} for "
            f"pictures of {c}; give as many"
        )
    if augment.cutout > min(spec.input[:2]):
        raise ValueError(
            f"a cutout must fit the picture, got {augment.cutout} px of "
            f"{spec.input[:2]}; use a smaller one"
        )
    if not canvas and augment.shift >= min(h, w):
        raise ValueError(
            f"a picture is moved by less than its size, got {augment.shift} px of "
            f"{(h, w)}; move it less"
        )


def draw_changes(
    rng: np.random.Generator, n: int, spec: Spec, recipe: Recipe
) -> Changes:
    """Draws for `n` pictures; a change the recipe lacks is drawn as none."""
    augment = recipe.augment
    (h, w, c), (ch, cw, _) = spec.image, spec.input
    none = np.zeros(n, np.int64)
    if _canvas(spec):
        top, left = (
            _places(rng, n, side, own, augment.shift)
            for side, own in ((ch, h), (cw, w))
        )
    else:
        h, w = h + 2 * augment.shift, w + 2 * augment.shift
        top = rng.integers(0, h - ch + 1, n) if h > ch else none
        left = rng.integers(0, w - cw + 1, n) if w > cw else none
    bound = augment.brightness
    low, high = augment.contrast or (1.0, 1.0)
    return Changes(
        top,
        left,
        rng.random(n) < 0.5 if augment.flip else none.astype(bool),
        rng.uniform(-bound, bound, n) if bound else np.zeros(n),
        rng.uniform(low, high, n) if augment.contrast else np.ones(n),
        _holes(rng, n, (ch, cw), augment.cutout),
        _affine(rng, n, augment) if augment.warps else np.zeros((0, 2, 2)),
        rng.normal(0, augment.tint, (n, c)) if augment.tint else np.zeros((0, c)),
        rng.normal(0, augment.shade, (n, 2, c))
        if augment.shade
        else np.zeros((0, 2, c)),
    )


def _canvas(spec: Spec) -> int:
    """Side of the canvas that pictures are laid on, or 0."""
    return int(getattr(spec, "canvas", 0))


def _places(
    rng: np.random.Generator, n: int, side: int, own: int, shift: int
) -> NDArray[np.int64]:
    """Where pictures of `own` px start on a canvas, along one axis, (n,)."""
    middle = (side - own) // 2
    if not shift:
        return np.full(n, middle)
    return rng.integers(max(0, middle - shift), min(side - own, middle + shift) + 1, n)


def _affine(rng: np.random.Generator, n: int, augment: Augment) -> NDArray[np.float64]:
    """Matrices (n, 2, 2) on (down, right): stretched, then slanted or turned."""
    stretch, slant = augment.stretch, augment.slant
    stretched = np.zeros((n, 2, 2))
    stretched[:, [0, 1], [0, 1]] = rng.uniform(1 - stretch, 1 + stretch, (n, 2))
    kind, by = rng.integers(0, 3, n), rng.uniform(-slant, slant, n)
    then = np.tile(np.eye(2), (n, 1, 1))
    then[:, 0, 1] = np.choose(kind, [by, 0, -np.sin(by)])
    then[:, 1, 0] = np.choose(kind, [0, by, np.sin(by)])
    then[kind == 2, 0, 0] = then[kind == 2, 1, 1] = np.cos(by[kind == 2])
    return np.asarray(then @ stretched)


def _holes(
    rng: np.random.Generator, n: int, size: tuple[int, int], side: int
) -> NDArray[np.int64]:
    """Corners of squares that lie inside, (n, 2)."""
    if not side:
        return np.zeros((n, 2), np.int64)
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
    """Move, crop, mirror, cut out, then colours: (n, *spec.input)."""
    if _canvas(spec):
        return _laid(images, changes, spec, recipe, dtype)
    h, w, _ = spec.input
    images = bordered(images, recipe.augment.shift)
    if (h, w) != images.shape[1:3]:
        windows = np.lib.stride_tricks.sliding_window_view(images, (h, w), axis=(1, 2))
        chosen = windows[np.arange(len(images)), changes.top, changes.left]
        images = np.ascontiguousarray(np.moveaxis(chosen, 1, -1))
    if changes.flip.any():
        images[changes.flip] = images[changes.flip, :, ::-1]
    if side := recipe.augment.cutout:
        tall, wide = (
            (np.arange(length) >= corner[:, None])
            & (np.arange(length) < corner[:, None] + side)
            for corner, length in zip(changes.hole.T, (h, w), strict=True)
        )
        images[tall[:, :, None] & wide[:, None]] = recipe.augment.paint or 0
    if not recipe.augment.recolours:
        return images
    return _recoloured(images.astype(dtype), changes)


def _recoloured(images: NDArray[np.floating], changes: Changes) -> NDArray[np.floating]:
    """Brightness, then contrast."""
    n, h, w, c = images.shape
    dtype = images.dtype
    # Rows of w * c values and einsum: with a last axis of 3, NumPy's own sums and
    # broadcasts take five times as long.
    pixels = images.reshape(n, h, w * c)
    pixels += changes.brightness.astype(dtype)[:, None, None]
    values = pixels.reshape(n, h * w, c)
    # (With one channel, the order in which einsum adds depends on the processor.)
    total = np.einsum("npc->nc", values) if c > 1 else values.sum(axis=1)
    means = np.tile(total / (h * w), w)[:, None]
    pixels -= means
    pixels *= changes.contrast.astype(dtype)[:, None, None]
    pixels += means
    return pixels.reshape(n, h, w, c)


def _laid(
    images: NDArray[np.uint8],
    changes: Changes,
    spec: Spec,
    recipe: Recipe,
    dtype: str,
) -> NDArray[np.uint8] | NDArray[np.floating]:
    """Mirror, lay on the canvas, stretched and slanted, then colours."""
    augment, side = recipe.augment, _canvas(spec)
    ground = int(spec.ground)  # type: ignore[attr-defined]
    n, h, w, c = images.shape
    if changes.flip.any():
        images[changes.flip] = images[changes.flip, :, ::-1]
    if augment.warps:
        laid: NDArray[Any] = _warped(images.astype(dtype), changes, side, ground)
    else:
        kind = dtype if augment.recolours else np.uint8
        laid = np.full((n, side, side, c), ground, kind)
        down = changes.top[:, None, None] + np.arange(h)[:, None]
        right = changes.left[:, None, None] + np.arange(w)
        laid[np.arange(n)[:, None, None], down, right] = images
    if augment.tint or augment.shade:
        laid += _tinted(laid, changes, (h, w), ground)
    if augment.brightness or augment.contrast:
        return _recoloured(laid, changes)
    return laid


# A pixel that differs from the canvas by no more in every channel is the canvas.
GROUND = 2.0


def _tinted(
    laid: NDArray[np.floating], changes: Changes, size: tuple[int, int], ground: int
) -> NDArray[np.floating]:
    """What tint and shade add to pictures of `size` on a canvas."""
    n, side, _, c = laid.shape
    added = np.zeros((n, side, side, c), laid.dtype)
    if len(changes.tint):
        added += changes.tint.astype(laid.dtype)[:, None, None]
    if len(changes.shade):
        corners = (changes.top, changes.left)
        for axis, (corner, length) in enumerate(zip(corners, size, strict=True)):
            away = np.arange(side) - (corner + length // 2)[:, None]
            shape = (n, side, 1, 1) if axis == 0 else (n, 1, side, 1)
            by = changes.shade[:, axis][:, None, None]
            added += (away.reshape(shape) * by).astype(laid.dtype)
    picture = (np.abs(laid - ground) > GROUND).any(axis=3, keepdims=True)
    return np.where(picture, added, np.zeros((), laid.dtype))


def _warped(
    images: NDArray[np.floating], changes: Changes, side: int, ground: int
) -> NDArray[np.floating]:
    """Pictures on a canvas, their pixels between four of the original's (bilinear)."""
    n, h, w, c = images.shape
    pads = ((0, 0), (1, 1), (1, 1), (0, 0))
    wide = np.pad(images, pads, constant_values=ground).reshape(-1, c)
    back = np.linalg.inv(changes.affine)
    # Places (down, right) of the canvas's pixels, from the middle of the picture.
    down, right = (
        np.arange(side) - (corner + (length - 1) / 2)[:, None]
        for corner, length in ((changes.top, h), (changes.left, w))
    )
    from_y, from_x = (
        back[:, axis, 0, None, None] * down[:, :, None]
        + back[:, axis, 1, None, None] * right[:, None, :]
        for axis in (0, 1)
    )
    y = np.clip(from_y + (h - 1) / 2, -1, h) + 1
    x = np.clip(from_x + (w - 1) / 2, -1, w) + 1
    y0, x0 = (np.minimum(y.astype(np.int64), h), np.minimum(x.astype(np.int64), w))
    ly, lx = ((v - v0).astype(images.dtype)[..., None] for v, v0 in ((y, y0), (x, x0)))
    first = (np.arange(n) * ((h + 2) * (w + 2)))[:, None, None]
    at = first + y0 * (w + 2) + x0
    above = wide[at] * (1 - lx) + wide[at + 1] * lx
    below = wide[at + w + 2] * (1 - lx) + wide[at + w + 3] * lx
    return np.asarray(above * (1 - ly) + below * ly)


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
