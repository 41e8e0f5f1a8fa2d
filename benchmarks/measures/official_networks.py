"""The libraries' own Inception v3 and ours, shown the same photos."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.call import call
from benchmarks.engine.process import Tell, Values
from common import model_file
from common.errors import Refused
from common.extras import Official, load_extra
from common.files import unpack
from common.inception import SYMMETRIC, UNSCALED, InceptionSpec, folded
from common.model_file import About
from common.photos import decode
from common.photos.decode import Framing
from common.track import load_track
from common.weights import random_weights, write

BORDERS = ("include", "exclude")


def photos(size: int) -> NDArray[np.uint8]:
    """The two photos that scikit-learn brings along, (2, size, size, 3)."""
    from sklearn.datasets import load_sample_images

    framing = Framing(size=(size, size), how="centre", filter="bilinear")
    paths = load_sample_images().filenames
    return np.stack([decode.read(Path(path), framing).pixels for path in paths])


def subject(file: Path, weights: Path | None, size: int, *, seed: int = 0) -> str:
    """Write the network as both libraries can have it; where its weights are from.

    It has no factors and no auxiliary head, and pixels go from -1 to 1.

    Raises:
        Refused: The size is too small, or the weights are not Inception v3's.
    """
    spec, given = InceptionSpec(image=(299, 299, 3), classes=1000), None
    if weights:
        spec, given, _ = model_file.load(weights)
        if not isinstance(spec, InceptionSpec):
            raise Refused(f"weights must be Inception v3's, got {weights}; name others")
    try:
        bare = replace(
            spec, image=(size, size, 3), aux=False, norm=UNSCALED, scale=SYMMETRIC
        )
    except ValueError as error:
        raise Refused(str(error)) from error
    drawn = folded(given) if given else random_weights(bare.weights, seed)
    about = About(source=str(weights or "random"))
    kept = {name: drawn[name].astype(np.float32) for name in bare.weights}
    model_file.save(file, bare, kept, about)
    return about.source


def far(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The norm of a - b over the norm of b."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def compared(a: str, b: str) -> bool:
    """Official with official, and with whatever has its border."""
    if a.startswith("official") and b.startswith("official"):
        return True
    return a.rpartition(" ")[2] == b.rpartition(" ")[2]


def native_name(track: str) -> str:
    """What a track's own file is called: by its suffix the library knows it."""
    return {"torch": "torch.pth"}.get(track, f"{track}.h5")


def ask(values: Values, tell: Tell) -> None:
    """In a child: logits of the official network and of ours with either border."""
    track = load_track(values["track"])
    track.configure(threads=values["threads"], device="cpu", mode="aligned")
    folder, library = Path(values["folder"]), values["library"]
    spec, weights, _ = model_file.load(folder / "ours")
    shown = unpack((folder / "images").read_bytes())[0]["images"]
    native = folder / native_name(values["track"])
    own = load_extra(values["track"], Official)
    own.write_native(native, spec, weights)
    border = {"torchvision": "include", "keras": "exclude"}[library]
    theirs = own.official(native, values["size"])(shown)
    logits = {f"official {library}, {border}": theirs}
    for kind in BORDERS:
        model = track.build(replace(spec, border=kind), weights=weights)
        name = f"ours in {values['track']}, {kind}"
        logits[name] = track.predictor(model)(shown)
    write(folder / f"{values['track']}-logits", logits, {})


def in_tracks(
    task: str, asked: dict[str, Any], tracks: Sequence[str]
) -> tuple[str, dict[str, Values]]:
    """What a measurement of Inception v3 finds in every track, on the same weights.

    Args:
        task: "module:function" of the child; it is given `asked`, a track and a file.
        asked: Among others the size, the weights, the threads and the device.
        tracks: Whose networks.

    Returns:
        Where the weights are from; track -> what its child returned.
    """
    path = Path(asked["weights"]) if asked["weights"] else None
    with tempfile.TemporaryDirectory(prefix="twintrack-") as folder:
        file = Path(folder) / "ours"
        source = subject(file, path, asked["size"])
        found = {
            track: call(
                task,
                asked | {"track": track, "file": str(file)},
                threads=asked["threads"],
                device=asked["device"],
            )
            for track in tracks
        }
    return source, found
