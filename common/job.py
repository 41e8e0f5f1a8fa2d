"""One run that is asked for, and all that its numbers depend on.

A run's identity is what decides its numbers: spec and recipe (as JSON, without the
fields that are as they first were), the data's fingerprint, mode, track, seed,
precision, device and threads (which change bits), the variables of the environment that
change arithmetic where some are set (`common.variables`), the versions of the packages
that its code uses, and the code that this system's model, recipe and mode really use in
this track (`common.closure`) or in the user's own modules (`common.own_code`).
Whatever else changes, a new system, a yardstick, another family's file, a new field
with a default, the words of an error, leaves the run valid.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from importlib import metadata
from typing import Any

from common import codec
from common.closure import Closure, closure, roots_of
from common.data import DataRequest
from common.files import canonical, readable
from common.own_code import closure_digest, used_by
from common.source import Target
from common.systems import find
from common.track import module_of
from common.variables import switches

ID_DIGITS = 16  # of the hash: 64 bits, so no two of a billion runs collide

# What a run calls of its track, by mode: where its code begins.
SHARED_ENTRY = ("configure", "predictor", "get_weights")
ENTRIES = {
    "strict": (*SHARED_ENTRY, "build", "train"),
    "aligned": (*SHARED_ENTRY, "build", "train"),
    "native": (*SHARED_ENTRY, "build_native", "train_native"),
}
# And what calls it, hands it the pictures, and judges the run.
FED_BY = (("common.data.dataset", "Part"),)
RUN_BY = (
    *FED_BY,
    ("benchmarks.engine.run", "trained"),
    ("common.evaluate", "judged"),
    ("common.evaluate", "score"),
)
VIEWED_BY = (("common.evaluate", "seen"),)
DRAWN_BY = (("common.start", "initial_weights"),)  # where nothing is given
STARTED_BY = (("common.heads", "transplanted"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A frozen network whose features others learn from.

    Attributes:
        file: Its weights file.
        digest: Of its weights, as `common.weights.digest` gives it.
        image: (height, width, channels) of the pictures it sees.
        precision: What its features were computed in.
    """

    file: str
    digest: str
    image: tuple[int, int, int]
    precision: str

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Base:
        """What `asdict` gave, also after JSON has made a list of the image."""
        return cls(**values | {"image": tuple(values["image"])})


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
        switches: Variables of the environment that change its arithmetic,
            "NAME=value"; usually none.
        base: The frozen network whose features are its pictures; none for pictures
            themselves.  (No part of the identity: the features' own key has it all.)
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
    switches: tuple[str, ...] = ()
    base: Base | None = None
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
        shared, frameworks = _shared(replace(self, seed=0, command=""))
        return shared | {"seed": self.seed, "versions": installed(frameworks)}

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
        """The code that it uses; of the user's own modules, what they use of ours."""
        roots = [*RUN_BY, *(STARTED_BY if self.start else ())]
        if self.mode != "native":
            roots += DRAWN_BY
        if self.records()[1].views:
            roots += VIEWED_BY
        return code_of(
            self.track,
            ENTRIES[self.mode],
            self.records(),
            roots,
            modules=self.modules,
        )

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
        base = values.pop("base", None)
        tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        below = Base.from_dict(base) if base else None
        return cls(**values | tuples, data=data, base=below)


@lru_cache(maxsize=64)
def _shared(job: Job) -> tuple[dict[str, Any], frozenset[str]]:
    """What runs share that differ in their seed alone, and frameworks they use."""
    spec, recipe = job.records()
    used = job.closure()
    shared = {
        "system": job.system,
        "system_code": [closure_digest(module) for module in job.modules],
        "spec": codec.dumps(spec, brief=True),
        "recipe": codec.dumps(recipe, brief=True),
        "data": job.fingerprint,
        "start": job.start_digest,
        "mode": job.mode,
        "track": job.track,
        "precision": job.precision,
        "device": job.device,
        "threads": job.threads,
        "code": used.digests(),
    }
    if job.switches:
        shared["switches"] = list(job.switches)
    return shared, frozenset(used.frameworks)


@cache
def _hashed(job: Job) -> str:
    return hashlib.sha256(canonical(job.identity)).hexdigest()


def code_of(
    track: str,
    entries: Sequence[str],
    values: Sequence[object],
    roots: Sequence[Target] = (),
    *,
    modules: Sequence[str] = (),
) -> Closure:
    """The code that some functions of a track use for some records.

    Args:
        track: Name of the track, or its dotted module.
        entries: Names that the track's package has, or not.
        values: Specs and recipes: their types count, and what builds them.
        roots: Further definitions.
        modules: The user's own modules: what they use of ours counts.
    """
    kinds = codec.types_of(values)
    return _code_of(track, tuple(entries), kinds, tuple(roots), tuple(modules))


@cache
def _code_of(
    track: str,
    entries: tuple[str, ...],
    kinds: tuple[type, ...],
    roots: tuple[Target, ...],
    modules: tuple[str, ...],
) -> Closure:
    package = module_of(track)
    built = [kind for kind in kinds if kind in codec.OURS and "build" in entries]
    found = {
        *roots_of(package, entries, built),
        *((kind.__module__, kind.__qualname__) for kind in kinds),
        *roots,
        *(target for module in modules for target in used_by(module)),
    }
    tops = (module.partition(".")[0] for module in (package, *modules))
    return closure(found, packages=tops)


def versions(track: str) -> dict[str, str]:
    """Versions of NumPy and of a track's framework, without importing either."""
    return installed(code_of(track, ENTRIES["aligned"], ()).frameworks)


@cache
def _frameworks(track: str, mode: str) -> frozenset[str]:
    return frozenset(code_of(track, ENTRIES[mode], ()).frameworks)


def switches_of(track: str, *, mode: str, device: str) -> tuple[str, ...]:
    """What is set here that changes the arithmetic of a track's runs: "NAME=value".

    Raises:
        Refused: A value cannot be kept in a record.
    """
    return switches(_frameworks(track, mode), device)


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
