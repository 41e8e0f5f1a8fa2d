"""A library's file of Inception v3, read: whatever its tensors are called there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.errors import Refused
from common.inception import FEATURES, SYMMETRIC, InceptionSpec
from common.library_files import keras_file, safetensors_file, torch_file
from common.library_files.found import Found
from common.library_files.keras_names import from_keras
from common.library_files.recognise import LIBRARY, STATE, kind_of
from common.library_files.stored import parser
from common.library_files.torch_names import from_torch, state_of
from common.planting import IMAGENET_MEAN, IMAGENET_STD
from common.spec import Scale
from common.weights import Weights

# What a network of each library was shown.  timm's (1.0, models/inception_v3.py) are
# "half" but for gluon_in1k; torchvision's undoes the other inside itself.
PIXELS = {
    "half": SYMMETRIC,
    "imagenet": Scale(divide=255.0, mean=IMAGENET_MEAN, std=IMAGENET_STD),
}
BACKGROUND = 1001  # classes of TensorFlow's 2016 graph: every name is off by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """A network that was in a library's file.

    Attributes:
        library: Whose file it is.
        spec: What the network is.
        weights: Canonical, float32.
        said: What was understood beside that, in lines.
        base: Whether the file has no last layer: logits are the 2,048 features.
    """

    library: str
    spec: InceptionSpec
    weights: Weights
    said: tuple[str, ...]
    base: bool


def read(path: Path, *, pixels: str = "half") -> Understood:
    """The network in a library's file; nothing in the file is run.

    Args:
        path: The file.
        pixels: A key of `PIXELS`: what the network was shown.

    Raises:
        Refused: It is no such file, damaged, or of another network.
    """
    found = located(path)
    rule, cure = RULES[found.library]
    with parser(path, rule, cure):
        weights = {name: row.values(name) for name, row in found.rows.items()}
    base = "fc.kernel" not in weights
    if base:
        weights["fc.kernel"] = np.eye(FEATURES, dtype=np.float32)
        weights["fc.bias"] = np.zeros(FEATURES, np.float32)
    return Understood(
        library=found.library,
        spec=replace(found.spec, scale=PIXELS[pixels]),
        weights=weights,
        said=found.said,
        base=base,
    )


# Library -> what is asked of its file, and what to do about one that is none.
RULES = {
    "torchvision": (
        "a torch file must be a state dict of inception_v3",
        f"write it with {STATE}",
    ),
    "keras": (
        "a Keras file must be one of InceptionV3",
        "use one that Keras's InceptionV3 wrote",
    ),
}


def located(path: Path) -> Found:
    """Where in a file each weight lies.

    Raises:
        Refused: It is no library's file, damaged, or of another network.
    """
    kind = kind_of(path)
    rule, cure = RULES[LIBRARY[kind]]
    try:
        found = _without_background(_located(path, kind))
        _check_size(found, path)
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"{rule}, {path} is not ({error}); {cure}") from error
    return found


def _located(path: Path, kind: str) -> Found:
    if LIBRARY[kind] == "keras":
        found = from_keras(*keras_file.layers(path))
    elif kind == "safetensors":
        tensors, about = safetensors_file.tensors(path)
        if "spec" in about:
            raise Refused(
                f"{path} is twintrack's own file already; name it with --weights"
            )
        found = from_torch(tensors)
    else:
        state, said = state_of(*torch_file.contents(path))
        found = from_torch(state, said)
    return found


def _check_size(found: Found, path: Path) -> None:
    """Refuse tensors that are larger than their file.

    One stored value can be repeated without end, and a declared array takes no place
    until it is written.
    """
    size = path.stat().st_size
    if sum(row.bytes for row in found.rows.values()) > size:
        raise ValueError(f"its tensors are larger than its {size:,} bytes")


def _without_background(found: Found) -> Found:
    """The same without the class that TensorFlow's networks have before the first."""
    if found.spec.classes != BACKGROUND:
        return found
    rows = {
        name: row.without_first()
        if ".".join(name.split(".")[-2:]) in HEAD_LEAVES
        else row
        for name, row in found.rows.items()
    }
    said = (
        "1,001 classes: the first, a background that no name is for, is left out (as "
        "timm does)"
    )
    spec = replace(found.spec, classes=BACKGROUND - 1)
    return replace(found, spec=spec, rows=rows, said=(*found.said, said))


HEAD_LEAVES = ("fc.kernel", "fc.bias")
