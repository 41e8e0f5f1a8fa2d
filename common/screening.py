"""Which runs price several two-valued choices at once, and what they say.

A screening design has a column of signs for each choice and a row for each kind of run:
the columns of a Hadamard matrix, which are orthogonal, so that every run informs every
price; and all of it again with the signs turned (fold-over), so that no price has a
part of a pair's interaction in it (Box and Wilson 1951; Plackett and Burman 1946).  One
at a time is the other design: a run with all at the first value, and one for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common import stats
from common.stats import LEVEL, LOOKS, Interval, Outcome, holm, look_at

Kind = Literal["screening", "one-at-a-time"]
KINDS: tuple[Kind, ...] = ("screening", "one-at-a-time")
Signs = NDArray[np.int64]  # (points, choices): 1 the first value, -1 the second
Table = NDArray[np.float64]  # (seeds, examples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What the first value of a choice is worth over the second.

    Attributes:
        difference: Of the accuracies, with its 95 % interval, its looks counted.
        within: Its interval of two one-sided tests, at 90 %.
        p: Of no difference, after Holm; none before the first look.
        tost_p: Of a difference as large as the margin, after Holm.
        look: Seeds that are judged; none before the first look.
        verdict: "different", "equivalent" or "undecided".
    """

    difference: Interval
    within: Interval
    p: float | None
    tost_p: float | None
    look: int | None
    verdict: Outcome


def design(choices: int, kind: Kind = "screening") -> Signs:
    """The points of a design.

    Args:
        choices: How many there are, 1 or more.
        kind: One of `KINDS`.

    Returns:
        (points, choices), the first point all 1; the last of a screening all -1.
    """
    from scipy.linalg import hadamard

    if kind == "one-at-a-time":
        one = np.ones((choices + 1, choices), np.int64)
        one[np.arange(1, choices + 1), np.arange(choices)] = -1
        return one
    size = 1
    while size < choices:
        size *= 2
    half = np.asarray(hadamard(size), np.int64)[:, :choices]
    return np.concatenate([half, -half[1:], -half[:1]])


def weights(signs: Signs) -> NDArray[np.float64]:
    """(choices, points): what to multiply the points' results by for each price."""
    points, choices = signs.shape
    if points == choices + 1 and (signs[0] == 1).all():  # one at a time
        found = np.zeros((choices, points))
        found[:, 0] = 1
        found[np.arange(choices), np.arange(1, points)] = -1
        return found
    return np.asarray(2 * signs.T / points, np.float64)


def effects(results: NDArray[np.floating], signs: Signs) -> NDArray[np.float64]:
    """What each choice changes.

    Args:
        results: (points, ...), of the points of `signs`.
        signs: The design.

    Returns:
        (choices, ...), the first value's less the second's.
    """
    return np.tensordot(weights(signs), results, axes=1)


def prices(tables: Sequence[Table], *, margin: float) -> list[Price]:
    """A price of each choice, judged together.

    Args:
        tables: Of each choice (seeds, examples): seed by seed, what it changes in the
            share of right answers of each example; seeds in their order.
        margin: The largest difference that does not matter, as a fraction.
    """
    look = look_at(len(tables[0]))
    parts = [stats.components(judged(table)) for table in tables]
    nothing: list[float | None] = [None for _ in parts]
    differ = holm([part.difference_p() for part in parts]) if look else nothing
    same = holm([part.tost_p(margin) for part in parts]) if look else nothing
    return [
        Price(
            difference=interval(table),
            within=interval(table, level=1 - 2 * stats.ALPHA),
            p=p,
            tost_p=q,
            look=look,
            verdict=_verdict(p, q),
        )
        for table, p, q in zip(tables, differ, same, strict=True)
    ]


def judged(table: Table) -> Table:
    """The seeds up to the last look that was reached; all before the first."""
    return table[: look_at(len(table)) or len(table)]


def _verdict(differs: float | None, same: float | None) -> Outcome:
    if same is not None and same < stats.ALPHA:
        return "equivalent"
    return "different" if differs is not None and differs < 1 - LEVEL else "undecided"


def interval(*tables: Table, level: float = LEVEL) -> Interval:
    """The sum of the tables' means with its two-way interval, the looks counted."""
    look = look_at(min(map(len, tables)))
    part = stats.components(*map(judged, tables))
    half = float(part.half_width(1 - level, looks=len(LOOKS) if look else 1))
    mean = float(part.mean)
    return Interval(mean=mean, low=mean - half, high=mean + half)


def of_seeds(values: NDArray[np.floating]) -> Interval | None:
    """Mean of a figure that has one value for each seed; none with fewer than two."""
    from scipy.stats import t

    if len(values) < 2 or not np.isfinite(values).all():
        return None
    mean = float(values.mean())
    half = float(t.isf((1 - LEVEL) / 2, len(values) - 1) * values.std(ddof=1))
    half /= len(values) ** 0.5
    return Interval(mean=mean, low=mean - half, high=mean + half)


@dataclass(frozen=True, slots=True)
class Interaction:
    """How far two choices change each other's price.

    Attributes:
        pairs: The pairs that this design cannot tell apart, as places of choices.
        difference: Of their sum, half of what one choice's first value instead of its
            second adds to the other's price, with its 95 % interval.
    """

    pairs: tuple[tuple[int, int], ...]
    difference: Interval


def interactions(results: Mapping[int, Table], signs: Signs) -> list[Interaction]:
    """The interactions of pairs, the largest first; none one at a time.

    Args:
        results: Place of a point -> (seeds, examples), the share of right answers.
        signs: The design.
    """
    points, choices = signs.shape
    if choices < 2 or len(results) != points or not (signs.sum(0) == 0).all():
        return []
    alike: dict[bytes, list[tuple[int, int]]] = {}
    for i, j in combinations(range(choices), 2):
        product = signs[:, i] * signs[:, j]
        alike.setdefault((product * product[0]).tobytes(), []).append((i, j))
    stacked = np.stack([results[k] for k in range(points)])
    found = []
    for pairs in alike.values():
        i, j = pairs[0]
        product = signs[:, i] * signs[:, j]
        table = np.tensordot(2 * product / points, stacked, axes=1)
        found.append(Interaction(tuple(pairs), interval(table)))
    return sorted(found, key=lambda one: -abs(one.difference.mean))
