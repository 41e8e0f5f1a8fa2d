"""One page of a store that can be handed on: verdicts first, then all that is behind.

    twintrack report                              # runs/ -> report.html
    twintrack report rosetta-cnn --data cifar10 --output rosetta.html

The page asks for nothing else: no network, no script it could not do without.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from benchmarks import options, outcome
from benchmarks.request import on_data, several, share_of
from common import files, record
from common.errors import Refused
from common.files import check_writable
from common.report.page.written import page, slim
from common.results import Run, Store
from common.stats import MARGIN

OUTPUT = "report.html"
MEGABYTE = 1e6


@options.command
def report(
    systems: Annotated[
        options.Names | None,
        options.argument(list[str] | None, "Only these systems; all if none."),
    ] = None,
    *,
    output: Annotated[str | Path, options.option(Path, "The page to write.")] = OUTPUT,
    data: options.OnData = None,
    mode: options.InMode = None,
    margin: options.Margin = 100 * MARGIN,
    store: options.Folder = None,
    json: options.Json = None,
) -> dict[str, Any]:
    """Write one HTML page of the store's results: verdicts first, then the rest.

    Returns:
        What --json writes: {"output", "bytes", "runs", "findings", "damaged"}.

    Raises:
        Refused: There is nothing to report, or the page cannot be written.
    """
    share = share_of(margin)
    path = Path(output)
    check_writable(path, "--output")
    place = Store(store)
    wanted = several(systems)
    runs, damaged = kept(place, wanted, data, mode)
    findings, broken = record.scan(place.path)
    findings = [] if data or mode else findings  # which choose among runs
    chosen = [one for one in findings if not wanted or about(one) & {*wanted}]
    if not (runs or chosen):
        asked = " for what was asked" if wanted or data or mode else ""
        raise Refused(
            f"a report needs finished runs or findings, got none in {place.path}{asked}"
            "; run `twintrack compare`, ask for less, or name another --store"
        )
    said = [str(error) for error in (*damaged, *broken)]
    content = page(
        runs,
        chosen,
        margin=share,
        title=f"twintrack: {', '.join(wanted) or 'all results'} of {place.path.name}",
        damaged=said,
    ).encode()
    files.write_atomic(path, content)
    for line in said:
        print(f"left out: {line}", file=sys.stderr)
    print(f"{path}: {len(runs)} runs, {len(content) / MEGABYTE:.1f} MB")
    result = {
        "output": str(path),
        "bytes": len(content),
        "runs": len(runs),
        "findings": len(chosen),
        "damaged": said,
    }
    outcome.written(result, {"json": json})
    return result


def kept(
    place: Store, systems: tuple[str, ...], data: str | Path | None, mode: str | None
) -> tuple[list[Run], list[Exception]]:
    """The runs that were asked for, without the loss of every step; the damaged."""
    runs, damaged = place.scan()
    return [
        slim(run)
        for run in on_data(runs, data)
        if (not systems or run.record["system"] in systems)
        and mode in (None, run.record["mode"])
    ], list(damaged)


def about(finding: record.Finding) -> set[str]:
    """The words before a subject's tracks: for most kinds the names of systems."""
    return set(finding.subject.partition(";")[0].replace(",", " ").split())


if __name__ == "__main__":
    from benchmarks.shell import script

    script(report)
