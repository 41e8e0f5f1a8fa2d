"""Whether a result has the form that its schema says, decided without a library.

A finding may be of another version of its command.  Whether it is decides its schema,
not an error while it is shown: that would be a fault of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any

Schema = Mapping[str, Any]
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


class Unlike(ValueError):
    """A result has another form than this version's command writes; says where."""


@contextmanager
def of_this_version(kind: str, result: object) -> Iterator[None]:
    """While open, the result is read: what fails is its form's fault, or ours.

    Raises:
        Unlike: Reading failed, and the result is not as its schema says.
    """
    try:
        yield
    except Exception as error:
        if where := unlike(kind, result):
            raise Unlike(where) from error
        raise


@cache
def schema_of(kind: str) -> Schema | None:
    """The schema of what `twintrack KIND --json` writes, or none."""
    path = files("common") / "schema" / f"{kind}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def unlike(kind: str, result: object) -> str:
    """Where a result first has another form than its schema says; "" for nowhere.

    Bounds and patterns are not looked at: a table can show any number and any text.
    """
    schema = schema_of(kind)
    if schema is None:
        return ""
    return next(_misfits(result, schema, schema, "the result"), "")


def _misfits(value: object, schema: Schema, root: Schema, at: str) -> Iterator[str]:
    """What does not fit, the outermost first."""
    if "$ref" in schema:
        *_, name = schema["$ref"].split("/")
        yield from _misfits(value, root["$defs"][name], root, at)
    for part in schema.get("allOf", ()):
        yield from _misfits(value, part, root, at)
    if not _of_type(value, schema.get("type")):
        yield f"{at} is a {type(value).__name__}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at} is {value!r}"
    if "not" in schema and not any(_misfits(value, schema["not"], root, at)):
        yield f"{at} has what it must not have"
    if forms := schema.get("oneOf"):
        fitting = (not any(_misfits(value, form, root, at)) for form in forms)
        if sum(fitting) != 1:
            yield f"{at} has none of its forms"
    if isinstance(value, Mapping):
        yield from _object(value, schema, root, at)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from _array(value, schema, root, at)


def _of_type(value: object, names: str | Sequence[str] | None) -> bool:
    if names is None:
        return True
    wanted = (names,) if isinstance(names, str) else names
    if isinstance(value, bool):  # which Python takes for an integer
        return "boolean" in wanted
    return any(isinstance(value, TYPES[name]) for name in wanted)


def _object(
    value: Mapping[str, Any], schema: Schema, root: Schema, at: str
) -> Iterator[str]:
    yield from (
        f"{at} has no {key}" for key in schema.get("required", ()) if key not in value
    )
    if len(value) < schema.get("minProperties", 0):
        yield f"{at} is empty"
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for key, part in value.items():
        form = known.get(key, others)
        if isinstance(form, Mapping):
            yield from _misfits(part, form, root, f"{at}, {key}")


def _array(
    value: Sequence[Any], schema: Schema, root: Schema, at: str
) -> Iterator[str]:
    if (
        not schema.get("minItems", 0)
        <= len(value)
        <= schema.get("maxItems", len(value))
    ):
        yield f"{at} has {len(value)} parts"
    for k, part in enumerate(value):
        yield from _misfits(part, schema.get("items", {}), root, f"{at}, {k + 1}.")
