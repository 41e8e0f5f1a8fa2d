"""NumPy in, NumPy out, in Keras.  Twin: pt_track/predict.py."""

from collections.abc import Callable
from functools import cache

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from common.draws import draws_of, regions
from common.evaluate import Judge


def predictor(model: keras.Model) -> Judge:
    """A function from uint8 images (n, h, w, c) to logits (n, classes).

    Regions of a fractional pool are drawn anew for each picture and each `repeat`.
    """

    @cache
    def graph(dtype: str, h: int, w: int, c: int) -> Callable[..., Tensor]:
        shape = tf.TensorSpec((None, h, w, c), dtype)
        return tf.function(lambda x: model(x, training=False), input_signature=[shape])

    @cache
    def given_regions(dtype: str, h: int, w: int, c: int) -> Callable[..., Tensor]:
        pictures = tf.TensorSpec((None, h, w, c), dtype)
        one = regions(draws_of(model), np.zeros((1, h, w, c), np.uint8))
        free = {n: tf.TensorSpec((None, *d.shape[1:]), d.dtype) for n, d in one.items()}

        def judged(x: Tensor, draws: dict[str, Tensor]) -> Tensor:
            return model(x, training=False, draws=draws)

        return tf.function(judged, input_signature=[pictures, free])

    def predict(images: np.ndarray, repeat: int = 0) -> np.ndarray:
        kind, x = (images.dtype.name, *images.shape[1:]), tf.constant(images)
        if drawn := regions(draws_of(model), images, repeat):
            given = {name: tf.constant(draw) for name, draw in drawn.items()}
            logits = given_regions(*kind)(x, given)
        else:
            logits = graph(*kind)(x)
        exact = logits.dtype == tf.float64
        return (logits if exact else tf.cast(logits, tf.float32)).numpy()

    return predict
