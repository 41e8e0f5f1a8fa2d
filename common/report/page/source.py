"""The twins' source side by side, the lines that differ marked."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TRACKS = ("pt_track", "tf_track")
FILES = ("mlp.py", "cnn.py", "inception.py")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of each twin, as HTML; "" where one has none.

    Attributes:
        left: PyTorch's.
        right: Keras's.
        same: Whether they are equal.
    """

    left: str
    right: str
    same: bool


def twins(name: str) -> tuple[list[Line], float]:
    """A file of both tracks, line by line, and the share of lines that are equal."""
    left, right = ((ROOT / track / name).read_text() for track in TRACKS)
    shown = coloured(left), coloured(right)
    plain = left.splitlines(), right.splitlines()
    found: list[Line] = []
    equal = 0
    matched = SequenceMatcher(a=plain[0], b=plain[1], autojunk=False)
    for kind, a, b, c, d in matched.get_opcodes():
        same = kind == "equal"
        equal += (b - a) if same else 0
        for i in range(max(b - a, d - c)):
            one = shown[0][a + i] if a + i < b else ""
            other = shown[1][c + i] if c + i < d else ""
            found.append(Line(one, other, same))
    return found, equal / max(len(plain[0]), 1)


def coloured(code: str) -> list[str]:
    """Python as HTML, line by line, its words in classes of Pygments."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    text = highlight(code, PythonLexer(), HtmlFormatter(nowrap=True))
    lines = str(text).splitlines()
    return lines + [""] * (len(code.splitlines()) - len(lines))
