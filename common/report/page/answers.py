"""What networks' answers to the test pictures say, beside how many are right."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.screening import of_seeds
from common.stats import Interval
from common.strangeness import probabilities

BINS = 15  # of confidence, as in Guo et al. 2017
DRAWS = 200  # of the bootstrap, where one run is all there is
SEED = 0
SHOWN = 12  # pictures of a kind
ENLARGED = 64  # px that a small picture is shown in


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The test answers of a track's runs.

    Attributes:
        logits: One (n, classes) for each seed.
        labels: (n,).
    """

    logits: Sequence[NDArray[np.floating]]
    labels: NDArray[np.int64]

    def confusion(self, classes: int) -> NDArray[np.float64]:
        """(true, said): share of a class's pictures, all seeds together."""
        counts = np.zeros((classes, classes))
        for logits in self.logits:
            np.add.at(counts, (self.labels, logits.argmax(axis=1)), 1)
        return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))

    def calibration(self) -> tuple[list[tuple[float, float]], Interval]:
        """(mean confidence, share right) of each bin, and the expected error.

        Expected calibration error as in Guo et al. 2017 (arXiv 1706.04599, eq. 3),
        15 bins; its interval is over the seeds, or over drawn test pictures where
        there is one seed.
        """
        told = [_confidence(logits, self.labels) for logits in self.logits]
        sure = np.concatenate([own for own, _ in told])
        right = np.concatenate([own for _, own in told])
        errors = np.array([expected_error(*one) for one in told])
        return list(_bins(sure, right)), of_seeds(errors) or _drawn(*told[0])


def _confidence(
    logits: NDArray[np.floating], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    likely = probabilities(logits)
    return likely.max(axis=1), likely.argmax(axis=1) == labels


def expected_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Mean distance of confidence and share right, over bins of confidence."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(right))


def _bins(
    confidence: NDArray[np.float64], right: NDArray[np.bool_]
) -> Iterator[tuple[float, float]]:
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    for k in range(BINS):
        there = place == k
        if there.any():
            yield float(confidence[there].mean()), float(right[there].mean())


def _drawn(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Interval:
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(right), len(right))
        found.append(expected_error(confidence[chosen], right[chosen]))
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(
        mean=expected_error(confidence, right), low=float(low), high=float(high)
    )


class Pictures(Protocol):
    """Test pictures, taken one by one."""

    def __getitem__(self, place: int, /) -> NDArray[np.uint8]:
        """The picture (h, w, c) at a place of the test part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One test picture and what each track says of it.

    Attributes:
        place: Its place in the test part.
        truth: Its class.
        said: Track -> (class, probability).
        image: It as a data address, or "" where the pictures are not at hand.
    """

    place: int
    truth: str
    said: Mapping[str, tuple[str, float]]
    image: str


def apart(
    both: Mapping[str, NDArray[np.floating]],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    pictures: Pictures | None,
) -> dict[str, tuple[int, list[Shown]]]:
    """Pictures on which the tracks disagree, and those that all get wrong alike.

    Args:
        both: Track -> logits (n, classes), of one seed.
        labels: (n,).
        classes: Their names.
        pictures: Those that were asked about, or none.

    Returns:
        "disagree" and "wrong" -> how many there are, and those they are surest of.
    """
    likely = {track: probabilities(logits) for track, logits in both.items()}
    says = {track: p.argmax(axis=1) for track, p in likely.items()}
    first, *others = says.values()
    differ = np.any([first != other for other in others], axis=0)
    wrong = np.all([own != labels for own in says.values()], axis=0) & ~differ
    sure = np.min([p.max(axis=1) for p in likely.values()], axis=0)
    found = {}
    for name, chosen in (("disagree", differ), ("wrong", wrong)):
        places = np.flatnonzero(chosen)
        surest = places[np.argsort(-sure[places], kind="stable")][:SHOWN]
        shown = [
            Shown(
                place=int(k),
                truth=classes[labels[k]],
                said={
                    track: (classes[says[track][k]], float(likely[track][k].max()))
                    for track in both
                },
                image="" if pictures is None else address(pictures[k]),
            )
            for k in surest
        ]
        found[name] = int(chosen.sum()), shown
    return found


def address(pixels: NDArray[np.uint8]) -> str:
    """A picture (h, w, c) as a data address of a PNG, no larger than it must be."""
    from PIL import Image

    small = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    small.thumbnail((ENLARGED, ENLARGED))
    page = BytesIO()
    small.save(page, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(page.getvalue()).decode()}"
