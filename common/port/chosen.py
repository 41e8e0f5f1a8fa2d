"""What a user names for a training: an optimizer, a loss, a step."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import Refused, one_line
from common.port.alike import Array
from common.port.target import Target, found, parsed

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adadelta", "adagrad")
LOSSES = ("cross_entropy", "bce", "mse")


@dataclass(frozen=True, slots=True)
class Named:
    """One of a framework's own, by name: "adam(lr=1e-3)".

    Attributes:
        name: Of `OPTIMIZERS` or `LOSSES`.
        arguments: By name, in PyTorch's words.
    """

    name: str
    arguments: dict[str, Any]


def chosen(text: str, what: str, names: tuple[str, ...] = ()) -> Any:
    """What a user names: a `Named`, or the object behind `module:name`.

    Args:
        text: As it was typed.
        what: "an optimizer", as an error says it.
        names: That are known without a module.

    Raises:
        Refused: It is neither, or there is no such module or name.
    """
    read = named(text, what, names)
    if isinstance(read, Named):
        return read
    thing = found(read)
    return _with(thing, read.arguments) if read.arguments else thing


def named(text: str, what: str, names: tuple[str, ...] = ()) -> Named | Target:
    """What was typed, without importing anything.

    Raises:
        Refused: It is neither `module:name` nor one of the names.
    """
    if ":" in text.partition("(")[0]:
        return parsed(text)
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        name = ast.unparse(call.func).lower()
        if call.args or name not in names:
            raise ValueError
        words = {str(w.arg): ast.literal_eval(w.value) for w in call.keywords}
    except (SyntaxError, ValueError):
        known = f" or {', '.join(names)} with arguments by name" if names else ""
        raise Refused(
            f"{what} is named as package.module:name, path/file.py:name{known}, got "
            f"'{one_line(text)}'"
        ) from None
    return Named(name, words)


# What a loss by name takes, and of which type.
TAKEN = {
    "cross_entropy": ("smoothing", "weights", "over"),
    "bce": ("smoothing", "over"),
    "mse": ("over",),
}
KINDS: dict[str, type] = {"smoothing": float, "weights": list, "over": str}


def loss_words(named: Named) -> dict[str, Any]:
    """A loss by name as its words (`common.port.losses`).

    Raises:
        Refused: An argument is none that a loss has here.
    """
    known = {name: KINDS[name] for name in TAKEN[named.name]}
    for name, value in named.arguments.items():
        fits = isinstance(value, known.get(name, ()))
        if not fits or (name == "over" and value not in ("mean", "sum", "weights")):
            raise Refused(
                f"{named.name} takes {', '.join(known)} (smoothing=0.1, "
                "weights=[1.0, 2.0], over='mean', 'sum' or 'weights'), got "
                f"{name}={value!r}; name a loss of your own"
            )
    return {"kind": named.name, "over": "mean"} | named.arguments


def _with(thing: Any, arguments: dict[str, Any]) -> Any:
    return lambda *given: thing(*given, **arguments)


def is_loss(thing: Any) -> bool:
    """Whether a function is a loss of two arguments, not a factory of one."""
    if isinstance(thing, type):
        return False
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return True
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in kinds for p in parameters) >= 2


def same_arrays(some: Mapping[str, Array], others: Mapping[str, Array]) -> list[str]:
    """Names under which two hold the same: such are sent once."""
    return [n for n, a in some.items() if n in others and np.array_equal(a, others[n])]
