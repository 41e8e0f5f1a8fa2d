"""A third track, in NumPy: plain MLPs and SGD, small enough to be killed often.

It has the core of `common.track.Track` and no extras, starts in a fraction of a second,
and goes through the same commands, loop, plan and store as the frameworks.  What it
cannot do it refuses by name.  The faults that the environment may ask of it are in
`tests/numpy_track/planted.py`.
"""

from pathlib import Path

import numpy as np

from common import codec, files, loop
from common.errors import Refused
from common.heads import transplanted, with_classes
from common.spec import MLPSpec
from common.systems import BUILDERS, builder
from common.weights import check_names, draw, read
from tests.numpy_track.planted import strike, write_diary
from tests.numpy_track.training import Trainer

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

PRECISIONS = ("float32", "float64")


class MLP:
    """Dense layers with ReLU between them, in float32 or float64 throughout."""

    def __init__(self, spec, seed, dtype):
        self.spec, self.seed, self.dtype = spec, seed, np.dtype(dtype)
        depth = len(spec.widths) - 1
        self.names = [f"hidden.{i}" for i in range(depth - 1)] + ["head"]
        self.weights = {}

    def values(self, images):
        """Input and output of every layer for images (n, h, w, c) of 0 to 255."""
        pixels = images.reshape(len(images), -1).astype(self.dtype)
        x = pixels / self.dtype.type(self.spec.scale.divide)
        found = [x]
        for name in self.names:
            x = x @ self.weights[f"{name}.kernel"] + self.weights[f"{name}.bias"]
            x = x if name == "head" else np.maximum(x, 0)
            found.append(x)
        return found


def configure(*, threads, device, mode):
    """NumPy's threads are the environment's; it has no device and is deterministic."""
    strike("configure", None)
    if device != "cpu":
        raise Refused(f"NumPy computes on the cpu, got {device}; use --device cpu")


def build(spec, *, weights=None, seed=0, dtype="float32", device="cpu"):
    write_diary(f"built with seed {seed}")
    strike("build", seed)
    own = type(spec) in BUILDERS
    if foreign := beyond(spec, dtype) if not own else "":
        raise Refused(
            f"the track tests.numpy_track builds plain MLPs in float32 or float64, got "
            f"{foreign}; use another track"
        )
    model = builder(spec, __name__)(spec, dtype) if own else MLP(spec, seed, dtype)
    set_weights(model, draw(spec.weights, seed) if weights is None else weights)
    return model


def beyond(spec, dtype):
    """What of a request is not a plain MLP, by name, or ""."""
    if dtype not in PRECISIONS:
        return dtype
    if not isinstance(spec, MLPSpec):
        layers = {type(layer).__name__: layer for layer in getattr(spec, "layers", ())}
        return " ".join([type(spec).__name__, "of" if layers else "", *layers]).strip()
    found = {"Norm": spec.norm, "Dropout": spec.dropout}
    for name in ("mean", "std", "per_image"):
        found[f"Scale.{name}"] = getattr(spec.scale, name)
    return " ".join(name for name, value in found.items() if value)


def replace_head(model, classes, *, seed=0):
    spec = with_classes(model.spec, classes)
    weights = transplanted(spec, get_weights(model), seed)
    return build(spec, weights=weights, seed=seed, dtype=model.dtype.name)


def train(model, data, recipe, plan, *, state=None, on_epoch=None, on_progress=None):
    return loop.run(
        Trainer(model, model.spec, recipe, recipe.rates(len(data.train))),
        lambda images: model.values(images)[-1],
        data,
        model.spec,
        recipe,
        plan,
        state=state,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )


def predictor(model):
    strike("predict", model.seed)
    return lambda images: model.values(images)[-1]


def estimate_statistics(model, batches):
    """There are none without batch norm."""


def get_weights(model):
    return {name: value.copy() for name, value in model.weights.items()}


def set_weights(model, weights):
    check_names({n: w.shape for n, w in model.spec.weights.items()}, weights)
    model.weights = {
        name: np.array(weights[name], model.dtype) for name in model.spec.weights
    }


def save(model, path):
    strike("save", model.seed)
    header = {"spec": codec.dumps(model.spec)}
    Path(path).write_bytes(files.pack(model.weights, header))


def load(path, *, dtype="float32", device="cpu"):
    weights, header = read(path)
    return build(codec.loads(header["spec"]), weights=weights, dtype=dtype)


def describe():
    return {"framework": "numpy", "numpy": np.__version__, "device": "cpu"}


def peak_gpu_memory():
    return None
