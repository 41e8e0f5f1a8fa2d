"""Any text in pictures: in a font that has its signs, or spelt where none has."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import groupby

FIRST = "DejaVu Sans"  # comes with Matplotlib
# Fonts whose signs stand for others, or are boxes that say which sign is missing.
NO_TEXT = ("cm", "STIXNonUnicode", "STIXSize", "Last Resort")
# Words of a sign's name that say its script, and not what it is.
SCRIPT = ("LETTER ", "SYLLABLE ")
NOTE = "in brackets: signs that no installed font has, by sound or Unicode number"

Spelt = Callable[[str], str]


@contextmanager
def writing(texts: Iterable[str]) -> Iterator[tuple[Spelt, str]]:
    """Draw with fonts that have the signs of `texts`; nothing is read as mathematics.

    Yields:
        A function that spells the signs no font has, and NOTE if there are any, or "".
    """
    import matplotlib

    signs = {sign for text in texts for sign in text if sign.isprintable()}
    families, missing = [FIRST], signs - _signs_of(FIRST)
    for sign in sorted(missing):
        family = _family_with(sign) if sign in missing else None
        if family:
            families.append(family)
            missing -= _signs_of(family)
    lost = frozenset(missing)
    with matplotlib.rc_context({"font.family": families, "text.parse_math": False}):
        yield lambda text: spelt(text, lost), NOTE if lost else ""


def spelt(text: str, lost: frozenset[str]) -> str:
    """A text without the signs that are lost, and without those that no one can see."""
    parts: list[str] = []
    for gone, signs in groupby(text, lambda sign: sign in lost):
        if gone:
            parts.append(f"[{' '.join(map(_name, signs))}]")
        else:
            parts += [sign if sign.isprintable() else "?" for sign in signs]
    return "".join(parts)


def _name(sign: str) -> str:
    """A sign as letters: "ga" for a syllable, "U+82F9" for one without a name."""
    name = unicodedata.name(sign, "")
    for word in SCRIPT:
        if word in name:
            return name.partition(word)[2].lower()
    if not name or "IDEOGRAPH" in name:
        return f"U+{ord(sign):04X}"
    return name.lower()


@cache
def _family_with(sign: str) -> str | None:
    """An installed font that has a sign, or none; CJK fonts are asked first."""
    names = (name for name in _files() if not name.startswith(NO_TEXT))
    for name in sorted(names, key=lambda name: ("CJK" not in name, name)):
        if sign in _signs_of(name):
            return name
    return None


@cache
def _files() -> dict[str, str]:
    """Family -> the file of its upright letters of ordinary weight."""
    from matplotlib.font_manager import fontManager

    return {
        font.name: font.fname
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight in (400, "normal", "regular")
    }


@cache
def _signs_of(family: str) -> frozenset[str]:
    """All signs that a font has."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(_files()[family]).get_charmap()))
    except (KeyError, OSError, RuntimeError, ValueError):  # a broken font has none
        return frozenset()
