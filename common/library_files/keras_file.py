"""Arrays of a file that Keras wrote: .h5, .weights.h5 or .keras, without Keras.

Keras 3's files number a layer's arrays (`layers/conv2d_1/vars/0`), older ones name them
(`conv2d_1/conv2d_1/kernel:0`).  Either way a layer lies in a model, which may lie in
another.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from common.library_files.recognise import AGAIN, ZIP
from common.library_files.stored import Stored, parser

RULE = "a Keras file must be a whole .h5, .weights.h5 or .keras of InceptionV3"
WEIGHTS = "model.weights.h5"  # what a .keras file has them in
VARS, ROOTS = "vars", ("layers", "_layer_checkpoint_dependencies")  # of Keras 3
OLD = "model_weights"  # where a whole model in an older file has its layers
# Beside the layers: what a training goes on from.
BESIDE = ("optimizer", "optimizer_weights", "top_level_model_weights")
Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer with weights.

    Attributes:
        model: The place in the file of the model it lies in.
        place: Its own in the model: its name, or its kind and a number.
        arrays: Their names (their numbers, where Keras numbers them) and where they
            lie.
        named: Its name, where it has one beside its place.
    """

    model: str
    place: str
    arrays: dict[str, Stored]
    named: str = ""


def layers(path: Path) -> tuple[list[Layer], list[str]]:
    """The layers that have weights, and what else is in the file.

    Raises:
        Refused: The file is cut off, damaged, packed or not one of Keras's.
    """
    with parser(path, RULE, AGAIN), ExitStack() as stack:
        source: Any = path
        first = 0
        with path.open("rb") as start:
            zipped = start.read(len(ZIP)) == ZIP
        if zipped:
            archive = stack.enter_context(zipfile.ZipFile(path))
            first = _checked(path, archive)
            source = io.BytesIO(archive.read(WEIGHTS))
        file = stack.enter_context(_opened(source))
        groups = [name for name, _ in _members(file)]
        beside = [name for name in groups if name in BESIDE and len(file[name])]
        read = _numbered if set(ROOTS) & set(groups) else _named
        return list(read(Arrays(path, first), file)), beside


def _opened(source: Any) -> h5py.File:
    try:
        return h5py.File(source)
    except OSError as error:
        if found := re.search(
            r"truncated file: eof = (\d+).*stored_eof = (\d+)", str(error)
        ):
            has, needs = (f"{int(n):,}" for n in found.groups())
            raise ValueError(f"it is cut off: {has} of {needs} bytes") from error
        raise


def _checked(path: Path, archive: zipfile.ZipFile) -> int:
    """Where the HDF5 in a .keras file begins: every byte of the file is what it was."""
    entries = archive.infolist()
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not stored or sum(e.file_size for e in entries) > path.stat().st_size:
        raise ValueError("it is compressed")
    if (bad := archive.testzip()) is not None:
        raise ValueError(f"{bad!r} in it is damaged")
    with path.open("rb") as file:
        file.seek(archive.getinfo(WEIGHTS).header_offset + 26)
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        return file.tell() + name + extra


def _numbered(arrays: Arrays, file: h5py.File) -> Iterator[Layer]:
    """Layers of Keras 3: each is a group that has a group `vars`."""
    found: dict[Parts, dict[str, Stored]] = {}
    for root in ROOTS:
        if root in file:
            for parts, dataset in arrays.below(file[root], (root,)):
                if parts[-2:-1] == (VARS,) and len(parts) > 2:
                    row = found.setdefault(parts[:-2], {})
                    row[parts[-1]] = arrays.stored(parts[-1], dataset)
    for place, row in found.items():
        group = file["/".join((*place, VARS))]
        # Names can be long, each of them the same bytes: few are read.
        few = place[-1].partition("_")[0] == "dense" and "name" in group.attrs
        named = str(group.attrs["name"])[:60] if few else ""
        model = "/".join(place[:-1])
        yield Layer(model=model, place=place[-1], arrays=row, named=named)


def _named(arrays: Arrays, file: h5py.File) -> Iterator[Layer]:
    """Layers of older files: each a group, and so is a model in the model.

    Names are the links'.  Those that Keras lists beside them are only counted: they
    can be long, each of them the same bytes, and an attribute is read as a whole.
    """
    root = file.get(OLD, file)
    _check_list(root, "layer_names")
    for name, group in _members(root):
        if name in BESIDE:
            continue
        inside = list(arrays.below(group, ()))
        if inside:
            _check_list(group, "weight_names", len(inside))
        owners: dict[Parts, dict[str, Stored]] = {}
        for parts, dataset in inside:
            row = owners.setdefault(parts[:-1], {})
            leaf = parts[-1].partition(":")[0]
            if leaf in row:
                raise ValueError(f"{name[:60]!r} has two arrays of one name")
            row[leaf] = arrays.stored(parts[-1], dataset)
        for owner, row in owners.items():
            if len(owners) == 1:
                yield Layer(model="", place=name, arrays=row)
            else:
                yield Layer(model=name, place=(owner or (name,))[-1], arrays=row)


def _members(group: object) -> Iterator[tuple[str, Any]]:
    """What a group has in this file; h5py would follow a link into any other."""
    if not isinstance(group, h5py.Group):
        raise ValueError("there is an array where a group must be")
    for name in group:
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{name[:60]!r} is a link")
        yield name, group[name]


def _check_list(group: h5py.Group, attribute: str, n: int | None = None) -> None:
    """Refuse a group without Keras's list of what is in it."""
    row = group.attrs.get_id(attribute)
    if len(row.shape or ()) != 1 or h5py.check_string_dtype(row.dtype) is None:
        raise ValueError(f"{attribute} must list names, it is {row.dtype} {row.shape}")
    if n not in (None, row.shape[0]):
        raise ValueError(f"{attribute} must list {n} arrays, it lists {row.shape[0]}")


@dataclass(frozen=True, slots=True)
class Arrays:
    """The arrays of an HDF5 that begins `first` bytes into a file."""

    path: Path
    first: int
    seen: set[object] = field(default_factory=set)

    def below(
        self, group: object, place: Parts
    ) -> Iterator[tuple[Parts, h5py.Dataset]]:
        """Every array in a group and its groups, and its place; each is once."""
        waiting = [(place, group)]
        while waiting:
            parts, one = waiting.pop()
            for name, member in _members(one):
                if member in self.seen:
                    raise ValueError(f"{name[:60]!r} is in it twice")
                self.seen.add(member)
                if isinstance(member, h5py.Group):
                    waiting.append(((*parts, name), member))
                else:
                    yield (*parts, name), member

    def stored(self, name: str, array: Any) -> Stored:
        """A plain array, whose values lie in the file in one piece.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(array, h5py.Dataset) or array.shape is None:
            raise ValueError(f"{name[:60]!r} is no array")
        layout = array.id.get_create_plist().get_layout()
        # Chunks can be compressed, to nothing; virtual ones and external are elsewhere.
        if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS) or array.external:
            raise ValueError(f"{name[:60]!r} must lie in the file in one piece")
        kind, shape = array.dtype, array.shape
        if kind.kind == "V" and kind.itemsize == 2:  # how h5py keeps what NumPy lacks
            return self._read(shape, "bfloat16", np.dtype("<u2"), array)
        return self._read(shape, kind.name[:40], kind, array)

    def _read(
        self, shape: tuple[int, ...], dtype: str, kind: np.dtype[Any], array: Any
    ) -> Stored:
        small = array.id.get_create_plist().get_layout() == h5py.h5d.COMPACT
        kept = array[()] if small else None
        place = array.id.get_offset()

        def read() -> NDArray[Any]:
            if kept is not None:
                return np.asarray(kept)
            if place is None:
                raise ValueError("an array was declared and never written")
            n = int(np.prod(shape))
            values = np.fromfile(self.path, kind, n, offset=self.first + place)
            return values.reshape(shape).astype(kind.newbyteorder("="), copy=False)

        return Stored(shape=shape, dtype=dtype, read=read)
