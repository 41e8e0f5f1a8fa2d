"""A frozen network's features of a data set, computed once and kept in the cache.

A folder per key: `about.json` says what was computed from what, `features.bin` holds
the rows, `blocks.jsonl` has one line with a hash for every block that is whole.  A
computation that is cut off goes on after its last whole block; a block that is not
what its line says is computed again.

Rows are the training pictures, the test pictures and those of a validation part that
the data came with; of each its views: the picture,
and where asked its mirror image.  As a data set they are pictures of one pixel a view
in height 1: a random crop of width one is then a random flip.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common import files
from common.data.cache import cache_folder, locked, refusing_a_full_disk
from common.data.dataset import Dataset, Part
from common.errors import Refused

FOLDER = ".features"  # of the cache; hidden, because it is no data set by itself
ABOUT, ROWS, BLOCKS = "about.json", "features.bin", "blocks.jsonl"
FORMAT = 1
BLOCK = 256  # pictures that are computed, hashed and kept together

Compute = Callable[[NDArray[np.uint8]], NDArray[np.floating]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """All that the features depend on.

    Attributes:
        track: Which framework computed them.
        weights: Digest of the network's weights.
        spec: JSON of its spec, which has the preprocessing and the size.
        data: Fingerprint of the pictures, which has how they are resized.
        precision: "float32", "bfloat16" or "float64".
        device: "cpu" or "gpu".
        threads: Of the framework; their number changes the bits.
        flip: Whether mirror images are computed too.
        dtype: What the rows are kept in.
        versions: Of the framework and NumPy.
        code: Digests of the code that computed them, the track's and ours.
        switches: Variables of the environment that change arithmetic, if any are set.
    """

    track: str
    weights: str
    spec: str
    data: str
    precision: str
    device: str
    threads: int
    flip: bool
    dtype: Literal["float16", "float32"]
    versions: dict[str, str]
    code: dict[str, Any]
    switches: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256 (hex) of all of it."""
        said = asdict(self) | {"is": FORMAT}
        if not self.switches:
            del said["switches"]
        return hashlib.sha256(files.canonical(said)).hexdigest()

    def meaning(self) -> str:
        """The same for both tracks: what the features are of, not who computed them."""
        own = {"track", "versions", "code", "switches"}
        shared = {k: v for k, v in asdict(self).items() if k not in own}
        return hashlib.sha256(files.canonical(shared)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Features in the cache.

    Attributes:
        path: Their folder.
        computed: Pictures that were computed for this call; 0 for a hit.
        bytes: On disk.
    """

    path: Path
    computed: int
    bytes: int


def folder_of(key: Key, *, cache: Path | None = None) -> Path:
    """Where the features of `key` are kept."""
    return cache_folder(cache) / FOLDER / f"{key.track}-{key.digest()[:24]}"


def ensure(
    key: Key,
    data: Dataset,
    width: int,
    compute: Callable[[], Compute],
    *,
    told: Callable[[int, int], None] = lambda done, total: None,
    cache: Path | None = None,
) -> Kept:
    """See that the features of every picture of `data` are in the cache.

    Args:
        key: What they depend on.
        data: The pictures.
        width: Numbers per picture.
        compute: Makes the function from uint8 images (n, h, w, c) to features
            (n, width); called when something is missing.
        told: Given the pictures done and all of them, after every block.
        cache: Folder of the cache.

    Raises:
        Refused: The disk is full, or a feature does not fit the dtype.
    """
    folder = folder_of(key, cache=cache)
    n, views = sum(map(len, _parts(data))), 2 if key.flip else 1
    row = views * width * np.dtype(key.dtype).itemsize
    with locked(folder), refusing_a_full_disk(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
        _describe(folder, key, (n, views, width))
        starts = range(0, n, BLOCK)
        whole = _whole(folder, row, n)
        missing = [start for start in starts if start not in whole]
        if missing:
            function, done = compute(), n - _count(missing, n)
            for start in missing:
                images = _pictures(data, start, min(start + BLOCK, n))
                _keep(folder, start, _features(function, images, key), row)
                done += len(images)
                told(done, n)
    return Kept(path=folder, computed=_count(missing, n), bytes=n * row)


def _count(starts: list[int], n: int) -> int:
    """Pictures of the blocks that begin at `starts`."""
    return sum(min(start + BLOCK, n) - start for start in starts)


def _describe(folder: Path, key: Key, shape: tuple[int, int, int]) -> None:
    about = {"key": asdict(key), "shape": list(shape), "format": FORMAT}
    content = files.readable(about)
    path = folder / ABOUT
    if not path.exists() or path.read_bytes() != content:
        files.write_atomic(path, content)


def _pictures(data: Dataset, start: int, stop: int) -> NDArray[np.uint8]:
    """Pictures `start` to `stop` of all parts, one after another."""
    parts = _parts(data)
    offsets = np.cumsum([0, *map(len, parts)]).tolist()
    chosen = [
        part.take(np.arange(max(start - offset, 0), min(stop - offset, len(part))))
        for part, offset in zip(parts, offsets[:-1], strict=True)
        if start < offset + len(part) and stop > offset
    ]
    return np.concatenate(chosen)


def _parts(data: Dataset) -> tuple[Part, Part, Part]:
    """The parts in the order of the rows."""
    return data.train, data.test, data.valid


def _features(
    compute: Compute, images: NDArray[np.uint8], key: Key
) -> NDArray[np.floating]:
    """(n, views, width), in the key's dtype."""
    views = [images, images[:, :, ::-1]] if key.flip else [images]
    exact = np.stack([compute(np.ascontiguousarray(view)) for view in views], 1)
    with np.errstate(over="ignore"):
        rows = exact.astype(key.dtype)
    if not np.isfinite(rows).all():
        largest = float(np.abs(exact).max())
        raise Refused(
            f"features must fit {key.dtype}, got values up to {largest:.3g}; use "
            "--keep-in float32, or weights whose statistics fit these pictures"
        )
    return rows


def _keep(folder: Path, start: int, rows: NDArray[Any], row: int) -> None:
    """Write one block, then the line that says that it is whole."""
    content = np.ascontiguousarray(rows).tobytes()
    line = {"start": start, "sha256": hashlib.sha256(content).hexdigest()}
    # The first newline ends a line that was cut off, if there is one.
    told = b"\n" + json.dumps(line).encode() + b"\n"
    for name, at, data in ((ROWS, start * row, content), (BLOCKS, None, told)):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            where = os.fstat(file).st_size if at is None else at
            rest = memoryview(data)
            while rest:
                written = os.pwrite(file, rest, where)
                rest, where = rest[written:], where + written
            os.fsync(file)
        finally:
            os.close(file)


def _whole(folder: Path, row: int, n: int) -> set[int]:
    """Starts of the blocks that are what their line says."""
    said = dict(_lines(folder))
    if not said or not (folder / ROWS).exists():
        return set()
    found = set()
    with (folder / ROWS).open("rb") as file:
        for start, sha in said.items():
            if start % BLOCK or not 0 <= start < n:
                continue
            file.seek(start * row)
            content = file.read((min(start + BLOCK, n) - start) * row)
            if hashlib.sha256(content).hexdigest() == sha:
                found.add(start)
    return found


def _lines(folder: Path) -> Iterator[tuple[int, str]]:
    """(start, hash) of each line; one that was cut off says nothing."""
    path = folder / BLOCKS
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            told = json.loads(line)
            yield int(told["start"]), str(told["sha256"])
        except (ValueError, KeyError, TypeError, OverflowError):
            continue


def open_features(folder: Path, data: Dataset, *, shared: bool) -> Dataset:
    """The features in `folder` as a data set with the labels of `data`.

    Args:
        folder: As `ensure` returned it.
        data: The pictures they are of.
        shared: Whether both tracks train on these, whoever computed them: then their
            content counts in the fingerprint, and else only what they are of.

    Raises:
        Refused: They are of other pictures, cut off, or changed.
    """
    key, (n, views, width) = _about(folder)
    if key.data != data.fingerprint or n != sum(map(len, _parts(data))):
        raise Refused(
            f"cached features must be of the pictures that are asked for, {folder} has "
            "those of others; repeat the command that made them"
        )
    row = views * width * np.dtype(key.dtype).itemsize
    if len(whole := _whole(folder, row, n)) < -(-n // BLOCK):
        raise Refused(
            f"cached features must be whole, {folder} has {len(whole)} of "
            f"{-(-n // BLOCK)} blocks as they were written; repeat the command, it "
            "computes the others"
        )
    rows = np.memmap(folder / ROWS, key.dtype, "r", shape=(n, 1, views, width))
    images = np.asarray(rows)
    ends = np.cumsum([0, *map(len, _parts(data))]).tolist()
    train, test, valid = (
        Part(images, part.labels, np.arange(first, last))
        for part, first, last in zip(_parts(data), ends[:-1], ends[1:], strict=True)
    )
    said = sorted(dict(_lines(folder)).items()) if shared else ""
    told = f"{key.meaning()} {data.fingerprint} {said}"
    return replace(
        data,
        name=f"features of {data.name}",
        train=train,
        valid=valid,
        test=test,
        features=True,
        fingerprint=hashlib.sha256(told.encode()).hexdigest(),
    )


def _about(folder: Path) -> tuple[Key, tuple[int, int, int]]:
    try:
        about = json.loads((folder / ABOUT).read_text())
        n, views, width = about["shape"]
        return Key(**about["key"]), (n, views, width)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"cached features need their {ABOUT}, got {error}; repeat the command that "
            "made them"
        ) from error
