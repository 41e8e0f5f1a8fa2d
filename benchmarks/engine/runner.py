"""Jobs become outcomes: each in a child process, some at once, none twice.

The parent imports no framework.  An `Executor` starts the children and tells what they
say; only the record that a child leaves in the store is believed.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from benchmarks.engine import machine
from benchmarks.engine.foretold import folders, foretold
from benchmarks.engine.process import Child, Event, ready
from benchmarks.engine.progress import Screen, amount, duration
from common import files, results
from common.errors import Damaged, Failed
from common.job import Job
from common.results import RECORD, Run, Store

DAY = 86_400.0  # seconds; what a run may take unless the user says otherwise
TASK = "benchmarks.engine.run:run"
WORTH_SAYING = 60.0  # seconds to go that a line is spent on after the first run
MEMORY_LEFT = 500e6  # bytes that are left to others when a further run is started


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


class Watch(Protocol):
    """Who is told how the jobs go."""

    def begun(self, job: Job) -> None:
        """Its child was started."""

    def told(self, job: Job, event: Event) -> None:
        """Its child told something."""

    def waits(self, job: Job, why: str) -> None:
        """It is not started yet, though a place is free."""

    def ended(self, outcome: Outcome) -> None:
        """It is over."""


class Executor(Protocol):
    """Between jobs and their outcomes: where they are run, and how many at once."""

    def outcomes(self, jobs: Sequence[Job], watch: Watch) -> Iterator[Outcome]:
        """Carry out every job; outcomes come as they are ready.

        What is not finished is ended when the iterator is closed.

        Raises:
            Refused: A job cannot be met as it was asked for.
        """


def run_jobs(
    jobs: Sequence[Job],
    store: Store,
    *,
    screen: Screen,
    time_limit: float = DAY,
    at_once: int = 1,
    executor: Executor | None = None,
) -> list[Outcome]:
    """See that every job has a run in the store, and repeat none.

    Args:
        jobs: In the order in which they are to be run.
        store: Where runs are found and kept.
        screen: Who is told.
        time_limit: Seconds after which a run is given up; its checkpoint is kept.
        at_once: Most runs at one time, each with its own threads.
        executor: Where they are run; children of this process unless given.

    Raises:
        Refused: A run cannot be met as it was asked for, or the disk is full.
        KeyboardInterrupt: The user had enough; what is finished is kept.
    """
    there = folders(store)
    standings = {
        job.id: look_up(job, store) if job.id in there else Standing(job)
        for job in jobs
    }
    for line in announcement(list(standings.values()), store):
        screen.say(line)
    outcomes = {id: Outcome(s.job, s.run) for id, s in standings.items() if s.run}
    missing = [s.job for id, s in standings.items() if id not in outcomes]
    for line in foretold(missing, store, there, at_once=at_once):
        screen.say(line)
    executor = executor or Local(store, at_once=at_once, time_limit=time_limit)
    watch = Shown(standings, screen, Pace(waiting=len(missing), at_once=at_once))
    with screen:
        for outcome in executor.outcomes(missing, watch):
            outcomes[outcome.job.id] = outcome
            watch.ended(outcome)
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
        f"{amount(len(standings), 'run')}: {finished:,} finished before, "
        f"{len(resumed):,} to resume, {rest:,} to start; results are kept in "
        f"{store.path}"
    )
    for s in resumed:
        last = s.epoch == s.job.epochs
        where = "after the last epoch" if last else f"at epoch {s.epoch + 1}"
        yield f"resuming {s.job.name} {where} of {s.job.epochs}"
    for s in standings:
        if s.note:
            yield f"damaged: {s.note}"


# --- where jobs are run -----------------------------------------------------------


class Local:
    """Children of this process, `at_once` of them at a time.

    Args:
        store: Where they keep their records.
        at_once: Most of them at one time.
        time_limit: Seconds after which a run is given up.
        free: Bytes of memory that further processes may take, or none if unknown.
    """

    def __init__(
        self,
        store: Store,
        *,
        at_once: int = 1,
        time_limit: float = DAY,
        free: Callable[[], int | None] = machine.free_memory,
    ) -> None:
        self.store = store
        self.at_once = at_once
        self.time_limit = time_limit
        self.free = free
        self.needs = needs(store) if at_once > 1 else {}

    def outcomes(self, jobs: Sequence[Job], watch: Watch) -> Iterator[Outcome]:
        """Carry out every job, as `Executor` says."""
        waiting = deque(jobs)
        running: list[Attempt] = []
        held: set[str] = set()  # jobs that were said to wait
        try:
            while waiting or running:
                while waiting and len(running) < self.at_once:
                    job = waiting[0]
                    if why := self._why_not(job, running):
                        if job.id not in held:
                            watch.waits(job, why)
                        held.add(job.id)
                        break
                    running.append(Attempt(waiting.popleft(), self.store))
                    watch.begun(job)
                children = [attempt.child for attempt in running]
                told = ready(children)
                for attempt in list(running):
                    if attempt.child in told:
                        for event in attempt.take():
                            watch.told(attempt.job, event)
                    if outcome := attempt.outcome(self.time_limit):
                        running.remove(attempt)
                        self._learn(outcome)
                        yield outcome
        finally:
            for attempt in running:
                attempt.child.end()

    def _why_not(self, job: Job, running: Sequence[Attempt]) -> str:
        """Why a job is not started beside those that run; "" where it may be.

        What runs may still grow to what it needed before.  A system that was never
        run says nothing of its needs, and may.
        """
        need = self.needs.get(kind_of(job), 0)
        free = self.free()
        if not running or free is None or not need:
            return ""
        grows = sum(
            max(self.needs.get(kind_of(a.job), 0) - a.resident, 0) for a in running
        )
        if need <= free - grows - MEMORY_LEFT:
            return ""
        return (
            f"needs {need / 1e9:.1f} GB, as earlier runs did, "
            f"{max(free - grows - MEMORY_LEFT, 0) / 1e9:.1f} GB are free"
        )

    def _learn(self, outcome: Outcome) -> None:
        if outcome.run:
            kind, peak = kind_of(outcome.job), outcome.run.record["memory"]["peak"]
            self.needs[kind] = max(self.needs.get(kind, 0), peak)


Kind = tuple[str, str]


def kind_of(job: Job) -> Kind:
    """What is taken to need as much memory: a system in a track."""
    return job.system, job.track


def needs(store: Store) -> dict[Kind, int]:
    """Most memory that the store's runs of each kind held, in bytes.

    A record that cannot be read tells nothing here; who asks for its run is told.
    """
    found: dict[Kind, int] = {}
    for path in store.path.glob(f"*/{RECORD}"):
        try:
            record = json.loads(path.read_bytes())
            kind = (record["system"], record["track"])
            found[kind] = max(found.get(kind, 0), int(record["memory"]["peak"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


class Attempt:
    """One job's process, seen from its parent."""

    def __init__(self, job: Job, store: Store) -> None:
        self.job = job
        self.store = store
        folder = store.folder(job.id)
        path = folder / results.JOB
        files.write_atomic(path, job.to_json())
        self.child = Child(
            TASK,
            {"job": str(path)},
            threads=job.threads,
            device=job.device,
            log=folder / results.LOG,
            switches=job.switches,
        )

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds."""
        return machine.resident(self.child.process.pid)

    def take(self) -> list[Event]:
        """What it told meanwhile."""
        return self.child.take()

    def outcome(self, time_limit: float) -> Outcome | None:
        """What became of it, once it is over or took too long.

        Raises:
            Refused: The child refused; the line is the child's.
        """
        if not self.child.over:
            if self.child.seconds <= time_limit:
                return None
            self.child.end()
            said = f"it took longer than the limit of {duration(time_limit)}"
            return Outcome(self.job, None, f"{said}\n{self.child.tail()}")
        status = self.child.status()
        self.child.end()
        if not status:
            try:
                run = self.store.find(self.job.id)
            except Damaged as error:
                return Outcome(self.job, None, str(error))
            if run:
                return Outcome(self.job, run)
            status = "it ended without a record"
        return Outcome(self.job, None, f"{status}\n{self.child.tail()}")


# --- what is shown ----------------------------------------------------------------


@dataclass(slots=True)
class Pace:
    """How long runs take, to say how long the others will.

    Attributes:
        waiting: Runs that are not finished, the current ones included.
        at_once: How many run side by side.
        took: Seconds of those that are finished.
        first: Run -> share and second of its first report: what comes before it,
            starting a framework, says nothing of the rest.
        judged: Run -> pictures judged and second of the first report of judging it.
    """

    waiting: int
    at_once: int = 1
    took: list[float] = field(default_factory=list)
    first: dict[str, tuple[float, float]] = field(default_factory=dict)
    judged: dict[str, tuple[int, float]] = field(default_factory=dict)

    def left(self, run: str, elapsed: float, share: float) -> float | None:
        """Seconds until all are done, when `share` of the updates of `run` is.

        None where nothing tells: at the first report, and where the last run has made
        its updates, as nobody knows yet how long it is judged.
        """
        began = self.first.setdefault(run, (share, elapsed))
        gained, seconds = share - began[0], elapsed - began[1]
        if gained <= 0:
            return None
        rest = (1 - share) * seconds / gained
        return self.with_others(elapsed, rest) or None

    def with_others(self, elapsed: float, rest: float) -> float:
        """Seconds until all are done, when one needs `rest` more."""
        mean = sum([*self.took, elapsed + rest]) / (len(self.took) + 1)
        others = max(self.waiting - min(self.at_once, self.waiting), 0)
        return rest + mean * others / self.at_once

    def judging(
        self, run: str, elapsed: float, judged: int, total: int
    ) -> float | None:
        """Seconds until all are done, when so many of the last pictures are judged."""
        began = self.judged.setdefault(run, (judged, elapsed))
        gained, seconds = judged - began[0], elapsed - began[1]
        if gained <= 0:
            return None
        return self.with_others(elapsed, (total - judged) * seconds / gained) or None

    def others(self) -> float | None:
        """Seconds that those take which were not finished, by those that are."""
        if not self.took or not self.waiting:
            return None
        mean = sum(self.took) / len(self.took)
        return mean * self.waiting / min(self.at_once, self.waiting)

    def finished(self, run: str, seconds: float) -> None:
        """Take in a run that is done."""
        self.took.append(seconds)
        self.waiting -= 1
        self.first.pop(run, None)
        self.judged.pop(run, None)


class Shown:
    """Tells a screen how the jobs go, each by its number."""

    def __init__(
        self, standings: Mapping[str, Standing], screen: Screen, pace: Pace
    ) -> None:
        self.screen, self.pace = screen, pace
        self.epoch = {id: s.epoch for id, s in standings.items() if s.epoch}
        self.number = {id: k for k, id in enumerate(standings, 1)}
        self.clock: dict[str, float] = {}
        self.speed: dict[str, float] = {}  # of the last report that had one

    def title(self, job: Job) -> str:
        """Which of all the runs it is, and its name."""
        return f"[{self.number[job.id]}/{len(self.number)}] {job.name}"

    def begun(self, job: Job) -> None:
        """Its child was started."""
        self.clock[job.id] = monotonic()
        self.screen.begin(self.title(job))

    def waits(self, job: Job, why: str) -> None:
        """It is not started yet, though a place is free."""
        self.screen.say(f"{self.title(job)} waits: it {why}")

    def told(self, job: Job, event: Event) -> None:
        """Its child told something."""
        title = self.title(job)
        match event.get("event"):
            case "progress" | "epoch":
                speed = event.get("images_per_second") or self.speed.get(job.id)
                if speed:
                    self.speed[job.id] = speed
                elapsed = monotonic() - self.clock[job.id]
                left = self.pace.left(job.id, elapsed, self._share(job, event))
                shown = event | {"images_per_second": speed}
                self.screen.show(title, shown, left)
            case "judging":
                elapsed = monotonic() - self.clock[job.id]
                numbers = event["judged"], event["to_judge"]
                left = self.pace.judging(job.id, elapsed, *numbers)
                self.screen.show(title, event, left)
            case "waiting":
                self.screen.say(f"{title}: waits for another compare's run of it")
            case "note":
                self.screen.say(event["text"])

    def ended(self, outcome: Outcome) -> None:
        """It is over."""
        id = outcome.job.id
        seconds = monotonic() - self.clock[id]
        self.pace.finished(id, seconds)
        title = self.title(outcome.job)
        said = f"{title}: {result(outcome)}, {duration(seconds)}"
        self.screen.end(title, said)
        left = self.pace.others()
        if len(self.pace.took) == 1 and left and left >= WORTH_SAYING:
            self.screen.say(
                f"about {duration(left)} to go, if the others take as long: "
                f"{amount(self.pace.waiting, 'run')}"
            )

    def _share(self, job: Job, event: Event) -> float:
        """How much of what this attempt has to do is done, 0 to 1."""
        first, total = self.epoch.get(job.id, 0), event["epochs"]
        done = event["epoch"]
        if event["event"] == "progress":
            done = event["step"] / event["steps"] * total
        return float((done - first) / max(1, total - first))


def result(outcome: Outcome) -> str:
    """One run's result in a few words."""
    if outcome.run is None:
        return f"failed, {outcome.failure.splitlines()[0]}"
    record: dict[str, Any] = outcome.run.record
    if record["scores"] is None:
        return f"diverged at step {record['diverged_at']}"
    return f"accuracy {record['scores']['accuracy']:.2%}"
