"""The TensorFlow track.  Twin: pt_track.  The interface is `common.track.Track`."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from common.keras_backend import keras_on
from common.quiet import quiet_loading

with quiet_loading(), keras_on("tensorflow"):
    import keras
import numpy as np
import tensorflow as tf

from common import codec, systems
from common.heads import transplanted, with_classes
from common.memory import keep_freed
from common.spec import Spec
from common.weights import Weights, draw, read, write
from tf_track.data import load_dataset
from tf_track.native import PLACES, build_native, train_native
from tf_track.official import (
    download,
    official,
    write_native,
)
from tf_track.predict import predictor
from tf_track.statistics import estimate_statistics
from tf_track.train import Trainer, train
from tf_track.weights import get_weights, set_weights

__all__ = [
    "Trainer",
    "build",
    "build_native",
    "configure",
    "describe",
    "download",
    "estimate_statistics",
    "get_weights",
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
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 2)
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    for gpu in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if mode == "strict":
        tf.config.experimental.enable_op_determinism()


def build(
    spec: Spec,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
) -> keras.Model:
    """The network `spec` describes, with `weights` or the spec's draw for `seed`."""
    with tf.device(PLACES[device]):
        model = _builder(spec)(spec, dtype)
        model(np.zeros((1, *spec.image), np.float32))  # Keras makes weights when called
    model.spec, model.arithmetic, model.place = spec, dtype, device
    set_weights(model, draw(spec.weights, seed) if weights is None else weights)
    return model


def _builder(spec: Spec) -> Callable[[Spec, str], keras.Model]:
    """Our class for a spec of ours, or the user's function for one of theirs."""
    kind = type(spec)
    ours = kind.__module__.startswith("common.")  # theirs may bear one of our names
    path = BUILDERS.get(kind.__name__) if ours else None
    if path is None:
        return systems.builder(spec, "tensorflow")
    module, _, name = path.partition(":")
    return getattr(import_module(f".{module}", __package__), name)


def replace_head(model: keras.Model, classes: int, *, seed: int = 0) -> keras.Model:
    """A network like `model` whose last layer, drawn from `seed`, has `classes`."""
    spec = with_classes(model.spec, classes)
    weights = transplanted(spec, get_weights(model), seed)
    return build(spec, weights=weights, dtype=model.arithmetic, device=model.place)


def save(model: keras.Model, path: Path) -> None:
    """Write weights and spec to a safetensors file that either track opens."""
    write(path, get_weights(model), {"spec": codec.dumps(model.spec)})


def load(path: Path, *, dtype: str = "float32", device: str = "cpu") -> keras.Model:
    """The model that `save` wrote, in either track."""
    weights, header = read(path)
    spec = codec.loads(header["spec"])
    return build(spec, weights=weights, dtype=dtype, device=device)


def describe() -> dict[str, str]:
    """Framework, versions, devices and threads in use."""
    gpus = tf.config.get_visible_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    ages = [d.get("compute_capability", (0, 0)) for d in details]
    native = gpus and min(ages) >= (8, 0)  # Ampere was the first with bfloat16
    return {
        "framework": "tensorflow",
        "tensorflow": version("tensorflow"),
        "keras": version("keras"),
        "threads": str(tf.config.threading.get_intra_op_parallelism_threads()),
        "device": ", ".join(d.get("device_name", "gpu") for d in details) or "cpu",
        "bfloat16": "native" if native else "unknown",
    }


def peak_gpu_memory() -> int | None:
    """Most bytes of GPU memory held at once so far, or none without a GPU."""
    if not tf.config.get_visible_devices("GPU"):
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
