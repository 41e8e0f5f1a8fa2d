"""Tensors of a safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.library_files.recognise import AGAIN
from common.library_files.stored import Stored, parser

# What the header calls a type -> its name; bfloat16 is read as uint16.
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
LENGTH = 8  # bytes that say how long the header is


def tensors(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """Name -> tensor, and what the header says beside them.

    Raises:
        Refused: The file is cut off or damaged.
    """
    with parser(path, "a safetensors file must be whole", AGAIN):
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            if LENGTH + length > size:
                raise ValueError(
                    f"its header says {length:,} bytes, the file has {size:,}"
                )
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError(f"its header is a {type(header).__name__}")
        about = header.pop("__metadata__", {})
        found = {
            name: _stored(path, name, row, LENGTH + length, size)
            for name, row in header.items()
        }
        if not isinstance(about, dict):
            raise ValueError("its header says nothing of itself in words")
        return found, about


def _stored(path: Path, name: str, row: Any, first: int, size: int) -> Stored:
    shape = tuple(row["shape"])
    begin, end = row["data_offsets"]
    numbers = (begin, end, *shape)
    if not all(type(n) is int and n >= 0 for n in numbers) or end < begin:
        raise ValueError(f"{name[:60]!r} has odd numbers")
    if first + end > size:
        raise ValueError(
            f"{name[:60]!r} ends at byte {first + end:,}, the file has {size:,}"
        )
    dtype = DTYPES.get(row["dtype"], str(row["dtype"])[:20])
    made = (
        np.dtype("uint16" if dtype == "bfloat16" else dtype)
        if (row["dtype"] in DTYPES)
        else None
    )
    count = 1
    for side in shape:
        count *= side
    if made and count * made.itemsize != end - begin:
        raise ValueError(f"{name[:60]!r} has {end - begin:,} bytes for shape {shape}")

    def read() -> NDArray[Any]:
        values = np.fromfile(path, made, count, offset=first + begin)
        return values.reshape(shape)

    return Stored(shape=shape, dtype=dtype, read=read)
