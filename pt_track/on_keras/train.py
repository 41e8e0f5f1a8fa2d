"""`pt_track`'s loop, evaluation and statistics, for Keras networks on torch."""

from collections.abc import Iterable

import keras
import numpy as np

import pt_track
from common.data import Dataset
from common.evaluate import Judge
from common.plan import Plan
from common.recipe import Recipe
from common.spec import Spec
from common.track import History, OnEpoch, OnProgress, State
from pt_track.on_keras.as_torch import AsTorch


class Trainer(pt_track.Trainer):
    """One model under one recipe: batches in, updates out."""

    def __init__(
        self, model: keras.Model, spec: Spec, recipe: Recipe, rates: np.ndarray
    ) -> None:
        super().__init__(AsTorch(model), spec, recipe, rates)


def train(
    model: keras.Model,
    data: Dataset,
    recipe: Recipe,
    plan: Plan,
    *,
    state: State | None = None,
    on_epoch: OnEpoch | None = None,
    on_progress: OnProgress | None = None,
) -> History:
    """Train in place; at the end the model holds the weights to be judged."""
    return pt_track.train(
        AsTorch(model),
        data,
        recipe,
        plan,
        state=state,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )


def predictor(model: keras.Model) -> Judge:
    """A function from uint8 images (n, h, w, c) to logits (n, classes)."""
    return pt_track.predictor(AsTorch(model))


def estimate_statistics(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Set the running statistics to those of all `batches` together."""
    pt_track.estimate_statistics(AsTorch(model), batches)
