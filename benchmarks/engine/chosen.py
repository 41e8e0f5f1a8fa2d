"""Which trained networks a command asks: the newest runs of a store, or a file."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.machine import available_cores
from benchmarks.engine.networks import Trained
from common import codec, model_file
from common.data.cache import cache_folder, shared_folders
from common.errors import Damaged, Refused
from common.files import seal
from common.heads import base_for
from common.inception import InceptionSpec
from common.job import Base
from common.model_file import About
from common.overrides import applied
from common.results import (
    FOLDS,
    KEYS,
    LOGITS,
    RECORD,
    WEIGHTS,
    Record,
    Run,
    Store,
    asked,
    repeats_of,
)
from common.spec import Spec
from common.store import on_data
from common.systems import find, resolve
from common.track import DEFAULT
from common.weights import digest

SYSTEM = "inception-v3"  # the one that has official weights
IMPORTED = ".weights"  # of the cache; hidden, because it is no data set
LIBRARIES = ("torchvision", "keras")  # whose files can be imported
FRAMING = "Pillow: short side to 342 bilinear, centre crop 299"
PREPROCESSING = f"{FRAMING}; then -1 to 1"
# What a network was shown, a key of common.library_files.PIXELS -> the same in words.
SHOWN = {
    "half": PREPROCESSING,
    "imagenet": f"{FRAMING}; then ImageNet's mean and deviation",
}
# Of two runs that only the track tells apart.
PAIR = ("system", "mode", "precision", "seed", "epochs")
TEXTS = ("spec", "recipe")  # of a record
NAMED = 12  # classes that are named one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs of a store are asked; all of it left out: the newest.

    Attributes:
        run: Id of one, or a beginning that no other has.
        system: A name, or the module that registers one.
        data: A data set's name, or its folder.
        seed: Of weights and plan.
        changes: "recipe.field=value": the runs whose fields have these values.
    """

    run: str | None = None
    system: str | None = None
    data: str | None = None
    seed: int | None = None
    changes: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """As options, each with a space before it."""
        plain = {"system": self.system, "data": self.data, "seed": self.seed}
        words = [(f"--{name}", str(v)) for name, v in plain.items() if v is not None]
        words += [("--set", text) for text in self.changes]
        return "".join(f" {shlex.join(pair)}" for pair in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Networks that are asked the same.

    Attributes:
        networks: Track -> its network.
        spec: Of what sees the pictures.
        classes: Name of each label.
        test_logits: Track -> logits of its test part (n, classes), where known.
        test_labels: Their labels (n,), where known.
        same_weights: Whether all have one weights file.
        about: What they are, in a line.
        facts: The same, for --json.
        runs: Track -> the run in the store it comes from, where it comes from one.
        preprocessing: How a photo becomes their pixels, where a file says it.
        notes: A line for each newer run that would have been asked, and why it is not.
    """

    networks: Mapping[str, Trained]
    spec: Spec
    classes: tuple[str, ...]
    test_logits: Mapping[str, NDArray[np.floating]]
    test_labels: NDArray[np.int64] | None
    same_weights: bool
    about: str
    facts: Mapping[str, Any]
    runs: Mapping[str, Run]
    preprocessing: str = ""
    notes: tuple[str, ...] = ()


def from_store(store: Store, wanted: Wanted, tracks: Sequence[str]) -> Choice:
    """The newest finished run that is wanted, and its pairs in the other tracks.

    Raises:
        Refused: There is none, or the one that is named cannot be asked.
    """
    if wanted.run is not None:
        return _of_run(store, wanted, tracks)
    notes: list[str] = []
    found = _newest_wanted(store, wanted, tracks, notes, alike=False)
    if found is None and wanted.data is not None:
        more = [on_data.said(wanted.data)]
        found = _newest_wanted(store, wanted, tracks, more, alike=True)
        notes = more if found else notes
    if found is None:
        raise Refused(_nothing(store, wanted, tracks, notes))
    return replace(found, notes=tuple(notes[:NAMED]))


def _newest_wanted(
    store: Store,
    wanted: Wanted,
    tracks: Sequence[str],
    notes: list[str],
    *,
    alike: bool,
) -> Choice | None:
    """The newest run that can be asked, with its pairs; `notes` gets those before."""
    for record in newest(store.path, notes):
        of_track = record["track"] in tracks
        if not of_track or not _matches(record, wanted, store, alike=alike):
            continue
        try:
            run = store.find(record["id"])
        except Damaged as error:
            notes.append(f"left out: {error}")
            continue
        why = why_not(run) if run else "is gone by now"
        if run is None or why:
            notes.append(f"left out: {record['id']} {why}")
            continue
        return from_runs(pairs_of(run, store, tracks))
    return None


def newest(path: Path, notes: list[str] | None = None) -> Iterator[Record]:
    """The records of a store, the newest first; their files are not looked at.

    Args:
        path: Of the store.
        notes: Given a line for each record that is not as it was written.
    """
    found = [(p.stat().st_mtime_ns, p) for p in path.glob(f"*/{RECORD}")]
    for _, file in sorted(found, reverse=True):
        record: Any = None
        with suppress(OSError, ValueError, RecursionError):
            record = json.loads(file.read_bytes())
        if is_whole(record) and record["id"] == file.parent.name:
            yield record
        elif notes is not None:
            notes.append(f"left out: {file} is not as it was written")


def is_whole(record: Any) -> bool:
    """Whether this is a record of a run, as it was written."""
    with suppress(ValueError):  # a NaN, which no record has
        known = isinstance(record, dict) and record.keys() >= KEYS
        return known and record["sha256"] == seal(record)
    return False


def _of_run(store: Store, wanted: Wanted, tracks: Sequence[str]) -> Choice:
    """The run that --run names, here or among new-class's, and its pairs.

    Raises:
        Refused: There is none or there are several, or it cannot be asked.
    """
    start = wanted.run or ""
    if wanted.said:
        raise Refused(
            f"--run names a run by itself, got{wanted.said} too; leave it out"
        )
    places = (store, Store(store.path / FOLDS))
    ids = [
        (folder.parent.name, place)
        for place in places
        for folder in sorted(place.path.glob(f"*/{RECORD}"))
    ]
    found = [one for one in ids if one[0] == start]
    found = found or [one for one in ids if start and one[0].startswith(start)]
    if len(found) != 1:
        raise Refused(_no_such_run(store, start, [name for name, _ in found or ids]))
    (name, place) = found[0]
    run = place.find(name)
    why = why_not(run) if run else "is gone by now"
    if run is None or why:
        raise Refused(f"--run must name a run that can be asked, {name} {why}")
    if run.record["track"] not in tracks:
        raise Refused(
            f"--run must be of a track that is asked, {name} is of "
            f"{run.record['track']} and --tracks are {', '.join(tracks)}; name it there"
        )
    return from_runs(pairs_of(run, place, tracks))


def _no_such_run(store: Store, start: str, names: list[str]) -> str:
    many = [name for name in names if start and name.startswith(start)]
    if many:
        more = f" and {len(many) - 4} more" if len(many) > 4 else ""
        return (
            f"--run must be the beginning of one run's id, {start!r} is of "
            f"{', '.join(many[:4])}{more}; write more of it"
        )
    near = get_close_matches(start[:80], names, n=1, cutoff=0.0)
    hint = f"the nearest is {near[0]}" if near else "it has none; run twintrack compare"
    return f"--run must be of the store, got {start[:80]!r} for {store.path}; {hint}"


def _matches(record: Record, wanted: Wanted, store: Store, *, alike: bool) -> bool:
    """Whether a record is of what is wanted; `alike`: of data that are called so."""
    if wanted.system is not None and record["system"] != _name_of(wanted.system):
        return False
    if wanted.seed is not None and record["seed"] != wanted.seed:
        return False
    name, folder = record["data"]["name"], store.path / record["id"]
    if wanted.data is not None and not (
        on_data.is_called_like(name, wanted.data)
        if alike
        else on_data.is_on(name, folder, wanted.data)
    ):
        return False
    return not wanted.changes or _has(record, wanted.changes)


def _name_of(system: str) -> str:
    """What runs of a system are called; a stranger's as it is."""
    with suppress(Refused):
        return find(system).name
    return system


def _has(record: Record, changes: tuple[str, ...]) -> bool:
    """Whether a run's spec and recipe would stay the same with these changes."""
    with suppress(Refused, ValueError, TypeError):
        spec, recipe = records_of(record)
        return applied(spec, recipe, changes) == (spec, recipe)
    return False


def records_of(record: Record) -> tuple[Any, Any]:
    """Spec and recipe of a run.

    Raises:
        Refused: They are of a kind that its module does not register, or not any more.
    """
    if module := record.get("module"):
        find(module)
    spec, recipe = (codec.loads(record[key], trusted=True) for key in TEXTS)
    return spec, recipe


def why_not(run: Run) -> str:
    """Why a run cannot be asked, after its name; "" if it can."""
    record = run.record
    if run.diverged:
        return f"diverged at step {record['diverged_at']}: it has no final weights"
    if not run.has(WEIGHTS):
        return (
            "has no weights any more, they were pruned; bring them back with twintrack "
            "store merge OTHER --restore, or remove it (twintrack store prune "
            f"{run.id} --drop runs --yes) and train it again"
        )
    if record["mode"] == "native":
        return (
            "is native: its arithmetic is not in its weights file; ask one in mode "
            "aligned or strict"
        )
    try:
        records_of(record)
        base_of(run)
    except Refused as error:
        return f"cannot be read: {error}"
    return ""


def base_of(run: Run) -> tuple[Base, Spec] | None:
    """The network whose features a run learned from, and its spec for them.

    Raises:
        Refused: It is not where it was, or another by now.
    """
    record, said = run.record, run.record.get("base")
    if not record["data"].get("features"):
        return None
    again = f"remove {run.path} and repeat its transfer command"
    if not said:
        raise Refused(
            "a head on features needs the network below it, an older version did not "
            f"note which; {again}"
        )
    base = Base.from_dict(said)
    try:
        written = Path(base.file).stat().st_mtime_ns
        spec, found = _loaded(base.file, written)
    except (Refused, OSError) as error:
        raise Refused(
            f"a head needs the network whose features it learned from, {base.file} is "
            f"not what it was ({error}); put it back, or {again}"
        ) from error
    if found != base.digest:
        raise Refused(
            f"a head needs the network whose features it learned from, {base.file} "
            f"is another by now; put it back, or {again}"
        )
    return base, base_for(spec, base.image, spec.classes)


@cache
def _loaded(file: str, written: int) -> tuple[Any, str]:
    """Spec and digest of a weights file, read once as long as nobody writes it."""
    spec, weights, _ = model_file.load(file)
    return spec, digest(weights)


def pairs_of(run: Run, store: Store, tracks: Sequence[str]) -> dict[str, Run]:
    """The run, and those of the other tracks that only the track tells from it."""
    found = {run.record["track"]: run}
    for record in newest(store.path):
        if len(found) == len(tracks):
            break
        other = record["track"]
        if (
            other not in tracks
            or other in found
            or pair_of(record) != pair_of(run.record)
        ):
            continue
        with suppress(Damaged):
            pair = store.find(record["id"])
            if pair and not why_not(pair):
                found[other] = pair
    return {track: found[track] for track in tracks if track in found}


def pair_of(record: Record) -> tuple[Any, ...]:
    """What the runs of a pair have in common."""
    said = (record["data"]["fingerprint"], *asked(record))
    return *said, *(record[key] for key in PAIR)


def _nothing(
    store: Store, wanted: Wanted, tracks: Sequence[str], notes: Sequence[str]
) -> str:
    """Why nothing can be asked."""
    there = [r for r in newest(store.path) if r["track"] in tracks]
    if notes:
        return (
            f"classify asks runs that can be read, got none{wanted.said and ' with'}"
            f"{wanted.said} in {store.path}: {notes[0].removeprefix('left out: ')}"
        )
    if not there:
        return (
            "classify asks networks that have been trained, got no finished run in "
            f"{', '.join(tracks)} in {store.path}; run twintrack compare first, or "
            "name a --weights file"
        )
    has = {
        "system": {r["system"] for r in there},
        "data": {r["data"]["name"] for r in there},
        "seed": {r["seed"] for r in there},
    }
    told = "; ".join(f"{k} {_some(sorted(v))}" for k, v in has.items())
    return (
        f"classify asks finished runs, got none with{wanted.said} in {store.path}; it "
        f"has {told}"
    )


def _some(values: Sequence[Any]) -> str:
    more = f" and {len(values) - NAMED} more" if len(values) > NAMED else ""
    return f"{', '.join(map(str, values[:NAMED]))}{more}"


def from_runs(runs: Mapping[str, Run]) -> Choice:
    """The networks of finished runs, one per track.

    Raises:
        Refused: The weights of one were pruned.
    """
    for run in runs.values():
        run.check_has(WEIGHTS)
    first = next(iter(runs.values()))
    hashes = {run.record["weights_sha256"] for run in runs.values()}
    records_of(first.record)  # its module registers its kind of spec
    spec, *_ = _checked(first.path / WEIGHTS)
    below = {track: base_of(run) for track, run in runs.items()}
    on = below[first.record["track"]]
    facts = facts_of(runs)
    return Choice(
        networks={
            track: Trained(
                weights=run.path / WEIGHTS,
                track=track,
                precision=run.record["precision"],
                threads=run.record["threads"],
                repeats=repeats_of(run.record),
                module=run.record.get("module"),
                base=base[0] if (base := below[track]) else None,
                recipe=run.record["recipe"],
            )
            for track, run in runs.items()
        },
        spec=on[1] if on else spec,
        classes=tuple(first.record["data"]["classes"]),
        test_logits={t: run.logits() for t, run in runs.items() if run.has(LOGITS)},
        test_labels=first.labels(),
        same_weights=len(runs) > 1 and len(hashes) == 1,
        about=told(facts)
        + "".join(
            f"; {track}'s test logits were pruned, so nothing is said of strangeness"
            for track, run in runs.items()
            if not run.has(LOGITS)
        ),
        facts=facts,
        runs=runs,
    )


def facts_of(runs: Mapping[str, Run]) -> dict[str, Any]:
    """What finished runs are, one per track: all that tells them from others."""
    first = next(iter(runs.values())).record
    same = ("system", "mode", "precision", "seed", "epochs")
    return {
        **{key: first[key] for key in same},
        "data": first["data"]["name"],
        "note": first["data"]["note"],
        "classes": list(first["data"]["classes"]),
        "changes": list(first["overrides"]),
        "base": (first.get("base") or {}).get("file"),
        "store": str(next(iter(runs.values())).path.parent),
        "tracks": {
            track: {
                "run": run.id,
                "accuracy": run.record["scores"]["accuracy"],
                "n": run.record["data"]["test"],
            }
            for track, run in runs.items()
        },
    }


def told(facts: Mapping[str, Any]) -> str:
    """The same in a line."""
    note = f" ({facts['note']})" if facts["note"] else ""
    names = facts["classes"]
    parts = [
        f"{facts['system']} trained on {facts['data']}{note}",
        f"{len(names):,} classes ({_some(names)})",
        f"seed {facts['seed']}",
        f"{facts['epochs']} epoch{'s' if facts['epochs'] != 1 else ''}",
        f"{facts['mode']}, {facts['precision']}",
    ]
    parts += [f"on the features of {facts['base']}"] if facts["base"] else []
    changed = " ".join(shlex.join(["--set", one]) for one in facts["changes"])
    parts += [changed] if changed else []
    right = ", ".join(
        f"{track} {one['accuracy']:.1%} right on its {one['n']:,} test pictures "
        f"(run {one['run']})"
        for track, one in facts["tracks"].items()
    )
    return f"{'; '.join(parts)}; in {facts['store']}: {right}"


def how_to_ask(run: str, tracks: Sequence[str], store: Store) -> str:
    """The line to type that asks what a command made: a run and its pairs."""
    words = ["--run", run]
    if store.path != Store().path:
        words += ["--store", str(store.path)]
    if list(tracks) != list(DEFAULT):
        words += ["--tracks", ",".join(tracks)]
    return f"to ask it about a photo: twintrack classify PHOTO {shlex.join(words)}"


def from_file(
    path: Path,
    store: Store,
    system: str | None,
    classes: Sequence[str] | None,
    tracks: Sequence[str],
) -> Choice:
    """One weights file in every track; the store may know where it comes from.

    Raises:
        Refused: It is no such file, does not fit its own spec, is not of `system`, has
            no last layer, or another number of classes.
    """
    module = find(system).module if system else None
    known = _run_of(path, store)
    if known and known.record["data"].get("features"):
        raise Refused(
            f"--weights must be of a whole network, {path} is a last layer on the "
            f"features of another; ask both: --run {known.id}"
        )
    if known and not module:
        module = known.record.get("module")
    if module:
        find(module)  # it registers the file's kind of spec
    spec, about = _checked(path)
    if about.facts.get("base"):
        raise Refused(
            f"classify asks networks that name classes, {path} is a base without a "
            f"last layer; teach it some: twintrack transfer --weights {path}"
        )
    if system:
        expected = resolve(system, image=spec.image, classes=spec.classes).spec
        # Inception v3's border, constants and heads are the file's to say.
        same = isinstance(spec, InceptionSpec) and isinstance(expected, InceptionSpec)
        if not same and expected != spec:
            raise Refused(
                f"--weights must be of the architecture of --system {system}, got "
                f"another one in {path}; leave out --system to use the file's own"
            )
    kept = known.record["data"]["classes"] if known else about.classes
    named = tuple(classes or kept)
    if named and len(named) != spec.classes:
        raise Refused(
            f"--classes must name each of the {spec.classes} classes of {path}, got "
            f"{len(named)}; name them all, label 0 first"
        )
    logits = known.logits() if known and known.has(LOGITS) else None
    return Choice(
        networks={
            track: Trained(
                weights=path,
                track=track,
                threads=available_cores(),
                repeats=repeats_of(known.record) if known else 1,
                module=module,
                recipe=known.record["recipe"] if known else None,
            )
            for track in tracks
        },
        spec=spec,
        classes=named or tuple(f"class {k}" for k in range(spec.classes)),
        test_logits={} if logits is None else dict.fromkeys(tracks, logits),
        test_labels=known.labels() if known else None,
        same_weights=len(tracks) > 1,
        about=f"{path}, the same weights in every track",
        facts={"weights": str(path), "source": about.source, "classes": list(named)},
        runs={},
        preprocessing=about.preprocessing,
    )


def _checked(path: Path) -> tuple[Spec, About]:
    """The spec in a weights file, which its tensors must fit, and the rest it says."""
    try:
        weights, header = model_file.opened(path)
    except OSError as error:
        raise Refused(
            f"a weights file must be readable, got '{error.strerror}' for {path}; "
            "correct its permissions"
        ) from error
    spec, about = model_file.said(path, weights, header)
    if bad := [name for name, w in weights.items() if not np.isfinite(w).all()]:
        raise Refused(
            f"weights must be finite numbers, got others in {bad[0]} of {path}; "
            "use a file of a network that did not diverge"
        )
    return spec, about


def _run_of(path: Path, store: Store) -> Run | None:
    """The finished run whose final weights a file has."""
    try:
        content = path.read_bytes()
    except OSError:
        return None  # said when it is read as weights
    digest = hashlib.sha256(content).hexdigest()
    for place in (store, Store(store.path / FOLDS)):
        for weights in place.path.glob(f"*/{WEIGHTS}"):
            same = weights.stat().st_size == len(content)
            if same and hashlib.sha256(weights.read_bytes()).hexdigest() == digest:
                return place.find(weights.parent.name)
    return None


def imported(system: str, weights: Path | None = None) -> Path:
    """The file to use: the one that is given, or what was imported.

    Raises:
        Refused: Nothing was.
    """
    check_system(system)
    paths = [weights] if weights else default_paths()
    for path in paths:
        if weights or path.exists():
            return path
    raise Refused(
        f"{system} needs weights, none are in {paths[0].parent}; run twintrack weights "
        f"import {system} --from torchvision, or name a file with --weights "
        "(twintrack pretrain makes one)"
    )


def default_path(kind: str) -> Path:
    """Where an import goes."""
    return cache_folder() / IMPORTED / f"{SYSTEM}-{kind}.safetensors"


def default_paths() -> list[Path]:
    """Where imports are looked for: the user's own first, then shared ones."""
    own = [default_path(kind) for kind in LIBRARIES]
    shared = shared_folders()
    return own + [folder / IMPORTED / path.name for folder in shared for path in own]


def check_system(system: str) -> None:
    """Refuse a system that has no official weights."""
    if system != SYSTEM:
        raise Refused(f"only {SYSTEM} has official weights, got {system}; name that")
