"""NumPy in, NumPy out, in Keras.  Twin: pt_track/predict.py."""

from collections.abc import Callable
from functools import cache

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from common.evaluate import Predict


def predictor(model: keras.Model) -> Predict:
    """A function from uint8 images (n, h, w, c) to logits (n, classes)."""

    @cache
    def graph(dtype: str, h: int, w: int, c: int) -> Callable[[Tensor], Tensor]:
        shape = tf.TensorSpec((None, h, w, c), dtype)
        return tf.function(lambda x: model(x, training=False), input_signature=[shape])

    def predict(images: np.ndarray) -> np.ndarray:
        logits = graph(images.dtype.name, *images.shape[1:])(tf.constant(images))
        exact = logits.dtype == tf.float64
        return (logits if exact else tf.cast(logits, tf.float32)).numpy()

    return predict
