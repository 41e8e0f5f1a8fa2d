"""The libraries' own Inception v3 and ours, from the same weights.

    twintrack official
    twintrack official --weights FILE --size 75

Weights (random ones with statistics of real size, or a file's) are written in both
libraries' formats, their own builders load them, and everybody is shown the same two
photos, those that scikit-learn brings along.  What differs then is the network itself.
"""

from __future__ import annotations

import tempfile
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Unpack

from benchmarks import options, outcome
from benchmarks.engine import machine
from benchmarks.engine.call import call
from benchmarks.measures.official_networks import compared, far, photos, subject
from benchmarks.request import check_positive, check_seed, path_of, side_of
from common.files import pack, write_atomic
from common.weights import Weights, read

# Whose network it is -> the track that has it.
TRACK = {"torchvision": "torch", "keras": "tensorflow"}
FULL_SIZE = 299  # pixels a side, unless --size


@options.command
def official(
    *,
    size: options.FullSize = None,
    weights: options.RandomOrWeights = None,
    seed: options.Seed = 0,
    threads: Annotated[int, options.option(int, "Of each framework.")] = 1,
    **rest: Unpack[options.Told],
) -> dict[str, Any]:
    """Compare torchvision's and Keras's own Inception v3 with ours.

    Returns:
        What --json writes: {"size", "n", "pairs": [{"a", "b", "difference"}]}: the
        norm of the difference of the logits over the norm of the second's.

    Raises:
        Refused: The size is too small, or the file is not Inception v3's.
    """
    out = options.filled(options.Told, rest)
    check_positive(threads=threads)
    machine.check_threads(threads)
    check_seed(seed)
    side = side_of(size) or FULL_SIZE
    outcome.check_told(out)
    with tempfile.TemporaryDirectory(prefix="twintrack-") as name:
        folder = Path(name)
        source = subject(folder / "ours", path_of(weights), side, seed=seed)
        write_atomic(folder / "images", pack({"images": photos(side)}))
        logits: Weights = {}
        for library, track in TRACK.items():
            values = {"track": track, "library": library, "size": side, "folder": name}
            values["threads"] = threads
            task = "benchmarks.measures.official_networks:ask"
            call(task, values, threads=threads, device="cpu")
            logits |= read(folder / f"{track}-logits")[0]
    pairs = [
        {"a": a, "b": b, "difference": far(logits[a], logits[b])}
        for a, b in combinations(sorted(logits), 2)
        if compared(a, b)
    ]
    n = len(next(iter(logits.values())))
    found = {"size": side, "n": n, "weights": source, "pairs": pairs}
    subject_of = f"inception-v3 at {side} px"
    outcome.told("official", found, out, subject=subject_of, tracks=[*TRACK.values()])
    return found


if __name__ == "__main__":
    from benchmarks.shell import script

    script(official)
