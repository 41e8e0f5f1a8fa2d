"""A summary as text: for a terminal of 100 columns, a pipe or a log file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common.report import figures
from common.report.headings import about, published_line, setting

if TYPE_CHECKING:  # Rich is loaded when a table is shown, not for `--help`
    from rich.table import Table

WIDTH = 100  # columns
# Rich's way to say: a line of dashes under the headings, in any encoding.
LINES = "    \n    \n -- \n    \n    \n    \n    \n    \n"
MEASURED = (
    "images/s and seconds to the first step were measured during these runs; "
    "twintrack speed measures speed by itself"
)


def text(summary: Mapping[str, Any], *, width: int = WIDTH) -> str:
    """Every row of a summary: tracks, tests and the verdict beneath.

    Args:
        summary: As `summarise` returns it.
        width: Columns to fill at most.
    """
    from rich.console import Console

    page = io.StringIO()
    console = Console(file=page, width=width, highlight=False, color_system=None)
    for row in summary["systems"]:
        console.print(f"{row['system']} on {row['data']}", markup=False)
        for line in (setting(row), about(row)):
            console.print(line, markup=False)
        console.print()
        console.print(_tracks(row))
        console.print()
        for line in _tests(row):
            console.print(line, markup=False)
        console.print(row["sentence"], markup=False)
        console.print()
    console.print(MEASURED, markup=False)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def _tracks(row: Mapping[str, Any]) -> Table:
    from rich.box import Box
    from rich.table import Table

    table = Table(box=Box(LINES, ascii=True), pad_edge=False, show_edge=False)
    table.add_column("track", no_wrap=True)
    for heading in (
        "runs",
        "accuracy %",
        "95 % interval",
        "images/s",
        "peak memory",
        "first step",
        "published",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    published = row["published"] or {}
    for track, found in row["tracks"].items():
        table.add_row(
            track,
            str(sum(run["accuracy"] is not None for run in found["runs"])),
            figures.percent(found["accuracy"]["mean"]),
            figures.percent_range(found["accuracy"]),
            figures.rate(found["images_per_second"]),
            figures.megabytes(found["peak_memory"]),
            figures.seconds(found["first_step"]),
            figures.percent(published.get(track)),
        )
    return table


def _tests(row: Mapping[str, Any]) -> list[str]:
    """The lines beneath the tracks."""
    lines = [line] if (line := published_line(row)) else []
    if row["difference"]["mean"] is None:
        return lines
    mean = figures.points(row["difference"]["mean"])
    span = figures.points_range(row["difference"])
    margin = figures.margin_points(row["margin"])
    kind = "paired" if row["paired"] else "not paired"
    lines.append(
        f"difference   {mean} points, 95 % interval {span} (torch - tensorflow, {kind})"
    )
    if row["tost_p"] is not None:
        p = figures.p_is(row["tost_p"])
        lines.append(f"TOST         {p} for a margin of {margin} points")
    if row["mcnemar"]:
        each = ", ".join(figures.p_value(test["p"]) for test in row["mcnemar"])
        lines.append(f"McNemar      p {each} per seed, for information only")
    return lines
