"""What a report says: from a store's runs and findings to what the template prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import report
from common.data import Dataset, open_data
from common.errors import Refused
from common.job import Job
from common.record import Finding
from common.report import figures
from common.report.page import svg
from common.report.page.answers import Answers, Shown, apart
from common.report.summary import Group, Row
from common.report.table import Table, columns
from common.results import JOB, Run

FULL = 24  # rows that are told in full: curves, classes, pictures
POINTS = 200  # of a curve
WORDS = {
    "equivalent": "no difference that matters",
    "different": "a difference",
    "undecided": "not decided yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A figure of the page: a drawing, its table, what it shows.

    Attributes:
        title: What it is.
        drawing: SVG, or "".
        tables: The same in figures.
        said: A line beneath.
    """

    title: str
    drawing: str = ""
    tables: tuple[Table, ...] = ()
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Confusion matrices of the tracks, and of the first less the second.

    Attributes:
        classes: Names, in order.
        tracks: Track -> (true, said), shares.
        difference: The first's less the second's; none with one track.
    """

    classes: tuple[str, ...]
    tracks: Mapping[str, NDArray[np.float64]]
    difference: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """All that is told of one row of a comparison.

    Attributes:
        row: Of the summary.
        slug: What the page calls it in its addresses.
        headline: The verdict in a few words.
        told: Its figures.
        confusion: Its matrices, or none.
        pictures: Kind -> (how many, those that are shown).
        left_out: What is not told of it, and why.
    """

    row: Row
    slug: str
    headline: str
    told: tuple[Told, ...] = ()
    confusion: Confusion | None = None
    pictures: Mapping[str, tuple[int, list[Shown]]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def sections(pairs: Iterable[tuple[Group, Row]]) -> list[Section]:
    """A section for each group of runs and its judged row; `FULL` of them in full."""
    found: list[Section] = []
    for k, (group, row) in enumerate(pairs):
        slug = f"{re.sub(r'[^a-z0-9]+', '-', row['system'].lower()).strip('-')}-{k + 1}"
        section = Section(row=row, slug=slug, headline=headline(row))
        found.append(_in_full(section, group) if k < FULL else section)
    return found


def headline(row: Row) -> str:
    """The verdict as one says it first."""
    return WORDS[row["verdict"]]


def _in_full(section: Section, group: Group) -> Section:
    ended = {
        track: [run for run in runs if run.record["scores"]]
        for track, runs in group.tracks.items()
    }
    ended = {track: runs for track, runs in ended.items() if runs}
    told = [*_learning(ended)]
    missing: list[str] = []
    answers = _answers(ended, missing)
    confusion, pictures = None, {}
    if answers:
        classes = tuple(map(str, group.runs[0].record["data"]["classes"]))
        confusion = _confusion(answers, classes)
        told += [_per_class(answers, classes), _calibrated(answers)]
        if len(answers) > 1:
            pictures = _apart(ended, answers, classes, missing)
    return Section(
        row=section.row,
        slug=section.slug,
        headline=section.headline,
        told=tuple(told),
        confusion=confusion,
        pictures=pictures,
        left_out=tuple(missing),
    )


# --- learning ---------------------------------------------------------------------


def _learning(ended: Mapping[str, Sequence[Any]]) -> Iterator[Told]:
    kinds = (
        ("train_loss", "training loss", True),
        ("accuracy", "accuracy after the epoch", False),
    )
    for key, name, log in kinds:
        series = {
            track: np.array([_history(run, key) for run in runs], np.float64)
            for track, runs in ended.items()
            if runs and len({len(_history(run, key)) for run in runs}) == 1
        }
        series = {t: rows for t, rows in series.items() if rows.size}
        series = {t: rows for t, rows in series.items() if np.isfinite(rows).any()}
        if not series:
            continue
        yield Told(
            title=f"Learning: {name}",
            drawing=svg.curves(
                series, title=f"{name}, epoch by epoch", x="epoch", y=name, log=log
            ),
            tables=(_epochs(series, name),),
            said="Line: mean over the seeds. Band: from the least to the most of them.",
        )


def _history(run: Run, key: str) -> list[float]:
    found = [epoch.get(key) for epoch in run.record["history"]]
    return [float("nan") if value is None else float(value) for value in found]


def _epochs(series: Mapping[str, NDArray[np.float64]], name: str) -> Table:
    most = max(rows.shape[1] for rows in series.values())
    marks = sorted({*np.linspace(0, most - 1, 10).astype(int).tolist()})
    return Table(
        title=name,
        columns=columns(["epoch"], [*series]),
        rows=tuple(
            (
                str(k + 1),
                *(
                    f"{rows[:, k].mean():.4f}" if k < rows.shape[1] else figures.NONE
                    for rows in series.values()
                ),
            )
            for k in marks
        ),
    )


# --- answers ----------------------------------------------------------------------


def _answers(
    ended: Mapping[str, Sequence[Any]], missing: list[str]
) -> dict[str, Answers]:
    found = {}
    for track, runs in ended.items():
        try:
            logits = [run.logits() for run in runs]
            found[track] = Answers(logits=logits, labels=runs[0].labels())
        except (OSError, ValueError, KeyError, Refused) as error:
            missing.append(f"no answers of {track}: {error}")
    return found


def _confusion(answers: Mapping[str, Answers], classes: tuple[str, ...]) -> Confusion:
    tracks = {t: own.confusion(len(classes)) for t, own in answers.items()}
    first, *others = tracks.values()
    return Confusion(
        classes=classes,
        tracks=tracks,
        difference=first - others[0] if others else None,
    )


def _per_class(answers: Mapping[str, Answers], classes: tuple[str, ...]) -> Told:
    tracks = {t: own.confusion(len(classes)).diagonal() for t, own in answers.items()}
    return Told(
        title="Found, class by class",
        tables=(
            Table(
                columns=columns(["class"], [f"{track} %" for track in tracks]),
                rows=tuple(
                    (name, *(figures.percent(float(own[k])) for own in tracks.values()))
                    for k, name in enumerate(classes)
                ),
            ),
        ),
        said="Share of a class's test pictures that are called so, all seeds together.",
    )


def _calibrated(answers: Mapping[str, Answers]) -> Told:
    found = {track: own.calibration() for track, own in answers.items()}
    bins = {track: points for track, (points, _) in found.items()}
    rows = tuple(
        (
            track,
            f"{100 * error.mean:.2f} [{100 * error.low:.2f} to {100 * error.high:.2f}]",
            *(f"{a:.2f}: {b:.2f}" for a, b in points[-1:]),
        )
        for track, (points, error) in found.items()
    )
    pairs = tuple(
        (track, f"{a:.3f}", f"{b:.3f}") for track in bins for a, b in bins[track]
    )
    return Told(
        title="Calibration: is it right as often as it is sure?",
        drawing=svg.reliability(bins, title="share right by confidence"),
        tables=(
            Table(
                columns=columns(
                    ["track"], ["expected calibration error % [95 %]", "surest: right"]
                ),
                rows=rows,
            ),
            Table(columns=columns(["track"], ["confidence", "right"]), rows=pairs),
        ),
        said="Below the diagonal: surer than right. Fifteen bins, Guo et al. 2017.",
    )


def _apart(
    ended: Mapping[str, Sequence[Any]],
    answers: Mapping[str, Answers],
    classes: tuple[str, ...],
    missing: list[str],
) -> dict[str, tuple[int, list[Shown]]]:
    seeds = [{run.record["seed"] for run in ended[track]} for track in answers]
    shared = sorted(set.intersection(*seeds))
    if not shared:
        missing.append("no seed that all tracks have, so no pictures side by side")
        return {}
    one = {
        track: own.logits[[run.record["seed"] for run in ended[track]].index(shared[0])]
        for track, own in answers.items()
    }
    labels = next(iter(answers.values())).labels
    run = next(iter(ended.values()))[0]
    try:
        pictures: Any = _pictures(run).test
    except (Refused, OSError, ValueError, KeyError) as error:
        missing.append(f"the test pictures are not at hand: {error}")
        return apart(one, labels, classes, None)
    return apart(one, labels, classes, _Lazy(pictures))


class _Lazy:
    """Pictures of a part, taken one by one."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __getitem__(self, place: int) -> NDArray[np.uint8]:
        return np.asarray(self.part.take(np.array([place]))[0], np.uint8)


def _pictures(run: Run) -> Dataset:
    """The data of a run, as it asked for them.

    Raises:
        Refused: They are not at hand any more, or not the same.
    """
    job = Job.from_json((run.path / JOB).read_bytes())
    data = open_data(job.data)
    if data.fingerprint != run.record["data"]["fingerprint"]:
        raise Refused(
            f"pictures must be those of the run, {data.name} has changed; get the "
            "former ones back"
        )
    return data


# --- findings ---------------------------------------------------------------------


def of_findings(findings: Sequence[Finding]) -> list[tuple[Finding, list[Told], str]]:
    """Each finding with its figures, or why it cannot be shown."""
    shown: list[tuple[Finding, list[Told], str]] = []
    for finding in findings:
        if finding.kind not in (*report.COMPARED, *report.KINDS):
            shown.append((finding, [], f"there are no tables of a {finding.kind}"))
            continue
        try:
            with report.of_this_version(finding.kind, finding.result):
                tables = tuple(report.tables(finding.kind, finding.result))
                told = [*_drawn(finding), Told(title="", tables=tables)]
        except report.Unlike as where:
            why = f"of another version's form ({where}); repeat its command"
            shown.append((finding, [], why))
        else:
            shown.append((finding, told, ""))
    return shown


def _drawn(finding: Finding) -> Iterator[Told]:
    if finding.kind == "ledger":
        for row in finding.result.get("systems", []):
            if row["sum"]:
                ends = ("sum", "gap", "left")
                names = ("sum of the prices", "gap of native runs", "left over")
                steps = [(one["default"], one["price"]) for one in row["defaults"]]
                steps += [(n, row[end]) for n, end in zip(names, ends, strict=True)]
                title = f"{row['system']}: what each default is worth, points"
                yield Told(title=title, drawing=svg.waterfall(steps, title=title))


def forests(rows: Sequence[Row], margin: float) -> Iterator[Told]:
    """The differences of all rows beside each other, each mode by itself."""
    for mode in sorted({row["mode"] for row in rows}):
        drawn = [
            {
                "name": f"{row['system']} · {row['data']}{_changes(row)}",
                "verdict": row["verdict"],
                **row["difference"],
            }
            for row in rows
            if row["mode"] == mode and row["difference"]["low"] is not None
        ]
        title = f"Differences in accuracy, mode {mode}, with 95 % intervals"
        if drawn:
            yield Told(
                title=f"Differences at a glance, mode {mode}",
                drawing=svg.forest(drawn, margin=margin, title=title),
                said=(
                    "Points of accuracy, the first track minus the second. The band is "
                    f"the margin of {figures.margin_points(margin)} points: a "
                    "difference inside it does not matter."
                ),
            )


def _changes(row: Row) -> str:
    return "".join(f" · {change}" for change in row["overrides"])


def environments(runs: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Machines and versions of the runs, each with how many."""
    counts: dict[str, int] = {}
    for record in runs:
        env = record["environment"]
        versions = ", ".join(f"{k} {v}" for k, v in env.get("versions", {}).items())
        parts = [env.get("processor"), env.get("system"), f"Python {env.get('python')}"]
        said = "; ".join(str(part) for part in [*parts, versions] if part)
        counts[said] = counts.get(said, 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])


def as_json(value: object) -> str:
    """A value for an attribute of the page."""
    return json.dumps(value)
