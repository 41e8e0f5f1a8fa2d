"""How long training takes to a given accuracy, from what the store's runs noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from common.report.figures import NONE, percent

Row = Mapping[str, Any]


def reach(records: Sequence[Mapping[str, Any]], accuracy: float) -> dict[str, Any]:
    """When the runs of a track first had an accuracy after an epoch.

    Args:
        records: Of runs; an epoch's accuracy is on their validation part, else on the
            test part.
        accuracy: A fraction.

    Returns:
        {"accuracy", "reached", "runs", "seconds", "epochs"}: how many of the runs got
        there; medians of those, of the epochs' own seconds, none if none did.
    """
    found = [first for one in records if (first := _first(one["history"], accuracy))]
    return {
        "accuracy": accuracy,
        "reached": len(found),
        "runs": len(records),
        "seconds": median(seconds for _, seconds in found) if found else None,
        "epochs": median(epoch for epoch, _ in found) if found else None,
    }


def _first(
    history: Sequence[Mapping[str, Any]], accuracy: float
) -> tuple[int, float] | None:
    """Number of the first epoch that is so good, and the seconds until its end."""
    seconds = 0.0
    for number, epoch in enumerate(history, 1):
        seconds += epoch["seconds"]
        if epoch["accuracy"] is not None and epoch["accuracy"] >= accuracy:
            return number, seconds
    return None


def lines(row: Row) -> Iterator[str]:
    """The same in a line, where it was asked for."""
    told = {t: found["reach"] for t, found in row["tracks"].items() if "reach" in found}
    if not told:
        return
    wanted = percent(next(iter(told.values()))["accuracy"])
    each = (f"{track} {_said(found)}" for track, found in told.items())
    yield f"to {wanted} %   {'; '.join(each)}"


def _said(found: Mapping[str, Any]) -> str:
    of = f"{found['reached']} of {found['runs']} runs"
    if found["seconds"] is None:
        return f"{NONE} ({of})"
    return f"{found['seconds']:.1f} s, epoch {found['epochs']:g} (median of {of})"
