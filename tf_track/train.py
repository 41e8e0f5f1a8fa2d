"""The training loop, in TensorFlow.  Twin: pt_track/train.py."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from common import loop
from common.data import Dataset
from common.plan import Chunk, Plan
from common.recipe import Lookahead as LookaheadRecipe
from common.recipe import Recipe
from common.spec import Spec
from common.track import History, OnEpoch, OnProgress, State
from tf_track.optim import Lookahead, clip, get_slots, optimizer, set_slots
from tf_track.predict import predictor
from tf_track.weights import (
    assign,
    get_weights,
    native,
    norms,
    parameters,
    set_weights,
    to_canonical,
    trained,
)


class Trainer:
    """One model under one recipe: batches in, updates out."""

    def __init__(
        self, model: keras.Model, spec: Spec, recipe: Recipe, rates: np.ndarray
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.drawn = bool(spec.draws)
        prepare(model, recipe)
        self.rule = optimizer(model, spec, recipe, rates)
        self.lookahead = None
        if isinstance(recipe.average, LookaheadRecipe):
            rows = native if recipe.average.statistics else parameters
            self.lookahead = Lookahead(rows(model), recipe.average.stays(len(rates)))
        self.weights = list(trained(model).values())
        # By batch size and type of the pictures.
        self.graphs: dict[
            tuple[int, str], tf.types.experimental.PolymorphicFunction
        ] = {}

    def run(self, chunk: Chunk) -> np.ndarray:
        """Update on each batch of the chunk; the losses (k,), float64."""
        tensors = self._tensors(chunk)
        batch = chunk.labels.shape[1], chunk.images.dtype.name
        if batch not in self.graphs:  # one graph for each, whatever came before:
            # a graph that TensorFlow relaxes on the way would round differently
            free = tf.nest.map_structure(
                lambda t: tf.TensorSpec((None, *t.shape[1:]), t.dtype), tensors
            )
            self.graphs[batch] = tf.function(self._steps, input_signature=free)
        losses = self.graphs[batch](*tensors)
        return losses.numpy().astype(np.float64)

    def _tensors(self, chunk: Chunk) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The chunk as tensors, images as (k, n, h, w, c)."""
        draws = {name: tf.constant(draw) for name, draw in chunk.draws.items()}
        return tf.constant(chunk.images), tf.constant(chunk.labels), draws

    def _steps(
        self, images: Tensor, labels: Tensor, draws: dict[str, Tensor]
    ) -> Tensor:
        """One update per batch in one graph: entering it can cost as much as a step."""
        k = tf.shape(images)[0]
        losses = tf.TensorArray(self.weights[0].dtype, k, element_shape=())
        for i in tf.range(k):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            kept = {name: draw[i] for name, draw in draws.items()}
            losses = losses.write(i, self.step(images[i], labels[i], kept))
        return losses.stack()

    def step(self, images: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """One update; the objective before it, coupled decay included."""
        gradients, value = self.gradients(images, labels, draws)
        if self.recipe.clip:
            gradients = clip(gradients, self.recipe.clip)
        value = value + self.rule.penalty(self.weights)
        self.rule.apply(gradients, self.weights)
        if self.lookahead:
            self.lookahead.step(tf.convert_to_tensor(self.rule.iterations))
        return value

    def gradients(
        self, images: Tensor, labels: Tensor, draws: dict[str, Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """Gradient of each trained tensor, in the model's order, and the data loss."""
        given = {"draws": draws} if self.drawn else {}
        with tf.GradientTape() as tape:
            output = self.model(images, training=True, **given)
            value = objective(output, labels, self.recipe)
        return tape.gradient(value, [v.value for v in self.weights]), value

    def canonical_gradients(self, chunk: Chunk) -> dict[str, np.ndarray]:
        """Gradient of the data loss on the first batch, by canonical name."""
        images, labels, draws = self._tensors(chunk)
        kept = {name: draw[0] for name, draw in draws.items()}
        gradients, _ = self.gradients(images[0], labels[0], kept)
        named = trained(self.model)
        return {
            name: gradient.numpy()
            for name, gradient in zip(named, gradients, strict=True)
        }

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While open, the model holds the averaged weights, if there are any."""
        if not self.recipe.average:
            yield
            return
        raw = get_weights(self.model)
        self.keep_average()
        try:
            yield
        finally:
            set_weights(self.model, raw)

    def keep_average(self) -> None:
        """Put the averaged weights in place of the last ones."""
        slots = self._slots()
        averages = {
            name: slots.get(f"average/{name}", value)
            for name, value in get_weights(self.model).items()
        }
        set_weights(self.model, averages)

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, statistics and optimizer slots."""
        weights = get_weights(self.model)
        return {f"weights/{name}": value for name, value in weights.items()} | {
            f"slots/{name}": value for name, value in self._slots().items()
        }

    def _slots(self) -> dict[str, np.ndarray]:
        """What the rule remembers, and the slow weights as averages."""
        slots = get_slots(self.model, self.rule)
        if self.lookahead:
            for name, value in self.lookahead.slow.items():
                slots[f"average/{name}"] = to_canonical(value)
        return slots

    def restore(self, arrays: dict[str, np.ndarray], step: int) -> None:
        """Go back to what `arrays` returned after `step` updates."""
        parts: dict[str, dict[str, np.ndarray]] = {"weights": {}, "slots": {}}
        for name, value in arrays.items():
            part, _, rest = name.partition("/")
            parts.get(part, {})[rest] = value
        set_weights(self.model, parts["weights"])
        set_slots(self.model, self.rule, parts["slots"], step)
        if self.lookahead:
            for name, value in self.lookahead.slow.items():
                assign(value, parts["slots"][f"average/{name}"])


def prepare(model: keras.Model, recipe: Recipe) -> None:
    """Freeze what the recipe does not train."""
    for name, variable in parameters(model).items():
        variable.trainable = recipe.multiplier(name) > 0
    for norm in norms(model):
        norm.frozen = recipe.statistics == "frozen"


def objective(
    output: Tensor | tuple[Tensor, Tensor], labels: Tensor, recipe: Recipe
) -> Tensor:
    """The loss of the data, an auxiliary head's share included."""
    if not isinstance(output, tuple):
        return cross_entropy(output, labels, recipe)
    main, aux = (cross_entropy(logits, labels, recipe) for logits in output)
    return main + recipe.auxiliary * aux


def cross_entropy(logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """Mean over the batch, weighted where the recipe has class weights."""
    each = example_losses(logits, labels, recipe.smoothing)
    if not recipe.class_weights:
        return tf.reduce_mean(each)
    weights = tf.gather(tf.constant(recipe.class_weights, logits.dtype), labels)
    return tf.reduce_sum(weights * each) / tf.reduce_sum(weights)


def example_losses(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """One loss per example; `smoothing` of the target is spread over all classes."""
    if not smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    classes = logits.shape[-1]
    target = tf.one_hot(labels, classes, dtype=logits.dtype)
    target = target * (1 - smoothing) + smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(target, logits)


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
    trainer = Trainer(model, model.spec, recipe, recipe.rates(len(data.train)))
    history = loop.run(
        trainer,
        predictor(model),
        data,
        model.spec,
        recipe,
        plan,
        state=state,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )
    if recipe.average:
        trainer.keep_average()
    return history
