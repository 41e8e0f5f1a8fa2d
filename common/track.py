"""The only door to a framework: what a track is, and how to get one.

A track is a module (`pt_track`, `tf_track`, or another with the same names).  This
page is the interface; the tracks' own functions carry no second description.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from common.data import Dataset
from common.errors import Refused
from common.evaluate import Predict
from common.plan import Chunk, Plan
from common.recipe import Recipe
from common.spec import Spec
from common.weights import Weights

TRACKS = {"torch": "pt_track", "tensorflow": "tf_track"}
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
    """How far a run is, about once a second.  Epochs and steps count from 1."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_second: float


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
    """The functions of a track module."""

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

    def build_native(self, spec: Spec, *, seed: int, device: str = "cpu") -> Model:
        """The same architecture with the framework's own defaults and draws."""

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

    def train_native(
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
        """Train a native model in the framework's own idiom, with its own draws."""

    def predictor(self, model: Model) -> Predict:
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

    def load(self, path: Path, *, dtype: str = "float32") -> Model:
        """The model that `save` wrote.

        Raises:
            ValueError: The file is damaged or names another kind of model.
        """

    def download(self) -> Path:
        """The framework's own ImageNet file of Inception v3, checked by its hash.

        Raises:
            Refused: Without a network; the line says where to put the file by hand.
        """

    def read_native(self, path: Path) -> tuple[Any, Weights]:
        """Spec and canonical weights of the framework's own file of Inception v3.

        Raises:
            Refused: The file is damaged or of another network; nothing in it is run.
        """

    def official(self, path: Path, side: int, *, device: str = "cpu") -> Predict:
        """The framework's own Inception v3 with a native file, called as most call it.

        A function from uint8 images (n, side, side, 3) to float32 logits (n, classes).
        """

    def write_native(self, path: Path, spec: Any, weights: Weights) -> list[str]:
        """Write a file that the framework's own builder loads; what was lost.

        Raises:
            Refused: The disk does not take it.
        """

    def load_dataset(self, name: str, root: Path) -> Any:
        """A public data set, downloaded and checked by the framework, canonical."""

    def describe(self) -> dict[str, str]:
        """Framework, versions, devices and threads in use."""

    def peak_gpu_memory(self) -> int | None:
        """Most bytes of GPU memory held at once so far, or none without a GPU."""


def load_track(name: str) -> Track:
    """Import the track called `name` ("torch", "tensorflow", or a module's path).

    Raises:
        Refused: There is no such track.
    """
    check_track(name)
    return cast(Track, import_module(TRACKS.get(name, name)))


def check_track(name: str) -> None:
    """Refuse the name of a track that does not exist; imports nothing."""
    if name not in TRACKS and "." not in name:
        near = get_close_matches(name, TRACKS, n=1, cutoff=0.3) or list(TRACKS)
        raise Refused(
            f"a track must exist, got {name!r}; choose from {', '.join(TRACKS)} "
            f"(nearest: {near[0]})"
        )
