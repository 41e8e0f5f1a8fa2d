"""What a file is, by its bytes: one that can be imported, or what else and its cure."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from common.errors import Refused

ZIP, PICKLE, HDF5 = b"PK\x03\x04", b"\x80", b"\x89HDF\r\n\x1a\n"
# How torch.save began before it wrote zips: the pickle of a number of its own.
LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
LEVELDB = bytes.fromhex("57fb808b247547db")  # how a table of TensorFlow's ends
START = 4096  # bytes that are looked at
STATE = "torch.save(model.state_dict(), 'weights.pth')"
KERAS = "model.save_weights('x.weights.h5')"
AGAIN = "download or copy it again"
OWN = "the library's own file: twintrack weights import inception-v3 --from keras"

# Kind -> whose names its tensors have.
LIBRARY = {
    "torch zip": "torchvision",
    "torch legacy": "torchvision",
    "safetensors": "torchvision",
    "hdf5": "keras",
    "keras zip": "keras",
}


def kind_of(path: Path) -> str:
    """What a file of weights is: a key of `LIBRARY`.

    Raises:
        Refused: There is none, or it is something else, which the line names.
    """
    if path.is_dir():
        raise _refusal(path, *_folder(path))
    if not path.is_file():
        raise _missing(path)
    try:
        with path.open("rb") as file:
            start = file.read(START)
            file.seek(max(0, path.stat().st_size - len(LEVELDB)))
            end = file.read()
    except OSError as error:
        raise Refused(
            f"a weights file must be readable, got '{error.strerror}' for {path}; "
            "correct its permissions"
        ) from error
    if _is_safetensors(start, path.stat().st_size):
        return "safetensors"  # first: the length of its header may look like a pickle
    if start.startswith(ZIP):
        return _zip(path)
    if start.startswith(LEGACY):
        return "torch legacy"
    if start.startswith(HDF5):
        return "hdf5"
    if other := _other(path, start, end):
        raise _refusal(path, *other)
    return "safetensors"


def _is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file begins with the length of a header of JSON that fits into it."""
    length = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 8 + length <= size


def _refusal(path: Path, what: str, cure: str) -> Refused:
    return Refused(
        f"a weights file must be one that torch or Keras wrote, {path} is {what}; "
        f"{cure}"
    )


def _missing(path: Path) -> Refused:
    if path.with_name(f"{path.name}.index").is_file():
        return _refusal(path, *CHECKPOINT)
    return Refused(f"a weights file must exist, got {path}; check the path")


CHECKPOINT = (
    "a TensorFlow checkpoint, whose names are its program's",
    f"load it in its program and write {KERAS}, or use {OWN}",
)
GRAPH = (
    "a TensorFlow graph (.pb): a program that holds its weights",
    f"use {OWN}",
)
ONNX = (
    "an ONNX file: a program whose tensors have no layers' names",
    f"write {STATE} where it was exported from",
)
UNPACK = "unpack it and name the file in it"
# How a file begins -> what it is, what to do.
STARTS = {
    b"version https://git-lfs": (
        "a Git LFS pointer: the file itself is not here",
        "fetch it with git lfs pull",
    ),
    b"\x1f\x8b": ("compressed by gzip", UNPACK),
    b"BZh": ("compressed by bzip2", UNPACK),
    b"\xfd7zXZ": ("compressed by xz", UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", UNPACK),
    b"7z\xbc\xaf": ("a 7z archive", UNPACK),
    b"Rar!": ("a RAR archive", UNPACK),
    b"PK\x05\x06": ("an empty zip", AGAIN),
    b"\x93NUMPY": ("a single NumPy array", f"write {STATE} or {KERAS}"),
    b"GGUF": ("a GGUF file of a language model", f"write {STATE}"),
    b"model_checkpoint_path": CHECKPOINT,
    b"\x89PNG": ("a picture", "name the weights file"),
    b"\xff\xd8\xff": ("a picture", "name the weights file"),
    b"%PDF": ("a PDF", "name the weights file"),
}
WEB = (
    "a web page saved under its name",
    "download the file itself: 'raw' on GitHub, 'resolve' in place of 'blob' in an "
    "address of Hugging Face",
)
WEB_STARTS = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--", b"<script")


def _other(path: Path, start: bytes, end: bytes) -> tuple[str, str] | None:
    """What a file is that cannot be imported, and its cure; none for safetensors."""
    if not start:
        return "empty", AGAIN
    for first, named in STARTS.items():
        if start.startswith(first):
            return named
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(WEB_STARTS):
        return WEB
    if not start.strip(b"\0"):
        return "nothing but zeros at its beginning: a broken download", AGAIN
    if start[4:8] == b"TFL3":
        return "a TensorFlow Lite file: a program", f"use {OWN}"
    if start[257:262] == b"ustar":
        return "a tar archive", f"{UNPACK}; of a torch from before 2017, {STATE}"
    if _onnx(path, start):
        return ONNX
    if end == LEVELDB or re.search(r"\.data-\d+-of-\d+$", path.name):
        return CHECKPOINT
    if start.startswith(PICKLE):
        return "a plain pickle: to open it would run what it says", f"write {STATE}"
    if path.suffix == ".pb" or (start[:1] == b"\n" and b"Const" in start):
        return GRAPH
    return None if start[8:9] == b"{" else _text(start)


def _onnx(path: Path, start: bytes) -> bool:
    """A protocol buffer with a version and a producer, or one that is called so."""
    made = re.match(
        rb"\x08[\x01-\x20]\x12.(pytorch|tf2onnx|keras|onnx|skl|twintrack)", start, re.S
    )
    return bool(made) or path.suffix.lower() == ".onnx"


def _text(start: bytes) -> tuple[str, str]:
    """Words for what no rule knows."""
    try:
        words = start.decode()
    except UnicodeDecodeError as error:
        words = start[: error.start].decode() if error.start > START - 8 else ""
    if not words or not words.replace("\n", "").replace("\t", "").isprintable():
        first = start[:8].hex(" ")
        return (
            f"none that is known (it begins with {first})",
            f"write {STATE} or {KERAS}",
        )
    if words.lstrip()[:1] in "{[":
        return "JSON, which holds no weights", "name the file that has them"
    return "a text", "name the weights file"


def _zip(path: Path) -> str:
    """Whose zip it is.

    Raises:
        Refused: Its end is missing, or it is somebody else's.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        size = path.stat().st_size
        raise _refusal(
            path, f"cut off or damaged: a zip of {size:,} bytes ({error})", AGAIN
        ) from error
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends or any("/code/" in name for name in names):
        raise _refusal(
            path,
            "a TorchScript program",
            "write torch.save(torch.jit.load(path).state_dict(), 'weights.pth')",
        )
    if "data.pkl" in ends:
        return "torch zip"
    if "model.weights.h5" in names:
        return "keras zip"
    if names and all(name.endswith(".npy") for name in names):
        raise _refusal(path, "NumPy's .npz", f"write {STATE} or {KERAS}")
    some = ", ".join(name[:40] for name in names[:3]) or "nothing"
    raise _refusal(path, f"a zip of something else ({some!r})", UNPACK)


def _folder(path: Path) -> tuple[str, str]:
    """What a folder is, and its cure."""
    if (path / "saved_model.pb").is_file() or (path / "keras_metadata.pb").is_file():
        return (
            "the folder of a TensorFlow SavedModel, a program",
            f"load it with TensorFlow and write {KERAS}",
        )
    names = sorted(child.name for child in path.iterdir())
    if any(name.endswith(".index") for name in names):
        return CHECKPOINT
    if "data.pkl" in names:
        return "a torch file that was unpacked", "name the file as it was downloaded"
    ends = (".safetensors", ".pth", ".pt", ".bin", ".h5", ".keras", ".ckpt")
    if inside := [name for name in names if name.endswith(ends)]:
        return "a folder", f"name the file in it: {path / inside[0]}"
    return "a folder", "name the file"
