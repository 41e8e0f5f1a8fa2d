"""From the seconds of rounds to rates, ratios, and whether they reach their bars.

Loops take turns, and ratios are taken round by round, so that a slow moment of the
machine counts on both sides.  Figures are medians, ranges p10 to p90.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluate import Predict

Row = dict[str, Any]
Rounds = NDArray[np.float64]


def in_rounds(
    calls: Mapping[str, Predict], images: NDArray[np.uint8], rounds: int
) -> tuple[dict[str, Rounds], dict[str, Rounds]]:
    """Seconds on the clock, and of all the process's threads, of each call's turns."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    busy: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, ask in calls.items():
            start, used = perf_counter(), process_time()
            ask(images)
            wall[name].append(perf_counter() - start)
            busy[name].append(process_time() - used)
    first, second = (
        {name: np.array(found) for name, found in kind.items()} for kind in (wall, busy)
    )
    return first, second


def median(values: Rounds | None) -> float | None:
    """Of all rounds."""
    return None if values is None else float(np.median(values))


def spread(values: Rounds) -> dict[str, float]:
    """P10 and p90 of all rounds."""
    low, high = np.percentile(values, [10, 90])
    return {"low": float(low), "high": float(high)}


def beside_naive(seconds: Mapping[str, list[float]], images: int) -> Row:
    """Rates and their ratio, where only ours and the naive way were measured.

    Args:
        seconds: "ours" and "naive" -> seconds of each round.
        images: Pictures of a round.
    """
    rates = {name: images / np.array(found) for name, found in seconds.items()}
    values = rates | {"ours_over_naive": rates["ours"] / rates["naive"]}
    nothing = {"bare": None, "ours_over_bare": None, "share_of_peak": None}
    medians = {name: median(found) for name, found in values.items()}
    ranges = {name: spread(found) for name, found in values.items()}
    return nothing | medians | {"ranges": ranges}


def bar(track: str, name: str, least: float, *, holds: bool, said: str) -> Row:
    """A bar, whether it holds, and what to say of it."""
    word = "holds" if holds else "falls short"
    return {
        "track": track,
        "name": name,
        "bar": least,
        "holds": holds,
        "said": f"{said}: {word}",
    }
