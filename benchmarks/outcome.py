"""How a command ends: its jobs carried out, its result told, written and kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.engine import machine
from benchmarks.engine.progress import amount, duration
from benchmarks.engine.progress import screen as fitting_screen
from benchmarks.engine.runner import Outcome, RunsFailed, run_jobs
from benchmarks.options import Runs, Told, on_output, output
from benchmarks.request import check_choice, check_positive, path_of
from common import files, record, report
from common.command_line import typed
from common.job import Job, versions
from common.results import Run, Store
from common.spec import macs

Result = dict[str, Any]
MANY = 10_000  # runs; fewer are listed before anybody wonders
LISTING = 1e-4  # seconds to list a run and to look for it in the store


def check_told(out: Told) -> None:
    """Refuse, before anything runs, a result that could not be told at the end.

    Raises:
        Refused: No such format, or --json names what cannot be written.
    """
    check_choice("format", out["format"], report.FORMATS)
    path = path_of(out["json"])
    if path and not on_output(path):
        files.check_writable(path, "--json")


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


def say_many(n: int) -> None:
    """Say that so many runs are asked for, where to list them takes its time."""
    if n >= MANY:
        listed = duration(n * LISTING)
        print(
            f"{amount(n, 'run')} are asked for; to list them takes about {listed}",
            file=sys.stderr,
            flush=True,
        )


def carried_out(jobs: Sequence[Job], runs: Runs, store: Store) -> list[Outcome]:
    """What became of every job; those that failed are named.

    Raises:
        Refused: A job cannot be met.
        KeyboardInterrupt: The user had enough; what is finished is kept.
    """
    screen = fitting_screen(sys.stderr)
    if runs["threads"] is None:
        for line in unasked_threads(jobs):
            screen.say(line)
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


def unasked_threads(jobs: Sequence[Job]) -> Iterator[str]:
    """What is to be said of the threads of jobs where nobody chose them."""
    if line := machine.about_threads(job.threads for job in jobs):
        yield line
    for name, job in {job.system: job for job in jobs if job.modules}.items():
        if macs(job.records()[0]) is None:
            yield (
                f"threads: {job.threads} for {name}, as its spec has no `macs` to tell "
                "how large a step is; --threads N says how many"
            )


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
    """The file that --json names; or the one thing on standard output."""
    path = path_of(out["json"])
    if path and on_output(path):
        print(files.readable(result).decode(), end="", file=output())
    elif path:
        files.write_atomic(path, files.readable(result))


def kept(
    kind: str, result: Result, out: Told, *, subject: str, tracks: Sequence[str]
) -> None:
    """The finding as a record in the store, and as the file that --json names.

    A store that only others may write to can be asked: no record is left, as is said.
    """
    written(result, out)
    place = Store(out["store"]).path
    if not files.writable(place / record.FOLDER):
        print(
            f"no record of this: {place} may be read only; keep it with --json",
            file=sys.stderr,
        )
        return
    found: dict[str, str] = {}
    for track in tracks:
        found |= versions(track)
    record.keep(
        place,
        kind,
        result,
        command=typed(),
        environment=record.environment(found),
        subject=subject,
    )


def told(
    kind: str, result: Result, out: Told, *, subject: str, tracks: Sequence[str]
) -> None:
    """The finding as a record, as the file that --json names, and on the screen.

    What can no longer be shown is kept, and what cannot be kept is shown.
    """
    try:
        kept(kind, result, out, subject=subject, tracks=tracks)
    finally:
        shown(kind, result, out)


def shown(kind: str, result: Result, out: Told) -> None:
    """The finding on the screen."""
    print(report.shown(kind, result, out["format"]).rstrip())
