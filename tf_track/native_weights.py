"""Keras's files of Inception v3.  Twin: pt_track/native_weights.py."""

import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras.applications import inception_v3

from common import files
from common.errors import Refused
from common.evaluate import Predict
from common.inception import InceptionSpec, folded, units
from common.spec import Norm
from common.weights import Weights, check_names
from tf_track.native import PLACES

NAME = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
RELEASE = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
MD5 = "9a0d58056eeedaa3f26cb7ebd46da564"  # keras.applications.inception_v3 checks it
CLASSES = "https://storage.googleapis.com/download.tensorflow.org/data/"
INDEX, INDEX_MD5 = "imagenet_class_index.json", "c2c37ea517e94d9795004a39431a14cb"
# What Keras's builder makes, but for the number of classes.
NORM = Norm(decay=0.99, eps=1e-3, variance="biased", scale=False)
# canonical leaf <- Keras's name of it
LEAVES = {"shift": "beta", "mean": "moving_mean", "var": "moving_variance"}
SCALE = "gamma"


def download() -> Path:
    """The official ImageNet file, downloaded once and checked by its hash.

    Raises:
        Refused: It cannot be downloaded, or another file lies in its place.
    """
    return _fetched(NAME, RELEASE + NAME, MD5)


def _fetched(name: str, url: str, md5: str) -> Path:
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"  # as Keras looks
    folder = Path(home) / "models"
    try:
        return Path(
            keras.utils.get_file(name, url, cache_subdir="models", file_hash=md5)
        )
    except Exception as error:  # get_file raises a bare Exception without a network
        raise Refused(
            f"Keras's {name} must be downloaded once, got {str(error).strip()}; put "
            f"the file at {folder / name} by hand"
        ) from error


def imagenet_names() -> tuple[str, ...]:
    """Name of each of ImageNet's 1,000 classes, in the usual order."""
    index = json.loads(_fetched(INDEX, CLASSES + INDEX, INDEX_MD5).read_text())
    return tuple(index[str(i)][1].replace("_", " ") for i in range(len(index)))


def read_native(path: Path) -> tuple[InceptionSpec, Weights]:
    """Spec and canonical weights of an .h5 file of `keras.applications.InceptionV3`.

    Raises:
        Refused: The file is damaged or of another network; nothing in it is run.
    """
    try:
        with h5py.File(path) as file:
            layers = list(_layers(file))
        convs, norms, (head,) = (
            _sorted(layers, kind)
            for kind in ("conv2d", "batch_normalization", "predictions")
        )
        scaled = SCALE in norms[0]
        spec = InceptionSpec(
            image=(299, 299, 3),
            classes=head["kernel"].shape[-1],
            border="exclude",
            norm=Norm(decay=0.99, eps=1e-3, variance="biased", scale=scaled),
        )
        weights = dict(_canonical(spec, convs, norms, head))
        check_names({n: r.shape for n, r in spec.weights.items()}, weights)
    except (OSError, KeyError, ValueError, IndexError, TypeError) as error:
        raise Refused(
            f"a Keras file must be a whole .h5 of InceptionV3 with its top, {path} is "
            f"not ({str(error).splitlines()[0]}); use Keras's own file"
        ) from error
    return spec, weights


def _layers(file: h5py.File) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Name and arrays of each layer that has some."""
    group = file.get("model_weights", file)
    for name in map(_text, group.attrs["layer_names"]):
        names = [_text(n) for n in group[name].attrs["weight_names"]]
        arrays = {
            n.rpartition("/")[2].partition(":")[0]: np.asarray(group[name][n])
            for n in names
        }
        if arrays:
            yield name, arrays


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _sorted(
    layers: list[tuple[str, dict[str, np.ndarray]]], kind: str
) -> list[dict[str, np.ndarray]]:
    """The layers of a kind in the order they were made: by the number in the name."""
    numbers = {
        int(found[1] or 0): arrays
        for name, arrays in layers
        if (found := re.fullmatch(rf"{kind}(?:_(\d+))?", name))
    }
    return [numbers[i] for i in sorted(numbers)]


def _canonical(
    spec: InceptionSpec,
    convs: list[dict[str, np.ndarray]],
    norms: list[dict[str, np.ndarray]],
    head: dict[str, np.ndarray],
) -> Iterator[tuple[str, np.ndarray]]:
    leaves = LEAVES | ({"scale": SCALE} if spec.norm.scale else {})
    for unit, conv, norm in zip(units(spec), convs, norms, strict=True):
        yield f"{unit}.conv.kernel", conv["kernel"]
        yield from ((f"{unit}.bn.{leaf}", norm[n]) for leaf, n in leaves.items())
    yield from ((f"fc.{leaf}", head[leaf]) for leaf in ("kernel", "bias"))


def write_native(path: Path, spec: InceptionSpec, weights: Weights) -> list[str]:
    """Write an .h5 file that Keras's builder loads; what was lost, in words.

    Raises:
        Refused: The disk does not take it.
    """
    said = []
    if spec.aux:
        said.append("the auxiliary head is left out")
    if spec.norm.scale:
        said.append("batch norm's factors are folded: for inference, not for training")
        weights = folded(weights)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        _fill(file, spec, weights)
    files.write_atomic(path, content.getvalue())
    return said


def _fill(file: h5py.File, spec: InceptionSpec, weights: Weights) -> None:
    """Keras's old layout, layers in the order of its own graph: loading counts them."""
    model = inception_v3.InceptionV3(weights=None, classes=spec.classes)
    plain = InceptionSpec(image=spec.image, classes=spec.classes)
    kinds = {"kernel": "conv2d", "bn": "batch_normalization"}
    made = {
        kind: sorted(
            (
                la.name
                for la in model.layers
                if re.fullmatch(rf"{kind}(_\d+)?", la.name)
            ),
            key=lambda name: int(name.rpartition("_")[2]) if name[-1].isdigit() else 0,
        )
        for kind in kinds.values()
    }
    own: dict[str, list[tuple[str, np.ndarray]]] = {
        "predictions": [(leaf, weights[f"fc.{leaf}"]) for leaf in ("kernel", "bias")]
    }
    for unit, conv, norm in zip(units(plain), *made.values(), strict=True):
        own[conv] = [("kernel", weights[f"{unit}.conv.kernel"])]
        own[norm] = [(n, weights[f"{unit}.bn.{leaf}"]) for leaf, n in LEAVES.items()]
    names = [layer.name for layer in model.layers]
    file.attrs["layer_names"] = [name.encode() for name in names]
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = keras.__version__.encode()
    for name in names:
        group = file.create_group(name)
        rows = [(f"{name}/{leaf}:0", value) for leaf, value in own.get(name, [])]
        group.attrs["weight_names"] = [row.encode() for row, _ in rows]
        for row, value in rows:
            group.create_dataset(row, data=value)


def official(path: Path, side: int, *, device: str = "cpu") -> Predict:
    """Keras's own network with the weights in `path`, float32, side x side px.

    A function from uint8 images (n, h, w, c), scaled to -1 to 1 by Keras's own
    `preprocess_input`, to logits (n, classes): `model.predict`.
    """
    return whole(path, side, device=device)[1]


def whole(path: Path, side: int, *, device: str = "cpu") -> tuple[keras.Model, Predict]:
    """The same, and the network itself."""
    with h5py.File(path) as file:
        classes = len(file["predictions"]["predictions/bias:0"])
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
