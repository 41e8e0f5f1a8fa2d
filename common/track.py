"""The only door to a framework: what a track is, and how to get one.

A track is a module with the functions of `Track`; what it may lack is in
`common.extras`.  It is found by the name that its package gives it in the entry-point
group `twintrack.tracks`, or by its dotted module.  These two pages are the interface;
the tracks' own functions carry no second description.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import import_module, metadata
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from common.data import Dataset
from common.errors import Refused
from common.evaluate import Judge
from common.garbage import uncollected
from common.plan import Chunk, Plan
from common.recipe import Recipe
from common.spec import Spec
from common.weights import Weights

GROUP = "twintrack.tracks"  # of entry points, name = module
# What commands compare unless told: the two frameworks that people choose between.
# Other tracks answer other questions, and must not make every command take longer.
DEFAULT = ("torch", "tensorflow")
Model = Any  # a torch.nn.Module or a keras.Model; nothing here looks inside


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands after an epoch: all that is needed to go on.

    Attributes:
        epoch: Finished epochs.
        step: Finished updates.
        arrays: Weights, optimizer slots, losses and scores so far, by name.
    """

    epoch: int
    step: int
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, about once a second.  Epochs and steps count from 1.

    Attributes:
        epoch: The current one.
        epochs: Of the run.
        step: Updates made.
        steps: Of the run.
        loss: Mean over the updates of this epoch.
        images_per_second: Of training.
        judged: Pictures that were evaluated after this epoch.
        to_judge: Pictures that are; 0 while it trains.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    judged: int = 0
    to_judge: int = 0


@dataclass(frozen=True, slots=True)
class EpochScores:
    """What one epoch gave: on the `valid` split where there is one, else on `test`."""

    epoch: int
    train_loss: float
    accuracy: float | None
    loss: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class History:
    """What happened in training, from the first step of the run on.

    Attributes:
        losses: (steps,), the objective at each step, coupled decay included.
        epochs: Scores after each epoch.
        train_seconds: Time spent in updates, evaluation and the first step left out.
        images_per_second: Training pictures over that time.
        first_step: Seconds from the call to the end of the first update.
        diverged_at: First step (from 1) whose loss is not finite, or none.
    """

    losses: NDArray[np.float64]
    epochs: list[EpochScores] = field(default_factory=list)
    train_seconds: float = 0.0
    images_per_second: float = 0.0
    first_step: float = 0.0
    diverged_at: int | None = None


OnEpoch = Callable[[EpochScores, State], None]
OnProgress = Callable[[Progress], None]


class Trainer(Protocol):
    """One model under one recipe, inside a track."""

    def run(self, chunk: Chunk) -> NDArray[np.float64]:
        """Update on each batch of the chunk; the losses (k,)."""

    def canonical_gradients(self, chunk: Chunk) -> dict[str, NDArray[Any]]:
        """Gradient of the data loss on the first batch, by canonical name."""

    def averaged(self) -> AbstractContextManager[None]:
        """While open, the model holds the averaged weights, if there are any."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights, statistics, optimizer slots: all that training changes."""

    def restore(self, arrays: dict[str, NDArray[Any]], step: int) -> None:
        """Go back to what `arrays` returned after `step` updates."""


class Track(Protocol):
    """What every track module has: enough to train, judge and prove parity."""

    @property
    def Trainer(self) -> Callable[[Model, Spec, Recipe, NDArray[Any]], Trainer]:
        """(model, spec, recipe, learning rate of each update) -> a trainer."""

    def configure(self, *, threads: int, device: str, mode: str) -> None:
        """Threads, visible devices ("cpu", "gpu") and determinism.  Call it first."""

    def build(
        self,
        spec: Spec,
        *,
        weights: Weights | None = None,
        seed: int = 0,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> Model:
        """The network `spec` describes, with `weights` or the spec's draw for `seed`.

        A dtype of "bfloat16" computes in it and keeps weights and sums in float32.
        """

    def replace_head(self, model: Model, classes: int, *, seed: int = 0) -> Model:
        """A network like `model`, its last layer anew: the others keep their weights.

        How many features the last layer is given is counted, for every kind of spec
        that `common.heads` knows; an auxiliary head's last layer is replaced too.
        """

    def train(
        self,
        model: Model,
        data: Dataset,
        recipe: Recipe,
        plan: Plan,
        *,
        state: State | None = None,
        on_epoch: OnEpoch | None = None,
        on_progress: OnProgress | None = None,
    ) -> History:
        """Train in place; at the end the model holds the weights to be judged."""

    def predictor(self, model: Model) -> Judge:
        """A function from uint8 images (n, h, w, c) to logits (n, classes)."""

    def estimate_statistics(
        self, model: Model, batches: Iterable[NDArray[np.uint8]]
    ) -> None:
        """Set batch norm's running statistics to the mean of each batch's own.

        After a short training the running ones still remember the start.

        Args:
            model: From `build`.
            batches: uint8 images (n, h, w, c) each.
        """

    def get_weights(self, model: Model) -> Weights:
        """Canonical weights, running statistics included, copied."""

    def set_weights(self, model: Model, weights: Weights) -> None:
        """Copy `weights` in: all of the model's, and no others.

        Raises:
            ValueError: A name or a shape does not match.
        """

    def save(self, model: Model, path: Path) -> None:
        """Write weights and spec to a safetensors file that either track opens."""

    def load(self, path: Path, *, dtype: str = "float32", device: str = "cpu") -> Model:
        """The model that `save` wrote, here or in another track.

        Raises:
            ValueError: The file is damaged or names another kind of model.
        """

    def describe(self) -> dict[str, str]:
        """Framework, versions, devices and threads in use."""

    def peak_gpu_memory(self) -> int | None:
        """Most bytes of GPU memory held at once so far, or none without a GPU."""


# --- finding one -----------------------------------------------------------------


@cache
def tracks() -> dict[str, str]:
    """Every installed track, name -> dotted module: the default ones, then the others.

    Raises:
        Refused: The installation is older than the code, or two packages give one name.
    """
    found: dict[str, str] = {}
    for entry in metadata.entry_points(group=GROUP):
        if found.setdefault(entry.name, entry.value) != entry.value:
            raise Refused(
                f"a track's name must stand for one module, {entry.name} is both "
                f"{found[entry.name]} and {entry.value}; uninstall one of them"
            )
    if missing := [name for name in DEFAULT if name not in found]:
        raise Refused(
            f"an installed twintrack must name its tracks, {' and '.join(missing)} are "
            "missing: it is not installed, or was before the code changed; run "
            "pip install -e . again"
        )
    return {
        name: found[name] for name in (*DEFAULT, *sorted(found.keys() - {*DEFAULT}))
    }


def module_of(name: str) -> str:
    """The dotted module of the track called `name`, which may be the module itself.

    Raises:
        Refused: There is no such name.
    """
    if "." in name:
        return name
    known = tracks()
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.3) or list(known)
        raise Refused(
            f"a track must exist, got {name!r}; choose from {', '.join(known)} "
            f"(nearest: {near[0]})"
        )
    return known[name]


def check_track(name: str) -> None:
    """Refuse the name of a track that does not exist; imports nothing.

    A module is looked for in the current folder too, as for a system's.
    """
    module = module_of(name)
    here = str(Path.cwd())
    if "." in name and here not in sys.path:
        sys.path.append(here)  # a console script does not look where it is run
    if located(module) is None:
        raise Refused(
            f"a track's module must be importable, {module} is not; "
            "run where it can be found or install it"
        )


def load_track(name: str) -> Track:
    """Import the track called `name` ("torch", "tensorflow", or a module's path).

    Raises:
        Refused: There is no such track, or its framework is not installed.
    """
    check_track(name)
    return cast(Track, imported(name, module_of(name)))


def located(module: str) -> ModuleSpec | None:
    """Where a dotted module is, or none; unlike `find_spec`, imports no parent."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except ValueError:  # an empty name; a main program in sys.modules has no spec
        return None
    for i in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None or not rest[i]:
            return None
        name = ".".join([top, *rest[: i + 1]])
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec


def imported(name: str, module: str) -> ModuleType:
    """Import a module of the track called `name`.

    Raises:
        Refused: It needs what is not installed.
    """
    try:
        with uncollected():
            return import_module(module)
    except ModuleNotFoundError as error:
        raise Refused(
            f"the track {name} needs {error.name}, which is not installed; "
            f"install {error.name}"
        ) from error
