"""The PyTorch track.  Twin: tf_track.  The interface is `common.track.Track`."""

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

if "tensorflow" in sys.modules and "triton" not in sys.modules:
    raise ImportError(
        "torch must be imported before TensorFlow (their compilers clash and end the "
        "process), found TensorFlow; import pt_track before tf_track"
    )
import torch
from torch import nn

with suppress(ImportError):  # before TensorFlow, should it follow; CPU builds lack it
    import triton  # noqa: F401

from common import codec, systems
from common.heads import transplanted, with_classes
from common.memory import keep_freed
from common.spec import Spec
from common.weights import Weights, draw, read, write
from pt_track.data import load_dataset
from pt_track.native import PLACES, build_native, train_native
from pt_track.official import (
    download,
    imagenet_names,
    official,
    write_native,
)
from pt_track.predict import predictor
from pt_track.statistics import estimate_statistics
from pt_track.train import Trainer, train
from pt_track.weights import get_weights, set_weights

__all__ = [
    "Trainer",
    "build",
    "build_native",
    "configure",
    "describe",
    "download",
    "estimate_statistics",
    "get_weights",
    "imagenet_names",
    "load",
    "load_dataset",
    "official",
    "peak_gpu_memory",
    "predictor",
    "replace_head",
    "save",
    "set_weights",
    "train",
    "train_native",
    "write_native",
]

# Spec's type -> "module:class" here, loaded when one is built: a network's numbers do
# not depend on the other families' files, and this can be read without a framework.
BUILDERS = {
    "MLPSpec": "mlp:MLP",
    "CNNSpec": "cnn:CNN",
    "InceptionSpec": "inception:Inception",
}


def configure(*, threads: int, device: str, mode: str) -> None:
    """Threads, visible devices and determinism.  Call it first."""
    keep_freed()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode == "strict")


def build(
    spec: Spec,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
) -> nn.Module:
    """The network `spec` describes, with `weights` or the spec's draw for `seed`."""
    model = _builder(spec)(spec, dtype)
    model.spec, model.arithmetic, model.place = spec, dtype, device
    set_weights(model, draw(spec.weights, seed) if weights is None else weights)
    return model.to(PLACES[device], memory_format=torch.channels_last)


def _builder(spec: Spec) -> Callable[[Spec, str], nn.Module]:
    """Our class for a spec of ours, or the user's function for one of theirs."""
    kind = type(spec)
    ours = kind.__module__.startswith("common.")  # theirs may bear one of our names
    path = BUILDERS.get(kind.__name__) if ours else None
    if path is None:
        return systems.builder(spec, "torch")
    module, _, name = path.partition(":")
    return getattr(import_module(f".{module}", __package__), name)


def replace_head(model: nn.Module, classes: int, *, seed: int = 0) -> nn.Module:
    """A network like `model` whose last layer, drawn from `seed`, has `classes`."""
    spec = with_classes(model.spec, classes)
    weights = transplanted(spec, get_weights(model), seed)
    return build(spec, weights=weights, dtype=model.arithmetic, device=model.place)


def save(model: nn.Module, path: Path) -> None:
    """Write weights and spec to a safetensors file that either track opens."""
    write(path, get_weights(model), {"spec": codec.dumps(model.spec)})


def load(path: Path, *, dtype: str = "float32", device: str = "cpu") -> nn.Module:
    """The model that `save` wrote, in either track."""
    weights, header = read(path)
    spec = codec.loads(header["spec"])
    return build(spec, weights=weights, dtype=dtype, device=device)


def describe() -> dict[str, str]:
    """Framework, versions, devices and threads in use."""
    gpu = torch.cuda.is_available()
    native = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "framework": "torch",
        "torch": version("torch"),
        "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "bfloat16": "native" if native else "unknown",
    }


def peak_gpu_memory() -> int | None:
    """Most bytes of GPU memory held at once so far, or none without a GPU."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
