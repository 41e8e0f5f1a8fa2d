"""Files in a folder or in an archive, read as they lie: nothing is unpacked onto disk.

So no name in an archive leads anywhere.  Whatever is read has a bound: what unpacks to
more than any file of a data set that is known here has, is refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from common.errors import Refused

LARGEST = 256 << 20  # bytes of one file, unpacked
TOTAL = 1 << 30  # bytes of all that an archive unpacks to
DEPTH = 5  # folders below the one that is named
NAMES = 300_000  # names that are looked at below a folder

# First bytes -> how to unpack: one compressed file.
COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
TAR_NAME = re.compile(r"\.(tar(\.\w+)?|t[gbx]z2?)$", re.I)  # older ones say it nowhere
ZIP = b"PK\x03\x04"
# What damaged bytes drive the readers of archives to.
UNREADABLE = (
    *(OSError, EOFError, ValueError, IndexError, OverflowError, NotImplementedError),
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, RuntimeError),
)


class TooLarge(ValueError):
    """More bytes than any file has that is known here."""


@dataclass(frozen=True, slots=True)
class File:
    """A file, wherever it lies.

    Attributes:
        folder: The path of its folder; in an archive after the archive's own.
        name: Its name.
        content: Gives its bytes, as they are stored.
    """

    folder: str
    name: str
    content: Callable[[], bytes]

    @property
    def path(self) -> str:
        """What to call it."""
        return f"{self.folder}/{self.name}"

    def read(self) -> bytes:
        """Its bytes, unpacked if it is one compressed file.

        Raises:
            Refused: It cannot be read, or is larger than any that is known.
        """
        try:
            content = self.content()
            for magic, opened in COMPRESSED.items():
                if content.startswith(magic):
                    with opened(io.BytesIO(content)) as file:
                        return bounded(file)
            return content
        except UNREADABLE as error:
            raise Refused(
                f"a file to import must be readable, {self.path} is not "
                f"({one_line(error)}); get it again"
            ) from error


def one_line(error: BaseException) -> str:
    """An error in a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def bounded(file: IO[bytes], most: int = LARGEST) -> bytes:
    """All that can be read, if that is not more than `most` bytes.

    Raises:
        TooLarge: It is.
    """
    content = file.read(most + 1)
    if len(content) > most:
        raise TooLarge(f"it has more than {most >> 20} MB")
    return content


def files_below(root: Path, closed: list[str]) -> Iterator[File]:
    """The files below a folder, by name, to a depth of DEPTH; hidden ones are not.

    Args:
        root: The folder.
        closed: Gets the folders that cannot be read.

    Raises:
        Refused: There are too many to look at.
    """
    seen = 0
    for folder, folders, names in os.walk(
        root, onerror=lambda error: closed.append(str(error.filename)), followlinks=True
    ):
        inner = len(Path(folder).relative_to(root).parts)
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = shown if inner < DEPTH else []
        seen += len(names)
        if seen > NAMES:
            raise Refused(
                f"a folder to import from has at most {NAMES:,} files, {root} has "
                "more; name the one that the data lie in"
            )
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(folder, name)
            yield File(folder, name, partial(content_of, path))


def content_of(path: Path) -> bytes:
    """The bytes of a plain file: a pipe would be waited for, for ever.

    Raises:
        OSError: It is none, or cannot be read.
        TooLarge: It has too many.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no plain file")
    with path.open("rb") as file:
        return bounded(file)


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar archive, packed or not, by its first bytes.

    Raises:
        Refused: It cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise Refused(
            f"a file to import must be readable, {path} is not ({error.strerror}); "
            "check the path"
        ) from error
    if head.startswith(ZIP):
        return path.suffix.lower() != ".npz"  # NumPy's are zip archives too
    for magic, opened in COMPRESSED.items():
        if head.startswith(magic):
            with suppress(*UNREADABLE), opened(path) as file:
                head = file.read(512)
    return head[257:262] == b"ustar" or bool(TAR_NAME.search(path.name))


def archived(path: Path, wanted: Callable[[str], bool]) -> Iterator[File]:
    """The plain files of an archive whose names are `wanted`.

    Raises:
        Refused: It is damaged, or unpacks to more than any that is known.
    """
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        try:
            yield from (_zipped if head.startswith(ZIP) else _tarred)(
                path, file, wanted
            )
        except Refused:
            raise
        except UNREADABLE as error:
            raise Refused(
                f"an archive to import must be whole, {path} is not "
                f"({one_line(error)}); get it again"
            ) from error


def _zipped(
    path: Path, file: IO[bytes], wanted: Callable[[str], bool]
) -> Iterator[File]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.is_dir() and wanted(PurePosixPath(info.filename).name):
                with archive.open(info) as member:
                    yield _member(path, info.filename, bounded(member))


def _tarred(
    path: Path, file: IO[bytes], wanted: Callable[[str], bool]
) -> Iterator[File]:
    head = file.read(8)
    file.seek(0)
    unpack = next((f for m, f in COMPRESSED.items() if head.startswith(m)), None)
    stream = _Bounded(file if unpack is None else unpack(file))
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        for info in archive:
            if info.isreg() and wanted(PurePosixPath(info.name).name):
                member = archive.extractfile(info)
                if member is None or info.size > LARGEST:
                    raise TooLarge(f"{info.name} has more than {LARGEST >> 20} MB")
                yield _member(path, info.name, bounded(member))


def _member(path: Path, name: str, content: bytes) -> File:
    inner = PurePosixPath(name)
    return File(f"{path}/{inner.parent}", inner.name, lambda: content)


class _Bounded:
    """A file that ends in an error after TOTAL bytes: archives may unpack to any."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.left = file, TOTAL

    def read(self, size: int) -> bytes:
        content = self.file.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise TooLarge(f"it unpacks to more than {TOTAL >> 20} MB")
        return content
