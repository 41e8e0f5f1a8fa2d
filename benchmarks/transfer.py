"""Two classes (or more) from a network that learned others.

    twintrack transfer --data cifar10 --classes automobile,truck --weights FILE
    twintrack transfer --data photos/ --classes ants,bees --mode finetune

`features`: the frozen network runs once per picture, its features are kept, and a new
last layer learns from them in seconds.  `finetune`: the whole network goes on learning
from the weights.  `scratch`: the same network from its own draw, for comparison.

Runs are runs: records in the store, seeds as pairs, resumed where they were cut off.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import options
from benchmarks.compare import (
    carried_out,
    check_margin,
    check_output,
    check_positive,
    fitted,
    job,
    tracks_of,
)
from benchmarks.data import ensure_prepared
from benchmarks.engine import machine
from benchmarks.engine.call import Tell, Values, in_child
from benchmarks.engine.progress import Screen, duration
from benchmarks.engine.progress import screen as fitting_screen
from benchmarks.engine.run import peak_memory
from benchmarks.engine.runner import DAY
from benchmarks.pretrain import listed
from benchmarks.weights import imported
from common import files, model_file, report
from common.data import DataRequest, Dataset, open_data
from common.data.features import BLOCK, Key, ensure
from common.errors import Refused
from common.evaluate import Predict
from common.heads import base_for, features_of, head_of, headless
from common.inception import InceptionSpec
from common.job import Job, numerical_code, versions
from common.results import Store
from common.spec import Spec
from common.stats import MARGIN
from common.systems import IMAGENET, SYSTEMS
from common.track import check_track, load_track
from common.weights import digest

MODES = ("features", "finetune", "scratch")
HEAD = "linear"  # the system that learns from features
SEEN_AT_ONCE = 32  # pictures; more take memory and no less time
SAID_EVERY = 2048  # pictures between two lines of progress
VALID_SHARE = 0.1  # of the training pictures, to choose the best epoch on
# The recipe of the PyTorch tutorials (pytorch/tutorials @74ba612 and @0019b9c): SGD
# .001, momentum .9, a tenth of it after every 7 epochs, the best epoch's weights.
TUTORIAL = (
    "recipe.lr=0.001",
    "recipe.optimizer=SGD(momentum=0.9)",
    "recipe.schedule=Staircase(7, 0.1, epoch)",
    "recipe.decay=None",
    "recipe.smoothing=0.0",
    "recipe.batch=32",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The network that learned others.

    Attributes:
        path: Its file.
        spec: Of the network, as the file says.
        shapes: Of its weights, by name.
        digest: Of its weights.
        source: Where they come from, in words.
    """

    path: Path
    spec: Any
    shapes: dict[str, tuple[int, ...]]
    digest: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What computes: resolved precision and device, and threads."""

    precision: str
    device: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What every run of a transfer has in common.

    Attributes:
        system: What is trained.
        requests: Track -> its pictures or features.
        overrides: Of the spec and the recipe.
        machine: What computes.
        base: The spec that stands for the system's, or none.
        start: Weights to start from and their digest, or none.
        cache: Track -> what its features cost, or none.
    """

    system: str
    requests: dict[str, DataRequest]
    overrides: tuple[str, ...]
    machine: Machine
    base: Spec | None = None
    start: tuple[Path, str] | None = None
    cache: dict[str, Any] | None = None


def transfer(
    *,
    data: options.Data = "cifar10",
    classes: Annotated[
        str, typer.Option(help="The classes to tell apart, with commas between.")
    ] = "",
    mode: Annotated[
        str, typer.Option(help="features, finetune, or scratch for comparison.")
    ] = "features",
    weights: Annotated[
        Path | None,
        typer.Option(help="From twintrack pretrain or weights import.  [ImageNet's]"),
    ] = None,
    size: options.Side = None,
    seeds: Annotated[int, typer.Option(help="Runs per track: seeds 0 to N-1.")] = 5,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 25,
    valid: Annotated[
        int | None,
        typer.Option(help="Training pictures to choose the best epoch on.  [a tenth]"),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Mirror training pictures at random.")
    ] = False,
    share_features: Annotated[
        str | None,
        typer.Option(help="Give both heads the features of this track."),
    ] = None,
    keep_in: Annotated[
        str, typer.Option(help="float16 or float32: what features are kept in.")
    ] = "float32",
    statistics: Annotated[
        str, typer.Option(help="Finetuning's batch norm: frozen or moving.")
    ] = "frozen",
    base_rate: Annotated[
        float,
        typer.Option(help="Finetuning: factor on the rate of all but the last layer."),
    ] = 1.0,
    aux: Annotated[
        bool, typer.Option("--aux", help="Finetuning: add .4 x the aux head's loss.")
    ] = False,
    tracks: options.Tracks = "torch,tensorflow",
    limit: options.Limit = None,
    skip_bad: options.SkipBad = False,
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    set: options.Set = None,
    margin: options.Margin = MARGIN,
    time_limit: options.TimeLimit = DAY,
    json: options.Json = None,
    store: options.Store = None,
) -> dict[str, Any]:
    """Teach new classes to a network that learned others, in both frameworks.

    Returns:
        What --json writes: as compare, and {"mode", "recalls", "features", "cache"}.

    Raises:
        Refused: The request cannot be met.
        RunsFailed: Some runs failed; the result of the others was printed.
    """
    names = tracks_of(tracks)
    check_positive(seeds=seeds, epochs=epochs, threads=threads, size=size, valid=valid)
    check_margin(margin)
    check_output(json)
    check_choices(mode=mode, keep_in=keep_in, statistics=statistics)
    check_used(
        mode,
        features={
            "share-features": share_features is not None,
            "keep-in": keep_in != "float32",
        },
        finetune={
            "statistics": statistics != "frozen",
            "base-rate": base_rate != 1,
            "aux": aux,
        },
    )
    if share_features:
        check_track(share_features)
    base = base_of(mode, weights)
    place, dtype = machine.settle(device, precision, mode="aligned", tracks=names)
    cores = threads or machine.available_cores()
    computer = Machine(precision=dtype, device=place, threads=cores)
    request = DataRequest(
        source=data,
        classes=listed(classes),
        side=size or (base.spec.image[0] if base else IMAGENET[0]),
        limit=limit,
        skip_bad=skip_bad,
    )
    ensure_prepared(request)
    pictures = open_data(request)
    if base and mode != "scratch":
        check_base(base, pictures)
    if mode == "features" and base:
        lesson = from_features(
            request,
            pictures,
            base,
            names,
            computer,
            flip=flip,
            keep_in=keep_in,
            shared=share_features,
        )
    else:
        lesson = whole_network(request, base, names, computer, mode=mode, flip=flip)
        if mode == "finetune" and base:
            lesson = finetuned(lesson, base, statistics, base_rate, aux=aux)
    held = valid or max(round(VALID_SHARE * len(pictures.train)), len(pictures.classes))
    jobs = [
        planned(lesson, track, seed, epochs=epochs, valid=held, given=tuple(set or ()))
        for seed in range(seeds)
        for track in names
    ]
    runs = Store(store)
    summary = carried_out(jobs, runs, margin, time_limit, None)
    recalls = report.recalls([runs.find(job.id) for job in jobs], pictures.classes)
    print(report.recalls_text(recalls))
    summary |= {
        "mode": mode,
        "weights": base.source if base else None,
        "recalls": recalls,
        "features": features_of(base.spec) if lesson.cache and base else None,
        "cache": together(lesson.cache) if lesson.cache else None,
    }
    if json:
        files.write_atomic(json, files.readable(summary))
    return summary


# --- what is asked for ------------------------------------------------------------


def check_choices(*, mode: str, keep_in: str, statistics: str) -> None:
    """Refuse a word that is not one of its option's."""
    for option, value, allowed in (
        ("mode", mode, MODES),
        ("keep-in", keep_in, ("float16", "float32")),
        ("statistics", statistics, ("frozen", "moving")),
    ):
        if value not in allowed:
            raise Refused(
                f"--{option} must be one of {', '.join(allowed)}, got {value}; "
                "choose one of them"
            )


def check_used(mode: str, **options: dict[str, bool]) -> None:
    """Refuse an option that was given and that its mode does not look at.

    Args:
        mode: What was asked for.
        options: Mode -> its own options, and whether each was given.
    """
    for own, given in options.items():
        for option, is_given in given.items():
            if is_given and own != mode:
                raise Refused(
                    f"--{option} is for --mode {own}, got --mode {mode}; leave it out "
                    "or change the mode"
                )


def base_of(mode: str, weights: Path | None) -> Base | None:
    """The network to start from; none for scratch, unless its architecture is given.

    Raises:
        Refused: There is no such file, or nothing was imported.
    """
    if mode == "scratch" and weights is None:
        return None
    path = imported("inception-v3", weights)
    spec, values, about = model_file.load(path)
    return Base(
        path=path,
        spec=spec,
        shapes={name: value.shape for name, value in values.items()},
        digest=digest(values),
        source=about.source,
    )


def whole_network(
    request: DataRequest,
    base: Base | None,
    tracks: Sequence[str],
    machine: Machine,
    *,
    mode: str,
    flip: bool,
) -> Lesson:
    """The network itself, from its own draw or from the base's weights."""
    return Lesson(
        system=system_of(base.spec) if base else "inception-v3",
        requests=dict.fromkeys(tracks, request),
        overrides=(f"recipe.augment=Augment(flip={flip})", "recipe.keep=best"),
        machine=machine,
        base=base.spec if base else None,
        start=(base.path, base.digest) if base and mode == "finetune" else None,
    )


def system_of(spec: Spec) -> str:
    """Name of the system that a spec is most likely of: what its runs are called."""
    if isinstance(spec, InceptionSpec):
        return "inception-v3"
    for name, system in SYSTEMS.items():
        try:
            if base_for(system.spec(spec.image, spec.classes), spec.image, 2) == (
                base_for(spec, spec.image, 2)
            ):
                return name
        except ValueError:
            continue  # that system does not fit such pictures
    raise Refused(
        f"weights must be of a system in `twintrack list`, got a {type(spec).__name__} "
        "of none; use weights of a registered system"
    )


def finetuned(
    lesson: Lesson, base: Base, statistics: str, base_rate: float, *, aux: bool
) -> Lesson:
    """The lesson with the tutorials' recipe.

    Raises:
        Refused: The rate is negative, or there is no aux head to ask for.
    """
    if base_rate < 0:
        raise Refused(f"--base-rate must be 0 or more, got {base_rate}; 0 freezes")
    if aux and not getattr(base.spec, "aux", False):
        raise Refused(
            f"--aux needs weights with an auxiliary head, {base.path} has none; import "
            "torchvision's, or leave --aux out"
        )
    heads = (head_of(base.spec), "AuxLogits.fc")
    factors = (("", float(base_rate)), *((name, 1.0) for name in heads))
    recipe = (*TUTORIAL, f"recipe.statistics={statistics}")
    if base_rate != 1:
        recipe += (f"recipe.multipliers={factors!r}",)
    if aux:
        recipe += ("spec.aux=True",)
    return replace(lesson, overrides=(*lesson.overrides, *recipe))


def planned(
    lesson: Lesson,
    track: str,
    seed: int,
    *,
    epochs: int,
    valid: int,
    given: tuple[str, ...],
) -> Job:
    """One run; `given`: the user's own overrides, which come last."""
    request = replace(lesson.requests[track], valid=valid)
    pictures = open_data(request)
    resolved = fitted(
        lesson.system, pictures, (*lesson.overrides, *given), epochs, base=lesson.base
    )
    return job(
        resolved,
        request=request,
        pictures=pictures,
        mode="aligned",
        track=track,
        seed=seed,
        precision=lesson.machine.precision,
        device=lesson.machine.device,
        threads=lesson.machine.threads,
        start=lesson.start,
    )


# --- features ---------------------------------------------------------------------


def from_features(
    request: DataRequest,
    pictures: Dataset,
    base: Base,
    tracks: Sequence[str],
    machine: Machine,
    *,
    flip: bool,
    keep_in: str,
    shared: str | None,
) -> Lesson:
    """A new last layer on what the frozen base makes of every picture.

    Raises:
        Refused: The disk is full, or a feature does not fit what they are kept in.
    """
    screen = fitting_screen(sys.stderr)
    folders, cache = {}, {}
    for track in dict.fromkeys([shared] if shared else tracks):
        values = {
            "weights": str(base.path),
            "data": request.to_dict(),
            "track": track,
            "flip": flip,
            "keep_in": keep_in,
        } | asdict(machine)
        start = monotonic()
        screen.say(f"features of {pictures.name} in {track}: looking in the cache")
        found = in_child(
            "benchmarks.transfer:compute",
            values,
            threads=machine.threads,
            device=machine.device,
            told=lambda event: _show(screen, event),
        )
        cost = {"seconds": monotonic() - start}
        folders[track], cache[track] = found.pop("folder"), found | cost
        screen.say(_told(track, cache[track]))
    return Lesson(
        system=HEAD,
        requests={
            track: replace(
                request, features=folders[shared or track], shared=bool(shared)
            )
            for track in tracks
        },
        # A crop of one view of two is a mirror image with probability one half.
        overrides=(
            "spec.scale=Scale(divide=1.0)",
            f"spec.crop={int(flip)}",
            "recipe.keep=best",
        ),
        machine=Machine(precision="float32", device=machine.device, threads=1),
        cache=cache,
    )


def together(cache: dict[str, Any]) -> dict[str, Any]:
    """What the features of all tracks cost, and those of each."""
    costs = cache.values()
    return {
        "seconds": sum(cost["seconds"] for cost in costs),
        "bytes": sum(cost["bytes"] for cost in costs),
        "hit": all(cost["hit"] for cost in costs),
        "tracks": cache,
    }


def check_base(base: Base, pictures: Dataset) -> None:
    """Refuse a base that cannot see these pictures."""
    h, w, c = pictures.image
    if c != base.spec.image[2]:
        raise Refused(
            f"pictures must have the {base.spec.image[2]} channels of the base, "
            f"{pictures.name} has {c}; use weights for such pictures"
        )
    try:
        fitted = base_for(base.spec, (h, w, c), len(pictures.classes))
    except ValueError as error:
        raise Refused(str(error)) from error
    head = f"{head_of(fitted)}."
    for name, record in fitted.weights.items():
        shape = base.shapes.get(name)
        if shape != record.shape and not name.startswith(head):
            raise Refused(
                f"weights must fit the pictures, {h}x{w} px need {record.shape} for "
                f"{name} and {base.path} has {shape}; give --size {base.spec.image[0]}"
            )


def compute(values: Values, tell: Tell) -> Values:
    """In a child: see that the features are in the cache."""
    spec, weights, _ = model_file.load(Path(values["weights"]))
    data = open_data(DataRequest.from_dict(values["data"]))
    seen = base_for(spec, data.image, spec.classes)
    bare, given = headless(seen, weights)
    name = values["track"]
    key = Key(
        track=name,
        weights=digest(weights),
        spec=repr(seen),
        data=data.fingerprint,
        precision=values["precision"],
        device=values["device"],
        threads=values["threads"],
        flip=values["flip"],
        dtype=values["keep_in"],
        versions=versions(name),
        code=numerical_code(name),
    )

    def predictor() -> Any:
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


def _show(screen: Screen, event: Values) -> None:
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


if __name__ == "__main__":
    from benchmarks.cli import script

    script(transfer)
