"""Keras's files of Inception v3.  Twin: pt_track/official.py."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras.applications import inception_v3

from common import files
from common.errors import Refused
from common.evaluate import Predict
from common.inception import SYMMETRIC, InceptionSpec, folded, units
from common.spec import Norm
from common.weights import Weights, check_names
from tf_track.native import PLACES

NAME = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
RELEASE = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
MD5 = "9a0d58056eeedaa3f26cb7ebd46da564"  # keras.applications.inception_v3 checks it
# What Keras's builder makes, but for the number of classes.
NORM = Norm(decay=0.99, eps=1e-3, variance="biased", scale=False)
CHANNELS = 3
# canonical leaf <- Keras's name of it
LEAVES = {"shift": "beta", "mean": "moving_mean", "var": "moving_variance"}
SCALE = "gamma"
KINDS = ("conv2d", "batch_normalization", "predictions")  # of layers with weights
DENSE = {"kernel", "bias"}


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


def read_native(path: Path) -> tuple[InceptionSpec, Weights]:
    """Spec and canonical weights of an .h5 file of `keras.applications.InceptionV3`.

    The weights are float32.

    Raises:
        Refused: The file is damaged or of another network; nothing in it is run.
    """
    with _parser(path):
        file = h5py.File(path)
    with file:
        with _parser(path):
            layers = _layers(file)
            size = path.stat().st_size
        try:
            spec, found = _spec(layers)
            check_names({n: r.shape for n, r in spec.weights.items()}, found)
            # A declared array takes no place in a file until it is written.
            if sum(prod(d.shape) * d.dtype.itemsize for d in found.values()) > size:
                raise ValueError(f"its arrays are larger than its {size:,} bytes")
        except ValueError as error:
            raise _refusal(path, error) from error
        with _parser(path):
            arrays = {name: dataset[()] for name, dataset in found.items()}
    try:
        weights = {name: _array(name, array) for name, array in arrays.items()}
    except ValueError as error:
        raise _refusal(path, error) from error
    return spec, weights


@contextmanager
def _parser(path: Path) -> Iterator[None]:
    """Around what reads a file's bytes, and nothing else."""
    try:
        yield
    except Exception as error:  # a parser that is fed hostile bytes raises anything
        raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> Refused:
    said = str(error).strip()
    said = said.splitlines()[0][:200] if said else type(error).__name__
    return Refused(
        f"a Keras file must be a whole .h5 of InceptionV3 with its top, {path} is "
        f"not ({said}); use Keras's own file"
    )


def _layers(file: h5py.File) -> dict[str, dict[str, h5py.Dataset]]:
    """Layer -> Keras's name of each of its arrays -> the array, not read yet.

    Names are the links'.  Those that Keras lists beside them are only counted: they
    can be long, each of them the same bytes, and an attribute is read as a whole.
    """
    (group,) = [g for n, g in _members(file) if n == "model_weights"] or [file]
    _check_list(group, "layer_names")
    found: dict[str, dict[str, h5py.Dataset]] = {}
    seen: set[object] = set()
    for name, layer in _members(group):
        arrays = list(_arrays(layer, seen))
        if arrays:
            _check_list(layer, "weight_names", len(arrays))
        found[name] = dict(arrays)
        if len(found[name]) != len(arrays):
            raise ValueError(f"{name[:60]!r} has two arrays of one name")
    return found


def _members(group: object) -> Iterator[tuple[str, object]]:
    """What a group has in this file; h5py would follow a link into any other."""
    if not isinstance(group, h5py.Group):
        raise ValueError("there is an array where a group must be")
    for name in group:
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{name[:60]!r} is a link")
        yield name, group[name]


def _arrays(group: object, seen: set[object]) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every array in a group and its groups; each is somewhere once."""
    for name, member in _members(group):
        if member in seen:
            raise ValueError(f"{name[:60]!r} is in it twice")
        seen.add(member)
        if isinstance(member, h5py.Group):
            yield from _arrays(member, seen)
        else:
            _check_array(name, member)
            yield name.partition(":")[0], member


def _check_list(group: h5py.Group, attribute: str, n: int | None = None) -> None:
    """Refuse a group without Keras's list of what is in it."""
    row = group.attrs.get_id(attribute)
    if len(row.shape or ()) != 1 or h5py.check_string_dtype(row.dtype) is None:
        raise ValueError(f"{attribute} must list names, it is {row.dtype} {row.shape}")
    if n not in (None, row.shape[0]):
        raise ValueError(f"{attribute} must list {n} arrays, it lists {row.shape[0]}")


def _check_array(name: str, array: object) -> None:
    """Refuse what is no plain array of floats whose values are in the file itself."""
    if not isinstance(array, h5py.Dataset) or array.shape is None:
        raise ValueError(f"{name[:60]!r} is no array")
    if array.dtype.kind != "f":
        raise ValueError(f"{name[:60]!r} must be floating, it is {array.dtype}")
    layout = array.id.get_create_plist().get_layout()
    # Chunks can be compressed, to nothing; virtual ones and external are other files.
    if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS) or array.external:
        raise ValueError(f"{name[:60]!r} must lie in the file in one piece")


def _spec(
    layers: dict[str, dict[str, h5py.Dataset]],
) -> tuple[InceptionSpec, dict[str, h5py.Dataset]]:
    """The network whose layers these are, by name and number, and its arrays."""
    convs, norms, heads = (_sorted(layers, kind) for kind in KINDS)
    if len(heads) != 1 or len(getattr(heads[0].get("kernel"), "shape", ())) != 2:
        raise ValueError("it has no layer of predictions with a matrix")
    leaves = LEAVES | ({"scale": SCALE} if norms and SCALE in norms[0] else {})
    spec = InceptionSpec(
        image=(299, 299, CHANNELS),
        classes=heads[0]["kernel"].shape[1],
        border="exclude",
        norm=Norm(decay=0.99, eps=1e-3, variance="biased", scale="scale" in leaves),
    )
    n = len(units(spec))
    others = sum(map(bool, layers.values())) - len(convs) - len(norms) - len(heads)
    if (len(convs), len(norms), others) != (n, n, 0):
        raise ValueError(
            f"it has {len(convs)} convolutions, {len(norms)} batch norms and {others} "
            f"other layers with weights, not {n}, {n} and 0"
        )
    norm = set(leaves.values())
    for made, names in ((convs, {"kernel"}), (norms, norm), (heads, DENSE)):
        if odd := [arrays for arrays in made if arrays.keys() != names]:
            some = [name[:60] for name in sorted(odd[0])[:5]]
            raise ValueError(f"a layer has {some}, not {sorted(names)}")
    return spec, dict(_canonical(spec, leaves, convs, norms, heads[0]))


def _sorted(
    layers: dict[str, dict[str, h5py.Dataset]], kind: str
) -> list[dict[str, h5py.Dataset]]:
    """The layers of a kind in the order they were made: by the number in the name."""
    numbers = {
        int(found[1] or 0): arrays
        for name, arrays in layers.items()
        if (found := re.fullmatch(rf"{kind}(?:_([1-9][0-9]{{0,8}}))?", name))
    }
    return [numbers[i] for i in sorted(numbers)]


def _canonical(
    spec: InceptionSpec,
    leaves: dict[str, str],
    convs: list[dict[str, h5py.Dataset]],
    norms: list[dict[str, h5py.Dataset]],
    head: dict[str, h5py.Dataset],
) -> Iterator[tuple[str, h5py.Dataset]]:
    for unit, conv, norm in zip(units(spec), convs, norms, strict=True):
        yield f"{unit}.conv.kernel", conv["kernel"]
        yield from ((f"{unit}.bn.{leaf}", norm[n]) for leaf, n in leaves.items())
    yield from ((f"fc.{leaf}", head[leaf]) for leaf in ("kernel", "bias"))


def _array(name: str, values: np.ndarray) -> np.ndarray:
    """The same in float32, of values that are finite and stay what they are."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite")
    with np.errstate(over="ignore"):
        single = values.astype(np.float32, copy=False)
    if not np.array_equal(single.astype(values.dtype), values):
        raise ValueError(f"{name} is {values.dtype} and would be rounded to float32")
    return single


def write_native(path: Path, spec: InceptionSpec, weights: Weights) -> list[str]:
    """Write an .h5 file that Keras's builder loads; what was lost, in words.

    Raises:
        Refused: The builder makes no such network, or the disk does not take it.
    """
    said = _remarks(spec)
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


def _remarks(spec: InceptionSpec) -> list[str]:
    """What the file cannot say and its user has to do."""
    channels, eps = spec.image[2], spec.norm.eps
    if (channels, eps) != (CHANNELS, NORM.eps):
        raise Refused(
            f"Keras's InceptionV3 has {CHANNELS} channels and epsilon {NORM.eps}, got "
            f"a network with {channels} and {eps}; keep its own file, which both "
            "tracks open"
        )
    if spec.scale != SYMMETRIC:
        return [f"not in the file: pixels go in by {spec.scale}"]
    return []


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
