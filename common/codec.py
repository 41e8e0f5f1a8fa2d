"""Specs and recipes as JSON text and back; nothing but our own records is built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any, get_type_hints

from common import inception, recipe, spec, weights
from common.errors import Refused

KNOWN: dict[str, type] = {
    name: kind
    for home in (spec, inception, recipe, weights)
    for name, kind in vars(home).items()
    if is_dataclass(kind) and isinstance(kind, type)
}

# Types whose fields are judged; a user's own, registered later, judge themselves.
OURS = tuple(KNOWN.values())
SIZES = {"classes", "hidden", "image", "kernel", "out", "stride", "window"}
# Fields of numbers above 0, and those that may be below; the others are 0 or more.
POSITIVE = SIZES | {"divide", "every"}
SIGNED = {"mean", "value"}
LARGEST = 2**31
WIDEST = 2**14  # px a side; a picture of that has 805 MB


def dumps(record: object) -> str:
    """One line of JSON: {"is": type, field: value, ...}, tuples as lists."""
    return json.dumps(_plain(record), allow_nan=False)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        rest = {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        return {"is": type(value).__name__} | rest
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def loads(text: str) -> Any:
    """The record that `dumps` wrote.

    Raises:
        Refused: The text is not one, names a type that is not ours, or gives a field
            what it cannot be.
    """
    try:
        if not is_dataclass(record := _record(json.loads(text))):
            raise ValueError(f"it is a {type(record).__name__}")
    # A record of odd numbers divides by zero or runs off its end while it is built.
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        said = " ".join(str(error).split())[:200]
        raise Refused(
            f"a spec must be one that twintrack wrote, got {text[:60]!r} ({said}); "
            "use a file that save() made"
        ) from error
    return record


def _record(value: object) -> object:
    if isinstance(value, list):
        return tuple(_record(v) for v in value)
    if not isinstance(value, dict):
        return value
    kind = KNOWN[value["is"]]
    given = {k: _record(v) for k, v in value.items() if k != "is"}
    if kind in OURS:
        _check(kind, given)
    return kind(**given)


def _check(kind: type, given: dict[str, object]) -> None:
    """Refuse fields that their annotations or their names do not allow."""
    from common.overrides import allows  # it is built on this module

    hints = get_type_hints(kind)
    for name, value in given.items():
        if name not in hints or not allows(hints[name], value):
            raise TypeError(f"{kind.__name__}.{name} cannot be {value!r}")
        largest = WIDEST if name == "image" else LARGEST
        for number in _numbers(value):
            low = -largest if name in SIGNED else 0
            fits = isfinite(number) and low <= number <= largest
            if not fits or (name in POSITIVE and number == 0):
                raise ValueError(f"{kind.__name__}.{name} cannot have {number}")


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
