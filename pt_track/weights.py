"""Native parameters <-> canonical weights, in PyTorch.  Twin: tf_track/weights.py."""

from collections.abc import Iterator
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from common.weights import Weights, check_names
from pt_track.layers import Norm

# layer type -> (canonical leaf, native attribute, axes native -> canonical)
LAYOUT: dict[type, list[tuple[str, str, tuple[int, ...]]]] = {
    nn.Linear: [("kernel", "weight", (1, 0)), ("bias", "bias", (0,))],
    nn.Conv2d: [("kernel", "weight", (2, 3, 1, 0)), ("bias", "bias", (0,))],
    _BatchNorm: [
        ("scale", "weight", (0,)),
        ("shift", "bias", (0,)),
        ("mean", "running_mean", (0,)),
        ("var", "running_var", (0,)),
    ],
}


def named_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every layer of the table, by its dotted path.

    Raises:
        TypeError: A layer owns parameters and is not in the table.
    """
    for path, module in model.named_modules():
        if isinstance(module, tuple(LAYOUT)):
            yield path, module
        elif list(module.parameters(recurse=False)):
            raise TypeError(
                f"a layer with weights must be in LAYOUT, got {type(module).__name__} "
                f"at {path!r}; build it from {[t.__name__ for t in LAYOUT]}"
            )


@singledispatch
def native(model: nn.Module) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    """Canonical name -> (native tensor, its axes in canonical order).

    Of another library's networks that run on torch, their own table says it.
    """
    found = {}
    for path, layer in named_layers(model):
        rows = next(rows for kind, rows in LAYOUT.items() if isinstance(layer, kind))
        for leaf, attribute, axes in rows:
            tensor = getattr(layer, attribute)
            if tensor is not None:
                found[f"{path}.{leaf}"] = (tensor, axes)
    return found


@singledispatch
def norms(model: nn.Module) -> list[Norm]:
    """The layers that keep running statistics; another library's are like `Norm`."""
    return [layer for layer in model.modules() if isinstance(layer, Norm)]


def parameters(model: nn.Module) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    """The part of `native` that can have gradients, in the model's order."""
    rows = native(model).items()
    return {name: row for name, row in rows if isinstance(row[0], nn.Parameter)}


def trained(model: nn.Module) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    """The part of `parameters` that is not frozen."""
    rows = parameters(model).items()
    return {name: row for name, row in rows if row[0].requires_grad}


def to_canonical(tensor: Tensor, axes: tuple[int, ...]) -> np.ndarray:
    """A copy in canonical layout."""
    return np.array(tensor.detach().permute(axes).cpu().numpy(), order="C")


def assign(tensor: Tensor, axes: tuple[int, ...], value: np.ndarray) -> None:
    """Copy a canonical array in."""
    with torch.no_grad():
        tensor.permute(axes).copy_(torch.from_numpy(np.ascontiguousarray(value)))


def get_weights(model: nn.Module) -> Weights:
    """Canonical weights, running statistics included, copied."""
    return {name: to_canonical(*row) for name, row in native(model).items()}


def set_weights(model: nn.Module, weights: Weights) -> None:
    """Copy `weights` in.  All of the model's weights, and no others."""
    rows = native(model)
    shapes = {
        name: tuple(tensor.shape[a] for a in axes)
        for name, (tensor, axes) in rows.items()
    }
    check_names(shapes, weights)
    for name, row in rows.items():
        assign(*row, weights[name])
