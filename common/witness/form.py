"""What both forms of the graph have in common, and what each must have of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import pi

import numpy as np
from numpy.typing import NDArray

from common import spec
from common.draws import Starts
from common.spec import Shape
from common.witness.graph import BATCH, PIXELS, Graph


class Form(ABC):
    """Layers as nodes.  A value is a name; `shape` is a canonical one, of one picture.

    Attributes:
        graph: What the nodes are added to.
        axes: Where height and width are.
        channels: Where the channels of maps are.
    """

    dtype: str
    axes: tuple[int, int]
    channels: int

    def __init__(self) -> None:
        self.graph = Graph(self.dtype)

    # --- what each form does in its own way

    @abstractmethod
    def weight(self, name: str, shape: Shape) -> str:
        """A tensor of the spec."""

    @abstractmethod
    def conv(self, x: str, name: str, layer: spec.Conv, shape: Shape) -> str:
        """Convolution."""

    @abstractmethod
    def dense(self, x: str, name: str, layer: spec.Dense, shape: Shape) -> str:
        """Fully connected."""

    @abstractmethod
    def norm(self, x: str, name: str, layer: spec.Norm, shape: Shape) -> str:
        """Batch normalisation by the running statistics."""

    @abstractmethod
    def lrn(self, x: str, layer: spec.LRN, shape: Shape) -> str:
        """Local response normalisation."""

    @abstractmethod
    def pool(self, x: str, layer: spec.Pool, shape: Shape) -> str:
        """Max pooling."""

    @abstractmethod
    def average(self, x: str, layer: spec.AveragePool, shape: Shape) -> str:
        """Average pooling."""

    @abstractmethod
    def act(self, x: str, layer: spec.Act) -> str:
        """An activation."""

    @abstractmethod
    def mean(self, x: str) -> str:
        """Mean over height and width: (n, channels)."""

    @abstractmethod
    def flatten(self, x: str, layer: spec.Flatten, shape: Shape) -> str:
        """(n, features), in the spec's order."""

    @abstractmethod
    def channels_first(self, x: str) -> str:
        """Maps as (n, c, h, w)."""

    @abstractmethod
    def from_channels_first(self, x: str) -> str:
        """Maps (n, c, h, w) as this form has them."""

    @abstractmethod
    def starts(self, name: str, drawn: Starts) -> str:
        """Where regions start, int64: (n, out), or (n, channels, out)."""

    # --- what both do alike

    def pixels(self, image: spec.Image) -> str:
        """Float pictures, 0 to 255."""
        shape = self.laid_out(image)
        return self.graph.input(PIXELS, (BATCH, *shape))

    def laid_out(self, image: Shape) -> Shape:
        """A canonical shape (h, w, c) in this form's order."""
        h, w, c = image
        return (c, h, w) if self.channels == 1 else (h, w, c)

    def per_channel(self, values: Sequence[float]) -> str:
        """A number for each channel, to be broadcast over maps."""
        row = np.array(values, self.dtype)
        return self.graph.constant(row.reshape(self.laid_out((1, 1, len(row)))))

    def crop(self, x: str, side: int, size: tuple[int, int]) -> str:
        """The central square of pictures of `size`; 0 for all."""
        if not side or size == (side, side):
            return x
        first = [(length - side) // 2 for length in size]
        return self.sliced(x, first, [at + side for at in first])

    def sliced(
        self, x: str, first: Sequence[int], end: Sequence[int], step: int = 1
    ) -> str:
        """Every `step`-th pixel from `first` to before `end`, (height, width) each."""
        rows = (first, end, self.axes, (step, step))
        return self.graph.node("Slice", x, *(self.graph.whole(row) for row in rows))

    def padded(self, x: str, pad: spec.Pad, value: float) -> str:
        """Maps with a border of `value`."""
        if pad == spec.NO_PAD:
            return x
        (top, bottom), (left, right) = pad
        before = [0, *self.laid_out((top, left, 0))]
        after = [0, *self.laid_out((bottom, right, 0))]
        pads = self.graph.whole([*before, *after])
        return self.graph.node("Pad", x, pads, self.graph.number(value))

    def canvas(self, x: str, side: int, ground: int, size: tuple[int, int]) -> str:
        """Pictures of `size` in the middle of a square of `ground`; 0 for none."""
        if not side or size == (side, side):
            return x
        first = [(side - length) // 2 for length in size]
        (top, left), (h, w) = first, size
        pad = ((top, side - h - top), (left, side - w - left))
        return self.padded(x, pad, ground)

    def scaled(self, x: str, scale: spec.Scale, shape: Shape) -> str:
        """Pixels as the first layer sees them."""
        graph = self.graph
        x = graph.node("Div", x, graph.number(scale.divide))
        if scale.mean:
            x = graph.node("Sub", x, self.per_channel(scale.mean))
        if scale.std:
            x = graph.node("Div", x, self.per_channel(scale.std))
        return self.standardised(x, int(np.prod(shape))) if scale.per_image else x

    def standardised(self, x: str, values: int) -> str:
        """Each picture minus its mean, over max(its deviation, 1 / sqrt(values))."""
        graph, axes = self.graph, self.graph.whole((1, 2, 3))
        x = graph.node("Sub", x, graph.node("ReduceMean", x, axes, keepdims=1))
        square = graph.node("ReduceMean", graph.node("Mul", x, x), axes, keepdims=1)
        deviation = graph.node("Sqrt", square)
        least = graph.node("Max", deviation, graph.number(values**-0.5))
        return graph.node("Div", x, least)

    def relu(self, x: str) -> str:
        """max(x, 0)."""
        return self.graph.node("Relu", x)

    def gelu_tanh(self, x: str) -> str:
        """GELU's approximation by tanh, written out."""
        graph = self.graph
        cubed = graph.node("Mul", x, graph.node("Mul", x, x))
        cubed = graph.node("Mul", cubed, graph.number(0.044715))
        inner = graph.node("Add", x, cubed)
        inner = graph.node("Mul", inner, graph.number((2 / pi) ** 0.5))
        share = graph.node("Add", graph.node("Tanh", inner), graph.number(1.0))
        return graph.node("Mul", graph.node("Mul", x, graph.number(0.5)), share)

    def multiply(self, x: str, factor: float) -> str:
        """Every value times a factor."""
        return self.graph.node("Mul", x, self.graph.number(factor))

    def add(self, x: str, other: str) -> str:
        """The sum of two."""
        return self.graph.node("Add", x, other)

    def joined(self, parts: Sequence[str]) -> str:
        """Maps one after the other along the channels."""
        return self.graph.node("Concat", *parts, axis=self.channels)

    def fractional(
        self, x: str, name: str, layer: spec.FractionalPool, shape: Shape
    ) -> str:
        """Max pooling over regions that are given."""
        tall, wide = layer.starts(shape)
        x = self.channels_first(x)
        channels = shape[2]
        for axis, drawn in ((spec.ROWS, tall), (spec.COLUMNS, wide)):
            starts = self._spread(
                self.starts(f"{name}.{axis}", drawn), x, channels, layer
            )
            x = self._larger(x, starts, drawn)
            x = self.graph.node("Transpose", x, perm=(0, 1, 3, 2))
        return self.from_channels_first(x)

    def _spread(
        self, starts: str, x: str, channels: int, layer: spec.FractionalPool
    ) -> str:
        """Starts for each channel of each picture of `x`, (n, channels, out)."""
        graph = self.graph
        if layer.per == "picture":
            starts = graph.node("Unsqueeze", starts, graph.whole([1]))
        count = graph.node("Shape", x, start=0, end=1)
        rest = graph.whole([channels, 1])
        return graph.node("Expand", starts, graph.node("Concat", count, rest, axis=0))

    def _larger(self, x: str, starts: str, drawn: Starts) -> str:
        """Of each region along the third axis of `x` the larger of its two ends."""
        graph = self.graph
        last = starts
        if drawn.overlap:
            last = graph.node("Add", starts, graph.whole([1]))
        else:
            rest = graph.node(
                "Slice", starts, *(graph.whole([i]) for i in (1, drawn.out, 2))
            )
            end = graph.constant(np.array(drawn.length, np.int64))
            ends = graph.node("Pad", rest, graph.whole([0, 0, 0, 0, 0, 1]), end)
            last = graph.node("Sub", ends, graph.whole([1]))
        return graph.node("Max", self._picked(x, starts), self._picked(x, last))

    def _picked(self, x: str, at: str) -> str:
        """The rows of (n, c, h, w) at (n, c, out): (n, c, out, w)."""
        graph = self.graph
        index = graph.node("Unsqueeze", at, graph.whole([3]))
        return graph.node("GatherND", x, index, batch_dims=2)


def counted(layer: spec.AveragePool, shape: Shape) -> NDArray[np.float64]:
    """How many cells each mean is of, (h, w)."""
    size = (shape[0], shape[1])
    cells = np.ones(size)
    border = 1.0 if layer.border == "include" else 0.0
    cells = np.pad(cells, layer.pad, constant_values=border)
    h, w = spec.slid(size, layer.window, layer.stride, layer.pad)
    windows = np.lib.stride_tricks.sliding_window_view(cells, (layer.window,) * 2)
    return np.asarray(
        windows[:: layer.stride, :: layer.stride][:h, :w].sum((2, 3)), np.float64
    )
