"""Public data sets, downloaded by a track in a process of its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.engine.call import call
from benchmarks.engine.process import Event, Tell, Values
from common.data.cache import (
    DamagedEntry,
    bytes_of,
    cache_folder,
    cache_folders,
    find,
    load,
    locked,
)
from common.data.sources import store_canonical
from common.errors import Failed
from common.extras import Datasets, load_extra

TRACKS = ("torch", "tensorflow")  # those that bring data sets
DOWNLOADS = "downloads"
SAID_EVERY = 5.0  # seconds between two lines about a download


class TracksDisagree(Failed):
    """Two tracks brought different pictures; the message is one line."""


def prepare(name: str, track: str, cache: Path | None) -> None:
    """Have a public data set downloaded by one track, or by both and compared.

    Args:
        name: Of the data set.
        track: Whose downloader, or "both".
        cache: The cache's folder, or none for the usual one.

    Raises:
        Refused: It cannot be had, or there is no room.
        TracksDisagree: The two tracks disagree about its content.
    """
    folder = cache_folder(cache)
    first = TRACKS[0] if track == "both" else track
    entry, damaged = find(place / name for place in cache_folders(cache))
    for path, damage in damaged.items():
        instead = "again" if entry is None else f"{entry.path.parent} has it too"
        print(
            f"{name} in {path.parent} is damaged ({damage}): {instead}", file=sys.stderr
        )
    if entry is None:
        told = fetched(name, first, folder, keep=True)
    else:
        told = entry.dataset.fingerprint
    others = TRACKS if entry is not None else TRACKS[1:]
    for other in others if track == "both" else ():
        found = fetched(name, other, folder, keep=False)
        if found != told:
            raise TracksDisagree(
                f"{name} must be the same from both tracks, got {found[:12]} from "
                f"{other} and {told[:12]} in the cache; delete {folder / DOWNLOADS} "
                "and prepare it again"
            )


def fetched(name: str, track: str, folder: Path, *, keep: bool) -> str:
    """Load a data set through a track in a process of its own; its fingerprint.

    Raises:
        Refused: The download failed, or there is no room.
    """
    values = {"name": name, "track": track, "folder": str(folder), "keep": keep}
    found = call(f"{__name__}:fetch", values, threads=1, device="cpu", told=_show)
    return str(found["fingerprint"])


def _show(event: Event) -> None:
    if event["event"] == "downloaded":
        print(f"  {event['size'] / 1e6:,.0f} MB so far", file=sys.stderr, flush=True)


def fetch(values: Values, tell: Tell) -> Values:
    """In a child: load a data set, and keep it in the cache if that is asked for.

    Raises:
        Refused: As in `fetched`.
    """
    name, folder = values["name"], Path(values["folder"])
    # Two commands that need the same download: one fetches it, the other finds it.
    with locked(folder / DOWNLOADS), _telling(folder / DOWNLOADS, tell):
        if values["keep"]:
            with suppress(DamagedEntry):
                entry = load(folder / name)
                if entry is not None:
                    return {"fingerprint": entry.dataset.fingerprint}
        track = load_extra(values["track"], Datasets)
        canonical = track.load_dataset(name, folder / DOWNLOADS)
        if values["keep"]:
            store_canonical(name, canonical, cache=folder)
        return {"fingerprint": canonical.fingerprint}


@contextmanager
def _telling(folder: Path, tell: Tell) -> Iterator[None]:
    """Tell, while it is open, how much lies in a folder whenever that has grown."""
    over = threading.Event()

    def watch() -> None:
        said = bytes_of(folder)
        while not over.wait(SAID_EVERY):
            if (size := bytes_of(folder)) != said:
                tell("downloaded", size=size)
                said = size

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
