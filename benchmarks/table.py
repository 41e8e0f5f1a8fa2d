"""Every table again, from the store alone.

    twintrack table                             # all runs and findings of the store
    twintrack table rasbt-mlp --data cifar10 --format markdown
    twintrack table --data photos/              # a folder by its path or its name
    twintrack table --kind parity               # the newest findings of a kind

Nothing is trained or downloaded; a record that is not as it was written is named
and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Annotated, Any

from benchmarks import options, outcome
from benchmarks.request import on_data, several, share_of
from common import record, report
from common.errors import Refused
from common.files import readable
from common.record import Finding
from common.results import Run, Store
from common.stats import MARGIN

FORMATS = (*report.FORMATS, "json")
NEWEST = 10  # findings that are listed; --kind shows all of one kind


@options.command
def table(
    systems: Annotated[
        options.Names | None,
        options.argument(list[str] | None, "Only these systems; all if none."),
    ] = None,
    *,
    data: options.OnData = None,
    mode: options.InMode = None,
    kind: Annotated[
        str | None,
        options.option(str | None, "Findings of this kind (parity, speed, ...)."),
    ] = None,
    reach: Annotated[
        float | None,
        options.option(
            float | None, "Also how long training took to this accuracy, in %."
        ),
    ] = None,
    margin: options.Margin = 100 * MARGIN,
    format: Annotated[
        str, options.option(str, f"{', '.join(report.FORMATS)}, or json for all of it.")
    ] = "text",
    json: options.Json = None,
    store: options.Folder = None,
) -> dict[str, Any]:
    """Show the results in the store, and what they say.

    Returns:
        What --json writes: {"systems": [...], "findings": [...], "damaged": [...]}.

    Raises:
        Refused: The request cannot be met, or nothing in the store meets it.
    """
    check_format(format)
    share, wanted = share_of(margin), accuracy_of(reach)
    out = options.filled(options.Told, {"json": json, "store": store})
    outcome.check_told(out)
    place = Store(store)
    runs, damaged = place.scan()
    findings, broken = record.scan(place.path)
    for error in (*damaged, *broken):
        print(f"left out: {error}", file=sys.stderr)
    chosen = [
        run
        for run in of_systems(runs, several(systems), place, findings)
        if mode in (None, run.record["mode"])
    ]
    chosen = on_data(chosen, data)
    listed = about(findings, kind, several(systems)) if not (data or mode) else []
    if kind:
        check_kind(place, kind, findings, str(data) if data else mode)
        chosen = []
    if not (chosen or listed):
        on = str(data) if data else None
        raise Refused(_nothing(place, runs, len(damaged), on, mode))
    summary = report.summarise(chosen, margin=share, reach=wanted)
    summary["findings"] = [asdict(finding) for finding in listed]
    summary["damaged"] = [str(error) for error in (*damaged, *broken)]
    outcome.written(summary, out)
    print(shown(summary, format, kind))
    return summary


def accuracy_of(percent: float | None) -> float | None:
    """An accuracy in % as the fraction that results have.

    Raises:
        Refused: It is none.
    """
    if percent is None:
        return None
    if not 0 < percent <= 100:
        raise Refused(
            f"--reach is an accuracy in % above 0 and at most 100, got {percent:g}; "
            "write 97.5"
        )
    return percent / 100


def shown(summary: dict[str, Any], format: str, kind: str | None = None) -> str:
    """The summary in one of FORMATS; of one kind of findings, each in full."""
    if format == "json":
        return readable(summary).decode().rstrip()
    parts = [report.shown("compare", summary, format)]
    if kind:
        told = [_in_full(finding, format) for finding in summary["findings"]]
        if not any(told):
            raise Refused(
                f"--kind must be one whose findings have the form of this version, "
                f"got {kind!r}; read them with --format json, or repeat their commands"
            )
        parts += told
    elif summary["findings"]:
        newest = summary["findings"][:NEWEST]
        left = len(summary["findings"]) - len(newest)
        listed = {"findings": newest, "left": left}
        parts.append(report.shown("findings", listed, format))
    return "\n\n".join(part.rstrip() for part in parts if part)


def _in_full(finding: dict[str, Any], format: str) -> str:
    """A finding with its tables; "", and a line beside, where its form is another's."""
    kind, result = finding["kind"], finding["result"]
    try:
        with report.of_this_version(kind, result):
            said = report.shown(kind, result, format)
    except report.Unlike as where:
        print(
            f"left out: {finding['id']} has the form of another version of its "
            f"command ({where}); read it with --format json, or repeat the command",
            file=sys.stderr,
        )
        return ""
    if format != "text":
        return said
    told = f"{finding['written']}  {finding['command'] or finding['subject']}"
    return f"{told}\n\n{said}"


def about(
    findings: Iterable[Finding], kind: str | None, systems: Sequence[str]
) -> list[Finding]:
    """The findings of this kind that are about one of the systems, or of all."""
    return [
        one
        for one in findings
        if kind in (None, one.kind) and (not systems or named(one) & {*systems})
    ]


def named(finding: Finding) -> set[str]:
    """The words before a subject's tracks: for most kinds the names of systems."""
    return set(finding.subject.partition(";")[0].replace(",", " ").split())


def of_systems(
    runs: Iterable[Run],
    wanted: Sequence[str],
    store: Store,
    findings: Sequence[Finding] = (),
) -> list[Run]:
    """The runs of the systems in `wanted`; all if there is none.

    Raises:
        Refused: The store has neither a run nor a finding of a system, but of others.
    """
    found = list(runs)
    known = list(dict.fromkeys(str(run.record["system"]) for run in found))
    elsewhere = {name for finding in findings for name in named(finding)}
    for name in wanted:
        if known and name not in known and name not in elsewhere:
            near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise Refused(
                f"a system must have runs in the store, got {name!r} for "
                f"{store.path}; the nearest is {near}"
            )
    return [run for run in found if not wanted or run.record["system"] in wanted]


def check_format(format: str) -> None:
    """Refuse an unknown format."""
    if format not in FORMATS:
        near = get_close_matches(format, FORMATS, n=1, cutoff=0.0)[0]
        raise Refused(
            f"--format must be one of {', '.join(FORMATS)}, got {format!r}; "
            f"the nearest is {near}"
        )


def check_kind(
    store: Store, kind: str, findings: Sequence[Finding], of_runs: str | None
) -> None:
    """Refuse a kind of which there is no finding, or no table; a choice among runs."""
    kinds = sorted({finding.kind for finding in findings})
    if kind not in kinds:
        has = f"it has {', '.join(kinds)}" if kinds else "it has none of any kind"
        raise Refused(
            f"--kind must be one of the store's findings, got {kind!r} for "
            f"{store.path}; {has}"
        )
    if of_runs:
        raise Refused(
            f"--data and --mode choose among runs, got {of_runs} with --kind {kind}; "
            "leave them out"
        )
    if kind not in (*report.COMPARED, *report.KINDS):
        raise Refused(
            f"--kind must be one that has tables, got {kind!r}; leave it out and read "
            "the findings with --format json"
        )


def _nothing(
    store: Store, runs: Sequence[Run], damaged: int, data: str | None, mode: str | None
) -> str:
    """Why there is no table."""
    if runs and (data or mode):
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
        f"a table needs finished runs or findings, got none in {store.path}{but}; "
        "run `twintrack compare` or name another --store"
    )


if __name__ == "__main__":
    from benchmarks.shell import script

    script(table)
