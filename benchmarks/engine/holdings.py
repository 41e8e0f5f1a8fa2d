"""What lies in a cache, how large it is, and how it is removed again.

Only what twintrack has written is ever counted or deleted, by its names: a cache may
have been put into a folder that holds other things.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.chosen import IMPORTED
from benchmarks.engine.download import DOWNLOADS
from common.data import addition, features
from common.data.cache import (
    DamagedEntry,
    bytes_of,
    delete,
    is_entry,
    listed,
    read_meta,
    removing,
)
from common.data.canonical import ARCHIVES

# What is kept beside data sets: the name on the screen -> the folder in the cache.
PARTS = {
    "downloads": DOWNLOADS,
    "features": features.FOLDER,
    "weights": IMPORTED,
    "classes": addition.FOLDER,
}
# What downloaders leave: archives, what torchvision unpacks, what TFDS prepares.
FETCHED = {name for files in ARCHIVES.values() for name in files}
FETCHED |= {name.removesuffix(".gz") for name in FETCHED if name.endswith("ubyte.gz")}
FETCHED |= {"cifar-10-batches-py", "tfds"}
# Locks and half-made things of builders that were killed.
LEFT = re.compile(
    r"\.(digits|mnist|cifar10|downloads|.+-[0-9a-f]{16,24})(\.lock|\.tmp-\w{8})"
)


@dataclass(frozen=True, slots=True)
class Holding:
    """One thing that can be removed.

    Attributes:
        name: As it is listed: of a data set, or of a part.
        path: Where it lies.
        source: The folder it was decoded from, or none.
    """

    name: str
    path: Path
    source: str | None = None

    @property
    def bytes(self) -> int:
        """On disk."""
        return sum(bytes_of(path) for path in self.files())

    def files(self) -> list[Path]:
        """What of it is ours."""
        if self.name not in PARTS or self.path.name != PARTS[self.name]:
            return [self.path]
        return [path for path in listed(self.path) if self._is_ours(path)]

    def _is_ours(self, path: Path) -> bool:
        if path.is_symlink():
            return False
        if self.name == "downloads":
            return path.name in FETCHED
        if self.name == "features":
            return (path / features.ABOUT).is_file()
        return path.suffix == ".safetensors"

    def remove(self) -> None:
        """Delete it; who reads it now goes on reading.

        Raises:
            Refused: It is another user's.
        """
        for path in self.files():
            delete(path)
        if self.path.name in PARTS.values():
            clear(self.path)


def entries(folder: Path) -> list[Holding]:
    """The data sets of a cache, by name of their folder."""
    return [Holding(*_named(path)) for path in listed(folder) if is_entry(path)]


def _named(path: Path) -> tuple[str, Path, str | None]:
    try:
        meta = read_meta(path)
    except DamagedEntry:
        return path.name, path, None
    return meta["name"], path, meta["source"]


def parts(folder: Path) -> list[Holding]:
    """What is kept beside data sets."""
    return [Holding(name, folder / place) for name, place in PARTS.items()]


def clear(folder: Path) -> None:
    """Delete what is left of removed things: locks, half-made entries, the folder."""
    if folder.is_symlink() or not folder.is_dir():
        return
    with removing(folder):
        left = (LEFT.fullmatch(path.name) for path in listed(folder))
        for name in sorted({found[1] for found in left if found}):
            if not (folder / name).exists():
                delete(folder / name)
        if not any(folder.iterdir()):
            folder.rmdir()
