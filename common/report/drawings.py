"""Pictures of results: contact sheets, what the network saw, curves, confusions."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.files import write_atomic
from common.photos.decode import Framing, read
from common.report.fonts import Spelt, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, ROWS = 4, 5
THUMB = 160  # pixels of a photo on a sheet
SEEN = 320  # pixels that the network's picture is enlarged to
GAP = 16
CAPTION = 28  # pixels below a picture for what it is
TITLE, LABEL = 32, 22  # letters of a file's name, and of a class's, on a sheet
NAME = 60  # characters of a photo's name that are kept in that of a picture of it
WHITE, GREY = (255, 255, 255), (90, 90, 90)
COLOURS = ("#ee4c2c", "#4f7dc9", "#3a9b63", "#9a6fb0")  # of the tracks, in order
OTHER = "#777777"  # of further ones
RIGHT, WRONG, MIXED = "#3a9b63", "#c0392b", "#d4a017"  # frames of photos
# In inches: of a cell its width and its picture's height, of a picture the width, of a
# page the least width, of a line of text its height.
CELL, PICTURE, LEAST, LINE = (2.9, 1.3), 2.75, 4.0, 0.165
FEW = 20  # epochs of a curve that are marked one by one
# Most classes that are named along an axis, and whose confusions are numbers.
LABELLED, NUMBERED = 50, 20
MOST = 16.0  # inches that a picture is wide
INCH = 12  # letters of a title in an inch


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture on a contact sheet.

    Attributes:
        thumb: (h, w, 3), uint8: the photo, and what the network saw of it.
        title: What it is called.
        lines: (track, what it calls it, how sure it is from 0 to 1 or none) each.
        caption: What is on the left and on the right, or "".
        truth: What it is, or none if nobody said.
    """

    thumb: NDArray[np.uint8]
    title: str
    lines: tuple[tuple[str, str, float | None], ...]
    caption: str = ""
    truth: str | None = None


def cell(
    path: Path,
    answers: Mapping[str, Any],
    *,
    seen: NDArray[np.uint8] | None = None,
    truth: str | None = None,
) -> Cell:
    """The cell of a photo and what `report.photos.answer` gave of it.

    Args:
        path: The photo.
        answers: Track -> what it said.
        seen: What the network saw, (h, w, c).
        truth: Name of the class that the photo is of, where that is known.
    """
    size = Framing(size=(THUMB, THUMB), how="pad", colour=WHITE)
    photo = read(path, size).pixels
    firsts = {track: found["top"][0] for track, found in answers.items()}
    lines = tuple(
        (track, first["label"], first["probability"]) for track, first in firsts.items()
    )
    if seen is None:
        return Cell(photo, path.name, lines, truth=truth)
    h, w = seen.shape[:2]
    gap = np.full((THUMB, GAP, 3), 255, np.uint8)
    both = np.concatenate([photo, gap, enlarged(seen, THUMB)], axis=1)
    return Cell(
        both, path.name, lines, f"the photo | as the network saw it, {w} x {h}", truth
    )


def enlarged(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A small picture (h, w, c) on (side, side, 3), its pixels as squares."""
    from PIL import Image

    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    scale = side / max(picture.size)
    w, h = (max(1, round(length * scale)) for length in picture.size)
    page = Image.new("RGB", (side, side), WHITE)
    drawn = picture.convert("RGB").resize((w, h), Image.Resampling.NEAREST)
    page.paste(drawn, ((side - w) // 2, (side - h) // 2))
    return np.asarray(page)


class Sheets:
    """Contact sheets of any number of photos, one page in memory at a time."""

    def __init__(self, folder: Path, title: str, *, name: str = "sheet") -> None:
        self.folder = folder
        self.title = title
        self.name = name
        self.cells: list[Cell] = []
        self.pages = 0

    def add(self, new: Cell) -> None:
        """One more photo; a full page is written."""
        self.cells.append(new)
        if len(self.cells) == COLUMNS * ROWS:
            self.close()

    def close(self) -> None:
        """Write the page that has been begun."""
        if not self.cells:
            return
        self.pages += 1
        save_sheet(self.cells, self.title, self._page(self.pages))
        self.cells = []

    def written(self, cells: Sequence[Cell]) -> Iterator[Path]:
        """All of these cells on as many pages as they need; the files."""
        for one in cells:
            self.add(one)
        self.close()
        yield from (self._page(k) for k in range(1, self.pages + 1))

    def _page(self, number: int) -> Path:
        return self.folder / f"{self.name}-{number}.png"


def save_sheet(cells: Sequence[Cell], title: str, target: Path) -> None:
    """Write cells as one page, which is as large as they need."""
    from matplotlib.figure import Figure

    rows = -(-len(cells) // COLUMNS)
    columns = -(-len(cells) // rows)  # six are three and three, not four and two
    said = max(len(one.lines) + bool(one.truth) + bool(one.caption) for one in cells)
    texts = [title, *(text for one in cells for text in _texts(one))]
    with writing(texts) as (spell, note):
        wide = max(columns * CELL[0], LEAST)
        lines = [*_wrapped(spell(title), wide), *_wrapped(note, wide)]
        head, row = 0.2 * len(lines) + 2 * LINE, CELL[1] + LINE * (said + 1.5)
        high = head + rows * row
        figure = Figure(figsize=(wide, high))
        top = 1 - LINE / 2 / high
        figure.suptitle("\n".join(lines), fontsize=10, y=top, va="top")
        left = (wide - columns * CELL[0]) / 2  # of a single narrow column
        for k, shown in enumerate(cells):
            x = left + (k % columns) * CELL[0] + (CELL[0] - PICTURE) / 2
            y = high - head - (k // columns) * row - CELL[1]
            box = (x / wide, y / high, PICTURE / wide, CELL[1] / high)
            _drawn(figure.add_axes(box), shown, spell)
        _save(figure, target)


def _texts(shown: Cell) -> tuple[str, ...]:
    return shown.title, shown.truth or "", *(label for _, label, _ in shown.lines)


def _wrapped(text: str, inches: float) -> list[str]:
    return textwrap.wrap(text, int(inches * INCH))


def _drawn(place: Axes, shown: Cell, spell: Spelt) -> None:
    """One cell: the picture, its frame, and what is said below it."""
    place.imshow(shown.thumb)
    place.axis("off")
    place.set_title(_short(spell(shown.title)), fontsize=8, color="#333333")
    below = [(shown.caption, "#777777")] if shown.caption else []
    if shown.truth is not None:
        below.append((f"is: {_short(spell(shown.truth), LABEL)}", "#333333"))
        hits = [label == shown.truth for _, label, _ in shown.lines]
        _framed(place, RIGHT if all(hits) else MIXED if any(hits) else WRONG)
    for k, (track, label, sure) in enumerate(shown.lines):
        mark = "" if shown.truth is None else ("✓ " if label == shown.truth else "✗ ")
        percent = "" if sure is None else f" {sure:.0%}"
        below.append(
            (f"{mark}{track}: {_short(spell(label), LABEL)}{percent}", _colour(k))
        )
    for k, (text, colour) in enumerate(below):
        place.annotate(
            text,
            (0.5, 0),
            xycoords="axes fraction",
            xytext=(0, -4 - 11 * k),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8 if text != shown.caption else 7,
            color=colour,
        )


def _framed(place: Axes, colour: str) -> None:
    from matplotlib.patches import Rectangle

    where = place.transAxes
    frame = Rectangle(
        (0, 0), 1, 1, transform=where, fill=False, color=colour, lw=3, clip_on=False
    )
    place.add_patch(frame)


def _short(name: str, most: int = TITLE) -> str:
    name = name.encode("utf-8", "replace").decode()
    half = most // 2 - 1
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def save_seen(path: Path, pixels: NDArray[np.uint8], target: Path) -> None:
    """Write the photo beside what the network saw of it, (h, w, c), enlarged."""
    from PIL import Image, ImageDraw, ImageFont

    side = Framing(size=(SEEN, SEEN), how="pad", colour=WHITE)
    canvas = Image.new("RGB", (2 * SEEN + GAP, SEEN + CAPTION), WHITE)
    canvas.paste(Image.fromarray(read(path, side).pixels), (0, 0))
    canvas.paste(Image.fromarray(enlarged(pixels, SEEN)), (SEEN + GAP, 0))
    h, w = pixels.shape[:2]
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for k, text in enumerate(("the photo", f"as the network saw it, {w} x {h}")):
        middle = k * (SEEN + GAP) + SEEN // 2
        at = (middle, SEEN + CAPTION // 2)
        pen.text(at, text, fill=GREY, font=font, anchor="mm")
    page = BytesIO()
    canvas.save(page, "PNG")
    write_atomic(target, page.getvalue())


def seen_name(number: int, path: Path) -> str:
    """A file name for what was seen of the photo of this number, from 1.

    The number tells photos of one name in two folders apart, or of two suffixes.
    """
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem)[:NAME]
    return f"{number:04}-{stem}-seen.png"


def save_row(
    classes: Sequence[str],
    counts: Mapping[str, Mapping[str, Sequence[float]]],
    title: str,
    target: Path,
) -> None:
    """Write a row of the confusion matrix as bars.

    Args:
        classes: Name of each label.
        counts: "before" and "after" -> track -> pictures called each label.
        title: What is shown.
        target: The PNG.
    """
    from matplotlib.figure import Figure

    with writing([title, *classes]) as (spell, note):
        figure = Figure(figsize=(9, 2.6 * len(counts) + 0.6), layout="constrained")
        _titled(figure, spell(title), note, 9)
        axes = figure.subplots(
            len(counts), 1, sharex=True, sharey=True, squeeze=False
        ).ravel()
        for place, (when, tracks) in zip(axes, counts.items(), strict=True):
            _bars(place, tracks, len(classes))
            place.set_ylabel(f"photos, {when}")
        axes[0].legend(frameon=False)
        _named(axes[-1], classes, spell)
        _save(figure, target)


def save_bars(
    classes: Sequence[str],
    rows: Mapping[str, Sequence[float]],
    title: str,
    what: str,
    target: Path,
) -> None:
    """Write a figure of each class as bars, the tracks side by side.

    Args:
        classes: Name of each label.
        rows: Track -> a figure of each class.
        title: What is shown.
        what: What a bar's height is.
        target: The PNG.
    """
    from matplotlib.figure import Figure

    with writing([title, *classes]) as (spell, note):
        wide = min(max(6.0, 0.5 * len(classes)), MOST)
        figure = Figure(figsize=(wide, 3.4), layout="constrained")
        _titled(figure, spell(title), note, wide)
        place = figure.subplots()
        _bars(place, rows, len(classes), whole=False)
        place.set_ylabel(what)
        place.legend(frameon=False)
        _named(place, classes, spell)
        _save(figure, target)


def save_curves(
    tracks: Mapping[str, Sequence[Mapping[str, Any]]], title: str, target: Path
) -> None:
    """Write losses and accuracy after each epoch, the tracks in their colours.

    Args:
        tracks: Track -> its epochs: "epoch", "train_loss", "loss", "accuracy".
        title: What is shown.
        target: The PNG.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with writing([title]) as (spell, note):
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        _titled(figure, spell(title), note, 10)
        losses, shares = figure.subplots(1, 2)
        for k, (track, epochs) in enumerate(tracks.items()):
            at = [epoch["epoch"] for epoch in epochs]
            kinds = (
                (losses, "train_loss", f"{track}, training", "-"),
                (losses, "loss", f"{track}, test", "--"),
                (shares, "accuracy", track, "-"),
            )
            # The first are broad, so that equal curves do not hide each other.
            style = {"linewidth": 1.5 * (len(tracks) - k), "alpha": 0.8}
            style["markersize"] = 3.0 if len(at) < FEW else 0.0
            for place, key, label, line in kinds:
                unit = 100 if key == "accuracy" else 1
                values = [np.nan if e[key] is None else unit * e[key] for e in epochs]
                place.plot(
                    at, values, line, marker="o", label=label, color=_colour(k), **style
                )
        for place, what in ((losses, "loss"), (shares, "right, %")):
            place.set_xlabel("epoch")
            place.set_ylabel(what)
            place.xaxis.set_major_locator(MaxNLocator(integer=True))
            place.spines[["top", "right"]].set_visible(False)
            place.legend(frameon=False)
        _save(figure, target)


def save_confusions(
    matrices: Mapping[str, NDArray[np.integer]],
    classes: Sequence[str],
    title: str,
    target: Path,
) -> None:
    """Write confusion matrices side by side, on one scale.

    Args:
        matrices: Track -> pictures of each class (rows) called each class (columns).
        classes: Name of each label.
        title: What is shown.
        target: The PNG.
    """
    from matplotlib.figure import Figure

    n = len(classes)
    side = min(max(3.6, 0.42 * n + 1.4), 9.0)
    with writing([title, *classes]) as (spell, note):
        wide = side * len(matrices) + 0.8
        figure = Figure(figsize=(wide, side + 0.6), layout="constrained")
        _titled(figure, spell(f"{title}: share of each class, row by row"), note, wide)
        axes = figure.subplots(1, len(matrices), squeeze=False).ravel()
        for k, (place, (track, matrix)) in enumerate(
            zip(axes, matrices.items(), strict=True)
        ):
            shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
            image = place.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            place.set_title(track, fontsize=10)
            place.set_xlabel("called")
            if n <= LABELLED:
                names = [_short(spell(name), LABEL) for name in classes]
                place.set_xticks(range(n), names, rotation=90, fontsize=7)
                place.set_yticks(range(n), names if k == 0 else [""] * n, fontsize=7)
            if n <= NUMBERED:
                _numbers(place, matrix, shares)
        axes[0].set_ylabel("is")
        figure.colorbar(image, ax=list(axes), shrink=0.7)
        _save(figure, target)


def _numbers(
    place: Axes, matrix: NDArray[np.integer], shares: NDArray[np.floating]
) -> None:
    """How many pictures, in each square that has some."""
    for row, column in zip(*np.nonzero(matrix), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "#333333"
        text = f"{matrix[row, column]}"
        place.text(
            column, row, text, ha="center", va="center", fontsize=6, color=colour
        )


def _titled(figure: Figure, title: str, note: str, inches: float) -> None:
    lines = [*_wrapped(title, inches), *_wrapped(note, inches)]
    figure.suptitle("\n".join(lines), fontsize=10)


def _named(place: Axes, classes: Sequence[str], spell: Spelt) -> None:
    """Names below bars, or numbers where there are too many to read."""
    if len(classes) > LABELLED:
        place.set_xlabel("number of the class")
        return
    names = [_short(spell(name), LABEL) for name in classes]
    place.set_xticks(np.arange(len(classes)), names, rotation=30, ha="right")


def _bars(
    place: Axes, tracks: Mapping[str, Sequence[float]], n: int, *, whole: bool = True
) -> None:
    """Bars of every track side by side, at 0 to n - 1."""
    from matplotlib.ticker import MaxNLocator

    at, wide = np.arange(n), 0.8 / len(tracks)
    for k, (track, row) in enumerate(tracks.items()):
        heights = [*row, *[0] * (n - len(row))]
        shift = (k - (len(tracks) - 1) / 2) * wide
        place.bar(at + shift, heights, wide, label=track, color=_colour(k))
    if whole:
        place.yaxis.set_major_locator(MaxNLocator(integer=True))
    place.spines[["top", "right"]].set_visible(False)


def _colour(place: int) -> str:
    return COLOURS[place] if place < len(COLOURS) else OTHER


def _save(figure: Figure, target: Path) -> None:
    page = BytesIO()
    figure.savefig(page, format="png", dpi=120)
    write_atomic(target, page.getvalue())
