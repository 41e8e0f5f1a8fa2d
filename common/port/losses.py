"""Losses by their words, in NumPy, and which words a loss has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from common.port.alike import Array
from common.port.cause import Cause, shown
from common.port.told import Config

# Smoothings that people write.
SMOOTHINGS = (0.0, 0.1, 0.05, 0.2, 0.01)
OVER = ("mean", "sum", "weights", "batch", "rows")
GIVEN = ("logits", "probabilities", "clipped", "log")
CLIPPED = 1e-7  # Keras's own, of probabilities
USUAL: Config = {"given": "logits", "smoothing": 0.0, "over": "mean", "weights": None}
NAMES = {
    "kind": "loss",
    "smoothing": "smoothing",
    "over": "reduction",
    "weights": "class-weights",
    "given": "from-logits",
}
WORDS = {
    "over": {
        "mean": "the mean",
        "sum": "the sum",
        "weights": "the sum over that of the weights",
        "batch": "the sum over the batch's size",
        "rows": "the sum of each example's mean",
    },
    "given": {
        "logits": "takes logits",
        "probabilities": "takes its input for probabilities",
        "clipped": "takes its input for probabilities",
        "log": "takes its input for logarithms of probabilities",
    },
}


@dataclass(frozen=True, slots=True)
class Batch:
    """What one loss was computed of.

    Attributes:
        outputs: Of the model, channels last.
        y: Labels: classes, or numbers of the outputs' shape.
        loss: What came out.
    """

    outputs: Array
    y: Array
    loss: float


def loss(words: Config, outputs: Array, y: Array) -> float:
    """A loss by its words.

    Args:
        words: "kind" of "cross_entropy", "bce", "mse"; "given" "logits",
            "probabilities", "clipped" (before they are made to sum to 1, as Keras's
            sparse loss does) or "log"; "smoothing" of labels; "weights" of classes;
            "over": of `OVER`, how it is made one number.
        outputs: (n, ..., classes), or of the labels' shape.
        y: (n, ...), classes; or numbers.
    """
    words = USUAL | words
    weight = np.ones(1)
    match words["kind"]:
        case "mse":
            losses: Array = (outputs - y) ** 2
        case "bce":
            losses = _binary(words, outputs, y)
        case _:
            losses, weight = _categorical(words, outputs, y)
    total = float(losses.sum())
    match words["over"]:
        case "sum":
            return total
        case "weights":
            return total / float(np.broadcast_to(weight, y.shape).sum())
        case "batch":
            return total / len(y)
        case "rows":
            return total / (losses.shape[-1] if losses.ndim > 1 else 1)
    return total / losses.size


def _binary(words: Config, x: Array, y: Array) -> Array:
    y = y * (1 - words["smoothing"]) + words["smoothing"] / 2
    if words["given"] == "probabilities":
        p = np.clip(x, CLIPPED, 1 - CLIPPED)
        losses: Array = -y * np.log(p) - (1 - y) * np.log(1 - p)
    else:
        losses = np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))
    return losses


def _categorical(words: Config, x: Array, y: Array) -> tuple[Array, Array]:
    if words["given"] == "logits":
        x = x - x.max(-1, keepdims=True)
        x = x - np.log(np.exp(x).sum(-1, keepdims=True))
    elif words["given"] == "clipped":
        x = np.clip(x, CLIPPED, 1 - CLIPPED)
        x = np.log(x / x.sum(-1, keepdims=True))
    elif words["given"] == "probabilities":
        with np.errstate(all="ignore"):
            x = np.log(np.clip(x / x.sum(-1, keepdims=True), CLIPPED, 1 - CLIPPED))
    s, weights = words["smoothing"], words["weights"]
    w = np.ones(x.shape[-1]) if weights is None else np.asarray(weights)
    picked = -np.take_along_axis(x, y[..., None], -1)[..., 0] * w[y]
    return (1 - s) * picked - s * (x * w).mean(-1), w[y]


def apart(words: Config, batches: Sequence[Batch]) -> float:
    """Largest relative difference of a loss by its words from what came out."""
    found = 0.0
    for b in batches:
        try:
            value = loss(words, b.outputs, b.y)
        except (ValueError, IndexError):  # labels of another kind
            return np.inf
        gap = abs(value - b.loss) / max(abs(b.loss), np.finfo(float).tiny)
        found = max(found, gap) if np.isfinite(gap) else np.inf
    return found


def inferred(
    told: Config, other: Config, batches: Sequence[Batch], bar: float
) -> Config | None:
    """The words of a loss that give what came out, nearest to what is told of it.

    Args:
        told: What its object says of itself.
        other: The other side's words.
        batches: What came out.
        bar: Largest relative difference.
    """
    start = USUAL | (told if told.get("kind") else other)
    start = {name: start.get(name) for name in ("kind", *USUAL)}
    for words in _near(start, USUAL | other):
        if apart(words, batches) <= bar:
            return words
    return None


def _near(start: Config, other: Config) -> Iterator[Config]:
    """Words that differ from some in nothing, one thing, two, and so on."""
    choices: dict[str, list[Any]] = {
        "smoothing": [other["smoothing"], *SMOOTHINGS],
        "weights": [other["weights"], None],
        "over": [other["over"], *OVER],
        "given": [other["given"], *GIVEN],
        "kind": [other["kind"]],
    }
    for n in range(len(choices) + 1):
        for names in combinations(choices, n):
            for values in product(*(choices[name] for name in names)):
                change = dict(zip(names, values, strict=True))
                if all(start[name] != value for name, value in change.items()):
                    yield start | change


def why(
    torch: Config, keras: Config, batches: Sequence[Batch], size: float
) -> list[Cause]:
    """Why two losses differ: torch's words that make Keras's loss torch's.

    Args:
        torch: Words that give its loss.
        keras: Likewise.
        batches: Of torch.
        size: Difference as it was.
    """
    different = [name for name in torch if torch[name] != keras[name]]
    best = min(
        (
            names
            for n in range(1, len(different) + 1)
            for names in combinations(different, n)
        ),
        key=lambda names: (
            apart(keras | {k: torch[k] for k in names}, batches) > ROUNDING,
            len(names),
        ),
        default=(),
    )
    found: dict[str, list[str]] = {}
    for word in best:
        name = NAMES[word]
        if word == "over" and (torch["weights"] or keras["weights"]):
            name = "class-weights"
        found.setdefault(name, []).append(_said(word, torch[word], keras[word]))
    left = apart(keras | {k: torch[k] for k in best}, batches)
    falls = f"the difference falls from {size:.0e} to {left:.0e}"
    return [
        Cause(name=name, text=f"{'; '.join(texts)}; with torch's {falls}", after=left)
        for name, texts in found.items()
    ]


ROUNDING = 1e-10  # of a mean of some logarithms in float64, with room


def _said(word: str, one: Any, other: Any) -> str:
    words: Mapping[str, str] = WORDS.get(word, {})
    a, b = (words.get(str(v)) or _shown(v) for v in (one, other))
    label = {"over": "loss", "weights": "class weights", "given": "loss"}.get(
        word, word
    )
    return f"{label}: {a} in torch, {b} in Keras"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{v:g}" for v in value[:MOST_SHOWN]) + (
            " ..." if len(value) > MOST_SHOWN else ""
        )
    return shown(value)


MOST_SHOWN = 5  # class weights in a line
