"""How long a transfer takes beside the tutorials' loop, and whether it is as good.

    twintrack transfer-speed --data cifar10 --classes automobile,truck

On the same pictures, from the same weights and the same
new layer, with the same recipe: ours runs the frozen network once per picture, keeps
its features and trains the new layer on them; the tutorials' loop runs it in every
epoch.  Building the networks and judging the result are left out of both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import devices, options
from benchmarks.child import peak_memory
from benchmarks.compare import check_output, check_positive, tracks_of
from benchmarks.data import ensure_prepared
from benchmarks.official import subject
from benchmarks.pretrain import listed
from benchmarks.task import Tell, Values, in_child
from benchmarks.weights import imported
from common import checkpoint, files, stats
from common.checkpoint import About
from common.data import DataRequest, Dataset, hold_out, open_data
from common.data.features import Key, ensure, open_features
from common.data.sources import VALID_SEED
from common.data.split import stratified
from common.errors import Failed
from common.evaluate import predict_all
from common.heads import headless
from common.plan import Plan
from common.recipe import SGD, Recipe, Staircase
from common.spec import CNNSpec, Dense, Flatten, Scale
from common.track import TRACKS, load_track
from common.weights import draw

BAR = 15.0  # least multiple of the tutorials' speed, for 25 epochs
BATCH = 32
VALID = 10  # of so many training pictures one is for validation

Row = dict[str, Any]


def transfer_speed(
    *,
    data: options.Data = "cifar10",
    classes: Annotated[str, typer.Option(help="With commas between.")] = "",
    weights: Annotated[
        Path | None, typer.Option(help="A file of Inception v3.  [ImageNet's]")
    ] = None,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 299,
    limit: Annotated[int, typer.Option(help="Training pictures.")] = 200,
    test: Annotated[int, typer.Option(help="Test pictures.")] = 500,
    epochs: Annotated[int, typer.Option(help="Of both.")] = 25,
    tracks: options.Tracks = "torch,tensorflow",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    json: options.Json = None,
) -> dict[str, Any]:
    """Measure a transfer beside the tutorials' loop, which runs the base every epoch.

    Returns:
        What --json writes: {"tracks": {track: {"ours", "tutorial", "ratio", ...}}}.

    Raises:
        Refused: The request cannot be met.
        Failed: The bar was missed, or the accuracies differ.
    """
    names = tracks_of(tracks)
    check_positive(size=size, limit=limit, test=test, epochs=epochs, threads=threads)
    check_output(json)
    place, dtype = devices.settle("cpu", precision, mode="aligned", tracks=names)
    request = DataRequest(source=data, classes=listed(classes), side=size, limit=limit)
    ensure_prepared(request)
    pictures = open_data(request)
    spec, given = subject(imported("inception-v3", weights), size, 0)
    found: Row = {"size": size, "epochs": epochs, "train": len(pictures.train)}
    found |= {"test": min(test, len(pictures.test)), "precision": dtype, "tracks": {}}
    with tempfile.TemporaryDirectory(prefix="twintrack-") as folder:
        file = Path(folder) / "ours"
        checkpoint.save(file, spec, given, About())
        for track in names:
            values = {
                "track": track,
                "file": str(file),
                "data": request.to_dict(),
                "epochs": epochs,
                "test": test,
                "precision": dtype,
                "device": place,
                "threads": threads or devices.available_cores(),
            }
            found["tracks"][track] = in_child(
                "benchmarks.tutorial:measure",
                values,
                threads=values["threads"],
                device=place,
            )
    said = list(verdicts(found))
    print("\n".join(line for line, _ in said))
    if json:
        files.write_atomic(json, files.readable(found))
    if short := [line for line, holds in said if not holds]:
        raise Failed("; ".join(short))
    return found


def measure(values: Values, tell: Tell) -> Values:
    """In a child: seconds of both, and which test pictures each gets right."""
    name = values["track"]
    track = load_track(name)
    track.configure(threads=values["threads"], device=values["device"], mode="aligned")
    spec, weights, _ = checkpoint.load(Path(values["file"]))
    data = fewer(open_data(DataRequest.from_dict(values["data"])), values["test"])
    recipe = Recipe(
        lr=0.001,
        batch=BATCH,
        epochs=values["epochs"],
        optimizer=SGD(momentum=0.9),
        schedule=Staircase(7, 0.1, "epoch"),
    )
    head = CNNSpec(
        image=(1, 1, spec.weights["fc.kernel"].shape[0]),
        classes=len(data.classes),
        layers=(Flatten(), Dense(len(data.classes))),
        scale=Scale(divide=1.0),
    )
    start = draw(head.weights, 0)
    ours, right = transferred(track, values, spec, weights, data, head, recipe)
    held = split(data)
    companion = import_module(f"{TRACKS[name]}.speed")
    native = Path(values["file"]).with_name(f"{name}.h5")
    track.write_native(native, spec, weights)
    loop, predict = companion.tutorial(
        native,
        recipe,
        (start["dense1.kernel"], start["dense1.bias"]),
        *((p.take(slice(None)), p.labels) for p in (held.train, held.valid)),
    )
    seconds = loop()
    theirs = predict_all(predict, data.test, batch_size=100).argmax(1)
    hits = theirs == data.test.labels
    found = stats.compare(right[None], hits[None], paired=True)
    return {
        "ours": ours,
        "tutorial": seconds,
        "ratio": seconds / ours,
        "accuracy": {"ours": float(right.mean()), "tutorial": float(hits.mean())},
        "difference": {
            "mean": found.difference.mean,
            "low": found.difference.low,
            "high": found.difference.high,
        },
        "mcnemar_p": stats.mcnemar(right, hits).p,
        "peak_memory": peak_memory(),
    }


def transferred(
    track: Any,
    values: Values,
    spec: Any,
    weights: Any,
    data: Dataset,
    head: CNNSpec,
    recipe: Recipe,
) -> tuple[float, Any]:
    """Seconds of features and head together; which test pictures are right."""
    bare, given = headless(spec, weights)
    predict = track.predictor(
        track.build(bare, weights=given, dtype=values["precision"])
    )
    new = track.build(head, weights=draw(head.weights, 0))
    key = Key(
        track=values["track"],
        weights="",
        spec=repr(spec),
        data=data.fingerprint,
        precision=values["precision"],
        device=values["device"],
        flip=False,
        dtype="float32",
        versions={},
        code="",
    )
    cache = Path(values["file"]).parent / values["track"]

    def features(part: Dataset) -> Dataset:
        kept = ensure(key, part, bare.classes, lambda: predict, cache=cache)
        return open_features(kept.path, part, shared=False)

    learned = replace(data, test=data.test.choose(slice(0, 0)))
    begin = perf_counter()
    held = split(features(learned))
    track.train(new, held, recipe, Plan(seed=0))
    seconds = perf_counter() - begin
    key = replace(key, weights="test")
    judged = features(replace(learned, train=data.test)).train
    logits = predict_all(track.predictor(new), judged)
    return seconds, np.asarray(logits.argmax(1) == judged.labels)


def fewer(data: Dataset, n: int) -> Dataset:
    """The same with at most `n` test pictures, classes in proportion."""
    if n >= len(data.test):
        return data
    return replace(data, test=data.test.choose(stratified(data.test.labels, n, 0)))


def split(data: Dataset) -> Dataset:
    """The same with a tenth of its training part for validation."""
    n = max(len(data.train) // VALID, len(data.classes))
    return hold_out(data, n, VALID_SEED)


def verdicts(found: Row) -> Iterator[tuple[str, bool]]:
    """A line per track and bar, and whether it holds."""
    what = f"{found['epochs']} epochs of {found['train']:,} pictures"
    for track, row in found["tracks"].items():
        enough = row["ratio"] >= BAR
        yield (
            f"{track}: {what} at {found['size']} px in {row['ours']:.1f} s, the "
            f"tutorials' loop takes {row['tutorial']:.1f} s: {row['ratio']:.1f} times, "
            f"bar {BAR:g}: {'holds' if enough else 'falls short'}",
            enough,
        )
        gap = row["difference"]
        same = gap["low"] <= 0 <= gap["high"]
        mean, low, high = (100 * gap[end] for end in ("mean", "low", "high"))
        yield (
            f"{track}: accuracy {row['accuracy']['ours']:.1%} and "
            f"{row['accuracy']['tutorial']:.1%} of {found['test']:,}, difference "
            f"{mean:.2f} points (95 % interval {low:.2f} to {high:.2f}): "
            f"{'the same' if same else 'not the same'}; peak memory "
            f"{row['peak_memory'] / 1e9:.1f} GB",
            same,
        )


if __name__ == "__main__":
    from benchmarks.cli import script

    script(transfer_speed)
