"""Add a class from a folder of photos, and measure what that changes.

    twintrack new-class apple apples/ --data cifar10 --system rasbt-mlp

All networks are runs in a store, so what is finished is not repeated.  How the class is
studied is in `benchmarks.measures.class_study`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from benchmarks import options, outcome
from benchmarks.engine import machine
from benchmarks.engine.chosen import how_to_ask
from benchmarks.measures.class_study import Study
from benchmarks.request import (
    changes_of,
    check_folder,
    check_positive,
    check_seed,
    chosen_system,
    framing_of,
    opened,
    path_of,
    paths_of,
    several,
    tracks_of,
)
from common import remedies
from common.data import DataRequest, Dataset
from common.errors import Failed, Refused
from common.photos import hidden
from common.photos import sort as photos
from common.photos.decode import BadPicture, Framing, framing_for, printable, read
from common.report import drawings
from common.results import Store
from common.systems import find
from common.track import DEFAULT

FOLDS_SEED = 0
DEFAULT_SYSTEM = "rasbt-mlp"


@options.command
def new_class(
    name: Annotated[str, options.argument(str, "What the new class is called.")],
    folder: Annotated[
        options.Paths, options.argument(list[Path], "Its photos, or folders.")
    ],
    *,
    system: options.SystemOrMLP = None,
    data: options.Data = "cifar10",
    folds: Annotated[int, options.option(int, "Parts the photos are dealt into.")] = 5,
    remedy: Annotated[
        options.Names | None,
        options.option(
            list[str] | None,
            f"Of {', '.join(remedies.REMEDIES)}; all unless given.",
        ),
    ] = None,
    shortcut: Annotated[
        bool, options.option(bool, "Measure whether bars give the class away.")
    ] = True,
    seed: options.Seed = 0,
    how: options.HowToFit = "fit",
    filter: options.Resampling = "bicubic",
    colour: options.Colour = "black",
    tracks: options.Tracks = DEFAULT,
    epochs: options.Epochs = None,
    size: options.Size = None,
    save: options.Save = None,
    keep_out: Annotated[
        options.Paths | None,
        options.option(
            list[Path] | None, "A photo of the folder to be classified afterwards."
        ),
    ] = None,
    **rest: Unpack[options.Runs],
) -> dict[str, Any]:
    """Add a class from a folder of photos; say what it costs and what it brings.

    Returns:
        What --json writes.

    Raises:
        Refused: The class exists, the photos are too few, or an option is wrong.
        RunsFailed: Some runs failed; the same command goes on.
        Failed: A photo was refused; the others were used.
    """
    runs = options.filled(options.Runs, rest)
    names = tracks_of(tracks)
    check_positive(epochs=epochs, folds=folds)
    check_seed(seed, seed + folds)
    changes = changes_of(runs["set"])
    named = find(chosen_system(system, default=DEFAULT_SYSTEM)).name
    outcome.check_runs(runs)
    check_folder(save)
    chosen = _remedies(several(remedy))
    computer = machine.settle(
        runs["device"],
        runs["precision"],
        mode="aligned",
        tracks=names,
        threads=runs["threads"],
    )
    request = DataRequest(
        source=str(data),
        limit=runs["limit"],
        test_limit=runs["test_limit"],
        skip_bad=runs["skip_bad"],
        **framing_of(size),
    )
    base = opened(request)
    _check_name(name, base)
    framing = framing_for(base.image, how, filter, colour)
    found, refused = _load(paths_of(folder), framing)
    sorted_photos = photos.without_duplicates(found)
    for line in (*refused, *sorted_photos.notes):
        print(line, file=sys.stderr)
    study = Study(
        name=name,
        system=named,
        request=request,
        base=base,
        photos=sorted_photos.kept,
        kept_out=_kept_out(paths_of(keep_out or ()), sorted_photos),
        fold=photos.deal(sorted_photos.groups, folds, FOLDS_SEED),
        framing=framing,
        tracks=names,
        overrides=changes,
        epochs=epochs,
        seed=seed,
        machine=computer,
        store=Store(runs["store"]),
        train=lambda jobs, store: outcome.all_trained(jobs, runs, store),
    )
    said = {"refused": refused, "notes": list(sorted_photos.notes)}
    result = study.measure(chosen, shortcut) | said | base.found.for_json()
    subject = f"{name} in {named}; {', '.join(names)}"
    outcome.told("new-class", result, runs, subject=subject, tracks=names)
    tell_how_to_ask(result, study)
    if target := path_of(save):
        draw(study, result, target)
    if refused:
        raise Failed(
            f"every photo must be one that can be read, {len(refused)} could not; each "
            "is named above with what to do, the others were used"
        )
    return result


def tell_how_to_ask(result: Mapping[str, Any], study: Study) -> None:
    """The line that asks the networks that saw all photos but those kept out."""
    if result["final"]:
        file = Path(result["final"]["tracks"][study.tracks[0]])
        print(how_to_ask(file.parent.name, study.tracks, study.store), file=sys.stderr)


def _remedies(asked: Sequence[str] | None) -> list[str]:
    chosen = list(dict.fromkeys(asked or remedies.REMEDIES))
    for one in chosen:
        if one not in remedies.REMEDIES:
            raise Refused(
                f"--remedy must be one of {', '.join(remedies.REMEDIES)}, got {one}; "
                "choose one, or leave it out for all"
            )
    return chosen


def _check_name(name: str, base: Dataset) -> None:
    if not name.strip():
        raise Refused("a new class needs a name, got an empty one; give it one")
    if name in base.classes:
        raise Refused(
            f"a new class needs a new name, {name!r} is already one of "
            f"{', '.join(base.classes)}; choose another name"
        )


def _kept_out(paths: Sequence[Path], found: photos.Sorted) -> NDArray[np.bool_]:
    """Which photos the last networks are not to see, (n,): with all that look alike."""
    kept = found.kept
    wanted = {path.resolve() for path in paths}
    here = {photo.path.resolve() for photo in kept}
    if missing := sorted(wanted - here):
        raise Refused(
            f"--keep-out must name photos of the folder, got {printable(missing[0])}; "
            "name one of those that are used"
        )
    named = np.array([photo.path.resolve() in wanted for photo in kept], bool)
    out = np.isin(found.groups, found.groups[named])
    if out.all():
        raise Refused(
            f"the last networks need photos, got --keep-out for all {len(kept)}; "
            "leave some"
        )
    return out


def _load(
    paths: Sequence[Path], framing: Framing
) -> tuple[list[photos.Photo], list[str]]:
    """Photos that can be decoded, and a line for each file that cannot."""
    good: list[photos.Photo] = []
    bad: list[str] = []
    ignored: list[str] = []
    for one in photos.files(paths, ignored):
        try:
            if isinstance(one, BadPicture):
                raise one
            good.append(photos.load(one, framing))
        except BadPicture as error:
            bad.append(str(error))
    if said := hidden.line(ignored):
        print(said, file=sys.stderr)
    return good, bad


def draw(study: Study, result: Mapping[str, Any], folder: Path) -> None:
    """Write the contact sheets and the confusion row."""
    if result["final"] is None:
        return
    remedy = result["final"]["remedy"]
    title = f"{study.name}: what networks say that were trained without the photo"
    sheets = drawings.Sheets(folder, f"{title} ({study.system}, {remedy})")
    by_file = {row["file"]: row["tracks"] for row in result["held_out"]}
    for photo in study.photos:
        seen = read(photo.path, study.framing).pixels
        said = by_file[photo.name]
        sheets.add(drawings.cell(photo.path, said, seen=seen, truth=study.name))
    sheets.close()
    row = next(r for r in result["remedies"] if r["remedy"] == remedy)
    counts = {
        "before": {t: [*f["called"].values()] for t, f in result["before"].items()},
        f"after ({remedy})": {
            t: [*f["called"].values()] for t, f in row["tracks"].items()
        },
    }
    said = f"{len(study.photos)} photos of {study.name}: what {study.system} calls them"
    drawings.save_row(study.classes, counts, said, folder / "confusion-row.png")
    print(f"\ncontact sheets and the confusion row are in {folder}")


if __name__ == "__main__":
    from benchmarks.shell import script

    script(new_class)
