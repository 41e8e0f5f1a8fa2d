"""The track of Keras networks on torch: the layers are Keras's, the engine is torch.

Training, update rules, evaluation and statistics are `pt_track`'s own; what differs
from it is the layers alone, and from `tf_track` the engine: so a difference in speed or
rounding can be told to be the engine's or the layers'.  The interface is the core of
`common.track.Track`.  TensorFlow is not imported.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from common.keras_backend import keras_on

with keras_on("torch"):
    import keras
import numpy as np

import pt_track
from common import codec, systems
from common.heads import transplanted, with_classes
from common.spec import Spec
from common.weights import Weights, draw, read, write
from pt_track import configure, peak_gpu_memory
from pt_track.on_keras.train import Trainer, estimate_statistics, predictor, train
from pt_track.on_keras.weights import get_weights, set_weights

__all__ = [
    "Trainer",
    "build",
    "configure",
    "describe",
    "estimate_statistics",
    "get_weights",
    "load",
    "peak_gpu_memory",
    "predictor",
    "replace_head",
    "save",
    "set_weights",
    "train",
]

# Spec's type -> "module:class" here, as in `pt_track`.
BUILDERS = {
    "MLPSpec": "mlp:MLP",
    "CNNSpec": "cnn:CNN",
    "InceptionSpec": "inception:Inception",
}


def build(
    spec: Spec,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
) -> keras.Model:
    """The network `spec` describes, with `weights` or the spec's draw for `seed`."""
    with keras.device(device):  # Keras says "gpu" as we do
        model = _builder(spec)(spec, dtype)
        model.spec, model.arithmetic, model.place = spec, dtype, device
        model(np.zeros((1, *spec.image), np.float32))  # Keras makes weights when called
    set_weights(model, draw(spec.weights, seed) if weights is None else weights)
    return model


def _builder(spec: Spec) -> Callable[[Spec, str], keras.Model]:
    """Our class for a spec of ours, or the user's function for one of theirs."""
    kind = type(spec)
    ours = kind.__module__.startswith("common.")  # theirs may bear one of our names
    path = BUILDERS.get(kind.__name__) if ours else None
    if path is None:
        return systems.builder(spec, "keras_torch")
    module, _, name = path.partition(":")
    return getattr(import_module(f".{module}", __package__), name)


def replace_head(model: keras.Model, classes: int, *, seed: int = 0) -> keras.Model:
    """A network like `model` whose last layer, drawn from `seed`, has `classes`."""
    spec = with_classes(model.spec, classes)
    weights = transplanted(spec, get_weights(model), seed)
    return build(spec, weights=weights, dtype=model.arithmetic, device=model.place)


def save(model: keras.Model, path: str | Path) -> None:
    """Write weights and spec to a safetensors file that any track opens."""
    write(path, get_weights(model), {"spec": codec.dumps(model.spec)})


def load(
    path: str | Path, *, dtype: str = "float32", device: str = "cpu"
) -> keras.Model:
    """The model that `save` wrote, in any track."""
    weights, header = read(path)
    spec = codec.loads(header["spec"])
    return build(spec, weights=weights, dtype=dtype, device=device)


def describe() -> dict[str, str]:
    """Framework, versions, devices and threads in use."""
    return pt_track.describe() | {"framework": "keras_torch", "keras": version("keras")}
