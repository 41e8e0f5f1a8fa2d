"""What code a run really uses: the definitions that its entry points reach, by source.

Nothing is imported.  From a function or class the text is taken (`common.source`) and
every name in it followed: through the module's own definitions, through imports and
re-exports, into the project's other modules.  What a module does on import, beside
binding names, counts as soon as it is imported.  So a new file, function or class makes
no difference to those who do not use it, and an edit counts for exactly those who do.

Where the source cannot tell (`import *`, `globals()`, a name that is bound nowhere, a
module that is handed around), all of the module counts: a run that looks stale too
often costs time, one that looks valid and is not costs the truth.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from common import codec
from common.garbage import uncollected
from common.source import OURS, Module, Said, Target, Use, parsed, path_of, say

# Modules that decide no number of a run, and why; what they import is not followed.
DECIDES_NOTHING = {
    "benchmarks.engine.machine": "its result is in the identity",
    "benchmarks.engine.process": "it starts children",
    "common.codec": "specs and recipes are in the identity as what they say",
    "common.closure": "it looks",
    "common.data": "pictures are in the identity by their fingerprint",
    "common.errors": "words",
    "common.extras": "an interface",
    "common.faults": "planted by parity alone",
    "common.files": "bytes to disk and back, checked",
    "common.garbage": "when Python looks for it",
    "common.job": "it asks",
    "common.model_file": "weights to start from are in the identity by their digest",
    "common.overrides": "its result is the spec and the recipe",
    "common.photos": "how pictures are resized is in their fingerprint (RESIZED)",
    "common.planting": "for parity alone",
    "common.precision": "its result is in the identity",
    "common.quiet": "what a library prints and plots with while it loads",
    "common.record": "it writes",
    "common.report": "it shows",
    "common.results": "it writes",
    "common.source": "it looks",
    "common.systems": "its result is the spec and the recipe",
    "common.track": "an interface",
    "common.zoo": "its result is the spec and the recipe",
    "safetensors": "bytes to disk and back, checked",
}
# But for what hands pictures to a network: how they are chosen is in no fingerprint.
DECIDES = {("common.data.dataset", "Part")}
# The table of a track from spec types to their builders: only the run's own counts.
BUILDERS = "BUILDERS"
# Calls after which any definition of the module may be meant, or any of its package.
ANY_NAME = {"globals", "eval", "exec"}
ANY_MODULE = {"import_module", "__import__"}
DIGITS = 12  # of a definition's digest: they are compared, never searched for


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
    _todo: list[Target] = field(default_factory=list)
    _seen: set[Target] = field(default_factory=set)
    _entered: set[str] = field(default_factory=set)

    def digests(self) -> dict[str, str]:
        """Definition, as "module:name", -> digest of its text; sorted."""
        return {
            f"{module}:{name}": hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
            for (module, name), text in sorted(self.texts.items())
        }

    def take_in(self, roots: Iterable[Target]) -> None:
        """Everything that the roots reach."""
        for module, name in roots:
            self._reach(module, name)
        while self._todo:  # not by recursion: a chain of calls can be longer than that
            self._visit(*self._todo.pop())

    def _reach(self, module: str, name: str) -> None:
        if (module, name) not in self._seen:
            self._seen.add((module, name))
            self._todo.append((module, name))

    def _visit(self, module: str, name: str) -> None:
        """Take in a name of a module, or all of it."""
        if not self._followed(module):
            self._others(module)
            return
        if decides_nothing(module, name):
            return
        source = parsed(module)
        if source is None:
            return
        self._enter(module)
        if not name:
            self._all_of(source)
        elif source.has(name):
            if name in source.definitions:
                self._take(source, name)
            for target in source.imports.get(name, ()):
                self._reach(*target)
        elif self._is_module(f"{module}.{name}"):
            self._reach(f"{module}.{name}", "")
        elif source.stars:
            self._stars(source)
        else:  # bound where this cannot see it: in a `try`, by `__getattr__`
            self._reach(module, "")

    def _all_of(self, source: Module) -> None:
        self.texts[source.name, ""] = ""
        for name in source.definitions:
            self._take(source, name)
        for targets in source.imports.values():
            for target in targets:
                self._reach(*target)
        self._stars(source)

    def _stars(self, source: Module) -> None:
        for star in source.stars:
            self._reach(star, "")

    def _enter(self, module: str) -> None:
        """What the import of a module does, and that of all that it imports."""
        if not self._followed(module) or module in self._entered:
            return
        self._entered.add(module)
        if parent := module.rpartition(".")[0]:
            self._enter(parent)
        source = None if decides_nothing(module, "") else parsed(module)
        if source is None:
            return
        for other in source.loads:
            self._enter(other)
        if source.effects:
            said = say(source.effects, source.package)
            self.texts[module, "(import)"] = said.text
            self._follow(source, said)

    def _take(self, source: Module, name: str) -> None:
        """Take in a definition, and what it uses."""
        if (source.name, name) not in self.texts:
            said = _said(source.name, name)
            self.texts[source.name, name] = said.text
            self._follow(source, said)

    def _follow(self, source: Module, said: Said) -> None:
        """Take in every name that statements use."""
        table = table_of(source.name) is not None
        for name, attributes in said.uses:
            if name == BUILDERS and table:
                continue
            targets = said.imports.get(name) or source.imports.get(name, [])
            for target in targets:
                self._use(target, attributes)
            if name in source.definitions and name not in said.imports:
                self._local(source, name)
            elif not targets:
                self._stars(source)
        for use in said.calls:
            called = use[1][-1] if use[1] else use[0]
            if called in ANY_NAME:
                self._reach(source.name, "")
            if called in ANY_MODULE and not table:
                self._everything(source.package)
            if kind := _made(source, said, use):  # with its defaults, as they are
                for given in codec.types_of(codec.default_values(kind)):
                    self._reach(given.__module__, given.__qualname__)

    def _local(self, source: Module, name: str) -> None:
        """A definition of the module that uses it."""
        if decides_nothing(source.name, ""):  # where one thing does decide
            self._take(source, name)
        else:
            self._reach(source.name, name)

    def _use(self, target: Target, attributes: tuple[str, ...]) -> None:
        """An imported name with what is taken of it: `loop.run`, `a.b.c`."""
        module, name = target
        if not self._followed(module):
            self._others(module)
            return
        whole = f"{module}.{name}" if name else module
        bound = bool(name) and (source := parsed(module)) and source.has(name)
        if name and (bound or not self._is_module(whole)):
            self._reach(module, name)
            return
        for attribute in attributes:  # down to the first that is no module
            if not self._is_module(f"{whole}.{attribute}"):
                self._reach(whole, attribute)
                return
            self._enter(whole)
            whole = f"{whole}.{attribute}"
        self._reach(whole, "")

    def _everything(self, package: str) -> None:
        """All modules of a package."""
        path = path_of(package)
        for file in path.parent.rglob("*.py") if path else ():
            parts = file.relative_to(path.parent).with_suffix("").parts if path else ()
            name = ".".join((package, *parts)).removesuffix(".__init__")
            self._reach(name, "")

    def _followed(self, module: str) -> bool:
        return module.partition(".")[0] in self.packages

    def _is_module(self, module: str) -> bool:
        return self._followed(module) and path_of(module) is not None

    def _others(self, module: str) -> None:
        top = module.partition(".")[0]
        if top and top not in sys.stdlib_module_names and top not in DECIDES_NOTHING:
            self.frameworks.add(top)


def closure(roots: Iterable[Target], *, packages: Iterable[str] = ()) -> Closure:
    """What the roots reach.

    Args:
        roots: Entry points.
        packages: Top-level packages to follow, beside the project's own.
    """
    found = Closure(packages=(*OURS, *packages))
    with uncollected():  # syntax trees are many objects and no garbage
        found.take_in(roots)
    return found


def decides_nothing(module: str, name: str) -> bool:
    """Whether a module, or a package that it is in, decides no number."""
    if (module, name) in DECIDES:
        return False
    while module:
        if module in DECIDES_NOTHING:
            return True
        module = module.rpartition(".")[0]
    return False


# --- tracks -----------------------------------------------------------------------


@cache
def table_of(package: str) -> dict[str, str] | None:
    """The literal table of a track from spec types to their builders, or none."""
    source = parsed(package)
    found = source.definitions.get(BUILDERS, []) if source else []
    if len(found) != 1 or not isinstance(found[0], ast.Assign):
        return None
    try:
        table = ast.literal_eval(found[0].value)
    except ValueError:
        return None
    literal = isinstance(table, dict) and all(
        isinstance(part, str) for pair in table.items() for part in pair
    )
    return table if literal else None


def whole(module: str) -> set[Target]:
    """All that a module defines and hands on; of modules it imports, what it uses."""
    source = parsed(module)
    if source is None or source.stars:
        return {(module, "")}
    found = {(module, name) for name in source.definitions}
    for name, targets in source.imports.items():
        if not all(_is_module(*target) for target in targets):
            found.add((module, name))
    return found


def _is_module(module: str, name: str) -> bool:
    return not name or path_of(f"{module}.{name}") is not None


def roots_of(
    package: str, entries: Iterable[str], kinds: Iterable[type]
) -> set[Target]:
    """Where a track's code begins.

    Args:
        package: The track.
        entries: Names of its functions; those that it has not are none.
        kinds: Types of what is built.

    Returns:
        Its functions and what builds the types; where there is no table of builders
        to tell, all of its module.
    """
    source, table = parsed(package), table_of(package)
    if source is None or table is None:
        return whole(package)
    found = {(package, entry) for entry in entries if source.has(entry) or source.stars}
    for kind in kinds:
        if path := table.get(kind.__name__):
            module, _, name = path.partition(":")
            found.add((f"{package}.{module}", name))
    return found


# --- our records ------------------------------------------------------------------


@cache
def _said(module: str, name: str) -> Said:
    """A definition; of our records, what their fields are set to is not code.

    Nor is what they refuse: values that are refused are in no run.
    """
    source = parsed(module)
    nodes = source.definitions[name] if source else []
    package = source.package if source else ""
    kind = codec.KNOWN.get(name)
    if kind not in codec.OURS or kind.__module__ != module:
        return say(nodes, package)
    inside = [part for node in nodes for part in getattr(node, "body", ())]
    said = say(nodes, package, left_out=filter(_is_value, inside))
    changed = codec.changed_defaults(kind)
    said.words += [f"{name} = {value}" for name, value in changed.items()]
    return said


def _is_value(part: ast.stmt) -> bool:
    if isinstance(part, ast.FunctionDef) and part.name == "__post_init__":
        return "__setattr__" not in ast.unparse(part)
    return isinstance(part, ast.AnnAssign)


def _made(source: Module, said: Said, use: Use) -> type | None:
    """The record of ours that a call makes, if it does."""
    name, attributes = use
    kind = codec.KNOWN.get(attributes[-1] if attributes else name)
    if kind not in codec.OURS:
        return None
    home = kind.__module__
    targets = said.imports.get(name) or source.imports.get(name, [])
    if attributes:
        named = {".".join(filter(None, target)) for target in targets}
        return kind if {home} == named and len(attributes) == 1 else None
    local = source.name == home and name in source.definitions
    return kind if local or (home, name) in targets else None
