"""Other data sets out of one: fewer, merged or more classes; fewer or held-out images.

All but `extend` share the images of the data set they are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Dataset, Part, check_images, whole
from common.data.fingerprint import fingerprint
from common.data.split import stratified
from common.errors import Refused

# Which images a limit keeps: one draw for everybody, so that limited results compare.
LIMIT_SEED = 0


def assemble(
    name: str,
    classes: Sequence[str],
    train: Part,
    test: Part,
    *,
    valid: Part | None = None,
    note: str = "",
) -> Dataset:
    """A data set of its parts, with its fingerprint; no `valid` is an empty one."""
    valid = train.choose(slice(0, 0)) if valid is None else valid
    return Dataset(
        name=name,
        classes=tuple(classes),
        train=train,
        valid=valid,
        test=test,
        fingerprint=fingerprint(classes, (train, valid, test)),
        note=note,
    )


def subset(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Only `classes`, labelled in the order in which they are given.

    Raises:
        Refused: A class is unknown or given twice, or fewer than two are given.
    """
    classes = [_known(dataset, name) for name in classes]
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise Refused(
            f"a subset needs two or more different classes, got {', '.join(classes)}; "
            f"choose from {', '.join(dataset.classes)}"
        )
    table = np.full(len(dataset.classes), -1)
    for label, name in enumerate(classes):
        table[dataset.classes.index(name)] = label
    said = f"{len(classes)} of {len(dataset.classes)} classes"
    return _relabel(dataset, tuple(classes), table, said)


def leave_out(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """All classes but `classes`.

    Raises:
        Refused: A class is unknown, or fewer than two are left.
    """
    out = [_known(dataset, name) for name in classes]
    return subset(dataset, [name for name in dataset.classes if name not in out])


def resize(dataset: Dataset, side: int) -> Dataset:
    """Every picture resized to (side, side) when it is taken, bilinear.

    Raises:
        Refused: The side is not positive.
    """
    if side < 1:
        raise Refused(f"a side is 1 pixel or more, got {side}; choose one like 75")
    if dataset.image[:2] == (side, side):
        return dataset
    train, valid, test = (
        replace(part, size=(side, side))
        for part in (dataset.train, dataset.valid, dataset.test)
    )
    said = f"{dataset.image[0]}x{dataset.image[1]} resized to {side}x{side}"
    note = _joined(dataset.note, said)
    return _derived(dataset, train=train, valid=valid, test=test, note=note)


COLOURS = 3


def coloured(dataset: Dataset) -> Dataset:
    """Grey pictures with their channel three times.

    Raises:
        Refused: They have colours already.
    """
    if dataset.image[2] != 1:
        raise Refused(
            f"only grey pictures have one channel to repeat, {dataset.name} has "
            f"{dataset.image[2]}; leave --repeat-channel out"
        )
    train, valid, test = (
        replace(part, images=np.repeat(part.images, COLOURS, axis=3))
        for part in (dataset.train, dataset.valid, dataset.test)
    )
    note = _joined(dataset.note, "grey, its channel three times")
    return _derived(dataset, train=train, valid=valid, test=test, note=note)


def remap(dataset: Dataset, mapping: Mapping[str, str]) -> Dataset:
    """Rename or merge classes: `mapping` says old name -> new name.

    Classes that are not in `mapping` keep their names.  New labels follow the old ones.

    Raises:
        Refused: A class is unknown, or fewer than two are left.
    """
    mapping = {_known(dataset, name): new for name, new in mapping.items()}
    names = [mapping.get(name, name) for name in dataset.classes]
    classes = tuple(dict.fromkeys(names))
    if len(classes) < 2:
        raise Refused(
            f"a data set needs two or more classes, got only {', '.join(classes)} "
            "after remapping; map to at least two names"
        )
    table = np.array([classes.index(name) for name in names])
    return _relabel(dataset, classes, table, "")


def extend(
    dataset: Dataset,
    name: str,
    train_images: NDArray[np.uint8],
    test_images: NDArray[np.uint8],
) -> Dataset:
    """One more class, `name`, labelled last.  This one copies all images.

    Args:
        dataset: What to add to.
        name: The new class.
        train_images: (n, h, w, c), uint8, added to the training part.
        test_images: (m, h, w, c), uint8, added to the test part.

    Raises:
        Refused: The class is there already, or the images have another shape.
    """
    if name in dataset.classes:
        raise Refused(
            f"a new class needs a new name, {name} is already one of "
            f"{', '.join(dataset.classes)}; choose another name"
        )
    label = len(dataset.classes)
    return _derived(
        dataset,
        classes=(*dataset.classes, name),
        train=_appended(dataset.train, train_images, label, f"images of {name}"),
        test=_appended(dataset.test, test_images, label, f"images of {name}"),
        note=_joined(dataset.note, f"{len(train_images):,} training images of {name}"),
    )


def hold_out(dataset: Dataset, n: int, seed: int) -> Dataset:
    """Cut a `valid` part of `n` images from the training part, classes in proportion.

    Raises:
        Refused: There is a validation part already, or too few images for one.
    """
    total, classes = len(dataset.train), len(dataset.classes)
    if len(dataset.valid):
        raise Refused(
            f"a data set has one validation part, {dataset.name} has "
            f"{len(dataset.valid):,} images in it; leave --valid out"
        )
    if not classes <= n <= total - classes:
        raise Refused(
            f"a validation part needs one image per class and must leave as many, got "
            f"{n:,} of {total:,} training images; choose from {classes:,} to "
            f"{total - classes:,}"
        )
    held = stratified(dataset.train.labels, n, seed)
    return _derived(
        dataset,
        train=dataset.train.choose(np.setdiff1d(np.arange(total), held)),
        valid=dataset.train.choose(held),
        note=_joined(dataset.note, f"{n:,} training images held out for validation"),
    )


def limit(dataset: Dataset, n: int) -> Dataset:
    """At most `n` training images, classes in proportion, said in the note.

    Raises:
        Refused: `n` is smaller than the number of classes.
    """
    kept, said = _limited(dataset.train, n, len(dataset.classes), "training")
    if not said:
        return dataset
    return _derived(dataset, train=kept, note=_joined(dataset.note, said))


def limit_test(dataset: Dataset, n: int) -> Dataset:
    """At most `n` test images, classes in proportion, said in the note.

    Raises:
        Refused: `n` is smaller than the number of classes.
    """
    kept, said = _limited(dataset.test, n, len(dataset.classes), "test")
    if not said:
        return dataset
    return _derived(dataset, test=kept, note=_joined(dataset.note, said))


def _limited(part: Part, n: int, classes: int, what: str) -> tuple[Part, str]:
    """At most `n` images of a part, and what was done in words; "" for nothing.

    Raises:
        Refused: `n` is smaller than the number of classes.
    """
    if n < classes:
        raise Refused(
            f"a limit must leave one {what} image per class, got {n:,} for "
            f"{classes:,} classes; choose {classes:,} or more"
        )
    if n >= len(part):
        return part, ""
    rows = stratified(part.labels, n, LIMIT_SEED)
    return part.choose(rows), f"{n:,} of {len(part):,} {what} images"


def _known(dataset: Dataset, name: str) -> str:
    """The class of that name, however its accents are written.

    Raises:
        Refused: There is none.
    """
    if name in dataset.classes:
        return name
    for known in dataset.classes:
        if normalize("NFC", known) == normalize("NFC", name):
            return known
    near = get_close_matches(name, dataset.classes, 1)
    alike = next((c for c in dataset.classes if c.strip() == name.strip()), "")
    pieces = {c: [p.strip() for p in c.split(",")] for c in dataset.classes if "," in c}
    cut = [c for c, found in pieces.items() if name.strip() in found]
    cure = f"choose from {', '.join(dataset.classes)}"
    if alike or cut:  # an option with commas between cannot name it
        whole = repr(alike or cut[0])
        cure = f"name it by itself as --class {whole} (pretrain: --leave-out-class)"
    elif near:
        cure = f"did you mean {near[0]}?"
    raise Refused(f"a class must be one of {dataset.name}'s, got {name}; {cure}")


def _relabel(
    dataset: Dataset, classes: tuple[str, ...], table: NDArray[np.int64], said: str
) -> Dataset:
    """New labels by `table` (old label -> new one, or -1 to leave the image out)."""

    def moved(part: Part) -> Part:
        labels = table[part.labels]
        kept = part.choose(np.flatnonzero(labels >= 0))
        return replace(kept, labels=labels[labels >= 0])

    return _derived(
        dataset,
        classes=classes,
        train=moved(dataset.train),
        valid=moved(dataset.valid),
        test=moved(dataset.test),
        note=_joined(dataset.note, said),
    )


def _appended(part: Part, images: NDArray[np.uint8], label: int, what: str) -> Part:
    check_images(images, what)
    if images.shape[1:] != part.image:
        raise Refused(
            f"{what} must have the data set's shape {part.image}, got "
            f"{images.shape[1:]}; resize them first"
        )
    labels = np.r_[part.labels, np.full(len(images), label)]
    return whole(np.concatenate([part.take(slice(None)), images]), labels)


def _derived(
    dataset: Dataset,
    *,
    note: str,
    classes: tuple[str, ...] | None = None,
    train: Part | None = None,
    valid: Part | None = None,
    test: Part | None = None,
) -> Dataset:
    """`dataset` with other parts or classes, and the fingerprint of these."""
    # An empty part is false, so each is compared with None.
    parts = (
        dataset.train if train is None else train,
        dataset.valid if valid is None else valid,
        dataset.test if test is None else test,
    )
    names = classes or dataset.classes
    return replace(
        dataset,
        classes=names,
        train=parts[0],
        valid=parts[1],
        test=parts[2],
        fingerprint=fingerprint(names, parts),
        note=note,
    )


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
