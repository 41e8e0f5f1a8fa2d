"""Ask trained networks of both frameworks what is on a photo.

    twintrack classify cat.png dog.jpg
    twintrack classify photos/ --system rasbt-mlp --save seen --json answers.json

Nothing is trained: the newest finished runs of the store answer, or a weights file.
Photos come in streams: a folder of any size takes the memory of one block.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import options
from benchmarks.compare import (
    check_folder,
    check_output,
    check_positive,
    tracks_of,
)
from benchmarks.engine.chosen import Choice, from_file, from_store
from benchmarks.engine.networks import Networks
from benchmarks.engine.progress import amount
from benchmarks.weights import PREPROCESSING, SYSTEM, imported
from common import files
from common.errors import Failed, Refused
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

BLOCK = 32  # photos that are decoded before they are asked about


def classify(
    photo: Annotated[list[Path], typer.Argument(help="Photos, and folders of them.")],
    *,
    system: Annotated[
        str | None,
        typer.Option(
            help="Only runs of this system; inception-v3: ImageNet's weights."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A weights file, in place of the store's runs.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names for --weights, with commas between.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="Labels per photo.  [3, or 5 of ImageNet]")
    ] = None,
    how: options.MaybeHowToFit = None,
    filter: options.MaybeResampling = None,
    colour: options.Colour = "black",
    tracks: options.Tracks = "torch,tensorflow",
    save: options.Save = None,
    json: options.Json = None,
    store: options.Store = None,
) -> dict[str, Any]:
    """Say what is on photos, both frameworks side by side, and how strange they are.

    Returns:
        What --json writes: {"photos": [...], "labelled": {...} or null}; the latter
        is the accuracy on photos whose folder is named like a class.  The photos are
        there only if a file is asked for: a stream of any length is not kept.

    Raises:
        Refused: There is no network to ask, or an option is wrong.
        Failed: A photo was refused; the others were answered.
    """
    check_positive(top=top)
    check_output(json)
    check_folder(save)
    names = tracks_of(tracks)
    chosen = choose(Store(store), system, weights, classes, names)
    # ImageNet's networks are judged on the middle of a picture, not on all of it.
    imagenet = chosen.preprocessing == PREPROCESSING
    top = top or (5 if imagenet else 3)
    own = ("centre", "bilinear") if imagenet else ("fit", "bicubic")
    framing = framing_for(chosen.spec.image, how or own[0], filter or own[1], colour)
    print(f"asked: {chosen.about}")
    for track in names:
        if track not in chosen.networks:
            print(f"{track} has no run that belongs to it: it is not asked")
    found, bad = [], 0
    labelled = report.Labelled(chosen.classes)
    sheets = drawings.Sheets(save, chosen.about) if save else None
    total = sum(1 for _ in photos.files(photo))
    if not total:
        raise Refused(
            f"classify needs a photo, got none in {printable(photo[0])}; name a photo "
            "or a folder of them"
        )
    with Networks(chosen.networks) as networks, Progress(total) as step:
        asked = answers(photo, framing, chosen, networks, top)
        for number, (path, entry, picture) in enumerate(asked, 1):
            step()
            bad += "error" in entry
            said = entry.get("error") or report.text(entry, scores=imagenet)
            print(f"\n{said}")
            if json:
                found.append(entry)
            if picture:
                labelled.add(path.parent.name, entry["tracks"])
            if picture and sheets:
                draw(sheets, number, path, picture, entry["tracks"])
    if sheets:
        sheets.close()
        pages = amount(sheets.pages, "contact sheet")
        print(
            f"\nwhat the networks saw and {pages}, from sheet-1.png on, are in {save}"
        )
    summary = labelled.summary(chosen.test_logits, chosen.test_labels)
    if summary:
        print(f"\n{report.closing(summary)}")
    result = {"photos": found, "labelled": summary}
    if json:
        files.write_atomic(json, files.readable(result))
    if bad:
        raise Failed(
            f"every photo must be one that can be read, {bad} of {total} could not; "
            "each is named above with what to do, the others were answered"
        )
    return result


def draw(
    sheets: drawings.Sheets,
    number: int,
    path: Path,
    picture: Picture,
    said: Mapping[str, Any],
) -> None:
    """Write what was seen of a photo, and put it on a contact sheet."""
    target = sheets.folder / drawings.seen_name(number, path)
    try:
        drawings.save_seen(path, picture.pixels, target)
        sheets.add(drawings.cell(path, said))
    except BadPicture as error:  # gone since, or too narrow for a sheet
        print(f"answered but not drawn: {error}")


def choose(
    store: Store,
    system: str | None,
    weights: Path | None,
    classes: str | None,
    tracks: Sequence[str],
) -> Choice:
    """The networks that the options name."""
    if classes and weights is None:
        raise Refused(
            "--classes names the labels of a --weights file, got no such file; leave "
            "it out, a run knows its classes"
        )
    if weights is None and system == SYSTEM:
        return from_file(imported(system), store, None, None, tracks)
    if weights is None:
        return from_store(store, system, tracks)
    named = [name.strip() for name in classes.split(",")] if classes else None
    return from_file(weights, store, system, named, tracks)


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
    from benchmarks.cli import script

    script(classify)
