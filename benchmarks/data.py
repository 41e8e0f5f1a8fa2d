"""The data sets at hand: list them, fetch and decode them, check them.

    twintrack data                           # what there is, and what is prepared
    twintrack data prepare cifar10 --track both
    twintrack data prepare mnist --from FOLDER   # files at hand, their content checked
    twintrack data verify

A public data set is downloaded by a track, in a process of its own; the command
itself imports no framework.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import options
from benchmarks.engine import download
from benchmarks.engine.download import DOWNLOADS, TRACKS
from benchmarks.request import check_choice, path_of, size_of
from common import files, report
from common.data import DataRequest
from common.data.at_hand import read_at_hand
from common.data.cache import DamagedEntry, cache_folder, load, read_meta
from common.data.canonical import PUBLIC
from common.data.folder import scan
from common.data.sources import NAMED, entry_path, open_entry, store_canonical
from common.errors import Failed, Refused

# What the named data sets are, for those that are not prepared yet.
FACTS: dict[str, dict[str, Any]] = {
    "digits": {"classes": 10, "train": 1000, "test": 797, "image": [8, 8, 1]},
    "mnist": {"classes": 10, "train": 60000, "test": 10000, "image": [28, 28, 1]},
    "cifar10": {"classes": 10, "train": 50000, "test": 10000, "image": [32, 32, 3]},
}

Row = dict[str, Any]

app = typer.Typer(help="List, prepare and verify data sets.")

NAME = Annotated[
    str | Path, options.argument(str, "digits, mnist, cifar10, or a folder.")
]
MAYBE_NAME = Annotated[
    str | Path | None,
    options.argument(str | None, "One data set; all that are prepared unless given."),
]


class CheckFailed(Failed):
    """A check of the data did not hold; the message is one line."""


def data_list(
    context: typer.Context = None,  # type: ignore[assignment]
    *,
    cache: options.Cache = None,
    format: options.Format = "text",
    json: options.Json = None,
) -> Row:
    """List the data sets: the named ones, and the folders that have been decoded.

    Returns:
        What --json writes: {"data": [{"name", "classes", "train", "test", "image",
        "fingerprint" (or none), "prepared"}]}.
    """
    if context is not None and context.invoked_subcommand:
        return {"data": []}
    check_choice("format", format, report.FORMATS)
    folder = cache_folder(path_of(cache))
    rows = [_row(folder / name, FACTS[name] | {"name": name}) for name in NAMED]
    rows += [_row(path, {}) for path in _entries(folder) if path.name not in NAMED]
    return _told(rows, f"Data sets (cache: {folder})", format, json)


def prepare(
    name: NAME,
    *,
    track: Annotated[
        str,
        options.option(str, "Who downloads: torch, tensorflow, or both to compare."),
    ] = "torch",
    at_hand: Annotated[
        str | Path | None,
        options.option(
            str | None,
            "Folder of files at hand, instead of a download: MNIST's four idx files, "
            "or CIFAR-10's lossless pictures in train/ and test/.",
            "--from",
        ),
    ] = None,
    skip_bad: options.SkipBad = False,
    size: options.Size = None,
    cache: options.Cache = None,
    format: options.Format = "text",
    json: options.Json = None,
) -> Row:
    """Download or decode a data set into the cache; nothing is done twice.

    Returns:
        What --json writes: {"data": [...]}, as of `data_list`, of this one.

    Raises:
        Refused: It cannot be had, or a track is unknown.
        Failed: The two tracks disagree about its content.
    """
    check_choice("format", format, report.FORMATS)
    if track not in (*TRACKS, "both"):
        raise Refused(
            f"a track must be {', '.join(TRACKS)} or both, got {track}; choose one"
        )
    source, place = str(name), path_of(cache)
    shape = size_of(None if size is None else str(size))
    request = DataRequest(source=source, skip_bad=skip_bad, size=shape)
    if at_hand is not None:
        store_canonical(source, read_at_hand(source, Path(at_hand)), cache=place)
    elif source in PUBLIC:
        download.prepare(source, track, place)
    else:
        open_entry(request, cache=place)
    row = _row(entry_path(request, cache=place), {})
    return _told([row], "Prepared", format, json)


def verify(
    name: MAYBE_NAME = None,
    *,
    cache: options.Cache = None,
    format: options.Format = "text",
    json: options.Json = None,
) -> Row:
    """Check the cached data against their fingerprints, and folders for changes.

    Returns:
        What --json writes: {"data": [...]}, as of `data_list`, and "state".

    Raises:
        Refused: The data set is not in the cache.
        CheckFailed: Something is damaged; what to do is said.
    """
    check_choice("format", format, report.FORMATS)
    folder = cache_folder(path_of(cache))
    paths = _entries(folder) if name is None else _entries_of(str(name), folder)
    rows = [_row(path, {}) | {"state": _state(path)} for path in paths]
    found = _told(rows, f"Verified (cache: {folder})", format, json)
    bad = [row for row in rows if row["state"].startswith("damaged")]
    damaged = [row.get("source") or row["name"] for row in bad]
    if damaged:
        raise CheckFailed(
            f"cached data must have the fingerprint they were written with, damaged: "
            f"{', '.join(damaged)}; run twintrack data prepare {damaged[0]}"
        )
    return found


app.callback(invoke_without_command=True)(options.spread(data_list))
app.command("prepare")(options.spread(prepare))
app.command("verify")(options.spread(verify))


def _entries(folder: Path) -> list[Path]:
    """The entries of a cache, by name."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.is_dir())
    kept = (p for p in found if not p.name.startswith(".") and p.name != DOWNLOADS)
    return sorted(kept)


def _entries_of(name: str, folder: Path) -> list[Path]:
    """The entries of one data set: a folder has one per size it was fitted into.

    Raises:
        Refused: There is none.
    """
    path = entry_path(DataRequest(source=name), cache=folder)
    paths = [path] if path.is_dir() else []
    if name not in NAMED:
        source = str(Path(name).expanduser().resolve())
        paths = [p for p in _entries(folder) if _source(p) == source] or paths
    if not paths:
        raise Refused(
            f"only what is in the cache can be verified, {name} is not in {folder}; "
            f"run twintrack data prepare {name}"
        )
    return paths


def _source(path: Path) -> str | None:
    try:
        return str(read_meta(path)["source"])
    except DamagedEntry:
        return None


def _row(path: Path, facts: Row) -> Row:
    """What is known of the entry at `path`; `facts` where there is none."""
    unknown = {"classes": None, "train": None, "test": None, "image": None}
    row = {"name": path.name} | unknown | {"fingerprint": None, "note": ""} | facts
    if not path.is_dir():
        return row | {"prepared": False}
    try:
        meta = read_meta(path)
    except DamagedEntry:
        return row | {"prepared": False}
    kept = ("name", "train", "test", "image", "fingerprint", "note", "source")
    told = {key: meta[key] for key in kept}
    return row | told | {"classes": len(meta["classes"]), "prepared": True}


def _state(path: Path) -> str:
    """In words: sound, changed (the folder is another by now), or damaged and why."""
    try:
        entry = load(path)
    except DamagedEntry as damage:
        return f"damaged: {damage}"
    if entry is None:
        return "of another version: will be built again"
    if entry.stamp:
        try:
            if scan(Path(entry.source)).stamp != entry.stamp:
                return "changed: will be decoded again"
        except Refused:
            return "sound, but its folder is gone or changed"
    return "sound"


def _told(
    rows: list[Row], title: str, format: str, json: str | Path | None
) -> dict[str, Any]:
    """The rows on the screen, and in the file that --json names."""
    print(report.shown("data", {"data": rows, "title": title}, format).rstrip())
    found = {"data": rows}
    if path := path_of(json):
        files.write_atomic(path, files.readable(found))
    return found


if __name__ == "__main__":
    from benchmarks.shell import script

    script(app)
