"""One neutral table, and the ways to show it: terminal, Markdown, LaTeX, CSV.

Cells are text that `common.report.figures` has formatted; a format adds no digit and
takes none away.  Titles and notes are part of a table, so that a page is a list of
tables; one without columns is text alone.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from common.errors import Refused

# Controls, orders of direction, halves of signs, ends of lines; and those of them that
# a table can have: a new line, and what joins letters and parts of a sign.
STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
HARMLESS = "\n\u200c\u200d"
# What Markdown reads as something else than itself; `_` inside a word is not.
MARKUP = re.compile(r"[\\|*<>`~]|(?<!\w)_|_(?!\w)|&(?=[#\w])")
CODE = re.compile(r"((?<!`)(?:`[^`]+`|``.+?``)(?!`))")
# What LaTeX does.
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: Its heading.
        figures: Whether its cells stand on the right.
        whole: Whether its cells are copied, as commands are: they are never folded.
    """

    name: str
    figures: bool = False
    whole: bool = False


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
    """Tables as text in one of FORMATS, one after the other.

    Raises:
        Refused: There is no such format.
    """
    if format not in FORMATS:
        raise Refused(
            f"--format must be one of {', '.join(FORMATS)}, got {format}; choose one"
        )
    found = list(tables)
    if format == CSV:
        return comma_separated(found)
    shapes = [RENDERERS[format](_printable(table)).rstrip("\n") for table in found]
    return "\n\n".join(shape for shape in shapes if shape)


def _printable(table: Table) -> Table:
    """The same without signs that steer a terminal or end a line of their own."""
    return replace(
        table,
        title=_shown(table.title),
        about=tuple(map(_shown, table.about)),
        columns=tuple(replace(c, name=_shown(c.name)) for c in table.columns),
        rows=tuple(tuple(map(_shown, row)) for row in table.rows),
        notes=tuple(map(_shown, table.notes)),
    )


def _shown(text: str) -> str:
    return "".join(ascii(sign)[1:-1] if _steers(sign) else sign for sign in text)


def _steers(sign: str) -> bool:
    return sign not in HARMLESS and unicodedata.category(sign) in STEERING


def text(table: Table) -> str:
    """For a terminal, a pipe or a log file: no colours, nothing cut off."""
    from common.report import layout

    most, said = layout.width(), layout.encodable
    above, below = (
        layout.prose(map(said, lines), most)
        for lines in ([*_filled(table.title), *table.about], table.notes)
    )
    if table.columns:
        heads, *rows = (
            [said(cell) for cell in row]
            for row in ([column.name for column in table.columns], *table.rows)
        )
        shapes = [layout.Shape(c.figures, c.whole) for c in table.columns]
        shown = layout.grid(heads, rows, shapes, most)
        space = [""] if above and any(heads) else []
        above += [*space, shown, ""]
    return "\n".join([*above, *below])


def _filled(line: str) -> list[str]:
    return [line] if line else []


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
    # In a table a bar ends the cell even in code; in a list its escape would be seen.
    marked = (re.sub(r"(?<!\\)\|", r"\\|", _marked(cell)) for cell in cells)
    return f"| {' | '.join(marked)} |"


def _marked(cell: str) -> str:
    """Text that ends no cell, no line, and is no markup but for `code`."""
    plain = " ".join(cell.split("\n"))
    parts = CODE.split(plain)  # text, code, text, ...
    parts[::2] = [MARKUP.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def code(text: str) -> str:
    """Text that Markdown shows as it is; other formats show the signs around it."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


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
    line = " & ".join(map(_escaped, cells)) + r" \\"
    # Else it would be an argument of the line before.
    return f"{{}}{line}" if line.startswith(("[", "*")) else line


def _escaped(cell: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in cell)


def comma_separated(tables: Iterable[Table]) -> str:
    """RFC 4180, in blocks with an empty line between.

    A block has a heading, then the rows of tables with these columns, each after its
    table's title; the last block has what else the tables say.
    """
    found = list(tables)
    blocks = [_block(own, list(those)) for own, those in groupby(found, _columns)]
    said = [(t.title, line) for t in found for line in (*t.about, *t.notes) if line]
    if said:
        blocks.append(_lines([("table", "note"), *said]))
    page = "\r\n".join(block for block in blocks if block)
    return page.encode("utf-8", "backslashreplace").decode()


def _columns(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns)


def _block(names: tuple[str, ...], tables: Sequence[Table]) -> str:
    if not names:
        return ""
    rows = [(table.title, *row) for table in tables for row in table.rows]
    return _lines([("table", *names), *rows])


def _lines(rows: Iterable[Sequence[str]]) -> str:
    page = io.StringIO()
    csv.writer(page, lineterminator="\r\n").writerows(rows)
    return page.getvalue()


RENDERERS: dict[str, Callable[[Table], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
}
CSV = "csv"  # whose blocks are of several tables
FORMATS = (*RENDERERS, CSV)
