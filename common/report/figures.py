"""How a number is written: units, decimals, and a dash where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE = "-"
MEGABYTE = 1e6
SMALLEST_P = 0.001  # smaller p are written as "< 0.001"
LEVELS = (0.05, 0.01)  # what a p is judged by: rounding must not carry it across


def percent(fraction: float | None) -> str:
    """A fraction as "97.50"; the unit stands in the heading."""
    return NONE if fraction is None else f"{100 * fraction:.2f}"


def points(difference: float | None) -> str:
    """A difference of fractions in percentage points, never "-0.00"."""
    if difference is None:
        return NONE
    return f"{round(100 * difference, 2) + 0.0:.2f}"  # + 0.0 makes -0.0 a 0.0


def margin_points(margin: float) -> str:
    """A margin as the user thinks of it: "0.5"."""
    return f"{100 * margin:g}"


def percent_range(interval: Mapping[str, Any]) -> str:
    """An interval of fractions as "96.10 to 98.40"."""
    if interval["low"] is None:
        return NONE
    return f"{percent(interval['low'])} to {percent(interval['high'])}"


def points_range(interval: Mapping[str, Any]) -> str:
    """An interval of differences in points."""
    if interval["low"] is None:
        return NONE
    return f"{points(interval['low'])} to {points(interval['high'])}"


def p_value(p: float) -> str:
    """A p value to two digits: "0.013", "< 0.001".

    To more where two would say that it is on the other side of a level, or on it:
    "0.0498" stands beside a verdict that 0.05 would contradict.
    """
    if p < SMALLEST_P:
        return f"< {SMALLEST_P}"
    digits = 2
    while any((p < x) != (float(f"{p:.{digits}g}") < x) for x in LEVELS):
        digits += 1
    return f"{p:.{digits}g}"


def p_is(p: float) -> str:
    """The same as a statement: "p = 0.013", "p < 0.001"."""
    value = p_value(p)
    return f"p {value}" if value.startswith("<") else f"p = {value}"


def rate(per_second: float | None) -> str:
    """Images per second."""
    return NONE if per_second is None else f"{per_second:,.0f}"


def disk(size: float) -> str:
    """Bytes of files as "180.0 MB", in the largest unit that leaves a whole one."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def megabytes(size: float | None) -> str:
    """Bytes as "512 MB"."""
    return NONE if size is None else f"{size / MEGABYTE:,.0f} MB"


def seconds(time: float | None) -> str:
    """Seconds as "0.41 s"."""
    return NONE if time is None else f"{time:.2f} s"


def count(n: int | str, noun: str) -> str:
    """Say "1 seed", "10,000 test images"; "1 / 2 threads" of two groups of runs."""
    if isinstance(n, str):
        return f"{n} {noun}s"
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(words: list[str]) -> str:
    """Say "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
