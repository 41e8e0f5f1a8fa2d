"""What every data set is to the rest of twintrack: uint8 images, labels, names.

Images are canonical, (n, h, w, c).  A part of a data set selects rows of an
array that may be memory-mapped, so choosing, limiting and splitting copy no
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.fingerprint import fingerprint
from common.data.split import HELD_OUT, held_out
from common.errors import Refused
from common.photos import hidden
from common.photos.decode import resized


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled images: one split of a data set.

    Attributes:
        images: (m, h, w, c), uint8; possibly a memory map, shared by parts.
        labels: (n,), int64, the class of each selected image.
        rows: (n,), int64, which rows of `images` are selected, in order.
        size: (h, w) that images are resized to when they are taken, or none: small
            pictures for a large network would fill the disk if they were kept so.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image, as it is taken."""
        h, w, c = self.images.shape[1:]
        return (*(self.size or (h, w)), c)

    def take(self, index: NDArray[np.integer] | slice) -> NDArray[Any]:
        """Images (k, h, w, c) at `index` of this part, copied and contiguous."""
        images = np.take(self.images, self.rows[index], axis=0)
        return images if self.size is None else resized(images, self.size)

    def choose(self, index: NDArray[np.integer] | slice) -> Part:
        """The examples at `index` of this part, with the same `images`."""
        return replace(self, labels=self.labels[index], rows=self.rows[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was met on the way to a data set: nothing is left out without a word.

    Attributes:
        layout: How a folder is arranged, in words.
        skipped: Files left out because they are no pictures, each with the reason.
        left_out: Files and folders outside the classes.
        ignored: Hidden files and those of systems.
        remarks: What was found in pictures, and in how many.
    """

    layout: str = ""
    skipped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def for_json(self) -> dict[str, Any]:
        """All of it, under one key, for what --json writes; nothing of no folder."""
        return {"folder": asdict(self)} if self.layout else {}

    def lines(self) -> list[str]:
        """What a screen shows: a few names of each kind."""
        said = (
            ("skipped", self.skipped),
            ("left out, outside the class folders", self.left_out),
        )
        told = [f"{len(names):,} {what}: {few(names)}" for what, names in said if names]
        return [*told, *filter(None, [hidden.line(self.ignored)]), *self.remarks]


NOTHING = Found()
SHOWN = 10  # names that a line of the screen has


def few(names: Sequence[str], most: int = SHOWN) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A named data set with its three splits.

    Attributes:
        name: What the user called it ("digits", "cifar10", a folder's name).
        classes: Name of each label, label 0 first.
        train: What is trained on.
        valid: What settings may be chosen on; may be empty.
        test: What is reported.
        fingerprint: SHA-256 (hex) of the content: pixels, labels, class names, splits.
        note: What a table must say of it ("2,000 of 50,000 training images"), or "".
        features: Whether the "images" are another network's features: (n, 1, views,
            channels), float16 or float32.
        found: What was met where they come from.

    Raises:
        Refused: A part is not uint8 (n, h, w, c), the parts differ in image shape, or
            a label names no class.
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    valid: Part
    test: Part
    fingerprint: str
    note: str = ""
    features: bool = False
    found: Found = NOTHING

    @classmethod
    def from_arrays(
        cls,
        images: NDArray[np.uint8],
        labels: Sequence[int] | NDArray[np.integer],
        classes: Sequence[str],
        *,
        test: tuple[NDArray[np.uint8], Sequence[int] | NDArray[np.integer]]
        | None = None,
        valid: tuple[NDArray[np.uint8], Sequence[int] | NDArray[np.integer]]
        | None = None,
        name: str = "arrays",
    ) -> Dataset:
        """A data set from arrays.

        Args:
            images: (n, h, w, c), uint8, to train on.
            labels: (n,), whole numbers, the class of each.
            classes: Name of each label, label 0 first.
            test: Images and labels to judge on.  Without them, a fifth of each class
                is held out of the others, always the same, and `note` says so.
            valid: Images and labels that settings may be chosen on; none unless given.
            name: What tables call it.

        Raises:
            Refused: The arrays do not describe the same examples, are not uint8
                (n, h, w, c), or a label names no class; there are fewer than two
                classes, or two of one name; a class has no example to train on, or
                only one where a test part is to be held out; the test part is empty.
        """
        check_classes(classes, name)
        given = part_of(images, labels, name, classes)
        check_counts(given.labels, classes, name, held_out_too=test is None)
        note = ""
        if test is None:
            held = held_out(given.labels)
            train, judged = (given.choose(np.flatnonzero(m)) for m in (~held, held))
            note = HELD_OUT
        else:
            train, judged = given, part_of(*pair(test, "test"), name, classes)
            if not len(judged):
                raise Refused(
                    f"the test part of {name} must have an example or more, got none; "
                    "give some, or leave it out to have a fifth of each class held out"
                )
        chosen = train.choose(slice(0, 0))
        if valid is not None:
            chosen = part_of(*pair(valid, "valid"), name, classes)
        return cls(
            name=name,
            classes=tuple(classes),
            train=train,
            valid=chosen,
            test=judged,
            fingerprint=fingerprint(classes, (train, chosen, judged)),
            note=note,
        )

    def __post_init__(self) -> None:
        for split in ("train", "valid", "test"):
            part: Part = getattr(self, split)
            kinds = ("float16", "float32") if self.features else ("uint8",)
            check_images(part.images, f"{split} images of {self.name}", kinds)
            check_labels(part.labels, self.classes, f"{split} labels of {self.name}")
            if part.image != self.train.image:
                raise Refused(
                    f"all parts of {self.name} must have one image shape, got "
                    f"{self.train.image} in train and {part.image} in {split}; convert "
                    "one of them"
                )

    @property
    def image(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        return self.train.image


def pair(given: object, part: str) -> tuple[Any, Any]:
    """Images and labels of a `part` that a user gave.

    Raises:
        Refused: It is no tuple or list of two.
    """
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        found = type(given).__name__
        if isinstance(given, (tuple, list)):
            found = f"a {found} of {len(given)}"
        raise Refused(
            f"{part} must be images and labels, (images, labels), got {found}; give "
            "both"
        )
    return given[0], given[1]


def check_classes(classes: Sequence[str], name: str) -> None:
    """Refuse `classes` that are not two or more different names.

    Raises:
        Refused: They are one text, fewer than two, or a name is there twice.
    """
    if isinstance(classes, str):
        raise Refused(
            f"classes of {name} must be a list of names, got the text {classes!r}; "
            "give one name for each label"
        )
    if len(classes) < 2:
        raise Refused(
            f"a data set needs two or more classes, {name} has {len(classes)}; name "
            "each label"
        )
    if twice := [c for i, c in enumerate(classes) if c in classes[:i]]:
        raise Refused(
            f"each class of {name} must have a name of its own, got {twice[0]!r} "
            "twice; rename one, or give both the same label"
        )


def check_counts(
    labels: NDArray[np.integer],
    classes: Sequence[str],
    name: str,
    *,
    held_out_too: bool,
) -> None:
    """Refuse a class without an example to train on, or to hold out as well.

    Raises:
        Refused: A class has fewer examples than are needed.
    """
    need = 2 if held_out_too else 1
    why = "one to train on and one to test with" if held_out_too else "to train on"
    for label, n in enumerate(np.bincount(labels, minlength=len(classes))):
        if n < need:
            raise Refused(
                f"a class needs {need} or more examples, {why}, {classes[label]} of "
                f"{name} has {n}; add some or leave the class out"
            )


def part_of(
    images: NDArray[np.uint8],
    labels: Sequence[int] | NDArray[np.integer],
    name: str,
    classes: Sequence[str],
) -> Part:
    """Arrays of a user as a part, checked.

    Raises:
        Refused: As in `Dataset.from_arrays`.
    """
    pixels, found = np.asarray(images), np.asarray(labels)
    check_images(pixels, f"images of {name}")
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise Refused(
            f"labels of {name} must be whole numbers (n,), got {found.dtype} "
            f"{found.shape}; give one label per image"
        )
    check_labels(found, classes, f"labels of {name}")
    return whole(pixels, found)


def whole(images: NDArray[np.uint8], labels: NDArray[np.integer]) -> Part:
    """All of `images` (n, h, w, c) with `labels` (n,), as a part."""
    if len(images) != len(labels):
        raise Refused(
            f"images and labels must describe the same examples, got {len(images)} "
            f"images and {len(labels)} labels; give one label per image"
        )
    return Part(images, labels.astype(np.int64), np.arange(len(labels)))


def check_images(
    images: NDArray[np.generic], what: str, kinds: Sequence[str] = ("uint8",)
) -> None:
    """Refuse `images` that are not uint8 (n, h, w, c), or of the `kinds` given.

    Raises:
        Refused: `what` has another dtype or number of axes.
    """
    if images.dtype not in kinds or images.ndim != 4:
        raise Refused(
            f"{what} must be {' or '.join(kinds)} (n, h, w, c), got {images.dtype} "
            f"{images.shape}; convert with np.moveaxis and astype"
        )


def check_labels(
    labels: NDArray[np.integer], classes: Sequence[str], what: str
) -> None:
    """Refuse labels that name none of `classes`.

    Raises:
        Refused: A label is below 0 or not below the number of classes.
    """
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise Refused(
            f"{what} must be in [0, {len(classes)}) for {len(classes)} classes, got "
            f"values from {labels.min()} to {labels.max()}; correct the labels or "
            "name every class"
        )
