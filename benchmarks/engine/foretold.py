"""What is said before jobs are run: variables, runs that look alike, how long it takes.

It reads the store's records and decides nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.engine.process import remarks
from benchmarks.engine.progress import duration
from common.job import Job
from common.results import RECORD, Store
from common.variables import meaning

# What another machine or shell would choose, and what runs share that take as long.
MACHINES = ("threads", "precision", "device", "switches")
ALIKE = ("mode", "precision", "device", "threads", "spec")
LOOKED_AT = 20  # jobs whose near misses are looked for, and records of each kind


def folders(store: Store) -> set[str]:
    """Names of all that is in a store: runs, finished or not, and others."""
    try:
        return {entry.name for entry in os.scandir(store.path)}
    except OSError:  # it is not there yet; what else is wrong is said by who writes
        return set()


def foretold(
    jobs: Sequence[Job], store: Store, there: Collection[str], *, at_once: int
) -> Iterator[str]:
    """What is to be said before jobs are run: variables, runs that look alike, time."""
    if not jobs:
        return
    yield from remarks({job.threads for job in jobs})
    if line := meaning(switch for job in jobs for switch in job.switches):
        yield line
    yield from near_misses(jobs, store, there)
    if (seconds := expected(jobs, store, there)) is not None:
        yield (
            f"about {duration(seconds / min(at_once, len(jobs)))} to go, if they take "
            "as long as earlier runs of the same"
        )


def near_misses(
    jobs: Sequence[Job], store: Store, there: Collection[str]
) -> Iterator[str]:
    """Runs that are there but for what another machine or shell would choose."""
    kept = by_start(there)
    said: dict[str, None] = {}
    for job in jobs[:LOOKED_AT]:
        for name in kept.get(job.id.rpartition("-")[0], ())[:LOOKED_AT]:
            identity = _told_by(store, name).get("identity")
            if identity and (differ := differing(job.identity, identity)):
                told = " and ".join(_said(key, identity.get(key)) for key in differ)
                said[told] = None
    for told in said:
        yield (
            f"the store has runs that differ from these in nothing but {told}: their "
            "bits are others, so they are kept apart"
        )


def _said(key: str, value: Any) -> str:
    """A part of an identity in words."""
    if key != "switches":
        return f"{key} ({value})"
    named = ", ".join(map(str, value)) if isinstance(value, list) else "none"
    return f"variables ({named})"


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In which of `MACHINES` two identities differ; nothing if in others as well."""
    keys = {key for key in {*one, *other} if one.get(key) != other.get(key)}
    return [key for key in MACHINES if key in keys] if keys <= {*MACHINES} else []


def by_start(there: Iterable[str]) -> dict[str, list[str]]:
    """System, track and seed, as ids begin -> names of folders."""
    found: dict[str, list[str]] = {}
    for name in sorted(there):
        found.setdefault(name.rpartition("-")[0], []).append(name)
    return found


def expected(jobs: Sequence[Job], store: Store, there: Collection[str]) -> float | None:
    """Seconds that jobs take one after the other by the store's runs, if all are known.

    Runs of one system in one track on the same pictures, threads and precision are
    taken to need as long for each epoch.
    """
    total, known = 0.0, dict[tuple[Any, ...], float | None]()
    for job in jobs:
        kind = (job.system, job.track, job.fingerprint, *_of(job))
        if kind not in known:
            known[kind] = _epoch_seconds(job, store, there)
        seconds = known[kind]
        if seconds is None:
            return None
        total += seconds * job.epochs
    return total


def _epoch_seconds(job: Job, store: Store, there: Collection[str]) -> float | None:
    """Seconds of an epoch of a job, the whole of its run counted; the median."""
    begins = job.id.rpartition("-")[0].rpartition("-")[0]
    found: list[float] = []
    for name in sorted(n for n in there if n.startswith(f"{begins}-")):
        told = _told_by(store, name)
        if told and told["alike"] == [job.fingerprint, *_of(job)]:
            found.append(told["seconds"])
        if len(found) == LOOKED_AT:
            break
    return median(found) if found else None


def _of(job: Job) -> Iterator[Any]:
    return (getattr(job, name) for name in ALIKE)


def _told_by(store: Store, name: str) -> dict[str, Any]:
    """Identity of a run, seconds of its epochs, and whose they are.

    A record that cannot be read tells nothing here; who asks for its run is told.
    """
    try:
        record = json.loads((store.path / name / RECORD).read_bytes())
        return {
            "identity": dict(record["identity"] or {}),
            "seconds": float(record["times"]["total"]) / max(1, record["epochs"]),
            "alike": [record["data"]["fingerprint"], *(record[key] for key in ALIKE)],
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
