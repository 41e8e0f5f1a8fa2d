"""Ports of torch_learning.py."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def chaotic():
    hidden = [layers.Dense(16, activation="tanh") for _ in range(7)]
    return keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(4)])


def mlp(**options):
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(12, activation="tanh", **options),
            layers.Dense(4, **options),
        ]
    )


def compiled(**options):
    model = mlp(**options)
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def regularized(share=0.01):
    """What is `weight_decay=.02` in PyTorch: half of it, and of all tensors."""
    l2 = keras.regularizers.L2(share)
    return compiled(kernel_regularizer=l2, bias_regularizer=l2)


def bias_before_norm():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(12),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.ReLU(),
            layers.Dense(4),
        ]
    )


def dropping():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(12, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(4),
        ]
    )


def frozen():
    model = mlp()
    model.layers[0].trainable = False
    return model


def recurrent():
    return keras.Sequential([keras.Input((7, 5)), layers.LSTM(6), layers.Dense(3)])


def attending():
    tokens = keras.Input((7,), dtype="int64")
    x = layers.Embedding(11, 8)(tokens)
    x = layers.LayerNormalization(epsilon=1e-3)(
        x + layers.MultiHeadAttention(2, 4)(x, x)
    )
    return keras.Model(tokens, layers.Dense(11)(x))


def segmenting():
    return keras.Sequential(
        [
            keras.Input((8, 6, 3)),
            layers.Conv2D(6, 3, padding="same"),
            layers.MaxPooling2D(),
            layers.ReLU(),
            layers.Conv2DTranspose(4, 2, strides=2),
        ]
    )


# --- optimizers and losses


def sgd_hard():
    return keras.optimizers.SGD(1.0, momentum=0.9)


class Late(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that falls a little after some steps."""

    def __call__(self, step):
        return ops.where(step < 8, np.float64(1.0), np.float64(0.99))


def sgd_harder():
    return keras.optimizers.SGD(Late(), momentum=0.9)


def sgd_accumulated():
    return keras.optimizers.SGD(0.05, gradient_accumulation_steps=2)


def probabilities():
    """Takes logits for probabilities, its default."""
    return keras.losses.SparseCategoricalCrossentropy()


def next_token():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


# --- training steps


def clipping(model, optimizer, loss, x, y):
    """Each tensor by itself: `clip_grad_norm_` takes all together."""
    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=True))
    gradients = tape.gradient(value, model.trainable_variables)
    gradients = [tf.clip_by_norm(g, 0.05) for g in gradients]
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return value


@tf.function
def clipping_all(model, optimizer, loss, x, y):
    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=True))
    gradients = tape.gradient(value, model.trainable_variables)
    gradients, _ = tf.clip_by_global_norm(gradients, ops.cast(0.05, value.dtype))
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return value


def fitting(model, optimizer, loss, x, y):
    """As Keras itself trains what is compiled."""
    return float(model.train_on_batch(x, y))
