"""How a folder of pictures is arranged: what is a part, what a class, what neither.

    ROOT/<class>/**                                     one in five of each class tests
    ROOT/train/<class>/**  and  ROOT/test/<class>/**    the split is given
    ROOT/val/<class>/** beside them                     settings are chosen on it
    ROOT/train/<class>/**  and  ROOT/val/<class>/**     val is the test part

A folder that is called like a part is one where it holds class folders, or where
another part stands beside it; then it is never a class.  Nothing is left out without a
word: `Arrangement` says what stands beside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from common.errors import Refused
from common.photos.decode import SUFFIXES, printable
from common.photos.hidden import is_ignored

TRAIN, TEST, VALID = 0, 1, 2  # as `split` has them
PARTS = ("train", "test", "val")
WORDS = (
    ("train", "training"),
    ("test", "testing", "eval", "evaluation", "holdout"),
    ("val", "valid", "validation", "dev"),
)
BESIDE = r"(?:set|data|dataset|images?|imgs?|pictures?|photos?|split|folder)"
NAMED = re.compile(
    rf"(?:seg|{BESIDE})?[ _.-]?(?:(?P<part0>{'|'.join(WORDS[0])})"
    rf"|(?P<part1>{'|'.join(WORDS[1])})|(?P<part2>{'|'.join(WORDS[2])}))"
    rf"[ _.-]?(?:{BESIDE})?[ _.-]?\d*"
)
KNOWN = (
    "known are ROOT/<class>/*, ROOT/{train,test}/<class>/* and "
    "ROOT/{train,val,test}/<class>/*"
)
DEPTH = 4  # folders that an archive may have put around the data, one in another
TINY_IMAGENET = "val_annotations.txt"
SHOWN = 4  # names that a line gives


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What lies in a folder, by name.

    Attributes:
        folders: Names of folders, links to folders among them.
        loose: Names of files that are called like pictures.
        others: Names of other files.
        ignored: Names of hidden and of system files and folders.
    """

    folders: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """Where the classes of each part are.

    Attributes:
        tops: (TRAIN, TEST or VALID, the folder that holds its class folders).
        given: Whether the split is given.
        said: The arrangement in words.
        notes: What a table must say of it.
        left_out: Paths beside the classes that are not looked at.
        ignored: Hidden and system files on the way.
    """

    tops: tuple[tuple[int, Path], ...]
    given: bool
    said: str
    notes: tuple[str, ...]
    left_out: tuple[str, ...]
    ignored: tuple[str, ...]


def part_named(name: str) -> int | None:
    """Which part a folder is called like: TRAIN, TEST or VALID, or none."""
    found = NAMED.fullmatch(name.lower())
    if found is None:
        return None
    return next(part for part in range(3) if found[f"part{part}"])


def inside(folder: Path) -> Inside:
    """What lies in a folder; nothing in one that is not there.

    Raises:
        Refused: It cannot be read.
    """
    found: dict[str, list[str]] = {k.name: [] for k in fields(Inside)}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found[_kind(entry)].append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise Refused(
            f"a folder of pictures must be readable, got {printable(folder)} "
            f"({error.strerror}); correct its permissions"
        ) from error
    return Inside(**{kind: tuple(sorted(names)) for kind, names in found.items()})


def _kind(entry: os.DirEntry[str]) -> str:
    if is_ignored(entry.name):
        return "ignored"
    if is_folder(entry):
        return "folders"
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (no Path per file)
    return "loose" if suffix in SUFFIXES else "others"


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def arrange(root: Path) -> Arrangement:
    """Find out how `root` is arranged.

    Raises:
        Refused: It looks like a split that is not complete, or whose pictures are
            loose; the message says what was seen and what is known.
    """
    way = _unwrapped(root)
    start, here = next(reversed(way.items()))
    parts = [(part_named(name), name) for name in here.folders]
    named = [(part, name) for part, name in parts if part is not None]
    several = len({part for part, _ in named}) > 1
    nothing_else = bool(named) and len(named) == len(here.folders)
    if (
        several
        or nothing_else
        or any(inside(start / name).folders for _, name in named)
    ):
        return _split(root, way, named)
    notes = [
        f"{printable(name)} is taken as a class, no other part is beside it"
        for _, name in named
    ]
    said = f"{_shown(start, root)}<class>/*, no split"
    return _arranged(root, {TRAIN: start}, way, said, notes)


def _unwrapped(root: Path) -> dict[Path, Inside]:
    """The way to the folder that holds the data, which is the last.

    Archives put one folder around them, or more.
    """
    folder, here = root, inside(root)
    way = {root: here}
    for _ in range(DEPTH):
        only = here.folders[0] if len(here.folders) == 1 else None
        if only is None or here.loose:
            break
        if part_named(only) is not None:
            return way
        folder = folder / only
        here = way[folder] = inside(folder)
    return way if len(here.folders) > 1 else {root: way[root]}


def _split(
    root: Path, way: dict[Path, Inside], named: Sequence[tuple[int, str]]
) -> Arrangement:
    """The arrangement of a folder with parts."""
    start, here = next(reversed(way.items()))
    tops: dict[int, Path] = {}
    for part, name in named:
        if part in tops:
            raise Refused(
                f"a folder has one {PARTS[part]} part, {printable(root)} has "
                f"{_names([tops[part].name, name])}; move one of them away"
            )
        tops[part] = start / name
    ways = {part: _undoubled(top) for part, top in tops.items()}
    tops = {part: list(doubled)[-1] for part, doubled in ways.items()}
    within = {part: ways[part][top] for part, top in tops.items()}
    _check_parts(root, tops, within)
    notes = []
    if TEST not in tops:  # there is a validation part, or it would be refused
        tops[TEST], within[TEST] = tops.pop(VALID), within.pop(VALID)
        notes.append(f"{_shown(tops[TEST], root)} is the test part, there is no other")
    elif VALID in tops:
        notes.append(f"{_shown(tops[VALID], root)} is the validation part")
    known = {name for _, name in named}
    if beside := [name for name in here.folders if name not in known]:
        notes.append(f"left out beside the parts: {_names(beside)}")
    tops = {part: tops[part] for part in sorted(tops)}
    said = ", ".join(
        f"{PARTS[part]}: {_shown(top, root)}<class>/*" for part, top in tops.items()
    )
    looked = {f: found for one in (way, *ways.values()) for f, found in one.items()}
    left = [_shown(start / name, root) for name in beside]
    return _arranged(root, tops, looked, said, notes, left=left)


def _undoubled(top: Path) -> dict[Path, Inside]:
    """`training_set/training_set/` is one folder, the last; archives are packed so."""
    here = inside(top)
    way = {top: here}
    for _ in range(DEPTH):
        if len(here.folders) != 1 or here.loose:
            break
        if here.folders[0].lower() != top.name.lower():
            break
        top = top / here.folders[0]
        here = way[top] = inside(top)
    return way


def _check_parts(root: Path, tops: dict[int, Path], within: dict[int, Inside]) -> None:
    """Refuse a split that is not complete, or whose pictures have no classes."""
    if VALID in within and TINY_IMAGENET in within[VALID].others:
        raise Refused(
            f"pictures of a part stand in class folders, {printable(root)} is Tiny "
            f"ImageNet as it is published: its val/ has them in one folder and their "
            f"classes in {TINY_IMAGENET}, its test/ has no classes; move val's into "
            "val/<class>/ and test/ away, or name its train/ itself to have it split"
        )
    seen = ", ".join(_seen(tops[part], root, within[part]) for part in sorted(tops))
    train = within.get(TRAIN, Inside()).folders
    for part in sorted(within):
        if not within[part].folders or _strange(train, within[part].folders):
            raise _loose(root, tops, within, part, seen)
    if TRAIN not in tops:
        raise Refused(
            f"a folder with parts needs train/<class>/, {printable(root)} has none "
            f"({seen}; {KNOWN}); add it, or rename a folder that is a class"
        )
    if len(tops) < 2:
        raise Refused(
            f"a folder with train/<class>/ needs test/<class>/ too, {printable(root)} "
            f"has none ({seen}; {KNOWN}); add it, or name {printable(tops[TRAIN])} "
            "itself to have it split"
        )


def _loose(
    root: Path,
    tops: Mapping[int, Path],
    within: Mapping[int, Inside],
    part: int,
    seen: str,
) -> Refused:
    """What to say of a part without the class folders."""
    cure = "put each picture into a folder with its class's name"
    if part == VALID and TEST in tops:
        cure += f", or move {printable(tops[part].name)}/ away"
    elif part != TRAIN and within.get(TRAIN, Inside()).folders:
        train = printable(tops[TRAIN])
        cure += f", or name {train} itself, which is then split one in five"
    shown = printable(root)
    rule = f"pictures stand in class folders, {shown} looks like a split without them"
    if within[part].folders:
        rule = (
            f"the parts of a split have the same class folders, {shown} has none of "
            f"train's in {printable(tops[part].name)}"
        )
    return Refused(f"{rule} ({seen}; {KNOWN}); {cure}")


def _strange(train: Sequence[str], here: Sequence[str]) -> bool:
    """Whether no folder of a part is called like a class of the train part."""
    known = {name.lower() for name in train}
    return bool(known) and not any(name.lower() in known for name in here)


def _seen(top: Path, root: Path, here: Inside) -> str:
    """What lies in a part: "train/ has 20 loose pictures"."""
    if here.folders:
        return f"{_shown(top, root)} has {_names([f'{n}/' for n in here.folders])}"
    n = len(here.loose)
    kind = "picture" if n == 1 else "pictures"
    return f"{_shown(top, root)} has {f'{n:,} loose {kind}' if n else 'no pictures'}"


def _arranged(
    root: Path,
    tops: Mapping[int, Path],
    looked: Mapping[Path, Inside],
    said: str,
    notes: Sequence[str],
    *,
    left: Sequence[str] = (),
) -> Arrangement:
    """An arrangement, with what lies loose where only folders are looked at."""
    out, ignored = [*left], []
    for folder, here in looked.items():
        place = _shown(folder, root)
        out += [f"{place}{printable(name)}" for name in (*here.loose, *here.others)]
        ignored += [f"{place}{printable(name)}" for name in here.ignored]
    if loose := sum(len(here.loose) for here in looked.values()):
        kind = "picture lies" if loose == 1 else "pictures lie"
        notes = [*notes, f"{loose:,} {kind} outside the class folders: left out"]
    return Arrangement(
        tops=tuple(tops.items()),
        given=len(tops) > 1,
        said=said,
        notes=tuple(notes),
        left_out=tuple(out),
        ignored=tuple(ignored),
    )


def _shown(folder: Path, root: Path) -> str:
    """A folder within `root` with a slash behind it; "" for `root` itself."""
    path = folder.relative_to(root)
    return f"{printable(path)}/" if path.parts else ""


def _names(names: Sequence[str]) -> str:
    """A few names of many."""
    shown = ", ".join(printable(name) for name in names[:SHOWN])
    more = len(names) - SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
