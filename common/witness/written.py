"""A graph as the bytes of an ONNX file, by the package `onnx`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from common import __version__, codec
from common.draws import Starts
from common.errors import Refused
from common.model_file import About
from common.spec import Spec, parameters
from common.weights import Weights
from common.witness.graph import BATCH, LOGITS, PIXELS, Axes, Graph
from common.witness.network import graph_of
from common.witness.plain import Plain

# The first that has GELU, and the version of files that came with it.
OPSET, IR = 20, 9
# A file is one message of protobuf, which may not have more bytes.
LARGEST = 2**31 - 1


def exported(network: Spec, weights: Weights, header: About) -> bytes:
    """The plain graph as a file, checked by `onnx.checker`, with what its user needs.

    Class names, preprocessing, source and spec are in its `metadata_props`.

    Raises:
        Refused: It has more bytes than an ONNX file may have.
        TypeError: The spec is of a kind of the user's own.
    """
    import onnx

    if (size := 4 * parameters(network)) > LARGEST:
        raise Refused(
            f"an ONNX file has at most {LARGEST:,} bytes, the weights alone have "
            f"{size:,}; keep the safetensors file, which both tracks open"
        )
    said = {
        "classes": json.dumps(header.classes),
        "preprocessing": header.preprocessing,
        "source": header.source,
        "spec": codec.dumps(network),
    }
    graph = graph_of(network, Plain(weights))
    content = serialized(graph, network.classes, {k: v for k, v in said.items() if v})
    onnx.checker.check_model(content, full_check=True)
    return content


def about(network: Spec) -> list[str]:
    """What a user has to know of the plain graph, a line each."""
    h, w, c = network.image
    words = [
        f"takes {PIXELS!r}, float32 ({BATCH}, {c}, {h}, {w}), 0 to 255; gives "
        f"{LOGITS!r}, float32 ({BATCH}, {network.classes})"
    ]
    if regions := [n for n, d in network.draws.items() if isinstance(d, Starts)]:
        words.append(
            f"the regions of its fractional pools are inputs too ({regions[0]} and "
            f"{len(regions) - 1} others), the middle ones unless they are given; our "
            "tracks draw them for each picture (common.draws.regions)"
        )
    return words


def serialized(
    graph: Graph, classes: int, said: Mapping[str, str] | None = None
) -> bytes:
    """A graph as bytes."""
    from onnx import helper, numpy_helper

    def value(name: str, dtype: str, axes: Axes) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, axes)

    made = helper.make_graph(
        [
            helper.make_node(n.op, n.inputs, [n.output], name=n.output, **n.attributes)
            for n in graph.nodes
        ],
        "twintrack",
        [value(name, *what) for name, what in graph.inputs.items()],
        [value(LOGITS, graph.dtype, (BATCH, classes))],
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="twintrack",
        producer_version=__version__,
    )
    for name, constant in graph.constants.items():  # one by one: each is copied
        model.graph.initializer.append(numpy_helper.from_array(constant, name))
    helper.set_model_props(model, dict(said or {}))
    content: bytes = model.SerializeToString()
    return content
