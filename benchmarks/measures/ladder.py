"""What one track measures for `twintrack parity`, stage by stage, in its own process.

    python -m benchmarks.measures.ladder JOB.json TRACK

Each stage writes one safetensors file and then prints its name on a line, so that
the parent can compare the two tracks and stop at the first rung that fails.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.process import end_with
from common import codec, systems
from common.data import DataRequest, Dataset, open_data, pictures
from common.evaluate import evaluate, predict_all
from common.plan import Chunk, Plan
from common.recipe import Recipe
from common.spec import Spec
from common.track import Model, Track, Trainer, load_track
from common.weights import Weights, draw, random_weights, write

STAGES = ("build", "functions", "training", "float32")
# Steps after which every tensor is kept for comparison.
KEPT = (1, 2, 3, 5, 10, 20, 50, 100, 150, 200)
# Pictures whose logits are compared.  Odd: a square batch hides transposes.
LOOKED_AT = 3
# A tensor is nudged by this much of its norm to see whether the logits move.
NUDGE = 0.1
# Steps of the float32 run; its first few are judged, the rest shown.
FLOAT32_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """One system to be measured.

    Attributes:
        spec, recipe: JSON of each, as `common.codec` writes it.
        module: The module that registers a user's own system, or none.
        data: A data set, or none for seeded pictures.
        steps: Training steps.
        seed: Where weights, pictures and the plan come from.
        threads: Of this process.
        folder: Where the stages are written.
        tensors: Last step after which every tensor is kept, and evaluation compared.
        tolerance: Of float64.
        first: Of the first float32 losses.
        judged: How many of those.
        nudged: One tensor in so many is moved to see whether the logits do; 1 for all.
    """

    spec: str
    recipe: str
    module: str | None
    data: dict[str, Any] | None
    steps: int
    seed: int
    threads: int
    folder: str
    tensors: int
    tolerance: float
    first: float
    judged: int
    nudged: int = 1


def main(job: Path, track: str) -> None:
    """Measure all stages, telling the parent of each."""
    end_with(os.getppid())
    climb = Climb(**json.loads(job.read_text()))
    if climb.module:
        systems.find(climb.module)
    module = load_track(track)
    module.configure(threads=climb.threads, device="cpu", mode="strict")
    for stage in measure(module, climb, Path(climb.folder) / track):
        print(stage, flush=True)


def measure(track: Track, climb: Climb, folder: Path) -> Iterator[str]:
    """Measure stage after stage, each written to `folder` before it is named."""
    folder.mkdir(parents=True, exist_ok=True)
    spec, recipe = codec.loads(climb.spec), codec.loads(climb.recipe)
    data = dataset(climb, spec, recipe)
    recipe = compressed(recipe, len(data.train), climb.steps)

    # Nothing is held from stage to stage: Inception's tensors are 190 MB in float64.
    drawn = track.get_weights(track.build(spec, seed=climb.seed, dtype="float64"))
    write(folder / "build", drawn, {})
    del drawn
    yield "build"

    found = functions(
        track, spec, recipe, data, random_weights(spec.weights, climb.seed), climb
    )
    write(folder / "functions", found, {})
    del found
    yield "functions"

    write(folder / "training", training(track, spec, recipe, data, climb, folder), {})
    yield "training"

    write(folder / "float32", float32(track, spec, recipe, data, climb), {})
    yield "float32"


def dataset(climb: Climb, spec: Spec, recipe: Recipe) -> Dataset:
    """The data asked for, or seeded pictures: some epochs, with a short last batch."""
    if climb.data:
        return open_data(DataRequest(**climb.data))
    n = recipe.batch * max(2, climb.steps // 8) + recipe.batch // 2
    return pictures(spec.image, spec.classes, n, climb.seed)


def compressed(recipe: Recipe, n: int, steps: int) -> Recipe:
    """The recipe with its schedule made to change inside `steps` steps."""
    epochs = -(-steps // recipe.steps_per_epoch(n))
    schedule = recipe.schedule.compressed(steps)
    return replace(recipe, schedule=schedule, epochs=epochs)


def chunks(
    spec: Spec, recipe: Recipe, data: Dataset, climb: Climb, dtype: str
) -> Iterator[Chunk]:
    """Batches one by one, as many as there are steps."""
    plan = Plan(seed=climb.seed, dtype=dtype)
    left = climb.steps
    for epoch in range(recipe.epochs):
        for chunk in plan.chunks(data.train, spec, recipe, epoch):
            for i in range(min(left, len(chunk.labels))):
                yield chunk[i : i + 1]
            left -= min(left, len(chunk.labels))


def trainer_of(
    track: Track, model: Model, spec: Spec, recipe: Recipe, climb: Climb
) -> Trainer:
    """A trainer whose schedule fits the climb's number of steps."""
    rates = recipe.lr * recipe.schedule.factors(climb.steps, climb.steps)
    return track.Trainer(model, spec, recipe, rates)


def kept_steps(climb: Climb) -> list[int]:
    """The steps after which every tensor is compared."""
    return sorted({step for step in KEPT if step < climb.tensors} | {climb.tensors})


def functions(
    track: Track,
    spec: Spec,
    recipe: Recipe,
    data: Dataset,
    weights: Weights,
    climb: Climb,
) -> dict[str, np.ndarray]:
    """Logits, what each tensor moves, and gradients, all at random weights."""
    found: dict[str, np.ndarray] = {}
    model = track.build(spec, weights=weights, dtype="float64")
    predict = track.predictor(model)
    images = data.test.take(slice(0, LOOKED_AT))
    found["logits"] = logits = predict(images)
    for name in list(weights)[:: climb.nudged]:
        value = weights[name]
        nudge = NUDGE * np.linalg.norm(value) / value.size**0.5
        track.set_weights(model, weights | {name: value + nudge})
        moved = np.linalg.norm(predict(images) - logits) / np.linalg.norm(logits)
        found[f"moves/{name}"] = np.array(moved)
    track.set_weights(model, weights)
    trainer = trainer_of(track, model, spec, recipe, climb)
    chunk = next(chunks(spec, recipe, data, climb, "float64"))
    for name, value in trainer.canonical_gradients(chunk).items():
        found[f"gradients/{name}"] = value
    return found


def training(
    track: Track,
    spec: Spec,
    recipe: Recipe,
    data: Dataset,
    climb: Climb,
    folder: Path,
) -> dict[str, np.ndarray]:
    """Losses of every step; tensors after some; what evaluation says at the end."""
    model = track.build(spec, weights=draw(spec.weights, climb.seed), dtype="float64")
    trainer = trainer_of(track, model, spec, recipe, climb)
    losses: list[float] = []
    judged: dict[str, np.ndarray] = {}
    for step, chunk in enumerate(chunks(spec, recipe, data, climb, "float64"), 1):
        losses.append(float(trainer.run(chunk)[0]))
        if step in kept_steps(climb):
            kept = {
                name: value
                for name, value in trainer.arrays().items()
                if name.startswith(("weights/", "slots/average/"))
            }
            write(folder / f"step-{step}", kept, {})
        if step == climb.tensors:
            judged = evaluation(track, model, trainer, data)
    return {"losses": np.array(losses)} | judged


def evaluation(
    track: Track, model: Model, trainer: Trainer, data: Dataset
) -> dict[str, np.ndarray]:
    """What the test pictures' logits and scores are now."""
    with trainer.averaged():
        predict = track.predictor(model)
        logits = predict_all(predict, data.test)
        scores = evaluate(predict, data.test)
    return {
        "logits": logits,
        "accuracy": np.array(scores.accuracy),
        "loss": np.array(scores.loss),
    }


def float32(
    track: Track, spec: Spec, recipe: Recipe, data: Dataset, climb: Climb
) -> dict[str, np.ndarray]:
    """Losses in float32, and those of the same start moved by one ulp."""
    few = replace_steps(climb, min(FLOAT32_STEPS, climb.steps))
    start = {
        name: value.astype(np.float32)
        for name, value in draw(spec.weights, climb.seed).items()
    }
    moved = {name: np.nextafter(v, np.float32(np.inf)) for name, v in start.items()}
    found = {}
    for name, weights in (("losses", start), ("control", moved)):
        model = track.build(spec, weights=weights, dtype="float32")
        trainer = trainer_of(track, model, spec, recipe, climb)
        parts = chunks(spec, recipe, data, few, "float32")
        found[name] = np.concatenate([trainer.run(chunk) for chunk in parts])
    return found


def replace_steps(climb: Climb, steps: int) -> Climb:
    """The same climb with another number of steps."""
    return Climb(**asdict(climb) | {"steps": steps})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
