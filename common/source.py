"""Python source without running it: a module's top level, what each statement uses.

A statement's text is what it does and not how it is written: no comments, docstrings or
layout, no annotations of arguments and variables inside functions, no words of an error
that is raised.  It is spelt from the syntax tree by names and fields, and not as Python
would print it, so that another version of Python gives the same text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from common.track import located

Target = tuple[str, str]  # module, name; the name "" is all of the module
Use = tuple[str, tuple[str, ...]]  # a name, and the attributes that are taken of it

OURS = ("common", "benchmarks", "pt_track", "tf_track")  # top-level packages
# Fields of syntax trees that say nothing, or nothing more.
SKIPPED = {"ctx", "kind", "type_comment", "type_ignores"}
# Decorators that do not look at the types of arguments; others may (dispatch).
BLIND = {"staticmethod", "classmethod", "property", "contextmanager", "cache"}


@dataclass(frozen=True, slots=True)
class Module:
    """The top level of a source file.

    Attributes:
        name: Dotted.
        package: That its relative imports start from.
        definitions: Name -> the statements that bind it.
        imports: Name -> where it comes from: more than one place in a `try`.
        effects: Statements that do more on import than bind names.
        stars: Modules of which everything is imported.
        loads: Modules that it imports; some of the names are of what is in one.
    """

    name: str
    package: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, list[Target]] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)
    loads: set[str] = field(default_factory=set)

    def has(self, name: str) -> bool:
        """Whether it binds a name."""
        return name in self.definitions or name in self.imports


@dataclass(slots=True)
class Said:
    """What statements say.

    Attributes:
        words: Their text, in pieces.
        uses: Names that they use.
        calls: Those of them that they call.
        imports: What imports inside them bind.
    """

    words: list[str] = field(default_factory=list)
    uses: set[Use] = field(default_factory=set)
    calls: set[Use] = field(default_factory=set)
    imports: dict[str, list[Target]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text."""
        return " ".join(self.words)


@cache
def path_of(module: str) -> Path | None:
    """The source file of a module, or none."""
    spec = located(module)
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


@cache
def parsed(module: str) -> Module | None:
    """The top level of a module, or none if there is no source."""
    path = path_of(module)
    if path is None:
        return None
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = Module(module, package)
    body = ast.parse(path.read_bytes()).body
    for node in body:
        _sort_in(found, node)
    found.effects.extend(node for node in body if _may_register(found, node))
    return found


def _sort_in(found: Module, node: ast.stmt) -> None:
    """Put a statement where it belongs."""
    match node:
        case (
            ast.FunctionDef(name=name)
            | ast.AsyncFunctionDef(name=name)
            | ast.ClassDef(name=name)
        ):
            found.definitions.setdefault(name, []).append(node)
        case ast.Import() | ast.ImportFrom():
            _take_import(found, node)
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            _take_assignment(found, node)
        case ast.Pass() | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            pass
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            pass  # not when it is imported
        case _ if not _is_text(node):
            found.effects.append(node)
            for inner in ast.walk(node):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    _take_import(found, inner)


def _may_register(found: Module, node: ast.stmt) -> bool:
    """Whether a definition may put itself into a table that others read.

    Decorators of other packages do not, unless they belong to a function of ours, as
    `dispatch.register` does.
    """
    if isinstance(node, ast.ClassDef) and node.keywords:
        return True
    for decorator in getattr(node, "decorator_list", ()):
        use = _use(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if use is None or use[0] in found.definitions:
            return True
        near = (*OURS, found.name.partition(".")[0])
        for module, _ in found.imports.get(use[0], ()):
            if module.partition(".")[0] in near:
                return True
    return False


def _take_import(found: Module, node: ast.Import | ast.ImportFrom) -> None:
    found.loads.update(loaded(node, found.package))
    for alias, target in aliases(node, found.package):
        if alias == "*":
            found.stars.append(target[0])
        else:
            found.imports.setdefault(alias, []).append(target)


def _take_assignment(
    found: Module, node: ast.Assign | ast.AnnAssign | ast.AugAssign
) -> None:
    """`table[key] = value` and `module.flag = value` change what others see."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    parts = [part for target in targets for part in ast.walk(target)]
    bound = [p.id for p in parts if isinstance(p, ast.Name) and _stores(p)]
    for name in bound:
        found.definitions.setdefault(name, []).append(node)
    if "_" in bound or any(isinstance(p, ast.Attribute | ast.Subscript) for p in parts):
        found.effects.append(node)


def _stores(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def aliases(
    node: ast.Import | ast.ImportFrom, package: str
) -> Iterator[tuple[str, Target]]:
    """What an import binds, and where that comes from."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield (alias.asname, (alias.name, "")) if alias.asname else (top, (top, ""))
        return
    module = imported_from(node, package)
    for alias in node.names:
        yield alias.asname or alias.name, (module, alias.name)


def loaded(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    """The modules that an import loads, and what might be modules."""
    if isinstance(node, ast.ImportFrom):
        module = imported_from(node, package)
        yield module
        yield from (f"{module}.{alias.name}" for alias in node.names)
    else:
        yield from (alias.name for alias in node.names)


def imported_from(node: ast.ImportFrom, package: str) -> str:
    """The dotted module of `from ... import`."""
    if not node.level:
        return node.module or ""
    base = package.split(".")
    base = base[: len(base) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def say(
    nodes: Iterable[ast.stmt], package: str, *, left_out: Iterable[ast.stmt] = ()
) -> Said:
    """What statements say.

    Args:
        nodes: The statements.
        package: That their relative imports start from.
        left_out: Statements inside them that do not count.
    """
    reader = _Reader(package, {id(node) for node in left_out})
    for node in nodes:
        if not _is_text(node):
            reader.read(node)
    return reader.said


class _Reader:
    """Spells syntax trees, and notes the names in them."""

    def __init__(self, package: str, left_out: set[int]) -> None:
        self.package = package
        self.left_out = left_out
        self.said = Said()
        self.inside = False  # a function
        self.typed = True  # whether types of arguments may count

    def read(self, value: object) -> None:
        """Take in a node, a list of them, or a constant."""
        words = self.said.words
        if isinstance(value, ast.Name | ast.Attribute) and (use := _use(value)):
            self.said.uses.add(use)
            words.append(".".join((use[0], *use[1])))
        elif isinstance(value, ast.Constant):
            words.append(repr(value.value))
        elif isinstance(value, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._block(value)
        elif isinstance(value, ast.AST):
            self._node(value)
        elif isinstance(value, list):
            words.append("[")
            for item in value:
                if id(item) not in self.left_out:
                    self.read(item)
            words.append("]")
        else:
            words.append(repr(value))

    def _block(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ) -> None:
        before = self.inside, self.typed
        self.inside = not isinstance(node, ast.ClassDef)
        around = (ast.unparse(decorator) for decorator in node.decorator_list)
        self.typed = not BLIND.issuperset(around)
        self._node(node)
        self.inside, self.typed = before

    def _node(self, node: ast.AST) -> None:
        said = self.said
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias, target in aliases(node, self.package):
                said.imports.setdefault(alias, []).append(target)
        elif isinstance(node, ast.Call) and (use := _use(node.func)):
            said.calls.add(use)
        elif isinstance(node, ast.AnnAssign) and self.inside:
            if node.value is None:
                return
            node = ast.Assign([node.target], node.value)
        said.words.append(f"{type(node).__name__}(")
        for name in node._fields:
            value = self._counted(node, name)
            if value is not None and value != []:
                said.words.append(f"{name}=")
                self.read(value)
        said.words.append(")")

    def _counted(self, node: ast.AST, name: str) -> object:
        """A field's value, without what decides nothing."""
        value = getattr(node, name, None)
        if name in SKIPPED:
            return None
        if isinstance(node, ast.arg) and name == "annotation" and not self.typed:
            return None
        if name == "returns" and not self.typed:
            return None
        if isinstance(node, ast.Raise):  # which error, and not its words
            if name == "cause":
                return None
            return value.func if isinstance(value, ast.Call) else value
        if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some by an empty text
            return [part for part in node.values if not _is_empty(part)]
        if name == "body" and isinstance(value, list) and _is_text(value[0]):
            return value[1:] or [ast.Pass()]
        return value


def _use(node: ast.AST) -> Use | None:
    """The name and attributes of `a.b.c`."""
    chain: list[str] = []
    while isinstance(node, ast.Attribute):
        chain.insert(0, node.attr)
        node = node.value
    return (node.id, tuple(chain)) if isinstance(node, ast.Name) else None


def _is_empty(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
