"""Native mode, in Keras: what one gets who just writes it.  Twin: pt_track/native.py.

Architecture, batch size, epochs, the optimizer's name and its learning rate are
the spec's and the recipe's; every other number is Keras's own, and so are the
draws: initial weights, order of the pictures, dropout, augmentation.  The weights
of a model are in its own order: flattening goes pixel by pixel (h, w, c).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import isfinite

import keras
import numpy as np
import tensorflow as tf
from keras import layers as k

from common import data as d
from common import loop, spec
from common import recipe as r
from common.errors import Refused
from common.native_mode import chain, epoch_seed, left_alone
from common.plan import Plan
from common.track import History, OnEpoch, OnProgress, State
from tf_track.predict import predictor

PLACES = {"cpu": "CPU:0", "gpu": "GPU:0"}
# What the stock layers compute, told as records: a saved model is opened with them.
NORM = spec.Norm(decay=0.99, eps=1e-3, variance="biased")
LRN = spec.LRN(radius=0, bias=1.0, alpha=1.0, beta=0.5)


def build_native(spec_: spec.Spec, *, seed: int, device: str = "cpu") -> keras.Model:
    """The architecture of `spec` with the framework's own defaults and draws."""
    keras.utils.set_random_seed(seed)
    written = as_written(spec_)
    layers: list[k.Layer] = [keras.Input(written.image)]
    if side := getattr(written, "crop", 0):
        layers.append(k.CenterCrop(side, side, name="crop"))
    layers.append(scaling(written.scale))
    with tf.device(PLACES[device]):
        for name, layer, shape in chain(written):
            layers += stock(name, layer, shape)
        model = keras.Sequential(layers)
    model.spec = written
    return model


def as_written(spec_: spec.Spec) -> spec.Spec:
    """The spec with the numbers that stock layers have in place of its own."""
    if isinstance(spec_, spec.MLPSpec):
        return replace(spec_, norm=spec_.norm and NORM)
    layers = [_as_written(layer, shape) for _, layer, shape in chain(spec_)]
    return replace(spec_, layers=tuple(layers))


def _as_written(layer: spec.Layer, shape: spec.Shape) -> spec.Layer:
    match layer:
        case (
            spec.Conv(kernel=side)
            | spec.Pool(window=side)
            | spec.AveragePool(window=side)
        ):
            size = shape[:2]
            pad = spec.same(size, side, layer.stride)  # how Keras says "same"
            kept = spec.slid(size, side, layer.stride, layer.pad)
            fits = spec.slid(size, side, layer.stride, pad) == kept
            padded = layer.pad != spec.NO_PAD
            return replace(layer, pad=pad) if padded and fits else layer
        case spec.Norm():
            return NORM
        case spec.LRN(radius=radius):
            return replace(LRN, radius=radius)
        case spec.Flatten():
            return spec.Flatten("hwc")
    return layer


def scaling(scale: spec.Scale) -> k.Layer:
    """Float pixels 0 to 255 -> the first layer's input."""
    if scale.per_image:
        return k.Lambda(tf.image.per_image_standardization, name="scale")
    std = np.asarray(scale.std or 1.0)
    offset = -np.asarray(scale.mean or 0.0) / std
    factor = 1 / (scale.divide * std)
    return k.Rescaling(factor.tolist(), offset.tolist(), name="scale")


def stock(name: str, layer: spec.Layer, shape: spec.Shape) -> list[k.Layer]:
    """The framework's own layer for one example of `shape`, its defaults untouched."""
    match layer:
        case spec.Conv(out, kernel, stride, pad, bias):
            before, word = padding(pad, spec.same(shape[:2], kernel, stride))
            conv = k.Conv2D(out, kernel, stride, word, use_bias=bias, name=name)
            return [*before, conv]
        case spec.Dense(out, bias):
            return [k.Dense(out, use_bias=bias, name=name)]
        case spec.Norm():
            return [k.BatchNormalization(name=name)]
        case spec.LRN(radius=radius):
            own = tf.nn.local_response_normalization
            return [k.Lambda(lambda x: own(x, depth_radius=radius), name=name)]
        case spec.Pool(window, stride, pad):
            before, word = padding(pad, spec.same(shape[:2], window, stride))
            return [*before, k.MaxPooling2D(window, stride, word, name=name)]
        case spec.AveragePool(window, stride, pad):
            before, word = padding(pad, spec.same(shape[:2], window, stride))
            return [*before, k.AveragePooling2D(window, stride, word, name=name)]
        case spec.Dropout(rate, per):
            whole = per == "map" and len(shape) == 3
            return [(k.SpatialDropout2D if whole else k.Dropout)(rate, name=name)]
        case spec.Flatten():
            return [k.Flatten(name=name)]
        case spec.Relu():
            return [k.ReLU(name=name)]
        case spec.Act("leaky"):
            return [k.LeakyReLU(name=name)]
        case spec.Act(kind):
            tanh = partial(keras.activations.gelu, approximate=True)
            own = {"gelu-tanh": tanh}.get(kind, kind)
            return [k.Activation(own, name=name)]
        case spec.Multiply(factor):
            return [k.Rescaling(factor, name=name)]
    raise TypeError(f"a layer must be a record of common.spec, got {layer!r}")


def padding(pad: spec.Pad, same: spec.Pad) -> tuple[list[k.Layer], str]:
    """Keras's word for the pads; explicit zeros where it has none."""
    if pad == spec.NO_PAD:
        return [], "valid"
    return ([], "same") if pad == same else ([k.ZeroPadding2D(pad)], "valid")


def optimizer(recipe: r.Recipe) -> keras.optimizers.Optimizer:
    """The framework's optimizer of the recipe's name, at its learning rate."""
    adamw = recipe.decay and recipe.decay.kind == "decoupled"
    match recipe.optimizer:
        case r.SGD():
            return keras.optimizers.SGD(learning_rate=recipe.lr)
        case r.Adam():
            kind = keras.optimizers.AdamW if adamw else keras.optimizers.Adam
            return kind(learning_rate=recipe.lr)
    raise Refused(
        "native mode knows each framework's own SGD and Adam, got "
        f"{type(recipe.optimizer).__name__}; use --mode aligned"
    )


def augmentation(model: keras.Model, recipe: r.Recipe) -> list[k.Layer]:
    """The framework's own layers; crops are drawn for each batch, not each picture."""
    augment = recipe.augment
    found: list[k.Layer] = []
    if side := getattr(model.spec, "crop", 0):
        found.append(k.RandomCrop(side, side))
    if augment.flip:
        found.append(k.RandomFlip("horizontal"))
    if augment.brightness:
        found.append(k.RandomBrightness(augment.brightness / 255))
    if augment.contrast:
        low, high = augment.contrast
        found.append(k.RandomContrast((1 - low, high - 1)))
    return found


class Told(keras.callbacks.Callback):
    """Tells the clock the loss of each batch; ends training where it is not finite."""

    def __init__(self, clock: loop.Clock, n: int, batch: int) -> None:
        super().__init__()
        self.clock, self.n, self.batch = clock, n, batch

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.reset_metrics()  # else the loss is the epoch's mean up to here

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        value = float((logs or {})["loss"])
        images = min(self.batch, self.n - batch * self.batch)
        self.clock.add(np.array([value]), images)
        self.model.stop_training = not isfinite(value)


class Trainer:
    """`model.fit`, one epoch at a time."""

    def __init__(
        self, model: keras.Model, part: d.Part, recipe: r.Recipe, seed: int
    ) -> None:
        self.part, self.recipe, self.seed = part, recipe, seed
        keras.utils.set_random_seed(seed)  # what the augmentation layers start from
        self.model = model
        if changes := augmentation(model, recipe):
            own = [layer for layer in model.layers if layer.name != "crop"]
            front = [keras.Input(model.spec.image), *changes]
            self.model = keras.Sequential([*front, *own])
        self.rule = optimizer(recipe)
        self.rule.build(self.model.trainable_variables)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(self.rule, loss)
        self.images = part.take(slice(None))

    def epoch(self, epoch: int, clock: loop.Clock) -> None:
        """Train for one epoch, or until the loss is not finite."""
        keras.utils.set_random_seed(epoch_seed(self.seed, epoch))
        batch = self.recipe.batch
        clock.start_lap()
        self.model.fit(
            self.images,
            self.part.labels,
            batch_size=batch,
            verbose=0,
            callbacks=[Told(clock, len(self.part), batch)],
        )

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Nothing: there is no average of the weights."""
        yield

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, statistics, seeds of the layers and optimizer slots."""
        return {name: np.array(v.numpy()) for name, v in self.variables().items()}

    def restore(self, arrays: dict[str, np.ndarray], step: int) -> None:
        """Go back to what `arrays` returned after `step` updates."""
        for name, variable in self.variables().items():
            variable.assign(arrays[name].reshape(variable.shape))

    def variables(self) -> dict[str, keras.Variable]:
        """Everything that training changes, by its place: Keras numbers its names."""
        parts = {"model": self.model.variables, "rule": self.rule.variables}
        return {
            f"{part}/{i}": variable
            for part, variables in parts.items()
            for i, variable in enumerate(variables)
        }


def train_native(
    model: keras.Model,
    data: d.Dataset,
    recipe: r.Recipe,
    plan: Plan,
    *,
    state: State | None = None,
    on_epoch: OnEpoch | None = None,
    on_progress: OnProgress | None = None,
) -> History:
    """Train a native model in the framework's own idiom, with its own draws."""
    recipe = left_alone(recipe)
    trainer = Trainer(model, data.train, recipe, plan.seed)
    return loop.epochs(
        trainer.epoch,
        trainer,
        predictor(model),
        data,
        recipe,
        state=state,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )
