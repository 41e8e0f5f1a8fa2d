"""Keras models that need an answer: refused, or carried with a word."""

import time

import keras
from keras import layers, ops


def plain():
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(3)]
    )


def needs_arguments(width, *, classes):
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(width, "relu"), layers.Dense(classes)]
    )


def gives_nothing():
    keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(3)])


def gives_layer():
    return layers.Dense(3)


class Prints(keras.Model):
    """As one leaves it while debugging."""

    def __init__(self):
        super().__init__()
        self.net = plain()

    def call(self, x):
        print("call", x.shape)
        return self.net(x)


class Raises(keras.Model):
    """An error of the user's own."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(8, activation="relu")
        self.last = layers.Dense(3)

    def call(self, x):
        return self.last(ops.reshape(self.first(x), (-1, 7)))


class Hangs(keras.Model):
    """Waits for what never comes."""

    def call(self, x):
        while True:
            time.sleep(0.1)


def unbuilt():
    return keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(3)])


def two_inputs():
    x = keras.Input((6,), name="x")
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    words = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(tokens))
    return keras.Model([x, tokens], layers.Dense(3)(layers.Concatenate()([x, words])))


def heads():
    x = keras.Input((6,))
    body = layers.Dense(8, activation="relu", name="body")(x)
    kind = layers.Dense(3, name="kind")(body)
    return x, kind, layers.Dense(4, name="box")(body)


def dict_output():
    x, kind, box = heads()
    return keras.Model(x, {"kind": kind, "box": box})


def tuple_output():
    x, kind, box = heads()
    return keras.Model(x, (kind, box))


class Noise(layers.Layer):
    """Noise, whatever the mode."""

    def call(self, x):
        return x + 0.1 * keras.random.normal(ops.shape(x), dtype=x.dtype)


def random_layer():
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(8), Noise(), layers.Dense(3)]
    )


def without_noise():
    return keras.Sequential([keras.Input((6,)), layers.Dense(8), layers.Dense(3)])


class Gate(layers.Layer):
    """A layer of the user's own: a scale and a shift for each channel."""

    def build(self, shape):
        self.alpha = self.add_weight(shape=shape[-1:], name="alpha")
        self.beta = self.add_weight(shape=shape[-1:], name="beta")

    def call(self, x):
        return ops.tanh(self.alpha * x + self.beta)


def unknown_layer():
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(8), Gate(), layers.Dense(3)]
    )


class Tied(keras.Model):
    """The embedding is the last layer, too."""

    def __init__(self):
        super().__init__()
        self.embed = layers.Embedding(20, 8)
        self.fc = layers.Dense(8, activation="tanh")

    def call(self, tokens):
        x = self.fc(self.embed(tokens))
        return ops.matmul(x, ops.transpose(self.embed.embeddings))


def untied():
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(20, 8),
            layers.Dense(8, activation="tanh"),
            layers.Dense(20, use_bias=False),
        ]
    )


def two_of_one_shape():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(6, activation="tanh"),
            layers.Dense(6, activation="tanh"),
        ]
    )


def other_input():
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3)])


def no_parameters():
    return keras.Sequential([keras.Input((6,)), layers.Softmax()])


def float16():
    return keras.Sequential(
        [
            keras.Input((6,), dtype="float16"),
            layers.Dense(8, activation="relu", dtype="float16"),
            layers.Dense(3, dtype="float16"),
        ]
    )
