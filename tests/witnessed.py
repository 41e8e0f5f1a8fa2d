"""How far both tracks and the plain graph are from the witness, system by system.

    python -m tests.witnessed > docs/results/witness.json

Logits of three seeded pictures at random weights, as `twintrack parity` compares them,
every system at its own size.  Each track computes in a process of its own; the witness
in this one, which imports no framework.
"""

import dataclasses
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.engine.call import call
from benchmarks.measures.ladder import LOOKED_AT
from benchmarks.measures.rungs import relative
from common import codec, record, witness
from common.data import pictures
from common.spec import parameters
from common.systems import SYSTEMS, resolve
from common.track import DEFAULT, load_track
from common.weights import random_weights, read, write
from common.witness.judge import NEEDS, versions

COLUMNS = ("System", "pixels", "weights", *DEFAULT, "plain, float32", "load", "run")
# Larger than its ladder's pictures: what its users show it.
FULL = (299, 299, 3)


def networks():
    """What is written of each -> its spec."""
    for name in SYSTEMS:
        system = SYSTEMS[name]
        h, w, c = system.image
        images = [system.ladder.image or (h + 1, w, c)]
        images += [FULL] if name == "inception-v3" else []
        for image in images:
            found = resolve(name, image=image, classes=10).spec
            yield f"`{name}`", found
            if hasattr(found, "border") and image != FULL:
                other = dataclasses.replace(found, border="include")
                yield f"`{name}`, its pools count their border", other


def shown(network):
    """The pictures of the comparison."""
    return pictures(network.image, 2, 4 * LOOKED_AT, 0).test.take(slice(LOOKED_AT))


def ask(values, tell):
    """In a child: a track's float64 logits."""
    track = load_track(values["track"])
    track.configure(threads=1, device="cpu", mode="strict")
    network = codec.loads(values["spec"])
    weights = random_weights(network.weights, 0)
    model = track.build(network, weights=weights, dtype="float64")
    write(values["file"], {"logits": track.predictor(model)(shown(network))}, {})
    return {"versions": track.describe()}


def main():
    """Print the table as a file of results."""
    rows, known = [], versions()
    with tempfile.TemporaryDirectory() as folder:
        for name, network in networks():
            answers = {}
            for track in DEFAULT:
                file = str(Path(folder) / track)
                asked = {"track": track, "spec": codec.dumps(network), "file": file}
                call("tests.witnessed:ask", asked, threads=1, device="cpu")
                answers[track] = read(file)[0]["logits"]
            weights, images = random_weights(network.weights, 0), shown(network)
            start = time.perf_counter()
            predict = witness.predictor(network, weights)
            loaded = time.perf_counter()
            third = predict(images)
            ran = time.perf_counter()
            predict = witness.predictor(network, weights, form="plain")
            plain = predict(images).astype(np.float64)
            rows.append(
                [
                    name,
                    f"{network.image[0]} x {network.image[1]}",
                    f"{parameters(network):,}",
                    *(f"{relative(answers[track], third):.1e}" for track in DEFAULT),
                    f"{relative(plain, third):.1e}",
                    f"{loaded - start:.2f} s",
                    f"{ran - loaded:.2f} s",
                ]
            )
            print(*rows[-1], file=sys.stderr, flush=True)
            del predict
            gc.collect()
    result = {
        "kind": "parity",
        "origin": "tests/witnessed.py",
        "command": "python -m tests.witnessed",
        "environment": record.environment(known),
        "tables": [{"title": "", "columns": COLUMNS, "rows": rows}],
    }
    assert set(known) == set(NEEDS)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
