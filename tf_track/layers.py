"""Layers with the spec's numbers, in Keras.  Twin: pt_track/layers.py."""

from math import pi

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from common import spec
from common.draws import WINDOW
from common.spec import NO_REGIONS

AXES = (1, 2)  # height and width of NHWC
DRAWN_LATER = "zeros"  # `build` puts the spec's weights in; Keras need draw none


class Network(keras.Model):
    """A model whose layers make their weights when they are called; as `Part`."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Nothing here: whatever is inside builds itself."""


class Part(keras.layers.Layer):
    """A layer of layers, each of which makes its weights when it is called.

    Without a `build` here Keras would first call them all once more to learn their
    shapes, and those inside once more for every layer around them.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Nothing here: whatever is inside builds itself."""


def dense(fan_in: int, layer: spec.Dense, dtype: str) -> keras.layers.Layer:
    """Fully connected."""
    return keras.layers.Dense(
        layer.out,
        use_bias=layer.bias,
        kernel_initializer=DRAWN_LATER,
        dtype=policy(dtype),
    )


def conv(channels: int, layer: spec.Conv, dtype: str) -> keras.layers.Conv2D:
    """Convolution with explicit pads."""
    return Conv(channels, layer, dtype)


class Conv(keras.layers.Conv2D):
    """Convolution; pads that "same" does not give are added beforehand."""

    def __init__(self, channels: int, layer: spec.Conv, dtype: str) -> None:
        same = layer.stride == 1 and layer.pad == spec.same((1, 1), layer.kernel, 1)
        super().__init__(
            layer.out,
            layer.kernel,
            layer.stride,
            "same" if same else "valid",
            use_bias=layer.bias,
            kernel_initializer=DRAWN_LATER,
            dtype=policy(dtype),
        )
        plain = same or layer.pad == spec.NO_PAD
        self.uneven = None if plain else ((0, 0), *layer.pad, (0, 0))

    def call(self, x: Tensor) -> Tensor:
        return super().call(tf.pad(x, self.uneven) if self.uneven else x)


def pool(layer: spec.Pool, dtype: str) -> keras.layers.MaxPooling2D:
    """Max pooling with explicit pads."""
    return Pool(layer, dtype)


class Pool(keras.layers.MaxPooling2D):
    """Max pooling; pads are added beforehand."""

    def __init__(self, layer: spec.Pool, dtype: str) -> None:
        super().__init__(layer.window, layer.stride, "valid", dtype=policy(dtype))
        plain = layer.pad == spec.NO_PAD
        self.uneven = None if plain else ((0, 0), *layer.pad, (0, 0))

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if self.uneven:
            x = tf.pad(x, self.uneven, constant_values=x.dtype.min)
        return super().call(x)


def average(layer: spec.AveragePool, dtype: str) -> keras.layers.Layer:
    """Average pooling with explicit pads."""
    return AveragePool(layer, dtype)


class AveragePool(keras.layers.Layer):
    """Average pooling; the spec says whether the padding is counted."""

    def __init__(self, layer: spec.AveragePool, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))
        self.numbers = layer

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        window, stride, pad = self.numbers.window, self.numbers.stride, self.numbers.pad
        counted = self.numbers.border == "include"
        if not counted and pad == spec.same(x.shape[1:3], window, stride):
            return tf.nn.avg_pool2d(x, window, stride, "SAME")
        pads = ((0, 0), *pad, (0, 0))
        mean = tf.nn.avg_pool2d(tf.pad(x, pads), window, stride, "VALID")
        if counted:
            return mean
        ones = tf.pad(tf.ones_like(x[:1, :, :, :1]), pads)
        return mean / tf.nn.avg_pool2d(ones, window, stride, "VALID")


def norm(channels: int, layer: spec.Norm, dtype: str) -> keras.layers.Layer:
    """Batch normalisation.  Keras's momentum weighs the old statistic."""
    return Norm(channels, layer, dtype)


class Norm(keras.layers.BatchNormalization):
    """Batch normalisation whose running variance follows the spec.

    Keras keeps the biased variance of a batch; where the spec says "unbiased" the
    batch's share of it is scaled up by n / (n - 1).
    """

    alone = 0.0  # the momentum at which the running statistics are a batch's own

    def __init__(self, channels: int, layer: spec.Norm, dtype: str) -> None:
        super().__init__(
            momentum=layer.decay,
            epsilon=layer.eps,
            scale=layer.scale,
            dtype=policy(dtype),
        )
        self.variance = layer.variance
        self.frozen = False  # whether training leaves the running statistics alone

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        training = training and not self.frozen
        if self.variance == "biased" or not training:
            return super().call(x, training=training)
        before = tf.identity(self.moving_variance)
        y = super().call(x, training=training)
        added = self.moving_variance - before * self.momentum
        n = tf.cast(tf.size(x) / tf.shape(x)[-1], added.dtype)
        self.moving_variance.assign_add(added / (n - 1))
        return y


class LRN(keras.layers.Layer):
    """Local response normalisation; the window's sum is a product with a band.

    Written out because TensorFlow's own has no float64 kernel.
    """

    def __init__(self, channels: int, layer: spec.LRN, dtype: str) -> None:
        super().__init__(dtype=stored(dtype))  # sums stay float32
        self.numbers = layer
        index = np.arange(channels)
        near = np.abs(index[:, None] - index) <= layer.radius
        self.band = near.astype(stored(dtype))

    def call(self, x: Tensor) -> Tensor:
        flat = tf.reshape(x * x, (-1, x.shape[-1]))
        total = tf.reshape(flat @ self.band, tf.shape(x))
        denominator = self.numbers.bias + self.numbers.alpha * total
        return x * tf.exp(-self.numbers.beta * tf.math.log(denominator))


class FractionalPool(keras.layers.Layer):
    """Max pooling over regions that are given: all that is drawn about them is.

    Where none are given a model that is not in training takes the middle ones.
    """

    def __init__(
        self, layer: spec.FractionalPool, shape: spec.Shape, dtype: str
    ) -> None:
        super().__init__(dtype=policy(dtype))
        self.layer = layer
        self.starts = layer.starts(shape)

    def call(
        self,
        x: Tensor,
        rows: Tensor | None = None,
        columns: Tensor | None = None,
        training: bool = False,
    ) -> Tensor:
        if rows is None or columns is None:
            if training:
                raise ValueError(NO_REGIONS)
            n = tf.shape(x)[0]
            middle = (tf.constant(s.middle(1)) for s in self.starts)
            rows, columns = (tf.repeat(starts, n, axis=0) for starts in middle)
        if self.layer.per == "picture":
            return self.pooled(x, rows, columns)
        h, w, c = x.shape[1:]
        rows, columns = (tf.reshape(s, (-1, s.shape[-1])) for s in (rows, columns))
        maps = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, h, w, 1))
        y = self.pooled(maps, rows, columns)
        return tf.transpose(tf.reshape(y, (-1, c, *y.shape[1:3])), (0, 2, 3, 1))

    def pooled(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Of pictures whose channels share their regions."""
        if self.layer.overlap:
            return picked(tf.nn.max_pool2d(x, WINDOW, 1, "VALID"), rows, columns)
        every = tf.repeat(tf.range(x.shape[2])[None], tf.shape(x)[0], axis=0)
        last = ends(rows, x.shape[1])
        x = larger(picked(x, rows, every), picked(x, last, every))
        every = tf.repeat(tf.range(x.shape[1])[None], tf.shape(x)[0], axis=0)
        last = ends(columns, x.shape[2])
        return larger(picked(x, every, columns), picked(x, every, last))


def picked(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of (n, h, w, c) at rows (n, a) and columns (n, b): (n, a, b, c)."""
    h, w, c = x.shape[1:]
    first = tf.range(tf.shape(x)[0]) * (h * w)
    at = first[:, None, None] + rows[:, :, None] * w + columns[:, None, :]
    found = tf.gather(tf.reshape(x, (-1, c)), tf.reshape(at, (-1,)))
    return tf.reshape(found, (-1, rows.shape[1], columns.shape[1], c))


def ends(starts: Tensor, length: int) -> Tensor:
    """The last pixel of regions that end where the next one starts, (n, out)."""
    return tf.pad(starts[:, 1:], ((0, 0), (0, 1)), constant_values=length) - 1


def larger(a: Tensor, b: Tensor) -> Tensor:
    """The larger of two, `a` where they are equal; of a NaN, that."""
    return tf.where((a >= b) | tf.math.is_nan(a), a, b)


class Dropout(keras.layers.Layer):
    """Dropout by a mask that is given, or the framework's own where none is."""

    def __init__(self, rate: float, dtype: str, per: str = "value") -> None:
        super().__init__(dtype=policy(dtype))
        self.rate = rate
        self.per = per
        self.own = keras.layers.Dropout(rate, dtype=policy(dtype))
        self.maps = keras.layers.SpatialDropout2D(rate, dtype=policy(dtype))

    def call(
        self, x: Tensor, keep: Tensor | None = None, training: bool = False
    ) -> Tensor:
        if keep is None:
            whole = self.per == "map" and len(x.shape) == 4
            own = self.maps if whole else self.own
            return own(x, training=training)
        zero = tf.zeros((), x.dtype)
        return tf.where(keep, x / (1 - self.rate), zero)


class Flatten(keras.layers.Layer):
    """(n, h, w, c) -> (n, features), the features in the spec's order."""

    def __init__(self, order: str, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))
        self.order = order

    def call(self, x: Tensor) -> Tensor:
        if self.order == "chw":
            x = tf.transpose(x, (0, 3, 1, 2))
        return tf.reshape(x, (-1, np.prod(x.shape[1:])))


class Relu(keras.layers.Layer):
    """max(x, 0)."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))

    def call(self, x: Tensor) -> Tensor:
        return tf.nn.relu(x)


class Act(keras.layers.Layer):
    """An activation, as the spec says."""

    def __init__(self, layer: spec.Act, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))
        self.layer = layer

    def call(self, x: Tensor) -> Tensor:
        match self.layer.kind:
            case "leaky":
                if x.dtype != tf.float64:
                    return tf.nn.leaky_relu(x, self.layer.slope)
                # Its slope is a float32, in float64 too.
                return tf.where(x > 0, x, x * self.layer.slope)
            case "silu":
                return tf.nn.silu(x)
            case "gelu-tanh":
                return gelu_tanh(x)
        return gelu(x)


def gelu(x: Tensor) -> Tensor:
    """X * Phi(x); in float64 by erfc, which keeps its relative accuracy below -5.

    TensorFlow's own adds 1 to an erf near -1 there, and what is left is noise: filters
    that pass it on to a maximum pick other winners in another framework.
    """
    if x.dtype != tf.float64:
        return tf.nn.gelu(x, approximate=False)
    return 0.5 * x * tf.math.erfc(-x * 2**-0.5)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU's approximation by tanh."""
    inner = (2 / pi) ** 0.5 * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + tf.tanh(inner))


class Multiply(keras.layers.Layer):
    """Every value times a factor."""

    def __init__(self, factor: float, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))
        self.factor = factor

    def call(self, x: Tensor) -> Tensor:
        return x * self.factor


class Scale(keras.layers.Layer):
    """Float pixels 0 to 255 -> the first layer's input, as the spec says."""

    def __init__(self, scale: spec.Scale, dtype: str) -> None:
        super().__init__(dtype=stored(dtype))
        self.scale = scale

    def call(self, x: Tensor) -> Tensor:
        x = tf.cast(x, self.compute_dtype) / self.scale.divide
        if self.scale.mean:
            x = x - np.asarray(self.scale.mean, self.compute_dtype)
        if self.scale.std:
            x = x / np.asarray(self.scale.std, self.compute_dtype)
        return per_image(x) if self.scale.per_image else x


def per_image(x: Tensor) -> Tensor:
    """Each picture minus its mean, over max(its deviation, 1 / sqrt(values))."""
    axes = (*AXES, 3)
    x = x - tf.reduce_mean(x, axes, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(x * x, axes, keepdims=True))
    return x / tf.maximum(deviation, float(np.prod(x.shape[1:])) ** -0.5)


def crop(x: Tensor, side: int) -> Tensor:
    """The central square of a larger picture; `side` 0 keeps it whole."""
    h, w = (x.shape[axis] for axis in AXES)
    if not side or (h, w) == (side, side):
        return x
    top, left = (h - side) // 2, (w - side) // 2
    return x[:, top : top + side, left : left + side]


def laid(x: Tensor, side: int, ground: int) -> Tensor:
    """The picture in the middle of a canvas; `side` 0 leaves it as it is."""
    h, w = (x.shape[axis] for axis in AXES)
    if not side or (h, w) == (side, side):
        return x
    top, left = (side - h) // 2, (side - w) // 2
    pads = ((0, 0), (top, side - h - top), (left, side - w - left), (0, 0))
    return tf.pad(x, pads, constant_values=tf.cast(ground, x.dtype))


def stored(dtype: str) -> str:
    """The type weights are kept in: float32 for a model that computes in bfloat16."""
    return "float64" if dtype == "float64" else "float32"


def policy(dtype: str) -> str:
    """Keras's name for weights in one type and arithmetic in another."""
    return "mixed_bfloat16" if dtype == "bfloat16" else dtype
