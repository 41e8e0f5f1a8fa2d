"""Files that are whole or absent, and the two formats they have: JSON, safetensors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import Refused

FULL = (errno.ENOSPC, errno.EDQUOT)  # how a disk says that it is full

Arrays = Mapping[str, NDArray[Any]]


def write_atomic(
    path: Path,
    content: bytes,
    *,
    guard: Callable[[], None] = lambda: None,
    shared: bool = False,
) -> None:
    """Write a file that appears whole, checked, or not at all.

    What a link leads to is written, and the link stays.  A device or a pipe is written
    into: put in its place, a file would take it from everybody else on the machine.

    Args:
        path: Where; its folder is made if it is missing.
        content: What.
        guard: Called just before the file appears; may raise or end the process.
        shared: Whether who may write to its folder may write to it: see `share`.

    Raises:
        Refused: The disk does not take it (full, read-only, not ours).
    """
    if is_stream(path):
        return _write_into(path, content)
    if path.is_symlink():
        path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        make_folder(path.parent, shared=shared)
        _write_through(temporary, content)
        if shared:
            share(temporary)
        guard()
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise Refused(unwritable(path, error)) from error


def make_folder(folder: Path, *, shared: bool = False) -> None:
    """Make a folder, and those that it is in, where they are missing.

    Raises:
        OSError: The disk does not take it.
    """
    missing = [folder, *folder.parents] if not folder.is_dir() else []
    missing = [one for one in missing if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing) if shared else ():
        share(one)


def share(path: Path) -> None:
    """Let those who may write to a folder write to what we put into it.

    A folder whose group may write is a group's: what is made in it gets that group,
    and the group's rights, whatever the umask of who makes it.  A folder in which
    everybody keeps to their own files (/tmp: sticky) is nobody's.  Where the group
    cannot be given, it is not ours to give, and nothing changes.
    """
    folder, own = path.parent.stat(), path.stat()
    if not folder.st_mode & stat.S_IWGRP or folder.st_mode & stat.S_ISVTX:
        return
    granted = folder.st_mode & stat.S_IRWXG
    if path.is_dir():
        granted |= folder.st_mode & stat.S_ISGID
    else:
        granted &= ~stat.S_IXGRP
    with suppress(PermissionError):
        if own.st_gid != folder.st_gid:
            os.chown(path, -1, folder.st_gid)
        path.chmod(stat.S_IMODE(own.st_mode) | granted)


def open_shared(path: Path) -> None:
    """Make sure that a file is there and may be added to, by all who share its folder.

    Raises:
        Refused: It is another's, who keeps it to themselves, or the disk is full.
    """
    try:
        make_folder(path.parent, shared=True)
        made = not path.exists()
        with path.open("ab"):
            pass
        if made:
            share(path)
    except OSError as error:
        raise Refused(unwritable(path, error)) from error


def is_stream(path: Path) -> bool:
    """Whether a device or a pipe stands there, rather than a file or a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_into(path: Path, content: bytes) -> None:
    """Write into a device or a pipe, which takes what it takes.

    Raises:
        Refused: It takes nothing.
    """
    try:
        with path.open("wb", buffering=0) as stream:
            rest = memoryview(content)
            while rest:
                rest = rest[stream.write(rest) or 0 :]
    except OSError as error:
        raise Refused(unwritable(path, error)) from error


def writable(folder: Path) -> bool:
    """Whether something can be put into a folder, which may not be there yet."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _write_through(path: Path, content: bytes) -> None:
    """Write to the disk itself and read it back."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)
    if path.read_bytes() != content:
        raise OSError(errno.EIO, "read back other bytes than were written")


def check_writable(path: Path, option: str) -> None:
    """Refuse, before anything runs, a file that could not be written at the end.

    Raises:
        Refused: It is a folder, or its folder cannot be made or written to.
    """
    if path.is_dir():
        raise Refused(f"{option} must be a file, got the folder {path}; add a name")
    if is_stream(path):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise Refused(
            f"{option} must be in a folder that can be written to, got "
            f"'{error.strerror}' for {path.parent}; name another"
        ) from error


def unwritable(path: Path, error: OSError) -> str:
    """What to say of a file that the disk does not take."""
    if error.errno in FULL:
        return (
            f"results must fit the disk, it is full at {path}; free space and "
            "repeat the command, what is finished is kept"
        )
    owner = whose(path) if error.errno in (errno.EACCES, errno.EPERM) else ""
    return (
        f"results must be writable, got '{error.strerror}' for {path}{owner}; "
        "correct that or choose another place"
    )


def whose(path: Path) -> str:
    """Say whose a file is, or else the folder that it is in, unless that is ours."""
    for there in (path, path.parent):
        with suppress(OSError, KeyError):
            ours = there.stat().st_uid == os.geteuid()
            return "" if ours else f", which belongs to {there.owner()}"
    return ""


def pack(arrays: Arrays, about: dict[str, str] | None = None) -> bytes:
    """Arrays as the bytes of a safetensors file.

    Raises:
        ValueError: An array would not come back as it is.
    """
    from safetensors.numpy import load, save

    # safetensors writes wrong values, without a word, for arrays that are not
    # C-contiguous; asarray, because ascontiguousarray makes scalars (1,).
    solid = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content: bytes = save(solid, about)
    back = load(content)
    for name, array in solid.items():
        same = back[name].dtype == array.dtype and back[name].shape == array.shape
        if not same or back[name].tobytes() != array.tobytes():
            raise ValueError(f"{name} must survive being saved, got another array")
    return content


def unpack(content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and metadata of a safetensors file.

    Raises:
        ValueError: The bytes are not one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ValueError(f"not a whole safetensors file: {error}") from error
    size = int.from_bytes(content[:8], "little")
    return arrays, json.loads(content[8 : 8 + size]).get("__metadata__", {})


def canonical(value: object) -> bytes:
    """JSON that is the same for equal values."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a record but the place where it is kept, `sha256`."""
    rest = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(canonical(rest)).hexdigest()


def readable(value: object) -> bytes:
    """JSON that people can read too.

    Raises:
        ValueError: There is a NaN in it.
    """
    return (json.dumps(value, allow_nan=False, indent=1) + "\n").encode()
