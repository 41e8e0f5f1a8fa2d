"""A tensor that lies in a file and has not been read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import Refused
from common.weights import Shape

FLOATING = ("bfloat16", "float16", "float32", "float64")
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A tensor that lies in a file.

    Attributes:
        shape: As the file says.
        dtype: Its name; NumPy has no bfloat16.
        read: Its values as they lie there; bfloat16 as uint16.
    """

    shape: Shape
    dtype: str
    read: Callable[[], NDArray[Any]]

    @property
    def bytes(self) -> int:
        """What its values would take, if they lay side by side."""
        return prod(self.shape) * BYTES.get(self.dtype, 0)

    def moved(self, axes: tuple[int, ...]) -> Stored:
        """The same with its axes in another order."""
        shape = tuple(self.shape[axis] for axis in axes)
        return replace(self, shape=shape, read=lambda: self.read().transpose(axes))

    def without_first(self) -> Stored:
        """The same without the first place of its last axis."""
        shape = (*self.shape[:-1], self.shape[-1] - 1)
        return replace(self, shape=shape, read=lambda: self.read()[..., 1:])

    def values(self, name: str) -> NDArray[np.float32]:
        """A copy in float32, of values that are finite and stay what they are.

        Raises:
            ValueError: They are not.
        """
        raw = np.asarray(self.read())
        if self.dtype == "bfloat16" and raw.dtype == np.uint16:
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        if not np.isfinite(raw).all():
            raise ValueError(f"{name} has values that are not finite")
        with np.errstate(over="ignore"):
            single = np.array(raw, np.float32, order="C")
        if raw.dtype.itemsize > 4 and not np.array_equal(single, raw):
            raise ValueError(f"{name} is {self.dtype} and would be rounded to float32")
        return single


@contextmanager
def parser(path: Path, what: str, cure: str) -> Iterator[None]:
    """Around what reads a file's bytes, and nothing else.

    Raises:
        Refused: Whatever it raised, in a line.
    """
    try:
        yield
    except Refused:
        raise
    except Exception as error:  # a parser that is fed hostile bytes raises anything
        said = str(error).strip()
        said = said.splitlines()[0][:200] if said else type(error).__name__
        raise Refused(f"{what}, {path} is not ({said}); {cure}") from error
