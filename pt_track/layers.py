"""Layers with the spec's numbers, in PyTorch.  Twin: tf_track/layers.py."""

from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import spec
from common.draws import WINDOW
from common.spec import NO_REGIONS

AXES = (2, 3)  # height and width of NCHW


def dense(fan_in: int, layer: spec.Dense, dtype: str) -> nn.Linear:
    """Fully connected."""
    return nn.Linear(fan_in, layer.out, bias=layer.bias, dtype=stored(dtype))


def conv(channels: int, layer: spec.Conv, dtype: str) -> nn.Conv2d:
    """Convolution with explicit pads."""
    return Conv(channels, layer, dtype)


class Conv(nn.Conv2d):
    """Convolution; pads that differ from side to side are added beforehand."""

    def __init__(self, channels: int, layer: spec.Conv, dtype: str) -> None:
        (top, bottom), (left, right) = layer.pad
        even = top == bottom and left == right
        super().__init__(
            channels,
            layer.out,
            layer.kernel,
            layer.stride,
            (top, left) if even else 0,
            bias=layer.bias,
            dtype=stored(dtype),
        )
        self.uneven = None if even else (left, right, top, bottom)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.uneven) if self.uneven else x)


def pool(layer: spec.Pool, dtype: str) -> nn.MaxPool2d:
    """Max pooling with explicit pads."""
    return Pool(layer, dtype)


class Pool(nn.MaxPool2d):
    """Max pooling; pads that differ from side to side are added beforehand."""

    def __init__(self, layer: spec.Pool, dtype: str) -> None:
        (top, bottom), (left, right) = layer.pad
        even = top == bottom and left == right
        super().__init__(layer.window, layer.stride, (top, left) if even else 0)
        self.uneven = None if even else (left, right, top, bottom)

    def forward(self, x: Tensor) -> Tensor:
        if self.uneven:
            x = F.pad(x, self.uneven, value=-torch.inf)
        return super().forward(x)


def average(layer: spec.AveragePool, dtype: str) -> nn.Module:
    """Average pooling with explicit pads."""
    return AveragePool(layer, dtype)


class AveragePool(nn.Module):
    """Average pooling; the spec says whether the padding is counted."""

    def __init__(self, layer: spec.AveragePool, dtype: str) -> None:
        super().__init__()
        self.numbers = layer

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = self.numbers.pad
        window, stride = self.numbers.window, self.numbers.stride
        if top == bottom and left == right:
            counted = self.numbers.border == "include"
            return F.avg_pool2d(
                x, window, stride, (top, left), count_include_pad=counted
            )
        pads = (left, right, top, bottom)
        mean = F.avg_pool2d(F.pad(x, pads), window, stride)
        if self.numbers.border == "include":
            return mean
        share = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), pads), window, stride)
        return mean / share


def norm(channels: int, layer: spec.Norm, dtype: str) -> nn.Module:
    """Batch normalisation.  Torch's momentum weighs the new statistic."""
    return Norm(channels, layer, dtype)


class Norm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose running variance follows the spec.

    Torch keeps the unbiased variance of a batch; where the spec says "biased" the
    batch's share of it is scaled back by (n - 1) / n.
    """

    alone = 1.0  # the momentum at which the running statistics are a batch's own

    def __init__(self, channels: int, layer: spec.Norm, dtype: str) -> None:
        super().__init__(channels, layer.eps, 1 - layer.decay, dtype=stored(dtype))
        self.variance = layer.variance
        self.frozen = False  # whether training leaves the running statistics alone
        if not layer.scale:
            self.register_parameter("weight", None)
        del self.num_batches_tracked  # momentum is given, nothing reads the count
        self.num_batches_tracked = None

    def _check_input_dim(self, x: Tensor) -> None:
        """Maps (n, c, h, w) and vectors (n, c) alike."""

    def forward(self, x: Tensor) -> Tensor:
        if self.frozen or not self.training:
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)
        if self.variance == "unbiased":
            return super().forward(x)
        mean, var = self.running_mean.clone(), self.running_var.clone()
        y = F.batch_norm(
            x, mean, var, self.weight, self.bias, True, self.momentum, self.eps
        )
        n = x.numel() / x.shape[1]
        with torch.no_grad():  # not in place above: autograd keeps what it was given
            self.running_mean.copy_(mean)
            self.running_var.mul_((1 - self.momentum) / n).add_(var, alpha=(n - 1) / n)
        return y


class LRN(nn.Module):
    """Local response normalisation; the window's sum is a product with a band.

    Written out because TensorFlow's own has no float64 kernel.
    """

    def __init__(self, channels: int, layer: spec.LRN, dtype: str) -> None:
        super().__init__()
        self.numbers = layer
        index = torch.arange(channels)
        near = (index[:, None] - index).abs() <= layer.radius
        self.register_buffer("band", near.to(stored(dtype)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.band.dtype)
        with torch.autocast(x.device.type, enabled=False):  # sums stay float32
            total = (x * x).movedim(1, -1) @ self.band
        denominator = self.numbers.bias + self.numbers.alpha * total.movedim(-1, 1)
        return x * torch.exp(-self.numbers.beta * torch.log(denominator))


class FractionalPool(nn.Module):
    """Max pooling over regions that are given: all that is drawn about them is.

    Where none are given a model that is not in training takes the middle ones.
    """

    def __init__(self, layer: spec.FractionalPool, shape: spec.Shape) -> None:
        super().__init__()
        self.layer = layer
        self.starts = layer.starts(shape)

    def forward(
        self, x: Tensor, rows: Tensor | None = None, columns: Tensor | None = None
    ) -> Tensor:
        if rows is None or columns is None:
            if self.training:
                raise ValueError(NO_REGIONS)
            middle = (torch.from_numpy(s.middle(len(x))) for s in self.starts)
            rows, columns = (starts.to(x.device) for starts in middle)
        if self.layer.per == "picture":
            return self.pooled(x, rows, columns)
        n, c, h, w = x.shape
        rows, columns = rows.flatten(0, 1), columns.flatten(0, 1)
        y = self.pooled(x.reshape(n * c, 1, h, w), rows, columns)
        return y.reshape(n, c, *y.shape[2:])

    def pooled(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Of pictures whose channels share their regions."""
        if self.layer.overlap:
            return picked(F.max_pool2d(x, WINDOW, 1), rows, columns)
        every = torch.arange(x.shape[3], device=x.device).expand(len(x), -1)
        last = ends(rows, x.shape[2])
        x = larger(picked(x, rows, every), picked(x, last, every))
        every = torch.arange(x.shape[2], device=x.device).expand(len(x), -1)
        last = ends(columns, x.shape[3])
        return larger(picked(x, every, columns), picked(x, every, last))


def picked(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of (n, c, h, w) at rows (n, a) and columns (n, b): (n, c, a, b)."""
    n, c, h, w = x.shape
    first = torch.arange(0, n * h * w, h * w, device=x.device)
    at = first[:, None, None] + rows[:, :, None] * w + columns[:, None, :]
    flat = x.permute(0, 2, 3, 1).reshape(n * h * w, c)
    found = flat.index_select(0, at.flatten())
    return found.reshape(*at.shape, c).permute(0, 3, 1, 2)


def ends(starts: Tensor, length: int) -> Tensor:
    """The last pixel of regions that end where the next one starts, (n, out)."""
    return F.pad(starts[:, 1:], (0, 1), value=length) - 1


def larger(a: Tensor, b: Tensor) -> Tensor:
    """The larger of two, `a` where they are equal; of a NaN, that."""
    return torch.where((a >= b) | a.isnan(), a, b)


class Dropout(nn.Module):
    """Dropout by a mask that is given, or the framework's own where none is."""

    def __init__(self, rate: float, dtype: str, per: str = "value") -> None:
        super().__init__()
        self.rate = rate
        self.per = per

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        if keep is None:
            whole = self.per == "map" and x.ndim == 4
            own = F.dropout2d if whole else F.dropout
            return own(x, self.rate, self.training)
        if keep.ndim == 1:  # whole maps, the same in all pictures
            keep = keep.view(-1, *(1,) * (x.ndim - 2))
        else:
            keep = keep.movedim(-1, 1)  # masks are canonical
        return torch.where(keep, x / (1 - self.rate), 0.0)


class Flatten(nn.Module):
    """(n, c, h, w) -> (n, features), the features in the spec's order."""

    def __init__(self, order: str, dtype: str) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return (x.movedim(1, -1) if self.order == "hwc" else x).flatten(1)


class Relu(nn.Module):
    """max(x, 0)."""

    def __init__(self, dtype: str) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class Act(nn.Module):
    """An activation, as the spec says."""

    def __init__(self, layer: spec.Act, dtype: str) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        match self.layer.kind:
            case "leaky":
                return F.leaky_relu(x, self.layer.slope)
            case "silu":
                return F.silu(x)
            case "gelu-tanh":
                return gelu_tanh(x)
        return gelu(x)


def gelu(x: Tensor) -> Tensor:
    """X * Phi(x); in float64 by erfc, which keeps its relative accuracy below -5.

    Torch's own adds 1 to an erf near -1 there, and what is left is noise: filters that
    pass it on to a maximum pick other winners in another framework.
    """
    if x.dtype != torch.float64:
        return F.gelu(x)
    return 0.5 * x * torch.special.erfc(-x * 2**-0.5)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU's approximation by tanh."""
    inner = (2 / pi) ** 0.5 * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + torch.tanh(inner))


class Multiply(nn.Module):
    """Every value times a factor."""

    def __init__(self, factor: float, dtype: str) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Scale(nn.Module):
    """Float pixels 0 to 255 -> the first layer's input, as the spec says."""

    def __init__(self, scale: spec.Scale, dtype: str) -> None:
        super().__init__()
        self.scale = scale
        self.dtype = stored(dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype) / self.scale.divide
        if self.scale.mean:
            x = x - x.new_tensor(self.scale.mean)[:, None, None]
        if self.scale.std:
            x = x / x.new_tensor(self.scale.std)[:, None, None]
        return per_image(x) if self.scale.per_image else x


def per_image(x: Tensor) -> Tensor:
    """Each picture minus its mean, over max(its deviation, 1 / sqrt(values))."""
    axes = (1, *AXES)
    x = x - x.mean(axes, keepdim=True)
    deviation = (x * x).mean(axes, keepdim=True).sqrt()
    return x / deviation.clamp_min(x[0].numel() ** -0.5)


def crop(x: Tensor, side: int) -> Tensor:
    """The central square of a larger picture; `side` 0 keeps it whole."""
    h, w = (x.shape[axis] for axis in AXES)
    if not side or (h, w) == (side, side):
        return x
    top, left = (h - side) // 2, (w - side) // 2
    return x[:, :, top : top + side, left : left + side]


def laid(x: Tensor, side: int, ground: int) -> Tensor:
    """The picture in the middle of a canvas; `side` 0 leaves it as it is."""
    h, w = (x.shape[axis] for axis in AXES)
    if not side or (h, w) == (side, side):
        return x
    top, left = (side - h) // 2, (side - w) // 2
    pads = (left, side - w - left, top, side - h - top)
    return F.pad(x, pads, value=ground)


def stored(dtype: str) -> torch.dtype:
    """The type weights are kept in: float32 for a model that computes in bfloat16."""
    return torch.float64 if dtype == "float64" else torch.float32
