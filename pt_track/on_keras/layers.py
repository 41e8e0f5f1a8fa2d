"""Layers with the spec's numbers, in Keras on torch.  Twin: tf_track/layers.py.

Keras on torch makes float32 of float64 wherever it looks for a common type: in the
calls of Dense and BatchNormalization, in `ops.matmul`, `ops.mean` and `ops.maximum`, of
a Python number even beside a float64 tensor (keras-team/keras issue 23704).  So sums
and products are operators here, and means are sums: the same kernels of torch, which
keep the type they are given.
"""

from math import inf, pi, prod
from typing import Any

import keras
import numpy as np
from keras import ops
from torch import Tensor

from common import spec
from common.draws import WINDOW
from common.errors import Refused
from common.spec import NO_REGIONS

AXES = (1, 2)  # height and width of NHWC
LAST = "channels_last"
DRAWN_LATER = "zeros"  # `build` puts the spec's weights in; Keras need draw none


class Network(keras.Model):
    """A model that computes where it was built, wherever Keras would by itself.

    Its layers make their weights when they are called; as `Part`.
    """

    place = "cpu"

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Nothing here: whatever is inside builds itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with keras.device(self.place):
            return super().__call__(*args, **kwargs)


class Part(keras.layers.Layer):
    """A layer of layers, each of which makes its weights when it is called.

    Without a `build` here Keras would first call them all once more to learn their
    shapes, and those inside once more for every layer around them.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Nothing here: whatever is inside builds itself."""


def dense(fan_in: int, layer: spec.Dense, dtype: str) -> keras.layers.Layer:
    """Fully connected."""
    return Linear(layer, dtype)


class Linear(keras.layers.Dense):
    """Fully connected."""

    def __init__(self, layer: spec.Dense, dtype: str) -> None:
        super().__init__(
            layer.out,
            use_bias=layer.bias,
            kernel_initializer=DRAWN_LATER,
            dtype=policy(dtype),
        )

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        x = x @ self.kernel
        return x if self.bias is None else x + self.bias


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
            LAST,
            use_bias=layer.bias,
            kernel_initializer=DRAWN_LATER,
            dtype=policy(dtype),
        )
        plain = same or layer.pad == spec.NO_PAD
        self.uneven = None if plain else ((0, 0), *layer.pad, (0, 0))

    def call(self, x: Tensor) -> Tensor:
        x = ops.pad(x, self.uneven) if self.uneven else x
        x = self.convolution_op(x, self.kernel)
        return x if self.bias is None else x + self.bias


def pool(layer: spec.Pool, dtype: str) -> keras.layers.MaxPooling2D:
    """Max pooling with explicit pads."""
    return Pool(layer, dtype)


class Pool(keras.layers.MaxPooling2D):
    """Max pooling; pads are added beforehand."""

    def __init__(self, layer: spec.Pool, dtype: str) -> None:
        super().__init__(layer.window, layer.stride, "valid", LAST, dtype=policy(dtype))
        plain = layer.pad == spec.NO_PAD
        self.uneven = None if plain else ((0, 0), *layer.pad, (0, 0))

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if self.uneven:
            x = ops.pad(x, self.uneven, constant_values=-inf)
        return super().call(x)


def average(layer: spec.AveragePool, dtype: str) -> keras.layers.Layer:
    """Average pooling with explicit pads."""
    return AveragePool(layer, dtype)


class AveragePool(keras.layers.Layer):
    """Average pooling; the spec says whether the padding is counted.

    Where "same" has to pad one side more than the other, Keras on torch repeats the
    border and counts it, which no spec asks for: it is used where the sides are alike.
    """

    def __init__(self, layer: spec.AveragePool, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))
        self.numbers = layer

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        window, stride, pad = self.numbers.window, self.numbers.stride, self.numbers.pad
        counted = self.numbers.border == "include"
        even = all(before == after for before, after in pad)
        if not counted and even and pad == spec.same(x.shape[1:3], window, stride):
            return ops.average_pool(x, window, stride, "same", LAST)
        pads = ((0, 0), *pad, (0, 0))
        mean = ops.average_pool(ops.pad(x, pads), window, stride, "valid", LAST)
        if counted:
            return mean
        ones = ops.pad(ops.ones_like(x[:1, :, :, :1]), pads)
        return mean / ops.average_pool(ones, window, stride, "valid", LAST)


def norm(channels: int, layer: spec.Norm, dtype: str) -> keras.layers.Layer:
    """Batch normalisation.  Keras's momentum weighs the old statistic."""
    return Norm(channels, layer, dtype)


class Norm(keras.layers.BatchNormalization):
    """Batch normalisation whose running variance follows the spec.

    Keras keeps the biased variance of a batch; where the spec says "unbiased" the
    batch's share of it is scaled up by n / (n - 1).  As in Keras on torch, a batch's
    is the mean of squares less the square of the mean: where that mean is large and the
    batch small, rounding reaches further than in the other tracks.
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

    @property
    def running_mean(self) -> Tensor:
        """The running mean (channels,), under torch's name and without a gradient."""
        return self.moving_mean.value.detach()

    @property
    def running_var(self) -> Tensor:
        """The running variance (channels,), likewise."""
        return self.moving_variance.value.detach()

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        wide = ops.cast(x, self.variable_dtype)  # sums stay float32
        mean, variance = self.running_mean, self.running_var
        if training and not self.frozen:
            mean, variance = ops.moments(wide, tuple(range(x.ndim - 1)))
            self.keep(mean, variance, prod(x.shape[:-1]))
        y = ops.batch_normalization(
            wide, mean, variance, -1, self.beta, self.gamma, self.epsilon
        )
        return ops.cast(y, self.compute_dtype)

    def keep(self, mean: Tensor, variance: Tensor, n: int) -> None:
        """Let a batch of `n` values per channel into the running statistics."""
        if self.variance == "unbiased":
            variance = variance * (n / (n - 1))
        stays, comes = self.momentum, 1 - self.momentum
        self.moving_mean.assign(self.running_mean * stays + mean * comes)
        self.moving_variance.assign(self.running_var * stays + variance * comes)


class LRN(keras.layers.Layer):
    """Local response normalisation; the window's sum is a product with a band."""

    def __init__(self, channels: int, layer: spec.LRN, dtype: str) -> None:
        super().__init__(dtype=stored(dtype))  # sums stay float32
        self.numbers = layer
        index = np.arange(channels)
        near = np.abs(index[:, None] - index) <= layer.radius
        self.band = ops.convert_to_tensor(near, stored(dtype))

    def call(self, x: Tensor) -> Tensor:
        flat = ops.reshape(x * x, (-1, x.shape[-1]))
        total = ops.reshape(flat @ self.band, x.shape)
        denominator = self.numbers.bias + self.numbers.alpha * total
        return x * ops.exp(-self.numbers.beta * ops.log(denominator))


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
            middle = (s.middle(len(x)) for s in self.starts)
            rows, columns = (ops.convert_to_tensor(starts) for starts in middle)
        if self.layer.per == "picture":
            return self.pooled(x, rows, columns)
        n, h, w, c = x.shape
        rows, columns = (ops.reshape(s, (n * c, -1)) for s in (rows, columns))
        maps = ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (n * c, h, w, 1))
        y = self.pooled(maps, rows, columns)
        return ops.transpose(ops.reshape(y, (n, c, *y.shape[1:3])), (0, 2, 3, 1))

    def pooled(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Of pictures whose channels share their regions."""
        n, h, w, _ = x.shape
        if self.layer.overlap:
            x = ops.max_pool(x, WINDOW, 1, "valid", LAST)
            return picked(x, rows, columns)
        every = ops.repeat(ops.arange(w)[None], n, axis=0)
        x = larger(picked(x, rows, every), picked(x, ends(rows, h), every))
        every = ops.repeat(ops.arange(x.shape[1])[None], n, axis=0)
        return larger(picked(x, every, columns), picked(x, every, ends(columns, w)))


def picked(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of (n, h, w, c) at rows (n, a) and columns (n, b): (n, a, b, c)."""
    n, h, w, c = x.shape
    first = ops.arange(n) * (h * w)
    at = first[:, None, None] + rows[:, :, None] * w + columns[:, None, :]
    return ops.take(ops.reshape(x, (n * h * w, c)), at, axis=0)


def ends(starts: Tensor, length: int) -> Tensor:
    """The last pixel of regions that end where the next one starts, (n, out)."""
    last = ops.full((len(starts), 1), length, starts.dtype)
    return ops.concatenate([starts[:, 1:], last], axis=1) - 1


def larger(a: Tensor, b: Tensor) -> Tensor:
    """The larger of two, `a` where they are equal; of a NaN, that."""
    return ops.where((a >= b) | ops.isnan(a), a, b)


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
        return ops.where(keep, x / (1 - self.rate), ops.zeros((), x.dtype))


class Flatten(keras.layers.Layer):
    """(n, h, w, c) -> (n, features), the features in the spec's order."""

    def __init__(self, order: str, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))
        self.order = order

    def call(self, x: Tensor) -> Tensor:
        if self.order == "chw":
            x = ops.transpose(x, (0, 3, 1, 2))
        return ops.reshape(x, (-1, prod(x.shape[1:])))


class Relu(keras.layers.Layer):
    """max(x, 0)."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))

    def call(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class Act(keras.layers.Layer):
    """An activation, as the spec says."""

    def __init__(self, layer: spec.Act, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))
        self.layer = layer
        if layer.kind == "gelu":
            gelu(None)  # when the network is built, not at its first picture

    def call(self, x: Tensor) -> Tensor:
        match self.layer.kind:
            case "leaky":
                return ops.where(x > 0, x, x * self.layer.slope)
            case "silu":
                return x * ops.sigmoid(x)
        return gelu_tanh(x)


def gelu(x: Tensor | None) -> Tensor:
    """Refused: there is none that is exact in float64.

    Raises:
        Refused: Always.
    """
    raise Refused(
        "the track keras_torch has no GELU that is exact in float64, as keras.ops has "
        "no erfc; use the tracks torch and tensorflow"
    )


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU's approximation by tanh."""
    inner = (2 / pi) ** 0.5 * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + ops.tanh(inner))


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
        x = ops.cast(x, self.compute_dtype) / self.scale.divide
        if self.scale.mean:
            x = x - ops.convert_to_tensor(self.scale.mean, self.compute_dtype)
        if self.scale.std:
            x = x / ops.convert_to_tensor(self.scale.std, self.compute_dtype)
        return per_image(x) if self.scale.per_image else x


def per_image(x: Tensor) -> Tensor:
    """Each picture minus its mean, over max(its deviation, 1 / sqrt(values))."""
    axes = (*AXES, 3)
    x = x - mean(x, axes, keepdims=True)
    deviation = ops.sqrt(mean(x * x, axes, keepdims=True))
    least = ops.convert_to_tensor(prod(x.shape[1:]) ** -0.5, x.dtype)
    return x / ops.where(deviation > least, deviation, least)


def mean(x: Tensor, axes: tuple[int, ...], keepdims: bool = False) -> Tensor:
    """Over these axes; `ops.mean` would do it in float32."""
    n = prod(x.shape[axis] for axis in axes)
    return ops.sum(x, axes, keepdims) / n


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
    return ops.pad(x, pads, constant_values=ground)


def stored(dtype: str) -> str:
    """The type weights are kept in: float32 for a model that computes in bfloat16."""
    return "float64" if dtype == "float64" else "float32"


def policy(dtype: str) -> str:
    """Keras's name for weights in one type and arithmetic in another."""
    return "mixed_bfloat16" if dtype == "bfloat16" else dtype
