"""What every table says of its runs, whatever it is printed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.report.figures import count, percent

MANY = 5  # seeds that are all named


def setting(row: Mapping[str, Any]) -> str:
    """How it was trained: mode, precision, epochs, machine, changes, versions."""
    parts = [
        row["mode"],
        row["precision"],
        count(row["epochs"], "epoch"),
        f"{row['device']} with {count(row['threads'], 'thread')}",
        *_switches(row),
        *(f"--set {override}" for override in row["overrides"]),
        *(f"{name} {version}" for name, version in row["versions"].items()),
    ]
    return ", ".join(parts)


def _switches(row: Mapping[str, Any]) -> list[str]:
    """The variables that changed the arithmetic of all tracks, or of some."""
    own = {
        track: " and ".join(found) for track, found in row.get("switches", {}).items()
    }
    if len(own) == len(row["tracks"]) and len(set(own.values())) == 1:
        return [f"under {next(iter(own.values()))}"]
    return [f"{track} under {found}" for track, found in own.items()]


def about(row: Mapping[str, Any]) -> str:
    """What it was trained and judged on: sizes, note, seeds."""
    parts = [
        count(row["n_train"], "training image"),
        count(row["n_test"], "test image"),
    ]
    note = f" ({row['note']})" if row["note"] else ""
    seeds = count(len(row["seeds"]), "seed")
    line = f"{' and '.join(parts)}{note}; {seeds}: {_seeds(row['seeds'])}"
    if row["left_out"]:
        line += f"; {count(row['left_out'], 'older run')} of the same seeds left out"
    return line


def _seeds(seeds: Sequence[int]) -> str:
    """Say "0, 1, 2", or "0 to 9" where there are more."""
    if len(seeds) > MANY and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def published_line(row: Mapping[str, Any]) -> str:
    """Where the published figures come from, or "" without any."""
    published = row["published"]
    if not published:
        return ""
    data = f"on {published['data']}, " if published.get("data") else ""
    other = published.get("other")
    figure = "" if other is None else f"{percent(other)} % "
    return f"published    {figure}{data}{published['source']}"


def published_cell(row: Mapping[str, Any]) -> str:
    """The published figures of all tracks in one cell, with their data set."""
    published = row["published"]
    if not published:
        return "-"
    found = " / ".join(percent(published.get(track)) for track in row["tracks"])
    if (other := published.get("other")) is not None:
        found = f"{percent(other)} in neither"
    return f"{found} ({published['data']})" if published.get("data") else found
