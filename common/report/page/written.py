"""The page itself: what a store holds, filled into the template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import __version__
from common.record import Finding
from common.report import figures, headings
from common.report.page import sections as s
from common.report.page.source import FILES, twins
from common.report.summary import grouped
from common.results import Run

TEMPLATE = Path(__file__).with_name("report.html.j2")
CARDS = 12  # verdicts on the first screen
ROWS = 300  # comparisons that the page has at all
FINDINGS = 60  # findings that are told in full
KEYS = ("system", "data", "mode", "precision")
HEADS = (
    *("System", "Data", "Mode", "Precision", "Threads", "Verdict"),
    *("Seeds", "Accuracy %", "Difference [95 %]"),
)
KINDS = {
    "disagree": "Pictures on which the tracks disagree",
    "wrong": "Pictures that all tracks get wrong alike",
}
STEPS = 200  # of a run's loss that are kept: a page shows its epochs


def slim(run: Run) -> Run:
    """A run without what the page does not show: the loss of every step."""
    return Run({k: v for k, v in run.record.items() if k != "losses"}, run.path)


def page(
    runs: Iterable[Run],
    findings: Sequence[Finding],
    *,
    margin: float,
    title: str,
    damaged: Sequence[str] = (),
) -> str:
    """A report in one text of HTML that asks for nothing else.

    Args:
        runs: Of the store.
        findings: Of the store, the newest first.
        margin: The largest difference that does not matter, as a fraction.
        title: Of the page.
        damaged: What could not be read, in words.
    """
    from jinja2 import Environment, StrictUndefined

    kept = list(runs)
    pairs = grouped(kept, margin)
    told = s.sections(pairs[:ROWS])
    rows = [one.row for one in told]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    counted = f"{figures.count(len(kept), 'run')}, "
    counted += figures.count(len(findings), "other finding")
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return template.render(
        title=title,
        about="; ".join((counted, f"twintrack {__version__}", when)),
        lead=list(_lead(rows, margin)),
        sections=told,
        cards=CARDS,
        forests=list(s.forests(rows[:FULL_FOREST], margin)),
        keys=KEYS,
        heads=HEADS,
        kinds=KINDS,
        choices={key: sorted({str(row[key]) for row in rows}) for key in KEYS},
        findings=s.of_findings(findings[:FINDINGS]),
        twins=[(name, *twins(name)) for name in FILES],
        environments=s.environments(run.record for run in kept),
        notes=list(_notes(pairs, findings, damaged)),
        percent=figures.percent,
        points=figures.points,
        setting=headings.setting,
        about_row=headings.about,
        shade=_shade,
        cell=_cell,
    )


FULL_FOREST = 40  # lines of the plot of differences


def _lead(rows: Sequence[Any], margin: float) -> Iterator[str]:
    """What was compared and what came out, for one who knows none of it."""
    if not rows:
        return
    tracks = list(dict.fromkeys(track for row in rows for track in row["tracks"]))
    if len(tracks) > 1:
        yield (
            f"The same image classifiers were trained in {figures.listed(tracks)} and "
            "judged on the same test pictures. Is one framework more accurate?"
        )
    verdicts = [row["verdict"] for row in rows]
    said = [
        f"{verdicts.count(verdict)} {words}"
        for verdict, words in (
            ("equivalent", "without a difference that matters"),
            ("different", "with a difference"),
            ("undecided", "not decided yet"),
        )
        if verdict in verdicts
    ]
    yield (
        f"Of {figures.count(len(rows), 'comparison')}: {', '.join(said)}. A difference "
        f"matters from {figures.margin_points(margin)} points of accuracy on; brackets "
        "are 95 % intervals, which count the luck of training and of the test pictures."
    )


def _notes(
    pairs: Sequence[Any], findings: Sequence[Any], damaged: Sequence[str]
) -> Iterator[str]:
    """What the page leaves out."""
    if len(pairs) > s.FULL:
        yield (
            f"{len(pairs)} comparisons: curves, classes and pictures of the first "
            f"{s.FULL} only, a line in the plot of differences for the first "
            f"{FULL_FOREST}, rows for the first {ROWS}; choose fewer with SYSTEM, "
            "--data or --mode to see others"
        )
    if len(findings) > FINDINGS:
        yield f"{len(findings)} findings: the newest {FINDINGS} are shown"
    yield from (f"left out: {error}" for error in damaged)


def _shade(value: float, signed: bool) -> int:
    """How strongly a cell is coloured, 0 to 90; a twentieth apart is half of it."""
    return round(90 * min(abs(value) * (10 if signed else 1), 1))


def _cell(value: float, signed: bool) -> str:
    shown = 100 * value
    if abs(shown) < 0.05:
        return ""
    return f"{shown:+.1f}" if signed else f"{shown:.0f}"
