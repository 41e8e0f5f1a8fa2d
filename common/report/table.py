"""One neutral table, and the ways to show it: terminal, Markdown, LaTeX, CSV.

Cells are text that `common.report.figures` has formatted; a format adds no digit and
takes none away.  Titles and notes are part of a table, so that a page is a list of
tables; one without columns is text alone.
"""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

WIDTH = 100  # columns of a terminal, unless a table needs more
# Rich's way to say: a line of dashes under the headings, in any encoding.
LINES = "    \n    \n -- \n    \n    \n    \n    \n    \n"
# What LaTeX reads as something else than itself.
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, and whether its cells stand on the right, as figures."""

    name: str
    figures: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table, what is said above it, and what is said below.

    Attributes:
        title: One line, or "".
        about: Lines between the title and the rows.
        columns: First to last.
        rows: A cell for each column.
        notes: Lines below the rows.

    Raises:
        ValueError: A row has another number of cells than there are columns.
    """

    title: str = ""
    about: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"a row must have a cell for each of {len(self.columns)} columns, "
                    f"got {len(row)}: {row}; add what is missing"
                )


def columns(words: Sequence[str], figures: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns of words, then columns of figures."""
    return (*map(Column, words), *(Column(name, figures=True) for name in figures))


def rendered(tables: Iterable[Table], format: str) -> str:
    """Tables as text in one of FORMATS, one after the other."""
    shapes = [RENDERERS[format](table).rstrip("\n") for table in tables]
    return "\n\n".join(shape for shape in shapes if shape)


def text(table: Table) -> str:
    """For a terminal, a pipe or a log file: no colours, nothing cut off."""
    parts = _wrapped([*_filled(table.title), *table.about])
    if table.columns:
        parts += ["", _grid(table), ""] if parts else [_grid(table), ""]
    return "\n".join([*parts, *_wrapped(table.notes)])


def _wrapped(lines: Iterable[str]) -> list[str]:
    """Lines of at most WIDTH columns, each keeping its indentation."""
    found: list[str] = []
    for line in lines:
        inside = " " * (len(line) - len(line.lstrip()))
        found += textwrap.wrap(
            line, WIDTH, subsequent_indent=inside, break_on_hyphens=False
        ) or [""]
    return found


def _filled(line: str) -> list[str]:
    return [line] if line else []


def _grid(table: Table) -> str:
    from rich.box import Box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=Box(LINES, ascii=True), pad_edge=False, show_edge=False)
    for column in table.columns:
        justify: str = "right" if column.figures else "left"
        grid.add_column(Text(column.name), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in table.rows:
        grid.add_row(*(Text(cell) for cell in row))
    page = io.StringIO()
    console = Console(file=page, width=10_000, highlight=False, color_system=None)
    console.width = max(WIDTH, Measurement.get(console, console.options, grid).maximum)
    console.print(grid)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def markdown(table: Table) -> str:
    """For a README: GitHub's tables, notes as a list below."""
    parts = [f"**{_marked(table.title)}**"] if table.title else []
    parts += ["\n".join(map(_marked, table.about))] if table.about else []
    if table.columns:
        head = _line(column.name for column in table.columns)
        rule = _line("---:" if column.figures else "---" for column in table.columns)
        parts.append("\n".join([head, rule, *map(_line, table.rows)]))
    if table.notes:
        parts.append("\n".join(f"- {_marked(note)}" for note in table.notes if note))
    return "\n\n".join(parts)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_marked, cells))} |"


def _marked(cell: str) -> str:
    """Text that ends no cell, no line, and is no markup."""
    plain = " ".join(cell.split("\n"))
    return re.sub(r"([\\|*<>])", r"\\\1", plain)


def latex(table: Table) -> str:
    """For a paper: a tabular of the booktabs package."""
    parts = [f"% {line}" for line in (*_filled(table.title), *table.about)]
    if table.columns:
        kinds = "".join("r" if column.figures else "l" for column in table.columns)
        head = _ampersands(column.name for column in table.columns)
        parts += [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", head, r"\midrule"]
        parts += [*map(_ampersands, table.rows), r"\bottomrule", r"\end{tabular}"]
    parts += [rf"% {line}" for line in table.notes]
    return "\n".join(" ".join(part.split("\n")) for part in parts)


def _ampersands(cells: Iterable[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(cell: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in cell)


def comma_separated(table: Table) -> str:
    """RFC 4180: a heading, then the rows; titles and notes, which are no rows, go."""
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    if table.columns:
        writer.writerow([column.name for column in table.columns])
        writer.writerows(table.rows)
    return page.getvalue()


RENDERERS: dict[str, Callable[[Table], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "csv": comma_separated,
}
FORMATS = tuple(RENDERERS)
