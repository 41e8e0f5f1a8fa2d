"""Two towers, in Keras.  Twin: in_torch.py."""

from math import prod

import keras
import tensorflow as tf


class TwoTowers(keras.Model):
    """Float pixels (n, h, w, c) to logits."""

    def __init__(self, spec, dtype):
        stored_in = "float64" if dtype == "float64" else "float32"
        super().__init__(dtype=stored_in)
        self.stored_in = stored_in
        self.pixels = prod(spec.image)
        self.left = keras.layers.Dense(spec.classes, dtype=self.stored_in)
        self.right = keras.layers.Dense(spec.classes, dtype=self.stored_in)

    def call(self, x, training=False):
        x = tf.reshape(tf.cast(x, self.stored_in), (-1, self.pixels)) / 255
        return self.left(x) + tf.nn.relu(self.right(x))


build = TwoTowers
