"""A comparison as tables: one per system for a terminal, one per mode for a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.report import figures, reach
from common.report.headings import (
    about,
    apart,
    published_cell,
    published_line,
    published_of,
    setting,
)
from common.report.table import Column, Table, code, columns

MEASURED = (
    "images/s and seconds to the first step were measured during these runs; "
    "twintrack speed measures speed by itself"
)
LEGEND = (
    "n: runs of each track, each with its own seed. Accuracies are means over the "
    "runs, on all test images. Difference: the first track minus the other. Published "
    "figures stand with the data set they were published for; in brackets where it is "
    "not the row's."
)
# What of a row's setting stands in the cells of an overview anyway.
SHOWN = ("epochs", "overrides", "note")
Row = Mapping[str, Any]


# --- one table per system -----------------------------------------------------------


def detailed(summary: Mapping[str, Any]) -> list[Table]:
    """Every row of a summary: tracks, tests and the verdict beneath."""
    rows = summary["systems"]
    found = [_system(row, own) for row, own in zip(rows, apart(rows), strict=True)]
    return [*found, Table(about=(MEASURED,))] if found else []


def _system(row: Row, own: str) -> Table:
    figured = (
        *("runs", "accuracy %", "95 % interval", "images/s"),
        *("peak memory", "first step", "published"),
    )
    return Table(
        title=f"{row['system']} on {row['data']}{_more(own)}",
        about=(setting(row), about(row)),
        columns=columns(["track"], figured),
        rows=tuple(
            (
                track,
                str(_runs(found)),
                figures.percent(found["accuracy"]["mean"]),
                figures.percent_range(found["accuracy"]),
                figures.rate(found["images_per_second"]),
                figures.megabytes(found["peak_memory"]),
                figures.seconds(found["first_step"]),
                published_of(row, track),
            )
            for track, found in row["tracks"].items()
        ),
        notes=tuple(_tests(row)),
    )


def _more(own: str) -> str:
    return f" ({own})" if own else ""


def _runs(track: Mapping[str, Any]) -> int:
    return sum(run["accuracy"] is not None for run in track["runs"])


def _tests(row: Row) -> Iterator[str]:
    """The lines beneath the tracks."""
    if line := published_line(row):
        yield line
    yield from _curves(row)
    yield from reach.lines(row)
    for pair in row["comparisons"]:
        yield from _pair(row, pair)
    if not row["comparisons"]:
        yield row["sentence"]


# The repeats at which a curve is told, beside its last one.
MARKS = (1, 2, 3, 6, 12, 25, 50, 100)


def _curves(row: Row) -> Iterator[str]:
    """Each track's mean accuracy after so many repeats, where there are several."""
    for track, found in row["tracks"].items():
        curves = [run["curve"] for run in found["runs"] if run.get("curve")]
        if not curves:
            continue
        last = min(map(len, curves))
        marks = sorted({mark for mark in MARKS if mark < last} | {last})
        means = {n: sum(curve[n - 1] for curve in curves) / len(curves) for n in marks}
        each = ", ".join(f"{n}: {figures.percent(mean)}" for n, mean in means.items())
        yield f"by repeats   {track} {each}"


def _pair(row: Row, pair: Mapping[str, Any]) -> Iterator[str]:
    if pair["difference"]["mean"] is not None:
        mean = figures.points(pair["difference"]["mean"])
        span = figures.points_range(pair["difference"])
        kind = "paired" if row["paired"] else "not paired"
        yield (
            f"difference   {mean} points, 95 % interval {span} "
            f"({' - '.join(pair['tracks'])}, {kind})"
        )
        if pair["tost_p"] is not None:
            margin = figures.margin_points(row["margin"])
            p = figures.p_is(pair["tost_p"])
            span = figures.points_range(pair["tost_interval"])
            tost = f"{p} for a margin of {margin} points, 90 % interval {span}"
            yield f"TOST         {tost}"
        if pair["mcnemar"]:
            each = ", ".join(figures.p_value(test["p"]) for test in pair["mcnemar"])
            yield f"McNemar      p {each} per seed, for information only"
    yield pair["sentence"]


# --- one table per mode and precision -----------------------------------------------


def overview(summary: Mapping[str, Any]) -> list[Table]:
    """Every row of a summary in a line, sentences below.

    Results of different modes, precisions or tracks are never in one table.
    """
    kinds: dict[tuple[Any, ...], list[Row]] = {}
    for row in summary["systems"]:
        kind = (row["mode"], row["precision"], tuple(row["tracks"]))
        kinds.setdefault(kind, []).append(row)
    found = [_section(kind, rows) for kind, rows in kinds.items()]
    return [*found, Table(about=(LEGEND,))] if found else []


def _section(kind: tuple[Any, ...], rows: Sequence[Row]) -> Table:
    mode, precision, tracks = kind
    told = list(zip(rows, apart(rows, shown=SHOWN), strict=True))
    first, *others = tracks
    named = [
        *("System", "Data", "Epochs", "n"),
        *(f"{track} % [95 %]" for track in tracks),
        *(f"{first} - {other}, points [95 %]" for other in others),
        *(["Verdict"] if len(others) < 2 else [f"Verdict, {o}" for o in others]),
        f"Published %, {' / '.join(tracks)}",
    ]
    return Table(
        title=f"Mode {mode}, precision {precision}",
        columns=tuple(Column(name) for name in named),
        rows=tuple(tuple(_cells(row, own)) for row, own in told),
        notes=tuple(line for row, own in told for line in _said(row, own)),
    )


def _cells(row: Row, own: str) -> Iterator[str]:
    note = f" ({row['note']})" if row["note"] else ""
    yield ", ".join([row["system"], *row["overrides"], *([own] if own else [])])
    yield f"{row['data']}{note}; {row['n_test']:,} test images"
    yield str(row["epochs"])
    yield " / ".join(str(_runs(track)) for track in row["tracks"].values())
    for track in row["tracks"].values():
        found = track["accuracy"]
        yield _with(found, figures.percent(found["mean"]), figures.percent_range(found))
    for pair in row["comparisons"]:
        found = pair["difference"]
        yield _with(found, figures.points(found["mean"]), figures.points_range(found))
    yield from [pair["verdict"] for pair in row["comparisons"]] or [row["verdict"]]
    yield published_cell(row)


def _with(interval: Mapping[str, Any], mean: str, span: str) -> str:
    return figures.NONE if interval["mean"] is None else f"{mean} [{span}]"


def _said(row: Row, own: str) -> Iterator[str]:
    """The row's sentences, its setting and the command that made it."""
    sentences = [pair["sentence"] for pair in row["comparisons"]] or [row["sentence"]]
    named = f"{row['system']} on {row['data']}{_more(own)}"
    text = f"{named}: {'. '.join(sentences)}. "
    text += f"({setting(row)}; {about(row)}"
    if row["published"]:
        text += f"; published: {row['published']['source']}"
    yield f"{text})"
    yield from reach.lines(row)
    if row["command"]:
        yield code(row["command"])
