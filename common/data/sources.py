"""From a request to a data set, through the cache."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common.data.addition import Addition, add
from common.data.cache import (
    IMAGES,
    Content,
    Entry,
    cache_folder,
    cache_folders,
    find,
    find_or_build,
    is_folder,
    locked,
    shared_folders,
    warn_of,
    write,
    write_images,
)
from common.data.canonical import PUBLIC, Canonical, nearest
from common.data.dataset import Dataset
from common.data.digits import build_digits
from common.data.features import open_features
from common.data.folder import (
    Listing,
    SizesDiffer,
    build_folder,
    no_pictures,
    scan,
)
from common.data.parts import (
    coloured,
    hold_out,
    leave_out,
    limit,
    limit_test,
    resize,
    subset,
)
from common.errors import Refused
from common.photos.decode import printable

NAMED = ("digits", *PUBLIC)

# Which images a request holds out for validation: one draw for everybody.
VALID_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """Which data a command wants.

    Attributes:
        source: "digits", "mnist", "cifar10", or the path of a folder.
        limit: At most so many training images, validation included; None for all.
        valid: Training images held out for validation.
        skip_bad: Leave out files that are no pictures, instead of refusing them.
        size: (h, w) that a folder's pictures are fitted into; None if they agree.
        addition: One more class, added last; None for none.
        classes: Only these, labelled in this order; empty for all.
        leave_out: All but these.
        side: Every picture is resized to so many pixels a side when it is taken (one
            of a folder whose pictures differ in size when it is decoded); None for as
            it is.
        features: Folder of a network's features of these pictures, to stand in their
            place; None for the pictures themselves.
        shared: Whether both tracks are given these very features.
        colour: Whether the one channel of grey pictures is repeated, for networks that
            take colours.
        test_limit: At most so many test images; None for all.

    Raises:
        Refused: A number is negative, or a size is not positive.
    """

    source: str
    limit: int | None = None
    valid: int = 0
    skip_bad: bool = False
    size: tuple[int, int] | None = None
    addition: Addition | None = None
    classes: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    side: int | None = None
    features: str | None = None
    shared: bool = False
    colour: bool = False
    test_limit: int | None = None

    def __post_init__(self) -> None:
        if self.valid < 0:
            raise Refused(
                f"a validation part has 0 or more images, got {self.valid}; choose 0 "
                "for none"
            )
        if self.size is not None and min(self.size) < 1:
            raise Refused(
                f"a size is height x width in pixels, got {self.size}; choose one like "
                "32x32"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataRequest:
        """What `to_dict` gave, also after JSON has made a list of the size."""
        size, extra = values.get("size"), values.get("addition")
        names = {key: tuple(values.get(key, ())) for key in ("classes", "leave_out")}
        return cls(
            **values
            | names
            | {"size": tuple(size) if size else None}
            | {"addition": Addition(**extra) if extra else None}
        )


def open_data(request: DataRequest, *, cache: str | Path | None = None) -> Dataset:
    """The data set of `request`, memory-mapped from the cache and checked.

    Digits and folders are put into the cache where they are not yet in it.

    Args:
        request: What is wanted.
        cache: Folder of the cache; by default $TWINTRACK_CACHE or ~/.cache/twintrack.

    Raises:
        Refused: The source is unknown, not prepared, damaged beyond repair, or not
            fit to be a data set.
    """
    dataset = open_entry(request, cache=cache).dataset
    if request.classes:
        dataset = subset(dataset, request.classes)
    if request.leave_out:
        dataset = leave_out(dataset, request.leave_out)
    if request.colour:
        dataset = coloured(dataset)
    if request.side:
        dataset = resize(dataset, request.side)
    if request.limit is not None:
        dataset = limit(dataset, request.limit)
    if request.test_limit is not None:
        dataset = limit_test(dataset, request.test_limit)
    if request.features:
        path = Path(request.features)
        dataset = open_features(path, dataset, shared=request.shared)
    if request.valid:
        fingerprint = dataset.fingerprint
        dataset = hold_out(dataset, request.valid, VALID_SEED)
        if request.features:  # not their content: see `open_features`
            told = f"{fingerprint} {request.valid}"
            hashed = hashlib.sha256(told.encode()).hexdigest()
            dataset = replace(dataset, fingerprint=hashed)
    if request.addition:
        dataset = add(dataset, request.addition)
    return dataset


def open_entry(request: DataRequest, *, cache: str | Path | None = None) -> Entry:
    """The cache entry of `request`, as `open_data` finds or makes it.

    Raises:
        Refused: As in `open_data`.
    """
    path = entry_path(request, cache=cache)
    if request.source in NAMED and request.size:
        h, w = request.size
        raise Refused(
            f"only a folder's photos are fitted into {h}x{w}, {request.source} has "
            "pictures of one size; resize them with --size N, for N x N"
        )
    shared = [folder / path.name for folder in shared_folders(cache)]
    if request.source == "digits":
        return find_or_build(path, build_digits, source="digits", shared=shared)
    if request.source in PUBLIC:
        return _prepared([path, *shared], request.source)
    try:
        return _open_folder(request, path, shared)
    except SizesDiffer:
        if request.side is None:
            raise
        fitted = replace(request, size=(request.side, request.side), side=None)
        return open_entry(fitted, cache=cache)


def entry_path(request: DataRequest, *, cache: str | Path | None = None) -> Path:
    """Where the cache keeps the source of `request`.

    Raises:
        Refused: It is neither a known name nor a folder.
    """
    if request.source in NAMED:
        return cache_folder(cache) / request.source
    root = Path(request.source).expanduser()
    if not root.exists() and len(root.parts) == 1:
        near = nearest(request.source, NAMED)
        raise Refused(
            f"data must be {', '.join(NAMED)} or a folder, got {request.source}"
            + (f"; did you mean {near}?" if near else "; check the name")
        )
    root = root.resolve()
    asked = f"{root}\n{request.size}"
    return cache_folder(cache) / (
        f"{root.name}-{hashlib.sha256(os.fsencode(asked)).hexdigest()[:16]}"
    )


def is_prepared(request: DataRequest, *, cache: Path | None = None) -> bool:
    """Whether `open_data` would find the source in a cache, undamaged or not."""
    name = entry_path(request, cache=cache).name
    return any(is_folder(folder / name) for folder in cache_folders(cache))


def store_canonical(name: str, data: Canonical, *, cache: Path | None = None) -> Entry:
    """Put what a track has loaded into the cache, in place of what is there.

    Raises:
        Refused: There is no room, or the cache cannot be written to.
    """
    path = cache_folder(cache) / name
    with locked(path):
        return write(path, partial(_build_canonical, name, data), source=name)


def _build_canonical(name: str, data: Canonical, folder: Path) -> Content:
    n, m = len(data.train_labels), len(data.test_labels)
    write_images(
        folder / IMAGES,
        (image for part in (data.train_images, data.test_images) for image in part),
    )
    return Content(
        name=name,
        classes=data.classes,
        labels=np.r_[data.train_labels, data.test_labels],
        split=np.repeat(np.array([0, 1], np.uint8), [n, m]),
    )


def _prepared(paths: list[Path], name: str) -> Entry:
    entry, damaged = find(paths)
    if entry is not None:
        warn_of(damaged, f"{entry.path} is used")
        return entry
    if damaged:
        path, damage = next(iter(damaged.items()))
        raise Refused(
            f"a cached data set must be as it was written, {name} in {path.parent} is "
            f"damaged ({damage}); run twintrack data prepare {name}"
        ) from damage
    places = " or ".join(str(path.parent) for path in paths)
    raise Refused(
        f"{name} must be prepared once, it is not in {places}; run twintrack data "
        f"prepare {name}, or twintrack data import {name} PATH where files of it lie "
        "at PATH"
    )


def _open_folder(request: DataRequest, path: Path, shared: list[Path]) -> Entry:
    root = Path(request.source).expanduser().resolve()
    # Checking the cache is hashing, which leaves Python free to look at the folder.
    with ThreadPoolExecutor(1) as pool:
        cached = pool.submit(find, [path, *shared])
        listing = scan(root)
    entry, damaged = cached.result()
    if entry is not None and entry.stamp == listing.stamp and not damaged:
        return _unless_bad(entry, request)
    # A folder that is called like a public data set is not that data set.
    name = f"{root.name} (folder)" if root.name in NAMED else printable(root.name)
    build = partial(
        _build_folder, listing, name=name, size=request.size, skip_bad=request.skip_bad
    )
    entry = find_or_build(
        path, build, source=str(root), stamp=listing.stamp, shared=shared
    )
    return _unless_bad(entry, request)


def _unless_bad(entry: Entry, request: DataRequest) -> Entry:
    """`entry`, unless files were skipped for it that this request does not skip."""
    if entry.skipped and not request.skip_bad:
        raise no_pictures(entry.skipped)
    return entry


def _build_folder(
    listing: Listing,
    folder: Path,
    *,
    name: str,
    size: tuple[int, int] | None,
    skip_bad: bool,
) -> Content:
    return build_folder(listing, folder, name=name, size=size, skip_bad=skip_bad)
