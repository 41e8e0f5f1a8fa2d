"""One run, one record: what identifies a run, where it lives, whether to trust it.

A store is a folder with one folder per run:

    STORE/<id>/job.json                what was asked for
    STORE/<id>/log.txt                 what the framework said
    STORE/<id>/checkpoint.safetensors  where an unfinished run goes on
    STORE/<id>/logits.safetensors      "logits" (n, classes) and "labels" (n,), test part
    STORE/<id>/weights.safetensors     the final weights
    STORE/<id>/record.json             written last, once: without it nothing is finished

Every file appears whole or not at all, and is checked whenever it is read.
"""

from __future__ import annotations

import ast
import errno
import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data import DataRequest
from common.errors import Refused
from common.track import TRACKS, State
from common.weights import digest

SCHEMA = 1
RECORD, JOB, LOG = "record.json", "job.json", "log.txt"
LOGITS, WEIGHTS = "logits.safetensors", "weights.safetensors"
CHECKPOINT = "checkpoint.safetensors"
ID_DIGITS = 16  # of the hash: 64 bits, so no two of a billion runs collide

# The modules of `common` that decide a run's numbers.  The registry is not among
# them: what a system says is in the repr of its spec and recipe, and a new system
# must not make every old run look stale.
NUMERICAL = ("evaluate", "loop", "plan", "recipe", "spec", "weights")
# A track's module that decides none: it brings data, which have a fingerprint.
NOT_NUMERICAL = ("data.py",)
# The distributions whose version is part of a track's runs, by import name.
FRAMEWORKS = {"torch": ("torch",), "tensorflow": ("tensorflow", "keras")}

FULL = (errno.ENOSPC, errno.EDQUOT)  # how a disk says that it is full

# What a record must hold to be one.
KEYS = frozenset(
    "schema id system data mode precision track seed device threads overrides epochs "
    "spec recipe parameters scores diverged_at history losses times memory "
    "environment files weights_sha256 published sha256".split()
)

Record = dict[str, Any]
Arrays = Mapping[str, NDArray[Any]]


class Damaged(Refused):
    """A file of the store that is not what was written: it is never trusted."""


# --- what identifies a run ------------------------------------------------------


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
            "mode": self.mode,
            "track": self.track,
            "seed": self.seed,
            "precision": self.precision,
            "device": self.device,
            "threads": self.threads,
            "versions": versions(self.track),
            "code": [code_digest(f"common.{name}") for name in NUMERICAL],
            "track_code": code_digest(TRACKS.get(self.track, self.track)),
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


def canonical(value: object) -> bytes:
    """JSON that is the same for equal values."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


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


# --- files that are whole or absent ---------------------------------------------


def write_atomic(
    path: Path, content: bytes, *, guard: Callable[[], None] = lambda: None
) -> None:
    """Write a file that appears whole, checked, or not at all.

    Args:
        path: Where; its folder is made if it is missing.
        content: What.
        guard: Called just before the file appears; may raise or end the process.

    Raises:
        Refused: The disk does not take it (full, read-only, not ours).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_through(temporary, content)
        guard()
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise Refused(unwritable(path, error)) from error


def _write_through(path: Path, content: bytes) -> None:
    """Write to the disk itself and read it back."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)
    if path.read_bytes() != content:
        raise OSError(errno.EIO, "read back other bytes than were written")


def unwritable(path: Path, error: OSError) -> str:
    """What to say of a file that the disk does not take."""
    if error.errno in FULL:
        return (
            f"results must fit the disk, it is full at {path}; free space and "
            "repeat the command, what is finished is kept"
        )
    return (
        f"results must be writable, got '{error.strerror}' for {path}; "
        "correct that or choose another --store"
    )


def pack(arrays: Arrays, about: dict[str, str] | None = None) -> bytes:
    """Arrays as the bytes of a safetensors file.

    Raises:
        ValueError: An array would not come back as it is.
    """
    from safetensors.numpy import load, save

    # safetensors writes wrong values, without a word, for arrays that are not
    # C-contiguous; asarray, because ascontiguousarray makes scalars (1,).
    solid = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content: bytes = save(solid, about)
    back = load(content)
    for name, array in solid.items():
        same = back[name].dtype == array.dtype and back[name].shape == array.shape
        if not same or back[name].tobytes() != array.tobytes():
            raise ValueError(f"{name} must survive being saved, got another array")
    return content


def unpack(content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and metadata of a safetensors file.

    Raises:
        ValueError: The bytes are not one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ValueError(f"not a whole safetensors file: {error}") from error
    size = int.from_bytes(content[:8], "little")
    return arrays, json.loads(content[8 : 8 + size]).get("__metadata__", {})


# --- finished and unfinished runs -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        record: All that is known of it.
        path: Its folder.
    """

    record: Record
    path: Path

    @property
    def id(self) -> str:
        """Its identity."""
        return str(self.record["id"])

    @property
    def diverged(self) -> bool:
        """Whether its loss stopped being a number; then it has no logits."""
        return self.record["scores"] is None

    def logits(self) -> NDArray[np.floating]:
        """Logits of the test part, (n, classes).

        Raises:
            ValueError: The run diverged.
        """
        return self._judged("logits")

    def labels(self) -> NDArray[np.int64]:
        """Labels of the test part, (n,).

        Raises:
            ValueError: The run diverged.
        """
        return self._judged("labels")

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which test examples it gets right, (n,).

        Raises:
            ValueError: The run diverged.
        """
        return np.asarray(self.logits().argmax(axis=1) == self.labels())

    def weights(self) -> dict[str, NDArray[Any]]:
        """Canonical name -> final weights.

        Raises:
            ValueError: The run diverged.
        """
        return self._arrays(WEIGHTS)

    def _judged(self, name: str) -> NDArray[Any]:
        return self._arrays(LOGITS)[name]

    def _arrays(self, file: str) -> dict[str, NDArray[Any]]:
        if file not in self.record["files"]:
            step = self.record["diverged_at"]
            raise ValueError(
                f"only a run that ended well has {file}, {self.id} diverged at step "
                f"{step}; look at its scores first"
            )
        return unpack((self.path / file).read_bytes())[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where an unfinished run goes on.

    Attributes:
        state: The track's own.
        seconds: How long the run took so far, in all its attempts.
        peak: Largest memory so far, in bytes.
        resumed: After which epochs it went on before.
    """

    state: State
    seconds: float = 0.0
    peak: int = 0
    resumed: tuple[int, ...] = ()


class Store:
    """The runs in one folder.

    Args:
        path: The folder; TWINTRACK_STORE, else `runs` here, if none is given.
        guard: Called just before a file appears; may end the process.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = Path(path or os.environ.get("TWINTRACK_STORE") or "runs")
        self.guard = guard

    def folder(self, run: str) -> Path:
        """Where the run of this id lives."""
        return self.path / run

    def find(self, run: str) -> Run | None:
        """The finished run of this id, its files checked, or none.

        Raises:
            Damaged: It was finished, but its files are not what was written.
        """
        folder = self.folder(run)
        if not (folder / RECORD).exists():
            return None
        record = _checked_record(folder)
        for name, expected in record["files"].items():
            _check_hash(folder / name, expected)
        return Run(record, folder)

    def scan(self) -> tuple[list[Run], list[Damaged]]:
        """Every finished run, sorted by id, and what is wrong with the others."""
        found: list[Run] = []
        damaged: list[Damaged] = []
        for record in sorted(self.path.glob(f"*/{RECORD}")):
            try:
                run = self.find(record.parent.name)
            except Damaged as error:
                damaged.append(error)
            else:
                found += [run] if run else []
        return found, damaged

    def runs(self) -> list[Run]:
        """Every finished run that can be trusted, sorted by id."""
        return self.scan()[0]

    def write(
        self,
        record: Record,
        *,
        logits: bytes | None = None,
        weights: bytes | None = None,
    ) -> Run:
        """Keep a finished run: its files, then its record, then no checkpoint.

        Args:
            record: All keys but those that describe the files.
            logits: The packed logits and labels; none if the run diverged.
            weights: The packed final weights; none if the run diverged.
        """
        folder = self.folder(record["id"])
        files = {LOGITS: logits, WEIGHTS: weights}
        present = {name: content for name, content in files.items() if content}
        for name, content in present.items():
            write_atomic(folder / name, content, guard=self.guard)
        hashes = {name: hashlib.sha256(c).hexdigest() for name, c in present.items()}
        record = record | {"files": hashes, "weights_sha256": hashes.get(WEIGHTS)}
        record["sha256"] = _seal(record)
        write_atomic(folder / RECORD, readable(record), guard=self.guard)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return Run(_checked_record(folder), folder)

    def save_checkpoint(self, run: str, checkpoint: Checkpoint) -> None:
        """Replace the run's checkpoint by this one."""
        about = {
            "schema": SCHEMA,
            "id": run,
            "epoch": checkpoint.state.epoch,
            "step": checkpoint.state.step,
            "seconds": checkpoint.seconds,
            "peak": checkpoint.peak,
            "resumed": list(checkpoint.resumed),
            "arrays": digest(checkpoint.state.arrays),
        }
        sealed = {"about": canonical(about).decode(), "sha256": _seal(about)}
        content = pack(checkpoint.state.arrays, sealed)
        write_atomic(self.folder(run) / CHECKPOINT, content, guard=self.guard)

    def load_checkpoint(self, run: str) -> Checkpoint | None:
        """Where the run of this id goes on, or none.

        Raises:
            Damaged: There is a checkpoint, but not as it was written.
        """
        path = self.folder(run) / CHECKPOINT
        if not path.exists():
            return None
        try:
            arrays, sealed = unpack(path.read_bytes())
            about = json.loads(sealed["about"])
            whole = sealed["sha256"] == _seal(about)
            whole = whole and about["arrays"] == digest(arrays)
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error
        if not whole or about["schema"] != SCHEMA or about["id"] != run:
            raise _damaged(path, "content that does not match its hash, id or schema")
        return Checkpoint(
            state=State(epoch=about["epoch"], step=about["step"], arrays=arrays),
            seconds=about["seconds"],
            peak=about["peak"],
            resumed=tuple(about["resumed"]),
        )

    def set_aside(self, run: str) -> Path:
        """Move a run's files out of the way, losing none; the folder they are in."""
        folder = self.folder(run)
        n = 1
        while (aside := folder / f"damaged-{n}").exists():
            n += 1
        aside.mkdir()
        for name in (RECORD, LOGITS, WEIGHTS, CHECKPOINT):  # the record goes first
            with suppress(FileNotFoundError):
                (folder / name).replace(aside / name)
        return aside

    @contextmanager
    def lock(self, run: str, *, waiting: Callable[[], None]) -> Iterator[None]:
        """Be the only process that works on a run; `waiting` is called if one does.

        The lock ends with its process, however that ends.  It is a record lock:
        unlike `flock`'s, a forked worker that outlives its parent holds no copy.
        """
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("a") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                waiting()
                fcntl.lockf(file, fcntl.LOCK_EX)
            yield


def _seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of everything else in a record."""
    rest = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(canonical(rest)).hexdigest()


def _checked_record(folder: Path) -> Record:
    path = folder / RECORD
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, f"no JSON ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise _damaged(path, f"no record of schema {SCHEMA}")
    if missing := sorted(KEYS - record.keys()):
        raise _damaged(path, f"no {', '.join(missing)}")
    try:
        whole = record["sha256"] == _seal(record) and record["id"] == folder.name
    except ValueError:  # a NaN, which we never write
        whole = False
    if not whole:
        raise _damaged(path, "content that does not match its hash or its folder")
    return record


def _check_hash(path: Path, expected: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise _damaged(path, "no file") from error
    if found != expected:
        raise _damaged(path, "content that does not match the record's hash")


def _damaged(path: Path, found: str) -> Damaged:
    return Damaged(
        f"a result must be as it was written, found {found} in {path}; "
        "repeat its compare, which sets it aside and runs it again"
    )


def readable(value: object) -> bytes:
    """JSON that people can read too.

    Raises:
        ValueError: There is a NaN in it.
    """
    return (json.dumps(value, allow_nan=False, indent=1) + "\n").encode()


def figure(value: float | None) -> float | None:
    """A number for a record: none where it is undefined."""
    return None if value is None or not math.isfinite(value) else float(value)
