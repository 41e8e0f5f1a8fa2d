"""How long one answer takes, and what it costs: latency, memory, energy.

Latencies are of single calls, one after the other, after a first one; percentiles and
not means, because users meet the slow ones.  Energy is what the machine itself counts
(RAPL, Linux's powercap), of all that it did meanwhile; none where it may not be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluate import Predict

CALLS = 50  # at least, so that p95 is between two calls that were made
TRIED = 3  # calls of each batch, to find the best
BATCHES = (1, 4, 16, 64)
ENOUGH = 30.0  # seconds of one measurement; fewer calls then, and `n` says how many
POWERCAP = Path("/sys/class/powercap")
PACKAGES = "*-rapl:?"  # each with its cores and memory in it
MICRO = 1e-6

Row = dict[str, Any]


def latency(ask: Predict, images: NDArray[np.uint8]) -> Row:
    """Of a batch, in seconds: {"batch", "p50", "p95", "p99", "n", "joules"}.

    Args:
        ask: A predictor that has answered before.
        images: The batch, (n, h, w, c).

    Returns:
        "joules" are per picture, none where the machine does not tell.
    """
    seconds: list[float] = []
    before = energy()
    while len(seconds) < CALLS and sum(seconds) < ENOUGH:
        start = perf_counter()
        ask(images)
        seconds.append(perf_counter() - start)
    used = spent(before, energy())
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
    return {
        "batch": len(images),
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "n": len(seconds),
        "joules": None if used is None else used / (len(seconds) * len(images)),
    }


def best_batch(ask: Predict, images: NDArray[np.uint8]) -> int:
    """The batch of `BATCHES` that gives most pictures a second."""
    rates: dict[int, float] = {}
    for size in BATCHES:
        if size > len(images):
            break
        seconds = []
        for _ in range(TRIED):
            start = perf_counter()
            ask(images[:size])
            seconds.append(perf_counter() - start)
        rates[size] = size / float(np.median(seconds))
    return max(rates, key=lambda size: rates[size])


Counters = dict[str, tuple[int, int]]


def energy(folder: Path = POWERCAP) -> Counters:
    """Package -> microjoules so far, and where its counter begins again."""
    found: Counters = {}
    for package in sorted(folder.glob(PACKAGES)):
        with suppress(OSError, ValueError):  # only the superuser may, on most machines
            now = int((package / "energy_uj").read_text())
            most = int((package / "max_energy_range_uj").read_text())
            found[package.name] = (now, most)
    return found


def spent(before: Counters, after: Counters) -> float | None:
    """Joules between two readings; none where there are none."""
    shared: Sequence[str] = sorted(before.keys() & after.keys())
    if not shared:
        return None
    total = 0
    for name in shared:
        used = after[name][0] - before[name][0]
        total += used if used >= 0 else used + after[name][1]
    return total * MICRO
