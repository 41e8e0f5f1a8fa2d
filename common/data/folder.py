"""A folder of pictures as a data set; how it may be arranged is in `layout`.

Classes and files are in the order of their names.  The pictures of a class may lie in
folders of its folder.  Hidden files and those of systems are counted, not looked at.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.cache import IMAGES, Content, write_images
from common.data.dataset import Found, few
from common.data.layout import PARTS, VALID, Arrangement, arrange, inside, part_named
from common.data.split import HELD_OUT, held_out
from common.errors import Refused
from common.photos.decode import (
    CUT,
    DEPTHS,
    BadPicture,
    Framing,
    printable,
    read,
)
from common.photos.hidden import SYSTEM

# Changing how a file becomes pixels changes this, and every folder is decoded again.
DECODER = 3
DEEPEST = 16  # folders in one another within a class
# Advice for somebody who names single photos.
AT_HAND = {"name a picture", "name a file", "name a file that can be read"}
LINK = "a link to a folder, which is not followed"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds.

    Attributes:
        root: The folder.
        arranged: How.
        classes: Names, sorted.
        folders: One or more per split and class: split (0 to 2), label, path.
        names: File names of each of `folders`, sorted, with the folders they are in.
        odd: What cannot be listed: split, label, path, why.
        ignored: Hidden files and those of systems.
        notes: What a table must say of it.
        stamp: Hash of all names, sizes and times of change.
    """

    root: Path
    arranged: Arrangement
    classes: tuple[str, ...]
    folders: tuple[tuple[int, int, Path], ...]
    names: tuple[tuple[str, ...], ...]
    odd: tuple[tuple[int, int, Path, str], ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    stamp: str

    @property
    def given(self) -> bool:
        """Whether it has parts of its own."""
        return self.arranged.given

    def __len__(self) -> int:
        return sum(len(names) for names in self.names) + len(self.odd)

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
    advice: set[str] = field(default_factory=set)
    remarks: Counter[str] = field(default_factory=Counter)
    first: tuple[tuple[int, ...], Path] | None = None
    depth: int = 0  # bits of greys that are stored with 16


class SizesDiffer(Refused):
    """Pictures of several sizes, where no size was given."""


class _Coloured(Exception):
    """A picture with colours came after grey ones: all of them must be RGB."""


class _Deeper(Exception):
    """A picture has greys of more bits than those before it: all must be scaled so."""

    def __init__(self, depth: int) -> None:
        self.depth = depth


# --- listing ----------------------------------------------------------------------


@dataclass(slots=True)
class _Walked:
    """What lies in a class's folder, at any depth.

    Attributes:
        files: (name within the folder, bytes, time of change in ns).
        odd: (name, why it cannot be listed).
        ignored: Names.
    """

    files: list[tuple[str, int, int]] = field(default_factory=list)
    odd: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def nested(self) -> int:
        """Files in folders of the folder."""
        return sum("/" in name for name, *_ in self.files)


def scan(root: Path) -> Listing:
    """List `root` and see when each file was last changed.

    Raises:
        Refused: It is missing, empty, has one class only, or a class without images
            to train on or to test with; or it looks like a split and is none.
    """
    if not root.is_dir():
        shown, cure = printable(root), "check the path"
        if root.exists():
            shown, cure = f"the file {shown}", "unpack an archive, or name the folder"
        raise Refused(
            f"a folder data set must be a folder that is there, got {shown}; {cure}"
        )
    arranged = arrange(root)
    found = sorted(
        (part, class_named(name), top / name)
        for part, top in arranged.tops
        for name in inside(top).folders
    )
    classes = tuple(sorted({name for _, name, _ in found}))
    labels = {name: label for label, name in enumerate(classes)}
    folders = tuple((part, labels[name], path) for part, name, path in found)
    walks = [_walk(path, root) for *_, path in folders]
    _check_parts_within(root, folders, walks)
    listing = Listing(
        root=root,
        arranged=arranged,
        classes=classes,
        folders=folders,
        names=tuple(tuple(name for name, *_ in walk.files) for walk in walks),
        odd=tuple(
            (part, label, path / name, why)
            for (part, label, path), walk in zip(folders, walks, strict=True)
            for name, why in walk.odd
        ),
        ignored=(*arranged.ignored, *_ignored(root, folders, walks)),
        notes=(*arranged.notes, *_twins(found), *_nested(walks)),
        stamp=_stamp(root, arranged, folders, walks),
    )
    _check_counts(listing, _counts(listing))
    return listing


def class_named(folder: str) -> str:
    """The class that a folder's name stands for.

    macOS writes names with accents apart; a name is the same however it is written.
    Bytes that are no text, and characters that would break a line, are spelled out.
    """
    name = unicodedata.normalize("NFC", folder)
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        return printable(name)
    return name


def _walk(top: Path, root: Path) -> _Walked:
    """Everything in a class's folder; links to folders are named, not followed."""
    found = _Walked()
    real = root.resolve()
    if top.is_symlink() and top.resolve() in (real, *real.parents):
        found.odd.append(("", f"{LINK}: it leads to a folder that this one is in"))
        return found
    left = [""]
    while left:
        within = left.pop()
        try:
            with os.scandir(f"{top}/{within}") as entries:
                _take(found, within, left, entries)
        except OSError as error:
            why = f"a folder that cannot be read: {error.strerror}"
            found.odd.append((within, why))
    found.files.sort()
    return found


def _take(
    found: _Walked,
    within: str,
    left: list[str],
    entries: Iterator[os.DirEntry[str]],
) -> None:
    """Take in the entries of one folder, `within` the class's; this runs per file."""
    deep = within.count("/") >= DEEPEST
    for entry in entries:
        name = entry.name
        if name[0] == "." or name.lower() in SYSTEM:
            found.ignored.append(within + name)
        elif entry.is_dir(follow_symlinks=False):
            if deep:
                why = f"a folder more than {DEEPEST} deep in its class"
                found.odd.append((within + name, why))
            else:
                left.append(f"{within}{name}/")
        elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112
            found.odd.append((within + name, LINK))
        else:
            told = _stat(entry)
            found.files.append((within + name, told.st_size, told.st_mtime_ns))


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """Of the file, or of a link to nothing, which is listed so that it can be named."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


def _stamp(
    root: Path,
    arranged: Arrangement,
    folders: Sequence[tuple[int, int, Path]],
    walks: Sequence[_Walked],
) -> str:
    stamp = hashlib.sha256(f"decoder {DECODER} {arranged.notes}".encode())
    for (part, _, folder), walk in zip(folders, walks, strict=True):
        told = f"{part} {str(folder.relative_to(root))!r}: {walk.files} {walk.odd}\n"
        stamp.update(told.encode())
    return stamp.hexdigest()


def _ignored(
    root: Path, folders: Sequence[tuple[int, int, Path]], walks: Sequence[_Walked]
) -> Iterator[str]:
    """What was ignored in the classes' folders, as it is told."""
    for (*_, path), walk in zip(folders, walks, strict=True):
        for name in walk.ignored:
            yield printable(f"{path.relative_to(root)}/{name}")


def _check_parts_within(
    root: Path, folders: Sequence[tuple[int, int, Path]], walks: Sequence[_Walked]
) -> None:
    """Refuse classes that have the parts inside: read as one they would be mixed.

    Raises:
        Refused: A class's folder has two of train/, val/ and test/ in it.
    """
    for (*_, path), walk in zip(folders, walks, strict=True):
        firsts = {name.partition("/")[0] for name, *_ in walk.files if "/" in name}
        parts = sorted(name for name in firsts if part_named(name) is not None)
        if len({part_named(name) for name in parts}) > 1:
            raise Refused(
                "parts hold the classes and not classes the parts, "
                f"{printable(path.relative_to(root))} of {printable(root)} has "
                f"{few([printable(name) for name in parts])} in it; arrange it as "
                "ROOT/{train,test}/<class>/* or ROOT/{train,val,test}/<class>/*"
            )


def _twins(found: Sequence[tuple[int, str, Path]]) -> Iterator[str]:
    """What to say of class folders whose names are hard to tell apart."""
    same: dict[tuple[int, str], list[str]] = defaultdict(list)
    for part, name, path in found:
        same[part, name].append(path.name)
    for (_, name), folders in same.items():
        if len(folders) > 1:
            yield (
                f"{len(folders)} folders are called {printable(name)}, their letters "
                "written in different ways: one class"
            )
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted({name for _, name, _ in found}):
        alike[_plain(name)].append(name)
    for names in alike.values():
        if len(names) > 1:
            shown = " and ".join(repr(printable(name)) for name in names)
            yield f"{shown} differ only in case or spaces: {len(names)} classes"


def _plain(name: str) -> str:
    """A name without what is easily overlooked."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _nested(walks: Sequence[_Walked]) -> Iterator[str]:
    if n := sum(walk.nested for walk in walks):
        kind = "picture lies" if n == 1 else "pictures lie"
        yield f"{n:,} {kind} in folders of the class folders"


def _counts(listing: Listing) -> NDArray[np.int64]:
    """Files of each class in each part, (3, classes)."""
    counts = np.zeros((len(PARTS), len(listing.classes)), np.int64)
    for (part, label, _), names in zip(listing.folders, listing.names, strict=True):
        counts[part, label] += len(names)
    return counts


def _check_counts(listing: Listing, all_counts: NDArray[np.int64]) -> None:
    """Refuse what cannot be learned, tested or chosen on; counts: (3, classes)."""
    tops = dict(listing.arranged.tops)
    counts = all_counts[: 2 if listing.given else 1]
    root, classes = printable(listing.root), listing.classes
    if not classes or not counts.any():
        loose = [n for n in listing.arranged.left_out if "/" not in n]
        there = f" ({len(loose):,} files lie loose in it)" if loose else ""
        raise Refused(
            f"a folder data set holds pictures in class folders, {root} has none"
            f"{there}; arrange it as ROOT/<class>/*, ROOT/{{train,test}}/<class>/* or "
            "ROOT/{train,val,test}/<class>/*"
        )
    if len(classes) < 2:
        raise Refused(
            f"a data set needs two or more classes, {root} has only "
            f"{printable(classes[0])}; add a folder for another class"
        )
    if VALID in tops and not all_counts[VALID].any():
        raise Refused(
            f"a validation part has pictures, {printable(tops[VALID])} has none; add "
            "some or move it away"
        )
    need, wants = (1, "in train and in test") if listing.given else (2, "in its folder")
    for label in np.flatnonzero((counts < need).any(axis=0)).tolist():
        shown = ", ".join(str(n) for n in counts[:, label])
        told = "one picture" if need == 1 else "two pictures"
        raise Refused(
            f"a class needs at least {told} {wants}, {printable(classes[label])} of "
            f"{root} has {shown}; {_cure(listing, label)}"
        )


def _cure(listing: Listing, label: int) -> str:
    """What to do about a class without pictures."""
    classes = listing.classes
    name = classes[label]
    for _, other, path, why in listing.odd:
        if other == label:
            shown = printable(path.relative_to(listing.root))
            return f"{shown} is {why}; put a folder of pictures there"
    twins = [c for c in classes if c != name and _plain(c) == _plain(name)]
    if twins:
        return (
            f"{twins[0]!r} differs from it only in case or spaces: give the folders "
            "one name"
        )
    return "add some or remove the class"


# --- decoding ---------------------------------------------------------------------


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
    grey, depth = True, 0
    while True:
        seen = Progress()
        pictures = _decoded(listing, seen, grey, depth, size, skip_bad)
        try:
            write_images(folder / IMAGES, pictures)
            break
        except _Coloured:
            grey = False
        except _Deeper as more:
            depth = more.depth
    labels, split = np.array(seen.labels, np.int64), np.array(seen.split, np.uint8)
    counts = np.zeros((len(PARTS), len(listing.classes)), np.int64)
    np.add.at(counts, (split, labels), 1)
    _check_counts(listing, counts)
    if not listing.given:
        split = held_out(labels).astype(np.uint8)
    found = Found(
        layout=listing.arranged.said,
        skipped=tuple(seen.skipped),
        left_out=listing.arranged.left_out,
        ignored=listing.ignored,
        remarks=tuple(_counted(said, n) for said, n in seen.remarks.most_common()),
    )
    return Content(
        name=name,
        classes=listing.classes,
        labels=labels,
        split=split,
        note=_note(listing, seen, size),
        found=found,
    )


def _note(listing: Listing, seen: Progress, size: tuple[int, int] | None) -> str:
    said = [] if listing.given else [HELD_OUT]
    said += listing.notes
    if size:
        said.append(f"fitted into {size[0]}x{size[1]}")
    if seen.skipped:
        files = "file" if len(seen.skipped) == 1 else "files"
        said.append(f"{len(seen.skipped):,} {files} of {len(listing):,} skipped")
    said += [_counted(kind, n) for kind, n in seen.remarks.items() if kind == CUT]
    if 0 < seen.depth < DEPTHS[-1]:
        said.append(f"greys of 16 bits taken as {seen.depth} bits")
    return "; ".join(said)


def _counted(said: str, n: int) -> str:
    return f"{said} ({n:,} {'picture' if n == 1 else 'pictures'})"


def _decoded(
    listing: Listing,
    seen: Progress,
    grey: bool,
    depth: int,
    size: tuple[int, int] | None,
    skip_bad: bool,
) -> Iterator[NDArray[np.uint8]]:
    """Each picture, (h, w, 1) if `grey` else (h, w, 3); `seen` is kept up to date.

    Raises:
        Refused: Files are no pictures, and are not to be skipped: all are named.
    """
    seen.depth = depth
    seen.skipped += [_bad(listing, path, why) for *_, path, why in listing.odd]
    for split, label, path in listing.files():
        framing = Framing(size=size, how="pad", channels=None, depth=seen.depth)
        try:
            found = read(path, framing)
        except BadPicture as error:
            seen.skipped.append(_bad(listing, path, error.found))
            seen.advice.add(error.advice)
            continue
        if seen.skipped and not skip_bad:
            continue  # only to name all that are bad
        picture = found.pixels
        if picture.shape[2] == 3 and grey:
            raise _Coloured
        if found.depth > seen.depth > 0:
            raise _Deeper(found.depth)
        seen.depth = found.depth or seen.depth
        if picture.shape[2] == 1 and not grey:
            picture = np.repeat(picture, 3, axis=2)
        _check_size(seen, picture.shape, path)
        seen.remarks.update(found.notes)
        seen.labels.append(label)
        seen.split.append(split)
        yield picture
    if seen.skipped and not skip_bad:
        raise no_pictures(seen.skipped, seen.advice - AT_HAND)


def _bad(listing: Listing, path: Path, why: str) -> str:
    return f"{printable(path.relative_to(listing.root))} ({why})"


def no_pictures(bad: Sequence[str], advice: Collection[str] = ()) -> Refused:
    """What to say of files among the pictures that are none.

    Args:
        bad: The files, each with what is wrong with it.
        advice: What would make pictures of them.
    """
    many = f"{len(bad):,} that are none: " if len(bad) > 1 else ""
    them = "them" if many else "it"
    return Refused(
        f"every file of a class folder must be a picture, got {many}{few(bad)}; "
        f"{''.join(f'{one}, ' for one in sorted(advice))}remove {them}, or skip such "
        "files with --skip-bad"
    )


def _check_size(seen: Progress, shape: tuple[int, ...], path: Path) -> None:
    if seen.first is None:
        seen.first = shape, path
    first, where = seen.first
    if shape != first:
        raise SizesDiffer(
            f"the pictures of a data set must have one size, got {shape[0]}x{shape[1]} "
            f"in {printable(f'{path.parent.name}/{path.name}')} after "
            f"{first[0]}x{first[1]} in {printable(f'{where.parent.name}/{where.name}')}"
            " (height x width); give one with --size 32x32"
        )
