"""A public data set from files that lie on this machine, whatever packed them.

What is published are the contents: pictures with labels and a split.  Files, archives,
arrays and folders of lossless pictures are ways to carry them, each with a checksum of
its own.  So the content is judged, and then the data set is the one that a track would
have downloaded, in the same order.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.cache import is_folder, listed
from common.data.canonical import (
    CLASSES,
    CONTENT,
    PUBLIC,
    Canonical,
    by_content,
    content,
    unknown,
)
from common.data.carriers import (
    OTHERS,
    SHAPES,
    Arrays,
    Carrier,
    Files,
    carriers,
    is_known,
)
from common.data.folder import scan
from common.data.layout import TEST, TRAIN
from common.data.packed import (
    File,
    archived,
    content_of,
    files_below,
    is_archive,
    one_line,
)
from common.errors import Refused

# MD5 of the unpacked files that were published, to say which one is another.
FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
OWN_FORMS = ("IDX files", "the Python version")  # whose files these are
FORMS = {
    "mnist": "four IDX files (train-images-idx3-ubyte and so on, packed or not)",
    "cifar10": "the Python or the binary version (data_batch_1 and so on)",
}
PICTURES = "lossless pictures in folders"


@dataclass(frozen=True, slots=True)
class AtHand:
    """A data set that was found.

    Attributes:
        data: What it holds, checked.
        said: What was read, and where.
    """

    data: Canonical
    said: str


def read_at_hand(name: str, path: Path) -> AtHand:
    """Both splits of `name` from what lies at `path`, checked, in canonical order.

    Args:
        name: "mnist" or "cifar10".
        path: A folder with its files, one above it, an archive of them, or one file.

    Raises:
        Refused: No form of it is there, or none has the published content.
    """
    if name not in PUBLIC:
        raise unknown(name)
    path = path.expanduser()
    if not os.path.exists(path):  # noqa: PTH110, Path.exists raises where it may not look
        raise Refused(
            "what is to be imported must be a file or a folder that is there and may "
            f"be looked at, got {path}; check the path"
        )
    refused: list[Refused] = []
    seen: list[str] = []
    for carrier in _found(name, path, seen, refused):
        try:
            data = judged(name, carrier)
        except Refused as refusal:
            refused.append(refusal)
            continue
        files = f"{len(carrier.files)} file" + "s" * (len(carrier.files) != 1)
        what = PICTURES if carrier.form == PICTURES else f"{carrier.form}, {files}"
        return AtHand(data, f"{name} read from {carrier.where}: {what}")
    raise _none(name, path, seen, refused)


def _found(
    name: str, path: Path, seen: list[str], refused: list[Refused]
) -> Iterator[Carrier]:
    """What may carry `name`, files before archives, archives before pictures.

    Args:
        name: Of the data set.
        path: Where to look.
        seen: Gets what is recognised and not read.
        refused: Gets archives that cannot be read.
    """
    inner = path.is_dir()
    plain, packed = _below(name, path, seen, refused) if inner else _named(path)
    yield from _carriers(name, plain, seen)
    for archive in packed:
        try:
            inside = list(archived(archive, is_known))
        except Refused as refusal:
            refused.append(refusal)
            continue
        if not inside:
            seen.append(f"{archive} (no file that is known; pictures must be unpacked)")
        yield from _carriers(name, inside, seen)
    for folder in _pictured(path) if inner else ():
        yield Carrier(PICTURES, str(folder), {}, partial(_pictures, folder, name))


def _carriers(name: str, files: list[File], seen: list[str]) -> Iterator[Carrier]:
    seen += [file.path for file in files if OTHERS.fullmatch(file.name)]
    return carriers(name, files)


def _below(
    name: str, path: Path, seen: list[str], refused: list[Refused]
) -> tuple[list[File], list[Path]]:
    """Files of a folder that may belong to a carrier, and archives of this name."""
    closed: list[str] = []
    files = list(files_below(path, closed))
    seen += [f"{folder} (which cannot be read)" for folder in closed]
    packed = []
    for file in files:
        if _may_pack(name, file.name):
            try:
                packed += [Path(file.path)] if is_archive(Path(file.path)) else []
            except Refused as refusal:
                refused.append(refusal)
    return [file for file in files if is_known(file.name)], packed


def _named(path: Path) -> tuple[list[File], list[Path]]:
    """The same of one file."""
    return ([], [path]) if is_archive(path) else (_lone(path), [])


def _lone(path: Path) -> list[File]:
    """A file that was named itself, with those that belong to it beside it."""
    whole = path.suffix == ".npz" or not is_known(path.name)
    beside = [path] if whole else listed(path.parent) or [path]
    found = (File(str(p.parent), p.name, partial(content_of, p)) for p in beside)
    return [file for file in found if is_known(file.name)]


def _may_pack(name: str, file: str) -> bool:
    """Whether a file in a folder is worth opening as an archive."""
    plain = file.lower().replace("-", "").replace("_", "")
    return name in plain and any(end in plain for end in (".zip", ".t"))


def _pictured(path: Path) -> Iterator[Path]:
    """Folders with train/ and test/: this one, or one in it."""
    for folder in (path, *listed(path)):
        if is_folder(folder / "train") and is_folder(folder / "test"):
            yield folder


def _none(name: str, path: Path, seen: list[str], refused: list[Refused]) -> Refused:
    """What to say where nothing could be taken: why not, else what was looked for."""
    if refused:
        others = len(refused) - 1
        more = f" ({others} other places were tried, and are not it)" if others else ""
        return Refused(f"{refused[0]}{more}")
    known = (
        f"{FORMS[name]}, an archive of them, keras's {name}.npz, TFDS's records, or "
        f"{PICTURES} train/<class>/ and test/<class>/"
    )
    there = f" and has {', '.join(seen[:3])}" if seen else ""
    return Refused(
        f"{name} is imported from {known}; {path} has none of them{there}; name the "
        "folder or the archive that has"
    )


def judged(name: str, carrier: Carrier) -> Canonical:
    """The content of a carrier, if it is what was published.

    Raises:
        Refused: It is not, or cannot be read.
    """
    arrays = carrier.read(carrier.files)
    _check_fit(name, carrier, *arrays[:2], "train")
    _check_fit(name, carrier, *arrays[2:], "test")
    parts = [by_content(*arrays[:2]), by_content(*arrays[2:])]
    for part, wanted, split in zip(
        parts, CONTENT[name], ("train", "test"), strict=True
    ):
        found = content(*part)
        if found == wanted:
            continue
        for file, known in FILES.items() if carrier.form in OWN_FORMS else ():
            if file in carrier.files and (other := _md5(carrier.files[file])) != known:
                raise Refused(
                    f"a file of {name} must be the published one, "
                    f"{carrier.files[file].path} has unpacked the MD5 {other} instead "
                    f"of {known}; get it again"
                )
        lossy = " (a copy as JPEG has)" if carrier.form == PICTURES else ""
        raise Refused(
            f"{name} must have the published pixels and labels, {carrier.where} has "
            f"others in its {len(part[1]):,} {split} pictures{lossy}: SHA-256 of the "
            f"sorted content {found[:12]} instead of {wanted[:12]}; get a true copy, "
            "or use a folder of pictures under its own name as --data FOLDER"
        )
    return Canonical.of(*parts[0], *parts[1], classes=CLASSES[name])


def _check_fit(
    name: str,
    carrier: Carrier,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    split: str,
) -> None:
    """Refuse pictures of another shape, or labels of other pictures."""
    if images.shape != (len(labels), *SHAPES[name]):
        shape = " x ".join(f"{n:,}" for n in images.shape[1:])
        raise Refused(
            f"{name} has pictures of {' x '.join(map(str, SHAPES[name]))} and a label "
            f"for each, {carrier.where} has {len(images):,} of {shape} and "
            f"{len(labels):,} labels to {split}; get it again"
        )


def _md5(file: File) -> str:
    return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()


def _pictures(folder: Path, name: str, files: Files) -> Arrays:
    """Lossless pictures as {train,test}/<class>/*."""
    listing = scan(folder)
    if [part for part, _ in listing.arranged.tops] != [TRAIN, TEST]:
        raise Refused(
            f"CIFAR-10 has an official split, {folder} has no train/ and test/ with "
            "pictures in class folders, or more than these; arrange it so"
        )
    images: tuple[list[NDArray[np.uint8]], ...] = ([], [])
    labels: tuple[list[int], ...] = ([], [])
    for split, label, path in listing.files():
        images[split].append(_pixels(path, name))
        labels[split].append(label)
    train, test = (np.stack(part) for part in images)
    return train, np.array(labels[0]), test, np.array(labels[1])


def _pixels(path: Path, name: str) -> NDArray[np.uint8]:
    from PIL import Image  # not for `twintrack data` alone

    shape = SHAPES[name]
    found: NDArray[np.uint8]
    try:
        with Image.open(io.BytesIO(content_of(path))) as image:
            size, kind = image.size, image.mode
            fits = size == (shape[1], shape[0]) and kind == ("L", "RGB")[shape[2] == 3]
            found = np.asarray(image) if fits else np.empty(0, np.uint8)
    except Exception as error:  # damaged bytes drive Pillow to anything
        raise Refused(
            f"every file of {name} must be a picture, {path} is none "
            f"({one_line(error)}); get it again"
        ) from error
    if not fits:
        colours = "three 8-bit colours" if shape[2] == 3 else "8-bit grey"
        raise Refused(
            f"a picture of {name} has {shape[0]} x {shape[1]} pixels of {colours}, "
            f"{path} has {size[1]} x {size[0]} of kind {kind}; get the data again"
        )
    return found.reshape(shape)
