"""Native parameters <-> canonical weights, in Keras.  Twin: pt_track/weights.py."""

from collections.abc import Iterator

import keras
import numpy as np
from keras import Variable

from common.weights import Weights, check_names
from tf_track.layers import Norm

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
STATISTICS = (".mean", ".var")  # what batch norm keeps without a gradient


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
    for name, value in vars(layer).items():
        if name.startswith("_"):
            continue
        if isinstance(value, keras.layers.Layer):
            yield name, value
        elif isinstance(value, list | tuple):
            for i, child in enumerate(value):
                if isinstance(child, keras.layers.Layer):
                    yield f"{name}.{i}", child


def native(model: keras.Model) -> dict[str, Variable]:
    """Canonical name -> native variable."""
    found = {}
    for path, layer in named_layers(model):
        rows = next(rows for kind, rows in LAYOUT.items() if isinstance(layer, kind))
        for leaf, attribute in rows:
            variable = getattr(layer, attribute)
            if variable is not None:
                found[f"{path}.{leaf}"] = variable
    return found


def norms(model: keras.Model) -> list[Norm]:
    """The layers that keep running statistics."""
    return [layer for _, layer in named_layers(model) if isinstance(layer, Norm)]


def parameters(model: keras.Model) -> dict[str, Variable]:
    """The part of `native` that can have gradients, in the model's order."""
    rows = native(model).items()
    return {name: row for name, row in rows if not name.endswith(STATISTICS)}


def trained(model: keras.Model) -> dict[str, Variable]:
    """The part of `parameters` that is not frozen."""
    rows = parameters(model).items()
    return {name: variable for name, variable in rows if variable.trainable}


def to_canonical(variable: Variable) -> np.ndarray:
    """A copy in canonical layout."""
    return np.array(variable.numpy(), order="C")


def assign(variable: Variable, value: np.ndarray) -> None:
    """Copy a canonical array in."""
    variable.assign(np.asarray(value, variable.dtype))


def get_weights(model: keras.Model) -> Weights:
    """Canonical weights, running statistics included, copied."""
    return {name: to_canonical(row) for name, row in native(model).items()}


def set_weights(model: keras.Model, weights: Weights) -> None:
    """Copy `weights` in.  All of the model's weights, and no others."""
    rows = native(model)
    check_names({name: tuple(row.shape) for name, row in rows.items()}, weights)
    for name, row in rows.items():
        assign(row, weights[name])
