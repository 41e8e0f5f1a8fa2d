"""Ports as Keras users write them.  Each has its original in torch_models.py.

What is wrong with a port is the default of its argument, and in cases.py; the other
value mends it, which shows that nothing else is wrong.  Nothing here knows twintrack.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def drawn(seed, *shapes):
    """The numbers of the original, in its order and its shapes."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.3, shape) for shape in shapes]


def bn(**options):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, **options)


def conv_bn(x, filters, strides=1):
    if strides > 1:
        x = layers.ZeroPadding2D(1)(x)
    padding = "valid" if strides > 1 else "same"
    x = layers.Conv2D(filters, 3, strides, padding=padding, use_bias=False)(x)
    return layers.ReLU()(bn()(x))


def pooled_head(x, classes=5):
    return layers.Dense(classes, name="head")(layers.GlobalAveragePooling2D()(x))


# --- eps


def eps_second_norm(**options):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(epsilon=1e-5),
            layers.ReLU(),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(**options),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def eps_layer_norm(**options):
    inputs = keras.Input((6, 8))
    y = layers.LayerNormalization(name="norm", **options)(inputs)
    y = layers.Dense(16, activation="relu", name="fc1")(y)
    y = layers.Dense(8, name="fc2")(y)
    x = layers.Add()([inputs, y])
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x))


def eps_applications(epsilon=1.001e-5):
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1_conv")(inputs)
    x = layers.BatchNormalization(axis=3, epsilon=epsilon, name="conv1_bn")(x)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(inputs, layers.Dense(5, name="predictions")(x))


class GroupNormNet(keras.Model):
    """Built when it is called first."""

    def __init__(self, **options):
        super().__init__()
        self.conv1 = layers.Conv2D(8, 3, padding="same", name="conv1")
        self.gn1 = layers.GroupNormalization(4, epsilon=1e-5, name="gn1")
        self.conv2 = layers.Conv2D(8, 3, padding="same", name="conv2")
        self.gn2 = layers.GroupNormalization(2, name="gn2", **options)
        self.fc = layers.Dense(5, name="fc")

    def call(self, x):
        x = tf.nn.relu(self.gn1(self.conv1(x)))
        x = tf.nn.relu(self.gn2(self.conv2(x)))
        return self.fc(tf.reduce_mean(x, axis=(1, 2)))


def eps_group_norm(**options):
    return GroupNormNet(**options)


# --- statistics


class TwoNorms(keras.Model):
    """conv-bn-relu twice."""

    def __init__(self, training):
        super().__init__()
        self.conv1 = layers.Conv2D(6, 3, padding="same", name="conv1")
        self.bn1 = layers.BatchNormalization(epsilon=1e-5, name="bn1")
        self.conv2 = layers.Conv2D(8, 3, padding="same", name="conv2")
        self.bn2 = layers.BatchNormalization(epsilon=1e-5, name="bn2")
        self.pool = layers.GlobalAveragePooling2D()
        self.fc = layers.Dense(5, name="fc")
        self.training = training

    def call(self, x):
        x = keras.activations.relu(self.bn1(self.conv1(x)))
        x = keras.activations.relu(self.bn2(self.conv2(x), training=self.training))
        return self.fc(self.pool(x))


def statistics_training_flag(training=True):
    return TwoNorms(training)


def statistics_not_tracked(training=False):
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, padding="same", name="conv1")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name="bn1")(x))
    x = layers.Conv2D(8, 3, padding="same", name="conv2")(x)
    norm = layers.BatchNormalization(epsilon=1e-5, name="bn2")
    x = layers.ReLU()(norm(x, training=training))
    return keras.Model(inputs, pooled_head(x))


# --- padding


def padding_same_stride(explicit=False):
    if explicit:
        second = [layers.ZeroPadding2D(1), layers.Conv2D(8, 3, 2, activation="relu")]
    else:
        second = [layers.Conv2D(8, 3, 2, padding="same", activation="relu")]
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            *second,
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def padding_valid(padding="valid"):
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 5, padding="same", activation="relu", name="block1")(inputs)
    x = layers.Conv2D(8, 3, padding=padding, activation="relu", name="block2")(x)
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(5)(x))


def padding_max_pool(explicit=False):
    inputs = keras.Input((12, 10, 3))
    x = layers.ZeroPadding2D(3, name="pad")(inputs)
    x = layers.Conv2D(8, 7, strides=2, use_bias=False, name="conv1")(x)
    x = layers.Activation("relu")(bn(name="bn1")(x))
    if explicit:
        x = layers.MaxPooling2D(3, 2, name="maxpool")(layers.ZeroPadding2D(1)(x))
    else:
        x = layers.MaxPooling2D(3, 2, padding="same", name="maxpool")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="layer1")(x)
    return keras.Model(inputs, pooled_head(x))


def padding_wrong_side(sides=(0, 1)):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.ZeroPadding2D((sides, sides), name="pad"),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="stem"),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(5, name="fc"),
        ]
    )


def padding_transposed(cropped=False):
    inputs = keras.Input((12, 10, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(6, 3, strides=2, activation="relu", name="down")(x)
    if cropped:
        x = layers.Conv2DTranspose(4, 3, strides=2, name="up")(x)
        x = layers.Cropping2D(((1, 0), (1, 0)))(x)
    else:
        x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(x)
    x = layers.ReLU()(x)
    return keras.Model(inputs, layers.Conv2D(2, 1, name="out")(x))


def padding_reflect(reflect=False):
    inputs = keras.Input((12, 10, 3))
    x = inputs
    if reflect:
        x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    padding = "valid" if reflect else "same"
    x = layers.Conv2D(6, 3, padding=padding, activation="relu", name="conv_a")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv_b")(x)
    return keras.Model(inputs, pooled_head(x))


# --- pool-border


def pool_border_odd(explicit=False):
    if explicit:
        pool = [layers.ZeroPadding2D(1), layers.AveragePooling2D(3, 2)]
    else:
        pool = [layers.AveragePooling2D(3, 2, padding="same")]
    return keras.Sequential(
        [
            keras.Input((15, 11, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            *pool,
            layers.Conv2D(8, 3, padding="same"),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def pool_border_branch(explicit=False):
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="stem")(inputs)
    one = layers.Conv2D(4, 1, activation="relu", name="branch1x1")(x)
    if explicit:
        pooled = layers.ZeroPadding2D(1)(x)
        pooled = layers.AveragePooling2D(3, 1, name="branch_pool_avg")(pooled)
    else:
        pooled = layers.AveragePooling2D(3, 1, "same", name="branch_pool_avg")(x)
    two = layers.Conv2D(4, 1, activation="relu", name="branch_pool")(pooled)
    x = layers.Concatenate()([one, two])
    return keras.Model(inputs, pooled_head(x))


def pool_border_excluded(explicit=True):
    inputs = keras.Input((15, 11, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    if explicit:
        x = layers.AveragePooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    else:
        x = layers.AveragePooling2D(3, 2, padding="same")(x)
    x = layers.Conv2D(8, 1, activation="relu")(x)
    return keras.Model(inputs, pooled_head(x))


# --- ceil-mode


def ceil_mode_max(padded=False):
    model = keras.Sequential([keras.Input((14, 10, 3))])
    model.add(layers.Conv2D(6, 3, padding="same", activation="relu"))
    if padded:
        model.add(layers.ZeroPadding2D(((0, 1), (0, 1))))
    model.add(layers.MaxPooling2D(3, strides=2))
    model.add(layers.Conv2D(8, 3, padding="same", activation="relu"))
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(5))
    return model


class ceil_mode_functional(keras.Model):
    """Built when it is called first."""

    def __init__(self, padding="valid"):
        super().__init__()
        self.conv1 = layers.Conv2D(6, 3, padding="same", activation="relu")
        self.pool = layers.MaxPooling2D(padding=padding, name="pool")
        self.conv2 = layers.Conv2D(8, 3, padding="same", activation="relu")
        self.out = layers.Dense(5)

    def call(self, inputs):
        x = self.conv2(self.pool(self.conv1(inputs)))
        return self.out(ops.mean(x, axis=(1, 2)))


# --- flatten-order


def flatten_missing_permute(permuted=False):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(),
            *([layers.Permute((3, 1, 2))] if permuted else []),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(5),
        ]
    )


class LeNet(keras.Model):
    """Built when it is called first."""

    def __init__(self, transposed):
        super().__init__()
        self.conv1 = layers.Conv2D(4, 3, padding="same", activation="relu")
        self.conv2 = layers.Conv2D(6, 3, activation="relu")
        self.pool = layers.MaxPooling2D(2)
        self.fc1 = layers.Dense(12, activation="relu")
        self.fc2 = layers.Dense(10, activation="relu")
        self.fc3 = layers.Dense(5)
        self.transposed = transposed

    def call(self, x):
        x = self.pool(self.conv1(x))
        x = self.pool(self.conv2(x))
        if self.transposed:
            x = ops.transpose(x, (0, 3, 1, 2))
        x = ops.reshape(x, (ops.shape(x)[0], -1))
        return self.fc3(self.fc2(self.fc1(x)))


def flatten_view(transposed=False):
    return LeNet(transposed)


def flatten_permute_wrong(axes=(3, 2, 1)):
    inputs = keras.Input((16, 12, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1")(inputs)
    x = layers.MaxPooling2D(2, 2, name="pool1")(x)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, 2, name="pool2")(x)
    x = layers.Permute(axes, name="channels_first")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(12, activation="relu", name="fc1")(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(5, name="fc2")(x))


def flatten_patches(channels_first=True):
    inputs = keras.Input((16, 12, 3))
    x = layers.Conv2D(8, 4, strides=4, name="patch_embed")(inputs)
    if channels_first:
        x = layers.Reshape((8, 12), name="to_tokens")(x)
        x = layers.Permute((2, 1))(x)
    else:
        x = layers.Reshape((12, 8), name="to_tokens")(x)
    y = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    y = layers.Dense(16, activation="relu", name="mlp_1")(y)
    x = x + layers.Dense(8, name="mlp_2")(y)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(5, name="head")(x))


# --- channel-order and pixel-scale


def channel_order_reversed(bgr=True):
    inputs = keras.Input((12, 10, 3))
    x = inputs
    if bgr:
        x = x[..., ::-1]
    x = conv_bn(conv_bn(x, 6), 8, 2)
    return keras.Model(inputs, pooled_head(x))


class channel_order_torch(keras.Model):
    """Built when it is called first."""

    def __init__(self, bgr=False):
        super().__init__()
        self.bgr = bgr
        self.conv1 = layers.Conv2D(6, 3, padding="same", activation="relu")
        self.conv2 = layers.Conv2D(8, 3, padding="same", activation="relu")
        self.pool = layers.GlobalAveragePooling2D()
        self.fc = layers.Dense(5)

    def call(self, x):
        if self.bgr:
            x = tf.reverse(x, axis=[-1])
        return self.fc(self.pool(self.conv2(self.conv1(x))))


def pixel_scale_rescaling(scale=1 / 255, offset=0.0):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Rescaling(scale, offset),
            layers.Conv2D(6, 3, activation="relu"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def pixel_scale_variance(squared=False):
    variance = STD**2 if squared else STD
    inputs = keras.Input((12, 10, 3))
    x = layers.Normalization(mean=MEAN, variance=variance, name="imagenet")(inputs)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(x)
    return keras.Model(inputs, pooled_head(x))


def pixel_scale_missing(rescaled=False):
    inputs = keras.Input((12, 10, 3))
    x = inputs / 127.5 - 1 if rescaled else inputs
    for filters in (6, 8):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
    return keras.Model(inputs, pooled_head(x))


def pixel_scale_means(mean=MEAN[::-1], std=STD[::-1]):
    inputs = keras.Input((12, 10, 3))
    x = layers.Lambda(lambda pixels: (pixels - mean) / std, name="imagenet")(inputs)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(x)
    return keras.Model(inputs, pooled_head(x))


# --- gelu, slope, softmax, activation


def mlp_block(x, act):
    y = layers.Dense(16)(x)
    y = layers.Dense(8)(act(y))
    return layers.Add()([x, y])


def gelu_functional(**options):
    inputs = keras.Input((8,))
    x = mlp_block(inputs, lambda y: ops.gelu(y, approximate=False))
    x = mlp_block(x, lambda y: ops.gelu(y, **options))
    return keras.Model(inputs, layers.Dense(4)(x))


def gelu_tanh(approximate=False):
    def tanh_gelu(x):
        return keras.activations.gelu(x, approximate=True)

    activation = tanh_gelu if approximate else "gelu"
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(16, activation=activation), layers.Dense(4)]
    )


def slope_default(**options):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.ZeroPadding2D(1),
            layers.Conv2D(6, 4, strides=2),
            layers.LeakyReLU(negative_slope=0.01),
            layers.ZeroPadding2D(1),
            layers.Conv2D(8, 4, strides=2),
            layers.LeakyReLU(**options),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def slope_string(slope=None):
    def leaky(x):
        return keras.activations.leaky_relu(x, slope)

    activation = "leaky_relu" if slope is None else leaky
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, padding="same", name="conv1")(inputs)
    x = layers.LeakyReLU(0.1)(x)
    x = layers.Conv2D(8, 3, padding="same", activation=activation, name="conv2")(x)
    return keras.Model(inputs, layers.Conv2D(5, 1, name="detect")(x))


def softmax_in_head(activation="softmax"):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation=activation),
        ]
    )


def softmax_twice(activation="softmax"):
    return keras.Sequential(
        [
            keras.Input((7,)),
            layers.Dense(12, activation="relu"),
            layers.Dense(5, activation=activation),
            layers.Softmax(),
        ]
    )


def activation_relu6(limit=None):
    inputs = keras.Input((12, 10, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(6, 3, strides=2, name="stem")(x)
    y = layers.Conv2D(12, 1, use_bias=False, name="expand")(x)
    y = bn(name="expand_bn")(y)
    y = layers.ReLU(6.0, name="expand_relu")(y)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(y)
    y = bn(name="depthwise_bn")(y)
    y = layers.ReLU(limit, name="depthwise_relu")(y)
    y = layers.Conv2D(6, 1, use_bias=False, name="project")(y)
    x = layers.Add()([x, bn(name="project_bn")(y)])
    return keras.Model(inputs, pooled_head(x))


def activation_hardswish(activation="swish"):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, padding="same", use_bias=False),
            layers.BatchNormalization(epsilon=1e-5),
            layers.Activation(activation),
            layers.Conv2D(8, 3, padding="same", activation="swish"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


# --- dropout


def dropout_training_flag(training=True):
    inputs = keras.Input((7,))
    x = layers.Dense(24, activation="tanh")(inputs)
    x = layers.Dropout(0.5, name="mc_dropout")(x, training=training)
    return keras.Model(inputs, layers.Dense(5)(x))


def dropout_functional():
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(24, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(5),
        ]
    )


# --- weights that the user converts by hand: kernel, gates, groups, reset


def kernel_swapped(axes=(3, 2, 1, 0)):
    conv1 = layers.Conv2D(6, 3, activation="relu", name="conv1")
    conv2 = layers.Conv2D(8, 3, activation="relu", name="conv2")
    fc = layers.Dense(5, name="fc")
    model = keras.Sequential(
        [keras.Input((12, 10, 3)), conv1, conv2, layers.GlobalAveragePooling2D(), fc]
    )
    shapes = (6, 3, 3, 3), (6,), (8, 6, 3, 3), (8,), (5, 8), (5,)
    w1, b1, w2, b2, w3, b3 = drawn(1, *shapes)
    conv1.set_weights([w1.transpose(2, 3, 1, 0), b1])
    conv2.set_weights([w2.transpose(axes), b2])
    fc.set_weights([w3.T, b3])
    return model


def kernel_dense(transposed=False):
    model = keras.Sequential(
        [
            keras.Input((7,)),
            layers.Dense(12, activation="tanh"),
            layers.Dense(12, activation="tanh"),
        ]
    )
    w1, b1, w2, b2 = drawn(2, (12, 7), (12,), (12, 12), (12,))
    model.layers[0].set_weights([w1.T, b1])
    model.layers[1].set_weights([w2.T if transposed else w2, b2])
    return model


def kernel_transposed(axes=(2, 3, 0, 1)):
    inputs = keras.Input((12, 10, 3))
    down = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")
    up = layers.Conv2DTranspose(6, 2, strides=2, activation="relu", name="up")
    out = layers.Conv2D(2, 1, name="out")
    model = keras.Model(inputs, out(up(down(inputs))))
    shapes = (6, 3, 3, 3), (6,), (6, 6, 2, 2), (6,), (2, 6, 1, 1), (2,)
    w1, b1, w2, b2, w3, b3 = drawn(3, *shapes)
    down.set_weights([w1.transpose(2, 3, 1, 0), b1])
    up.set_weights([w2.transpose(axes), b2])
    out.set_weights([w3.transpose(2, 3, 1, 0), b3])
    return model


def reordered(weight, order):
    """Blocks of gates along the last axis, in another order."""
    blocks = np.split(weight, len(order), axis=-1)
    return np.concatenate([blocks[i] for i in order], axis=-1)


def gates_lstm(order=(0, 1, 3, 2)):
    rnn, fc = layers.LSTM(6, name="lstm"), layers.Dense(4, name="fc")
    model = keras.Sequential([keras.Input((7, 5)), rnn, fc])
    shapes = (24, 5), (24, 6), (24,), (24,), (4, 6), (4,)
    w, u, b_ih, b_hh, w_fc, b_fc = drawn(4, *shapes)
    rnn.set_weights([reordered(a, order) for a in (w.T, u.T, b_ih + b_hh)])
    fc.set_weights([w_fc.T, b_fc])
    return model


def gates_gru(order=(0, 1, 2)):
    rnn, fc = layers.GRU(6, name="gru"), layers.Dense(4, name="fc")
    model = keras.Sequential([keras.Input((7, 5)), rnn, fc])
    shapes = (18, 5), (18, 6), (18,), (18,), (4, 6), (4,)
    w, u, b_ih, b_hh, w_fc, b_fc = drawn(5, *shapes)
    bias = np.stack([b_ih, b_hh])
    rnn.set_weights([reordered(a, order) for a in (w.T, u.T, bias)])
    fc.set_weights([w_fc.T, b_fc])
    return model


def reset_gru(reset_after=False):
    rnn = layers.GRU(6, reset_after=reset_after, name="gru")
    fc = layers.Dense(4, name="fc")
    model = keras.Sequential([keras.Input((7, 5)), rnn, fc])
    shapes = (18, 5), (18, 6), (18,), (18,), (4, 6), (4,)
    w, u, b_ih, b_hh, w_fc, b_fc = drawn(6, *shapes)
    bias = np.stack([b_ih, b_hh]) if reset_after else b_ih + b_hh
    rnn.set_weights([reordered(a, (1, 0, 2)) for a in (w.T, u.T, bias)])
    fc.set_weights([w_fc.T, b_fc])
    return model


def groups_interleaved(interleaved=True):
    conv1 = layers.Conv2D(8, 3, padding="same", activation="relu")
    conv2 = layers.Conv2D(8, 3, padding="same", groups=2, activation="relu")
    fc = layers.Dense(5)
    model = keras.Sequential(
        [keras.Input((12, 10, 3)), conv1, conv2, layers.GlobalAveragePooling2D(), fc]
    )
    shapes = (8, 3, 3, 3), (8,), (8, 4, 3, 3), (8,), (5, 8), (5,)
    w1, b1, w2, b2, w3, b3 = drawn(7, *shapes)
    if interleaved:
        w2 = w2.reshape(2, 4, 4, 3, 3).swapaxes(0, 1).reshape(8, 4, 3, 3)
    conv1.set_weights([w1.transpose(2, 3, 1, 0), b1])
    conv2.set_weights([w2.transpose(2, 3, 1, 0), b2])
    fc.set_weights([w3.T, b3])
    return model


class ChannelShuffle(layers.Layer):
    """ShuffleNet's shuffle."""

    def __init__(self, shape, axes, **options):
        super().__init__(**options)
        self.shape, self.axes = shape, axes

    def call(self, x):
        _, h, w, c = x.shape
        x = ops.reshape(x, (-1, h, w, *self.shape))
        return ops.reshape(ops.transpose(x, self.axes), (-1, h, w, c))


def groups_shuffle(shape=(3, 4)):
    inputs = keras.Input((12, 10, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="stem")(x)
    x = layers.Conv2D(12, 1, groups=4, activation="relu", name="gconv1")(x)
    x = ChannelShuffle(shape, (0, 1, 2, 4, 3), name="shuffle")(x)
    x = layers.Conv2D(8, 1, groups=4, activation="relu", name="gconv2")(x)
    return keras.Model(inputs, pooled_head(x))


# --- resize


def aligned_corners(size, twice):
    """Weights of linear interpolation between corners, (twice, size)."""
    at = np.arange(twice) * (size - 1) / (twice - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size)))


class AlignedUpSampling(layers.Layer):
    """Bilinear, the corners on the corners."""

    def call(self, x):
        rows = aligned_corners(x.shape[1], 2 * x.shape[1])
        columns = aligned_corners(x.shape[2], 2 * x.shape[2])
        return ops.einsum("ih,jw,nhwc->nijc", rows, columns, x)


def resize_align_corners(aligned=False):
    inputs = keras.Input((12, 10, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(6, 3, strides=2, activation="relu", name="down")(x)
    if aligned:
        x = AlignedUpSampling(name="up")(x)
    else:
        x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    return keras.Model(inputs, layers.Conv2D(2, 3, padding="same", name="out")(x))


def resize_nearest(interpolation="bilinear"):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, padding="same"),
            layers.ReLU(),
            layers.UpSampling2D(2, interpolation=interpolation),
            layers.Conv2D(2, 3, padding="same"),
        ]
    )


def resize_antialias(antialias=False):
    return keras.Sequential(
        [
            keras.Input((16, 14, 3)),
            layers.Resizing(8, 6, antialias=antialias, name="smaller"),
            layers.Conv2D(6, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


# --- bias, stride, dilation, order, layer


def bias_conv(use_bias=False):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.Conv2D(8, 3, activation="relu", use_bias=use_bias),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


class bias_hidden(keras.Model):
    """Built when it is called first."""

    def __init__(self, use_bias=False):
        super().__init__()
        self.first = layers.Dense(10, activation="sigmoid")
        self.second = layers.Dense(
            10, activation="sigmoid", use_bias=use_bias, name="second"
        )
        self.last = layers.Dense(3)

    def call(self, x):
        return self.last(self.second(self.first(x)))


def bottleneck(x, width, filters, first=1, second=1, name="block"):
    """Strides of the 1x1 and of the 3x3 convolution."""
    options = {"use_bias": False}
    stride = first * second
    shortcut = layers.Conv2D(filters, 1, stride, name=f"{name}_0_conv", **options)(x)
    shortcut = bn(name=f"{name}_0_bn")(shortcut)
    x = layers.Conv2D(width, 1, first, name=f"{name}_1_conv", **options)(x)
    x = layers.Activation("relu")(bn(name=f"{name}_1_bn")(x))
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(width, 3, second, name=f"{name}_2_conv", **options)(x)
    x = layers.Activation("relu")(bn(name=f"{name}_2_bn")(x))
    x = layers.Conv2D(filters, 1, name=f"{name}_3_conv", **options)(x)
    x = layers.Add()([shortcut, bn(name=f"{name}_3_bn")(x)])
    return layers.Activation("relu", name=f"{name}_out")(x)


def stride_bottleneck(first=2, second=1):
    inputs = keras.Input((12, 10, 3))
    x = bottleneck(conv_bn(inputs, 6), 4, 8, first, second)
    return keras.Model(inputs, pooled_head(x))


def dilation_second(rate=1):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.Conv2D(8, 3, padding="same", dilation_rate=rate, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def order_relu_norm(fused=True):
    inputs = keras.Input((12, 10, 3))
    x = conv_bn(inputs, 6)
    options = {"padding": "same", "use_bias": False, "name": "conv2"}
    if fused:
        x = layers.Conv2D(8, 3, activation="relu", **options)(x)
        x = bn(name="bn2")(x)
    else:
        x = bn(name="bn2")(layers.Conv2D(8, 3, **options)(x))
        x = layers.ReLU()(x)
    return keras.Model(inputs, pooled_head(x))


class BasicBlock(layers.Layer):
    """Two convolutions and the sum."""

    def __init__(self, filters, second=True, **options):
        super().__init__(**options)
        conv = {"padding": "same", "use_bias": False}
        self.conv1 = layers.Conv2D(filters, 3, name="conv1", **conv)
        self.bn1 = layers.BatchNormalization(epsilon=1e-5, name="bn1")
        self.conv2 = layers.Conv2D(filters, 3, name="conv2", **conv)
        self.bn2 = second and layers.BatchNormalization(epsilon=1e-5, name="bn2")

    def call(self, x):
        y = ops.relu(self.bn1(self.conv1(x)))
        y = self.conv2(y)
        if self.bn2:
            y = self.bn2(y)
        return ops.relu(x + y)


def layer_norm_missing(second=False):
    inputs = keras.Input((12, 10, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(6, 3, strides=2, name="stem")(x)
    x = BasicBlock(6, second=second, name="block")(x)
    return keras.Model(inputs, pooled_head(x))


def layer_pool_missing(pool=False):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            *([layers.MaxPooling2D()] if pool else []),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def layer_activation_missing(activation=None):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(12, activation=activation),
            layers.Dense(5),
        ]
    )


# --- lrn


class LocalResponse(layers.Layer):
    """TensorFlow's own normalisation as a layer."""

    def __init__(self, radius, offset, alpha, beta, **options):
        super().__init__(**options)
        self.words = radius, offset, alpha, beta

    def call(self, x):
        return tf.nn.local_response_normalization(x, *self.words)


def alexnet_stem(norm, swapped=False):
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1")(inputs)
    pool = layers.MaxPooling2D(3, 2, name="pool")
    for layer in (pool, norm) if swapped else (norm, pool):
        x = layer(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    return keras.Model(inputs, pooled_head(x))


def lrn_alpha(alpha=0.5):
    return alexnet_stem(LocalResponse(2, 2.0, alpha, 0.75, name="lrn"))


def lrn_size(radius=5):
    return alexnet_stem(LocalResponse(radius, 2.0, 0.1, 0.75, name="lrn"))


def order_lrn_pool(swapped=True):
    return alexnet_stem(LocalResponse(2, 2.0, 0.1, 0.75, name="lrn"), swapped)


def lrn_offset(bias=2.0):
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="conv1")(inputs)
    x = layers.Lambda(
        lambda maps: tf.nn.lrn(maps, depth_radius=1, bias=bias, alpha=0.1, beta=0.75),
        name="lrn",
    )(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    return keras.Model(inputs, pooled_head(x))


# --- pool, affine


def pooling_net(pool, act):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, padding="same"),
            act,
            pool,
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def pool_kind_max(average=True):
    pool = layers.AveragePooling2D if average else layers.MaxPooling2D
    return pooling_net(pool(2, name="pool"), layers.ReLU())


def pool_kind_global(average=True):
    kind = layers.GlobalAveragePooling2D if average else layers.GlobalMaxPooling2D
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            kind(name="pool"),
            layers.Dense(5),
        ]
    )


def activation_leaky(negative_slope=0.3):
    act = layers.LeakyReLU(negative_slope, name="act")
    return pooling_net(layers.MaxPooling2D(), act)


def affine_scale(scale=False):
    return eps_second_norm(epsilon=1e-5, scale=scale)


# --- axis


def axis_batch_norm(axis=1):
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(12, 3, padding="same", use_bias=False),
            layers.BatchNormalization(axis=axis, epsilon=1e-5),
            layers.Activation("relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


class AttentionPool(keras.Model):
    """Steps weighed by a softmax."""

    def __init__(self, axis):
        super().__init__()
        self.proj = layers.Dense(8, activation="tanh", name="proj")
        self.score = layers.Dense(8, name="score")
        self.softmax = layers.Softmax(axis=axis, name="softmax")
        self.fc = layers.Dense(4, name="fc")

    def call(self, x):
        h = self.proj(x)
        weights = self.softmax(self.score(h))
        return self.fc(tf.reduce_sum(weights * h, axis=1))


def axis_softmax(axis=-1):
    return AttentionPool(axis)


def axis_one_group(layer_norm=True):
    if layer_norm:
        norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
    else:
        norm = layers.GroupNormalization(groups=1, epsilon=1e-5, name="norm")
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(8, 3, padding="same"),
            norm,
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


# --- attention, embeddings, sequences: scale, mask, return


class SelfAttention(layers.Layer):
    """Heads of a joint projection."""

    def __init__(self, dim=8, heads=2, scaled=False, **options):
        super().__init__(**options)
        self.heads, self.scaled = heads, scaled
        self.qkv = layers.Dense(3 * dim, name="qkv")
        self.proj = layers.Dense(dim, name="proj")

    def call(self, x):
        n, t, d = ops.shape(x)
        qkv = ops.reshape(self.qkv(x), (n, t, 3, self.heads, d // self.heads))
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2)))
        if self.scaled:
            scores = scores / math.sqrt(d // self.heads)
        x = ops.matmul(ops.softmax(scores), v)
        return self.proj(ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (n, t, d)))


def scale_attention(scaled=False):
    inputs = keras.Input((6, 8))
    y = layers.LayerNormalization(epsilon=1e-5, name="norm")(inputs)
    x = inputs + SelfAttention(scaled=scaled, name="attn")(y)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x))


def scale_embedding(factor=1.0):
    tokens = keras.Input((7,), dtype="int32")
    x = layers.Embedding(20, 8, name="embed")(tokens)
    if factor != 1:
        x = x * factor
    x = layers.Dense(12, activation="tanh", name="fc1")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, layers.Dense(4, name="fc2")(x))


class TokenAndPosition(layers.Layer):
    """The sum of two embeddings."""

    def __init__(self, words, steps, dim, **options):
        super().__init__(**options)
        self.token_emb = layers.Embedding(words, dim)
        self.pos_emb = layers.Embedding(steps, dim)

    def call(self, tokens):
        positions = self.pos_emb(ops.arange(tokens.shape[1]))
        return self.token_emb(tokens) + positions


def tiny_gpt(causal):
    tokens = keras.Input((6,), dtype="int32")
    x = TokenAndPosition(20, 6, 8, name="embeddings")(tokens)
    h = layers.LayerNormalization(epsilon=1e-5, name="ln1")(x)
    attention = layers.MultiHeadAttention(num_heads=2, key_dim=4, name="attn")
    x = layers.Add()([x, attention(h, h, use_causal_mask=causal)])
    h = layers.LayerNormalization(epsilon=1e-5, name="ln2")(x)
    h = layers.Dense(16, activation="relu", name="mlp_fc")(h)
    x = layers.Add()([x, layers.Dense(8, name="mlp_proj")(h)])
    return keras.Model(tokens, layers.Dense(20, use_bias=False, name="lm_head")(x))


def mask_causal(causal=False):
    return tiny_gpt(causal)


def return_last(mean=True):
    inputs = keras.Input((7, 5))
    x = layers.LSTM(6, return_sequences=mean, name="lstm")(inputs)
    if mean:
        x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="fc")(x))


def return_bidirectional(sequences=False):
    inputs = keras.Input((7, 5))
    rnn = layers.LSTM(4, return_sequences=sequences)
    x = layers.Bidirectional(rnn, name="bilstm")(inputs)
    if sequences:
        x = x[:, -1, :]
    return keras.Model(inputs, layers.Dense(4, name="fc")(x))


# --- right pairs


def right_sequential():
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.ReLU(),
            layers.Permute((3, 1, 2)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10),
            layers.Activation("log_softmax"),
        ]
    )


def right_asymmetric():
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, 2, padding="same", activation="relu", name="conv1")(inputs)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="conv2_pad")(x)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv2")(x)
    x = layers.BatchNormalization(epsilon=1e-5, name="conv2_bn")(x)
    x = layers.Activation("silu", name="conv2_act")(x)
    return keras.Model(inputs, pooled_head(x))


def right_resnet():
    inputs = keras.Input((12, 10, 3))
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(6, 7, strides=2, use_bias=False, name="stem_conv")(x)
    x = layers.Activation("relu")(bn(name="stem_bn")(x))
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(layers.ZeroPadding2D(1)(x))
    x = bottleneck(x, 4, 8, second=2, name="layer1")
    x = BasicBlock(8, name="layer2")(x)
    return keras.Model(inputs, pooled_head(x))


def right_gelu():
    inputs = keras.Input((8,))
    x = mlp_block(inputs, keras.activations.gelu)
    x = mlp_block(x, lambda y: ops.gelu(y, approximate=False))
    return keras.Model(inputs, layers.Dense(4)(x))


def exact_gelu(x):
    return 0.5 * x * (1 + ops.erf(x / math.sqrt(2)))


def right_gelu_erf():
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(16, activation=exact_gelu), layers.Dense(4)]
    )


def right_group_norm():
    return GroupNormNet(epsilon=1e-5)


class LayerScale(layers.Layer):
    """A learned scale for each channel."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.gamma


def right_convnext():
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 2, strides=2, name="stem")(inputs)
    y = layers.DepthwiseConv2D(7, padding="same", name="dwconv")(x)
    y = layers.LayerNormalization(epsilon=1e-6, name="norm")(y)
    y = layers.Dense(24, activation="silu", name="pwconv1")(y)
    y = layers.Dense(6, name="pwconv2")(y)
    x = layers.Add()([x, LayerScale(name="gamma")(y)])
    return keras.Model(inputs, pooled_head(x))


def right_separable():
    inputs = keras.Input((12, 10, 3))
    x = conv_bn(inputs, 6)
    x = layers.SeparableConv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU(max_value=6)(bn()(x))
    x = layers.ZeroPadding2D(1)(x)
    x = layers.SeparableConv2D(10, 3, strides=2, use_bias=False)(x)
    x = layers.Activation("relu6")(bn()(x))
    return keras.Model(inputs, pooled_head(x))


def right_depthwise():
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            layers.BatchNormalization(epsilon=1e-5),
            layers.Activation("hard_swish"),
            layers.Conv2D(8, 1, activation="elu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def right_grouped():
    conv1 = layers.Conv2D(8, 3, padding="same", activation="relu")
    conv2 = layers.Conv2D(12, 3, padding="same", groups=4, activation="relu")
    fc = layers.Dense(5)
    model = keras.Sequential(
        [keras.Input((12, 10, 3)), conv1, conv2, layers.GlobalAveragePooling2D(), fc]
    )
    shapes = (8, 3, 3, 3), (8,), (12, 2, 3, 3), (12,), (5, 12), (5,)
    w1, b1, w2, b2, w3, b3 = drawn(8, *shapes)
    conv1.set_weights([w1.transpose(2, 3, 1, 0), b1])
    conv2.set_weights([w2.transpose(2, 3, 1, 0), b2])
    fc.set_weights([w3.T, b3])
    return model


def right_lstm():
    return keras.Sequential(
        [
            keras.Input((7, 5)),
            layers.LSTM(6, return_sequences=True),
            layers.LSTM(6),
            layers.Dense(4),
        ]
    )


def right_lstm_own():
    rnn, fc = layers.LSTM(6, name="lstm"), layers.Dense(4, name="fc")
    model = keras.Sequential([keras.Input((7, 5)), rnn, fc])
    shapes = (24, 5), (24, 6), (24,), (24,), (4, 6), (4,)
    w, u, b_ih, b_hh, w_fc, b_fc = drawn(9, *shapes)
    rnn.set_weights([w.T, u.T, b_ih + b_hh])
    fc.set_weights([w_fc.T, b_fc])
    return model


class right_gru(keras.Model):
    """Built when it is called first."""

    def __init__(self):
        super().__init__()
        self.gru = layers.GRU(6, return_sequences=True)
        self.fc = layers.Dense(4)

    def call(self, x):
        return self.fc(self.gru(x)[:, -1])


def right_bidirectional():
    tokens = keras.Input((7,), dtype="int32")
    x = layers.Embedding(20, 6)(tokens)
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, layers.Dense(3)(x))


def right_transformer():
    return tiny_gpt(causal=True)


def right_encoder_layer():
    inputs = keras.Input((6, 5))
    x = layers.Dense(8, name="project")(inputs)
    attention = layers.MultiHeadAttention(2, 4, dropout=0.1, name="self_attn")
    x = layers.Add()([x, layers.Dropout(0.1)(attention(x, x))])
    x = layers.LayerNormalization(epsilon=1e-5, name="norm1")(x)
    h = layers.Dense(16, activation="relu", name="linear1")(x)
    h = layers.Dense(8, name="linear2")(layers.Dropout(0.1)(h))
    x = layers.Add()([x, layers.Dropout(0.1)(h)])
    x = layers.LayerNormalization(epsilon=1e-5, name="norm2")(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x))


def double_conv(x, filters):
    return conv_bn(conv_bn(x, filters), filters)


def right_unet():
    inputs = keras.Input((12, 16, 3))
    x1 = double_conv(inputs, 4)
    x2 = double_conv(layers.MaxPooling2D()(x1), 6)
    x3 = double_conv(layers.MaxPooling2D()(x2), 8)
    x = layers.Conv2DTranspose(6, 2, strides=2, name="up1")(x3)
    x = double_conv(layers.Concatenate()([x2, x]), 6)
    x = layers.Conv2DTranspose(4, 4, strides=2, padding="same", name="up2")(x)
    x = double_conv(layers.Concatenate()([x1, x]), 4)
    return keras.Model(inputs, layers.Conv2D(2, 1, name="outc")(x))


def right_transposed():
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.ZeroPadding2D(1),
            layers.Conv2D(6, 3, strides=2),
            layers.PReLU(shared_axes=[1, 2]),
            layers.Conv2DTranspose(4, 3, strides=2),
            layers.Cropping2D(((1, 0), (1, 0))),
            layers.Activation("tanh"),
        ]
    )


def right_pool():
    return keras.Sequential(
        [
            keras.Input((13, 11, 3)),
            layers.Conv2D(6, 3, padding="same", activation="leaky_relu"),
            layers.AveragePooling2D(3, 2, padding="same"),
            layers.Conv2D(8, 3, padding="same"),
            layers.LeakyReLU(),
            layers.AveragePooling2D(2, padding="same"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(5),
        ]
    )


def right_imagenet():
    inputs = keras.Input((12, 10, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Normalization(mean=MEAN, variance=STD**2)(x)
    x = conv_bn(x, 6, 2)
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(x))


def right_conv1d():
    return keras.Sequential(
        [
            keras.Input((14, 4)),
            layers.Conv1D(6, 5, padding="same"),
            layers.BatchNormalization(epsilon=1e-5),
            layers.ReLU(),
            layers.MaxPooling1D(2),
            layers.Conv1D(8, 3, dilation_rate=2, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3),
        ]
    )


def right_conv3d():
    return keras.Sequential(
        [
            keras.Input((6, 4, 8, 2)),
            layers.Conv3D(4, 3, padding="same"),
            layers.GroupNormalization(groups=-1, epsilon=1e-5),
            layers.ReLU(),
            layers.Conv3D(4, 2, strides=2),
            layers.Permute((4, 1, 2, 3)),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def right_float32():
    return keras.Sequential(
        [
            keras.Input((6, 4, 8, 2)),
            layers.Conv3D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling3D(2),
            layers.GlobalAveragePooling3D(),
            layers.Dense(3),
        ]
    )


def right_bilinear():
    inputs = keras.Input((12, 10, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(6, 3, strides=2, activation="relu", name="down")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    return keras.Model(inputs, layers.Conv2D(2, 3, padding="same", name="out")(x))


class right_squeeze(keras.Model):
    """Built when it is called first."""

    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(8, 3, padding="same", activation="softplus")
        self.pool = layers.GlobalAveragePooling2D(keepdims=True)
        self.squeeze = layers.Conv2D(4, 1, activation="relu")
        self.excite = layers.Conv2D(8, 1, activation="sigmoid")
        self.half = layers.AveragePooling2D(2)
        self.flatten = layers.Flatten()
        self.fc = layers.Dense(5)

    def call(self, x):
        x = self.conv(x)
        x = x * self.excite(self.squeeze(self.pool(x)))
        return self.fc(self.flatten(self.half(x) * 0.5))


def right_lrn():
    return alexnet_stem(LocalResponse(2, 2.0, 0.1, 0.75, name="lrn"))
