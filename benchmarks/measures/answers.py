"""How fast Inception v3 answers beside what most people write.

For `twintrack speed inception-v3`: in a process per framework, two calls take turns on
the same pictures.  Ours is the track's predictor, uint8 in and logits out, in the
resolved precision; naive is the library's own network in float32, called as its
documentation does: `model(x)`, channels first, or `model.predict(x)`.  Ratios are taken
round by round, as in `benchmarks.speed`.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.call import Tell, Values, in_child
from benchmarks.engine.run import processor
from benchmarks.official import subject
from common import model_file
from common.data import DataRequest, open_data, pictures
from common.evaluate import Predict
from common.job import versions
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
    path = Path(asked.weights) if asked.weights else None
    found = {}
    with tempfile.TemporaryDirectory(prefix="twintrack-") as folder:
        file = Path(folder) / "ours"
        source = subject(file, path, asked.size)
        for track in tracks:
            values = asdict(asked) | {"track": track, "file": str(file)}
            raw = in_child(
                "benchmarks.measures.answers:measure",
                values,
                threads=asked.threads,
                device=asked.device,
            )
            found[track] = summary(raw, raw["batch"])
    return {
        "system": "inception-v3",
        "what": "predict",
        "weights": source,
        "tracks": found,
        "bars": list(bars(found, asked.size)),
    } | {k: v for k, v in asdict(asked).items() if k not in ("weights", "data")}


def measure(values: Values, tell: Tell) -> Values:
    """In a child: seconds of both calls in every round, and the first labels."""
    track = load_track(values["track"])
    track.configure(threads=values["threads"], device=values["device"], mode="aligned")
    spec, weights, _ = model_file.load(Path(values["file"]))
    images = shown(values, spec.image)
    native = Path(values["file"]).with_name(f"{values['track']}.h5")
    track.write_native(native, spec, weights)
    place = values["device"]
    fast = track.build(spec, weights=weights, dtype=values["precision"], device=place)
    calls = {
        "ours": track.predictor(fast),
        "naive": track.official(native, values["size"], device=place),
    }
    batch = images[: values["batch"]]
    for call in calls.values():
        call(batch)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(values["rounds"]):
        for name, call in calls.items():
            start = perf_counter()
            call(batch)
            seconds[name].append(perf_counter() - start)
    exact = track.build(spec, weights=weights, dtype="float32", device=place)
    fast_labels, exact_labels = (
        labels(call, images, values["batch"])
        for call in (calls["ours"], track.predictor(exact))
    )
    return {
        "seconds": seconds,
        "batch": len(batch),
        "same_top1": {
            "share": float((fast_labels == exact_labels).mean()),
            "n": len(exact_labels),
            "labels": len(set(exact_labels.tolist())),
        },
        "environment": {
            "processor": processor(),
            "versions": versions(values["track"]),
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
    return np.concatenate(logits).argmax(axis=1)


def summary(raw: Row, images: int) -> Row:
    """Rates and ratios from a child's seconds for `images`, and what else it found."""
    rates = {name: images / np.array(found) for name, found in raw["seconds"].items()}
    values = rates | {"ours_over_naive": rates["ours"] / rates["naive"]}
    ends = {n: np.percentile(v, [10, 90]).tolist() for n, v in values.items()}
    medians = {name: float(np.median(v)) for name, v in values.items()}
    nothing = {"bare": None, "ours_over_bare": None, "share_of_peak": None}
    return (
        nothing
        | medians
        | {"ranges": {n: {"low": a, "high": b} for n, (a, b) in ends.items()}}
        | {name: value for name, value in raw.items() if name != "seconds"}
    )


def bars(tracks: dict[str, Row], size: int) -> list[Row]:
    """Every bar, whether it holds, and what to say of it; none at another size."""
    found = []
    for track, row in tracks.items() if size == FULL_SIZE else ():
        spread = row["ranges"]["ours_over_naive"]
        top = row["same_top1"]
        # Where every picture has one label, all agree, whatever the precision does.
        share = top["share"] if top["labels"] > 1 else 0.0
        judged = (
            ("ours_over_naive", row["ours_over_naive"], NAIVE_BARS.get(track, 1.0)),
            ("same_top1", share, SAME_TOP1),
        )
        texts = {
            "ours_over_naive": f"{row['ours_over_naive']:.2f} of the naive call "
            f"({spread['low']:.2f} to {spread['high']:.2f})",
            "same_top1": f"{top['share']:.1%} of {top['n']} pictures named as in "
            f"float32, which gave them {top['labels']} different labels",
        }
        for name, value, bar in judged:
            holds = value >= bar
            word = "holds" if holds else "falls short"
            said = f"inception-v3 in {track}: {texts[name]}, bar {bar}: {word}"
            found.append(
                {"track": track, "name": name, "bar": bar, "holds": holds, "said": said}
            )
    return found


def show(found: Row) -> None:
    """Print it."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("images/s (p10 to p90)")
    for track in found["tracks"]:
        table.add_column(track, justify="right")
    forms = {"ours": "{:.1f}", "naive": "{:.1f}", "ours_over_naive": "{:.2f}"}
    for name, form in forms.items():
        cells = []
        for row in found["tracks"].values():
            ends = row["ranges"][name]
            low, high = form.format(ends["low"]), form.format(ends["high"])
            cells.append(f"{form.format(row[name])} ({low} to {high})")
        table.add_row(name.replace("_over_", " / "), *cells)
    tops = (
        "{share:.1%} of {n} ({labels} labels)".format(**row["same_top1"])
        for row in found["tracks"].values()
    )
    table.add_row("top-1 as float32", *tops)
    console = Console()
    console.print(
        f"inception-v3: prediction at {found['size']} px in {found['precision']}, "
        f"batch {found['batch']}, {found['device']}, threads: {found['threads']}, "
        f"rounds: {found['rounds']}, weights: {found['weights']}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(table)
    for bar in found["bars"]:
        console.print(bar["said"], highlight=False, soft_wrap=True)
