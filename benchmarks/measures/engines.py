"""How fast engines that only answer are, on the graph that `weights export` writes.

For `twintrack speed inception-v3`, in each track's process and after its own figures:
ours and every engine that is installed take turns on the same pictures, uint8 in and
logits out.  CPU seconds are those of the whole process, all its threads together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures.rungs import relative
from benchmarks.measures.timing import in_rounds, spread
from common import witness
from common.evaluate import Predict
from common.model_file import About
from common.precision import cpu_has_bf16
from common.spec import Spec
from common.weights import Weights

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine in one precision.

    Attributes:
        needs: Packages.
        extra: Of ours, that installs them.
        precision: What it is asked to compute in.
    """

    needs: tuple[str, ...]
    extra: str
    precision: str = "float32"


BY_OPENVINO = Engine(needs=("onnx", "openvino"), extra="openvino")
ENGINES = {
    "onnxruntime": Engine(needs=("onnx", "onnxruntime"), extra="onnx"),
    "openvino": BY_OPENVINO,
    "openvino_bfloat16": replace(BY_OPENVINO, precision="bfloat16"),
}


def why_not(name: str, device: str) -> str | None:
    """Why an engine is not measured here; none if it is."""
    engine = ENGINES[name]
    if device != "cpu":
        return "engines are measured on the processor alone"
    if missing := [need for need in engine.needs if find_spec(need) is None]:
        return (
            f"{' and '.join(missing)} not installed; pip install "
            f"'twintrack[{engine.extra}]'"
        )
    if engine.precision == "bfloat16" and not cpu_has_bf16():
        return "this processor does not multiply bfloat16 natively"
    return None


def absent(device: str) -> list[Row]:
    """The engines that are not measured, and why."""
    reasons = {name: why_not(name, device) for name in ENGINES}
    return [{"engine": name, "why": why} for name, why in reasons.items() if why]


def beside(
    ours: Predict,
    exact: Predict,
    network: Spec,
    weights: Weights,
    images: NDArray[np.uint8],
    *,
    file: Path,
    threads: int,
    rounds: int,
    device: str,
) -> Row:
    """Each engine's figures on one batch, and ours in the same rounds.

    Args:
        ours: The track's predictor.
        exact: The same in float32, which an engine's logits are compared with.
        network: What the graph is written from.
        weights: Its canonical weights.
        images: The batch, (n, h, w, c).
        file: Where the graph may be written.
        threads: Of each engine.
        rounds: Turns of each.
        device: Where ours computes.

    Returns:
        "ours" and engines -> {"images_per_second", "cpu_seconds" of a picture,
        "ours_over" (ours's rate over its), "range", "difference" (of its logits)};
        nothing where there is no engine.
    """
    names = [name for name in ENGINES if not why_not(name, device)]
    if not names:
        return {}
    file.write_bytes(witness.exported(network, weights, About()))
    calls = {"ours": ours}
    for name in names:
        opened = OPENED[ENGINES[name].extra]
        calls[name] = opened(file, network, ENGINES[name].precision, threads)
    expected = exact(images)
    far = {name: relative(ask(images), expected) for name, ask in calls.items()}
    wall, busy = in_rounds(calls, images, rounds)
    return {
        name: {
            "images_per_second": float(np.median(len(images) / wall[name])),
            "cpu_seconds": float(np.median(busy[name])) / len(images),
            "ours_over": float(np.median(wall[name] / wall["ours"])),
            "range": spread(wall[name] / wall["ours"]),
            "difference": far[name] if np.isfinite(far[name]) else None,
        }
        for name in calls
    }


def versions(device: str) -> dict[str, str]:
    """Of the packages of every engine that is measured."""
    needs = {
        need
        for name, engine in ENGINES.items()
        if not why_not(name, device)
        for need in engine.needs
    }
    return {need: metadata.version(need) for need in sorted(needs)}


def _onnxruntime(file: Path, network: Spec, precision: str, threads: int) -> Predict:
    opened = witness.session(file.read_bytes(), threads=threads)
    return lambda images: witness.computed(opened, network, images)


def _openvino(file: Path, network: Spec, precision: str, threads: int) -> Predict:
    import openvino

    core = openvino.Core()
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    compiled = core.compile_model(core.read_model(file), "CPU", settings)

    def ask(images: NDArray[np.uint8]) -> NDArray[np.floating]:
        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        return np.asarray(compiled({"pixels": pixels})[0])

    return ask


# By the extra that installs it.
OPENED: dict[str, Callable[[Path, Spec, str, int], Predict]] = {
    "onnx": _onnxruntime,
    "openvino": _openvino,
}
