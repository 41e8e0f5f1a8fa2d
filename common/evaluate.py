"""The only place where an accuracy is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from common.data import Part
from common.plan import bordered
from common.recipe import View
from common.strangeness import probabilities

# From uint8 images (n, h, w, c) to logits (n, classes).
Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]


class Judge(Protocol):
    """A `Predict` that can look at pictures again, with regions drawn anew."""

    def __call__(
        self, images: NDArray[np.uint8], repeat: int = 0, /
    ) -> NDArray[np.floating]:
        """Logits of the `repeat`-th look.

        A track that draws no regions may leave `repeat` out: it is never given then.
        """


# Told how many pictures were judged, and of how many.
Counted = Callable[[int, int], None]

# Pictures given to a network at once: so many, fewer of large ones (Inception v3 holds
# 16 MB for each of 299 px), but never so few that a core waits.
MOST, FEWEST = 500, 32
PIXELS = MOST * 32 * 32


@dataclass(frozen=True, slots=True)
class Scores:
    """How well logits fit labels.

    Attributes:
        n: Number of examples.
        accuracy: Share whose largest logit is the label's (the first, in a tie).
        loss: Mean cross-entropy, in nats.
    """

    n: int
    accuracy: float
    loss: float


def at_once(image: tuple[int, int, int]) -> int:
    """How many pictures of this (height, width, channels) a network is given."""
    return max(FEWEST, min(MOST, PIXELS // (image[0] * image[1])))


def predict_all(
    predict: Predict, part: Part, *, batch_size: int | None = None
) -> NDArray[np.floating]:
    """Logits (n, classes) of every picture, the short last batch included."""
    batch_size = batch_size or at_once(part.image)
    starts = range(0, len(part), batch_size)
    return np.concatenate(
        [
            np.asarray(predict(part.take(slice(i, min(i + batch_size, len(part))))))
            for i in starts
        ]
    )


def counted(predict: Predict | Judge, total: int, told: Counted) -> Judge:
    """`predict`, which also tells how many of `total` pictures it has judged."""
    done = 0

    def looked(images: NDArray[np.uint8], *repeat: int) -> NDArray[np.floating]:
        nonlocal done
        if not done:
            told(0, total)
        logits = predict(images, *repeat)
        done += len(images)
        told(done, total)
        return logits

    return looked


def seen(predict: Judge, views: Sequence[View]) -> Judge:
    """`predict` of several views of each picture, their logits added by weight."""
    if not views:
        return predict
    width = max(max(abs(view.down), abs(view.right)) for view in views)

    def looked(images: NDArray[np.uint8], *repeat: int) -> NDArray[np.floating]:
        h, w = images.shape[1:3]
        wide = bordered(images, width)
        total: Any = 0.0
        for view in views:
            top, left = width - view.down, width - view.right
            own = wide[:, top : top + h, left : left + w]
            own = own[:, :, ::-1] if view.flip else own
            logits = predict(np.ascontiguousarray(own), *repeat)
            total = total + view.weight * logits.astype(np.float64)
        return np.asarray(total.astype(logits.dtype))

    return looked


@dataclass(frozen=True, slots=True)
class Judged:
    """What a network says of every picture of a part.

    Attributes:
        logits: (n, classes); of several repeats those of a `Mean`.
        curve: Accuracy after 1, 2, ... repeats; empty for one.
    """

    logits: NDArray[np.floating]
    curve: tuple[float, ...] = ()


def judged(
    predict: Judge, part: Part, repeats: int, *, batch_size: int | None = None
) -> Judged:
    """Logits of every picture, judged `repeats` times, as Graham 2014 does."""
    if repeats == 1:
        return Judged(predict_all(predict, part, batch_size=batch_size))
    mean = Mean()
    curve = []
    for repeat in range(repeats):

        def again(images: NDArray[np.uint8], number: int = repeat) -> Any:
            return predict(images, number)

        mean.add(predict_all(again, part, batch_size=batch_size))
        curve.append(float((mean.logits().argmax(axis=1) == part.labels).mean()))
    return Judged(mean.logits(), tuple(curve))


def answered(
    predict: Judge, images: NDArray[np.uint8], repeats: int
) -> NDArray[np.floating]:
    """Logits of a few pictures, judged as often."""
    if repeats == 1:
        return predict(images)
    mean = Mean()
    for repeat in range(repeats):
        mean.add(predict(images, repeat))
    return mean.logits()


class Mean:
    """The mean of several looks: of their probabilities, and of how large logits were.

    Probabilities alone would leave every picture's logits equally large, and how large
    they are tells the strange ones (`common.strangeness`).
    """

    def __init__(self) -> None:
        self.looks = 0
        self.shares: Any = 0.0
        self.sizes: Any = 0.0

    def add(self, logits: NDArray[np.floating]) -> None:
        """One more look, (n, classes)."""
        self.looks += 1
        self.shares = self.shares + probabilities(logits)
        self.sizes = self.sizes + logsumexp(logits.astype(np.float64), axis=1)

    def logits(self) -> NDArray[np.float64]:
        """Logits (n, classes) of these means."""
        # A share of 0 would be minus infinity; the least float64 is as good a 0.
        mean = np.maximum(self.shares / self.looks, np.finfo(np.float64).tiny)
        return np.asarray(np.log(mean) + self.sizes[:, None] / self.looks)


def cross_entropy(
    logits: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """-log softmax(logits)[label] of each example, (n,), in nats."""
    exact = logits.astype(np.float64)
    shifted = exact - exact.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(total - shifted[np.arange(len(labels)), labels])


def score(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Scores:
    """Judge logits (n, classes) against labels (n,).

    Raises:
        ValueError: They do not describe the same n examples, or a label has no logit.
    """
    n, classes = logits.shape
    if len(labels) != n or n == 0:
        raise ValueError(
            f"logits and labels must describe the same examples, got {n} and "
            f"{len(labels)}; pass one label per row"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must be in [0, {classes}) to index {classes} logits, got values "
            f"from {labels.min()} to {labels.max()}"
        )
    correct = int((logits.argmax(axis=1) == labels).sum())
    return Scores(n, correct / n, float(cross_entropy(logits, labels).sum() / n))


def evaluate(predict: Predict, part: Part, *, batch_size: int | None = None) -> Scores:
    """Score `predict` on every labelled picture of `part`.

    Args:
        predict: Maps uint8 images (m, h, w, c) to logits (m, classes).
        part: What to judge it on.
        batch_size: Most pictures given to one `predict` call; `at_once` unless given.

    Raises:
        ValueError: A label has no logit.
    """
    return score(predict_all(predict, part, batch_size=batch_size), part.labels)
