"""A graph of ONNX nodes in the making; nothing here needs the package `onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = "n"  # the name of the axis whose length is not known
PIXELS, LOGITS = "pixels", "logits"  # what goes in, what comes out
# Length of an axis, or the name of one that varies.
Axes = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of ONNX: names of what it takes, and of what it gives."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


@dataclass(slots=True)
class Graph:
    """Nodes in the order of their computation, with what they are given.

    Attributes:
        dtype: "float32" or "float64", of all values.
        nodes: First to last; the last one gives the logits.
        constants: Name -> value, part of the graph.
        inputs: Name -> dtype and axes; given whenever it is computed.  One that is a
            constant too may be left out.
        part: Name of the layer that the next nodes belong to.
    """

    dtype: str
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: dict[str, tuple[str, Axes]] = field(default_factory=dict)
    part: str = ""
    _counts: dict[str, int] = field(default_factory=dict)

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation; the name of what it gives."""
        name = self._named(op)
        self.nodes.append(Node(op, inputs, name, attributes))
        return name

    def constant(self, value: NDArray[Any], name: str = "") -> str:
        """Add a value; its name."""
        name = name or self._named("Constant")
        self.constants[name] = value
        return name

    def number(self, value: float) -> str:
        """Add a number of the graph's dtype; its name."""
        return self.constant(np.array(value, self.dtype))

    def whole(self, values: Sequence[int]) -> str:
        """Add a row of integers, as shapes and axes are given; its name."""
        return self.constant(np.array(values, np.int64))

    def input(self, name: str, axes: Axes, dtype: str = "") -> str:
        """Declare what is given when the graph is computed; its name."""
        self.inputs[name] = (dtype or self.dtype, axes)
        return name

    def end(self) -> None:
        """Call what the last node gives the logits."""
        self.nodes[-1] = replace(self.nodes[-1], output=LOGITS)

    def _named(self, op: str) -> str:
        """A name that is new."""
        name = f"{self.part}/{op}"
        count = self._counts[name] = self._counts.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"
