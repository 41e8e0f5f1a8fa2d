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


def folded(line: str, most: int) -> list[str]:
    """A line in lines of at most so many cells, later ones under its text.

    A word is never broken: an address or a path is copied as a whole.
    """
    label = LABEL.match(line)
    inside = cells(label[0]) if label else len(line) - len(line.lstrip(" "))
    inside = inside if inside <= most // 2 else 0
    found, current = [], ""
    for word in WORD.findall(line):
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
        right: On the right, as figures do; such cells are not folded.
        whole: Never folded, nor in a block.
    """

    right: bool = False
    whole: bool = False


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
    widths = _squeezed(heads, rows, shapes, natural, most)
    if widths and max(_height(row, widths) for row in shown) <= TALLEST:
        return _columns(heads, rows, shapes, widths)
    return _blocks(heads, rows, shapes, most)


def _listing(rows: Sequence[Row], most: int) -> str:
    """Rows of a name and what is said of it, without headings."""
    left = max((_longest(name) for name, _ in rows), default=0)
    widths = (left, max(most - left - len(GAP), NARROWEST))
    return "\n".join(x for row in rows for x in _lines(row, (NAME, Shape()), widths))


def _longest(cell: str) -> int:
    return max(map(cells, cell.split("\n")))


def _longest_word(cell: str) -> int:
    first, *rest = (WORD.findall(line) or [""] for line in cell.split("\n"))
    words = [word.lstrip(" ") for line in (first, *rest) for word in line]
    return max(cells(first[0]), *map(cells, words))  # indented where its line is


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _squeezed(
    heads: Row,
    rows: Sequence[Row],
    shapes: Sequence[Shape],
    natural: Sequence[int],
    most: int,
) -> list[int] | None:
    """Widths that fit, the widest columns giving way; none if words are too long."""
    widths = [_longest_word(head) for head in heads]
    for k, shape in enumerate(shapes):
        least = _longest if shape.right or shape.whole else _longest_word
        widths[k] = max([widths[k], *(least(row[k]) for row in rows)])
    if _total(widths) > most:
        return None
    for _ in range(most - _total(widths)):
        wants = [n - w for n, w in zip(natural, widths, strict=True)]
        widths[wants.index(max(wants))] += 1
    return widths


def _height(row: Row, widths: Sequence[int]) -> int:
    return max(len(_cell(c, w)) for c, w in zip(row, widths, strict=True))


def _cell(cell: str, most: int) -> list[str]:
    return [part for line in cell.split("\n") for part in folded(line, most)]


def _columns(
    heads: Row, rows: Sequence[Row], shapes: Sequence[Shape], widths: Sequence[int]
) -> str:
    every = [heads, ["-" * each for each in widths], *rows]
    return "\n".join(x for row in every for x in _lines(row, shapes, widths))


def _lines(row: Row, shapes: Sequence[Shape], widths: Sequence[int]) -> list[str]:
    """A row's lines: its cells beside one another, each from the top."""
    parts = [
        cell.split("\n") if shape.whole else _cell(cell, most)
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
