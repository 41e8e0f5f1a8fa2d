"""What a user names as a model: `package.module:factory`, a file, a library's own."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from common.errors import Refused, one_line

FORMS = (
    "package.module:factory, path/file.py:factory, factory(arg=1), "
    "torchvision:resnet50 or keras:ResNet50"
)
# What a user's library of models stands for, and what it takes for random weights.
LIBRARIES = {
    "torchvision": ("torchvision.models", {"weights": None}),
    "keras": ("keras.applications", {"weights": None, "classifier_activation": None}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model that a user names.

    Attributes:
        text: As it was typed.
        home: A dotted module, or a file.
        name: Of a function, a class or an object there.
        arguments: Keyword arguments of the call.
    """

    text: str
    home: str
    name: str
    arguments: dict[str, Any]


def parsed(text: str) -> Target:
    """What a user typed, without importing anything.

    Raises:
        Refused: It is none of `FORMS`.
    """
    home, colon, call = text.partition(":")
    if not (home and colon and call):
        raise Refused(f"a model is named as {FORMS}, got '{one_line(text)}'")
    try:
        node = ast.parse(call.strip(), mode="eval").body
    except SyntaxError as error:
        raise Refused(
            f"what stands behind the colon is a name or a call, got '{one_line(call)}' "
            f"({error.msg}); write factory or factory(arg=1)"
        ) from None
    arguments: dict[str, Any] = {}
    if isinstance(node, ast.Call):
        arguments = _arguments(node, text)
        node = node.func
    home, defaults = LIBRARIES.get(home, (home, {}))
    name = ast.unparse(node)
    if not all(part.isidentifier() for part in name.split(".")):
        raise Refused(f"a model's name is an identifier, got '{one_line(name)}'")
    return Target(text=text, home=home, name=name, arguments=defaults | arguments)


def _arguments(node: ast.Call, text: str) -> dict[str, Any]:
    try:
        if node.args or any(word.arg is None for word in node.keywords):
            raise ValueError
        return {str(w.arg): ast.literal_eval(w.value) for w in node.keywords}
    except ValueError:
        raise Refused(
            "a factory takes arguments by name, as plain values, got "
            f"'{one_line(text)}'; write factory(width=32), or a function of yours"
        ) from None


def found(target: Target) -> Any:
    """The function, class or object that a target names; imports its module.

    Raises:
        Refused: There is no such module, it cannot be imported, or lacks the name.
    """
    module = _module(target)
    thing: Any = module
    for part in target.name.split("."):
        if not hasattr(thing, part):
            near = get_close_matches(part, [n for n in dir(thing) if n[0] != "_"], 3)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise Refused(f"{target.home} has no '{part}'{hint}; check the name")
        thing = getattr(thing, part)
    return thing


def _module(target: Target) -> ModuleType:
    if target.home.endswith(".py"):
        return _of_file(Path(target.home))
    try:
        return import_module(target.home)
    except ModuleNotFoundError as error:
        if error.name and target.home.startswith(error.name):
            raise Refused(
                f"a model's module must be importable, got '{target.home}'; run where "
                "it is found, or name its file, path/file.py:factory"
            ) from None
        raise _unimportable(target.home, error) from error
    except (Exception, SystemExit) as error:
        raise _unimportable(target.home, error) from error


def _of_file(path: Path) -> ModuleType:
    path = path.expanduser()
    if not path.is_file():
        raise Refused(f"a model's file must exist, got {path}; check the path")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    name = f"twintrack_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Refused(f"a model's file is Python, got {path}; name a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _unimportable(str(path), error) from error
    return module


def _unimportable(home: str, error: BaseException) -> Refused:
    return Refused(f"{home} must be importable, it raised {told(error)}; mend that")


def told(error: BaseException) -> str:
    """An error in one line, with the last line of a user's code that it came from."""
    place = ""
    trace = error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if is_users(file):
            place = f" at {shortened(file)}:{trace.tb_lineno}"
        trace = trace.tb_next
    text = one_line(str(error).strip().replace("\n", " "))[:300]
    if isinstance(error, SyntaxError) and error.filename:
        place = f" at {shortened(error.filename)}:{error.lineno}"
        text = str(error.msg)
    return f"{type(error).__name__}{place}: {text}"


OUR_ROOT = str(Path(__file__).resolve().parents[2])
# Folders whose lines are a framework's own, and tell a user nothing.
INSIDE = (
    "/torch/",
    "/keras/src/",
    "/tensorflow/",
    "/lib/python3",
    "<frozen",
    "<string",
)
# Of those, what is a model that somebody wrote.
WRITTEN = ("/keras/src/applications/",)


def is_users(file: str) -> bool:
    """Whether a file is a user's, or of a library's models; not ours or a framework's.

    (Packages lie below .../lib/python3.x/site-packages: what follows that counts.)
    """
    if file.startswith(OUR_ROOT):
        return "/tests/" in file
    inside = file.partition("/site-packages")[2] or file
    return any(part in inside for part in WRITTEN) or not any(
        part in inside for part in INSIDE
    )


def shortened(file: str) -> str:
    """A file as a reader finds it: below site-packages, or from where they are."""
    _, packages, rest = file.partition("/site-packages/")
    if packages:
        return rest
    path = Path(file)
    return (
        str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
    )


def users_line(skip: int = 1) -> str:
    """The innermost line of a user's code that is being executed: "file:line"."""
    frame = sys._getframe(skip)
    while frame is not None:
        file = frame.f_code.co_filename
        if is_users(file):
            return f"{shortened(file)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def made(target: Target, kind: type, what: str) -> Any:
    """The model that a target names: the object itself, or what its factory gives.

    Raises:
        Refused: It needs arguments, raises, or gives no model of this kind.
    """
    thing = found(target)
    if not isinstance(thing, kind):
        thing = _called(target, thing)
    if not isinstance(thing, kind):
        raise Refused(
            f"{target.text} must give {what}, got {type(thing).__name__}; name a "
            "function that returns one, or its class"
        )
    return thing


def _called(target: Target, thing: Callable[..., Any]) -> Any:
    if not callable(thing):
        return thing
    try:
        missing = _missing(thing, target.arguments)
    except (TypeError, ValueError):  # a signature that Python cannot tell
        missing = []
    if missing:
        raise Refused(
            f"a factory takes no required arguments, {target.text} needs "
            f"{', '.join(missing)}; write {target.name}({missing[0]}=...)"
        )
    try:
        return thing(**target.arguments)
    except Refused:
        raise
    except Exception as error:
        raise Refused(
            f"{target.text} must give a model, it raised {told(error)}; mend that"
        ) from error


def _missing(thing: Callable[..., Any], given: dict[str, Any]) -> list[str]:
    parameters = inspect.signature(thing).parameters.values()
    usual = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    positional = inspect.Parameter.POSITIONAL_ONLY
    return [
        p.name
        for p in parameters
        if p.default is p.empty
        and p.kind in (*usual, positional)
        and p.name not in given
    ]
