"""What a frozen base makes of every picture, computed once in each track and kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.call import call
from benchmarks.engine.machine import Machine, peak_memory, shared_threads
from benchmarks.engine.process import Event, Tell, Values
from benchmarks.engine.progress import Screen, duration
from benchmarks.engine.progress import screen as fitting_screen
from common import codec, model_file
from common.data import DataRequest, open_data
from common.data.features import BLOCK, Key, ensure
from common.evaluate import Predict
from common.heads import base_for, features_of, headless
from common.job import FED_BY, SHARED_ENTRY, code_of, installed
from common.track import load_track
from common.variables import switches
from common.weights import digest

HEAD = "linear"  # the system that learns from features
SEEN_AT_ONCE = 32  # pictures; more take memory and no less time
SAID_EVERY = 2048  # pictures between two lines of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Features of all pictures, per track.

    Attributes:
        folders: Track -> where its features are.
        costs: Track -> seconds, bytes, pictures computed, whether all were there.
    """

    folders: dict[str, str]
    costs: dict[str, dict[str, Any]]

    def together(self) -> dict[str, Any]:
        """What the features of all tracks cost, and those of each."""
        costs = self.costs.values()
        return {
            "seconds": sum(cost["seconds"] for cost in costs),
            "bytes": sum(cost["bytes"] for cost in costs),
            "hit": all(cost["hit"] for cost in costs),
            "tracks": self.costs,
        }


def features(
    request: DataRequest,
    weights: Path,
    tracks: Sequence[str],
    machine: Machine,
    *,
    flip: bool,
    keep_in: str,
) -> Features:
    """The features of the pictures of `request` in every track.

    Args:
        request: The pictures.
        weights: The base's file.
        tracks: Whose features.
        machine: What computes.
        flip: Whether mirror images have features of their own.
        keep_in: "float16" or "float32".

    Raises:
        Refused: The disk is full, or a feature does not fit what they are kept in.
    """
    screen = fitting_screen(sys.stderr)
    folders, costs = {}, {}
    threads = machine.threads or shared_threads()
    for track in tracks:
        values = {
            "weights": str(weights),
            "data": request.to_dict(),
            "track": track,
            "flip": flip,
            "keep_in": keep_in,
            "precision": machine.precision,
            "device": machine.device,
            "threads": threads,
        }
        start = monotonic()
        screen.say(f"features of {request.source} in {track}: looking in the cache")
        found = call(
            f"{__name__}:compute",
            values,
            threads=threads,
            device=machine.device,
            told=lambda event: _show(screen, event),
        )
        cost = {"seconds": monotonic() - start}
        folders[track], costs[track] = found.pop("folder"), found | cost
        screen.say(_told(track, costs[track]))
    return Features(folders=folders, costs=costs)


def compute(values: Values, tell: Tell) -> Values:
    """In a child: see that the features are in the cache."""
    spec, weights, _ = model_file.load(Path(values["weights"]))
    data = open_data(DataRequest.from_dict(values["data"]))
    seen = base_for(spec, data.image, spec.classes)
    bare, given = headless(seen, weights)
    name = values["track"]
    used = code_of(
        name,
        (*SHARED_ENTRY, "build"),
        (seen, bare),
        [("common.heads", "headless"), *FED_BY],
    )
    key = Key(
        track=name,
        weights=digest(weights),
        spec=codec.dumps(seen, brief=True),
        data=data.fingerprint,
        precision=values["precision"],
        device=values["device"],
        threads=values["threads"],
        flip=values["flip"],
        dtype=values["keep_in"],
        versions=installed(used.frameworks),
        code=used.digests(),
        switches=switches(used.frameworks, values["device"]),
    )

    def predictor() -> Predict:
        track = load_track(name)
        track.configure(
            threads=values["threads"], device=values["device"], mode="aligned"
        )
        model = track.build(
            bare, weights=given, dtype=values["precision"], device=values["device"]
        )
        return in_batches(track.predictor(model))

    def told(done: int, total: int) -> None:
        tell("features", done=done, total=total)

    kept = ensure(key, data, features_of(seen), predictor, told=told)
    return {
        "folder": str(kept.path),
        "bytes": kept.bytes,
        "computed": kept.computed,
        "hit": kept.computed == 0,
        "peak_memory": peak_memory(),
    }


def in_batches(predict: Predict) -> Predict:
    """The same function, given at most `SEEN_AT_ONCE` images at a time."""

    def function(images: NDArray[np.uint8]) -> NDArray[np.floating]:
        starts = range(0, len(images), SEEN_AT_ONCE)
        return np.concatenate([predict(images[i : i + SEEN_AT_ONCE]) for i in starts])

    return function


def _show(screen: Screen, event: Event) -> None:
    if event.get("event") == "features" and event["done"] % SAID_EVERY < BLOCK:
        screen.say(f"  {event['done']:,} of {event['total']:,} pictures")


def _told(track: str, cost: dict[str, Any]) -> str:
    size = f"{cost['bytes'] / 1e6:,.0f} MB"
    if cost["hit"]:
        return f"features in {track}: found in the cache, {size}"
    return (
        f"features in {track}: {cost['computed']:,} pictures in "
        f"{duration(cost['seconds'])}, {size}, peak memory "
        f"{cost['peak_memory'] / 1e9:.1f} GB"
    )
