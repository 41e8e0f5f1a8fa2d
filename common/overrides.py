"""`--set recipe.lr=0.05`: a frozen record with some fields changed, by name."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from inspect import getdoc
from itertools import product
from keyword import iskeyword
from math import isfinite
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from common import codec
from common.errors import Refused
from common.recipe import Recipe

ROOTS = ("spec", "recipe")
DEEPEST = 2_000  # characters of a value: deeper ones would overflow the parser's stack
MOST_ROWS = 1_000  # of a sweep
FROM_DATA = ("spec.image", "spec.classes")  # the data say them

# What other libraries call a field -> ours; a field of the same name needs no line.
SYNONYMS = {
    "learningrate": ("recipe.lr",),
    "lr": ("recipe.lr",),
    "rate": ("recipe.lr",),
    "eta": ("recipe.lr",),
    "batchsize": ("recipe.batch",),
    "minibatchsize": ("recipe.batch",),
    "bs": ("recipe.batch",),
    "numepochs": ("recipe.epochs",),
    "nepochs": ("recipe.epochs",),
    "maxepochs": ("recipe.epochs",),
    "epoch": ("recipe.epochs",),
    "optim": ("recipe.optimizer",),
    "opt": ("recipe.optimizer",),
    "optimiser": ("recipe.optimizer",),
    "momentum": ("recipe.optimizer.momentum",),
    "beta": ("recipe.optimizer.beta1",),
    "epsilon": ("recipe.optimizer.eps",),
    "weightdecay": ("recipe.decay.rate", "recipe.decay"),
    "wd": ("recipe.decay.rate", "recipe.decay"),
    "l2": ("recipe.decay.rate", "recipe.decay"),
    "labelsmoothing": ("recipe.smoothing",),
    "clipnorm": ("recipe.clip",),
    "gradclip": ("recipe.clip",),
    "gradientclip": ("recipe.clip",),
    "maxgradnorm": ("recipe.clip",),
    "scheduler": ("recipe.schedule",),
    "lrscheduler": ("recipe.schedule",),
    "lrschedule": ("recipe.schedule",),
    "ema": ("recipe.average",),
    "classweight": ("recipe.class_weights",),
    "weights": ("recipe.class_weights",),
    "augmentation": ("recipe.augment",),
    "hflip": ("recipe.augment.flip",),
    "horizontalflip": ("recipe.augment.flip",),
    "randomflip": ("recipe.augment.flip",),
    "droplast": ("recipe.drop_last",),
    "dropoutrate": ("spec.dropout",),
    "pdropout": ("spec.dropout",),
    "hiddensizes": ("spec.hidden",),
    "hiddenlayers": ("spec.hidden",),
    "hiddenunits": ("spec.hidden",),
    "units": ("spec.hidden",),
    "widths": ("spec.hidden",),
    "initializer": ("spec.init",),
    "initialiser": ("spec.init",),
    "kernelinitializer": ("spec.init",),
    "biasinitializer": ("spec.bias_init",),
    "batchnorm": ("spec.norm",),
    "bn": ("spec.norm",),
    "normalization": ("spec.norm",),
    "cropsize": ("spec.crop",),
}
# What other libraries call a record.
RECORDS = {"he": "HeNormal", "kaiming": "HeNormal", "batchnorm": "Norm"}
RECORDS |= {"glorot": "GlorotUniform", "xavier": "GlorotUniform"}
# What takes more than one line: all of them are to be typed.
TOGETHER = {
    "adamw": (
        "recipe.optimizer=Adam()",
        "recipe.decay=Decay(rate=0.01, kind=decoupled)",
    ),
    "nesterov": ("recipe.optimizer=SGD(momentum=0.9, nesterov=True)",),
}
WORDS = {"true": "True", "false": "False", "none": "None", "null": "None"}


class Wrong(Refused):
    """An override that cannot be made; `rule` is its refusal without what to do."""

    def __init__(self, rule: str, cure: str) -> None:
        super().__init__(f"{rule}; {cure}" if cure else rule)
        self.rule = rule


def applied(spec: Any, recipe: Any, overrides: Sequence[str]) -> tuple[Any, Any]:
    """Spec and recipe with each "root.field=value" of `overrides` made.

    A path may go on into records ("recipe.optimizer.momentum") and layers
    ("spec.layers.conv1.stride"); a value is a Python literal, a record such as
    `Norm(eps=1e-5)`, or a bare word.

    Raises:
        Refused: A path names no field, or a text is no override; where what was meant
            is clear, the line to type is in it.
    """
    for text in overrides:
        try:
            spec, recipe = _applied(spec, recipe, text)
        except Wrong as error:
            value = _plain(text.partition("=")[2].strip().removesuffix("()"))
            together = TOGETHER.get(value, ())
            if lines := together or meant(spec, recipe, text):
                said = [f"--set {shlex.quote(line)}" for line in lines]
                cure = (" " if together else " or ").join(said)
                raise Refused(f"{error.rule}; write {cure}") from error
            raise
    return spec, recipe


def _applied(spec: Any, recipe: Any, text: str) -> tuple[Any, Any]:
    path, equals, value = text.partition("=")
    root, *rest = path.strip().split(".")
    if not equals or root not in ROOTS or not rest:
        raise Wrong(
            f"--set takes spec.field=value or recipe.field=value, got {text[:80]!r}",
            "for example recipe.lr=0.05",
        )
    found = _value(value.strip(), text)
    if root == "spec":
        return _with(spec, rest, found, path.strip()), recipe
    return spec, _with(recipe, rest, found, path.strip())


def _with(record: Any, path: list[str], value: object, whole: str) -> Any:
    if isinstance(record, tuple):
        raise Wrong(f"--set cannot go into {whole[:80]}", "give the whole field")
    name, *rest = path
    choices = [f.name for f in fields(record)] if is_dataclass(record) else []
    if name not in choices:
        near = get_close_matches(name[:80], choices, n=1, cutoff=0.0)
        hint = f"the nearest is {near[0]}" if near else "it has no fields"
        raise Wrong(f"--set needs a field that exists, got {whole[:80]}", hint)
    old, kind = getattr(record, name), type(record)
    if rest and name == "layers":
        value = _layers(record, rest, value, whole)
    elif rest:
        value = _with(old, rest, value, whole)
    else:
        value = _fitting(get_type_hints(kind)[name], old, value, whole)
    _check(kind, {name: value}, whole)
    return replace(record, **{name: value})


def _check(kind: type, given: dict[str, Any], whole: str) -> None:
    """Refuse numbers that a field of ours cannot have, in the records of it too."""
    for value in given.values():
        for inner in value if isinstance(value, tuple) else (value,):
            if is_dataclass(inner) and not isinstance(inner, type):
                named = {f.name: getattr(inner, f.name) for f in fields(inner)}
                _check(type(inner), named, whole)
    try:
        if kind in codec.OURS and kind is not Recipe:  # which judges itself
            codec.check(kind, given)
    except (TypeError, ValueError) as error:
        raise Wrong(f"--set {whole[:80]}: {error}", "correct the value") from error


def _layers(spec: Any, path: list[str], value: object, whole: str) -> tuple[Any, ...]:
    """The layers of a spec with the one that `path` names, or its field, changed."""
    name, *rest = path
    if name not in spec.names:
        near = get_close_matches(name[:80], spec.names, n=1, cutoff=0.0)[0]
        raise Wrong(
            f"--set needs a layer that exists, got {whole[:80]}",
            f"the nearest is {near}",
        )
    at = spec.names.index(name)
    if rest:
        changed = _with(spec.layers[at], rest, value, whole)
    else:
        hint = get_args(get_type_hints(type(spec))["layers"])[0]
        changed = _fitting(hint, spec.layers[at], value, whole)
    return (*spec.layers[:at], changed, *spec.layers[at + 1 :])


def _fitting(hint: Any, old: object, value: object, whole: str) -> object:
    """`value`, if the field's type allows it; whole numbers for floats are made so."""
    if odd := [n for n in _numbers(value) if not _countable(n)]:
        raise Wrong(
            f"--set {whole[:80]} takes finite numbers, whole ones up to "
            f"{codec.LARGEST:,}, got {odd[0]:.3g}",
            "correct the value",
        )
    if hint is float and type(value) is int:
        return float(value)
    if not codec.allows(hint, value):
        one = " (compare alone makes a row of each of several)"
        raise Wrong(
            f"--set {whole[:80]} takes {_kind(hint)} such as {spelled(old)}, got "
            f"{spelled(value)[:80]}{one if isinstance(value, tuple) else ''}",
            "",
        )
    return value


def _countable(number: float) -> bool:
    """Whether a number is finite and, if it is whole, one that something may have."""
    whole = isinstance(number, int)
    return abs(number) <= codec.LARGEST if whole else isfinite(number)


def _numbers(value: object) -> Iterator[float]:
    """All numbers in a value, those of records too."""
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif is_dataclass(value):
        for f in fields(value):
            yield from _numbers(getattr(value, f.name))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _kind(hint: Any) -> str:
    """A type in words a user can act on."""
    if get_origin(hint) is Literal:
        return f"one of {in_words(hint)}"
    return str(hint.__name__) if get_origin(hint) is None else in_words(hint)


def _value(text: str, whole: str) -> object:
    try:
        if len(text) > DEEPEST:
            raise ValueError(f"it has {len(text):,} characters")
        return _node(ast.parse(text, mode="eval").body)
    except (
        SyntaxError,
        ValueError,
        KeyError,
        TypeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        said = " ".join(str(error).split())[:120]
        raise Wrong(
            f"--set takes a number, a word, a tuple or a record such as Norm(eps=1e-5)"
            f", got {whole[:80]!r} ({said})",
            "correct the value",
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


# --- what was meant ----------------------------------------------------------------


def meant(spec: Any, recipe: Any, text: str) -> list[str]:
    """Overrides that can be made and that `text` most likely means, at most three.

    Other libraries' names of fields and of records are known, a record's brackets are
    added, and a field is found wherever it is.  Each line that is given was tried.
    """
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not value or len(text) > DEEPEST:
        return []
    found: dict[str, None] = {}
    for where in _paths(spec, recipe, path):
        for said in _spellings(value, where):
            line = f"{where}={said}"
            with suppress(Refused, ValueError, TypeError, ArithmeticError):
                if line != text and where not in FROM_DATA:
                    _applied(spec, recipe, line)
                    found[line] = None
                    break
    return list(found)[:3]


def _paths(spec: Any, recipe: Any, path: str) -> Iterator[str]:
    """The path itself if there is one, else those that it may stand for."""
    known = [one.path for one in described(spec, recipe)]
    if path in known:
        yield path
        return
    leaf = path.rpartition(".")[2].lower()
    plain = _plain(leaf)
    same = [one for one in known if _plain(one.rpartition(".")[2]) == plain]
    named = [one for one in SYNONYMS.get(plain, ()) if one in known]
    if named:
        yield named[0]
        return
    if plain in ("dropout", "dropoutrate", "pdropout"):
        layers = dict(
            zip(getattr(spec, "names", ()), getattr(spec, "layers", ()), strict=True)
        )
        same += [f"spec.layers.{n}.rate" for n in layers if hasattr(layers[n], "rate")]
    yield from dict.fromkeys([one for one in same if "." in one])
    yield from (one for one in SYNONYMS.get(plain, ()) if one not in known)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _spellings(value: str, path: str) -> Iterator[str]:
    """The value, and what it may be meant to be."""
    yield value
    yield WORDS.get(value.lower(), value)
    yield value.lower()
    bare = value.removesuffix("()")
    names = {_plain(name): name for name in codec.KNOWN}
    if record := names.get(_plain(RECORDS.get(_plain(bare), bare))):
        yield f"{record}()"
        yield f"{record}(0.1)"  # a draw needs its deviation
    yield f"({value},)"
    with suppress(ValueError):
        if float(value).is_integer():
            yield str(int(float(value)))
    if path == "recipe.decay":
        yield f"Decay(rate={value})"
    if path == "recipe.average":
        yield f"Average(decay={value}, warm_up=False)"


# --- several at once ---------------------------------------------------------------


def sweep(spec: Any, recipe: Any, overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """One set of overrides, or many where a field is given several values.

    "recipe.lr=0.1,0.01" is two; several such fields make every combination, the last
    one changing fastest.  "spec.hidden=(512, 256)" is one value, as is any text that
    the field takes whole.

    Raises:
        Refused: A value is empty or there twice, or there are too many rows.
    """
    each = [_alternatives(spec, recipe, text) for text in overrides]
    rows = 1
    for found in each:
        rows *= len(found)
    if rows > MOST_ROWS:
        raise Refused(
            f"a sweep has at most {MOST_ROWS:,} rows, got {rows:,}; give fewer values"
        )
    return list(product(*each))


def _alternatives(spec: Any, recipe: Any, text: str) -> list[str]:
    """An override for each of several values; the one that it is otherwise."""
    path, equals, value = text.partition("=")
    parts = [part.strip() for part in _split(value)]
    if not equals or len(parts) < 2:
        return [text]
    with suppress(Refused, ValueError, TypeError):
        _applied(spec, recipe, text)
        return [text]
    if "" in parts:
        raise Refused(
            f"a sweep has a value between any two commas, got {text[:80]!r}; leave out "
            "the comma that is too many"
        )
    if twice := [part for k, part in enumerate(parts) if part in parts[:k]]:
        raise Refused(
            f"a sweep has each value once, got {twice[0][:40]} twice in {text[:80]!r}; "
            "leave one out"
        )
    return [f"{path}={part}" for part in parts]


def _split(text: str) -> list[str]:
    """The parts between commas that are in no bracket and in no quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if letter == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


# --- what there is to set ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field that --set can change.

    Attributes:
        path: As --set names it.
        value: What it is, as --set takes it.
        choices: What it may be, in words.
        meaning: As its record's docstring says; "" where that says nothing.
        line: The option that sets it to what it is; "" where the data decide.
    """

    path: str
    value: str
    choices: str
    meaning: str
    line: str


def described(spec: Any, recipe: Any) -> list[Field]:
    """Every field of a spec and a recipe, and of the records in them."""
    return [*_fields(spec, "spec"), *_fields(recipe, "recipe")]


def _fields(record: Any, root: str) -> Iterator[Field]:
    hints, said = get_type_hints(type(record)), meanings(type(record))
    for f in fields(record):
        if not f.init:
            continue
        value, path = getattr(record, f.name), f"{root}.{f.name}"
        if f.name == "layers" and hasattr(record, "names"):
            for name, layer in zip(record.names, value, strict=True):
                meaning = (getdoc(type(layer)) or "").partition("\n")[0]
                yield _field(f"{path}.{name}", layer, "a layer", meaning)
            continue
        choices = in_words(hints[f.name])
        yield _field(path, value, choices, said.get(f.name, ""))
        if is_dataclass(value):
            yield from _fields(value, path)


def _field(path: str, value: Any, choices: str, meaning: str) -> Field:
    text = spelled(value)
    line = "" if path in FROM_DATA else f"--set {shlex.quote(f'{path}={text}')}"
    return Field(path=path, value=text, choices=choices, meaning=meaning, line=line)


def spelled(value: object) -> str:
    """A value as --set takes it: of records, what is not as it always is."""
    if isinstance(value, tuple):
        items = [spelled(item) for item in value]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    if is_dataclass(value) and not isinstance(value, type):
        usual = codec.defaults(type(value))
        now = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        given = [
            f"{name}={spelled(v)}"
            for name, v in now.items()
            if name not in usual or getattr(_usual(type(value)), name, v) != v
        ]
        return f"{type(value).__name__}({', '.join(given)})"
    bare = isinstance(value, str) and value.isidentifier() and not iskeyword(value)
    return str(value) if bare else repr(value)


def _usual(kind: type) -> Any:
    """The defaults of a record, by name."""
    names = codec.defaults(kind)
    values = dict(zip(names, codec.default_values(kind), strict=True))
    return type("Usual", (), values)


def in_words(hint: Any) -> str:
    """What a field of this type may be."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(one) for one in inner))
    if origin is tuple:
        if not inner:
            return "()"
        if inner[-1] is Ellipsis:
            one = in_words(inner[0])
            return f"a tuple of {one}{'s' if one.endswith('number') else ''}"
        return f"({', '.join(in_words(one) for one in inner)})"
    if getattr(hint, "_is_protocol", False):
        kinds = (kind for kind in codec.KNOWN.values() if issubclass(kind, hint))
        return " or ".join(sorted({f"{kind.__name__}(..)" for kind in kinds}))
    if isinstance(hint, type) and is_dataclass(hint):
        return f"{hint.__name__}(..)"
    words = {int: "whole number", float: "number", bool: "True or False", str: "text"}
    return "None" if hint is type(None) else words.get(hint, str(hint))


def meanings(kind: type) -> dict[str, str]:
    """Field -> what the docstring's section "Attributes" says of it."""
    _, _, section = (getdoc(kind) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line.strip() and not line.startswith("    "):
            break  # the next section, or text behind
        bare = line.strip()
        if line.startswith("    ") and not line.startswith("     ") and ":" in bare:
            head, _, bare = bare.partition(":")
            names = [name.strip() for name in head.split(",")]
        for name in names:
            found[name] = f"{found.get(name, '')} {bare.strip()}".strip()
    return found
