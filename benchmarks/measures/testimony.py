"""What the witness measures for `twintrack parity`, in a process without a framework.

Its logits are of the same random weights and pictures as both tracks' (the stage
"functions" of `benchmarks.measures.ladder`), and its graph is written from the spec in
which no fault is planted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.engine.process import Tell
from benchmarks.measures.ladder import LOOKED_AT, Climb, dataset
from common import codec, systems, witness
from common.weights import Weights, random_weights, read, write

# No track can be called so: names have no space.
NAME = "the witness"
STAGE = "functions"


def climb_of(sound: Climb, folder: Path) -> Climb:
    """The witness's climb, for the spec and pictures of a track without a fault."""
    return replace(sound, track=NAME, folder=str(folder / NAME))


def testify(values: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """In a child: the logits of `Climb(**values)`, of both forms of the graph.

    Writes "functions" in its folder: "logits" in float64 by the lowered graph, "plain"
    in float32 by the one that users get.

    Returns:
        Nothing: what was found is in the file.
    """
    asked = Climb(**values)
    if asked.module:
        systems.find(asked.module)
    spec, recipe = codec.loads(asked.spec), codec.loads(asked.recipe)
    data = dataset(asked, spec, recipe)
    images = data.test.take(slice(0, LOOKED_AT))
    weights = random_weights(spec.weights, asked.seed)
    found = {
        "logits": witness.predictor(spec, weights, threads=asked.threads)(images),
        "plain": witness.predictor(spec, weights, form="plain", threads=asked.threads)(
            images
        ),
    }
    folder = Path(asked.folder)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / STAGE, found, {})
    return {}


def read_answers(witness: Climb) -> Weights:
    """What a child wrote for `witness`."""
    return read(Path(witness.folder) / STAGE)[0]
