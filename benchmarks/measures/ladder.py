"""What one track measures for `twintrack parity`, stage by stage, in its own process.

Each stage writes one safetensors file and is told when it has, so that the parent can
judge the two tracks (`benchmarks.measures.rungs`) and stop at the first rung that
fails.  Of a track it needs the core of `common.track.Track`, no extras.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import codec, systems
from common.data import DataRequest, Dataset, open_data, pictures
from common.errors import Refused
from common.evaluate import at_once, judged, score, seen
from common.plan import Chunk, Plan
from common.recipe import Recipe
from common.spec import Spec
from common.start import initial_weights, pictures_needed
from common.track import Model, Track, Trainer, load_track
from common.weights import Weights, random_weights, read, write

START = "start"  # file of the weights of a draw from pictures
STAGES = ("build", "functions", "training", "float32")
# Steps after which every tensor is kept for comparison.
KEPT = (1, 2, 3, 5, 10, 20, 50, 100, 150, 200)
# Pictures whose logits are compared.  Odd: a square batch hides transposes.
LOOKED_AT = 3
# A tensor is nudged by this much of its norm to see whether the logits move.
NUDGE = 0.1
# Steps of the float32 run; its first few are judged, the rest shown.
FLOAT32_STEPS = 20
# Rung -> what a track, or its trainer, must have for it.
TRACK_NEEDS = {
    "draw": ("build", "get_weights"),
    "logits": ("predictor",),
    "moves": ("set_weights",),
    "losses": ("Trainer",),
}
TRAINER_NEEDS = {
    "gradients": ("canonical_gradients",),
    "losses": ("run",),
    "weights": ("arrays",),
    "evaluation": ("averaged",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """One system to be measured in one track.

    Attributes:
        track: Name of the track, or its dotted module.
        spec, recipe: JSON of each, as `common.codec` writes it.
        module: The module that registers a user's own system, or none.
        data: A data set, or none for seeded pictures.
        steps: Training steps.
        seed: Where weights, pictures and the plan come from.
        threads: Of this process.
        folder: Where the stages are written; the track's own.
        tensors: Last step after which every tensor is kept, and evaluation compared.
        tolerance: Of float64.
        first: Of the first float32 losses.
        judged: How many of those.
        nudged: One tensor in so many is moved to see whether the logits do; 1 for all.
    """

    track: str
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


def climb(values: dict[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    """In a child: measure all stages of `Climb(**values)`, telling of each.

    Returns:
        What the track says of itself.

    Raises:
        Refused: The track cannot build the system, or lacks what a rung needs.
    """
    asked = Climb(**values)
    if asked.module:
        systems.find(asked.module)
    track = load_track(asked.track)
    track.configure(threads=asked.threads, device="cpu", mode="strict")
    for stage in measure(track, asked):
        tell("stage", name=stage)
    return {"environment": track.describe()}


def measure(track: Track, climb: Climb) -> Iterator[str]:
    """Measure stage after stage, each written to the folder before it is named.

    Raises:
        Refused: The track lacks what a rung needs.
    """
    demand(climb.track, track, TRACK_NEEDS)
    folder = Path(climb.folder)
    folder.mkdir(parents=True, exist_ok=True)
    spec, recipe = codec.loads(climb.spec), codec.loads(climb.recipe)
    data = dataset(climb, spec, recipe)
    recipe = compressed(recipe, len(data.train), climb.steps)

    # Nothing is held from stage to stage: Inception's tensors are 190 MB in float64.
    # A spec that is drawn from pictures has no draw of its own to be asked for.
    given = from_pictures(spec, data, climb) if pictures_needed(spec) else None
    model = track.build(spec, weights=given, seed=climb.seed, dtype="float64")
    drawn = track.get_weights(model)
    del model
    write(folder / "build", drawn, {})
    del drawn
    yield "build"

    found = functions(
        track, spec, recipe, data, random_weights(spec.weights, climb.seed), climb
    )
    write(folder / "functions", found, {})
    del found
    yield "functions"

    write(folder / "training", training(track, spec, recipe, data, climb), {})
    yield "training"

    write(folder / "float32", float32(track, spec, recipe, data, climb), {})
    yield "float32"


def demand(name: str, holder: object, needs: Mapping[str, Sequence[str]]) -> None:
    """Refuse a track by the first rung that it lacks something for."""
    for rung, wanted in needs.items():
        if absent := [need for need in wanted if not hasattr(holder, need)]:
            where = "Trainer." if needs is TRAINER_NEEDS else ""
            raise Refused(
                f"the rung {rung} needs {where}{absent[0]}, the track {name} has none; "
                "write it as common/track.py says"
            )


def dataset(climb: Climb, spec: Spec, recipe: Recipe) -> Dataset:
    """The data asked for, or seeded pictures: some epochs, with a short last batch."""
    if climb.data:
        return open_data(DataRequest.from_dict(climb.data))
    n = recipe.batch * max(2, climb.steps // 8) + recipe.batch // 2
    return pictures(spec.image, spec.classes, n, climb.seed)


def start(spec: Spec, data: Dataset, climb: Climb) -> Weights:
    """What the climb's training starts from."""
    if pictures_needed(spec):
        return read(Path(climb.folder) / START)[0]
    return initial_weights(spec, climb.seed, data.train)


def from_pictures(spec: Spec, data: Dataset, climb: Climb) -> Weights:
    """The spec's draw from pictures, kept for `start`: it takes as long as some steps.

    It takes more pictures than a few steps do.
    """
    n = pictures_needed(spec)
    if n > len(data.train):
        data = pictures(spec.image, spec.classes, n, climb.seed)
    drawn = initial_weights(spec, climb.seed, data.train)
    write(Path(climb.folder) / START, drawn, {})
    return drawn


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
    trainer = track.Trainer(model, spec, recipe, rates(recipe, climb.steps))
    demand(climb.track, trainer, TRAINER_NEEDS)
    return trainer


def rates(recipe: Recipe, steps: int) -> NDArray[np.float64]:
    """Learning rate of each of the climb's `steps` updates, of a compressed recipe."""
    return recipe.lr * recipe.schedule.factors(steps, steps)


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
) -> dict[str, np.ndarray]:
    """Losses of every step; tensors after some; what evaluation says at the end."""
    model = track.build(spec, weights=start(spec, data, climb), dtype="float64")
    trainer = trainer_of(track, model, spec, recipe, climb)
    losses: list[float] = []
    found: dict[str, np.ndarray] = {}
    for step, chunk in enumerate(chunks(spec, recipe, data, climb, "float64"), 1):
        losses.append(float(trainer.run(chunk)[0]))
        if step in kept_steps(climb):
            kept = {
                name: value
                for name, value in trainer.arrays().items()
                if name.startswith(("weights/", "slots/average/"))
            }
            write(Path(climb.folder) / f"step-{step}", kept, {})
        if step == climb.tensors:
            found = evaluation(track, model, trainer, data, recipe)
    return {"losses": np.array(losses)} | found


def evaluation(
    track: Track, model: Model, trainer: Trainer, data: Dataset, recipe: Recipe
) -> dict[str, np.ndarray]:
    """What the test pictures' logits and scores are now."""
    with trainer.averaged():
        predict = seen(track.predictor(model), recipe.views)
        size = at_once(model.spec.input)
        logits = judged(predict, data.test, recipe.repeats, batch_size=size).logits
        scores = score(logits, data.test.labels)
    return {
        "logits": logits,
        "accuracy": np.array(scores.accuracy),
        "loss": np.array(scores.loss),
    }


def float32(
    track: Track, spec: Spec, recipe: Recipe, data: Dataset, climb: Climb
) -> dict[str, np.ndarray]:
    """Losses in float32, and those of the same start moved by one ulp."""
    few = replace(climb, steps=min(FLOAT32_STEPS, climb.steps))
    begun = {n: v.astype(np.float32) for n, v in start(spec, data, climb).items()}
    model = track.build(spec, weights=begun, dtype="float32")
    trainer = trainer_of(track, model, spec, recipe, climb)
    fresh = trainer.arrays()

    def losses() -> NDArray[Any]:
        parts = chunks(spec, recipe, data, few, "float32")
        return np.concatenate([trainer.run(chunk) for chunk in parts])

    found = {"losses": losses()}
    trainer.restore(fresh | moved_by_an_ulp(fresh), 0)  # another would be traced anew
    return found | {"control": losses()}


def moved_by_an_ulp(fresh: Weights) -> Weights:
    """The weights of a trainer's first arrays, and slow ones that begin as they do."""
    found = {}
    for name, value in fresh.items():
        bare = name.removeprefix("slots/average/").removeprefix("weights/")
        begun = fresh.get(f"weights/{bare}")
        if begun is not None and np.array_equal(value, begun):
            found[name] = np.nextafter(value, np.float32(np.inf))
    return found
