"""Text for a terminal: as wide as it is, nothing cut off, columns that stay columns.

Widths are those of cells on the screen: a Chinese sign takes two, an accent that is put
on a letter none.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len as cells

WIDTH = 80  # columns of what is no terminal, unless COLUMNS says otherwise
NARROWEST, WIDEST = 20, 1000  # what is taken for a screen
PROSE = 100  # longer lines are hard to read, however wide the terminal
GAP = "  "
TALLEST = 4  # lines of one row; above that, rows as blocks are easier to read
WORD = re.compile(r" *[^ ]+")
# What stays together in figures: "(96.1 to 98.4)", "96.1 to 98.4".
FIGURE = re.compile(r" *(?:[(\[][^)\]]*[)\]]|[^ ]+ to [^ ]+|[^ ]+)")
# What a line begins with that others stand under: "TOST     p = ...".
LABEL = re.compile(r" *\S+(?: \S+)* {2,}(?=\S)")

Row = Sequence[str]


def width() -> int:
    """Columns of COLUMNS, else of the terminal, else WIDTH."""
    asked = shutil.get_terminal_size((WIDTH, 24)).columns
    return min(max(asked, NARROWEST), WIDEST)


def encodable(text: str) -> str:
    """Text as standard output can have it, before widths are measured."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def folded(line: str, most: int, parts: re.Pattern[str] = WORD) -> list[str]:
    """A line in lines of at most so many cells, later ones under its text.

    A word is never broken: an address or a path is copied as a whole.
    """
    label = LABEL.match(line)
    inside = cells(label[0]) if label else len(line) - len(line.lstrip(" "))
    inside = inside if inside <= most // 2 else 0
    found, current = [], ""
    for word in parts.findall(line):
        if current.strip() and cells(current) + cells(word) > most:
            found.append(current)
            current = " " * inside + word.lstrip(" ")
        else:
            current += word
    return [*found, current]


def prose(lines: Iterable[str], most: int) -> list[str]:
    """Lines that are no table, folded."""
    return [
        part
        for line in lines
        for own in line.split("\n")
        for part in folded(own, min(most, PROSE))
    ]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a column's cells stand.

    Attributes:
        right: On the right, as figures do; such cells are folded last.
        whole: Never folded, nor in a block.
    """

    right: bool = False
    whole: bool = False

    @property
    def parts(self) -> re.Pattern[str]:
        """What a line of such a cell may be folded between."""
        return FIGURE if self.right else WORD


NAME = Shape(whole=True)  # of what stands beside it


def grid(heads: Row, rows: Sequence[Row], shapes: Sequence[Shape], most: int) -> str:
    """A table: as it is, else with folded cells, else a block for each row.

    Args:
        heads: Headings; all empty for two columns without any.
        rows: Cells, which may have several lines.
        shapes: Of each column.
        most: Columns of the screen.
    """
    if not any(heads):
        return _listing(rows, most)
    shown = [heads, *rows]
    natural = [max(_longest(row[k]) for row in shown) for k in range(len(heads))]
    if _total(natural) <= most:
        return _columns(heads, rows, shapes, natural)
    for figures_too in (False, True):
        least = _least(shown, shapes, figures_too=figures_too)
        if widths := _squeezed(least, natural, most):
            table = [_lines(row, shapes, widths) for row in shown]
            if max(map(len, table)) <= TALLEST:
                return _columns(heads, rows, shapes, widths)
    return _blocks(heads, rows, shapes, most)


def _listing(rows: Sequence[Row], most: int) -> str:
    """Rows of a name and what is said of it, without headings."""
    left = max((_longest(name) for name, _ in rows), default=0)
    widths = (left, max(most - left - len(GAP), NARROWEST))
    return "\n".join(x for row in rows for x in _lines(row, (NAME, Shape()), widths))


def _longest(cell: str) -> int:
    return max(map(cells, cell.split("\n")))


def _longest_part(cell: str, parts: re.Pattern[str]) -> int:
    first, *rest = (parts.findall(line) or [""] for line in cell.split("\n"))
    words = [word.lstrip(" ") for line in (first, *rest) for word in line]
    return max(cells(first[0]), *map(cells, words))  # indented where its line is


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _least(
    shown: Sequence[Row], shapes: Sequence[Shape], *, figures_too: bool
) -> list[int]:
    """The least width of each column, its heading folded, its cells where they may."""
    heads, *rows = shown
    found = []
    for k, shape in enumerate(shapes):
        firm = shape.whole or (shape.right and not figures_too)
        own = [
            _longest(row[k]) if firm else _longest_part(row[k], shape.parts)
            for row in rows
        ]
        found.append(max([_longest_part(heads[k], shape.parts), *own]))
    return found


def _squeezed(
    least: Sequence[int], natural: Sequence[int], most: int
) -> list[int] | None:
    """Widths that fit, the widest columns giving way; none if these do not."""
    widths = list(least)
    if _total(widths) > most:
        return None
    for _ in range(most - _total(widths)):
        wants = [n - w for n, w in zip(natural, widths, strict=True)]
        widths[wants.index(max(wants))] += 1
    return widths


def _cell(cell: str, most: int, shape: Shape) -> list[str]:
    if shape.whole:
        return cell.split("\n")
    return [x for line in cell.split("\n") for x in folded(line, most, shape.parts)]


def _columns(
    heads: Row, rows: Sequence[Row], shapes: Sequence[Shape], widths: Sequence[int]
) -> str:
    every = [heads, ["-" * each for each in widths], *rows]
    return "\n".join(x for row in every for x in _lines(row, shapes, widths))


def _lines(row: Row, shapes: Sequence[Shape], widths: Sequence[int]) -> list[str]:
    """A row's lines: its cells beside one another, each from the top."""
    parts = [
        _cell(cell, most, shape)
        for cell, shape, most in zip(row, shapes, widths, strict=True)
    ]
    found = []
    for k in range(max(map(len, parts))):
        line = [
            _padded(part[k] if k < len(part) else "", most, right=shape.right)
            for part, shape, most in zip(parts, shapes, widths, strict=True)
        ]
        found.append(GAP.join(line).rstrip(" "))
    return found


def _padded(text: str, most: int, *, right: bool) -> str:
    space = " " * (most - cells(text))
    return space + text if right else text + space


def _blocks(heads: Row, rows: Sequence[Row], shapes: Sequence[Shape], most: int) -> str:
    """Each row by itself: a line for each cell that has something, named before it."""
    left = min(max(map(_longest, heads)), most // 2)
    widths = (left, most - left - len(GAP))
    found = []
    for row in rows:
        lines: list[str] = []
        for head, cell, shape in zip(heads, row, shapes, strict=True):
            if not head:
                lines.append(cell)
            elif cell:
                pair = (Shape(), Shape(whole=shape.whole))
                lines += _lines((head, cell), pair, widths)
        found.append("\n".join(lines))
    return "\n\n".join(found)
