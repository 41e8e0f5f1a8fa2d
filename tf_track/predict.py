"""NumPy in, NumPy out, in Keras.  Twin: pt_track/predict.py."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from common.evaluate import Predict


def predictor(model: keras.Model) -> Predict:
    """A function from uint8 images (n, h, w, c) to logits (n, classes)."""

    @tf.function(reduce_retracing=True)
    def graph(x: Tensor) -> Tensor:
        return model(x, training=False)

    def predict(images: np.ndarray) -> np.ndarray:
        logits = graph(tf.constant(images))
        exact = logits.dtype == tf.float64
        return (logits if exact else tf.cast(logits, tf.float32)).numpy()

    return predict
