"""What code a run really uses: the definitions that its entry points reach, by source.

Nothing is imported.  From a function or class the text is taken (without comments,
docstrings and layout) and every name in it followed: through the module's own
definitions, through imports and re-exports, into the project's other modules.  What a
module does when it is imported, beside defining things, counts as soon as anything of
it is used.  So a new file, function or class changes nothing for those who do not use
it, and an edit counts for exactly those who do.

Where the source cannot tell (`import *`, a module that is handed around), all of the
module counts: a run that looks stale too often costs time, one that looks valid and is
not costs the truth.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from common import codec
from common.errors import Refused
from common.track import located

# Modules that decide no number of a run, and why; what they import is not followed.
DECIDES_NOTHING = {
    "common.codec": "specs and recipes are in the identity as what they say",
    "common.closure": "it looks",
    "common.data": "pictures are in the identity by their fingerprint",
    "common.errors": "words",
    "common.extras": "an interface",
    "common.faults": "planted by parity alone",
    "common.files": "bytes to disk and back, checked",
    "common.job": "it asks",
    "common.keras_backend": "it says which framework is imported; versions do too",
    "common.model_file": "weights to start from are in the identity by their digest",
    "common.overrides": "its result is the spec and the recipe",
    "common.photos": "how pictures are resized is in their fingerprint (RESIZED)",
    "common.precision": "its result is in the identity",
    "common.record": "it writes",
    "common.report": "it shows",
    "common.results": "it writes",
    "common.systems": "its result is the spec and the recipe",
    "common.track": "an interface",
    "common.zoo": "its result is the spec and the recipe",
}
# But for what hands the pictures to a network.
DECIDES = {("common.data.dataset", "Part")}
# The table of a track from spec types to their builders: only the run's own counts.
BUILDERS = "BUILDERS"
OURS = ("common", "benchmarks", "pt_track", "tf_track")
DIGITS = 12  # of a definition's digest: they are compared, never searched for

Target = tuple[str, str]  # module, name; the name "" is all of the module


@dataclass(frozen=True, slots=True)
class Module:
    """The top level of a source file.

    Attributes:
        name: Dotted.
        definitions: Name -> the statements that bind it.
        imports: Name -> where it comes from.
        effects: Statements that bind nothing, and run when it is imported.
        stars: Modules of which everything is imported.
    """

    name: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Target] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Closure:
    """Everything that some entry points reach.

    Attributes:
        packages: Top-level packages that are followed.
        texts: Definition -> its text.
        frameworks: Top-level packages of others that are used.
    """

    packages: tuple[str, ...]
    texts: dict[Target, str] = field(default_factory=dict)
    frameworks: set[str] = field(default_factory=set)

    def digests(self) -> dict[str, str]:
        """Definition, as "module:name", -> digest of its text; sorted."""
        return {
            f"{module}:{name}": hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
            for (module, name), text in sorted(self.texts.items())
        }

    def reach(self, module: str, name: str) -> None:
        """Take in a name of a module and all that it uses."""
        if not self._followed(module):
            self._others(module)
            return
        if decides_nothing(module, name) and not self._passed_on(module, name):
            return
        if self._is_module(f"{module}.{name}") and not _defines(module, name):
            self.reach_all(f"{module}.{name}")
            return
        source = parsed(module)
        if source is None:
            return
        if name in source.imports:
            self._import(source.imports[name])
        elif name in source.definitions:
            self._take(source, name)
        else:
            for star in source.stars:
                self.reach_all(star)

    def reach_all(self, module: str) -> None:
        """Take in everything of a module."""
        if not self._followed(module) or decides_nothing(module, ""):
            self._others(module)
            return
        source = parsed(module)
        if source is None or (module, "") in self.texts:
            return
        self.texts[module, ""] = ""
        for name in [*source.definitions, *source.imports]:
            self.reach(module, name)

    def _take(self, source: Module, name: str) -> None:
        key = (source.name, name)
        if key in self.texts:
            return
        nodes = source.definitions[name]
        self.texts[key] = "\n".join(_text(source.name, node) for node in nodes)
        for node in nodes:
            self._follow(source, node)
        effects = (source.name, "(import)")
        if source.effects and effects not in self.texts:
            self.texts[effects] = "\n".join(map(ast.unparse, source.effects))
            for node in source.effects:
                self._follow(source, node)

    def _follow(self, source: Module, node: ast.stmt) -> None:
        """Take in every name that a statement uses."""
        inside = dict(_imports(node, source.name))
        for name, attributes in sorted(set(_names(_bare(source.name, node)))):
            if name == BUILDERS:
                continue
            if name in inside:
                self._use(inside[name], attributes)
            elif name in source.definitions:
                self.reach(source.name, name)
            elif name in source.imports:
                self._use(source.imports[name], attributes)
            else:
                for star in source.stars:
                    self.reach_all(star)

    def _use(self, target: Target, attributes: tuple[str, ...]) -> None:
        """An imported name with what is taken of it: `loop.run`, `a.b.c`."""
        module, name = target
        if not self._followed(module):
            self._others(module)
            return
        whole = f"{module}.{name}" if name else module
        if name and not self._is_module(whole):
            self._import(target)
            return
        for attribute in attributes:  # down to the first that is no module
            if not self._is_module(f"{whole}.{attribute}"):
                self.reach(whole, attribute)
                return
            whole = f"{whole}.{attribute}"
        self.reach_all(whole)

    def _import(self, target: Target) -> None:
        module, name = target
        if name:
            self.reach(module, name)
        else:
            self.reach_all(module)

    def _passed_on(self, module: str, name: str) -> bool:
        """Whether a module only hands on a name that decides something."""
        source = parsed(module)
        target = source.imports.get(name) if source else None
        return target in DECIDES

    def _followed(self, module: str) -> bool:
        return module.partition(".")[0] in self.packages

    def _is_module(self, module: str) -> bool:
        return self._followed(module) and parsed(module) is not None

    def _others(self, module: str) -> None:
        top = module.partition(".")[0]
        if not self._followed(module) and top not in sys.stdlib_module_names:
            self.frameworks.add(top)


def closure(roots: Iterable[Target], *, packages: Iterable[str] = ()) -> Closure:
    """What the roots reach.

    Args:
        roots: Entry points; a name that a module has not is none.
        packages: Top-level packages to follow, beside the project's own.
    """
    found = Closure(packages=(*OURS, *packages))
    for module, name in roots:
        found.reach(module, name)
    return found


def decides_nothing(module: str, name: str) -> bool:
    """Whether a module, or a package that it is in, decides no number."""
    if (module, name) in DECIDES:
        return False
    parts = module.split(".")
    names = (".".join(parts[: k + 1]) for k in range(len(parts)))
    return any(part in DECIDES_NOTHING for part in names)


def builder_of(package: str, kind: str) -> Target | None:
    """What builds a spec of the type `kind` in a track, by its literal table.

    Returns:
        Module and name; none if the track has no such table, or no such row in it.

    Raises:
        Refused: The table is no literal.
    """
    source = parsed(package)
    for node in source.definitions.get(BUILDERS, []) if source else []:
        value = getattr(node, "value", None)
        try:
            table = ast.literal_eval(value) if value else {}
        except ValueError as error:
            raise Refused(
                f"{BUILDERS} must be a literal of names, that of {package} is not "
                f"({error}); write it like pt_track/__init__.py"
            ) from error
        if kind in table:
            module, _, name = table[kind].partition(":")
            return f"{package}.{module}", name
    return None


# --- source -----------------------------------------------------------------------


@cache
def located_once(module: str) -> Path | None:
    """The source file of a module, or none."""
    spec = located(module)
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


@cache
def parsed(module: str) -> Module | None:
    """The top level of a module, or none if there is no source."""
    path = located_once(module)
    if path is None:
        return None
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = Module(module)
    for node in without_docstrings(ast.parse(path.read_bytes())).body:
        _sort_in(found, node, package)
    return found


def _sort_in(found: Module, node: ast.stmt, package: str) -> None:
    """Put a statement where it belongs."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            found.definitions.setdefault(name, []).append(node)
        case ast.Import() | ast.ImportFrom():
            for alias, target in _aliases(node, package):
                if alias == "*":
                    found.stars.append(target[0])
                else:
                    found.imports[alias] = target
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            for name in _bound(node):
                found.definitions.setdefault(name, []).append(node)
        case ast.Pass():
            pass  # where a docstring was all
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            pass  # never runs
        case _:
            found.effects.append(node)
            for inner in ast.walk(node):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    found.imports.update(_aliases(inner, package))


def _bound(node: ast.stmt) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id


def _aliases(
    node: ast.Import | ast.ImportFrom, package: str
) -> Iterator[tuple[str, Target]]:
    """What an import binds, and where that comes from."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, (alias.name, "")
            else:
                yield alias.name.partition(".")[0], (alias.name.partition(".")[0], "")
        return
    module = node.module or ""
    if node.level:
        base = package.split(".")
        base = base[: len(base) - node.level + 1]
        module = ".".join([*base, module]) if module else ".".join(base)
    for alias in node.names:
        yield alias.asname or alias.name, (module, alias.name)


def _imports(node: ast.stmt, module: str) -> Iterator[tuple[str, Target]]:
    """What imports inside a definition bind."""
    path = located_once(module)
    inside = path is not None and path.name == "__init__.py"
    package = module if inside else module.rpartition(".")[0]
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import | ast.ImportFrom):
            yield from _aliases(inner, package)


def _names(node: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every name that is used, with the attributes that are taken of it."""
    taken: set[int] = set()
    for inner in ast.walk(node):
        chain: list[str] = []
        at: ast.AST = inner
        while isinstance(at, ast.Attribute):
            chain.insert(0, at.attr)
            at = at.value
        if isinstance(at, ast.Name) and id(at) not in taken:
            taken.add(id(at))
            yield at.id, tuple(chain)


def _defines(module: str, name: str) -> bool:
    """Whether a package has a definition or an import of this name."""
    source = parsed(module)
    return bool(source and (name in source.definitions or name in source.imports))


# --- text -------------------------------------------------------------------------


def _text(module: str, node: ast.stmt) -> str:
    """A definition's code; of our records, what their fields are set to is not code."""
    text = ast.unparse(_bare(module, node))
    if isinstance(node, ast.ClassDef) and (kind := _record(module, node.name)):
        changed = codec.changed_defaults(kind)
        text += "".join(f"\n{name} = {value}" for name, value in changed.items())
    return text


def _bare(module: str, node: ast.stmt) -> ast.stmt:
    """A record's class without its fields; anything else as it is."""
    if not isinstance(node, ast.ClassDef) or not _record(module, node.name):
        return node
    body = [part for part in node.body if not isinstance(part, ast.AnnAssign)]
    bare = copy(node)
    bare.body = body or [ast.Pass()]
    return bare


def _record(module: str, name: str) -> type | None:
    """The record of this name, if it is one of ours."""
    kind = codec.KNOWN.get(name)
    return kind if kind in codec.OURS and kind.__module__ == module else None


def without_docstrings(tree: ast.Module) -> ast.Module:
    """The same tree, changed in place."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
