"""The libraries' own Inception v3 and ours, from the same weights.

    twintrack official
    twintrack official --weights FILE --size 75

Weights (random ones with statistics of real size, or a file's) are written in both
libraries' formats, their own builders load them, and everybody is shown the same
pictures.  What differs then is the network itself.
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
from benchmarks.task import Tell, Values, in_child
from benchmarks.weights import TRACK
from common import checkpoint, files
from common.checkpoint import About
from common.data import pictures
from common.errors import Refused
from common.inception import UNSCALED, InceptionSpec, folded
from common.track import load_track
from common.weights import Weights, random_weights, read, write

PICTURES = 8
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
    spec, given = subject(weights, size, seed)
    with tempfile.TemporaryDirectory(prefix="twintrack-") as name:
        folder = Path(name)
        about = About(source="random" if weights is None else str(weights))
        checkpoint.save(folder / "ours", spec, given, about)
        shown = pictures((size, size, 3), 10, 16, seed).train.take(slice(0, PICTURES))
        write(folder / "images", {"images": shown}, {})
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
    found = {"size": size, "n": PICTURES, "weights": about.source, "pairs": pairs}
    show(found)
    if json:
        files.write_atomic(json, files.readable(found))
    return found


def subject(
    path: Path | None, size: int, seed: int
) -> tuple[InceptionSpec, dict[str, NDArray[Any]]]:
    """The network as both libraries can have it: no factors, no auxiliary head."""
    spec, weights = InceptionSpec(image=(299, 299, 3), classes=1000), None
    if path:
        spec, weights, _ = checkpoint.load(path)
        if not isinstance(spec, InceptionSpec):
            raise Refused(f"weights must be Inception v3's, got {path}; name others")
    try:
        bare = replace(spec, image=(size, size, 3), aux=False, norm=UNSCALED)
    except ValueError as error:
        raise Refused(str(error)) from error
    drawn = folded(weights) if weights else random_weights(bare.weights, seed)
    return bare, {name: drawn[name].astype(np.float32) for name in bare.weights}


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
    spec, weights, _ = checkpoint.load(folder / "ours")
    images = read(folder / "images")[0]["images"]
    native = folder / f"{library}.h5"
    track.write_native(native, spec, weights)
    border = {"torchvision": "include", "keras": "exclude"}[library]
    theirs = track.official(native, values["size"])(images)
    logits = {f"official {library}, {border}": theirs}
    for kind in BORDERS:
        model = track.build(replace(spec, border=kind), weights=weights)
        name = f"ours in {values['track']}, {kind}"
        logits[name] = track.predictor(model)(images)
    write(folder / f"{values['track']}-logits", logits, {})


def show(found: dict[str, Any]) -> None:
    """Print the pairs, the farthest first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found['size']} px, {found['n']} pictures, float32 logits")
    table.add_column("from the same weights")
    table.add_column("")
    table.add_column("difference", justify="right")
    for row in sorted(found["pairs"], key=lambda row: -row["difference"]):
        table.add_row(row["a"], row["b"], f"{row['difference']:.1e}")
    Console().print(table)


if __name__ == "__main__":
    from benchmarks.cli import script

    script(official)
