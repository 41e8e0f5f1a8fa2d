"""Runs jobs one at a time, each in a child process, and shows how far they are.

The parent imports no framework.  It starts `benchmarks/engine/run.py`, reads the events
it sends, and believes only the record that the child leaves in the store.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engine.progress import Screen, amount, duration
from common import files, results
from common.errors import Failed, Refused
from common.job import Job
from common.results import Damaged, Run, Store

DAY = 86_400.0  # seconds; what a run may take unless the user says otherwise
TICK = 0.2  # seconds between two looks at a silent child
TAIL = 15  # lines of a log that are shown when its run fails

Event = dict[str, Any]


class RunsFailed(Failed):
    """Some runs failed, and were reported; the others are in the store."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: a run, or the reason why there is none."""

    job: Job
    run: Run | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store knows of a job: a finished run, some epochs, or nothing.

    Attributes:
        job: The job.
        run: Its finished run, if there is one.
        epoch: Finished epochs of an unfinished run.
        note: What is wrong with what is there, if something is.
    """

    job: Job
    run: Run | None = None
    epoch: int = 0
    note: str = ""


def run_jobs(
    jobs: Sequence[Job], store: Store, *, screen: Screen, time_limit: float = DAY
) -> list[Outcome]:
    """See that every job has a run in the store, and repeat none.

    Args:
        jobs: In the order in which they are to be run.
        store: Where runs are found and kept.
        screen: Who is told.
        time_limit: Seconds after which a run is given up; its checkpoint is kept.

    Raises:
        Refused: A run cannot be met as it was asked for, or the disk is full.
        KeyboardInterrupt: The user had enough; what is finished is kept.
    """
    standings = [look_up(job, store) for job in jobs]
    for line in announcement(standings, store):
        screen.say(line)
    outcomes = {s.job.id: Outcome(s.job, s.run) for s in standings if s.run}
    pace = Pace(sum(s.run is None for s in standings))
    with screen:
        for k, standing in enumerate(standings, 1):
            if standing.job.id not in outcomes:
                title = f"[{k}/{len(jobs)}] {standing.job.name}"
                child = Child(standing, store, screen, title, pace)
                outcomes[standing.job.id] = child.run(time_limit)
    return [outcomes[job.id] for job in jobs]


def look_up(job: Job, store: Store) -> Standing:
    """What the store knows of `job`."""
    try:
        if run := store.find(job.id):
            return Standing(job, run)
        if checkpoint := store.load_checkpoint(job.id):
            return Standing(job, epoch=checkpoint.state.epoch)
    except Damaged as error:
        return Standing(job, note=str(error))
    return Standing(job)


def announcement(standings: Sequence[Standing], store: Store) -> Iterator[str]:
    """What is there, what goes on, what is to be done."""
    finished = sum(s.run is not None for s in standings)
    resumed = [s for s in standings if s.epoch]
    rest = len(standings) - finished - len(resumed)
    yield (
        f"{amount(len(standings), 'run')}: {finished} finished before, "
        f"{len(resumed)} to resume, {rest} to start; results are kept in {store.path}"
    )
    for s in resumed:
        last = s.epoch == s.job.epochs
        where = "after the last epoch" if last else f"at epoch {s.epoch + 1}"
        yield f"resuming {s.job.name} {where} of {s.job.epochs}"
    for s in standings:
        if s.note:
            yield f"damaged: {s.note}"


@dataclass(slots=True)
class Pace:
    """How long runs take, to say how long the others will.

    Attributes:
        waiting: Runs that are not finished, the current one included.
        took: Seconds of those that are.
        first: Share and second of the current run's first report: what comes before
            it, starting a framework, says nothing of the rest.
    """

    waiting: int
    took: list[float] = field(default_factory=list)
    first: tuple[float, float] | None = None

    def left(self, elapsed: float, share: float) -> float | None:
        """Seconds until all are done, when `share` of the current run is."""
        self.first = self.first or (share, elapsed)
        gained, seconds = share - self.first[0], elapsed - self.first[1]
        if gained <= 0:
            return None
        rest = (1 - share) * seconds / gained
        mean = sum([*self.took, elapsed + rest]) / (len(self.took) + 1)
        return rest + mean * (self.waiting - 1)

    def finished(self, seconds: float) -> None:
        """Take in a run that is done."""
        self.took.append(seconds)
        self.waiting -= 1
        self.first = None


class Child:
    """One job's process, seen from its parent."""

    def __init__(
        self, standing: Standing, store: Store, screen: Screen, title: str, pace: Pace
    ) -> None:
        self.job = standing.job
        self.first = standing.epoch
        self.store = store
        self.screen = screen
        self.title = title
        self.pace = pace
        self.folder = store.folder(self.job.id)
        self.born = time.monotonic()
        self.speed: float | None = None  # of the last report that had one
        self.ending: Event = {}

    def run(self, time_limit: float) -> Outcome:
        """Start the child, follow it, and look for its record.

        Raises:
            Refused: The child refused; the line is the child's.
        """
        log = self.folder / results.LOG
        files.write_atomic(self.folder / results.JOB, self.job.to_json())
        self.screen.begin(self.title)
        with log.open("ab") as file:
            said_before = file.tell()
            status = self._follow(self._start(file), time_limit)
        if self.ending.get("event") == "refused":
            raise Refused(self.ending["message"])
        outcome = self._outcome(status, log, said_before)
        seconds = time.monotonic() - self.born
        self.pace.finished(seconds)
        self.screen.end(f"{self.title}: {result(outcome)}, {duration(seconds)}")
        return outcome

    def _start(self, log: Any) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches the parent, which ends the child.
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "benchmarks.engine.run"),
                *(str(self.folder / results.JOB), str(os.getpid())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(threads=self.job.threads, device=self.job.device),
            start_new_session=True,
        )

    def _follow(self, child: subprocess.Popen[bytes], time_limit: float) -> str:
        """Show the child's events until it ends; how it ended, or "" if well."""
        try:
            for event in events(child):
                self._take(event)
                if time.monotonic() - self.born > time_limit:
                    return f"it took longer than the limit of {duration(time_limit)}"
            return ended(child.wait())
        finally:
            if child.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            if child.stdout:
                child.stdout.close()

    def _take(self, event: Event) -> None:
        match event.get("event"):
            case "progress" | "epoch":
                self.speed = event.get("images_per_second") or self.speed
                event["images_per_second"] = self.speed
                elapsed = time.monotonic() - self.born
                left = self.pace.left(elapsed, self._share(event))
                self.screen.show(self.title, event, left)
            case "waiting":
                self.screen.say(f"{self.title}: waits for another compare's run of it")
            case "note":
                self.screen.say(event["text"])
            case "done" | "found" | "refused":
                self.ending = event

    def _share(self, event: Event) -> float:
        """How much of what this attempt has to do is done, 0 to 1."""
        total = event["epochs"]
        done = event["epoch"]
        if event["event"] == "progress":
            done = event["step"] / event["steps"] * total
        return float((done - self.first) / max(1, total - self.first))

    def _outcome(self, status: str, log: Path, said_before: int) -> Outcome:
        if not status:
            try:
                run = self.store.find(self.job.id)
            except Damaged as error:
                return Outcome(self.job, None, str(error))
            if run:
                return Outcome(self.job, run)
            status = "it ended without a record"
        return Outcome(self.job, None, f"{status}\n{tail(log, said_before)}")


def environment(*, threads: int, device: str) -> dict[str, str]:
    """The child's environment: our import path, one number of threads, Keras on TF."""
    path = [entry or str(Path.cwd()) for entry in sys.path]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    fixed = {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONHASHSEED": "0",
        "KERAS_BACKEND": "tensorflow",
        "OMP_NUM_THREADS": str(threads),
    }
    if device == "cpu":
        fixed["CUDA_VISIBLE_DEVICES"] = ""
    return quiet | dict(os.environ) | fixed


def events(child: subprocess.Popen[bytes]) -> Iterator[Event]:
    """What the child sends, and an empty event at each tick without one."""
    if child.stdout is None:
        return
    rest = b""
    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout, selectors.EVENT_READ)
        while True:
            silent = not ready.select(TICK)
            if silent and child.poll() is not None:
                return  # a worker of the child may still hold the pipe
            content = b"" if silent else os.read(child.stdout.fileno(), 65_536)
            if not silent and not content:
                return
            *lines, rest = (rest + content).split(b"\n")
            yield from (json.loads(line) for line in lines)
            yield {}


def ended(code: int) -> str:
    """How a process ended, in words; "" if well."""
    if code >= 0:
        return f"it ended with code {code}" if code else ""
    name = signal.Signals(-code).name
    guess = "; was memory short?" if name == "SIGKILL" else ""
    return f"it was ended by {name}{guess}"


def tail(log: Path, start: int) -> str:
    """The last lines of a log from byte `start` on, indented."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    shown = "\n".join(f"    {line}" for line in lines[-TAIL:])
    return f"  the end of {log}:\n{shown}" if shown else f"  {log} says nothing"


def result(outcome: Outcome) -> str:
    """One run's result in a few words."""
    if outcome.run is None:
        return f"failed, {outcome.failure.splitlines()[0]}"
    record = outcome.run.record
    if record["scores"] is None:
        return f"diverged at step {record['diverged_at']}"
    return f"accuracy {record['scores']['accuracy']:.2%}"
