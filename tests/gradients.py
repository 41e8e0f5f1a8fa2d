"""What a child of test_inception measures: a gigabyte that ends with it."""

import sys
from pathlib import Path

import numpy as np

from common.inception import InceptionSpec
from common.plan import Chunk
from common.quiet import UNASKED
from common.recipe import Recipe
from common.spec import Norm
from common.track import load_track
from common.weights import random_weights, write

SCALED = Norm(decay=0.9, eps=1e-3, variance="unbiased", scale=True)


def measure(values, tell):
    """The gradient of both heads' losses, at the size that the auxiliary one needs."""
    track = load_track(values["track"])
    track.configure(threads=1, device="cpu", mode="strict")
    spec = InceptionSpec(
        image=(299, 299, 3), classes=10, aux=True, dropout=0.5, norm=SCALED
    )
    rng = np.random.default_rng(0)
    chunk = Chunk(
        rng.integers(0, 256, (1, 2, *spec.image), np.uint8),
        np.array([[3, 8]], np.int32),
        {"dropout": rng.random((1, 2, 2048)) < 0.5},
    )
    weights = random_weights(spec.weights, 0)
    model = track.build(spec, weights=weights, dtype="float64")
    recipe = Recipe(lr=0.1, batch=2, epochs=1, auxiliary=0.4)
    trainer = track.Trainer(model, spec, recipe, np.array([0.1]))
    write(Path(values["path"]), trainer.canonical_gradients(chunk), {})
    return {"unasked": sorted(set(UNASKED) & sys.modules.keys())}
