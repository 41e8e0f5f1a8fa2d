"""The witness's answers: a graph computed by ONNX Runtime, on the processor."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.draws import regions
from common.evaluate import Judge
from common.spec import Spec
from common.weights import Weights, check_names
from common.witness.graph import LOGITS, PIXELS, Graph
from common.witness.lowered import Lowered
from common.witness.network import KINDS, graph_of
from common.witness.plain import Plain
from common.witness.written import serialized

NEEDS = ("onnx", "onnxruntime")
EXTRA = "onnx"
ERRORS = 3  # of ONNX Runtime's log: what it would only warn of is not shown


def why_not(network: Spec) -> str | None:
    """Why there is no witness of this network here; none if there is one."""
    if type(network) not in KINDS:
        return (
            f"its graph is known of {', '.join(kind.__name__ for kind in KINDS)} "
            f"alone, this is a {type(network).__name__}"
        )
    return absent()


def absent() -> str | None:
    """Which package is not installed, and how to get it; none if all are there."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    return (
        f"{' and '.join(missing)} {verb} not installed; pip install "
        f"'twintrack[{EXTRA}]'"
    )


def versions() -> dict[str, str]:
    """What computes."""
    return {name: metadata.version(name) for name in NEEDS}


def predictor(
    network: Spec,
    weights: Weights,
    *,
    form: Literal["lowered", "plain"] = "lowered",
    threads: int = 1,
) -> Judge:
    """A function from uint8 images (n, h, w, c) to logits (n, classes).

    Regions of a fractional pool are drawn from each picture and the `repeat`, as in
    every track.

    Args:
        network: What the graph is written from.
        weights: Canonical.
        form: "lowered", float64; "plain", float32.
        threads: Of ONNX Runtime.

    Raises:
        TypeError: The spec is of a kind of the user's own.
        ValueError: The weights are not the spec's.
    """
    check_names({name: r.shape for name, r in network.weights.items()}, weights)
    lowered = form == "lowered"
    graph = graph_of(network, Lowered() if lowered else Plain(weights))
    # What is lowered is computed as it is written; what is plain as users have it.
    own = given_weights(graph, weights)
    content = serialized(graph, network.classes)
    del graph  # its constants are in the file, which may be as large as they are
    compute = session(content, threads=threads, as_written=lowered)

    def predict(images: NDArray[np.uint8], repeat: int = 0) -> NDArray[np.floating]:
        return computed(compute, network, images, own, repeat=repeat)

    return predict


def answers(
    content: bytes, network: Spec, images: NDArray[np.uint8], *, threads: int = 1
) -> NDArray[np.floating]:
    """Logits (n, classes), float32, of a file's bytes for uint8 images (n, h, w, c)."""
    return computed(session(content, threads=threads), network, images)


def session(content: bytes, *, threads: int, as_written: bool = False) -> Any:
    """ONNX Runtime's session of a file's bytes; `as_written`: no node is rewritten."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def computed(
    compute: Any,
    network: Spec,
    images: NDArray[np.uint8],
    given: Weights | None = None,
    *,
    repeat: int = 0,
) -> NDArray[np.floating]:
    """Logits of a session for uint8 images (n, h, w, c) and their regions.

    Its pictures are laid out as the type of its input says: (n, c, h, w) in float32.
    """
    (kind,) = (i.type for i in compute.get_inputs() if i.name == PIXELS)
    pixels = images.astype(np.float64)
    if kind == "tensor(float)":
        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
    drawn = regions(network.draws, images, repeat)
    starts = {name: value.astype(np.int64) for name, value in drawn.items()}
    (logits,) = compute.run([LOGITS], {PIXELS: pixels, **starts, **(given or {})})
    return np.asarray(logits)


def given_weights(graph: Graph, weights: Weights) -> Weights:
    """The weights that a graph takes as inputs, float64."""
    return {
        name: np.asarray(value, np.float64, order="C")
        for name, value in weights.items()
        if name in graph.inputs
    }
