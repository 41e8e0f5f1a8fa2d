"""The runs and findings of another store, brought into this one.

Runs of one id were asked for alike.  They are the same run where their numbers are the
same, bit for bit: scores, the accuracy after each repeat, the loss of every step and
epoch, where it diverged, the final weights and the test logits.  Clock, memory, machine
and command line may differ; they are kept as they are here.  Other numbers are a
conflict: nothing here is overwritten.

Every file is checked against its record when it is read and again when it is written;
a run's record comes last, so a merge that is killed leaves whole runs, and a further
one brings the rest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common import record
from common.errors import Damaged, Refused
from common.files import canonical, unpack, write_atomic
from common.results import (
    ANSWERS,
    FOLDS,
    JOB,
    LOG,
    LOGITS,
    RECORD,
    WEIGHTS,
    Record,
    Run,
    Store,
)
from common.store.contents import Busy, busy, is_run, stores
from common.weights import digest

# What became of a run or a finding, in the order in which it is told.
COPIED, RESTORED, REPLACED = "copied", "restored", "replaced"
SAME, CONFLICT = "same", "conflict"
UNFINISHED, DAMAGED, PRUNED, BUSY = "unfinished", "damaged", "pruned", "in work"
NUMBERS = ("scores", "curve", "losses", "diverged_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became, or would become, of one run or finding of the other store.

    Attributes:
        id: Its id; in the store of folds, that folder before it.
        what: COPIED, RESTORED (files that were pruned here), REPLACED (it was damaged
            here), SAME, CONFLICT, UNFINISHED, DAMAGED, PRUNED (here, not there), or
            BUSY (another process works on it here).
        why: What differs, or what is wrong; else "".
        size: Bytes that were copied.
    """

    id: str
    what: str
    why: str = ""
    size: int = 0


def merged(
    ours: Store, theirs: Store, *, dry: bool = False, restore: bool = False
) -> Iterator[Fate]:
    """Bring over what the other store has; the fate of each run and finding.

    Args:
        ours: Where it goes.
        theirs: Where it is; nothing is written there.
        dry: Only say what would become of each.
        restore: Bring back files that were pruned here, where they are kept there.

    Raises:
        Refused: They are one store, or ours cannot be written to.
    """
    if ours.path.exists() and ours.path.samefile(theirs.path):
        raise Refused(
            f"a store is merged with another, got {ours.path} twice; name another"
        )
    for one in stores(theirs):
        folds = one.path != theirs.path
        place = Store(ours.path / FOLDS, guard=ours.guard) if folds else ours
        prefix = f"{FOLDS}/" if folds else ""
        for name in one.folders():
            if is_run(one, name) or _finished(one, name):
                merge = _Run(place, one, name, prefix=prefix, dry=dry, restore=restore)
                yield merge.fate()
    yield from _findings(ours.path, theirs.path, dry=dry)


def _finished(store: Store, name: str) -> bool:
    """Whether there is a record, or nobody can tell."""
    try:
        return store.find(name) is not None
    except Damaged:
        return True


def numbers(record: Record) -> dict[str, Any]:
    """The numbers of a run, as far as its record has them, without clocks."""
    epochs = [
        {key: value for key, value in epoch.items() if key != "seconds"}
        for epoch in record["history"]
    ]
    return {key: record.get(key) or None for key in NUMBERS} | {"history": epochs}


def differences(one: Run, other: Run) -> list[str]:
    """In which numbers two runs of one id differ; none if they are the same run."""
    mine, yours = numbers(one.record), numbers(other.record)
    found = [key for key in mine if canonical(mine[key]) != canonical(yours[key])]
    return found + [
        name.partition(".")[0]
        for name in (LOGITS, WEIGHTS)
        if not _same_file(one, other, name)
    ]


def _same_file(one: Run, other: Run, name: str) -> bool:
    """Whether a file of two runs has the same arrays; its header may differ."""
    hashes = [_hash(run, name) for run in (one, other)]
    if hashes[0] == hashes[1]:
        return True
    if not (one.has(name) and other.has(name)):
        return False
    arrays = (unpack((run.path / name).read_bytes())[0] for run in (one, other))
    return digest(next(arrays)) == digest(next(arrays))


def _hash(run: Run, name: str) -> str | None:
    """SHA-256 of a file of a run, pruned or not; none if it never had it."""
    pruned = run.pruned.get(name, {}).get("sha256")
    found: str | None = run.record["files"].get(name, pruned)
    return found


class _Run:
    """The merge of one run."""

    def __init__(
        self,
        ours: Store,
        theirs: Store,
        name: str,
        *,
        prefix: str,
        dry: bool,
        restore: bool,
    ) -> None:
        self.ours, self.theirs, self.name = ours, theirs, name
        self.dry, self.restore = dry, restore
        self.shown = f"{prefix}{name}"

    def fate(self) -> Fate:
        """Bring it over where it is to be."""
        try:
            there = self.theirs.find(self.name)
        except Damaged as error:
            return self._is(DAMAGED, str(error))
        if there is None:
            return self._is(UNFINISHED)
        if self.dry:
            return self._decided(there)
        found = self._decided(there)
        if found.what not in (COPIED, RESTORED, REPLACED):
            return found  # as most are when a merge is repeated: no lock is made
        try:
            with self.ours.lock(self.name, waiting=busy):
                return self._done(there, self._decided(there))
        except Busy:
            return self._is(BUSY)

    def _decided(self, there: Run) -> Fate:
        try:
            here = self.ours.find(self.name)
        except Damaged as error:
            return self._is(REPLACED, f"here: {error}", size=_size(there))
        if here is None:
            return self._is(COPIED, size=_size(there))
        if apart := differences(here, there):
            return self._is(CONFLICT, f"other {', '.join(apart)}")
        if gone := [name for name in here.pruned if there.has(name)]:
            names = ", ".join(name.partition(".")[0] for name in gone)
            what = RESTORED if self.restore else PRUNED
            return self._is(what, names, size=_size(there) if self.restore else 0)
        return self._is(SAME)

    def _done(self, there: Run, found: Fate) -> Fate:
        if found.what == REPLACED:
            self.ours.set_aside(self.name)
        if found.what in (COPIED, RESTORED, REPLACED):
            try:
                if found.what == RESTORED:
                    _restore(there, self.ours)
                else:
                    _copy(there, self.ours)
            except Damaged as error:  # it changed under our eyes
                return self._is(DAMAGED, str(error))
        return found

    def _is(self, what: str, why: str = "", *, size: int = 0) -> Fate:
        return Fate(id=self.shown, what=what, why=why, size=size)


def _size(run: Run) -> int:
    return sum((run.path / name).stat().st_size for name in _names(run))


def _names(run: Run) -> list[str]:
    """Its files, in the order in which they are copied: the record comes last."""
    others = [name for name in (JOB, LOG) if (run.path / name).is_file()]
    return [*others, *run.record["files"], RECORD]


def _copy(run: Run, store: Store) -> None:
    """Put a run into a store, its files checked, its record last.

    Raises:
        Damaged: A file is not what the record says any more.
    """
    for name in _names(run)[:-1]:
        store.put_file(run.id, name, _checked(run, name))
    copied = store.put_record(run.record)
    # Of several runs of a seed the newest counts: when it was written goes along.
    written = (run.path / RECORD).stat()
    os.utime(copied.path / RECORD, ns=(written.st_atime_ns, written.st_mtime_ns))


def _restore(run: Run, store: Store) -> None:
    """Bring back what was pruned of a run of the store; its own record stays else.

    Raises:
        Damaged: A file is not what the other record says any more.
    """
    here = store.find(run.id)
    if here is None:
        return
    back = [name for name in here.pruned if run.has(name)]
    for name in back:
        store.put_file(run.id, name, _checked(run, name))
    files = here.record["files"] | {n: run.record["files"][n] for n in back}
    gone = {n: about for n, about in here.pruned.items() if n not in back}
    if LOGITS in back:
        files.pop(ANSWERS, None)
    record = {key: here.record[key] for key in here.record if key != "pruned"}
    written = (here.path / RECORD).stat()
    store.put_record(record | {"files": files} | ({"pruned": gone} if gone else {}))
    os.utime(here.path / RECORD, ns=(written.st_atime_ns, written.st_mtime_ns))
    if LOGITS in back:
        (here.path / ANSWERS).unlink(missing_ok=True)


def _checked(run: Run, name: str) -> bytes:
    """The bytes of a file of a run, which must still be those of its record.

    Raises:
        Damaged: They are not.
    """
    path = run.path / name
    content = path.read_bytes()
    expected = run.record["files"].get(name)
    if expected and hashlib.sha256(content).hexdigest() != expected:
        raise Damaged(f"a file must stay as it is while it is copied, {path} changed")
    return content


def _findings(ours: Path, theirs: Path, *, dry: bool) -> Iterator[Fate]:
    for path in sorted((theirs / record.FOLDER).glob("*.json")):
        try:
            found = record.read(path)
        except Damaged as error:
            yield Fate(id=path.stem, what=DAMAGED, why=str(error))
            continue
        target = ours / record.FOLDER / path.name
        if not target.exists():
            if not dry:
                write_atomic(target, path.read_bytes(), shared=True)
            yield Fate(id=found.id, what=COPIED, size=path.stat().st_size)
            continue
        try:
            here = record.read(target)
        except Damaged as error:
            yield Fate(id=found.id, what=CONFLICT, why=f"here: {error}")
            continue
        names = [one.name for one in fields(found)]
        apart = [name for name in names if getattr(here, name) != getattr(found, name)]
        what = CONFLICT if apart else SAME
        yield Fate(
            id=found.id, what=what, why=f"other {', '.join(apart)}" if apart else ""
        )
