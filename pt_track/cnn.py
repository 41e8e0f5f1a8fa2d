"""CNN, in PyTorch.  Twin: tf_track/cnn.py."""

from torch import Tensor, autocast, bfloat16, nn

from common import spec
from pt_track.layers import (
    LRN,
    Act,
    Dropout,
    Flatten,
    FractionalPool,
    Multiply,
    Relu,
    Scale,
    average,
    conv,
    crop,
    dense,
    laid,
    norm,
    pool,
)

# Of a fractional pool's regions, in the order in which it takes them.
AXES = (spec.ROWS, spec.COLUMNS)


class CNN(nn.Module):
    """The network `spec` describes: float pixels (n, c, h, w) to logits."""

    def __init__(self, spec_: spec.CNNSpec, dtype: str) -> None:
        super().__init__()
        self.mixed = dtype == "bfloat16"
        self.side = spec_.crop
        self.canvas, self.ground = spec_.canvas, spec_.ground
        self.scale = Scale(spec_.scale, dtype)
        self.order = spec_.names
        shapes = spec_.shapes[:-1]
        for name, layer, shape in zip(self.order, spec_.layers, shapes, strict=True):
            setattr(self, name, module(layer, shape, dtype))

    def forward(self, x: Tensor, draws: dict[str, Tensor] | None = None) -> Tensor:
        draws = draws or {}
        with autocast(x.device.type, bfloat16, self.mixed):
            x = laid(crop(x, self.side), self.canvas, self.ground)
            x = self.scale(x)
            kept = x
            for name in self.order:
                layer = getattr(self, name)
                match layer:
                    case FractionalPool():
                        regions = (draws.get(f"{name}.{axis}") for axis in AXES)
                        x = layer(x, *regions)
                    case Dropout():
                        x = layer(x, draws.get(name))
                    case spec.Branch():
                        kept = x
                    case spec.Add():
                        x = x + kept
                    case _:
                        x = layer(x)
        return x.float() if self.mixed else x  # (n, classes)


def module(
    layer: spec.Layer, shape: spec.Shape, dtype: str
) -> nn.Module | spec.Branch | spec.Add:
    """The layer that a record of the spec describes, for input of `shape`.

    Branches and sums have nothing to build: the network itself does them.
    """
    channels = shape[-1]
    match layer:
        case spec.Conv():
            return conv(channels, layer, dtype)
        case spec.Dense():
            return dense(channels, layer, dtype)
        case spec.Norm():
            return norm(channels, layer, dtype)
        case spec.LRN():
            return LRN(channels, layer, dtype)
        case spec.Pool():
            return pool(layer, dtype)
        case spec.AveragePool():
            return average(layer, dtype)
        case spec.FractionalPool():
            return FractionalPool(layer, shape)
        case spec.Dropout(rate, per):
            return Dropout(rate, dtype, per)
        case spec.Flatten(order):
            return Flatten(order, dtype)
        case spec.Relu():
            return Relu(dtype)
        case spec.Act():
            return Act(layer, dtype)
        case spec.Multiply(factor):
            return Multiply(factor, dtype)
        case spec.Branch() | spec.Add():
            return layer
    raise TypeError(f"a layer must be a record of common.spec, got {layer!r}")
