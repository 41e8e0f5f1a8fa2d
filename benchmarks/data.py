"""The data sets at hand: list them, fetch and decode them, check them.

    twintrack data                           # what there is, and what is prepared
    twintrack data prepare cifar10 --track both
    twintrack data import mnist PATH         # files at hand, their content checked
    twintrack data verify
    twintrack data remove cifar10 --dry-run

A public data set is downloaded by a track, in a process of its own; the command
itself imports no framework.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import options, outcome
from benchmarks.engine import download
from benchmarks.engine.download import TRACKS
from benchmarks.engine.holdings import PARTS, Holding, clear, entries, parts
from benchmarks.request import check_choice, framing_of, path_of
from benchmarks.shell import bare
from common.data import DataRequest
from common.data.at_hand import read_at_hand
from common.data.cache import (
    DamagedEntry,
    Entry,
    bytes_of,
    cache_folder,
    cache_folders,
    found_in,
    is_folder,
    load,
    read_meta,
    shared_folders,
)
from common.data.canonical import CLASSES, PUBLIC
from common.data.folder import scan
from common.data.sources import NAMED, entry_path, open_entry, store_canonical
from common.errors import Failed, Refused
from common.report import FORMATS

# What the named data sets are, for those that are not prepared yet.
FACTS: dict[str, dict[str, Any]] = {
    "digits": {"train": 1000, "test": 797, "image": [8, 8, 1]},
    "mnist": {"train": 60000, "test": 10000, "image": [28, 28, 1]},
    "cifar10": {"train": 50000, "test": 10000, "image": [32, 32, 3]},
}

Row = dict[str, Any]

app = bare("List, prepare, import, verify and remove data sets.")

NAME = Annotated[
    str | Path, options.argument(str, "digits, mnist, cifar10, or a folder.")
]
MAYBE_NAME = Annotated[
    str | Path | None,
    options.argument(str | None, "One data set; all that are prepared unless given."),
]


class CheckFailed(Failed):
    """A check of the data did not hold; the message is one line."""


@options.command
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
        "fingerprint" (or none), "prepared"}]}; of what is prepared also "class_names",
        "valid", and of a folder "layout", "skipped", "left_out", "ignored", "remarks".
        What --json writes: {"data": [{"name", "classes", "class_names", "train",
        "test", "image", "fingerprint" (or none), "prepared", "bytes", "cache"}, and of
        a folder "valid", "layout", "skipped", "left_out", "ignored", "remarks"],
        "cache": {"folder", "bytes", "parts": [{"name", "bytes"}], "shared"}}.
    """
    if context is not None and context.invoked_subcommand:
        return {"data": []}
    check_choice("format", format, FORMATS)
    place = path_of(cache)
    folders = cache_folders(place)
    rows = [_named_row(name, folders) for name in NAMED]
    for folder in folders:
        found = (h for h in entries(folder) if h.path.name not in NAMED)
        rows += [_row(holding.path, {}) for holding in found]
    return _told(rows, "Data sets", format, json, _caches(place))


@options.command
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
            "Files at hand, instead of a download: the same as data import.",
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
    check_choice("format", format, FORMATS)
    if track not in (*TRACKS, "both"):
        raise Refused(
            f"a track must be {', '.join(TRACKS)} or both, got {track}; choose one"
        )
    source, place = str(name), path_of(cache)
    if at_hand is not None:
        if size is not None or skip_bad or track != "torch":
            raise Refused(
                "files at hand are taken whole and as they are, got --from with "
                "--size, --skip-bad or --track; leave those out"
            )
        return import_data(source, at_hand, cache=cache, format=format, json=json)
    text = None if size is None else str(size)
    request = DataRequest(source=source, skip_bad=skip_bad, **framing_of(text))
    if source in PUBLIC:
        download.prepare(source, track, place)
    row = _taken(open_entry(request, cache=place), request)
    return _told([row], "Prepared", format, json)


@options.command
def import_data(
    name: Annotated[str, options.argument(str, "mnist or cifar10.")],
    path: Annotated[
        str | Path,
        options.argument(str, "A folder with its files or one above, or an archive."),
    ],
    *,
    cache: options.Cache = None,
    format: options.Format = "text",
    json: options.Json = None,
) -> Row:
    """Take a public data set from files at hand, judged by their content.

    Returns:
        What --json writes: {"data": [...]}, as of `data_list`, of this one, and
        "read", which says what was read.

    Raises:
        Refused: No form of it is there, or none has the published content.
    """
    check_choice("format", format, FORMATS)
    found = read_at_hand(str(name), Path(path))
    print(found.said, file=sys.stderr)
    entry = store_canonical(str(name), found.data, cache=path_of(cache))
    row = _row(entry.path, {}) | {"read": found.said}
    return _told([row], "Imported", format, json)


@options.command
def remove(
    name: Annotated[
        str | Path | None,
        options.argument(
            str | None,
            "A data set or folder, or downloads, features, weights or classes.",
        ),
    ] = None,
    *,
    everything: Annotated[
        bool, options.option(bool, "All that the cache holds.", "--all", default=False)
    ] = False,
    dry_run: Annotated[
        bool,
        options.option(bool, "Say what it would free, and leave it.", "--dry-run"),
    ] = False,
    cache: options.Cache = None,
    format: options.Format = "text",
    json: options.Json = None,
) -> Row:
    """Remove things from your own cache; the folders they came from are not touched.

    Returns:
        What --json writes: {"removed": [{"name", "source", "bytes", "path"}],
        "bytes", "dry_run"}.

    Raises:
        Refused: Nothing of this name is in the cache, or it is another user's.
    """
    check_choice("format", format, FORMATS)
    if (name is None) is not everything:
        raise Refused(
            "what is removed must be named, or be --all, got "
            + ("neither" if name is None else f"{name} and --all")
            + "; twintrack data lists what there is"
        )
    folder = cache_folder(path_of(cache))
    held = [*entries(folder), *(part for part in parts(folder) if part.files())]
    chosen = held if name is None else _chosen(str(name), held, path_of(cache))
    rows: list[Row] = [
        {"name": h.name, "source": h.source, "bytes": h.bytes, "path": str(h.path)}
        for h in chosen
    ]
    for holding in () if dry_run else chosen:
        holding.remove()
    if everything and not dry_run:
        clear(folder)
    total = sum(row["bytes"] for row in rows)
    found = {"removed": rows, "bytes": total, "dry_run": dry_run}
    title = "Would be removed" if dry_run else "Removed"
    out = options.filled(options.Told, {"format": format, "json": json})
    outcome.written(found, out)
    outcome.shown("removed", found | {"title": title}, out)
    return found


@options.command
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
    check_choice("format", format, FORMATS)
    place = path_of(cache)
    held = [holding for folder in cache_folders(place) for holding in entries(folder)]
    if name is not None:
        held = _entries_of(str(name), held, place)
    rows = [_row(h.path, {}) | {"state": _state(h.path)} for h in held]
    found = _told(rows, "Verified", format, json)
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
app.command("import")(options.spread(import_data))
app.command("verify")(options.spread(verify))
app.command("remove")(options.spread(remove))


def _of(name: str, held: list[Holding], place: Path | None) -> list[Holding]:
    """What is called so: a public name, a folder at any size, an entry, a part."""
    if name in NAMED:
        return [holding for holding in held if holding.path.name == name]
    source = str(Path(name).expanduser().resolve())
    if found := [h for h in held if source in (h.source, str(h.path.resolve()))]:
        return found
    found = [h for h in held if name in (h.name, h.path.name)]
    if (
        len({holding.path if name in PARTS else holding.source for holding in found})
        > 1
    ):
        told = " and ".join(sorted({str(h.source or h.path) for h in found}))
        raise Refused(
            f"a name must be that of one thing, {name} is that of {told}; name the path"
        )
    return found


def _entries_of(name: str, held: list[Holding], place: Path | None) -> list[Holding]:
    """The entries of one data set: a folder has one per size it was fitted into.

    Raises:
        Refused: There is none.
    """
    if found := _of(name, held, place):
        return found
    entry_path(DataRequest(source=name), cache=place)  # refuses a name that is none
    places = " or ".join(map(str, cache_folders(place)))
    raise Refused(
        f"only what is in the cache can be verified, {name} is not in {places}; "
        f"run twintrack data prepare {name}"
    )


def _chosen(name: str, held: list[Holding], place: Path | None) -> list[Holding]:
    """What is to be removed.

    Raises:
        Refused: The user's own cache has nothing of this name.
    """
    if found := _of(name, held, place):
        return found
    folder, shared = cache_folder(place), shared_folders(place)
    lent = [f for f in shared if _of(name, [*entries(f), *parts(f)], place)]
    raise Refused(
        f"only what is in your own cache can be removed, {name} is not in {folder}"
        + (f" but in {lent[0]}, which is shared" if lent else "")
        + "; twintrack data lists what there is"
    )


def _named_row(name: str, folders: tuple[Path, ...]) -> Row:
    """A public data set, where it is found first."""
    paths = [folder / name for folder in folders]
    path = next((p for p in paths if is_folder(p)), paths[0])
    names = list(CLASSES.get(name, "0123456789"))
    facts = {"name": name, "classes": len(names), "class_names": names}
    return _row(path, facts | FACTS[name])


def _row(path: Path, facts: Row) -> Row:
    """What is known of the entry at `path`; `facts` where there is none."""
    unknown = ("classes", "class_names", "train", "test", "image", "fingerprint")
    row: Row = dict.fromkeys(unknown, None)
    row |= {"name": path.name, "note": "", "bytes": 0, "cache": str(path.parent)}
    row |= facts
    if not is_folder(path):
        return row | {"prepared": False}
    row |= {"bytes": bytes_of(path)}
    try:
        meta = read_meta(path)
    except DamagedEntry:
        return row | {"prepared": False}
    kept = ("name", "train", "test", "image", "fingerprint", "note", "source")
    told = {key: meta[key] for key in kept} | {"valid": meta.get("valid", 0)}
    names = {"classes": len(meta["classes"]), "class_names": meta["classes"]}
    return row | told | names | asdict(found_in(meta)) | {"prepared": True}


def _taken(entry: Entry, request: DataRequest) -> Row:
    """The entry of a request, with the size that its pictures are taken at."""
    row = _row(entry.path, {})
    side = request.side
    if side is None or row["image"][:2] == [side, side]:
        return row
    h, w, c = row["image"]
    note = f"kept as {h}x{w}, resized to {side}x{side} with --size {side}"
    said = "; ".join(part for part in (row["note"], note) if part)
    return row | {"image": [side, side, c], "note": said}


def _caches(place: Path | None) -> Row:
    """How large the caches are: the user's own with its parts, and shared ones."""
    own = cache_folder(place)
    held: list[Row] = [{"name": h.name, "bytes": h.bytes} for h in parts(own)]
    total = sum(h.bytes for h in entries(own)) + sum(part["bytes"] for part in held)
    shared = []
    for folder in shared_folders(place):
        size = sum(h.bytes for h in [*entries(folder), *parts(folder)])
        found = {"folder": str(folder), "bytes": size, "there": is_folder(folder)}
        shared.append(found)
    return {"folder": str(own), "bytes": total, "parts": held, "shared": shared}


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
    rows: list[Row],
    title: str,
    format: str,
    json: str | Path | None,
    caches: Row | None = None,
) -> dict[str, Any]:
    """The rows on the screen, and in the file that --json names."""
    out = options.filled(options.Told, {"format": format, "json": json})
    found: Row = {"data": rows} | ({"cache": caches} if caches else {})
    outcome.written(found, out)
    outcome.shown("data", found | {"title": title}, out)
    return found


if __name__ == "__main__":
    from benchmarks.shell import script

    script(app)
