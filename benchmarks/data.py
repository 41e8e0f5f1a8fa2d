"""The data sets at hand: list them, fetch and decode them, check them.

    twintrack data                           # what there is, and what is prepared
    twintrack data prepare cifar10 --track both
    twintrack data verify

A public data set is downloaded by a track, in a process of its own; the command
itself imports no framework.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import options
from benchmarks.engine.runner import environment
from common.data import DataRequest
from common.data.cache import Damaged, cache_folder, load, locked, read_meta
from common.data.canonical import PUBLIC
from common.data.folder import scan
from common.data.sources import (
    NAMED,
    entry_path,
    is_prepared,
    open_entry,
    store_canonical,
)
from common.errors import Failed, Refused
from common.files import write_atomic

TRACKS = ("torch", "tensorflow")
DOWNLOADS = "downloads"
IN_TRACK = "--prepare-in-track"

# What the named data sets are, for those that are not prepared yet.
FACTS: dict[str, dict[str, Any]] = {
    "digits": {"classes": 10, "train": 1000, "test": 797, "image": [8, 8, 1]},
    "mnist": {"classes": 10, "train": 60000, "test": 10000, "image": [28, 28, 1]},
    "cifar10": {"classes": 10, "train": 50000, "test": 10000, "image": [32, 32, 3]},
}

Row = dict[str, Any]

app = typer.Typer(help="List, prepare and verify data sets.")

NAME = Annotated[str, typer.Argument(help="digits, mnist, cifar10, or a folder.")]
MAYBE_NAME = Annotated[
    str | None, typer.Argument(help="One data set; all that are prepared unless given.")
]


class CheckFailed(Failed):
    """A check of the data did not hold; the message is one line."""


@app.callback(invoke_without_command=True)
def data_list(
    context: typer.Context = None,  # type: ignore[assignment]
    *,
    cache: options.Cache = None,
    json: options.Json = None,
) -> list[Row]:
    """List the data sets: the named ones, and the folders that have been decoded.

    Returns:
        For each: name, classes, train, test, image, fingerprint (or none), prepared.
    """
    if context is not None and context.invoked_subcommand:
        return []
    folder = cache_folder(cache)
    rows = [_row(folder / name, FACTS[name] | {"name": name}) for name in NAMED]
    rows += [_row(path, {}) for path in _entries(folder) if path.name not in NAMED]
    _show(rows, f"Data sets (cache: {folder})")
    _write(json, rows)
    return rows


@app.command("prepare")
def prepare(
    name: NAME,
    *,
    track: Annotated[
        str, typer.Option(help="Who downloads: torch, tensorflow, or both to compare.")
    ] = "torch",
    skip_bad: options.SkipBad = False,
    size: options.Size = None,
    cache: options.Cache = None,
    json: options.Json = None,
) -> Row:
    """Download or decode a data set into the cache; nothing is done twice.

    Raises:
        Refused: It cannot be had, or a track is unknown.
        CheckFailed: The two tracks disagree about its content.
    """
    if track not in (*TRACKS, "both"):
        raise Refused(
            f"a track must be {', '.join(TRACKS)} or both, got {track}; choose one"
        )
    request = DataRequest(source=name, skip_bad=skip_bad, size=size_of(size))
    if name in PUBLIC:
        _prepare_public(name, track, cache)
    else:
        open_entry(request, cache=cache)
    row = _row(entry_path(request, cache=cache), {})
    _show([row], "Prepared")
    _write(json, [row])
    return row


@app.command("verify")
def verify(
    name: MAYBE_NAME = None,
    *,
    cache: options.Cache = None,
    json: options.Json = None,
) -> list[Row]:
    """Check the cached data against their fingerprints, and folders for changes.

    Raises:
        Refused: The data set is not in the cache.
        CheckFailed: Something is damaged; what to do is said.
    """
    folder = cache_folder(cache)
    paths = _entries(folder) if name is None else _entries_of(name, folder)
    rows = [_row(path, {}) | {"state": _state(path)} for path in paths]
    _show(rows, f"Verified (cache: {folder})")
    _write(json, rows)
    bad = [row for row in rows if row["state"].startswith("damaged")]
    damaged = [row.get("source") or row["name"] for row in bad]
    if damaged:
        raise CheckFailed(
            f"cached data must have the fingerprint they were written with, damaged: "
            f"{', '.join(damaged)}; run twintrack data prepare {damaged[0]}"
        )
    return rows


def ensure_prepared(request: DataRequest, *, cache: Path | None = None) -> None:
    """Prepare what `open_data` cannot make by itself: public data that are missing.

    Raises:
        Refused: As in `prepare`.
    """
    if request.source in PUBLIC and not is_prepared(request, cache=cache):
        print(f"preparing {request.source}: downloaded once", file=sys.stderr)
        _prepare_public(request.source, "torch", cache)


def framing_of(text: str | None) -> dict[str, Any]:
    """Fields of a request: "32x32" fits a folder's photos, "75" resizes any pictures.

    Raises:
        Refused: It is neither.
    """
    if text and text.isdecimal() and int(text):
        return {"side": int(text)}
    return {"size": size_of(text)}


def size_of(text: str | None) -> tuple[int, int] | None:
    """(h, w) from "32x32".

    Raises:
        Refused: It is not of this form.
    """
    if text is None:
        return None
    try:
        h, w = (int(side) for side in text.lower().split("x"))
    except ValueError as error:
        raise Refused(
            f"a size is height x width in pixels, got {text}; write it as 32x32"
        ) from error
    return h, w


def _prepare_public(name: str, track: str, cache: Path | None) -> None:
    """Have `name` downloaded by one track, or by both and compared."""
    folder = cache_folder(cache)
    first = TRACKS[0] if track == "both" else track
    entry = None
    try:
        entry = load(folder / name)
    except Damaged as damage:
        print(f"{name} in {folder} is damaged ({damage}): again", file=sys.stderr)
    if entry is None:
        told = in_child(name, first, folder, keep=True)
    else:
        told = entry.dataset.fingerprint
    others = TRACKS if entry is not None else TRACKS[1:]
    for other in others if track == "both" else ():
        found = in_child(name, other, folder, keep=False)
        if found != told:
            raise CheckFailed(
                f"{name} must be the same from both tracks, got {found[:12]} from "
                f"{other} and {told[:12]} in the cache; delete {folder / DOWNLOADS} "
                "and prepare it again"
            )


def in_child(name: str, track: str, folder: Path, *, keep: bool) -> str:
    """Load `name` through `track` in a process of its own; the fingerprint.

    Raises:
        Refused: The download failed, or there is no room.
    """
    options = [IN_TRACK, name, track, str(folder), "keep" if keep else "compare"]
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.data", *options],
        env=environment(threads=1, device="cpu"),  # nothing here computes
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = ended.stdout.splitlines()
    told = loads(lines[-1]) if ended.returncode in (0, 2) and lines else {}
    if "refused" in told:
        raise Refused(told["refused"])
    if "fingerprint" not in told:
        raise RuntimeError(
            f"preparing {name} in {track} ended with {ended.returncode}; its messages "
            "are above"
        )
    return str(told["fingerprint"])


def in_track(name: str, track: str, folder: Path, *, keep: bool) -> str:
    """Load `name` through `track` in this process, `keep` it in the cache or not.

    Raises:
        Refused: As in `in_child`.
    """
    from common.track import load_track

    # Two commands that need the same download: one fetches it, the other finds it.
    with locked(folder / DOWNLOADS):
        if keep:
            with suppress(Damaged):
                entry = load(folder / name)
                if entry is not None:
                    return entry.dataset.fingerprint
        canonical = load_track(track).load_dataset(name, folder / DOWNLOADS)
        if keep:
            store_canonical(name, canonical, cache=folder)
        return str(canonical.fingerprint)


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
    except Damaged:
        return None


def _row(path: Path, facts: Row) -> Row:
    """What is known of the entry at `path`; `facts` where there is none."""
    unknown = {"classes": None, "train": None, "test": None, "image": None}
    row = {"name": path.name} | unknown | {"fingerprint": None, "note": ""} | facts
    if not path.is_dir():
        return row | {"prepared": False}
    try:
        meta = read_meta(path)
    except Damaged:
        return row | {"prepared": False}
    kept = ("name", "train", "test", "image", "fingerprint", "note", "source")
    told = {key: meta[key] for key in kept}
    return row | told | {"classes": len(meta["classes"]), "prepared": True}


def _state(path: Path) -> str:
    """In words: sound, changed (the folder is another by now), or damaged and why."""
    try:
        entry = load(path)
    except Damaged as damage:
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


def _show(rows: list[Row], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in ("name", "classes", "train", "test", "image", "fingerprint", "state"):
        numeric = name in ("classes", "train", "test")
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        counts = [_count(row[key]) for key in ("classes", "train", "test")]
        shape = "x".join(str(n) for n in row["image"] or ())
        state = row.get("state") or ("prepared" if row["prepared"] else "not prepared")
        name = f"{row['name']}\n{row['note']}" if row["note"] else row["name"]
        table.add_row(name, *counts, shape, (row["fingerprint"] or "")[:12], state)
    Console().print(table)


def _count(n: int | None) -> str:
    return "" if n is None else f"{n:,}"


def _write(path: Path | None, rows: list[Row]) -> None:
    if path is not None:
        text = dumps({"data": rows}, indent=1, allow_nan=False)
        write_atomic(path, text.encode())


def main() -> int:
    """Run as a script, or as the child that reaches a track."""
    if sys.argv[1:2] == [IN_TRACK]:
        return _child(*sys.argv[2:])
    from benchmarks.cli import run

    return run(app)


def _child(name: str, track: str, folder: str, what: str) -> int:
    """The other end of `in_child`: the answer is the last line of standard output."""
    try:
        found = in_track(name, track, Path(folder), keep=what == "keep")
    except Refused as error:
        print(f"\n{dumps({'refused': str(error)})}")
        return 2
    print(f"\n{dumps({'fingerprint': found})}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
