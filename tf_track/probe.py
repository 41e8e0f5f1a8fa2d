"""What a network computes in, in Keras.  Twin: pt_track/probe.py."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from common.draws import draws_of, regions

# Operations that multiply values by weights, by TensorFlow's own names.
PRODUCTS = {
    *("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "XlaDotV2"),
    *("Conv", "Conv2D", "Conv3D", "DepthwiseConv2dNative"),
}


class Types:
    """The types of floating-point values that the operations of a graph give."""

    def __init__(self, graph: Any) -> None:
        self.products: set[str] = set()
        self.values: set[str] = set()
        for operation, kinds in _operations(graph):
            names = {kind.name for kind in kinds if kind.is_floating}
            self.values |= names
            if operation in PRODUCTS:
                self.products |= names


def _operations(graph: Any) -> Iterator[tuple[str, list[tf.DType]]]:
    """Kind and result types of each operation, of functions in the graph as well."""
    for node in graph.get_operations():
        yield node.type, [output.dtype for output in node.outputs]
    for function in graph.as_graph_def().library.function:
        for node in function.node_def:
            kinds = (node.attr[key].type for key in ("T", "Tout") if key in node.attr)
            yield node.op, [tf.as_dtype(kind) for kind in kinds if kind]


def arithmetic(model: keras.Model, images: np.ndarray) -> dict[str, list[str]]:
    """Types of the products and of all values of a network that looks at pictures."""
    drawn = regions(draws_of(model), images)
    given = {"draws": {n: tf.constant(d) for n, d in drawn.items()}} if drawn else {}
    look = tf.function(lambda x: model(x, training=False, **given))
    types = Types(look.get_concrete_function(tf.constant(images)).graph)
    return {"products": sorted(types.products), "values": sorted(types.values)}
