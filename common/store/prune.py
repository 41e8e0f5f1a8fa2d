"""Making a store smaller: what would go, how much is gained, and doing it.

A run whose logits or weights are pruned stays a finished run.  Its record says what was
pruned, when, and what its hash was; what the run calls each test picture, and what each
is, is kept (`answers.safetensors`, two bytes a picture), so that every table can be
computed again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import Damaged
from common.files import pack
from common.results import (
    ANSWERS,
    CHECKPOINT,
    LOG,
    LOGITS,
    RECORD,
    WEIGHTS,
    Run,
    Store,
)
from common.store.contents import (
    ASIDE,
    Busy,
    Unfinished,
    busy,
    size_of,
    stores,
    unfinished,
)
from common.store.stale import STALE, age

# What can be pruned, and of each what it is.
PARTS = {
    "logits": "test logits of finished runs",
    "weights": "final weights of finished runs",
    "logs": "what frameworks said in finished runs",
    "checkpoints": "unfinished runs",
    "damaged": "damaged runs, and what was set aside",
    "stale": "runs that the code or the packages of today would repeat",
}
RUNS = "runs"  # whole runs, which is only done to those that are named
FILE_OF = {"logits": LOGITS, "weights": WEIGHTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Something that goes.

    Attributes:
        part: The part of PARTS that it is of, or RUNS.
        store: The store that it is in: the folds' is one.
        run: The run that it is of.
        paths: Files and folders that go.
        size: Bytes that are gained: what is kept in place of logits is taken off.
        why: What makes it go, where that is not the part alone.
    """

    part: str
    store: Store
    run: str
    paths: tuple[Path, ...]
    size: int
    why: str = ""


def cuts(
    store: Store, parts: Collection[str], *, among: Sequence[str] | None = None
) -> Iterator[Cut]:
    """What pruning these parts would remove; nothing is changed.

    Args:
        store: Where.
        parts: Names of PARTS, or RUNS.
        among: Only these runs; all unless given.

    Raises:
        Refused: The store may not be read.
    """
    for one in stores(store):
        begun = {run.id: run for run in unfinished(one)}
        for name in one.folders():
            if among is not None and name not in among:
                continue
            if name in begun:
                yield from _unfinished(one, begun[name], parts)
            else:
                yield from _finished(one, name, parts)


def _finished(store: Store, name: str, parts: Collection[str]) -> Iterator[Cut]:
    folder = store.folder(name)
    try:
        run = store.find(name)
    except Damaged as error:
        if {"damaged", RUNS} & {*parts}:
            yield _whole(store, name, "damaged", str(error))
        return
    if run is None:  # no run, or gone meanwhile
        return
    found = age(run) if "stale" in parts else None
    if RUNS in parts:
        yield _whole(store, name, RUNS)
    elif found and found.state == STALE:
        yield _whole(store, name, "stale", found.why)
    else:
        for part in ("logits", "weights"):
            if part not in parts:
                continue
            if run.has(FILE_OF[part]):
                cut = _files(store, name, part, [folder / FILE_OF[part]])
                kept = len(answers(run)) if part == "logits" else 0
                yield replace(cut, size=cut.size - kept)
            elif (folder / FILE_OF[part]).exists():
                why = "left by a pruning that was cut short"
                yield _files(store, name, part, [folder / FILE_OF[part]], why)
        if "logs" in parts and (folder / LOG).exists() and _bytes(folder / LOG):
            yield _files(store, name, "logs", [folder / LOG])
        yield from _aside(store, name, parts)


def _unfinished(
    store: Store, begun: Unfinished, parts: Collection[str]
) -> Iterator[Cut]:
    name = begun.id
    if RUNS in parts or "checkpoints" in parts:
        of = f" of {begun.epochs}" if begun.epochs else ""
        why = (
            f"after epoch {begun.epoch}{of}" if begun.epoch else "nothing to go on from"
        )
        yield _whole(store, name, "checkpoints", why)
    elif begun.damaged and "damaged" in parts:
        path = store.folder(name) / CHECKPOINT
        yield _files(store, name, "damaged", [path], begun.damaged)
        yield from _aside(store, name, parts)
    else:
        yield from _aside(store, name, parts)


def _aside(store: Store, name: str, parts: Collection[str]) -> Iterator[Cut]:
    folder = store.folder(name)
    found = [path for path in folder.iterdir() if ASIDE.fullmatch(path.name)]
    if found and "damaged" in parts:
        yield _files(store, name, "damaged", sorted(found), "set aside")


def _whole(store: Store, name: str, part: str, why: str = "") -> Cut:
    return _files(store, name, part, [store.folder(name)], why)


def _files(
    store: Store, name: str, part: str, paths: Sequence[Path], why: str = ""
) -> Cut:
    size = sum(size_of(p) if p.is_dir() else _bytes(p) for p in paths)
    return Cut(part=part, store=store, run=name, paths=tuple(paths), size=size, why=why)


def _bytes(path: Path) -> int:
    return path.stat().st_size


# --- doing it -----------------------------------------------------------------------


def prune(cut: Cut) -> bool:
    """Do it; false where another process works on the run.

    Raises:
        Refused: It may not be removed.
        OSError: The same.
    """
    try:
        with cut.store.lock(cut.run, waiting=busy):
            if cut.part in FILE_OF:
                _prune_file(cut.store, cut.run, FILE_OF[cut.part])
            else:
                for path in cut.paths:
                    _remove(path)
    except Busy:
        return False
    return True


def _prune_file(store: Store, name: str, file: str) -> None:
    """Take one file away from a finished run.

    At any moment the record is true of the files: what is kept in place of logits is
    there before the record says so, and the file goes after.
    """
    run = store.find(name)
    if run is None:
        return
    if not run.has(file):
        (run.path / file).unlink(missing_ok=True)
        return
    record = {key: value for key, value in run.record.items() if key != "sha256"}
    files = dict(record["files"])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    gone = {
        "sha256": files.pop(file),
        "bytes": (run.path / file).stat().st_size,
        "when": now,
    }
    if file == LOGITS:
        content = answers(run)
        store.put_file(name, ANSWERS, content)
        files[ANSWERS] = hashlib.sha256(content).hexdigest()
    written = (run.path / RECORD).stat()
    store.put_record(record | {"files": files, "pruned": run.pruned | {file: gone}})
    os.utime(run.path / RECORD, ns=(written.st_atime_ns, written.st_mtime_ns))
    (run.path / file).unlink(missing_ok=True)


def answers(run: Run) -> bytes:
    """What a run calls each test picture, and what each is, as a small file."""
    predicted, labels = run.predicted, run.labels()
    classes = int(max(predicted.max(initial=0), labels.max(initial=0))) + 1
    small = np.min_scalar_type(classes - 1)
    both: dict[str, NDArray[np.unsignedinteger]] = {
        "predicted": predicted.astype(small),
        "labels": labels.astype(small),
    }
    return pack(both)


def _remove(path: Path) -> None:
    """Remove a file, or a folder whose record goes first: half a run is none."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        (path / RECORD).unlink()
    shutil.rmtree(path)
