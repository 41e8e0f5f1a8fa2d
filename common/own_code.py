"""A user's own system and builders: all of their modules, and what lies beside them.

A user's files are short and theirs to arrange, so no definition is left out; what they
use of ours is followed like any other code (`common.closure`).
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from common.closure import whole
from common.errors import Refused
from common.source import Target, aliases, path_of, say
from common.track import located


@cache
def closure_digest(module: str) -> str:
    """SHA-256 of a module and of the modules of its folder that it imports."""
    texts = [f"{path.name}\n{stripped(path)}\n" for path in files_of(module)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


@cache
def files_of(module: str) -> tuple[Path, ...]:
    """The files of a module, and of those of its folder that it imports, sorted."""
    return _with_neighbours(_sources(module))


def _with_neighbours(todo: list[Path]) -> tuple[Path, ...]:
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _imported(path):
            near = [path.parent / f"{name}.py", path.parent / name / "__init__.py"]
            todo += [p for p in near if p.is_file()]
    return tuple(sorted(seen))


@cache
def used_by(module: str) -> frozenset[Target]:
    """All of a module, and what its neighbours import, inside functions too.

    (From the module itself its imports are followed name by name.)
    """
    found = whole(module)
    own = path_of(module)
    for path in _with_neighbours([own] if own else []):
        for node in _import_nodes(path) if path != own else ():
            if isinstance(node, ast.Import):
                found.update((alias.name, "") for alias in node.names)
            elif not node.level:
                for _, (home, name) in aliases(node, ""):
                    found.add((home, "" if name == "*" else name))
    return frozenset(found)


def _sources(module: str) -> list[Path]:
    """The files of a module or package, found without importing it."""
    spec = located(module)
    if spec is None or spec.origin is None:
        raise Refused(
            f"a module must be importable, got '{module}'; run where it is found"
        )
    if spec.submodule_search_locations is None:
        return [Path(spec.origin)]
    return sorted(Path(spec.origin).parent.rglob("*.py"))


def _import_nodes(path: Path) -> list[ast.Import | ast.ImportFrom]:
    return [
        node
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def _imported(path: Path) -> set[str]:
    """Every dotted part of every import: a neighbour may be spelt in any of them."""
    parts: set[str] = set()
    for node in _import_nodes(path):
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        parts.update(part for name in names for part in name.split(".") if part)
    return parts


def stripped(path: Path) -> str:
    """The code of a file without comments, docstrings and layout."""
    return say(ast.parse(path.read_bytes()).body, "").text
