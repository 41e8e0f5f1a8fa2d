"""One run that is asked for, and all that its numbers depend on."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common.data import DataRequest
from common.errors import Refused
from common.files import canonical, readable
from common.track import module_of

ID_DIGITS = 16  # of the hash: 64 bits, so no two of a billion runs collide

# The modules of `common` that decide a run's numbers.  The registry is not among
# them: what a system says is in the repr of its spec and recipe, and a new system
# must not make every old run look stale.
NUMERICAL = (
    "evaluate",
    "heads",
    "inception",
    "loop",
    "native_mode",
    "plan",
    "recipe",
    "spec",
    "weights",
)
# A track's module that decides none: it brings data, which have a fingerprint.
NOT_NUMERICAL = ("data.py",)
# The distributions whose version is part of a track's runs, by import name.
FRAMEWORKS = {"torch": ("torch", "torchvision"), "tensorflow": ("tensorflow", "keras")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run that is asked for; as a file it is all that a child process needs.

    Attributes:
        system: Name in the registry.
        module: Dotted module that registers it, for a user's own system.
        builder: "package.module:name" of what builds its model, for a user's own spec.
        overrides: The `--set` settings, as given.
        data: Which pictures.
        fingerprint: Of the data set that `data` named when the run was asked for.
        image: (height, width, channels) of its pictures.
        classes: Number of its classes.
        mode: "strict", "aligned" or "native".
        track: Name of the track, or its dotted module.
        seed: Of the weights and the plan.
        precision: Resolved: "float32", "bfloat16" or "float64".
        device: Resolved: "cpu" or "gpu".
        threads: Of the framework.
        epochs: Passes over the training data.
        spec: repr of the spec.
        recipe: repr of the recipe.
        start: File of weights to start from, their last layer replaced; none for
            the spec's own draw.
        start_digest: Of those weights, as `common.weights.digest` gives it.
        command: The command line that asked for it, as it was typed.
    """

    system: str
    module: str | None = None
    builder: str | None = None
    overrides: tuple[str, ...] = ()
    data: DataRequest
    fingerprint: str
    image: tuple[int, int, int]
    classes: int
    mode: str
    track: str
    seed: int
    precision: str
    device: str
    threads: int
    epochs: int
    spec: str
    recipe: str
    start: str | None = None
    start_digest: str | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if found := re.search(r"<[^<>]* at 0x[0-9a-f]+>", self.spec + self.recipe):
            raise Refused(
                "a spec must have a repr that says all of it, got "
                f"{found.group()}; use frozen dataclasses"
            )

    @property
    def name(self) -> str:
        """How people call it: "small-cnn torch seed 2"."""
        return f"{self.system} {self.track} seed {self.seed}"

    @property
    def modules(self) -> list[str]:
        """The user's own modules that it runs."""
        builder = self.builder.partition(":")[0] if self.builder else None
        return sorted({module for module in (self.module, builder) if module})

    @property
    def identity(self) -> dict[str, Any]:
        """All that its numbers depend on."""
        return {
            "system": self.system,
            "system_code": [closure_digest(module) for module in self.modules],
            "spec": self.spec,
            "recipe": self.recipe,
            "data": self.fingerprint,
            "start": self.start_digest,
            "mode": self.mode,
            "track": self.track,
            "seed": self.seed,
            "precision": self.precision,
            "device": self.device,
            "threads": self.threads,
            "versions": versions(self.track),
            **numerical_code(self.track),
        }

    @property
    def id(self) -> str:
        """Its identity, hashed; also the name of its folder."""
        hashed = hashlib.sha256(canonical(self.identity)).hexdigest()
        readable = re.sub(r"[^\w.-]+", "_", f"{self.system}-{self.track}-{self.seed}")
        return f"{readable}-{hashed[:ID_DIGITS]}"

    def to_json(self) -> bytes:
        """The job file."""
        return readable(asdict(self))

    @classmethod
    def from_json(cls, content: bytes) -> Job:
        """Read a job file back."""
        values = json.loads(content)
        data = DataRequest.from_dict(values.pop("data"))
        tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**values | tuples, data=data)


def numerical_code(track: str) -> dict[str, Any]:
    """Digests of all code of ours that decides what `track` computes."""
    return {
        "code": [code_digest(f"common.{name}") for name in NUMERICAL],
        "track_code": code_digest(module_of(track)),
    }


def versions(track: str) -> dict[str, str]:
    """Versions of NumPy and of the track's framework, without importing either."""
    names = ("numpy", *FRAMEWORKS.get(track, ()))
    return {name: _version(name) for name in names}


@cache
def _version(module: str) -> str:
    """Version of the distribution that brings `module` (tensorflow-cpu, say)."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(module)
    for distribution in metadata.packages_distributions().get(module, []):
        return metadata.version(distribution)
    raise Refused(f"the run needs {module}, which is not installed; install {module}")


@cache
def code_digest(module: str) -> str:
    """SHA-256 of what a module or package does, whatever its comments say."""
    total = hashlib.sha256()
    for path in _sources(module):
        if path.name not in NOT_NUMERICAL:
            total.update(f"{path.name}\n{stripped(path)}\n".encode())
    return total.hexdigest()


@cache
def closure_digest(module: str) -> str:
    """The same for a user's module and the modules of its folder that it imports."""
    todo, seen = _sources(module), dict[Path, str]()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen[path] = stripped(path)
        for name in _imported(path):
            near = [path.parent / f"{name}.py", path.parent / name / "__init__.py"]
            todo += [p for p in near if p.is_file()]
    texts = [f"{path.name}\n{seen[path]}\n" for path in sorted(seen)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _sources(module: str) -> list[Path]:
    """The files of a module or package, found without importing it."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise Refused(
            f"a module must be importable, got '{module}'; run where it is found"
        )
    if spec.submodule_search_locations is None:
        return [Path(spec.origin)]
    return sorted(Path(spec.origin).parent.rglob("*.py"))


def _imported(path: Path) -> set[str]:
    """Every dotted part of every import: a neighbour may be spelt in any of them."""
    parts: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        else:
            continue
        parts.update(part for name in names for part in name.split(".") if part)
    return parts


def stripped(path: Path) -> str:
    """The code of a file without comments, docstrings and layout."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
