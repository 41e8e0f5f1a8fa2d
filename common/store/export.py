"""Runs and findings of a store as one file, from which tables are printed again.

    {"kind", "command", "environment", "result", "written_by", "sha256"}

The form of `docs/results/*.json` (`common.report.pages`).  Of runs, the result is what
`compare --json` writes: of each run which test pictures it got right, as packed bits,
so that every figure and verdict can be computed again; of a finding it is its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from common import __version__, report, stats
from common.files import canonical, readable, seal
from common.record import Finding
from common.results import RECORD, Run

# What an environment says of a machine; the rest is of one run.
OF_MACHINE = ("twintrack", "python", "system", "processor", "cores")

Content = dict[str, Any]


def of_runs(runs: Sequence[Run], *, margin: float = stats.MARGIN) -> Content:
    """Finished runs as the content of a file, sealed.

    Raises:
        Damaged: A file of a run is not as it was written.
    """
    ordered = sorted(runs, key=lambda run: (run.path / RECORD).stat().st_mtime_ns)
    commands = dict.fromkeys(str(run.record.get("command") or "") for run in ordered)
    return _sealed(
        kind="compare",
        command=" && ".join(command for command in commands if command),
        environment=_environment(ordered),
        result=report.summarise(runs, margin=margin),
    )


def of_finding(finding: Finding) -> Content:
    """A finding as the content of a file, sealed."""
    return _sealed(
        kind=finding.kind,
        command=finding.command,
        environment=finding.environment,
        result=finding.result,
    )


def _sealed(**said: Any) -> Content:
    content: Content = json.loads(
        readable({**said, "written_by": f"twintrack {__version__}"})
    )
    return content | {"sha256": seal(content)}


def _environment(runs: Sequence[Run]) -> dict[str, Any]:
    """That of the newest run, with everybody's versions; other machines in `others`."""
    found: dict[bytes, dict[str, Any]] = {}
    for run in runs:
        said = run.record["environment"]
        machine = {key: said[key] for key in OF_MACHINE if key in said}
        known = found.pop(canonical(machine), machine | {"versions": {}})
        known["versions"] |= said.get("versions") or {}
        found[canonical(machine)] = known  # the last is the newest
    *others, newest = found.values()
    return newest | ({"others": others} if others else {})
