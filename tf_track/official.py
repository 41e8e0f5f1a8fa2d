"""Keras's files of Inception v3.  Twin: pt_track/official.py."""

import io
import os
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras.applications import inception_v3

from common.errors import Refused
from common.evaluate import Predict
from common.inception import InceptionSpec, folded, units
from common.library_files.forms import checked, form_of, remarks
from common.library_files.keras_names import DENSE, HEAD, KINDS, LEAVES
from common.library_files.names import located
from common.weights import Weights
from tf_track.native import PLACES

NAME = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
RELEASE = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
MD5 = "9a0d58056eeedaa3f26cb7ebd46da564"  # keras.applications.inception_v3 checks it
State = dict[str, dict[str, np.ndarray]]


def download() -> Path:
    """The official ImageNet file, downloaded once and checked by its hash.

    Raises:
        Refused: It cannot be downloaded, or another file lies in its place.
    """
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"  # as Keras looks
    folder = Path(home) / "models"
    try:
        return Path(
            keras.utils.get_file(
                NAME, RELEASE + NAME, cache_subdir="models", file_hash=MD5
            )
        )
    except Exception as error:  # get_file raises a bare Exception without a network
        raise Refused(
            f"Keras's {NAME} must be downloaded once, got {str(error).strip()}; put "
            f"the file at {folder / NAME} by hand"
        ) from error


def write_native(path: Path, spec: InceptionSpec, weights: Weights) -> list[str]:
    """Write a file that Keras's builder loads; what was lost, in words.

    It appears once the builder's network has loaded it and has the same values.

    Raises:
        Refused: The builder makes no such network, the suffix promises another file, or
            the disk does not take it.
    """
    form = form_of("keras", path)
    said = remarks("Keras", spec)
    if spec.aux:
        said.append("the auxiliary head is left out")
    if spec.norm.scale:
        said.append("batch norm's factors are folded: for inference, not for training")
        weights = folded(weights)
    if form == ".keras":
        said.append("a whole model, whose answers are probabilities")
    model = inception_v3.InceptionV3(weights=None, classes=spec.classes)
    state = _state(model, spec, weights)
    _assign(model, state)
    with checked(path) as place:
        if form == ".h5":
            content = io.BytesIO()
            with h5py.File(content, "w") as file:
                _fill(file, model, state)
            place.write_bytes(content.getvalue())
        elif form == ".weights.h5":
            model.save_weights(place)
        else:
            model.save(place)
        _check(place, model, state)
    return said


def _state(model: keras.Model, spec: InceptionSpec, weights: Weights) -> State:
    """Layer -> its arrays in Keras's order; layers of a kind are counted as made."""
    plain = InceptionSpec(image=spec.image, classes=spec.classes)
    made = (_numbered(model, kind) for kind in KINDS)
    state = {HEAD: {leaf: weights[f"fc.{leaf}"] for leaf in DENSE}}
    leaves = {leaf: name for leaf, name in LEAVES.items() if leaf != "scale"}
    for unit, conv, norm in zip(units(plain), *made, strict=True):
        state[conv] = {"kernel": weights[f"{unit}.conv.kernel"]}
        state[norm] = {n: weights[f"{unit}.bn.{leaf}"] for leaf, n in leaves.items()}
    return state


def _numbered(model: keras.Model, kind: str) -> list[str]:
    """Names of the layers of a kind, by their numbers."""
    names = [la.name for la in model.layers if re.fullmatch(rf"{kind}(_\d+)?", la.name)]
    return sorted(names, key=lambda name: int(name[len(kind) + 1 :] or 0))


def _assign(model: keras.Model, state: State) -> None:
    for name, arrays in state.items():
        model.get_layer(name).set_weights(list(arrays.values()))


def _fill(file: h5py.File, model: keras.Model, state: State) -> None:
    """Keras's old layout, layers in the order of its own graph: loading counts them."""
    names = [layer.name for layer in model.layers]
    file.attrs["layer_names"] = [name.encode() for name in names]
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = keras.__version__.encode()
    for name in names:
        group = file.create_group(name)
        rows = [(f"{name}/{leaf}:0", v) for leaf, v in state.get(name, {}).items()]
        group.attrs["weight_names"] = [row.encode() for row, _ in rows]
        for row, value in rows:
            group.create_dataset(row, data=value)


def _check(path: Path, model: keras.Model, state: State) -> None:
    """Refuse a file of which Keras's builder makes other values."""
    if path.suffix == ".keras":
        model = keras.models.load_model(path, compile=False)
    else:
        _assign(model, {n: _zeros(arrays) for n, arrays in state.items()})
        model.load_weights(path)
    for name, arrays in state.items():
        loaded = model.get_layer(name).get_weights()
        pairs = zip(loaded, arrays.values(), strict=True)
        if not all(np.array_equal(a, b) for a, b in pairs):
            raise ValueError(
                f"Keras must load what was written, got other values for {name}"
            )


def _zeros(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(array) for name, array in arrays.items()}


def official(path: Path, side: int, *, device: str = "cpu") -> Predict:
    """Keras's own network with the weights in `path`, float32, side x side px.

    A function from uint8 images (n, h, w, c), scaled to -1 to 1 by Keras's own
    `preprocess_input`, to logits (n, classes): `model.predict`.
    """
    return whole(path, side, device=device)[1]


def whole(path: Path, side: int, *, device: str = "cpu") -> tuple[keras.Model, Predict]:
    """The same, and the network itself."""
    classes = located(path).spec.classes
    with tf.device(PLACES[device]):  # and so is what is computed from them
        model = inception_v3.InceptionV3(
            weights=None,
            classes=classes,
            classifier_activation=None,
            input_shape=(side, side, 3),
        )
    model.load_weights(path)

    def predict(images: np.ndarray) -> np.ndarray:
        x = inception_v3.preprocess_input(images.astype(np.float32))
        return model.predict(x, batch_size=len(x), verbose=0)

    return model, predict
