"""Tensors of a file that torch.save wrote, without torch.

A pickle is a program.  This one is read by a machine that knows how a dict of tensors
is made and nothing else: whatever else it names becomes a `Named`, which is inert.  So
a checkpoint with an optimizer, or with objects of the user's own, can be looked into.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from common.library_files.recognise import STATE
from common.library_files.stored import Stored, parser

DEEP = 3  # dicts in dicts that are looked into
PICKLES = 3  # that an old file has before the one with its tensors
DTYPES = {
    "BFloat16Storage": "bfloat16",
    "HalfStorage": "float16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
REBUILDS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
PARAMETERS = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
)
DICTS = ("collections.OrderedDict", "collections.defaultdict")
Order = Literal["<", ">"]
CURE = f"download or copy it again, or write it with {STATE}"


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """What a pickle names and nobody makes: a class, a function, or what it gives."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A row of numbers in the file."""

    dtype: str
    key: str
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A tensor: where in its storage each of its numbers is."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    negated: bool = False

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        whole = all(type(n) is int and n >= 0 for n in numbers)
        if not whole or len(self.shape) != len(self.strides):
            raise ValueError("it has a tensor of odd numbers")


class Machine:
    """Makes what a pickle says, of plain values, dicts, lists and tensors."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, source: bytes | BinaryIO) -> Any:
        """What the pickle stands for.

        Raises:
            ValueError: It is cut off, or says what no state dict needs.
        """
        for code, argument, _ in pickletools.genops(source):
            if code.name == "STOP":
                return self.stack.pop()
            self.step(code.name, argument)
        raise ValueError("it has no end")

    def step(self, name: str, argument: Any) -> None:
        """One instruction."""
        if name in ("PROTO", "FRAME"):
            return
        if name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif "PUT" in name or name == "MEMOIZE":
            at = len(self.memo) if argument is None else int(argument)
            self.memo[at] = self.stack[-1]
        elif "GET" in name:
            self.stack.append(self.memo[int(argument)])
        elif name in STEPS:
            STEPS[name](self)
        elif name in ("GLOBAL", "INST"):
            if name == "INST":
                self.marked()
            self.stack.append(Named(argument.replace(" ", ".")))
        elif name in PLAIN:
            self.stack.append(argument)
        else:
            raise ValueError(f"it has a {name}")

    def marked(self) -> list[Any]:
        """What is above the last mark, taken off."""
        above, self.stack = self.stack, self.below.pop()
        return above

    def push(self, value: Any) -> None:
        """A value on top of what is the stack by now."""
        self.stack.append(value)

    def mark(self) -> None:
        """Begin a new part of the stack."""
        self.below.append(self.stack)
        self.stack = []

    def several(self, n: int) -> None:
        """A tuple of the last n."""
        at = len(self.stack) - n
        self.stack[at:] = [tuple(self.stack[at:])]

    def put(self, row: list[Any]) -> None:
        """Keys and values into the dict below them."""
        if isinstance(target := self.stack[-1], dict):
            for key, value in zip(row[::2], row[1::2], strict=True):
                # A tuple of tuples can take forever to be hashed.
                plain = isinstance(key, str | int | float | bytes | None)
                target[key if plain else Named("a key")] = value

    def put_new(self, row: list[Any]) -> None:
        """A dict of keys and values."""
        self.stack.append({})
        self.put(row)

    def extend(self, row: list[Any]) -> None:
        """Values onto the list below them."""
        if isinstance(target := self.stack[-1], list):
            target.extend(row)

    def call(self, arguments: int = 1) -> None:
        """A function or class and its arguments become what it would give."""
        taken = [self.stack.pop() for _ in range(arguments)]
        what = self.stack.pop()
        if isinstance(what, Named) and what.name in DICTS:
            pairs = taken[-1][0] if taken[-1] and taken[-1][0] else []
            self.put_new([one for pair in pairs for one in pair])
        else:
            self.stack.append(made(what, taken[-1]))

    def named(self) -> None:
        """A module and a name of it."""
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("it names something without a name")
        self.stack.append(Named(f"{module}.{name}"[:200]))

    def storage(self) -> None:
        """A persistent id: ("storage", its class, its key, its place, its length)."""
        what, kind, key, _, n, *_ = self.stack.pop()
        dtype = DTYPES.get(kind.name.rpartition(".")[2]) if kind else None
        whole = isinstance(key, str) and type(n) is int and n >= 0
        if what != "storage" or not dtype or not whole:
            raise ValueError("it has a storage of a kind that is not known")
        found = Storage(dtype, key, n)
        self.stack.append(self.storages.setdefault(found.key, found))


EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": lambda: Named("set"),
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "BYTEARRAY8": lambda: Named("bytearray"),
}
# BININT, SHORT_BINUNICODE and the like: what is read is the value.
PLAIN = {
    code.name
    for code in pickletools.opcodes
    if code.arg is not None
    and re.fullmatch(
        r"(SHORT_)?(BIN)?(INT[12]?|LONG[14]?|FLOAT|STRING|UNICODE8?|BYTES8?)", code.name
    )
}
STEPS = {
    "MARK": Machine.mark,
    "POP": lambda m: m.stack.pop() if m.stack else m.marked(),
    "POP_MARK": Machine.marked,
    "DUP": lambda m: m.push(m.stack[-1]),
    "TUPLE": lambda m: m.push(tuple(m.marked())),
    "TUPLE1": lambda m: m.several(1),
    "TUPLE2": lambda m: m.several(2),
    "TUPLE3": lambda m: m.several(3),
    "LIST": lambda m: m.push(m.marked()),
    "DICT": lambda m: m.put_new(m.marked()),
    "APPEND": lambda m: m.extend([m.stack.pop()]),
    "APPENDS": lambda m: m.extend(m.marked()),
    "SETITEM": lambda m: m.put([m.stack.pop(), m.stack.pop()][::-1]),
    "SETITEMS": lambda m: m.put(m.marked()),
    "ADDITEMS": Machine.marked,
    "FROZENSET": lambda m: m.push(Named(f"a set of {len(m.marked())}")),
    "STACK_GLOBAL": Machine.named,
    "REDUCE": Machine.call,
    "NEWOBJ": Machine.call,
    "NEWOBJ_EX": lambda m: m.call(2),
    "OBJ": lambda m: m.push(made(m.marked()[0], ())),
    "BUILD": lambda m: m.stack.pop(),
    "BINPERSID": Machine.storage,
}


def made(what: Any, arguments: Any) -> Any:
    """What a named function gives: a tensor, or nothing that lives."""
    name = what.name if isinstance(what, Named) else type(what).__name__
    if name in REBUILDS:
        storage, offset, shape, strides, *rest = arguments
        if not isinstance(storage, Storage):
            raise ValueError("it has a tensor without a storage")
        said = next((row for row in rest if isinstance(row, dict) and row), {})
        return View(
            storage, offset, tuple(shape), tuple(strides), bool(said.get("neg"))
        )
    if name in PARAMETERS:
        return arguments[0]
    return Named(name)


def contents(path: Path) -> tuple[Any, dict[int, Stored]]:
    """What a file holds, and each of its tensors by the id of its `View`.

    Raises:
        Refused: It is cut off, damaged, compressed, or says what no state dict needs.
    """
    with parser(path, "a torch file must be a whole state dict of tensors", CURE):
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            zipped = file.read(2) == b"PK"
        machine = Machine()
        read = _zipped if zipped else _legacy
        found, places, order = read(path, mapped, machine)
        stored = {
            id(view): _stored(view, places, mapped, order) for view in views(found)
        }
    return found, stored


def _zipped(
    path: Path, mapped: mmap.mmap, machine: Machine
) -> tuple[Any, dict[str, tuple[int, int]], Order]:
    """What is in the zip, storage -> where it begins and its bytes, the byte order."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if not stored or sum(e.file_size for e in entries) > len(mapped):
            raise ValueError("it is compressed")
        if (bad := archive.testzip()) is not None:
            raise ValueError(f"{bad!r} in it is damaged")
        (name,) = (
            e.filename for e in entries if e.filename.rpartition("/")[2] == "data.pkl"
        )
        folder = name.removesuffix("data.pkl")
        order: Order = ">" if _word(archive, f"{folder}byteorder") == b"big" else "<"
        found = machine.run(archive.read(name))
    places = {
        entry.filename.removeprefix(f"{folder}data/"): (
            _data(entry, mapped),
            entry.file_size,
        )
        for entry in entries
    }
    return found, places, order


def _word(archive: zipfile.ZipFile, name: str) -> bytes:
    return archive.read(name) if name in archive.namelist() else b""


def _data(entry: zipfile.ZipInfo, mapped: mmap.mmap) -> int:
    """Where the bytes of an entry begin: behind its own header, name and extras."""
    lengths = mapped[entry.header_offset + 26 : entry.header_offset + 30]
    name, extra = (int.from_bytes(lengths[i : i + 2], "little") for i in (0, 2))
    return entry.header_offset + 30 + name + extra


def _legacy(
    path: Path, mapped: mmap.mmap, machine: Machine
) -> tuple[Any, dict[str, tuple[int, int]], Order]:
    """The same of the format before zips: pickles, then the storages in a row."""
    source = cast(BinaryIO, mapped)
    *_, about = [Machine().run(source) for _ in range(PICKLES)]
    little = not isinstance(about, dict) or about.get("little_endian", True)
    found = machine.run(source)
    places = {}
    for key in Machine().run(source):
        storage = machine.storages[str(key)]
        n = int.from_bytes(mapped.read(8), "little" if little else "big")
        size = n * np.dtype(_numpy(storage.dtype)).itemsize
        places[storage.key] = (mapped.tell(), size)
        if n != storage.n or mapped.tell() + size > len(mapped):
            raise ValueError("it is cut off or damaged")
        mapped.seek(size, 1)
    return found, places, "<" if little else ">"


def _numpy(dtype: str) -> str:
    return "uint16" if dtype == "bfloat16" else dtype


def _stored(
    view: View,
    places: dict[str, tuple[int, int]],
    mapped: mmap.mmap,
    order: Order,
) -> Stored:
    """Where a tensor's numbers are, all of them in its storage."""
    kind = np.dtype(_numpy(view.storage.dtype)).newbyteorder(order)
    begin, size = places[view.storage.key]
    last = view.offset + sum(
        (side - 1) * stride
        for side, stride in zip(view.shape, view.strides, strict=True)
    )
    if prod(view.shape) and (last + 1) * kind.itemsize > size:
        raise ValueError("it has a tensor that reaches beyond its storage")

    def read() -> NDArray[Any]:
        row = np.frombuffer(mapped, np.uint8, size, begin).view(kind)
        steps = tuple(stride * kind.itemsize for stride in view.strides)
        values = np.lib.stride_tricks.as_strided(row[view.offset :], view.shape, steps)
        values = values.astype(kind.newbyteorder("="), order="C")
        return -values if view.negated else values

    return Stored(shape=view.shape, dtype=view.storage.dtype, read=read)


def views(found: Any) -> Iterator[View]:
    """Every tensor in dicts, lists and tuples; each of those is looked into once."""
    waiting, seen = [found], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, View):
            yield one
        elif isinstance(one, dict | list | tuple) and id(one) not in seen:
            seen.add(id(one))
            waiting.extend(one.values() if isinstance(one, dict) else one)


def dicts(found: Any) -> Iterator[tuple[tuple[str, ...], dict[Any, Any]]]:
    """Every dict with names for its values, the outer first, and the keys to it."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), found)]
    seen: set[int] = set()
    while waiting:
        path, one = waiting.pop(0)
        if isinstance(one, dict) and id(one) not in seen:
            seen.add(id(one))
            yield path, one
            if len(path) == DEEP:
                continue
            inner = ((key, v) for key, v in one.items() if isinstance(v, dict))
            waiting += [((*path, str(key)[:60]), value) for key, value in inner]
