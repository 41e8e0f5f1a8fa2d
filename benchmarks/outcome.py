"""How a command ends: its jobs carried out, its result told, written and kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.engine.progress import screen as fitting_screen
from benchmarks.engine.runner import Outcome, RunsFailed, run_jobs
from benchmarks.options import Runs, Told
from benchmarks.request import check_choice, check_positive, path_of
from common import files, record, report
from common.command_line import typed
from common.errors import Refused
from common.job import Job, versions
from common.results import Run, Store

Result = dict[str, Any]


def check_told(out: Told) -> None:
    """Refuse, before anything runs, a result that could not be told at the end.

    Raises:
        Refused: No such format, or a folder where a file is to be written.
    """
    check_choice("format", out["format"], report.FORMATS)
    path = path_of(out["json"])
    if path and path.is_dir():
        raise Refused(f"--json must be a file, got the folder {path}; add a name")


def check_runs(runs: Runs) -> None:
    """Refuse a request whose numbers or outputs cannot be met.

    Raises:
        Refused: As in `check_told`, or a number is not above zero.
    """
    check_told(runs)
    check_positive(
        threads=runs["threads"],
        time_limit=runs["time_limit"],
        jobs=runs["jobs"],
        limit=runs["limit"],
        test_limit=runs["test_limit"],
    )


def carried_out(jobs: Sequence[Job], runs: Runs, store: Store) -> list[Outcome]:
    """What became of every job; those that failed are named.

    Raises:
        Refused: A job cannot be met.
        KeyboardInterrupt: The user had enough; what is finished is kept.
    """
    screen = fitting_screen(sys.stderr)
    try:
        outcomes = run_jobs(
            jobs,
            store,
            screen=screen,
            time_limit=runs["time_limit"],
            at_once=runs["jobs"],
        )
    except KeyboardInterrupt:
        screen.say("interrupted; what is finished is kept, the same command goes on")
        raise
    for outcome in outcomes:
        if not outcome.run:
            screen.say(f"{outcome.job.name} failed: {outcome.failure}")
    return outcomes


def check_finished(outcomes: Sequence[Outcome]) -> None:
    """Fail where a job has no run.

    Raises:
        RunsFailed: Some have none; the others are kept.
    """
    if failed := sum(not outcome.run for outcome in outcomes):
        raise RunsFailed(
            f"every run must end with a record, {failed} of {len(outcomes)} did not; "
            "the others are kept, the same command tries again"
        )


def all_trained(jobs: Sequence[Job], runs: Runs, store: Store) -> list[Run]:
    """The runs of all jobs.

    Raises:
        RunsFailed: Some failed.
    """
    outcomes = carried_out(jobs, runs, store)
    check_finished(outcomes)
    return [outcome.run for outcome in outcomes if outcome.run]


def written(result: Result, out: Told) -> None:
    """The file that --json names."""
    if path := path_of(out["json"]):
        files.write_atomic(path, files.readable(result))


def kept(
    kind: str, result: Result, out: Told, *, subject: str, tracks: Sequence[str]
) -> None:
    """The finding as a record in the store, and as the file that --json names."""
    written(result, out)
    found: dict[str, str] = {}
    for track in tracks:
        found |= versions(track)
    record.keep(
        Store(out["store"]).path,
        kind,
        result,
        command=typed(),
        environment=record.environment(found),
        subject=subject,
    )


def told(
    kind: str, result: Result, out: Told, *, subject: str, tracks: Sequence[str]
) -> None:
    """The finding on the screen, as a record, and as the file that --json names."""
    shown(kind, result, out)
    kept(kind, result, out, subject=subject, tracks=tracks)


def shown(kind: str, result: Result, out: Told) -> None:
    """The finding on the screen."""
    print(report.shown(kind, result, out["format"]).rstrip())
