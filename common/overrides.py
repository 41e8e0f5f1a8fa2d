"""`--set recipe.lr=0.05`: a frozen record with some fields changed, by name."""

from __future__ import annotations

import ast
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

from common import codec
from common.errors import Refused


def apply(record: Any, root: str, overrides: tuple[str, ...]) -> Any:
    """`record` with each "root.field=value" of `overrides` made.

    A path may go on into records ("recipe.optimizer.momentum") and layers
    ("spec.layers.conv1.stride"); a value is a Python literal, a record such as
    `Norm(eps=1e-5)`, or a bare word.

    Raises:
        Refused: A path names no field, or a text is no override.
    """
    for text in overrides:
        path, equals, value = text.partition("=")
        head, *rest = path.strip().split(".")
        if not equals or head not in ("spec", "recipe") or not rest:
            raise Refused(
                f"--set takes spec.field=value or recipe.field=value, got {text!r}; "
                "for example recipe.lr=0.05"
            )
        if head == root:
            record = _with(record, rest, _value(value.strip(), text), path.strip())
    return record


def _with(record: Any, path: list[str], value: object, whole: str) -> Any:
    if isinstance(record, tuple):
        raise Refused(f"--set cannot go into {whole}; give the whole field")
    name, *rest = path
    choices = [f.name for f in fields(record)] if is_dataclass(record) else []
    if name not in choices:
        near = get_close_matches(name, choices, n=1, cutoff=0.0)
        hint = f"the nearest is {near[0]}" if near else "it has no fields"
        raise Refused(f"--set needs a field that exists, got {whole}; {hint}")
    old = getattr(record, name)
    if rest and name == "layers":
        value = _layers(record, rest, value, whole)
    elif rest:
        value = _with(old, rest, value, whole)
    else:
        value = _fitting(get_type_hints(type(record))[name], old, value, whole)
    return replace(record, **{name: value})


def _layers(spec: Any, path: list[str], value: object, whole: str) -> tuple[Any, ...]:
    """The layers of a spec with a field of the one named by `path[0]` changed."""
    name, *rest = path
    if name not in spec.names or not rest:
        near = get_close_matches(name, spec.names, n=1, cutoff=0.0)[0]
        raise Refused(
            f"--set needs a layer and its field, got {whole}; the nearest is {near}"
        )
    at = spec.names.index(name)
    changed = _with(spec.layers[at], rest, value, whole)
    return (*spec.layers[:at], changed, *spec.layers[at + 1 :])


def _fitting(hint: Any, old: object, value: object, whole: str) -> object:
    """`value`, if the field's type allows it; whole numbers for floats are made so."""
    if hint is float and type(value) is int:
        return float(value)
    if not codec.allows(hint, value):
        raise Refused(
            f"--set {whole} takes {_kind(hint)} such as {old!r}, got {value!r}"
        )
    return value


def _kind(hint: Any) -> str:
    """A type in words a user can act on."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    return (
        str(getattr(hint, "__name__", hint)) if get_origin(hint) is None else str(hint)
    )


def _value(text: str, whole: str) -> object:
    try:
        return _node(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"--set takes a number, a word, a tuple or a record such as Norm(eps=1e-5)"
            f", got {whole!r} ({error}); correct the value"
        ) from error


def _node(node: ast.expr) -> object:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Tuple):
        return tuple(_node(item) for item in node.elts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        kind = codec.KNOWN[node.func.id]
        named = {word.arg: _node(word.value) for word in node.keywords if word.arg}
        return kind(*(_node(item) for item in node.args), **named)
    return ast.literal_eval(node)
