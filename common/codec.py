"""Specs and recipes as JSON text and back; nothing but our own records is built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from common import inception, recipe, spec, weights
from common.errors import Refused

KNOWN: dict[str, type] = {
    name: kind
    for home in (spec, inception, recipe, weights)
    for name, kind in vars(home).items()
    if is_dataclass(kind) and isinstance(kind, type)
}

# What every field was when it came.  A changed line would make old runs pass for runs
# with the new default: add lines, change none.
PINNED = Path(__file__).parent / "schema" / "defaults.json"
# Types whose fields are judged; a user's own, registered later, judge themselves.
OURS = tuple(KNOWN.values())
SIZES = {"classes", "hidden", "image", "kernel", "out", "stride", "window"}
# Fields of numbers above 0, and those that may be below; the others are 0 or more.
POSITIVE = SIZES | {"divide", "every"}
SIGNED = {"mean", "value"}
LARGEST = 2**31
WIDEST = 2**14  # px a side; a picture of that has 805 MB


def dumps(record: object, *, brief: bool = False) -> str:
    """One line of JSON: {"is": type, field: value, ...}, tuples as lists.

    Args:
        record: A frozen dataclass of numbers, texts, tuples and other such records.
        brief: Leave out the fields that are what they were when they came
            (`schema/defaults.json`): the same text whatever fields are added later.

    Raises:
        Refused: It holds something else, which no text would say all of.
    """
    try:
        return json.dumps(_plain(record, brief=brief), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Refused(
            f"a spec or recipe must be made of numbers, texts, tuples and frozen "
            f"dataclasses, got a {type(record).__name__} with another value ({error}); "
            "use frozen dataclasses"
        ) from error


def _plain(value: object, *, brief: bool = False) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        given = {
            f.name: _plain(getattr(value, f.name), brief=brief) for f in fields(value)
        }
        usual = first_defaults(type(value)) if brief else {}
        rest = {n: v for n, v in given.items() if n not in usual or usual[n] != v}
        return {"is": type(value).__name__} | rest
    if isinstance(value, tuple):
        return [_plain(v, brief=brief) for v in value]
    return value


def defaults(kind: type) -> dict[str, object]:
    """Field -> its default as brief JSON, for those that have one."""
    found: dict[str, object] = {}
    for f in fields(kind):
        if f.default is not MISSING:
            found[f.name] = _plain(f.default, brief=True)
        elif f.default_factory is not MISSING:
            found[f.name] = _plain(f.default_factory(), brief=True)
    return found


def first_defaults(kind: type) -> dict[str, object]:
    """The same as they were when each field came; today's for a user's own type."""
    return defaults(kind) | (pinned().get(kind.__name__, {}) if kind in OURS else {})


def changed_defaults(kind: type) -> dict[str, object]:
    """Those of today that are not what they were when the field came."""
    first = first_defaults(kind)
    return {name: v for name, v in defaults(kind).items() if first[name] != v}


@cache
def pinned() -> dict[str, dict[str, object]]:
    """Type -> field -> its first default: only ever added to."""
    found: dict[str, dict[str, object]] = json.loads(PINNED.read_text())
    return found


def loads(text: str, *, trusted: bool = False) -> Any:
    """The record that `dumps` wrote.

    Args:
        text: What it wrote.
        trusted: Whether it is surely ours, and not from a file that may be anybody's:
            then a field may have any value that its type allows.

    Raises:
        Refused: The text is not one, names a type that is not ours, or gives a field
            what it cannot be.
    """
    try:
        record = _record(json.loads(text), trusted=trusted)
        if not is_dataclass(record):
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


def _record(value: object, *, trusted: bool) -> object:
    if isinstance(value, list):
        return tuple(_record(v, trusted=trusted) for v in value)
    if not isinstance(value, dict):
        return value
    kind = KNOWN[value["is"]]
    given = {k: _record(v, trusted=trusted) for k, v in value.items() if k != "is"}
    if kind in OURS and not trusted:
        _check(kind, given)
    return kind(**given)


def _check(kind: type, given: dict[str, object]) -> None:
    """Refuse fields that their annotations or their names do not allow."""
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


def allows(hint: Any, value: object) -> bool:
    """Whether a value may stand in a field annotated so."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in inner
    if kind in (Union, UnionType):
        return any(allows(choice, value) for choice in inner)
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(allows(inner[0], item) for item in value)
        pairs = zip(inner, value, strict=False)
        return len(value) == len(inner) and all(allows(h, v) for h, v in pairs)
    if hint is float:
        return type(value) in (int, float)
    if getattr(hint, "_is_protocol", False):
        return type(value) in KNOWN.values() and isinstance(value, hint)
    return type(value) is hint
