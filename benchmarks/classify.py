"""Ask trained networks of both frameworks what is on a photo.

    twintrack classify cat.png dog.jpg
    twintrack classify photos/ --system rasbt-mlp --save seen --json answers.json
    twintrack classify truck.png --run linear-torch-0

Nothing is trained: the newest finished runs of the store answer, those that --run,
--system, --data, --seed and --set choose, or a weights file.
Photos come in streams: a folder of any size takes the memory of one block.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TextIO, Unpack

import numpy as np
from numpy.typing import NDArray

from benchmarks import options, outcome
from benchmarks.engine.chosen import (
    FRAMING,
    SYSTEM,
    Choice,
    Wanted,
    from_file,
    from_store,
    imported,
)
from benchmarks.engine.networks import Networks
from benchmarks.engine.progress import amount
from benchmarks.request import (
    changes_of,
    check_folder,
    check_positive,
    only,
    path_of,
    paths_of,
    several,
    tracks_of,
)
from common.data.folder import class_named
from common.errors import Failed, Refused
from common.photos import hidden
from common.photos import sort as photos
from common.photos.decode import (
    BadPicture,
    Framing,
    Picture,
    framing_for,
    printable,
    read,
)
from common.report import drawings
from common.report import photos as report
from common.results import Store
from common.strangeness import probabilities, scores
from common.track import DEFAULT

BLOCK = 32  # photos that are decoded before they are asked about
KEPT = 1000  # photos whose answers a record has: a stream of any length is not kept


@options.command
def classify(
    photo: Annotated[
        options.Paths, options.argument(list[Path], "Photos, and folders of them.")
    ],
    *,
    system: options.SystemOrAny = None,
    data: options.OnData = None,
    seed: options.OfSeed = None,
    set: Annotated[
        options.Names | None,
        options.option(
            list[str] | None,
            "Only runs whose field has this value: recipe.lr=0.05.",
            "--set",
        ),
    ] = None,
    run: Annotated[
        str | None,
        options.option(str | None, "The run of this id, or of this beginning of one."),
    ] = None,
    weights: options.RunsOrWeights = None,
    classes: Annotated[
        options.Names | None,
        options.option(str | None, "Names for --weights, with commas between."),
    ] = None,
    one_class: options.OneClass = None,
    top: Annotated[
        int | None,
        options.option(int | None, "Labels per photo.  [3, or 5 of ImageNet]"),
    ] = None,
    how: options.MaybeHowToFit = None,
    filter: options.MaybeResampling = None,
    colour: options.Colour = "black",
    tracks: options.Tracks = DEFAULT,
    save: options.Save = None,
    **rest: Unpack[options.Told],
) -> dict[str, Any]:
    """Say what is on photos, both frameworks side by side, and how strange they are.

    Returns:
        What --json writes: {"photos": [...], "labelled": {...} or null}; the latter
        is the accuracy on photos whose folder is named like a class.  Without a file
        to write, the photos are the first thousand: a stream of any length is not kept.

    Raises:
        Refused: There is no network to ask, or an option is wrong.
        Failed: A photo was refused; the others were answered.
    """
    out = options.filled(options.Told, rest)
    check_positive(top=top)
    outcome.check_told(out)
    check_folder(save)
    names = tracks_of(tracks)
    given = paths_of(photo)
    total = counted(given)
    labels = [*between_commas(classes), *several(one_class)]
    wanted = Wanted(
        run=run,
        system=only("system", system),
        data=None if data is None else str(data),
        seed=seed,
        changes=changes_of(set),
    )
    chosen = choose(Store(out["store"]), wanted, path_of(weights), labels, names)
    # ImageNet's networks are judged on the middle of a picture, not on all of it.
    imagenet = chosen.preprocessing.startswith(FRAMING)
    own = ("centre", "bilinear") if imagenet else ("fit", "bicubic")
    framing = framing_for(chosen.spec.image, how or own[0], filter or own[1], colour)
    text = sys.stdout if out["format"] == "text" else sys.stderr  # tables by themselves
    print("\n".join([*chosen.notes, f"asked: {chosen.about}"]), file=text)
    for track in names:
        if track not in chosen.networks:
            print(f"{track} has no run that belongs to it: it is not asked", file=text)
    keep = None if out["json"] else KEPT
    seen = Seen(chosen, path_of(save), scores=imagenet, keep=keep, to=text)
    with Networks(chosen.networks) as networks, Progress(total) as step:
        asked = answers(given, framing, chosen, networks, top or (5 if imagenet else 3))
        for path, entry, picture in asked:
            step()
            seen.add(path, entry, picture)
    result = seen.result()
    if text is not sys.stdout:
        outcome.shown("classify", result, out)
    subject = f"{amount(total, 'photo')}; {', '.join(chosen.networks)}"
    outcome.kept("classify", result, out, subject=subject, tracks=list(chosen.networks))
    if seen.bad:
        others = ", the others were answered" if seen.bad < total else ""
        raise Failed(
            f"every photo must be one that can be read, {seen.bad} of {total} could "
            f"not; each is named above with what to do{others}"
        )
    return result


def counted(given: Sequence[Path]) -> int:
    """How many photos there are; what is ignored is said in one line.

    Raises:
        Refused: There is none.
    """
    ignored: list[str] = []
    total = sum(1 for _ in photos.files(given, ignored))
    if said := hidden.line(ignored):
        print(said, file=sys.stderr)
    if not total:
        where = printable(given[0]) if given else "the list of photos"
        raise Refused(
            f"classify needs a photo, got none in {where}; name a photo or a folder of "
            "them"
        )
    return total


class Seen:
    """What was said of each photo, as it comes: printed, drawn, counted and kept."""

    def __init__(
        self,
        chosen: Choice,
        save: Path | None,
        *,
        scores: bool,
        keep: int | None,
        to: TextIO,
    ) -> None:
        self.to = to
        self.chosen, self.scores, self.keep = chosen, scores, keep
        self.found: list[dict[str, Any]] = []
        self.number = self.bad = 0
        self.labelled = report.Labelled(chosen.classes)
        self.sheets = drawings.Sheets(save, chosen.about) if save else None

    def add(self, path: Path, entry: dict[str, Any], picture: Picture | None) -> None:
        """Take in a photo, or what is wrong with one."""
        self.number += 1
        self.bad += "error" in entry
        said = entry.get("error") or report.text(entry, scores=self.scores)
        print(f"\n{said}", file=self.to)
        if self.keep is None or len(self.found) < self.keep:
            self.found.append(entry)
        if picture:
            self.labelled.add(class_named(path.parent.name), entry["tracks"])
        if picture and self.sheets:
            folder = path.parent.name
            truth = folder if folder in self.chosen.classes else None
            draw(
                self.sheets,
                self.number,
                path,
                picture,
                entry["tracks"],
                truth,
                self.to,
            )

    def result(self) -> dict[str, Any]:
        """What --json writes; the closing lines are printed."""
        if self.sheets:
            self.sheets.close()
            pages = amount(self.sheets.pages, "contact sheet")
            print(
                f"\nwhat the networks saw and {pages}, from sheet-1.png on, are in "
                f"{self.sheets.folder}",
                file=self.to,
            )
        summary = self.labelled.summary(
            self.chosen.test_logits, self.chosen.test_labels
        )
        if summary:
            print(f"\n{report.closing(summary)}", file=self.to)
        return {
            "asked": dict(self.chosen.facts),
            "photos": self.found,
            "n_photos": self.number,
            "labelled": summary,
        }


def draw(
    sheets: drawings.Sheets,
    number: int,
    path: Path,
    picture: Picture,
    said: Mapping[str, Any],
    truth: str | None,
    to: TextIO,
) -> None:
    """Write what was seen of a photo, and put it on a contact sheet."""
    target = sheets.folder / drawings.seen_name(number, path)
    try:
        drawings.save_seen(path, picture.pixels, target)
        seen = picture.pixels
        sheets.add(drawings.cell(path, said, seen=seen, truth=truth))
    except BadPicture as error:  # gone since, or too narrow for a sheet
        print(f"answered but not drawn: {error}", file=to)


def choose(
    store: Store,
    wanted: Wanted,
    weights: Path | None,
    classes: Sequence[str],
    tracks: Sequence[str],
) -> Choice:
    """The networks that the options name."""
    among = replace(wanted, system=None).said
    if weights is not None and (wanted.run is not None or among):
        raise Refused(
            "--weights asks a file in place of the store's runs, got"
            f"{among or ' --run'} too; leave one out"
        )
    if classes and weights is None:
        raise Refused(
            "--classes names the labels of a --weights file, as --class does, got no "
            "such file; leave it out, a run knows its classes"
        )
    if weights is None and wanted == Wanted(system=SYSTEM):
        return from_file(imported(SYSTEM), store, None, None, tracks)
    if weights is None:
        return from_store(store, wanted, tracks)
    return from_file(weights, store, wanted.system, classes or None, tracks)


def between_commas(classes: options.Names | None) -> Sequence[str]:
    """Labels in their order: those of a text between its commas, those of a list."""
    if isinstance(classes, str):
        return [name.strip() for name in classes.split(",")]
    return classes or ()


def answers(
    paths: Sequence[Path],
    framing: Framing,
    chosen: Choice,
    networks: Networks,
    top: int,
) -> Iterator[tuple[Path, dict[str, Any], Picture | None]]:
    """Each photo's path, entry, and picture unless it is refused, in order."""
    among = {track: scores(logits) for track, logits in chosen.test_logits.items()}
    waiting = photos.files(paths)
    while block := list(islice(waiting, BLOCK)):
        opened = [_open(one, framing) for one in block]
        good = [item for item in opened if isinstance(item, Picture)]
        said: Mapping[str, NDArray[np.floating]] = {}
        if good:
            said = networks(np.stack([picture.pixels for picture in good]))
        logits = _rows(said, len(good))
        for one, item in zip(block, opened, strict=True):
            if isinstance(one, BadPicture) or isinstance(item, BadPicture):
                bad = item if isinstance(item, BadPicture) else one
                yield Path(), {"file": bad.name, "error": str(bad)}, None
                continue
            row = next(logits)
            told = {
                track: report.answer(
                    values, chosen.classes, among.get(track), min(top, len(values))
                )
                for track, values in row.items()
            }
            apart = difference(row.values()) if chosen.same_weights else None
            name = printable(one)
            yield (
                one,
                report.together(name, item.size, item.notes, told, apart),
                item,
            )


def difference(logits: Iterable[NDArray[np.floating]]) -> float:
    """Largest difference of any class's probability between any two networks."""
    chances = np.stack([probabilities(values[None])[0] for values in logits])
    return float(np.ptp(chances, axis=0).max())


def _open(one: Path | BadPicture, framing: Framing) -> Picture | BadPicture:
    if isinstance(one, BadPicture):
        return one
    try:
        return read(one, framing)
    except BadPicture as error:
        return error


def _rows(
    said: Mapping[str, NDArray[np.floating]], n: int
) -> Iterator[dict[str, NDArray[np.floating]]]:
    for k in range(n):
        yield {track: logits[k] for track, logits in said.items()}


class Progress:
    """A bar on a terminal, nothing elsewhere; called once per photo."""

    def __init__(self, total: int) -> None:
        from rich import progress
        from rich.console import Console

        self.bar = progress.Progress(
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
            # Answers go above the bar on a terminal, and to a file as they are.
            redirect_stdout=sys.stdout.isatty(),
        )
        self.task = self.bar.add_task(amount(total, "photo"), total=total)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __call__(self) -> None:
        self.bar.advance(self.task)

    def __exit__(self, *error: object) -> None:
        self.bar.stop()


if __name__ == "__main__":
    from benchmarks.shell import script

    script(classify)
