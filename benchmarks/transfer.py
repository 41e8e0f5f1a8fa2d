"""Two classes (or more) from a network that learned others.

    twintrack transfer --data cifar10 --classes automobile,truck --weights FILE
    twintrack transfer --data photos/ --classes ants,bees --method finetune

`features`: the frozen network runs once per picture, its features are kept, and a new
last layer learns from them in seconds.  `finetune`: the whole network goes on learning
from the weights.  `scratch`: the same network from its own draw, for comparison.

Runs are runs: records in the store, seeds as pairs, resumed where they were cut off.
`twintrack classify PHOTO` asks them, a head together with the base that it sits on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, Unpack

from benchmarks import options, outcome
from benchmarks.engine import machine
from benchmarks.engine.chosen import SYSTEM, how_to_ask, imported
from benchmarks.engine.machine import Machine
from benchmarks.measures.features import HEAD, features
from benchmarks.request import (
    Setting,
    changes_of,
    check_choice,
    check_positive,
    chosen_system,
    class_names,
    fitted,
    framing_of,
    opened,
    path_of,
    seeds_of,
    share_of,
    tracks_of,
)
from common import model_file, report
from common.data import DataRequest, Dataset, open_data
from common.errors import Refused
from common.heads import base_for, features_of, head_of
from common.inception import InceptionSpec
from common.job import Base as Frozen
from common.job import Job
from common.results import Store
from common.spec import Spec
from common.stats import MARGIN
from common.systems import BUILDERS, IMAGENET, SYSTEMS, check_fits, find, resolve
from common.track import DEFAULT, check_track
from common.weights import digest

METHODS = ("features", "finetune", "scratch")
EPOCHS = 25  # the tutorials', unless --epochs
VALID_SHARE = 0.1  # of the training pictures, to choose the best epoch on
OWN_KIND = (
    "--method {} replaces a network's last layer, which is known of MLPs, CNNs and "
    "Inception v3, got {}, a kind of yours; train it whole: --method scratch --system "
    "MODULE"
)
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
class Lesson:
    """What every run of a transfer has in common.

    Attributes:
        system: What is trained.
        requests: Track -> its pictures or features.
        overrides: Of the spec and the recipe.
        machine: What computes.
        base: The spec that stands for the system's, or none.
        start: Weights to start from and their digest, or none.
        frozen: The network whose features the pictures are, as `Setting.base`, or none.
        cache: What its features cost, or none.
    """

    system: str
    requests: dict[str, DataRequest]
    overrides: tuple[str, ...]
    machine: Machine
    base: Spec | None = None
    start: tuple[Path, str] | None = None
    frozen: Frozen | None = None
    cache: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a transfer is asked to be, beside its data and its runs.

    Attributes:
        method: "features", "finetune" or "scratch".
        flip: Whether training pictures are mirrored at random.
        shared: Track whose features all heads are given, or none.
        keep_in: "float16" or "float32": what features are kept in.
        statistics: "frozen" or "moving", of finetuning's batch norm.
        base_rate: Factor on the rate of all but the last layer, in finetuning.
        aux: Whether finetuning adds the auxiliary head's loss.

    Raises:
        Refused: A word is none of its option's, or an option is another method's.
    """

    method: str
    flip: bool
    shared: str | None
    keep_in: str
    statistics: str
    base_rate: float
    aux: bool

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        check_choice("keep-in", self.keep_in, ("float16", "float32"))
        check_choice("statistics", self.statistics, ("frozen", "moving"))
        check_used(
            self.method,
            features={
                "share-features": self.shared is not None,
                "keep-in": self.keep_in != "float32",
            },
            finetune={
                "statistics": self.statistics != "frozen",
                "base-rate": self.base_rate != 1,
                "aux": self.aux,
            },
        )
        if not 0 <= self.base_rate < inf:
            raise Refused(
                f"--base-rate must be 0 or more, got {self.base_rate}; 0 freezes"
            )
        if self.shared:
            check_track(self.shared)


@options.command
def transfer(
    *,
    data: options.Data = "cifar10",
    classes: Annotated[
        options.Names,
        options.option(str, "The classes to tell apart, with commas between."),
    ] = "",
    one_class: options.OneClass = None,
    method: Annotated[
        str, options.option(str, "features, finetune, or scratch for comparison.")
    ] = "features",
    system: options.System = None,
    weights: options.ImageNetOrWeights = None,
    size: options.Size = None,
    seeds: options.Seeds = 5,
    epochs: options.TutorialEpochs = None,
    valid: options.ValidTenth = None,
    flip: Annotated[
        bool, options.option(bool, "Mirror training pictures at random.", "--flip")
    ] = False,
    share_features: Annotated[
        str | None,
        options.option(str | None, "Give both heads the features of this track."),
    ] = None,
    keep_in: Annotated[
        str, options.option(str, "float16 or float32: what features are kept in.")
    ] = "float32",
    statistics: Annotated[
        str, options.option(str, "Finetuning's batch norm: frozen or moving.")
    ] = "frozen",
    base_rate: Annotated[
        float,
        options.option(
            float, "Finetuning: factor on the rate of all but the last layer."
        ),
    ] = 1.0,
    aux: Annotated[
        bool, options.option(bool, "Finetuning: add .4 x the aux head's loss.", "--aux")
    ] = False,
    tracks: options.Tracks = DEFAULT,
    margin: options.Margin = 100 * MARGIN,
    **rest: Unpack[options.Runs],
) -> dict[str, Any]:
    """Teach new classes to a network that learned others, in both frameworks.

    Returns:
        What --json writes: as compare, and {"mode", "recalls", "features", "cache"};
        "mode" is the method.

    Raises:
        Refused: The request cannot be met.
        RunsFailed: Some runs failed; the result of the others was printed.
    """
    runs = options.filled(options.Runs, rest)
    names = tracks_of(tracks)
    chosen, share, changes = seeds_of(seeds), share_of(margin), changes_of(runs["set"])
    check_positive(epochs=epochs, valid=valid)
    outcome.check_runs(runs)
    wish = Wish(
        method=method,
        flip=flip,
        shared=share_features,
        keep_in=keep_in,
        statistics=statistics,
        base_rate=base_rate,
        aux=aux,
    )
    framing = framing_of(size)
    named = chosen_system(system, default=SYSTEM)
    base = base_of(method, path_of(weights), named if system else None)
    computer = machine.settle(
        runs["device"],
        runs["precision"],
        mode="aligned",
        tracks=names,
        threads=runs["threads"] or machine.shared_threads(),
    )
    request = DataRequest(
        source=str(data),
        classes=class_names(classes, one_class),
        limit=runs["limit"],
        test_limit=runs["test_limit"],
        skip_bad=runs["skip_bad"],
        **framing or {"side": side_seen(base, named)},
    )
    pictures = opened(request)
    held = held_of(valid, pictures)
    check_head(wish, replace(request, valid=held), base, changes, epochs or EPOCHS)
    lesson = lesson_of(wish, request, pictures, base, named, names, computer)
    jobs = [
        planned(lesson, track, seed, epochs or EPOCHS, valid=held, given=changes)
        for seed in chosen
        for track in names
    ]
    summary = judged(jobs, runs, names, share, pictures.classes)
    summary |= {
        "mode": method,
        "weights": base.source if base else None,
        "features": features_of(base.spec) if lesson.cache and base else None,
        "cache": lesson.cache,
    } | pictures.found.for_json()
    subject = f"{method} on {pictures.name}; {', '.join(names)}"
    outcome.kept("transfer", summary, runs, subject=subject, tracks=names)
    return summary


def held_of(valid: int | None, pictures: Dataset) -> int:
    """How many training pictures are held out: none where there is such a part.

    Raises:
        Refused: There is one, and another is asked for.
    """
    if not len(pictures.valid):
        share = round(VALID_SHARE * len(pictures.train))
        return valid or max(share, len(pictures.classes))
    if valid:
        raise Refused(
            f"a data set has one validation part, {pictures.name} has "
            f"{len(pictures.valid):,} images in it; leave --valid out"
        )
    return 0


def judged(
    jobs: Sequence[Job],
    runs: options.Runs,
    tracks: Sequence[str],
    margin: float,
    classes: Sequence[str],
) -> dict[str, Any]:
    """The comparison of the jobs' runs and how much of each class they find, shown.

    Raises:
        RunsFailed: Some runs failed; the result of the others was printed.
    """
    outcomes = outcome.carried_out(jobs, runs, Store(runs["store"]))
    found = [one.run for one in outcomes if one.run]
    summary = report.summarise(found, margin=margin, tracks=tracks)
    summary["recalls"] = report.recalls(found, classes)
    if found:
        outcome.shown("transfer", summary, runs)
    if whole := [run.id for run in found if not run.diverged]:
        print(how_to_ask(whole[0], tracks, Store(runs["store"])), file=sys.stderr)
    outcome.check_finished(outcomes)
    return summary


# --- what is asked for ------------------------------------------------------------


def check_used(method: str, **options: dict[str, bool]) -> None:
    """Refuse an option that was given and that its method does not look at.

    Args:
        method: What was asked for.
        options: Method -> its own options, and whether each was given.
    """
    for own, given in options.items():
        for option, is_given in given.items():
            if is_given and own != method:
                raise Refused(
                    f"--{option} is for --method {own}, got --method {method}; leave "
                    "it out or change the method"
                )


def base_of(method: str, weights: Path | None, system: str | None) -> Base | None:
    """The network to start from; none for scratch, unless its architecture is given.

    Args:
        method: What is done with it.
        weights: Its file; none for ImageNet's.
        system: The user's --system, which registers the kind of the file's spec.

    Raises:
        Refused: There is no such file, nothing was imported, or it is of a kind whose
            last layer nobody knows.
    """
    if method == "scratch" and weights is None:
        return None
    if system and system != SYSTEM and weights is None:
        raise Refused(
            f"--method {method} starts from a --weights file, got --system {system} "
            f"and no file; train one with twintrack pretrain {system} --output FILE"
            if find(system).module is None
            else OWN_KIND.format(method, system)
        )
    path = imported(SYSTEM, weights)
    spec, values, about = model_file.load(path)
    if method != "scratch" and type(spec) in BUILDERS:
        raise Refused(OWN_KIND.format(method, f"a {type(spec).__name__}"))
    if system and (found := system_of(spec)) != find(system).name:
        raise Refused(
            f"--weights must be of the architecture of --system {system}, {path} is of "
            f"{found}; leave out --system to use the file's own"
        )
    return Base(
        path=path,
        spec=spec,
        shapes={name: value.shape for name, value in values.items()},
        digest=digest(values),
        source=about.source,
    )


def lesson_of(
    wish: Wish,
    request: DataRequest,
    pictures: Dataset,
    base: Base | None,
    system: str,
    tracks: Sequence[str],
    computer: Machine,
) -> Lesson:
    """What every run of the transfer has in common.

    Raises:
        Refused: The base cannot see these pictures, or a wish does not fit it.
    """
    if base and wish.method != "scratch":
        check_base(base, pictures)
    if wish.method == "features" and base:
        return from_features(wish, request, base, pictures, tracks, computer)
    lesson = Lesson(
        system=system_of(base.spec) if base else system,
        requests=dict.fromkeys(tracks, request),
        overrides=(f"recipe.augment=Augment(flip={wish.flip})", "recipe.keep=best"),
        machine=computer,
        base=base.spec if base else None,
        start=(base.path, base.digest) if base and wish.method == "finetune" else None,
    )
    whole = wish.method == "finetune" and base
    return finetuned(lesson, base, wish) if whole and base else lesson


def side_seen(base: Base | None, system: str) -> int:
    """Pixels a side that pictures are resized to, unless --size: what the net knows."""
    if base:
        return int(base.spec.image[0])
    return IMAGENET[0] if system == SYSTEM else find(system).image[0]


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


def finetuned(lesson: Lesson, base: Base, wish: Wish) -> Lesson:
    """The lesson with the tutorials' recipe.

    Raises:
        Refused: There is no aux head to ask for.
    """
    if wish.aux and not getattr(base.spec, "aux", False):
        raise Refused(
            f"--aux needs weights with an auxiliary head, {base.path} has none; import "
            "torchvision's, or leave --aux out"
        )
    heads = (head_of(base.spec), "AuxLogits.fc")
    factors = (("", float(wish.base_rate)), *((name, 1.0) for name in heads))
    recipe = [*TUTORIAL, f"recipe.statistics={wish.statistics}"]
    if wish.base_rate != 1:
        recipe.append(f"recipe.multipliers={factors!r}")
    if wish.aux:
        recipe.append("spec.aux=True")
    return replace(lesson, overrides=(*lesson.overrides, *recipe))


def planned(
    lesson: Lesson,
    track: str,
    seed: int,
    epochs: int,
    *,
    valid: int,
    given: tuple[str, ...],
) -> Job:
    """One run; `given`: the user's own overrides, which come last."""
    request = replace(lesson.requests[track], valid=valid)
    pictures = open_data(request)
    resolved = fitted(
        lesson.system, pictures, (*lesson.overrides, *given), epochs, base=lesson.base
    )
    setting = Setting(
        request=request,
        pictures=pictures,
        machine=lesson.machine,
        start=lesson.start,
        base=lesson.frozen,
    )
    return setting.job(resolved, track=track, seed=seed)


# --- features ---------------------------------------------------------------------


def from_features(
    wish: Wish,
    request: DataRequest,
    base: Base,
    pictures: Dataset,
    tracks: Sequence[str],
    computer: Machine,
) -> Lesson:
    """A new last layer on what the frozen base makes of every picture.

    Raises:
        Refused: The disk is full, or a feature does not fit what they are kept in.
    """
    found = features(
        request,
        base.path,
        [wish.shared] if wish.shared else tracks,
        computer,
        flip=wish.flip,
        keep_in=wish.keep_in,
    )
    folder = {track: found.folders[wish.shared or track] for track in tracks}
    return Lesson(
        system=HEAD,
        requests={
            track: replace(request, features=folder[track], shared=bool(wish.shared))
            for track in tracks
        },
        overrides=head_changes(wish),
        machine=Machine(precision="float32", device=computer.device, threads=1),
        frozen=Frozen(
            file=str(base.path.resolve()),
            digest=base.digest,
            image=pictures.image,
            precision=computer.precision,
        ),
        cache=found.together(),
    )


def head_changes(wish: Wish) -> tuple[str, ...]:
    """What makes `linear` a last layer on features."""
    # A crop of one view of two is a mirror image with probability one half.
    return (
        "spec.scale=Scale(divide=1.0)",
        f"spec.crop={int(wish.flip)}",
        "recipe.keep=best",
    )


def check_head(
    wish: Wish,
    request: DataRequest,
    base: Base | None,
    given: tuple[str, ...],
    epochs: int,
) -> None:
    """Refuse, before features are computed, a head that could not learn from them.

    Raises:
        Refused: An override does not fit, or too few pictures are left.
    """
    pictures = open_data(request)
    if wish.method != "features" or base is None:
        return
    resolved = resolve(
        HEAD,
        image=(1, 1 + wish.flip, features_of(base.spec)),
        classes=len(pictures.classes),
        overrides=(*head_changes(wish), *given),
        epochs=epochs,
    )
    check_fits(resolved, len(pictures.train))


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


if __name__ == "__main__":
    from benchmarks.shell import script

    script(transfer)
