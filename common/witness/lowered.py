"""The graph in float64, of nodes that ONNX Runtime's processor computes in float64.

It has no float64 kernel for convolution, average pooling, local response normalisation
or the error function, among others.  So a convolution is a product of the kernel with
slices of the padded maps side by side, a pool the largest or the sum of slices.

Weights are inputs under their canonical names and in their canonical layouts: nothing
is turned round before the graph has it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from common import spec
from common.draws import Starts
from common.spec import Shape, sides, slid
from common.witness.form import Form, counted
from common.witness.graph import BATCH

# (1 + 2z) exp(z^2) erfc(z) is smooth from 0 to infinity in t = (z - k) / (z + k)
# (Shepherd, Laframboise 1981, Math. Comp. 36, p. 249).  With as many terms as these
# what is left is rounding: GELU is within 1e-14 from -6 up, and 6e-14 from -20 up.
MIDDLE, TERMS = 3.75, 24


class Lowered(Form):
    """Layers in float64, maps as (n, h, w, c)."""

    dtype = "float64"
    axes = (1, 2)
    channels = 3

    def weight(self, name: str, shape: Shape) -> str:
        return self.graph.input(name, shape)

    def conv(self, x: str, name: str, layer: spec.Conv, shape: Shape) -> str:
        window, channels = sides(layer.kernel), shape[2]
        x = self.padded(x, layer.pad, 0.0)
        slices = self.slices(x, window, layer.stride, layer.pad, shape)
        columns = self.joined(slices) if len(slices) > 1 else slices[0]
        kernel = self.weight(f"{name}.kernel", (*window, channels, layer.out))
        flat = self.graph.whole([window[0] * window[1] * channels, layer.out])
        y = self.graph.node("MatMul", columns, self.graph.node("Reshape", kernel, flat))
        return self.biased(y, name, layer)

    def dense(self, x: str, name: str, layer: spec.Dense, shape: Shape) -> str:
        kernel = self.weight(f"{name}.kernel", (shape[0], layer.out))
        return self.biased(self.graph.node("MatMul", x, kernel), name, layer)

    def biased(self, x: str, name: str, layer: spec.Conv | spec.Dense) -> str:
        """With the layer's bias, if it has one."""
        if not layer.bias:
            return x
        return self.add(x, self.weight(f"{name}.bias", (layer.out,)))

    def norm(self, x: str, name: str, layer: spec.Norm, shape: Shape) -> str:
        graph, size = self.graph, shape[-1:]
        x = graph.node("Sub", x, self.weight(f"{name}.mean", size))
        var = self.add(self.weight(f"{name}.var", size), graph.number(layer.eps))
        x = graph.node("Div", x, graph.node("Sqrt", var))
        if layer.scale:
            x = graph.node("Mul", x, self.weight(f"{name}.scale", size))
        return self.add(x, self.weight(f"{name}.shift", size))

    def lrn(self, x: str, layer: spec.LRN, shape: Shape) -> str:
        graph, index = self.graph, np.arange(shape[-1])
        near = np.abs(index[:, None] - index) <= layer.radius
        band = graph.constant(near.astype(self.dtype))
        total = graph.node("MatMul", graph.node("Mul", x, x), band)
        total = self.add(self.multiply(total, layer.alpha), graph.number(layer.bias))
        return graph.node("Div", x, graph.node("Pow", total, graph.number(layer.beta)))

    def pool(self, x: str, layer: spec.Pool, shape: Shape) -> str:
        x = self.padded(x, layer.pad, -np.inf)
        window = sides(layer.window)
        slices = self.slices(x, window, layer.stride, layer.pad, shape)
        return self.graph.node("Max", *slices)

    def average(self, x: str, layer: spec.AveragePool, shape: Shape) -> str:
        x = self.padded(x, layer.pad, 0.0)
        window = sides(layer.window)
        slices = self.slices(x, window, layer.stride, layer.pad, shape)
        cells = self.graph.constant(counted(layer, shape)[:, :, None])
        return self.graph.node("Div", self.graph.node("Sum", *slices), cells)

    def slices(
        self, x: str, window: tuple[int, int], stride: int, pad: spec.Pad, shape: Shape
    ) -> list[str]:
        """The pixel at each place of the window, for every window: maps each."""
        h, w = slid((shape[0], shape[1]), window, stride, pad)
        far = ((h - 1) * stride + 1, (w - 1) * stride + 1)
        places = np.ndindex(window)
        return [
            self.sliced(x, at, [a + f for a, f in zip(at, far, strict=True)], stride)
            for at in places
        ]

    def act(self, x: str, layer: spec.Act) -> str:
        graph = self.graph
        match layer.kind:
            case "leaky":
                below = graph.node("Min", x, graph.number(0.0))
                return self.add(self.relu(x), self.multiply(below, layer.slope))
            case "silu":
                grown = graph.node("Exp", graph.node("Neg", x))
                return graph.node("Div", x, self.add(grown, graph.number(1.0)))
            case "gelu-tanh":
                return self.gelu_tanh(x)
        return self.gelu(x)

    def relu(self, x: str) -> str:
        return self.graph.node("Max", x, self.graph.number(0.0))

    def gelu(self, x: str) -> str:
        """Half x times erfc(-x / sqrt 2), relatively accurate on either side."""
        graph = self.graph
        z = self.multiply(graph.node("Abs", x), 2**-0.5)
        middle = graph.number(MIDDLE)
        t = graph.node("Div", graph.node("Sub", z, middle), self.add(z, middle))
        smooth = self.series(t, erfc_series())
        double = self.add(self.multiply(z, 2.0), graph.number(1.0))
        fall = graph.node("Exp", self.multiply(graph.node("Mul", x, x), -0.5))
        tail = graph.node("Mul", fall, graph.node("Div", smooth, double))
        whole = graph.node("Sub", graph.number(2.0), tail)
        below = graph.node("Less", x, graph.number(0.0))
        erfc = graph.node("Where", below, tail, whole)
        return graph.node("Mul", self.multiply(x, 0.5), erfc)

    def series(self, t: str, coefficients: NDArray[np.float64]) -> str:
        """A Chebyshev series at `t`, in [-1, 1], by Clenshaw's recurrence."""
        graph = self.graph
        twice = self.multiply(t, 2.0)
        one = other = self.multiply(t, 0.0)
        for value in coefficients[:0:-1]:
            grown = graph.node("Sub", graph.node("Mul", twice, one), other)
            one, other = self.add(grown, graph.number(float(value))), one
        last = self.add(graph.node("Mul", t, one), graph.number(float(coefficients[0])))
        return graph.node("Sub", last, other)

    def mean(self, x: str) -> str:
        axes = self.graph.whole(self.axes)
        return self.graph.node("ReduceMean", x, axes, keepdims=0)

    def flatten(self, x: str, layer: spec.Flatten, shape: Shape) -> str:
        if layer.order == "chw" and len(shape) == 3:
            x = self.channels_first(x)
        return self.graph.node("Flatten", x, axis=1)

    def channels_first(self, x: str) -> str:
        return self.graph.node("Transpose", x, perm=(0, 3, 1, 2))

    def from_channels_first(self, x: str) -> str:
        return self.graph.node("Transpose", x, perm=(0, 2, 3, 1))

    def starts(self, name: str, drawn: Starts) -> str:
        axes = (drawn.channels, drawn.out) if drawn.channels else (drawn.out,)
        return self.graph.input(name, (BATCH, *axes), "int64")


@cache
def erfc_series() -> NDArray[np.float64]:
    """Chebyshev coefficients of (1 + 2z) exp(z^2) erfc(z) in t = (z - k) / (z + k)."""
    from scipy.special import erfcx

    nodes = chebyshev.chebpts1(TERMS)
    z = MIDDLE * (1 + nodes) / (1 - nodes)
    values = (1 + 2 * z) * erfcx(z)
    found = chebyshev.chebvander(nodes, TERMS - 1).T @ values * (2 / TERMS)
    found[0] /= 2
    return np.asarray(found)
