"""Whether a run is on a data set, as `--data` names it: in every command the same."""

from __future__ import annotations

import json
from pathlib import Path

from common.results import JOB

FEATURES = "features of "  # in the name of data that are a network's features


def is_on(name: str, folder: Path, asked: str) -> bool:
    """Whether a run's data have this name, or were this very folder.

    Args:
        name: Of the run's data, as its record has it.
        folder: Of the run, where its job says which path was given.
        asked: A name or a path.
    """
    if asked in (name, name.removeprefix(FEATURES)):
        return True
    return _source(folder) == Path(asked).expanduser().resolve()


def is_called_like(name: str, asked: str) -> bool:
    """Whether data have the name of a folder, wherever that is.

    A run keeps the path as it was given, which says little in another working folder or
    on another machine: then the folder's name is what is left, and that is to be said.
    """
    last = Path(asked).expanduser().resolve().name
    return name.removeprefix(FEATURES) in (last, f"{last} (folder)")


def said(asked: str) -> str:
    """What to say where only the name is left."""
    last = Path(asked).expanduser().resolve().name
    return f"no run says {asked}: taken are those on {last}"


def _source(folder: Path) -> Path | None:
    """The folder of a run's pictures, as its job names it."""
    try:
        source = json.loads((folder / JOB).read_bytes())["data"]["source"]
        return Path(source).expanduser().resolve()
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a job of another form: the record is what counts
