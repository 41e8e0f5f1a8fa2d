"""Where in a library's file a network's weights lie, and what was understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.inception import FEATURES, InceptionSpec
from common.library_files.stored import FLOATING, Stored
from common.weights import check_names

IMAGE = (299, 299, 3)  # what both libraries' weights were trained on
BASE = "no last layer"
SHOWN = 8  # names in a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where in a file each weight of a network lies, and what was understood."""

    library: str
    spec: InceptionSpec
    rows: dict[str, Stored]
    said: tuple[str, ...]


def check(spec: InceptionSpec, rows: dict[str, Stored], *, base: bool) -> None:
    """Refuse rows that are not the spec's, or no floats."""
    expected = {
        name: record.shape
        for name, record in spec.weights.items()
        if not (base and name.startswith("fc."))
    }
    for name, row in rows.items():
        if row.dtype not in FLOATING:
            raise ValueError(f"{name!r} must be floating, it is {row.dtype}")
    check_names(expected, rows)  # type: ignore[arg-type]  # of shapes alone


def left_out(left: Mapping[str, Stored], *, base: bool) -> list[str]:
    """Lines for what is no part of the network."""
    words = []
    if base:
        words.append(
            f"{BASE}: imported as a base, whose answers are {FEATURES:,} features"
        )
    if left:
        each = [f"{key} {'x'.join(map(str, row.shape))}" for key, row in left.items()]
        words.append(f"left out: {listed(each)}")
    return words


def listed(names: list[str]) -> str:
    """Names in a line: the first few, and how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:60] for name in names[:SHOWN]) + more
