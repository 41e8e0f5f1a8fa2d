"""Keras's variables on torch <-> canonical weights.  Twin: tf_track/weights.py.

A table for `pt_track.weights`, whose functions do the rest.
"""

from collections.abc import Iterator

import keras
from keras import Variable
from torch import Tensor

from common.weights import Weights
from pt_track import weights as torch_weights
from pt_track.on_keras.as_torch import AsTorch
from pt_track.on_keras.layers import Norm

# layer type -> (canonical leaf, native attribute); Keras's layout is canonical
LAYOUT: dict[type, list[tuple[str, str]]] = {
    keras.layers.Dense: [("kernel", "kernel"), ("bias", "bias")],
    keras.layers.Conv2D: [("kernel", "kernel"), ("bias", "bias")],
    keras.layers.BatchNormalization: [
        ("scale", "gamma"),
        ("shift", "beta"),
        ("mean", "moving_mean"),
        ("var", "moving_variance"),
    ],
}
STATISTICS = ("mean", "var")  # what batch norm keeps without a gradient


def named_layers(
    model: keras.layers.Layer, path: str = ""
) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Every layer of the table, by its dotted path.

    Raises:
        TypeError: A layer owns parameters and is not in the table.
    """
    if isinstance(model, tuple(LAYOUT)):
        yield path, model
        return
    children = dict(inside(model))
    for name, child in children.items():
        yield from named_layers(child, f"{path}.{name}" if path else name)
    if model.weights and not children:
        raise TypeError(
            f"a layer with weights must be in LAYOUT, got {type(model).__name__} "
            f"at {path!r}; build it from {[t.__name__ for t in LAYOUT]}"
        )


def inside(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layers a layer holds, by the attribute that holds them."""
    if isinstance(layer, keras.Sequential) or hasattr(layer, "operations"):
        yield from ((child.name, child) for child in layer.layers)
        return
    for name, value in vars(layer).items():  # torch knows no layers in a list
        if isinstance(value, list | tuple) and not name.startswith("_"):
            for i, child in enumerate(value):
                if isinstance(child, keras.layers.Layer):
                    yield f"{name}.{i}", child
    for name, child in layer.named_children():
        if isinstance(child, keras.layers.Layer):
            yield name, child


@torch_weights.native.register
def native(model: AsTorch) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    """Canonical name -> (native tensor, its axes in canonical order)."""
    found = {}
    for path, layer in named_layers(model.network):
        rows = next(rows for kind, rows in LAYOUT.items() if isinstance(layer, kind))
        for leaf, attribute in rows:
            variable = getattr(layer, attribute)
            if variable is not None:
                tensor = tensor_of(variable, leaf)
                found[f"{path}.{leaf}"] = (tensor, tuple(range(tensor.ndim)))
    return found


def tensor_of(variable: Variable, leaf: str) -> Tensor:
    """The memory of a variable: a parameter, but a plain tensor of a statistic's.

    Keras makes parameters of all variables; what is one decides what is trained.
    """
    return variable.value.detach() if leaf in STATISTICS else variable.value


@torch_weights.norms.register
def norms(model: AsTorch) -> list[Norm]:
    """The layers that keep running statistics."""
    layers = named_layers(model.network)
    return [layer for _, layer in layers if isinstance(layer, Norm)]


def get_weights(model: keras.Model) -> Weights:
    """Canonical weights, running statistics included, copied."""
    return torch_weights.get_weights(AsTorch(model))


def set_weights(model: keras.Model, weights: Weights) -> None:
    """Copy `weights` in.  All of the model's weights, and no others."""
    torch_weights.set_weights(AsTorch(model), weights)
