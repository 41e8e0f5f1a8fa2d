"""What is in a store, and how large it is."""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from common import record
from common.errors import Damaged, Refused
from common.record import Finding
from common.results import (
    ANSWERS,
    CHECKPOINT,
    FOLDS,
    JOB,
    LOCK,
    LOG,
    LOGITS,
    RECORD,
    WEIGHTS,
    Run,
    Store,
)
from common.store.stale import Age, age

# Kinds of bytes, in the order in which they are listed.
KINDS = (
    *("weights", "logits", "answers", "checkpoints", "logs", "records", "findings"),
    *("set aside", "other"),
)
KIND_OF = {
    WEIGHTS: "weights",
    LOGITS: "logits",
    ANSWERS: "answers",
    CHECKPOINT: "checkpoints",
    LOG: "logs",
    RECORD: "records",
    JOB: "records",
    LOCK: "other",
}
# What the runs of a row of a list have in common.
GROUP = ("system", "data", "mode", "precision", "epochs", "overrides")
ASIDE = re.compile(r"damaged-\d+")  # folders that `Store.set_aside` makes


class Busy(Exception):
    """Another process works on the run."""


def busy() -> NoReturn:
    """For `Store.lock`: do not wait.

    Raises:
        Busy: Always.
    """
    raise Busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A run without a record.

    Attributes:
        id: Its folder's name.
        epoch: After which epoch it goes on; 0 without a checkpoint.
        epochs: Of how many, where its job says.
        size: Bytes of its checkpoint.
        damaged: What is wrong with its checkpoint, or "".
    """

    id: str
    epoch: int
    epochs: int | None
    size: int
    damaged: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All that is in one store.

    Attributes:
        store: Where.
        runs: The finished ones that can be trusted, sorted by id.
        ages: Id of each of them -> whether it would be the same run today.
        damaged: What is wrong with the other finished ones.
        unfinished: Those without a record.
        findings: The newest first.
        broken: What is wrong with other findings.
        sizes: Kind -> bytes.
        files: Kind -> number of files.
    """

    store: Store
    runs: list[Run]
    ages: dict[str, Age]
    damaged: list[Damaged]
    unfinished: list[Unfinished]
    findings: list[Finding]
    broken: list[Damaged]
    sizes: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Bytes of all of it."""
        return sum(self.sizes.values())


def contents(store: Store) -> Contents:
    """Look through a store; nothing is written.

    Raises:
        Refused: It may not be read.
    """
    runs, damaged = store.scan()
    findings, broken = record.scan(store.path)
    found = Contents(
        store=store,
        runs=runs,
        ages={run.id: age(run) for run in runs},
        damaged=damaged,
        unfinished=list(unfinished(store)),
        findings=findings,
        broken=broken,
    )
    for path, size in files_below(store.path):
        kind = kind_of(path.relative_to(store.path))
        if kind is not None:
            found.sizes[kind] += size
            found.files[kind] += 1
    return found


def stores(store: Store) -> list[Store]:
    """A store, and the one in it that has the networks of new-class's folds."""
    folds = Store(store.path / FOLDS)
    return [store, folds] if folds.path.is_dir() else [store]


def check_store(store: Store, option: str = "--store") -> None:
    """Refuse a folder that is no store.

    Raises:
        Refused: It is missing, no folder, or has neither runs nor findings.
    """
    if not store.path.is_dir():
        what = "a file" if store.path.exists() else "nothing"
        raise Refused(
            f"{option} must be the folder of a store, got {what} at {store.path}; "
            "name another, or run twintrack compare first"
        )
    kept = (store.path / record.FOLDER).is_dir()
    if not kept and not any(is_run(one, name) for one, name in _every(store)):
        raise Refused(
            f"a store has runs or findings, got none in {store.path}; name another "
            "folder, or run twintrack compare first"
        )


def _every(store: Store) -> Iterator[tuple[Store, str]]:
    for one in stores(store):
        yield from ((one, name) for name in one.folders())


def is_run(store: Store, name: str) -> bool:
    """Whether a folder of the store is a run's, finished or not, damaged or not."""
    if name in (record.FOLDER, FOLDS):
        return False
    folder = store.folder(name)
    try:
        return any((folder / file).exists() for file in KIND_OF)
    except OSError:  # unreadable: `scan` names it
        return False


def unfinished(store: Store) -> Iterator[Unfinished]:
    """The runs that have begun and have no record."""
    for name in store.folders():
        folder = store.folder(name)
        if not is_run(store, name) or (folder / RECORD).exists():
            continue
        epoch, damaged = 0, ""
        try:
            if checkpoint := store.load_checkpoint(name):
                epoch = checkpoint.state.epoch
        except Damaged as error:
            damaged = str(error)
        path = folder / CHECKPOINT
        yield Unfinished(
            id=name,
            epoch=epoch,
            epochs=_epochs(folder),
            size=path.stat().st_size if path.exists() else 0,
            damaged=damaged,
        )


def _epochs(folder: Path) -> int | None:
    """Of how many epochs the run was to be, as its job file says."""
    try:
        epochs = json.loads((folder / JOB).read_bytes())["epochs"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return epochs if isinstance(epochs, int) else None


def files_below(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file below a folder and its bytes; links are not followed."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            try:
                about = path.lstat()
            except OSError:  # gone meanwhile
                continue
            if stat.S_ISREG(about.st_mode):
                yield path, about.st_size


def kind_of(path: Path) -> str | None:
    """The kind of a file, by its path in the store; none of another store's within."""
    top, *rest = path.parts
    if top == FOLDS and rest:
        return None
    if top == record.FOLDER:
        return "findings"
    if any(ASIDE.fullmatch(part) for part in rest[:-1]):
        return "set aside"
    return KIND_OF.get(path.name, "other") if len(rest) == 1 else "other"


def seeds_of(runs: Iterable[Run]) -> list[int]:
    """The seeds of some runs, each once, in order."""
    return sorted({int(run.record["seed"]) for run in runs})


def named(store: Store, wanted: str) -> tuple[Store, str]:
    """Where the run is whose id is, or alone begins with, `wanted`, and its whole id.

    Raises:
        Refused: There is none, or there are several.
    """
    found = [
        (one, name)
        for one, name in _every(store)
        if name.startswith(wanted) and (is_run(one, name) or name == wanted)
    ]
    found = [(one, name) for one, name in found if name == wanted] or found
    if not wanted or not found:
        raise Refused(
            f"a run must be in the store, got {wanted!r} for {store.path}; twintrack "
            "store list --runs names them all"
        )
    if len(found) > 1:
        first = ", ".join(name for _, name in found[:3])
        others = " and others" if len(found) > 3 else ""
        raise Refused(
            f"the beginning of an id must be that of one run, got {wanted!r} for "
            f"{first}{others}; add to it"
        )
    return found[0]


def matching(store: Store, wanted: str) -> Run:
    """The finished run that `named` finds.

    Raises:
        Refused: As there, or it has no record.
        Damaged: It is not as it was written.
    """
    one, name = named(store, wanted)
    if run := one.find(name):
        return run
    raise Refused(
        f"only a finished run can be shown, {name} in {one.path} has no record; repeat "
        "its command, which goes on with it"
    )


def files_of(run: Run) -> Iterator[dict[str, Any]]:
    """A run's files, those that were pruned too: "name", "bytes", "state"."""
    kept = run.record["files"]
    for path, size in sorted(files_below(run.path)):
        name = str(path.relative_to(run.path))
        state = "sound" if name in (RECORD, *kept) else "beside the record"
        yield {"name": name, "bytes": size, "state": state}
    for name, gone in run.pruned.items():
        state = f"pruned on {gone['when'][:10]}"
        yield {"name": name, "bytes": gone["bytes"], "state": state}


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(size for _, size in files_below(folder))


def listed(found: Contents) -> dict[str, Any]:
    """A store's contents as plain values."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in found.runs:
        about = run.record
        note = about["data"]["note"]
        data = about["data"]["name"] + (f" ({note})" if note else "")
        key = (about["system"], data, about["mode"], about["precision"])
        changes = (about["epochs"], tuple(about["overrides"]))
        groups.setdefault((*key, *changes), []).append(run)
    return {
        "store": str(found.store.path),
        "systems": [_group(key, runs, found) for key, runs in sorted(groups.items())],
        "bytes": {kind: found.sizes[kind] for kind in KINDS},
        "files": {kind: found.files[kind] for kind in KINDS},
        "total": found.total,
        "stale": _of_state(found, "stale"),
        "unknown": _of_state(found, "unknown"),
        "unfinished": [
            {key: getattr(one, key) for key in ("id", "epoch", "epochs", "size")}
            for one in found.unfinished
        ],
        "findings": dict(Counter(one.kind for one in found.findings)),
        "damaged": [
            *map(str, (*found.damaged, *found.broken)),
            *(one.damaged for one in found.unfinished if one.damaged),
        ],
    }


def _of_state(found: Contents, state: str) -> list[dict[str, str]]:
    return [
        {"id": run, "why": one.why}
        for run, one in found.ages.items()
        if one.state == state
    ]


def _group(key: tuple[Any, ...], runs: list[Run], found: Contents) -> dict[str, Any]:
    tracks: dict[str, list[Run]] = {}
    for run in runs:
        tracks.setdefault(run.record["track"], []).append(run)
    states = Counter(found.ages[run.id].state for run in runs)
    return {
        **dict(zip(GROUP, key, strict=True)),
        "tracks": {name: seeds_of(own) for name, own in tracks.items()},
        "runs": len(runs),
        "ids": [run.id for run in runs],
        "diverged": sum(run.diverged for run in runs),
        "pruned": sum(bool(run.pruned) for run in runs),
        "stale": states["stale"],
        "bytes": sum(size_of(run.path) for run in runs),
    }
