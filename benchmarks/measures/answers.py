"""How fast Inception v3 answers beside what most people write.

For `twintrack speed inception-v3`: in a process per framework, two calls take turns on
the same pictures.  Ours is the track's predictor, uint8 in and logits out, in the
resolved precision; naive is the library's own network in float32, called as its
documentation does: `model(x)`, channels first, or `model.predict(x)`.  Ratios are taken
round by round, as in `benchmarks.speed`.  Engines that only answer are in
`benchmarks.measures.engines`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.machine import peak_memory
from benchmarks.engine.process import Tell, Values
from benchmarks.measures import engines, timing
from benchmarks.measures.latency import best_batch, latency
from benchmarks.measures.official_networks import in_tracks, native_name
from common import model_file
from common.data import DataRequest, open_data, pictures
from common.evaluate import Predict
from common.extras import Official, load_extra
from common.job import versions
from common.record import processor
from common.track import load_track

# Least multiple of the naive call's rate at 299 px, by track.
NAIVE_BARS = {"torch": 2.0, "tensorflow": 1.4}
SAME_TOP1 = 0.99  # least share of pictures named as float32 names them
JUDGED = 200  # pictures that both precisions name
FULL_SIZE = 299  # px; the bars are for it

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is measured.

    Attributes:
        size: Pixels a side.
        batch: Pictures per call.
        rounds: Turns of each call.
        weights: A file, or none for random weights.
        data: A request of pictures, or none for seeded ones.
        precision, device, threads: Of ours, resolved.
    """

    size: int
    batch: int
    rounds: int
    weights: str | None
    data: dict[str, Any] | None
    precision: str
    device: str
    threads: int


def row(asked: Asked, tracks: list[str]) -> Row:
    """What all tracks make of it, and how that stands to the bars."""
    values = asdict(asked) | {"asked_at": time()}
    source, raws = in_tracks(f"{__name__}:measure", values, tracks)
    found = {
        track: timing.beside_naive(raw.pop("seconds"), raw["batch"]) | raw
        for track, raw in raws.items()
    }
    return {k: v for k, v in asdict(asked).items() if k != "data"} | {
        "system": "inception-v3",
        "what": "predict",
        "weights": source,
        "tracks": found,
        "not_measured": engines.absent(asked.device),
        "bars": list(bars(found, asked.size)),
    }


def measure(values: Values, tell: Tell) -> Values:
    """In a child: seconds of both calls in every round, and the first labels."""
    track = load_track(values["track"])
    track.configure(threads=values["threads"], device=values["device"], mode="aligned")
    spec, weights, _ = model_file.load(Path(values["file"]))
    images = shown(values, spec.image)
    native = Path(values["file"]).with_name(native_name(values["track"]))
    own = load_extra(values["track"], Official)
    own.write_native(native, spec, weights)
    place = values["device"]
    fast = track.build(spec, weights=weights, dtype=values["precision"], device=place)
    ours = track.predictor(fast)
    ours(images[:1])
    first_answer = time() - values["asked_at"]
    calls = {
        "ours": ours,
        "naive": own.official(native, values["size"], device=place),
    }
    batch = images[: values["batch"]]
    for ask in calls.values():
        ask(batch)
    seconds, _ = timing.in_rounds(calls, batch, values["rounds"])
    best = best_batch(ours, images)
    alone, together = (latency(ours, images[:n]) for n in (1, best))
    exact = track.predictor(
        track.build(spec, weights=weights, dtype="float32", device=place)
    )
    fast_labels, exact_labels = (
        labels(ask, images, values["batch"]) for ask in (ours, exact)
    )
    held = peak_memory()  # before there are engines
    others = engines.beside(
        ours,
        exact,
        spec,
        weights,
        batch,
        file=native.with_suffix(".onnx"),
        threads=values["threads"],
        rounds=values["rounds"],
        device=place,
    )
    return {
        "seconds": {name: found.tolist() for name, found in seconds.items()},
        "batch": len(batch),
        "first_answer": first_answer,
        "peak_memory": held,
        "engines": others,
        "latency": {"alone": alone, "best": together},
        "same_top1": {
            "share": float((fast_labels == exact_labels).mean()),
            "n": len(exact_labels),
            "labels": len(set(exact_labels.tolist())),
        },
        "environment": {
            "processor": processor(),
            "versions": versions(values["track"]) | engines.versions(place),
        },
    }


def shown(values: Values, image: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Test pictures of the data at hand, or seeded ones."""
    if values["data"]:
        part = open_data(DataRequest.from_dict(values["data"])).test
        chosen = np.linspace(0, len(part) - 1, min(JUDGED, len(part))).astype(int)
        return part.take(chosen)
    n = max(JUDGED, values["batch"])
    return pictures(image, 10, n, 0).train.take(slice(None))


def labels(predict: Predict, images: NDArray[np.uint8], batch: int) -> NDArray[Any]:
    """The first label of every picture."""
    starts = range(0, len(images), batch)
    logits = [predict(images[i : i + batch]) for i in starts]
    return np.asarray(np.concatenate(logits).argmax(axis=1))


def bars(tracks: dict[str, Row], size: int) -> Iterator[Row]:
    """Every bar, whether it holds, and what to say of it; none at another size."""
    for track, row in tracks.items() if size == FULL_SIZE else ():
        ends, top = row["ranges"]["ours_over_naive"], row["same_top1"]
        least = NAIVE_BARS.get(track, 1.0)
        said = (
            f"inception-v3 in {track}: {row['ours_over_naive']:.2f} of the naive call "
            f"({ends['low']:.2f} to {ends['high']:.2f}), bar {least}"
        )
        holds = row["ours_over_naive"] >= least
        yield timing.bar(track, "ours_over_naive", least, holds=holds, said=said)
        # Where every picture has one label, all agree, whatever the precision does.
        share = top["share"] if top["labels"] > 1 else 0.0
        said = (
            f"inception-v3 in {track}: {top['share']:.1%} of {top['n']} pictures named "
            f"as in float32, which gave them {top['labels']} different labels, bar "
            f"{SAME_TOP1}"
        )
        holds = share >= SAME_TOP1
        yield timing.bar(track, "same_top1", SAME_TOP1, holds=holds, said=said)
