"""One run that is asked for, and all that its numbers depend on.

A run's identity is what decides its numbers: spec and recipe (as JSON, without the
fields that are as they first were), the data's fingerprint, mode, track, seed,
precision, device and threads (which change bits), versions, and the code that this
system's model, recipe and mode really use in this track (`common.closure`).  Whatever
else changes, a new system, a yardstick, another family's file, a new field with a
default, leaves the run valid.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from common import codec
from common.closure import Closure, Target, builder_of, closure, without_docstrings
from common.data import DataRequest
from common.errors import Refused
from common.files import canonical, readable
from common.systems import find
from common.track import located, module_of

ID_DIGITS = 16  # of the hash: 64 bits, so no two of a billion runs collide

# What a run calls of its track, by mode: where its code begins.
SHARED_ENTRY = ("configure", "predictor", "get_weights")
ENTRIES = {
    "strict": (*SHARED_ENTRY, "build", "train"),
    "aligned": (*SHARED_ENTRY, "build", "train"),
    "native": (*SHARED_ENTRY, "build_native", "train_native"),
}
# And what every run calls of `common`.
JUDGED_BY = (("common.evaluate", "predict_all"), ("common.evaluate", "score"))
PLANNED_BY = (("common.plan", "Plan"),)
STARTED_BY = (("common.heads", "transplanted"),)


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
        spec: The spec, as `common.codec` writes it.
        recipe: The recipe, the same.
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
        """All that its numbers depend on, and nothing else."""
        spec, recipe = self.records()
        used = self.closure()
        return {
            "system": self.system,
            "system_code": [closure_digest(module) for module in self.modules],
            "spec": codec.dumps(spec, brief=True),
            "recipe": codec.dumps(recipe, brief=True),
            "data": self.fingerprint,
            "start": self.start_digest,
            "mode": self.mode,
            "track": self.track,
            "seed": self.seed,
            "precision": self.precision,
            "device": self.device,
            "threads": self.threads,
            "versions": installed(used.frameworks),
            "code": used.digests(),
        }

    def records(self) -> tuple[Any, Any]:
        """Spec and recipe.

        Raises:
            Refused: They are not what `common.codec` writes, or of an unknown type.
        """
        if self.module:
            find(self.module)  # it registers its types
        spec, recipe = (codec.loads(t, trusted=True) for t in (self.spec, self.recipe))
        return spec, recipe

    def closure(self) -> Closure:
        """The code that it uses, the user's own modules left out."""
        roots = [*JUDGED_BY, *PLANNED_BY, *(STARTED_BY if self.start else ())]
        return code_of(self.track, ENTRIES[self.mode], self.records(), roots)

    @property
    def id(self) -> str:
        """Its identity, hashed; also the name of its folder."""
        hashed = _hashed(self)
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


@cache
def _hashed(job: Job) -> str:
    return hashlib.sha256(canonical(job.identity)).hexdigest()


def code_of(
    track: str,
    entries: Sequence[str],
    values: Sequence[object],
    roots: Sequence[Target] = (),
) -> Closure:
    """The code that some functions of a track use for some records.

    Args:
        track: Name of the track, or its dotted module.
        entries: Names that the track's package has, or not.
        values: Specs and recipes: their types count, and what builds them.
        roots: Further definitions.
    """
    return _code_of(track, tuple(entries), types_of(values), tuple(roots))


@cache
def _code_of(
    track: str,
    entries: tuple[str, ...],
    kinds: tuple[type, ...],
    roots: tuple[Target, ...],
) -> Closure:
    package = module_of(track)
    found = [*((package, entry) for entry in entries), *roots]
    for kind in kinds:
        found.append((kind.__module__, kind.__qualname__))
        ours = "build" in entries and kind in codec.OURS
        if ours and (builder := builder_of(package, kind.__name__)):
            found.append(builder)
    return closure(found, packages=[package.partition(".")[0]])


def types_of(values: Sequence[object]) -> tuple[type, ...]:
    """The types of records and of all records in them, each once."""
    found: dict[type, None] = {}
    todo = list(values)
    while todo:
        value = todo.pop(0)
        if isinstance(value, tuple):
            todo += value
        elif is_dataclass(value) and not isinstance(value, type):
            found[type(value)] = None
            todo += [getattr(value, f.name) for f in fields(value)]
    return tuple(found)


def versions(track: str) -> dict[str, str]:
    """Versions of NumPy and of a track's framework, without importing either."""
    return installed(code_of(track, ENTRIES["aligned"], ()).frameworks)


def installed(frameworks: Iterable[str]) -> dict[str, str]:
    """Version of NumPy and of each of `frameworks` that is installed."""
    found = {name: _version(name) for name in ("numpy", *sorted(frameworks))}
    return {name: version for name, version in found.items() if version}


@cache
def _version(module: str) -> str:
    """Version of the distribution that brings `module` (tensorflow-cpu, say), or ""."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(module)
    for distribution in metadata.packages_distributions().get(module, []):
        return metadata.version(distribution)
    return ""


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
    spec = located(module)
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
    return ast.unparse(without_docstrings(ast.parse(path.read_bytes())))
