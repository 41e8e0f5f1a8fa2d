"""The libraries' own Inception v3 and ours, from the same weights.

    twintrack official
    twintrack official --weights FILE --size 75

Weights (random ones with statistics of real size, or a file's) are written in both
libraries' formats, their own builders load them, and everybody is shown the same two
photos, those that scikit-learn brings along.  What differs then is the network itself.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import options
from benchmarks.compare import check_output, check_positive
from benchmarks.engine.call import Tell, Values, in_child
from benchmarks.weights import TRACK
from common import files, model_file
from common.errors import Refused
from common.inception import UNSCALED, InceptionSpec, folded
from common.model_file import About
from common.photos import decode as images
from common.photos.decode import Framing
from common.track import load_track
from common.weights import Weights, random_weights, read, write

BORDERS = ("include", "exclude")


def official(
    *,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 299,
    weights: Annotated[
        Path | None, typer.Option(help="A file of Inception v3; random unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random weights and pictures.")] = 0,
    threads: Annotated[int, typer.Option(help="Of each framework.")] = 1,
    json: options.Json = None,
) -> dict[str, Any]:
    """Compare torchvision's and Keras's own Inception v3 with ours.

    Returns:
        What --json writes: {"size", "n", "pairs": [{"a", "b", "difference"}]}: the
        norm of the difference of the logits over the norm of the second's.

    Raises:
        Refused: The size is too small, or the file is not Inception v3's.
    """
    check_positive(size=size, threads=threads)
    check_output(json)
    with tempfile.TemporaryDirectory(prefix="twintrack-") as name:
        folder = Path(name)
        source = subject(folder / "ours", weights, size, seed=seed)
        write(folder / "images", {"images": photos(size)}, {})
        logits: Weights = {}
        for library, track in TRACK.items():
            values = {"track": track, "library": library, "size": size, "folder": name}
            values["threads"] = threads
            in_child("benchmarks.official:ask", values, threads=threads, device="cpu")
            logits |= read(folder / f"{track}-logits")[0]
    pairs = [
        {"a": a, "b": b, "difference": far(logits[a], logits[b])}
        for a, b in combinations(sorted(logits), 2)
        if compared(a, b)
    ]
    n = len(next(iter(logits.values())))
    found = {"size": size, "n": n, "weights": source, "pairs": pairs}
    show(found)
    if json:
        files.write_atomic(json, files.readable(found))
    return found


def photos(size: int) -> NDArray[np.uint8]:
    """The two photos that scikit-learn brings along, (2, size, size, 3)."""
    from sklearn.datasets import load_sample_images

    framing = Framing(size=(size, size), how="centre", filter="bilinear")
    paths = load_sample_images().filenames
    return np.stack([images.read(Path(path), framing).pixels for path in paths])


def subject(file: Path, weights: Path | None, size: int, *, seed: int = 0) -> str:
    """Write the network as both libraries can have it; where its weights are from.

    It has no factors and no auxiliary head.

    Raises:
        Refused: The size is too small, or the weights are not Inception v3's.
    """
    spec, given = InceptionSpec(image=(299, 299, 3), classes=1000), None
    if weights:
        spec, given, _ = model_file.load(weights)
        if not isinstance(spec, InceptionSpec):
            raise Refused(f"weights must be Inception v3's, got {weights}; name others")
    try:
        bare = replace(spec, image=(size, size, 3), aux=False, norm=UNSCALED)
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


def ask(values: Values, tell: Tell) -> None:
    """In a child: logits of the official network and of ours with either border."""
    track = load_track(values["track"])
    track.configure(threads=values["threads"], device="cpu", mode="aligned")
    folder, library = Path(values["folder"]), values["library"]
    spec, weights, _ = model_file.load(folder / "ours")
    shown = read(folder / "images")[0]["images"]
    native = folder / f"{library}.h5"
    track.write_native(native, spec, weights)
    border = {"torchvision": "include", "keras": "exclude"}[library]
    theirs = track.official(native, values["size"])(shown)
    logits = {f"official {library}, {border}": theirs}
    for kind in BORDERS:
        model = track.build(replace(spec, border=kind), weights=weights)
        name = f"ours in {values['track']}, {kind}"
        logits[name] = track.predictor(model)(shown)
    write(folder / f"{values['track']}-logits", logits, {})


def show(found: dict[str, Any]) -> None:
    """Print the pairs, the farthest first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found['size']} px, {found['n']} photos, float32 logits")
    table.add_column("from the same weights")
    table.add_column("")
    table.add_column("difference", justify="right")
    for row in sorted(found["pairs"], key=lambda row: -row["difference"]):
        table.add_row(row["a"], row["b"], f"{row['difference']:.1e}")
    Console().print(table)


if __name__ == "__main__":
    from benchmarks.cli import script

    script(official)
