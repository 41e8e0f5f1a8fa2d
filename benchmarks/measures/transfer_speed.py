"""How long a transfer takes beside the tutorials' loop, and whether it is as good.

For `twintrack speed inception-v3`.  On the same pictures, from the same weights and
the same new layer, with the same recipe, `twintrack transfer`'s: ours runs the frozen
network once per picture, keeps its features and trains the new layer on them; the
tutorials' loop runs it in every epoch.  Rounds take turns: some epochs of their loop,
then a whole transfer of ours.  Building the networks and judging the result are left
out of both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.machine import peak_memory
from benchmarks.engine.process import Tell, Values
from benchmarks.measures import timing
from benchmarks.measures.features import HEAD, in_batches
from benchmarks.measures.official_networks import in_tracks, native_name
from common import codec, model_file, stats
from common.data import DataRequest, Dataset, hold_out, open_data, pictures
from common.data.features import Key, ensure, open_features
from common.data.sources import VALID_SEED
from common.data.split import stratified
from common.evaluate import predict_all
from common.extras import Official, Yardsticks, load_extra
from common.heads import headless
from common.job import versions
from common.plan import Plan
from common.record import processor
from common.systems import resolve
from common.track import load_track
from common.weights import draw

BAR = 15.0  # least multiple of the tutorials' speed, for so many epochs:
EPOCHS = 25
MEMORY_BAR = 2.5e9  # bytes; most that the process may have held after a transfer
VALID = 10  # of so many training pictures one is for validation
CLASSES = 2  # of seeded pictures

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is measured.

    Attributes:
        size: Pixels a side.
        epochs: Of both.
        rounds: Turns, at most one per epoch.
        train, test: At most so many pictures.
        weights: A file, or none for random weights.
        data: A request of pictures, or none for seeded ones.
        precision, device, threads: Of ours, resolved.
    """

    size: int
    epochs: int
    rounds: int
    train: int
    test: int
    weights: str | None
    data: dict[str, Any] | None
    precision: str
    device: str
    threads: int


def row(asked: Asked, tracks: list[str]) -> Row:
    """What all tracks make of it, and how that stands to the bars."""
    source, raws = in_tracks(f"{__name__}:measure", asdict(asked), tracks)
    found = {
        track: timing.beside_naive(raw.pop("seconds"), asked.epochs * raw["train"])
        | raw
        for track, raw in raws.items()
    }
    counts = {name: next(iter(found.values()))[name] for name in ("train", "test")}
    return (
        {k: v for k, v in asdict(asked).items() if k != "data"}
        | counts
        | {
            "system": "inception-v3",
            "what": "transfer",
            "weights": source,
            "tracks": found,
            "bars": list(bars(found, asked.epochs)),
        }
    )


def measure(values: Values, tell: Tell) -> Values:
    """In a child: seconds of both, and which test pictures each gets right."""
    name = values["track"]
    track = load_track(name)
    track.configure(threads=values["threads"], device=values["device"], mode="aligned")
    spec, weights, _ = model_file.load(Path(values["file"]))
    data = shown(values, spec.image)
    held = split(data)
    ours = Ours(track, values, spec, weights, data)
    ours.once()  # graphs are traced
    peak = peak_memory()
    native = Path(values["file"]).with_name(native_name(name))
    load_extra(name, Official).write_native(native, spec, weights)
    loop, predict = load_extra(name, Yardsticks).tutorial(
        native,
        ours.recipe,
        (ours.start["dense1.kernel"], ours.start["dense1.bias"]),
        *((p.take(slice(None)), p.labels) for p in (held.train, held.valid)),
        device=values["device"],
    )
    mine, theirs = in_turns(ours.once, loop, values["rounds"], values["epochs"])
    right = ours.right()
    hits = predict_all(predict, data.test).argmax(1) == data.test.labels
    found = stats.components(right[None].astype(int) - hits[None])
    low, high = (float(end) for end in found.interval())
    return {
        "seconds": {"ours": mine, "naive": theirs},
        "train": len(data.train),
        "test": len(data.test),
        "accuracy": {"ours": float(right.mean()), "naive": float(hits.mean())},
        "guess": float(np.bincount(data.test.labels).max() / len(data.test)),
        "difference": {"mean": float(found.mean), "low": low, "high": high},
        "mcnemar_p": stats.mcnemar(right, hits).p,
        "peak_memory": peak,
        "environment": {"processor": processor(), "versions": versions(name)},
    }


def in_turns(
    ours: Callable[[], float],
    theirs: Callable[[Callable[[], None]], list[float]],
    rounds: int,
    epochs: int,
) -> tuple[list[float], list[float]]:
    """Seconds of each round: one transfer of ours, and all epochs at their pace."""
    parts = np.array_split(np.arange(epochs), min(rounds, epochs))
    last = {int(part[-1]) for part in parts}
    mine: list[float] = []
    done = iter(range(epochs))

    def between() -> None:
        if next(done) in last:
            mine.append(ours())

    laps = np.array(theirs(between))
    return mine, [float(laps[part].mean() * epochs) for part in parts]


class Ours:
    """The transfer of twintrack: features, kept, then a layer that learns from them."""

    def __init__(
        self,
        track: Any,
        values: Values,
        spec: Any,
        weights: Any,
        data: Dataset,
    ) -> None:
        bare, given = headless(spec, weights)
        self.track, self.data, self.width = track, data, bare.classes
        kind, device = values["precision"], values["device"]
        self.predict = in_batches(
            track.predictor(track.build(bare, weights=given, dtype=kind, device=device))
        )
        layer = resolve(
            HEAD,
            image=(1, 1, self.width),
            classes=len(data.classes),
            overrides=("spec.scale=Scale(divide=1.0)", "recipe.keep=best"),
            epochs=values["epochs"],
        )
        self.head, self.recipe = layer.spec, layer.recipe
        self.start = draw(self.head.weights, 0)
        self.key = Key(
            track=values["track"],
            weights="",
            spec=codec.dumps(spec),
            data=data.fingerprint,
            precision=kind,
            device=device,
            threads=values["threads"],
            flip=False,
            dtype="float32",
            versions={},
            code={},
        )
        self.folder = Path(values["file"]).parent / values["track"]
        self.model: Any = None

    def once(self) -> float:
        """Seconds of a whole transfer, its features in no cache before."""
        self.model = self.track.build(self.head, weights=self.start)
        learned = replace(self.data, test=self.data.test.choose(slice(0, 0)))
        with tempfile.TemporaryDirectory(prefix=f"{self.folder}-") as cache:
            begin = perf_counter()
            held = split(self.features(learned, Path(cache)))
            self.track.train(self.model, held, self.recipe, Plan(seed=0))
            return perf_counter() - begin

    def right(self) -> NDArray[np.bool_]:
        """Which test pictures the last transfer names."""
        none = self.data.test.choose(slice(0, 0))
        judged = replace(self.data, train=self.data.test, test=none)
        part = self.features(judged, self.folder).train
        logits = predict_all(self.track.predictor(self.model), part)
        return np.asarray(logits.argmax(1) == part.labels)

    def features(self, data: Dataset, cache: Path) -> Dataset:
        """What the frozen network makes of the pictures, as a data set."""
        kept = ensure(self.key, data, self.width, lambda: self.predict, cache=cache)
        return open_features(kept.path, data, shared=False)


def shown(values: Values, image: tuple[int, int, int]) -> Dataset:
    """The pictures at hand, or seeded ones."""
    train, test = values["train"], values["test"]
    if values["data"]:
        data = open_data(DataRequest.from_dict(values["data"]))
    else:
        data = pictures(image, CLASSES, max(train, 4 * test), 0)
    return replace(data, train=fewer(data.train, train), test=fewer(data.test, test))


def fewer(part: Any, n: int) -> Any:
    """At most `n` of the pictures, classes in proportion."""
    return part if n >= len(part) else part.choose(stratified(part.labels, n, 0))


def split(data: Dataset) -> Dataset:
    """The same with a tenth of its training part for validation, unless it has one."""
    if len(data.valid):
        return data
    n = max(len(data.train) // VALID, len(data.classes))
    return hold_out(data, n, VALID_SEED)


def bars(tracks: dict[str, Row], epochs: int) -> Iterator[Row]:
    """Every bar, whether it holds, and what to say of it; the speed's for 25 epochs."""
    for track, row in tracks.items():
        ratio, ends = row["ours_over_naive"], row["ranges"]["ours_over_naive"]
        gap = row["difference"]
        mean, low, high = (100 * gap[end] for end in ("mean", "low", "high"))
        judged = [
            (
                "ours_over_naive",
                BAR,
                ratio >= BAR,
                f"{ratio:.1f} of the tutorials' loop ({ends['low']:.1f} to "
                f"{ends['high']:.1f}), bar {BAR:g}",
            ),
            (
                "same_accuracy",
                0.0,
                gap["low"] <= 0 <= gap["high"],
                f"accuracy {row['accuracy']['ours']:.1%} and "
                f"{row['accuracy']['naive']:.1%} of {row['test']:,} (a guess gives "
                f"{row['guess']:.1%}), difference {mean:.2f} points (95 % interval "
                f"{low:.2f} to {high:.2f}), bar 0 inside",
            ),
            (
                "peak_memory",
                MEMORY_BAR,
                row["peak_memory"] <= MEMORY_BAR,
                f"{row['peak_memory'] / 1e9:.1f} GB at most, bar "
                f"{MEMORY_BAR / 1e9:g} GB",
            ),
        ]
        for name, least, holds, text in judged if epochs == EPOCHS else judged[1:]:
            said = f"inception-v3 transfer in {track}: {text}"
            yield timing.bar(track, name, least, holds=holds, said=said)
