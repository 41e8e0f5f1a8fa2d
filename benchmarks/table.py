"""Every table again, from the store alone.

    twintrack table                             # all runs of the store
    twintrack table rasbt-mlp --data cifar10 --format markdown

Nothing is trained or downloaded; a record that is not as it was written is named
and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import options
from common import report
from common.errors import Refused
from common.files import readable, write_atomic
from common.results import Run, Store
from common.stats import MARGIN

FORMATS = ("text", "markdown", "json")


def table(
    systems: Annotated[
        list[str] | None, typer.Argument(help="Only these systems; all if none.")
    ] = None,
    *,
    data: Annotated[
        str | None, typer.Option(help="Only runs on the data set of this name.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="Only runs in this mode.")] = None,
    format: Annotated[str, typer.Option(help="text, markdown or json.")] = "text",
    margin: options.Margin = MARGIN,
    json: options.Json = None,
    store: options.Store = None,
) -> dict[str, Any]:
    """Show the results in the store, and what they say.

    Returns:
        What --json writes: {"systems": [...], "damaged": [...]}.

    Raises:
        Refused: The request cannot be met, or no run in the store meets it.
    """
    check(format, margin, json)
    place = Store(store)
    runs, damaged = place.scan()
    for error in damaged:
        print(f"left out: {error}", file=sys.stderr)
    chosen = [
        run
        for run in of_systems(runs, systems or (), place)
        if data in (None, run.record["data"]["name"])
        and mode in (None, run.record["mode"])
    ]
    if not chosen:
        raise Refused(_nothing(place, runs, len(damaged), data, mode))
    summary = report.summarise(chosen, margin=margin)
    summary["damaged"] = [str(error) for error in damaged]
    print(shown(summary, format))
    if json:
        write_atomic(json, readable(summary))
    return summary


def shown(summary: dict[str, Any], format: str) -> str:
    """The summary in one of FORMATS."""
    if format == "json":
        return readable(summary).decode().rstrip()
    shape = report.markdown if format == "markdown" else report.text
    return shape(summary).rstrip()


def of_systems(runs: Iterable[Run], wanted: Sequence[str], store: Store) -> list[Run]:
    """The runs of the systems in `wanted`; all if there is none.

    Raises:
        Refused: A system has no run in the store, which has others.
    """
    found = list(runs)
    known = list(dict.fromkeys(str(run.record["system"]) for run in found))
    for name in wanted:
        if found and name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise Refused(
                f"a system must have runs in the store, got {name!r} for "
                f"{store.path}; the nearest is {near}"
            )
    return [run for run in found if not wanted or run.record["system"] in wanted]


def check(format: str, margin: float, output: Path | None) -> None:
    """Refuse an unknown format, a margin that is no share, a folder for a file."""
    if format not in FORMATS:
        near = get_close_matches(format, FORMATS, n=1, cutoff=0.0)[0]
        raise Refused(
            f"--format must be one of {', '.join(FORMATS)}, got {format!r}; "
            f"the nearest is {near}"
        )
    if not 0 < margin < 1:
        raise Refused(
            f"--margin must be a share between 0 and 1, got {margin}; "
            "use 0.005 for half a point"
        )
    if output and output.is_dir():
        raise Refused(f"--json must be a file, got the folder {output}; add a name")


def _nothing(
    store: Store, runs: Sequence[Run], damaged: int, data: str | None, mode: str | None
) -> str:
    """Why there is no table."""
    if runs:
        asked = ", ".join(
            f"--{name} {value}"
            for name, value in (("data", data), ("mode", mode))
            if value
        )
        names = sorted({run.record["data"]["name"] for run in runs})
        modes = sorted({run.record["mode"] for run in runs})
        return (
            f"a table needs finished runs, got none for {asked} in {store.path}; it "
            f"has data {', '.join(names)} in mode {', '.join(modes)}"
        )
    but = f", {damaged} damaged" if damaged else ""
    return (
        f"a table needs finished runs, got none in {store.path}{but}; "
        "run `twintrack compare` or name another --store"
    )


if __name__ == "__main__":
    from benchmarks.shell import script

    script(table)
