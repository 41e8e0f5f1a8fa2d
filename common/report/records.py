"""The table of records: what was published for each network, and what ours reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from common.report.figures import NONE, percent, percent_range
from common.report.headings import published_cell
from common.report.table import Column, Table
from common.track import DEFAULT

MINUTE = 60.0
COLUMNS = (
    *("System", "Data", "Published %", "PyTorch % [95 %], n", "Keras % [95 %], n"),
    *("Verdict", "Minutes a run, PyTorch / Keras", "Share of peak, PyTorch / Keras"),
)
Row = Mapping[str, Any]


def records(contents: Iterable[Mapping[str, Any]]) -> Table:
    """A row for each system of some results of `compare`.

    Args:
        contents: What files of docs/results hold: of `compare`, and of `speed`, whose
            shares of the matrix product's rate are those of the systems they measured.
    """
    compared: list[Row] = []
    shares: dict[str, Row] = {}
    for content in contents:
        rows = content["result"]["systems"]
        if content["kind"] == "speed":
            trained = (row for row in rows if row["what"] == "train")
            shares |= {row["system"]: row["tracks"] for row in trained}
        else:
            compared += rows
    return Table(
        title="",
        columns=tuple(Column(name) for name in COLUMNS),
        rows=tuple(tuple(_cells(row, shares)) for row in compared),
        notes=(
            "Published: PyTorch / TensorFlow, or of neither. Minutes: median of the "
            "runs, on the threads and beside the work that their page says. Share of "
            "peak: of the rate of a matrix product measured in the same process.",
        ),
    )


def _cells(row: Row, shares: Mapping[str, Row]) -> Iterator[str]:
    changes = "".join(f", {override}" for override in row["overrides"])
    tracks = [row["tracks"].get(name) for name in DEFAULT]
    yield f"{row['system']}{changes}"
    yield f"{row['data']}, {row['epochs']} epochs, {row['precision']}"
    yield published_cell(row)
    yield from map(_accuracy, tracks)
    yield row["verdict"]
    yield " / ".join(_minutes(track) for track in tracks)
    yield " / ".join(_share(shares.get(row["system"]), name) for name in DEFAULT)


def _accuracy(track: Row | None) -> str:
    if not track or track["accuracy"]["mean"] is None:
        return NONE
    found = track["accuracy"]
    n = sum(run["accuracy"] is not None for run in track["runs"])
    return f"{percent(found['mean'])} [{percent_range(found)}], {n}"


def _minutes(track: Row | None) -> str:
    seconds = track.get("seconds") if track else None
    return NONE if seconds is None else f"{seconds / MINUTE:.1f}"


def _share(tracks: Row | None, name: str) -> str:
    share = tracks.get(name, {}).get("share_of_peak") if tracks else None
    return NONE if share is None else f"{share:.2f}"
