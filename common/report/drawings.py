"""Pictures of results: contact sheets, what the network saw, the confusion row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.files import write_atomic
from common.photos.decode import Framing, read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, ROWS = 5, 4
THUMB = 160  # pixels of a photo on a sheet
SEEN = 320  # pixels that the network's picture is enlarged to
GAP = 16
NAME = 60  # characters of a photo's name that are kept in that of a picture of it
WHITE = (255, 255, 255)
COLOURS = ("#ee4c2c", "#4f7dc9", "#3a9b63", "#9a6fb0")  # of the tracks, in order
OTHER = "#777777"  # of further ones


@dataclass(frozen=True, slots=True)
class Cell:
    """A photo on a contact sheet.

    Attributes:
        thumb: (THUMB, THUMB, 3), uint8.
        title: Its file's name.
        lines: (track, what it says) each.
    """

    thumb: NDArray[np.uint8]
    title: str
    lines: tuple[tuple[str, str], ...]


def cell(path: Path, answers: Mapping[str, Any]) -> Cell:
    """The cell of a photo and what `report.photos.answer` gave of it."""
    size = Framing(size=(THUMB, THUMB), how="pad", colour=WHITE)
    lines = tuple(
        (track, "{label} {probability:.0%}".format(**found["top"][0]))
        for track, found in answers.items()
    )
    return Cell(read(path, size).pixels, path.name, lines)


class Sheets:
    """Contact sheets of any number of photos, one page in memory at a time."""

    def __init__(self, folder: Path, title: str) -> None:
        self.folder = folder
        self.title = title
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
        figure = _sheet(self.cells, self.title)
        _save(figure, self.folder / f"sheet-{self.pages}.png")
        self.cells = []


def _sheet(cells: Sequence[Cell], title: str) -> Figure:
    from matplotlib.figure import Figure

    rows = -(-len(cells) // COLUMNS)
    figure = Figure(figsize=(2.2 * COLUMNS, 2.75 * rows + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for place in axes:
        place.axis("off")
    for place, shown in zip(axes, cells, strict=False):
        place.imshow(shown.thumb)
        place.set_title(_short(shown.title), fontsize=8, color="#333333")
        for k, (track, said) in enumerate(shown.lines):
            place.text(
                *(0.5, -0.04 - 0.12 * k, f"{track}: {said}"),
                transform=place.transAxes,
                ha="center",
                va="top",
                fontsize=8,
                color=_colour(k),
            )
    return figure


def _short(name: str) -> str:
    name = "".join(c if c.isprintable() else "?" for c in name)
    name = name.encode("utf-8", "replace").decode().replace("$", r"\$")
    return name if len(name) <= 26 else f"{name[:12]}…{name[-12:]}"


def save_seen(path: Path, pixels: NDArray[np.uint8], target: Path) -> None:
    """Write the photo beside what the network saw of it, (h, w, c), enlarged."""
    from PIL import Image

    side = Framing(size=(SEEN, SEEN), how="pad", colour=WHITE)
    original = Image.fromarray(read(path, side).pixels)
    seen = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
    canvas = Image.new("RGB", (2 * SEEN + GAP, SEEN), WHITE)
    canvas.paste(original, (0, 0))
    enlarged = seen.resize((SEEN, SEEN), Image.Resampling.NEAREST)
    canvas.paste(enlarged, (SEEN + GAP, 0))
    page = BytesIO()
    canvas.save(page, "PNG")
    write_atomic(target, page.getvalue())


def seen_name(number: int, path: Path) -> str:
    """A file name for what was seen of the photo of this number, from 1.

    The number tells photos of one name in two folders apart.
    """
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", path.name)[:NAME]
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
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 2.6 * len(counts) + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(counts), 1, sharex=True, squeeze=False).ravel()
    at = np.arange(len(classes))
    for place, (when, tracks) in zip(axes, counts.items(), strict=True):
        wide = 0.8 / len(tracks)
        for k, (track, row) in enumerate(tracks.items()):
            heights = [*row, *[0] * (len(classes) - len(row))]
            shift = (k - (len(tracks) - 1) / 2) * wide
            place.bar(at + shift, heights, wide, label=track, color=_colour(k))
        place.set_ylabel(f"photos, {when}")
        place.yaxis.set_major_locator(MaxNLocator(integer=True))
        place.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    axes[-1].set_xticks(at, classes, rotation=30, ha="right")
    _save(figure, target)


def _colour(place: int) -> str:
    return COLOURS[place] if place < len(COLOURS) else OTHER


def _save(figure: Figure, target: Path) -> None:
    page = BytesIO()
    figure.savefig(page, format="png", dpi=120)
    write_atomic(target, page.getvalue())
