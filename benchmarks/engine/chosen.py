"""Which trained networks a command asks: the newest runs of a store, or a file."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.machine import available_cores
from benchmarks.engine.networks import Trained
from common import codec, model_file
from common.data.cache import cache_folder, shared_folders
from common.errors import Refused
from common.inception import InceptionSpec
from common.model_file import About
from common.results import FOLDS, LOGITS, WEIGHTS, Run, Store, asked, repeats_of
from common.spec import Spec
from common.systems import resolve

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
BUILT_IN = {kind.__name__ for kind in codec.OURS}
# Of two runs that only the track tells apart.
PAIR = ("system", "mode", "precision", "seed", "epochs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Networks that are asked the same.

    Attributes:
        networks: Track -> its network.
        spec: Of all of them.
        classes: Name of each label.
        test_logits: Track -> logits of its test part (n, classes), where known.
        test_labels: Their labels (n,), where known.
        same_weights: Whether all have one weights file.
        about: What they are, in a line.
        runs: Track -> the run in the store it comes from, where it comes from one.
        preprocessing: How a photo becomes their pixels, where a file says it.
    """

    networks: Mapping[str, Trained]
    spec: Spec
    classes: tuple[str, ...]
    test_logits: Mapping[str, NDArray[np.floating]]
    test_labels: NDArray[np.int64] | None
    same_weights: bool
    about: str
    runs: Mapping[str, Run]
    preprocessing: str = ""


def from_store(store: Store, system: str | None, tracks: Sequence[str]) -> Choice:
    """The newest finished run and the runs of the other tracks that belong to it.

    Left out: native runs, whose arithmetic is not in their weights file, and runs of a
    user's own kind of spec, which only its module can read.

    Raises:
        Refused: There is none.
    """
    newest: Run | None = None
    found: dict[str, Run] = {}
    pruned: list[Run] = []
    for run in store.latest():
        record = run.record
        ours = json.loads(record["spec"])["is"] in BUILT_IN
        if run.diverged or record["mode"] == "native" or not ours:
            continue
        if record["data"].get("features"):  # it sees no photos
            continue
        if record["track"] not in tracks:
            continue
        if system and record["system"] != system:
            continue
        if not run.has(WEIGHTS):
            pruned += [run] if newest is None else []
            continue
        newest = newest or run
        if pair_of(run) == pair_of(newest):
            found.setdefault(record["track"], run)
        if len(found) == len(tracks):
            break
    if newest is None and pruned:
        pruned[0].check_has(WEIGHTS)
    if newest is None:
        what = f"{system} " if system else ""
        raise Refused(
            f"classify asks networks that have been trained, got no finished {what}run "
            f"of a built-in kind in {store.path} (native ones do not count); run "
            "twintrack compare first, or name a --weights file"
        )
    if pruned:
        print(
            f"left out: {pruned[0].id} is newer, but its weights were pruned",
            file=sys.stderr,
        )
    found = {track: found[track] for track in tracks if track in found}
    return from_runs(found)


def pair_of(run: Run) -> tuple[Any, ...]:
    """What the runs of a pair have in common."""
    record = run.record
    said = (record["data"]["fingerprint"], *asked(record))
    return *said, *(record[key] for key in PAIR)


def from_runs(runs: Mapping[str, Run]) -> Choice:
    """The networks of finished runs, one per track.

    Raises:
        Refused: The weights of one were pruned.
    """
    for run in runs.values():
        run.check_has(WEIGHTS)
    first = next(iter(runs.values())).record
    hashes = {run.record["weights_sha256"] for run in runs.values()}
    spec, *_ = _checked(next(iter(runs.values())).path / WEIGHTS)
    data, seed = first["data"], first["seed"]
    note = f" ({data['note']})" if data["note"] else ""
    return Choice(
        networks={
            track: Trained(
                weights=run.path / WEIGHTS,
                track=track,
                precision=run.record["precision"],
                threads=run.record["threads"],
                repeats=repeats_of(run.record),
            )
            for track, run in runs.items()
        },
        spec=spec,
        classes=tuple(data["classes"]),
        test_logits={t: run.logits() for t, run in runs.items() if run.has(LOGITS)},
        test_labels=next(iter(runs.values())).labels(),
        same_weights=len(runs) > 1 and len(hashes) == 1,
        about=f"{first['system']} trained on {data['name']}{note}, seed {seed}, "
        + ", ".join(
            f"{track} {run.record['scores']['accuracy']:.1%} right on its test pictures"
            for track, run in runs.items()
        )
        + "".join(
            f"; {track}'s test logits were pruned, so nothing is said of strangeness"
            for track, run in runs.items()
            if not run.has(LOGITS)
        ),
        runs=runs,
    )


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
    spec, about, content = _checked(path)
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
    known = _run_of(content, store)
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
            )
            for track in tracks
        },
        spec=spec,
        classes=named or tuple(f"class {k}" for k in range(spec.classes)),
        test_logits={} if logits is None else dict.fromkeys(tracks, logits),
        test_labels=known.labels() if known else None,
        same_weights=len(tracks) > 1,
        about=f"{path}, the same weights in every track",
        runs={},
        preprocessing=about.preprocessing,
    )


def _checked(path: Path) -> tuple[Spec, About, bytes]:
    """The spec in a weights file, which its tensors must fit, and the file's bytes."""
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
    return spec, about, path.read_bytes()


def _run_of(content: bytes, store: Store) -> Run | None:
    """The finished run whose final weights these are."""
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
