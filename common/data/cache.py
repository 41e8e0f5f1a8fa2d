"""Decoded data sets on disk: written once, memory-mapped, checked at every load.

    <cache>/<key>/images.npy   (n, h, w, c), uint8
    <cache>/<key>/labels.npy   (n,), int64
    <cache>/<key>/split.npy    (n,), uint8: 0 to train on, 1 to test, 2 to choose
    <cache>/<key>/meta.json    names, sizes, fingerprint, and a checksum of itself

An entry is built beside its place and renamed into it.  What is read back must have
the fingerprint that was written, else it is damaged and never used.

One folder is the user's own, and written to.  Others may be shared: they are looked in
and never written to, and reading takes no lock, so they may be read-only.  What is
written has the modes that the umask gives, so that other users can read it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from glob import escape
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from common.data.canonical import FULL
from common.data.dataset import NOTHING, Dataset, Found, Part
from common.data.fingerprint import VERSION
from common.data.parts import assemble
from common.errors import Refused

FORMAT = 1
META = "meta.json"
IMAGES = "images.npy"
LABELS = "labels.npy"
SPLIT = "split.npy"
OWN = "TWINTRACK_CACHE"  # the user's own folder
SHARED = "TWINTRACK_SHARED_CACHE"  # folders that are read, as in PATH

# No folder to write in: not ours, read-only, or a file.
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

# What damaged bytes drive NumPy's reader to.
UNREADABLE = (
    *(OSError, EOFError, ValueError, IndexError, OverflowError, MemoryError),
    *(SyntaxError, TokenError),
)


class CacheWarning(UserWarning):
    """A cached data set was damaged, and has been built again from its source."""


class DamagedEntry(Exception):
    """A cached data set is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a source writes into a new entry besides the images.

    Attributes:
        name: The data set's name.
        classes: Name of each label.
        labels: (n,), of the written images in order.
        split: (n,), 0 where an image is for training, 1 where for testing, 2 where
            settings may be chosen on it.
        note: What a table must say of it, or "".
        found: What was met on the way.
    """

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    split: NDArray[np.uint8]
    note: str = ""
    found: Found = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One cached data set, checked.

    Attributes:
        path: Its folder.
        dataset: What it holds; the images are a memory map.
        source: Where it came from: a name, or a folder.
        stamp: What the source looked like, to see that it has changed; or "".
    """

    path: Path
    dataset: Dataset
    source: str
    stamp: str

    @property
    def skipped(self) -> tuple[str, ...]:
        """Files left out because they are no pictures, each with the reason."""
        return self.dataset.found.skipped


def cache_folder(cache: str | Path | None = None) -> Path:
    """The user's own: `cache`, or $TWINTRACK_CACHE, or ~/.cache/twintrack."""
    if cache is not None:
        return Path(cache)
    told = os.environ.get(OWN)
    return Path(told) if told else Path.home() / ".cache" / "twintrack"


def shared_folders(cache: str | Path | None = None) -> tuple[Path, ...]:
    """Folders of $TWINTRACK_SHARED_CACHE; none where a `cache` is given by itself."""
    if cache is not None:
        return ()
    own = cache_folder()
    told = os.environ.get(SHARED, "").split(os.pathsep)
    found = dict.fromkeys(Path(folder) for folder in told if folder)
    return tuple(folder for folder in found if folder != own)


def cache_folders(cache: str | Path | None = None) -> tuple[Path, ...]:
    """Where things are looked for, in this order: the user's own, the shared ones."""
    return cache_folder(cache), *shared_folders(cache)


def is_folder(path: Path) -> bool:
    """Whether it is one that we may look at."""
    return os.path.isdir(path)  # noqa: PTH112, Path.is_dir raises where it may not


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def bytes_of(path: Path) -> int:
    """Bytes of a file or of the files below a folder; some may be on their way."""
    total = 0
    for found in (path, *path.rglob("*")) if is_folder(path) else (path,):
        with suppress(OSError):
            told = found.lstat()
            total += told.st_size if stat.S_ISREG(told.st_mode) else 0
    return total


def load(path: Path) -> Entry | None:
    """The entry at `path`, checked against its fingerprint; None if there is none.

    Raises:
        DamagedEntry: It is there but incomplete, unreadable or changed.
    """
    if not is_folder(path):
        return None
    meta = read_meta(path)
    if (meta.get("format"), meta.get("version")) != (FORMAT, VERSION):
        return None  # of another version of twintrack: to be built again
    try:
        images = np.asarray(np.load(path / IMAGES, mmap_mode="r", allow_pickle=False))
        labels = np.load(path / LABELS, allow_pickle=False)
        split = np.load(path / SPLIT, allow_pickle=False)
        if labels.dtype != np.int64:
            raise DamagedEntry(f"{LABELS} holds {labels.dtype}, not int64")
        train, test, valid = _splits(images, labels, split)
        name, classes, note = meta["name"], meta["classes"], meta["note"]
        dataset = assemble(name, classes, train, test, valid=valid, note=note)
    except UNREADABLE as error:
        raise DamagedEntry(_one_line(error)) from error
    if dataset.fingerprint != meta["fingerprint"]:
        raise DamagedEntry(
            "its content does not have the fingerprint it was written with"
        )
    return Entry(
        path=path,
        dataset=replace(dataset, found=found_in(meta)),
        source=meta["source"],
        stamp=meta["stamp"],
    )


def found_in(meta: Mapping[str, Any]) -> Found:
    """What the description of an entry says was met; of an older one less."""
    told = {name.name: meta.get(name.name, ()) for name in fields(Found)}
    lists = {name: tuple(names) for name, names in told.items() if name != "layout"}
    return Found(layout=meta.get("layout", ""), **lists)


def _splits(
    images: NDArray[np.uint8], labels: NDArray[np.int64], split: NDArray[np.uint8]
) -> list[Part]:
    """The train, the test and the valid part."""
    rows = [np.flatnonzero(split == part) for part in range(3)]
    return [Part(images, labels[index], index) for index in rows]


def read_meta(path: Path) -> dict[str, Any]:
    """The description of the entry at `path`, checked, without looking at pixels.

    Raises:
        DamagedEntry: It is missing, no JSON, or not what was written.
    """
    try:
        told = json.loads((path / META).read_text(encoding="utf-8"))
        meta: dict[str, Any] = told["meta"]
        if told["sha256"] != _checksum(meta):
            raise DamagedEntry(f"{META} does not have the checksum it was written with")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedEntry(f"{META} cannot be read: {_one_line(error)}") from error
    return meta


def write(
    path: Path,
    build: Callable[[Path], Content],
    *,
    source: str,
    stamp: str = "",
) -> Entry:
    """Make the entry at `path`, in place of one that is there.

    Args:
        path: Where it goes.
        build: Writes IMAGES into the folder it is given and returns the rest.
        source: Where the data come from.
        stamp: What the source looks like.

    Raises:
        Refused: There is no room, or the folder cannot be written to.
    """
    with refusing_a_full_disk(path.parent), _building(path) as folder:
        content = build(folder)
        _save(folder / LABELS, content.labels)
        _save(folder / SPLIT, content.split)
        _describe(folder, content, source, stamp)
        _replace(folder, path)
    entry = load(path)
    if entry is None:
        raise DamagedEntry(f"{path} vanished while it was being written")
    return entry


def find_or_build(
    path: Path,
    build: Callable[[Path], Content],
    *,
    source: str,
    stamp: str = "",
    shared: Iterable[Path] = (),
) -> Entry:
    """The entry at `path`, built if it is missing, damaged or of another stamp.

    Several processes may ask at once: one builds, the others wait for it.

    Args:
        path: Where it is, or goes.
        build: As in `write`.
        source: As in `write`.
        stamp: What the source looks like; an entry of another is not used.
        shared: Where else it may be, to be read; looked at if it is not at `path`.

    Raises:
        Refused: As in `write`.
    """
    entry, damage = find((path, *shared), stamp)
    if entry is not None:
        warn_of(damage, f"{entry.path} is used")
        return entry
    with locked(path):
        entry, _ = find((path,), stamp)
        if entry is not None:
            return entry
        warn_of(damage, f"{source} is built again")
        return write(path, build, source=source, stamp=stamp)


def find(
    paths: Iterable[Path], stamp: str | None = None
) -> tuple[Entry | None, dict[Path, DamagedEntry]]:
    """The first sound entry among `paths`, and the damaged ones before it.

    Args:
        paths: Where it may be.
        stamp: What its source looks like; an entry of another is passed over.
    """
    damaged = {}
    for path in paths:
        try:
            entry = load(path)
        except DamagedEntry as damage:
            damaged[path] = damage
            continue
        if entry is not None and stamp in (None, entry.stamp):
            return entry, damaged
    return None, damaged


def warn_of(damaged: dict[Path, DamagedEntry], instead: str) -> None:
    """Warn of damaged entries, and say what is done instead."""
    for path, damage in damaged.items():
        told = f"the cached {path} was damaged ({damage}); {instead}"
        warnings.warn(told, CacheWarning, stacklevel=3)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the one right to write the entry at `path`; waits for it."""
    name = path.parent / f".{path.name}.lock"
    while True:
        with refusing_a_full_disk(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _opened_lock(name)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is(name, lock):  # and not one that was removed while we waited
                yield
                return
        finally:
            os.close(lock)


def _opened_lock(name: Path) -> int:
    """A file to lock: ours, or another user's, which may be locked without writing."""
    try:
        return os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not name.exists():
            raise
    return os.open(name, os.O_RDONLY)


def _is(name: Path, file: int) -> bool:
    try:
        return os.path.samestat(name.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


@contextmanager
def refusing_a_full_disk(cache: Path) -> Iterator[None]:
    """Turn the file system's refusals into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise Refused(
                f"the cache needs room for what it keeps, {cache} has none left "
                f"({error.strerror}); free some, or set {OWN} to another folder"
            ) from error
        if error.errno in CLOSED:
            raise Refused(
                f"the cache must be a folder that can be written to, got {cache} "
                f"({error.strerror}); set {OWN} to a folder of yours, and {SHARED} to "
                "one that is only to be read"
            ) from error
        raise


def write_images(
    path: Path, pictures: Iterator[NDArray[np.uint8]], *, block: int = 256
) -> int:
    """Stream pictures (h, w, c) of one shape into an .npy file (n, h, w, c); n.

    They are written, not assigned to a memory map: on a full disk a write raises, an
    assignment kills the process.
    """
    n = 0
    with path.open("wb") as file:
        held: list[NDArray[np.uint8]] = []
        for picture in pictures:
            if n == 0:
                start = _header(file, (0, *picture.shape))
                shape = picture.shape
            held.append(picture)
            n += 1
            if len(held) == block:
                file.write(np.stack(held).tobytes())
                held.clear()
        if held:
            file.write(np.stack(held).tobytes())
        if n:
            file.seek(0)
            if _header(file, (n, *shape)) != start:
                raise RuntimeError("an .npy header changed its length with n")
        _sync(file)
    return n


def _header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write an .npy header for uint8 `shape`; where the data begin.

    NumPy pads it so that the first axis may grow in place.
    """
    told = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, told)
    return file.tell()


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        _sync(file)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _describe(folder: Path, content: Content, source: str, stamp: str) -> None:
    """Write META: what was built, and the fingerprint of what has been written."""
    images = np.asarray(np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False))
    train, test, valid = _splits(images, content.labels, content.split)
    name, note = content.name, content.note
    dataset = assemble(name, content.classes, train, test, valid=valid, note=note)
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "name": content.name,
        "source": source,
        "classes": list(content.classes),
        "image": list(dataset.image),
        "train": len(train),
        "test": len(test),
        "valid": len(valid),
        "fingerprint": dataset.fingerprint,
        "note": content.note,
        "stamp": stamp,
        **asdict(content.found),
    }
    told = json.dumps({"meta": meta, "sha256": _checksum(meta)}, indent=1)
    with (folder / META).open("wb") as file:
        file.write(told.encode())
        _sync(file)


def _checksum(meta: object) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


@contextmanager
def _building(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, gone afterwards unless it was moved to its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_stale(path)
    folder = _aside(path)
    folder.mkdir()  # not tempfile's, which nobody else may read
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(folder: Path, path: Path) -> None:
    """Move `folder` to `path`; what was there goes (open memory maps stay valid)."""
    if path.exists():
        _set_aside(path)
    folder.rename(path)


def _clear_stale(path: Path) -> None:
    """Whoever holds the lock is alone, so these are of builders that were killed."""
    for stale in path.parent.glob(f".{escape(path.name)}.tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)


def _set_aside(path: Path) -> None:
    """Take the entry at `path` away, all at once, and delete it; its lock is held."""
    old = _aside(path)  # beside it: a folder of another user may be renamed, not moved
    path.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def delete(path: Path) -> None:
    """Delete what the cache keeps at `path`, and its lock; open maps stay valid.

    Raises:
        Refused: It is another user's.
    """
    with removing(path), locked(path):
        if path.is_dir():
            _set_aside(path)
        else:
            path.unlink(missing_ok=True)
        _clear_stale(path)
        (path.parent / f".{path.name}.lock").unlink()


@contextmanager
def removing(path: Path) -> Iterator[None]:
    """Say in one line why something cannot be removed."""
    try:
        yield
    except OSError as error:
        raise Refused(
            f"only what is yours can be removed, got '{error.strerror}' for "
            f"{error.filename or path}; ask its owner"
        ) from error


def is_entry(path: Path) -> bool:
    """Whether there is a data set of ours at `path`, sound or not, by its files."""
    if path.name.startswith(".") or path.is_symlink() or not is_folder(path):
        return False
    names = {found.name for found in listed(path)}
    return bool(names) and names <= {IMAGES, LABELS, SPLIT, META}


def _aside(path: Path) -> Path:
    return path.parent / f".{path.name}.tmp-{uuid.uuid4().hex[:8]}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
