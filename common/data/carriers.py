"""MNIST and CIFAR-10 in the forms that others keep them in: bytes to arrays.

Each reader takes files by name and gives train images, train labels, test images and
test labels: uint8 (n, h, w, c) and whole numbers (n,), in any order.  Nothing in a file
is believed: sizes are compared with what is there, and a pickle may make lists, texts
and arrays, and nothing else.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.packed import UNREADABLE, File, bounded, one_line
from common.errors import Refused

Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
Files = Mapping[str, File]

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
IDX = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
# As they are also called: train-images.idx3-ubyte, and packed anew.
IDX_NAME = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.(gz|bz2|xz))?")
BATCHES = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")
BATCH_NAME = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")
LABEL = 255  # the largest that is taken from a record
STEPS = 150_000  # of a pickle's machine; a batch takes 50,000
RECORD_NAME = re.compile(
    r"(mnist|cifar10)-(train|test)\.tfrecord-(\d{5})-of-(\d{5})(\.gz)?"
)
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
# What is recognised, to be named, and not read.
OTHERS = re.compile(
    r"(train|test)\S*\.parquet|data_batch_1\.mat|(mnist|cifar10)-train\.array_record\S*"
    r"|training\.pt|cifar-?10\S*\.(mat|rds|arff)|mnist\S*\.(csv|mat|arff|pkl\.gz)"
    r"|(mnist|train|cifar)\S*\.csv",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Carrier:
    """Files of one form in one place.

    Attributes:
        form: What it is called.
        where: The folder, or the file.
        files: By the name that the reader asks for.
        read: Makes arrays of the files.
    """

    form: str
    where: str
    files: dict[str, File]
    read: Callable[[Files], Arrays]


def is_known(name: str) -> bool:
    """Whether a file may belong to a carrier, by its name."""
    names = (IDX_NAME, BATCH_NAME, RECORD_NAME, OTHERS)
    return name.endswith(".npz") or any(known.fullmatch(name) for known in names)


def carriers(name: str, files: list[File]) -> Iterator[Carrier]:
    """What may carry the data set `name`, in folders and archives."""
    for file in files:
        if file.name.endswith(".npz"):
            read = partial(read_npz, SHAPES[name])
            yield Carrier("keras's arrays (.npz)", file.path, {file.name: file}, read)
    kinds = _mnists if name == "mnist" else _cifars
    for folder in dict.fromkeys(file.folder for file in files):
        within = {file.name: file for file in files if file.folder == folder}
        yield from kinds(folder, within)
        records = {
            n: file
            for n, file in within.items()
            if (known := RECORD_NAME.fullmatch(n)) and known[1] == name
        }
        if records:
            read = partial(read_records, SHAPES[name])
            yield Carrier("TFDS's records", folder, records, read)


def _mnists(folder: str, within: dict[str, File]) -> Iterator[Carrier]:
    """IDX files; one that is there twice is taken as it lies, then packed."""
    found: dict[str, File] = {}
    for name, file in within.items():
        if IDX_NAME.fullmatch(name):
            plain = re.sub(r"\.(gz|bz2|xz)$", "", name).replace(".idx", "-idx")
            found.setdefault(plain, file)
    if found:
        yield Carrier("IDX files", folder, found, read_idx)


def _cifars(folder: str, within: dict[str, File]) -> Iterator[Carrier]:
    for form, end, read in (
        ("the binary version", ".bin", read_binary),
        ("the Python version", "", read_pickled),
    ):
        found = {n: within[n + end] for n in BATCHES if n + end in within}
        if found:
            yield Carrier(form, folder, found, read)


def _each(wanted: tuple[str, ...], files: Files, what: str) -> list[File]:
    """The files of these names.

    Raises:
        Refused: One is missing.
    """
    for name in wanted:
        if name not in files:
            some = next(iter(files.values()))
            raise Refused(
                f"{what} is {', '.join(wanted)}, {some.folder} has no {name}; put all "
                f"{len(wanted)} there"
            )
    return [files[name] for name in wanted]


def _bad(file: File, rule: str, got: str) -> Refused:
    return Refused(f"{rule}, {file.path} {got}; get it again")


# --- MNIST's own: idx --------------------------------------------------------------


def read_idx(files: Files) -> Arrays:
    """MNIST from its four IDX files.

    Raises:
        Refused: One is missing, or is no IDX file of such arrays.
    """
    images, labels, test_images, test_labels = _each(IDX, files, "MNIST as IDX files")
    return (
        idx(images, 3)[..., None],
        idx(labels, 1),
        idx(test_images, 3)[..., None],
        idx(test_labels, 1),
    )


def idx(file: File, axes: int) -> NDArray[np.uint8]:
    """The array of an IDX file: a magic number, sizes, bytes.

    Raises:
        Refused: It is no IDX file, has other axes, or more or fewer values.
    """
    content, rule = file.read(), "an IDX file has bytes along the axes it states"
    head = 4 + 4 * axes
    if len(content) < head or content[:4] != bytes([0, 0, 8, axes]):
        raise _bad(file, rule, f"starts with {content[:4].hex(' ') or 'nothing'}")
    shape = struct.unpack(f">{axes}I", content[4:head])
    if prod(shape) != len(content) - head:
        told = " x ".join(f"{n:,}" for n in shape)
        raise _bad(file, rule, f"states {told} and has {len(content) - head:,}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


# --- CIFAR-10's own: two of its three versions --------------------------------------


def read_binary(files: Files) -> Arrays:
    """CIFAR-10 from data_batch_1.bin and so on: a label and 3 x 32 x 32 bytes each.

    Raises:
        Refused: A file is missing, or is no whole number of such rows.
    """
    parts = []
    for file in _each(BATCHES, files, "CIFAR-10 as its binary version (.bin)"):
        content = file.read()
        if not content or len(content) % 3073:
            rule = "a batch of CIFAR-10 has 3,073 bytes for each picture"
            raise _bad(file, rule, f"has {len(content):,}")
        rows = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        parts.append((_planes(rows[:, 1:]), rows[:, 0]))
    return _batches(parts)


def read_pickled(files: Files) -> Arrays:
    """CIFAR-10 from data_batch_1 and so on: pickled dictionaries.

    Raises:
        Refused: A file is missing, is no such pickle, or asks for more than data.
    """
    parts = []
    for file in _each(BATCHES, files, "CIFAR-10 as its Python version"):
        rule = "a batch of CIFAR-10 has data (n, 3072) of uint8 and n labels"
        told = unpickled(file)
        try:
            data, labels = (np.asarray(told[name]) for name in (b"data", b"labels"))
            sound = (
                data.dtype == np.uint8
                and data.shape == (len(data), 3072)
                and labels.shape == (len(data),)
                and np.issubdtype(labels.dtype, np.integer)
            )
        except KeyError as error:
            raise _bad(file, rule, f"has no {error.args[0].decode()}") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _bad(file, rule, f"has not ({one_line(error)})") from error
        if not sound:
            raise _bad(file, rule, f"has {data.shape} of {data.dtype}, {labels.shape}")
        parts.append((_planes(data), labels))
    return _batches(parts)


def _planes(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 3072), colour by colour, as (n, 32, 32, 3)."""
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _batches(parts: list[tuple[NDArray[Any], NDArray[Any]]]) -> Arrays:
    images, labels = ([part[k] for part in parts] for k in (0, 1))
    return np.concatenate(images[:5]), np.concatenate(labels[:5]), images[5], labels[5]


def unpickled(file: File) -> dict[Any, Any]:
    """What a batch holds, with no name called that it may ask for.

    Raises:
        Refused: It is no pickle of a dictionary, or asks for anything but arrays.
    """
    content, rule = file.read(), "a batch of CIFAR-10 is a pickled dictionary"
    try:
        told = _Data(io.BytesIO(content)).load()
    except Refused as refusal:
        raise _bad(file, rule, str(refusal)) from refusal
    except Exception as error:  # damaged bytes drive a pickle's machine to anything
        raise _bad(file, rule, f"is none ({one_line(error)})") from error
    if not isinstance(told, dict):
        raise _bad(file, rule, f"holds a {type(told).__name__}")
    return {k.encode() if isinstance(k, str) else k: v for k, v in told.items()}


class _Data(pickle._Unpickler):
    """Reads data alone.  In Python, where a wild index into its memory costs none."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")
        self.steps = 0
        counted = {code: self._counted(do) for code, do in self.dispatch.items()}
        vars(self)["dispatch"] = counted
        # Made anew for each file: a pickle may set attributes of what it is given.
        made = _stand_ins()
        self.given = {
            (f"{package}.{module}", name): made[name]
            for package in ("numpy.core", "numpy._core")
            for module, name in (
                ("multiarray", "_reconstruct"),
                ("numeric", "_frombuffer"),
            )
        }
        self.given |= {("numpy", name): made[name] for name in ("ndarray", "dtype")}
        self.given["_codecs", "encode"] = made["encode"]

    def _counted(self, do: Callable[[Any], None]) -> Callable[[Any], None]:
        def step(machine: Any) -> None:
            self.steps += 1
            if self.steps > STEPS:
                raise Refused(f"takes more than {STEPS:,} steps to read")
            do(machine)

        return step

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for NumPy's names; nothing for any other."""
        if (module, name) not in self.given:
            raise Refused(f"asks for {module}.{name}, which no data need")
        return self.given[module, name]


def _stand_ins() -> dict[str, Any]:
    """What NumPy's pickles name, by what they do, and no more."""

    class Kind:
        """A dtype, by its code."""

        def __init__(self, code: Any, *_: Any) -> None:
            text = code.decode() if isinstance(code, bytes) else str(code)
            if not re.fullmatch("[iu][1248]", text):
                raise Refused(f"holds an array of {text[:20]!r}")
            self.text, self.dtype = text, np.dtype(text)

        def __setstate__(self, state: Any) -> None:
            order = state[1].decode() if isinstance(state[1], bytes) else state[1]
            self.dtype = np.dtype({">": ">", "<": "<"}.get(order, "=") + self.text)

    class Array:
        """An array, once its state is known."""

        array: NDArray[Any]

        def __setstate__(self, state: Any) -> None:
            _, shape, kind, fortran, content = state
            order = "F" if fortran else "C"
            self.array = _shaped(content, kind.dtype, shape, order)

        def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
            return self.array

    def frombuffer(content: Any, kind: Any, shape: Any, order: Any) -> Any:
        made = Array()
        made.array = _shaped(bytes(content), kind.dtype, shape, order)
        return made

    return {
        "_reconstruct": lambda *_: Array(),
        "_frombuffer": frombuffer,
        "ndarray": object(),
        "dtype": Kind,
        "encode": lambda text, *_: text.encode("latin1"),
    }


def _shaped(
    content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str
) -> NDArray[Any]:
    return np.frombuffer(content, dtype).reshape(
        shape, order="F" if order == "F" else "C"
    )


# --- arrays in one file: keras ------------------------------------------------------


def read_npz(shape: tuple[int, int, int], files: Files) -> Arrays:
    """Arrays called x_train, y_train, x_test and y_test.

    Raises:
        Refused: One is missing, or has another type or shape.
    """
    (file,) = files.values()
    try:
        with zipfile.ZipFile(io.BytesIO(file.read())) as archive:
            names = {n for n in archive.namelist() if n.removesuffix(".npy") in ARRAYS}
            if len(names) != len(ARRAYS):
                rule = f"a file of arrays has {', '.join(ARRAYS)}"
                raise _bad(file, rule, f"has {', '.join(archive.namelist()[:8])[:200]}")
            found = []
            for name in ARRAYS:
                with archive.open(f"{name}.npy") as member:
                    found.append(npy(bounded(member)))
    except Refused:
        raise
    except UNREADABLE as error:
        rule = "a file of arrays must be readable"
        raise _bad(file, rule, f"is not ({one_line(error)})") from error
    x, y, test_x, test_y = found
    for images, labels in ((x, y), (test_x, test_y)):
        n = len(images) if images.ndim else 0
        if images.dtype != np.uint8 or images.size != n * prod(shape):
            rule = f"pictures are uint8 (n, {', '.join(map(str, shape))})"
            raise _bad(file, rule, f"has {images.shape} of {images.dtype}")
        if labels.size != n or not np.issubdtype(labels.dtype, np.integer):
            rule = "each picture has one label, a whole number"
            raise _bad(file, rule, f"has {labels.shape} of {labels.dtype} for {n:,}")
    return (
        *(x.reshape(-1, *shape), y.ravel()),
        *(test_x.reshape(-1, *shape), test_y.ravel()),
    )


def npy(content: bytes) -> NDArray[Any]:
    """The array of an .npy file; its size is compared before any memory is taken.

    Raises:
        ValueError: It is none of plain numbers, or has more or fewer than it states.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"version {version} of .npy is not known")
    try:
        shape, fortran, dtype = read(file)
    except Exception as error:  # it parses Python text, which damage makes anything of
        raise ValueError(f"its header cannot be read ({one_line(error)})") from error
    if dtype.kind not in "iuf":
        raise ValueError(f"it holds {dtype}, not numbers")
    left = content[file.tell() :]
    if prod(shape) * dtype.itemsize != len(left) or min(shape, default=0) < 0:
        raise ValueError(f"it states {shape} of {dtype} and has {len(left):,} bytes")
    return np.frombuffer(left, dtype).reshape(shape, order="F" if fortran else "C")


# --- TFDS ---------------------------------------------------------------------------


def read_records(shape: tuple[int, int, int], files: Files) -> Arrays:
    """Pictures and labels of TFDS's records: protocol buffers around PNG files.

    Raises:
        Refused: A shard is missing, or is no file of such records.
    """
    parts: dict[str, tuple[list[Any], list[int]]] = {
        "train": ([], []),
        "test": ([], []),
    }
    for name in _shards(files):
        file = files[name]
        images, labels = parts[RECORD_NAME.fullmatch(name)[2]]  # type: ignore[index]
        try:
            for record in _records(file.read()):
                image, label = _example(record)
                images.append(_picture(image, shape))
                labels.append(label)
        except Refused:
            raise
        except UNREADABLE as error:
            rule = "records of TFDS hold a PNG file as image and a label each"
            raise _bad(file, rule, f"does not ({one_line(error)})") from error
    (train, train_labels), (test, test_labels) = parts.values()
    if not train or not test:
        raise _bad(file, "TFDS's records are of train and test", "holds none")
    return (
        *(np.stack(train), np.array(train_labels)),
        *(np.stack(test), np.array(test_labels)),
    )


def _shards(files: Files) -> list[str]:
    """The names of all shards of both parts.

    Raises:
        Refused: One is missing.
    """
    some = next(iter(files))
    name, _, _, _, end = RECORD_NAME.fullmatch(some).groups()  # type: ignore[union-attr]
    wanted = []
    for part in ("train", "test"):
        there = [n for n in files if n.startswith(f"{name}-{part}.")]
        n = int(RECORD_NAME.fullmatch(there[0])[4]) if there else 1  # type: ignore[index]
        wanted += [
            f"{name}-{part}.tfrecord-{k:05}-of-{n:05}{end or ''}"
            for k in range(min(n, len(files) + 1))
        ]
    _each(tuple(wanted), files, "TFDS's data set")
    return wanted


def _records(content: bytes) -> Iterator[bytes]:
    """Each record: its length, a checksum, its bytes, a checksum."""
    at = 0
    while at < len(content):
        (size,) = struct.unpack("<Q", _bytes(content, at, 8))
        yield _bytes(content, at + 12, size)
        _bytes(content, at + 12 + size, 4)
        at += 16 + size


def _bytes(content: bytes, at: int, size: int) -> bytes:
    if at + size > len(content):
        raise ValueError(f"it is cut off: {size:,} bytes from {at:,} are not there")
    return content[at : at + size]


def _example(record: bytes) -> tuple[bytes, int]:
    """The image and the label of a tf.train.Example."""
    try:
        features = _fields(_fields(record)[1][0])[1]
        named = [_fields(feature) for feature in features]
        found = {one[1][0]: _fields(one[2][0]) for one in named}
        image = _fields(found[b"image"][1][0])[1][0]
        label = _fields(found[b"label"][3][0])[1][0]
    except (KeyError, TypeError) as error:
        raise ValueError("a record has no image or no label") from error
    number = label if isinstance(label, int) else _varint(label, 0)[0]
    if number > LABEL:
        raise ValueError(f"a record has the label {number}")
    return image, number


def _fields(message: Any) -> dict[int, list[Any]]:
    """Field number -> values of a protocol buffer: bytes, and numbers of kind 0."""
    if not isinstance(message, bytes):
        raise ValueError("a number stands where a message should")
    found: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value: Any
        if key & 7 == 0:
            value, at = _varint(message, at)
        elif key & 7 == 2:
            size, at = _varint(message, at)
            value, at = _bytes(message, at, size), at + size
        else:
            raise ValueError(f"a field of kind {key & 7} is not known")
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next thing begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = _bytes(content, at, 1)[0]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number does not end")


def _picture(content: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    from PIL import Image  # not for `twintrack data` alone

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size != (shape[1], shape[0]):  # before it takes any memory
                raise ValueError(f"a picture has {image.size} pixels")
            found = np.asarray(image)
    except Exception as error:  # damaged bytes drive Pillow to anything
        raise ValueError(one_line(error)) from error
    if found.dtype != np.uint8 or found.size != prod(shape):
        raise ValueError(f"a picture has {found.shape} of {found.dtype}")
    return found.reshape(shape)
