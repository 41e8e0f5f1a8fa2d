"""The graph as users want it: ordinary nodes, float32, pictures (n, c, h, w)."""

from __future__ import annotations

import numpy as np

from common import spec
from common.draws import Starts
from common.spec import Pad, Shape, sides
from common.weights import Weights
from common.witness.form import Form
from common.witness.graph import BATCH

NCHW, NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
OIHW = (3, 2, 0, 1)  # of a canonical kernel (h, w, in, out), as ONNX has it


class Plain(Form):
    """Layers in float32, maps as (n, c, h, w); weights are part of the graph."""

    dtype = "float32"
    axes = (2, 3)
    channels = 1

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.weights = weights

    def weight(self, name: str, shape: Shape) -> str:
        value = self.weights[name].astype(self.dtype)
        if value.ndim == len(OIHW):
            value = np.ascontiguousarray(value.transpose(OIHW))
        return self.graph.constant(value, name)

    def conv(self, x: str, name: str, layer: spec.Conv, shape: Shape) -> str:
        kernel = sides(layer.kernel)
        return self.graph.node(
            "Conv",
            x,
            *self.of(name, layer),
            kernel_shape=kernel,
            strides=(layer.stride, layer.stride),
            pads=ends(layer.pad),
        )

    def dense(self, x: str, name: str, layer: spec.Dense, shape: Shape) -> str:
        return self.graph.node("Gemm", x, *self.of(name, layer))

    def of(self, name: str, layer: spec.Conv | spec.Dense) -> list[str]:
        """Kernel, and bias if there is one."""
        own = ("kernel", "bias") if layer.bias else ("kernel",)
        return [self.weight(f"{name}.{part}", ()) for part in own]

    def norm(self, x: str, name: str, layer: spec.Norm, shape: Shape) -> str:
        parts = {part: f"{name}.{part}" for part in ("shift", "mean", "var")}
        rest = [self.weight(own, ()) for own in parts.values()]
        if layer.scale:
            scale = self.weight(f"{name}.scale", ())
        else:
            scale = self.graph.constant(np.ones(shape[-1], self.dtype))
        return self.graph.node("BatchNormalization", x, scale, *rest, epsilon=layer.eps)

    def lrn(self, x: str, layer: spec.LRN, shape: Shape) -> str:
        graph, size = self.graph, 2 * layer.radius + 1
        numbers = {"alpha": layer.alpha * size, "beta": layer.beta, "bias": layer.bias}
        if len(shape) == 1:  # the node takes maps alone
            x = graph.node("Unsqueeze", x, graph.whole((2, 3)))
        x = graph.node("LRN", x, size=size, **numbers)
        if len(shape) == 1:
            x = graph.node("Squeeze", x, graph.whole((2, 3)))
        return x

    def pool(self, x: str, layer: spec.Pool, shape: Shape) -> str:
        return self.graph.node("MaxPool", x, **window(layer))

    def average(self, x: str, layer: spec.AveragePool, shape: Shape) -> str:
        include = int(layer.border == "include")
        return self.graph.node(
            "AveragePool", x, **window(layer), count_include_pad=include
        )

    def act(self, x: str, layer: spec.Act) -> str:
        graph = self.graph
        match layer.kind:
            case "leaky":
                return graph.node("LeakyRelu", x, alpha=layer.slope)
            case "silu":
                return graph.node("Mul", x, graph.node("Sigmoid", x))
            case "gelu-tanh":
                return graph.node("Gelu", x, approximate="tanh")
        return graph.node("Gelu", x)

    def mean(self, x: str) -> str:
        return self.graph.node("Flatten", self.graph.node("GlobalAveragePool", x))

    def flatten(self, x: str, layer: spec.Flatten, shape: Shape) -> str:
        if layer.order == "hwc" and len(shape) == 3:
            x = self.graph.node("Transpose", x, perm=NHWC)
        return self.graph.node("Flatten", x, axis=1)

    def channels_first(self, x: str) -> str:
        return x

    def from_channels_first(self, x: str) -> str:
        return x

    def starts(self, name: str, drawn: Starts) -> str:
        """Given with the pictures, or else the middle ones, as our models take."""
        self.graph.constant(drawn.middle(1).astype(np.int64), name)
        axes = (drawn.channels, drawn.out) if drawn.channels else (drawn.out,)
        return self.graph.input(name, (BATCH, *axes), "int64")


def window(layer: spec.Pool | spec.AveragePool) -> dict[str, tuple[int, ...]]:
    """A pool's window as attributes of a node."""
    return {
        "kernel_shape": sides(layer.window),
        "strides": (layer.stride, layer.stride),
        "pads": ends(layer.pad),
    }


def ends(pad: Pad) -> tuple[int, ...]:
    """Pads as ONNX lists them: top, left, bottom, right."""
    (top, bottom), (left, right) = pad
    return top, left, bottom, right
