"""What a network is given besides pictures: masks of dropout, starts of regions.

Both are drawn in NumPy and handed to both tracks.  In training they come from the
plan's streams.  Regions are drawn when a network is judged, too: there from the picture
itself and the number of the repeat, so they are the same in both tracks, in any batch
and order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
# Masks compare 16 random bits with a threshold: rates are exact to 1 / 65536.
MASK_LEVELS = 65536
WINDOW = 2  # pixels, of a region; a disjoint one may have 1


@runtime_checkable
class Draw(Protocol):
    """Something that is drawn anew for every batch."""

    @property
    def size(self) -> int:
        """Bytes for one picture."""

    def drawn(self, rng: np.random.Generator, batch: int) -> NDArray[Any]:
        """The draw for one batch, of `batch` pictures."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Which values stay when a share `rate` is dropped; true where kept.

    Attributes:
        shape: Of one picture's values, canonical; of "map", (maps,).
        rate: Share that is dropped.
        per: "value": each by itself, in every picture.  "map": whole maps, the same in
            all pictures of a batch, and always as many: round((1 - rate) * maps) stay.
    """

    shape: Shape
    rate: float
    per: Literal["value", "map"] = "value"

    @property
    def size(self) -> int:
        """Bytes for one picture."""
        return prod(self.shape)

    def drawn(self, rng: np.random.Generator, batch: int) -> NDArray[np.bool_]:
        """(batch, *shape), or (maps,) of whole maps."""
        if self.per == "map":
            maps = prod(self.shape)
            return rng.permutation(maps) < round((1 - self.rate) * maps)
        shape = (batch, *self.shape)
        bits = np.frombuffer(rng.bytes(2 * prod(shape)), dtype="<u2")
        return (bits >= round(self.rate * MASK_LEVELS)).reshape(shape)


@dataclass(frozen=True, slots=True)
class Starts:
    """Where the regions of a fractional pool start, along one axis.

    With r = (length - 2) / (out - 1) where regions overlap, else length / out:
    "pseudorandom" starts are int((j + u) r) - int(u r) for j = 0 ... out - 1 and one u
    from U(0, 1); "random" ones are the sums of shuffled steps of 1 and 2.  The last
    overlapping region always ends at the border.  Graham 2014, arXiv 1412.6071, in
    the form of his code (SparseConvNet, Regions.cu).

    Attributes:
        length: Pixels along the axis.
        out: Regions.
        kind: How steps are drawn.
        overlap: Whether all regions have 2 px, or end where the next one starts.
        channels: 0 where all channels of a picture share the regions, else how many.

    Raises:
        ValueError: No steps of 1 and 2 lead from one end to the other.
    """

    length: int
    out: int
    kind: Literal["pseudorandom", "random"] = "pseudorandom"
    overlap: bool = True
    channels: int = 0

    def __post_init__(self) -> None:
        least, most = self.out + self.overlap, 2 * self.out
        if self.out < 1 or not least <= self.length <= most:
            raise ValueError(
                f"{self.out} regions at steps of 1 and 2 fit {least} to {most} px, got "
                f"{self.length}; use {-(-self.length // 2)} regions or more, below "
                f"{self.length + 1 - self.overlap}"
            )

    @property
    def size(self) -> int:
        """Bytes for one picture."""
        return 4 * self.out * max(1, self.channels)

    @property
    def steps(self) -> int:
        """How many steps are shuffled."""
        return self.out - 1 if self.overlap else self.out

    @property
    def numbers(self) -> int:
        """How many uniform numbers one picture takes."""
        each = 1 if self.kind == "pseudorandom" else self.steps
        return each * max(1, self.channels)

    def drawn(self, rng: np.random.Generator, batch: int) -> NDArray[np.int32]:
        """(batch, out), or (batch, channels, out)."""
        return self.starts(rng.random((batch, self.numbers)))

    def starts(self, uniform: NDArray[np.float64]) -> NDArray[np.int32]:
        """The same from numbers in [0, 1), (batch, numbers)."""
        batch = len(uniform)
        rows = uniform.reshape(batch * max(1, self.channels), -1)
        found: NDArray[Any] = (
            self._spread(rows) if self.kind == "pseudorandom" else self._sums(rows)
        )
        shape = (self.channels, self.out) if self.channels else (self.out,)
        return found.astype(np.int32).reshape(batch, *shape)

    def middle(self, batch: int) -> NDArray[np.int32]:
        """The starts of u = 1/2, for a network that is given none."""
        shape = (batch, self.channels, self.out) if self.channels else (batch, self.out)
        found = self._spread(np.full((1, 1), 0.5)).astype(np.int32)
        return np.array(np.broadcast_to(found, shape))

    def _spread(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.overlap:
            ratio = (self.length - WINDOW) / max(1, self.out - 1)
        else:
            ratio = self.length / self.out
        starts = np.floor((np.arange(self.out) + u) * ratio) - np.floor(u * ratio)
        if self.overlap:  # rounding may put it one off
            starts[:, -1] = self.length - WINDOW
        return np.asarray(starts)

    def _sums(self, numbers: NDArray[np.float64]) -> NDArray[np.int64]:
        ones = 2 * self.out - self.length  # the others are 2
        order = np.argsort(numbers[:, : self.steps], axis=1, kind="stable")
        ends = np.cumsum(np.where(order < ones, 1, 2), axis=1)
        first = np.zeros((len(numbers), 1), np.int64)
        return np.concatenate([first, ends], axis=1)[:, : self.out]


def draws_of(model: object) -> Mapping[str, Draw]:
    """What a model is given besides pictures; nothing where it says no spec."""
    found: Mapping[str, Draw] = getattr(getattr(model, "spec", None), "draws", {})
    return found


def regions(
    draws: Mapping[str, Draw], images: NDArray[Any], repeat: int = 0
) -> dict[str, NDArray[np.int32]]:
    """The regions of pictures (n, h, w, c) that are judged for the `repeat`-th time.

    A picture's numbers are those of SplitMix64 (Steele, Lea, Flood 2014, figure 17)
    from the hash of its bytes.
    """
    wanted = {name: d for name, d in draws.items() if isinstance(d, Starts)}
    total = sum(d.numbers for d in wanted.values())
    if not total:
        return {}
    digests = (
        hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images
    )
    keys = np.frombuffer(b"".join(digests), "<u8")
    uniform = _uniform(keys, repeat * total, total)
    found, at = {}, 0
    for name, draw in wanted.items():
        found[name] = draw.starts(uniform[:, at : at + draw.numbers])
        at += draw.numbers
    return found


def _uniform(keys: NDArray[np.uint64], first: int, count: int) -> NDArray[np.float64]:
    """Numbers from `first` on of each key's stream, (n, count), in [0, 1)."""
    at = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    z = keys[:, None] + at * np.uint64(0x9E3779B97F4A7C15)  # wraps, as it should
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.asarray((z >> np.uint64(11)) * 2.0**-53)
