"""Files that systems leave in folders: no picture, and nobody put them there.

They are ignored wherever a folder is looked through, and counted in one line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

# In lower case; of Windows, macOS, Linux, Synology and archives of these.
SYSTEM = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
        *("__macosx", "icon\r", "@eadir", "$recycle.bin", "system volume information"),
        *("lost+found", ".ds_store"),
    }
)
SHOWN = 4  # kinds that a line names


def is_system(name: str) -> bool:
    """Whether a system wrote it: ignored even where it is named, as by `photos/*`."""
    return name.startswith("._") or name.lower() in SYSTEM


def is_ignored(name: str) -> bool:
    """Whether an entry of a folder is hidden, or a system's."""
    return name.startswith(".") or name.lower() in SYSTEM


def line(names: Sequence[str]) -> str:
    """How many were ignored and what they are called, or "" for none."""
    if not names:
        return ""
    kinds = Counter(_kind(PurePath(name).name) for name in names)
    shown = ", ".join(kind for kind, _ in kinds.most_common(SHOWN))
    more = ", ..." if len(kinds) > SHOWN else ""
    what = "entry" if len(names) == 1 else "entries"
    return f"{len(names):,} hidden or system {what} ignored ({shown}{more})"


def _kind(name: str) -> str:
    told = "._*" if name.startswith("._") else name
    return "".join(c if c.isprintable() else "?" for c in told)
