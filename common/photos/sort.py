"""Photos that a user hands in: finding them, telling them apart, dealing them out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import Refused
from common.photos.decode import (
    BadPicture,
    Framing,
    Picture,
    content_of,
    printable,
    read,
)
from common.photos.hidden import is_ignored, is_system

# Photos whose small copies differ by less on average, of 255, show the same picture,
# saved again or resized.  FIDS30's 38 apples, saved at half their size and quality 40,
# differ from themselves by 2 at most; of their 703 pairs the nearest differ by 19.
NEAR = 6.0
SMALL = 16  # pixels a side of those copies
LARGE = 64  # of what they are made from: narrow photos must not vanish first


DEEPEST = 64  # folders in one another


def files(
    paths: Sequence[Path], ignored: list[str] | None = None
) -> Iterator[Path | BadPicture]:
    """Every file of `paths`, folders walked in the order of their names.

    What cannot be walked comes as a BadPicture.

    Args:
        paths: Photos, and folders of them.
        ignored: Given the names of hidden files and of those of systems, which are not
            looked at; a hidden file that is named itself is.
    """
    left = [] if ignored is None else ignored
    for path in paths:
        if is_system(path.name):  # a shell's photos/* names them too
            left.append(printable(path))
            continue
        # pathlib's is_dir raises for names that are too long and for closed folders.
        if os.path.isdir(path):  # noqa: PTH112 (pathlib's raises)
            yield from _inside(path, left, DEEPEST)
        else:
            yield path


def _inside(
    folder: Path, ignored: list[str], levels: int
) -> Iterator[Path | BadPicture]:
    if not levels:
        told = f"a folder more than {DEEPEST} deep"
        yield BadPicture(printable(folder), told, "name the folder itself")
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        told = f"a folder that cannot be read: {error.strerror}"
        yield BadPicture(printable(folder), told, "correct its permissions")
        return
    for entry in entries:
        if is_ignored(entry.name):
            ignored.append(printable(entry.path))
            continue
        path = Path(entry.path)
        if entry.is_symlink() and os.path.isdir(path):  # noqa: PTH112 (pathlib's raises)
            # Following it could lead back here.
            told = "a link to a folder, which is not followed"
            yield BadPicture(printable(path), told, "name the folder itself")
        elif entry.is_dir(follow_symlinks=False):
            yield from _inside(path, ignored, levels - 1)
        else:
            yield path


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that could be decoded.

    Attributes:
        path: Its file.
        picture: As the network will see it.
        small: (SMALL, SMALL, 3), for comparing photos.
        digest: SHA-256 (hex) of the file.
    """

    path: Path
    picture: Picture
    small: NDArray[np.uint8]
    digest: str

    @property
    def name(self) -> str:
        """Its file's name, printable."""
        return printable(self.path)

    @property
    def ratio(self) -> float:
        """Width over height."""
        return self.picture.size[1] / self.picture.size[0]


def load(path: Path, framing: Framing) -> Photo:
    """Decode a photo of a class.

    Raises:
        BadPicture: It cannot be.
    """
    from PIL import Image

    content, name = content_of(path), printable(path)
    picture = read(content, framing, name=name)
    # In colour and by itself: a network's 8 x 8 greys look alike too soon.
    side = max(LARGE, *(framing.size or ()))
    whole = Framing(size=(side, side), how="stretch", filter="box")
    large = Image.fromarray(read(content, whole, name=name).pixels)
    small = np.asarray(large.resize((SMALL, SMALL), Image.Resampling.BOX))
    return Photo(path, picture, small, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class Sorted:
    """Photos of a class after a look for duplicates.

    Attributes:
        kept: Photos, each content once.
        groups: (n,), photos of one number show the same picture.
        notes: What was left out or grouped, one line each.
    """

    kept: tuple[Photo, ...]
    groups: NDArray[np.int64]
    notes: tuple[str, ...]


def without_duplicates(photos: Sequence[Photo]) -> Sorted:
    """Leave out copies of a file or of its pixels; group what looks the same.

    A group is all photos that look like another one of it: in a chain the ends may
    differ.
    """
    from scipy.sparse.csgraph import connected_components

    kept: list[Photo] = []
    notes: list[str] = []
    for photo in photos:
        same = next((p for p in kept if _is_copy(photo, p)), None)
        if same:
            notes.append(f"{photo.name} is left out: the same picture as {same.name}")
        else:
            kept.append(photo)
    near = np.array([[_is_near(a, b) for b in kept] for a in kept], bool)
    near = near.reshape(len(kept), len(kept))
    _, groups = connected_components(near, directed=False)
    for k, photo in enumerate(kept):
        if alike := np.flatnonzero(near[k, :k]).tolist():
            first = kept[alike[0]].name
            notes.append(f"{photo.name} looks like {first}: kept in the same fold")
    return Sorted(tuple(kept), groups.astype(np.int64), tuple(notes))


def _is_copy(a: Photo, b: Photo) -> bool:
    if a.digest == b.digest:
        return True
    if a.picture.size != b.picture.size:
        return False
    return np.array_equal(a.picture.pixels, b.picture.pixels)


def _is_near(a: Photo, b: Photo) -> bool:
    return float(np.abs(a.small.astype(np.int16) - b.small).mean()) < NEAR


def deal(groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each photo, (n,), groups kept together, folds of about one size.

    Raises:
        Refused: There are fewer groups than folds, or fewer than two folds.
    """
    from sklearn.model_selection import GroupKFold

    different = len(np.unique(groups))
    if not 2 <= folds <= different:
        raise Refused(
            f"--folds must be 2 or more and each needs a photo of its own, got {folds} "
            f"folds for {different} different photos; use fewer folds or more photos"
        )
    fold = np.empty(len(groups), np.int64)
    parts = GroupKFold(folds, shuffle=True, random_state=seed).split(
        groups, groups=groups
    )
    for number, (_, held) in enumerate(parts):
        fold[held] = number
    return fold
