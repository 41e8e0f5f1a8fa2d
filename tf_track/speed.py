"""What speed is measured against, in TensorFlow.  Twin: pt_track/speed.py.

Every loop here is a function: updates to make -> seconds they took.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import keras
import numpy as np
import tensorflow as tf
from keras.applications import inception_v3
from tensorflow import Tensor

from common import recipe as r
from common import spec
from common.draws import draws_of, regions
from common.errors import Refused
from common.evaluate import Predict
from tf_track.layers import FractionalPool
from tf_track.official import whole

Loop = Callable[[int], float]
Laps = Callable[[Callable[[], None]], list[float]]
# `fit` builds its pipeline anew at each call, which real training does once: the
# clock starts after so many batches.
FILLING = 3


def bare(
    model: keras.Model, recipe: r.Recipe, images: np.ndarray, labels: np.ndarray
) -> Loop:
    """A hand-written loop that only slices what lies shuffled in memory.

    It trains the model that it is given (the same class, precision and layout as
    twintrack's loop, its step compiled as there) with the framework's optimizer,
    dropout and average of the weights; it augments nothing, and regions of fractional
    pools were drawn before.

    Args:
        model: From `build`.
        recipe: Batch size and optimizer.
        images: (batches, batch, h, w, c), uint8.
        labels: (batches, batch).
    """
    rule = stock(recipe, average=isinstance(recipe.average, r.Average))
    weights = model.trainable_variables
    rule.build(weights)

    drawn = [regions(draws_of(model), batch) for batch in images]

    @tf.function
    def update(x: Tensor, y: Tensor, draws: dict[str, Tensor]) -> Tensor:
        given = {"draws": draws} if draws else {}
        with tf.GradientTape() as tape:
            logits = model(x, training=True, **given)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            loss = tf.reduce_mean(each)
        rule.apply(tape.gradient(loss, weights), weights)
        return loss

    def loop(steps: int) -> float:
        start = perf_counter()
        for i in range(steps):
            k = i % len(images)
            loss = update(images[k], labels[k], drawn[k])
        loss.numpy()  # waits for the device
        return perf_counter() - start

    return loop


def own_pools(model: keras.Model) -> keras.Model:
    """The same network, its fractional pools the framework's own.

    They have one set of regions for a whole batch, of 2 and 3 px where they overlap;
    their bfloat16 is float32.
    """
    for name in model.order:
        layer = getattr(model, name)
        if isinstance(layer, FractionalPool):
            layer.pooled = partial(_own_pool, layer.layer)
    return model


def _own_pool(
    layer: spec.FractionalPool, x: Tensor, rows: Tensor, columns: Tensor
) -> Tensor:
    out = spec.sides(layer.out)
    # It rounds down, in float32: half a pixel more is far enough from the next.
    ratios = [length / (o + 0.5) for length, o in zip(x.shape[1:3], out, strict=True)]
    y, *_ = tf.nn.fractional_max_pool(
        tf.cast(x, tf.float32),
        [1.0, *ratios, 1.0],
        pseudo_random=layer.kind == "pseudorandom",
        overlapping=layer.overlap,
    )
    return tf.cast(tf.ensure_shape(y, (None, *out, x.shape[3])), x.dtype)


class Timed(keras.callbacks.Callback):
    """Seconds from the end of batch `FILLING` to the end of the last."""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if batch == FILLING - 1:
            self.start = perf_counter()
        self.seconds = perf_counter() - getattr(self, "start", 0.0)


def naive(
    model: keras.Model, recipe: r.Recipe, images: np.ndarray, labels: np.ndarray
) -> Loop:
    """What most people write: `model.fit` on float32 arrays.

    Args:
        model: From `build_native`: stock layers.
        recipe: Batch size and optimizer.
        images: (n, h, w, c), uint8.
        labels: (n,).
    """
    x_all = images.astype(np.float32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(stock(recipe), loss)

    def loop(steps: int) -> float:
        rows = np.arange((steps + FILLING) * recipe.batch) % len(x_all)
        timed = Timed()
        model.fit(
            x_all[rows],
            labels[rows],
            batch_size=recipe.batch,
            verbose=0,
            callbacks=[timed],
        )
        return timed.seconds

    return loop


class Lapped(keras.callbacks.Callback):
    """Seconds of each epoch, validation included; what comes between is not."""

    def __init__(self, between: Callable[[], None]) -> None:
        super().__init__()
        self.between = between
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(perf_counter() - self.start)
        self.between()


def tutorial(
    path: Path,
    recipe: r.Recipe,
    head: tuple[np.ndarray, np.ndarray],
    train: tuple[np.ndarray, np.ndarray],
    valid: tuple[np.ndarray, np.ndarray],
    *,
    device: str,
) -> tuple[Laps, Predict]:
    """The transfer tutorial's loop: the frozen network runs in every epoch.

    Args:
        path: Keras's file of Inception v3.
        recipe: Its epochs, batch, SGD and schedule.
        head: Kernel (2048, classes) and bias that the new layer starts from.
        train: uint8 images (n, h, w, c) and labels (n,) to learn from.
        valid: The same, looked at after every epoch; the best one's weights are kept.
        device: "cpu" or "gpu".

    Returns:
        The loop and the network's predictor.  The loop takes what is to be done after
        each epoch, off the clock, and returns the seconds of each.
    """
    full, _ = whole(path, train[0].shape[1], device=device)
    base = keras.Model(full.input, full.get_layer("avg_pool").output)
    base.trainable = False
    new = keras.layers.Dense(head[0].shape[1])
    model = keras.Sequential([base, new])
    model.build((None, *train[0].shape[1:]))
    new.set_weights(list(head))
    model.compile(
        keras.optimizers.SGD(recipe.lr, momentum=recipe.optimizer.momentum),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    drop = recipe.schedule

    def rate(epoch: int, _: float) -> float:
        return recipe.lr * drop.factor ** (epoch // drop.every)

    def call(images: np.ndarray) -> np.ndarray:
        x = inception_v3.preprocess_input(images.astype(np.float32))
        return model.predict(x, batch_size=recipe.batch, verbose=0)

    scaled = [
        inception_v3.preprocess_input(p[0].astype(np.float32)) for p in (train, valid)
    ]

    def loop(between: Callable[[], None]) -> list[float]:
        lapped = Lapped(between)
        best = keras.callbacks.EarlyStopping(
            "val_accuracy", patience=recipe.epochs, restore_best_weights=True
        )
        model.fit(
            scaled[0],
            train[1],
            batch_size=recipe.batch,
            epochs=recipe.epochs,
            validation_data=(scaled[1], valid[1]),
            callbacks=[keras.callbacks.LearningRateScheduler(rate), best, lapped],
            verbose=0,
        )
        return lapped.seconds

    return loop, call


def stock(recipe: r.Recipe, *, average: bool = False) -> keras.optimizers.Optimizer:
    """The framework's own optimizer with the recipe's numbers."""
    decay = recipe.decay.rate if recipe.decay else None
    stays = recipe.average.decay if isinstance(recipe.average, r.Average) else 0.0
    adamw = recipe.decay and recipe.decay.kind == "decoupled"
    match recipe.optimizer:
        case r.SGD(momentum=momentum, nesterov=nesterov):
            return keras.optimizers.SGD(
                learning_rate=recipe.lr,
                momentum=momentum,
                nesterov=nesterov,
                weight_decay=decay,
                use_ema=average,
                ema_momentum=stays,
            )
        case r.Adam(beta1=beta1, beta2=beta2, eps=eps):
            kind = keras.optimizers.AdamW if adamw else keras.optimizers.Adam
            return kind(
                learning_rate=recipe.lr,
                beta_1=beta1,
                beta_2=beta2,
                epsilon=eps,
                weight_decay=decay,
                use_ema=average,
                ema_momentum=stays,
            )
    raise Refused(
        "speed is measured against the framework's own SGD or Adam, got "
        f"{type(recipe.optimizer).__name__}; use --set recipe.optimizer=SGD()"
    )


def product(dtype: str, side: int, device: str) -> Callable[[], float]:
    """A function that multiplies two (side, side) matrices once: seconds it took."""
    place = {"cpu": "CPU:0", "gpu": "GPU:0"}[device]
    with tf.device(place):
        a, b = (tf.cast(tf.random.uniform((side, side)), dtype) for _ in range(2))

    def once() -> float:
        start = perf_counter()
        (a @ b)[0, 0].numpy()  # waits for the device
        return perf_counter() - start

    return once
