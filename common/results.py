"""Results that survive: one run, one record, and whether it can be trusted.

A store is a folder with one folder per run:

    STORE/<id>/job.json                what was asked for
    STORE/<id>/log.txt                 what the framework said
    STORE/<id>/checkpoint.safetensors  where an unfinished run goes on
    STORE/<id>/logits.safetensors      "logits" (n, classes), "labels" (n,): test part
    STORE/<id>/weights.safetensors     the final weights
    STORE/<id>/answers.safetensors     "predicted" (n,), "labels" (n,): of a run whose
                                       logits were pruned
    STORE/<id>/record.json             written last: without it nothing is finished

Every file appears whole or not at all, and is checked whenever it is read.  In a folder
that is a group's, every file is the group's (`common.files.share`).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import Damaged, Refused
from common.files import (
    canonical,
    make_folder,
    open_shared,
    pack,
    readable,
    seal,
    unpack,
    whose,
    write_atomic,
)
from common.track import State
from common.weights import digest

SCHEMA = 2  # 1 had specs and recipes as Python writes them
RECORD, JOB, LOG = "record.json", "job.json", "log.txt"
LOGITS, WEIGHTS = "logits.safetensors", "weights.safetensors"
CHECKPOINT, LOCK = "checkpoint.safetensors", "lock"
ANSWERS = "answers.safetensors"
FOLDS = "new-class"  # subfolder of a store, itself one: networks of new-class's folds

# What a record must hold to be one.
KEYS = frozenset(
    (
        *("schema", "id", "system", "data", "mode", "precision", "track", "seed"),
        *("device", "threads", "overrides", "epochs", "spec", "recipe", "parameters"),
        *("scores", "diverged_at", "history", "losses", "times", "memory"),
        *("environment", "files", "weights_sha256", "published", "sha256"),
    )
)

Record = dict[str, Any]

NUMBER = (int, float)
NONE = type(None)


class Absent:
    """Stands in a form for a key that need not be there."""


# What readers of a record rely on: key -> a type, several, a list of one form, a table
# of one form (`str`), or keys.
FORM: dict[str, Any] = {
    **dict.fromkeys(("system", "mode", "precision", "track", "device"), str),
    **dict.fromkeys(("spec", "recipe"), str),
    **dict.fromkeys(("seed", "threads", "epochs", "parameters"), int),
    "overrides": [str],
    "losses": [(NONE, *NUMBER)],
    "history": [{"epoch": int, "train_loss": (NONE, *NUMBER)}],
    "data": {
        **dict.fromkeys(("name", "fingerprint", "note"), str),
        **dict.fromkeys(("train", "test"), int),
        "classes": [str],
    },
    "scores": (NONE, {"accuracy": NUMBER, "loss": NUMBER, "n": int}),
    "diverged_at": (NONE, int),
    "times": {
        "total": NUMBER,
        **dict.fromkeys(("train", "first_step", "images_per_second"), (NONE, *NUMBER)),
    },
    "memory": {"peak": int, "gpu": (Absent, NONE, int)},
    "environment": {"versions": (Absent, {str: str})},
    "identity": (
        Absent,
        NONE,
        {
            **dict.fromkeys(("spec", "recipe"), (Absent, NONE, str)),
            **dict.fromkeys(("versions", "code"), (Absent, NONE, {str: str})),
            "system_code": (Absent, NONE, [str]),
        },
    ),
    "curve": (Absent, NONE, [NUMBER]),
    "command": (Absent, NONE, str),
    "files": {str: str},
    "pruned": (Absent, {str: {"sha256": str, "bytes": int, "when": str}}),
    "weights_sha256": (NONE, str),
    "published": (
        NONE,
        {
            "source": str,
            "data": (Absent, NONE, str),
            **dict.fromkeys(("torch", "tensorflow", "other"), (Absent, NONE, *NUMBER)),
        },
    ),
}


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

    @property
    def pruned(self) -> dict[str, dict[str, Any]]:
        """Name of a file that was pruned -> its "sha256", "bytes", and "when"."""
        return dict(self.record.get("pruned") or {})

    def has(self, *files: str) -> bool:
        """Whether all of these files are kept."""
        return all(name in self.record["files"] for name in files)

    def logits(self) -> NDArray[np.floating]:
        """Logits of the test part, (n, classes).

        Raises:
            Refused: They were pruned.
            ValueError: The run diverged.
        """
        return self._arrays(LOGITS)["logits"]

    def labels(self) -> NDArray[np.int64]:
        """Labels of the test part, (n,).

        Raises:
            ValueError: The run diverged.
        """
        return self._answers()[1]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """What it calls each test example, (n,).

        Raises:
            ValueError: The run diverged.
        """
        return self._answers()[0]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which test examples it gets right, (n,).

        Raises:
            ValueError: The run diverged.
        """
        predicted, labels = self._answers()
        return np.asarray(predicted == labels)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Canonical name -> final weights.

        Raises:
            Refused: They were pruned.
            ValueError: The run diverged.
        """
        return self._arrays(WEIGHTS)

    def check_has(self, *files: str) -> None:
        """Refuse a run some of whose files were pruned.

        Raises:
            Refused: They were; it says when, and how to have them again.
        """
        for name in files:
            if gone := self.pruned.get(name):
                raise Refused(
                    f"this needs the {name.partition('.')[0]} of {self.id}, which were "
                    f"pruned from the store on {gone['when'][:10]}; bring them back "
                    "with twintrack store merge OTHER --restore, or remove the run "
                    f"(twintrack store prune {self.id} --drop runs --yes) and train it "
                    "again"
                )

    def _answers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What it calls each test example, and what each is."""
        if self.has(ANSWERS):
            kept = self._arrays(ANSWERS)
            return kept["predicted"].astype(np.int64), kept["labels"].astype(np.int64)
        found = self._arrays(LOGITS)
        return found["logits"].argmax(axis=1), found["labels"]

    def _arrays(self, file: str) -> dict[str, NDArray[Any]]:
        self.check_has(file)
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
        try:
            (folder / RECORD).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(folder / RECORD, error) from error
        record = _checked_record(folder)
        for name, expected in record["files"].items():
            _check_hash(folder / name, expected)
        return Run(record, folder)

    def scan(self) -> tuple[list[Run], list[Damaged]]:
        """Every finished run, sorted by id, and what is wrong with the others.

        Raises:
            Refused: The store may not be read.
        """
        found: list[Run] = []
        damaged: list[Damaged] = []
        for name in self.folders():
            try:
                run = self.find(name)
            except Damaged as error:
                damaged.append(error)
            else:
                found += [run] if run else []
        return found, damaged

    def folders(self) -> list[str]:
        """Names of what may be runs, sorted; no name that a glob would pass over.

        Raises:
            Refused: The store may not be read.
        """
        try:
            with os.scandir(self.path) as there:
                found = [entry.name for entry in there if entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Refused(
                f"a store must be readable, got '{error.strerror}' for {self.path}; "
                "correct that or name another --store"
            ) from error
        return sorted(name for name in found if not name.startswith("."))

    def latest(self) -> Iterator[Run]:
        """Finished runs that can be trusted, the newest first, each checked in turn."""
        records = [(p.stat().st_mtime_ns, p) for p in self.path.glob(f"*/{RECORD}")]
        for _, record in sorted(records, reverse=True):
            with suppress(Damaged):
                if run := self.find(record.parent.name):
                    yield run

    def trained_alike(self, run: str, identity: Mapping[str, Any]) -> Run | None:
        """A run that was trained, and differs in how often it is judged alone.

        Args:
            run: Id of the run that is wanted; system, track and seed begin it.
            identity: What decides its numbers.
        """
        wanted = _as_trained(identity)
        for record in sorted(self.path.glob(f"{run.rpartition('-')[0]}-*/{RECORD}")):
            with suppress(Damaged):
                found = self.find(record.parent.name)
                if found and found.record.get("trained_by", found.id) != found.id:
                    continue  # it was only judged itself
                if found and found.has(WEIGHTS) and found.id != run:
                    theirs = found.record.get("identity")
                    if theirs and _as_trained(theirs) == wanted:
                        return found
        return None

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
            self._put(folder / name, content)
        hashes = {name: hashlib.sha256(c).hexdigest() for name, c in present.items()}
        record = record | {"files": hashes, "weights_sha256": hashes.get(WEIGHTS)}
        return self.put_record(record)

    def put_record(self, record: Record) -> Run:
        """Seal a record and put it where it belongs; the run needs no checkpoint then.

        The files that it names are there already.
        """
        folder = self.folder(record["id"])
        sealed = record | {"sha256": seal(record)}
        self._put(folder / RECORD, readable(sealed))
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return Run(_checked_record(folder), folder)

    def put_file(self, run: str, name: str, content: bytes) -> None:
        """Put a file of a run where it belongs, whole or not at all."""
        self._put(self.folder(run) / name, content)

    def _put(self, path: Path, content: bytes) -> None:
        write_atomic(path, content, guard=self.guard, shared=True)

    def log(self, run: str) -> Path:
        """The file that all goes to that a run's framework says.

        Raises:
            Refused: It cannot be written to.
        """
        path = self.folder(run) / LOG
        open_shared(path)
        return path

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
        sealed = {"about": canonical(about).decode(), "sha256": seal(about)}
        content = pack(checkpoint.state.arrays, sealed)
        self._put(self.folder(run) / CHECKPOINT, content)

    def load_checkpoint(self, run: str) -> Checkpoint | None:
        """Where the run of this id goes on, or none.

        Raises:
            Damaged: There is a checkpoint, but not as it was written.
        """
        path = self.folder(run) / CHECKPOINT
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            arrays, sealed = unpack(content)
            about = json.loads(sealed["about"])
            whole = sealed["sha256"] == seal(about)
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
        make_folder(aside, shared=True)
        for name in (
            RECORD,
            LOGITS,
            WEIGHTS,
            ANSWERS,
            CHECKPOINT,
        ):  # the record goes first
            with suppress(FileNotFoundError):
                (folder / name).replace(aside / name)
        return aside

    @contextmanager
    def lock(self, run: str, *, waiting: Callable[[], None]) -> Iterator[None]:
        """Be the only process that works on a run; `waiting` is called if one does.

        The lock ends with its process, however that ends.  It is a record lock:
        unlike `flock`'s, a forked worker that outlives its parent holds no copy.

        Raises:
            Refused: The lock is another user's, who shares it with nobody.
        """
        path = self.folder(run) / LOCK
        while True:
            open_shared(path)
            with path.open("a") as file:
                _locked(file, waiting)
                if not _is_at(file, path):  # the run was removed while we waited
                    continue
                yield
                return


def _locked(file: IO[str], waiting: Callable[[], None]) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        waiting()
        fcntl.lockf(file, fcntl.LOCK_EX)


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _checked_record(folder: Path) -> Record:
    path = folder / RECORD
    try:
        record = json.loads(_regular(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"no JSON ({error})") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise _damaged(path, f"no record of schema {SCHEMA}")
    if missing := sorted(KEYS - record.keys()):
        raise _damaged(path, f"no {', '.join(missing)}")
    try:
        whole = record["sha256"] == seal(record) and record["id"] == folder.name
    except ValueError:  # a NaN, which we never write
        whole = False
    if not whole:
        raise _damaged(path, "content that does not match its hash or its folder")
    if wrong := _unlike(record, FORM) or _inconsistent(record):
        raise _damaged(path, f"another form than a record's at {wrong}")
    return record


def _unlike(value: Any, form: Any, at: str = "its top") -> str:
    """Where a value is not of a form; "" if nowhere."""
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return at
        if str in form:
            return _unlike([*value.values()], [form[str]], at)
        parts = (_unlike(value.get(key, Absent()), form[key], key) for key in form)
        return next((wrong for wrong in parts if wrong), "")
    if isinstance(form, list):
        sound = isinstance(value, list) and not any(_unlike(v, form[0]) for v in value)
        return "" if sound else at
    if isinstance(form, tuple):
        return "" if any(not _unlike(value, one, at) for one in form) else at
    return "" if isinstance(value, form) else at


def _inconsistent(record: Record) -> str:
    """Where a record of the right form contradicts itself; "" if nowhere.

    A file's name of another kind could lead out of the run's folder.
    """
    files, gone = record["files"].keys(), (record.get("pruned") or {}).keys()
    if not files <= {LOGITS, WEIGHTS, ANSWERS} or not gone <= {LOGITS, WEIGHTS}:
        return "files"
    if record["scores"] is None:
        return ""
    if not files & {LOGITS, ANSWERS} or WEIGHTS not in files | gone:
        return "files"
    return "" if record["scores"]["n"] == record["data"]["test"] else "scores"


def _regular(path: Path) -> Path:
    """The same path, unless reading it could take for ever."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "no regular file")
    return path


def _check_hash(path: Path, expected: str) -> None:
    try:
        found = hashlib.sha256(_regular(path).read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise _damaged(path, "no file") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if found != expected:
        raise _damaged(path, "content that does not match the record's hash")


def _damaged(path: Path, found: str) -> Damaged:
    return Damaged(
        f"a result must be as it was written, found {found} in {path}; "
        "repeat its compare, which sets it aside and runs it again"
    )


def _unreadable(path: Path, error: OSError) -> Damaged:
    return Damaged(
        f"a result must be readable, got '{error.strerror}' for {path}{whose(path)}; "
        "correct that, or have it shared with you"
    )


def _as_trained(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without what is only of judging."""
    recipe = json.loads(identity["recipe"])
    recipe.pop("repeats", None)
    return {**identity, "recipe": recipe}


def repeats_of(record: Mapping[str, Any]) -> int:
    """How often the pictures of a run are judged."""
    return int(json.loads(asked(record)[1]).get("repeats", 1))


def asked(record: Mapping[str, Any]) -> tuple[str, str]:
    """Spec and recipe of a record, the same however many fields came after it."""
    known = {key: record[key] for key in ("spec", "recipe")}
    known |= record.get("identity") or {}
    return known["spec"], known["recipe"]


def figure(value: float | None) -> float | None:
    """A number for a record: none where it is undefined."""
    return None if value is None or not math.isfinite(value) else float(value)
