"""Specs and recipes as JSON text and back; nothing but our own records is built."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

from common import inception, recipe, spec, weights
from common.errors import Refused

KNOWN: dict[str, type] = {
    name: kind
    for home in (spec, inception, recipe, weights)
    for name, kind in vars(home).items()
    if is_dataclass(kind) and isinstance(kind, type)
}


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
        Refused: The text is not one, or names a type that is not ours.
    """
    try:
        return _record(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Refused(
            f"a spec must be one that twintrack wrote, got {text[:60]!r} ({error}); "
            "use a file that save() made"
        ) from error


def _record(value: object) -> object:
    if isinstance(value, list):
        return tuple(_record(v) for v in value)
    if not isinstance(value, dict):
        return value
    kind = KNOWN[value["is"]]
    return kind(**{k: _record(v) for k, v in value.items() if k != "is"})
