"""Specs and recipes as JSON text and back; nothing but our own records is built."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
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
SIGNED = {"down", "mean", "right", "value"}
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
        plain = _plain(record, brief=brief)
        return json.dumps(plain, allow_nan=False, sort_keys=brief)
    except (TypeError, ValueError) as error:
        raise Refused(
            f"a spec or recipe must be made of numbers, texts, tuples and frozen "
            f"dataclasses, got a {type(record).__name__} with another value ({error}); "
            "use frozen dataclasses"
        ) from error


def _plain(value: object, *, brief: bool = False) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        if not _same(known := KNOWN.get(kind.__name__, kind), kind):
            raise Refused(
                f"a record's type must have a name of its own, got {kind.__name__} of "
                f"{kind.__module__} and of {known.__module__}; rename one"
            )
        given = {
            f.name: _plain(getattr(value, f.name), brief=brief)
            for f in fields(value)
            if f.init
        }
        usual = first_defaults(kind) if brief else {}
        rest = {n: v for n, v in given.items() if n not in usual or usual[n] != v}
        return {"is": kind.__name__} | rest
    if isinstance(value, tuple):
        return [_plain(v, brief=brief) for v in value]
    if value is not None and not isinstance(value, bool | int | float | str):
        raise TypeError(f"a {type(value).__name__} is none of these")
    return value


def defaults(kind: type) -> dict[str, object]:
    """Field -> its default as brief JSON, for those that have one."""
    return {name: _plain(v, brief=True) for name, v in _defaults(kind).items()}


def default_values(kind: type) -> tuple[object, ...]:
    """The defaults themselves."""
    return tuple(_defaults(kind).values())


def _defaults(kind: type) -> dict[str, object]:
    found: dict[str, object] = {}
    for f in fields(kind):
        if f.default is not MISSING:
            found[f.name] = f.default
        elif f.default_factory is not MISSING:
            found[f.name] = f.default_factory()
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


def types_of(values: Sequence[object]) -> tuple[type, ...]:
    """The types of records and of all records in them, each once."""
    found: dict[type, None] = {}
    todo = list(values)
    while todo:
        value = todo.pop(0)
        if isinstance(value, tuple):
            todo += value
        elif is_dataclass(value) and not isinstance(value, type):
            found[type(value)] = None
            todo += [getattr(value, f.name) for f in fields(value)]
    return tuple(found)


def learn(kinds: Iterable[type]) -> None:
    """Have `loads` know a user's own records, but for names that are taken.

    (`dumps` refuses a record whose type's name means another type.)
    """
    for kind in kinds:
        if _same(KNOWN.setdefault(kind.__name__, kind), kind):
            KNOWN[kind.__name__] = kind


def _same(one: type, other: type) -> bool:
    """Whether two types are one, or one that was imported twice."""
    names = [(kind.__module__, kind.__qualname__) for kind in (one, other)]
    return names[0] == names[1]


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
    kind = KNOWN.get(value["is"])
    if kind is None:
        raise LookupError(f"{value['is']} is not ours and in no registered module")
    given = {k: _record(v, trusted=trusted) for k, v in value.items() if k != "is"}
    if kind in OURS and not trusted:
        check(kind, given)
    return kind(**given)


def check(kind: type, given: dict[str, object]) -> None:
    """Refuse fields of a type of ours that annotations or names do not allow.

    Raises:
        TypeError, ValueError: In one line.
    """
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
