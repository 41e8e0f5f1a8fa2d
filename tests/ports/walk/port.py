"""A port of `net.py` as people write them: six mistakes."""

import keras
from keras import layers


def block(x, width, strides=1):
    x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x)


def build(classes=10):
    inputs = keras.Input((32, 24, 3))
    x = block(inputs, 16)
    x = block(x, 32, strides=2)
    y = block(x, 32)
    y = layers.Conv2D(32, 3, padding="same")(y)
    x = layers.LeakyReLU()(layers.add([x, y]))
    x = layers.AveragePooling2D(3, 2, padding="same")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(64, activation="gelu")(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))
