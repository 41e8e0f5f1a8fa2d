"""A folder of pictures as a data set.

    ROOT/train/<class>/*  and  ROOT/test/<class>/*     the split is given
    ROOT/<class>/*                                     one in five of each class tests

Classes and files are in the order of their names.  Hidden files are not looked at.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.cache import IMAGES, Content, write_images
from common.data.split import HELD_OUT, held_out
from common.errors import Refused
from common.photos.decode import BadPicture, Framing, printable, read

# Changing how a file becomes pixels changes this, and every folder is decoded again.
DECODER = 2


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds.

    Attributes:
        root: The folder.
        given: Whether it has train/ and test/.
        classes: Names, sorted.
        folders: One per split and class: split (0 or 1), label, path.
        names: File names of each of `folders`, sorted.
        stamp: Hash of all names, sizes and times of change.
    """

    root: Path
    given: bool
    classes: tuple[str, ...]
    folders: tuple[tuple[int, int, Path], ...]
    names: tuple[tuple[str, ...], ...]
    stamp: str

    def __len__(self) -> int:
        return sum(len(names) for names in self.names)

    def files(self) -> Iterator[tuple[int, int, Path]]:
        """(split, label, path) of each file, in order."""
        for (split, label, folder), names in zip(self.folders, self.names, strict=True):
            for name in names:
                yield split, label, folder / name


@dataclass(slots=True)
class Progress:
    """What decoding has met so far."""

    labels: list[int] = field(default_factory=list)
    split: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    first: tuple[tuple[int, ...], Path] | None = None


class SizesDiffer(Refused):
    """Pictures of several sizes, where no size was given."""


class _Coloured(Exception):
    """A picture with colours came after grey ones: all of them must be RGB."""


def scan(root: Path) -> Listing:
    """List `root` and see when each file was last changed.

    Raises:
        Refused: It is missing, empty, has one class only, or a class without images
            to train on or to test with.
    """
    if not root.is_dir():
        raise Refused(
            f"a folder data set must be a folder that is there, got {root}; check the "
            "path"
        )
    given = _has_classes(root / "train") and _has_classes(root / "test")
    if not given and _has_classes(root / "train"):
        raise Refused(
            f"a folder with train/<class>/ needs test/<class>/ too, {root} has none; "
            "add it, or move the classes up to be split"
        )
    tops = [root / "train", root / "test"] if given else [root]
    classes = tuple(sorted({name for top in tops for name in _subfolders(top)}))
    folders = [
        (split, label, top / name)
        for split, top in enumerate(tops)
        for label, name in enumerate(classes)
    ]
    stamp = hashlib.sha256(f"decoder {DECODER}".encode())
    names = []
    for *_, folder in folders:
        listed = _stat_all(folder)
        names.append(tuple(name for name, *_ in listed))
        stamp.update(f"{folder.relative_to(root)}: {listed}\n".encode())
    listing = Listing(
        root, given, classes, tuple(folders), tuple(names), stamp.hexdigest()
    )
    _check_counts(listing, np.array([len(n) for n in names]).reshape(len(tops), -1))
    return listing


def _has_classes(folder: Path) -> bool:
    return folder.is_dir() and bool(_subfolders(folder))


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]


def _stat_all(folder: Path) -> list[tuple[str, int, int]]:
    """(name, bytes, time of change in ns) of each file, by name; [] without folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        shown = (entry for entry in entries if not entry.name.startswith("."))
        told = ((entry.name, _stat(entry)) for entry in shown)
        return sorted((name, s.st_size, s.st_mtime_ns) for name, s in told)


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """Of the file, or of a link to nothing, which is listed so that it can be named."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False)


def _check_counts(listing: Listing, counts: NDArray[np.int64]) -> None:
    """Refuse what cannot be learned or tested; counts: (1 or 2 splits, classes)."""
    root, classes = listing.root, listing.classes
    if not classes or not counts.any():
        raise Refused(
            f"a folder data set holds pictures in class folders, {root} has none; "
            "arrange it as ROOT/<class>/* or ROOT/{train,test}/<class>/*"
        )
    if len(classes) < 2:
        raise Refused(
            f"a data set needs two or more classes, {root} has only {classes[0]}; "
            "add a folder for another class"
        )
    need, wants = (1, "in train and in test") if listing.given else (2, "in its folder")
    for label in np.flatnonzero((counts < need).any(axis=0)):
        shown = ", ".join(str(n) for n in counts[:, label])
        told = "one picture" if need == 1 else "two pictures"
        raise Refused(
            f"a class needs at least {told} {wants}, {classes[label]} of {root} has "
            f"{shown}; add some or remove the class"
        )


def build_folder(
    listing: Listing,
    folder: Path,
    *,
    name: str,
    size: tuple[int, int] | None,
    skip_bad: bool,
) -> Content:
    """Decode every file of `listing` into `folder`.

    Grey pictures give one channel if all of them are grey, else all are RGB.

    Raises:
        Refused: A file is no picture (unless `skip_bad`), or has another size than the
            first one where no `size` is given.
    """
    for grey in (True, False):
        seen = Progress()
        try:
            write_images(folder / IMAGES, _decoded(listing, seen, grey, size, skip_bad))
            break
        except _Coloured:
            continue
    labels, split = np.array(seen.labels, np.int64), np.array(seen.split, np.uint8)
    shape = (2 if listing.given else 1, len(listing.classes))
    counts = np.zeros(shape, np.int64)
    np.add.at(counts, (split, labels), 1)
    _check_counts(listing, counts)
    if not listing.given:
        split = held_out(labels).astype(np.uint8)
    return Content(
        name=name,
        classes=listing.classes,
        labels=labels,
        split=split,
        note=_note(listing, seen, split, size),
        skipped=tuple(seen.skipped),
    )


def _note(
    listing: Listing,
    seen: Progress,
    split: NDArray[np.uint8],
    size: tuple[int, int] | None,
) -> str:
    said = []
    if not listing.given:
        said.append(HELD_OUT)
    if size:
        said.append(f"fitted into {size[0]}x{size[1]}")
    if seen.skipped:
        files = "file" if len(seen.skipped) == 1 else "files"
        said.append(f"{len(seen.skipped):,} {files} of {len(listing):,} skipped")
    return "; ".join(said)


def _decoded(
    listing: Listing,
    seen: Progress,
    grey: bool,
    size: tuple[int, int] | None,
    skip_bad: bool,
) -> Iterator[NDArray[np.uint8]]:
    """Each picture, (h, w, 1) if `grey` else (h, w, 3); `seen` is kept up to date."""
    framing = Framing(size=size, how="pad", channels=None)
    for split, label, path in listing.files():
        try:
            picture = read(path, framing).pixels
        except BadPicture as error:
            bad = f"{printable(path.relative_to(listing.root))} ({error.found})"
            if not skip_bad:
                raise Refused(
                    f"every file of a class folder must be a picture, got {bad}; "
                    "remove it, or skip such files with --skip-bad"
                ) from error
            seen.skipped.append(bad)
            continue
        if picture.shape[2] == 3 and grey:
            raise _Coloured
        if picture.shape[2] == 1 and not grey:
            picture = np.repeat(picture, 3, axis=2)
        _check_size(seen, picture.shape, path)
        seen.labels.append(label)
        seen.split.append(split)
        yield picture


def _check_size(seen: Progress, shape: tuple[int, ...], path: Path) -> None:
    if seen.first is None:
        seen.first = shape, path
    first, where = seen.first
    if shape != first:
        raise SizesDiffer(
            f"the pictures of a data set must have one size, got {shape[0]}x{shape[1]} "
            f"in {path.parent.name}/{path.name} after {first[0]}x{first[1]} in "
            f"{where.parent.name}/{where.name} (height x width); give one with --size "
            "32x32"
        )
