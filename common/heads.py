"""A network's last layer: counted, replaced, left out.

The last layer is the one whose kernel gives the logits.  What it is given are the
network's features; the same network with the identity in its place has them as logits,
so both tracks compute features without a line of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from common.inception import AUX, InceptionSpec
from common.spec import CNNSpec, Image, MLPSpec, Spec
from common.weights import Weights, draw


def head_of(spec: Spec) -> str:
    """Name of the last layer.

    Raises:
        TypeError: The spec is of a kind of the user's own.
    """
    match spec:
        case MLPSpec():
            return "head"
        case CNNSpec():
            return spec.names[spec.head]
        case InceptionSpec():
            return "fc"
    raise TypeError(
        f"the last layer is known of MLPSpec, CNNSpec and InceptionSpec, got "
        f"{type(spec).__name__}; replace it in the spec itself"
    )


def features_of(spec: Spec) -> int:
    """How many numbers per picture the last layer is given."""
    return spec.weights[f"{head_of(spec)}.kernel"].shape[0]


def with_classes(spec: Any, classes: int, *, image: Image | None = None) -> Any:
    """The same network with another number of logits, and for other pictures if given.

    Raises:
        ValueError: The network does not fit the pictures.
    """
    image = image or spec.image
    if isinstance(spec, CNNSpec):
        at = spec.head
        head = replace(spec.layers[at], out=classes)  # type: ignore[arg-type]
        layers = (*spec.layers[:at], head, *spec.layers[at + 1 :])
        return replace(spec, image=image, classes=classes, layers=layers)
    return replace(spec, image=image, classes=classes)


def base_for(spec: Any, image: Image, classes: int) -> Any:
    """The network of a weights file, for other pictures and classes.

    An auxiliary head is left out: pictures of less than 299 px have no room for it.
    "spec.aux=True" asks for it again.

    Raises:
        ValueError: The network does not fit the pictures.
    """
    bare = replace(spec, aux=False) if isinstance(spec, InceptionSpec) else spec
    return with_classes(bare, classes, image=image)


def transplanted(spec: Spec, weights: Weights, seed: int) -> Weights:
    """`weights` of the same network, but the last layers drawn anew from `seed`.

    Raises:
        ValueError: A weight that is not in a last layer is missing.
    """
    fresh = draw(spec.weights, seed)
    heads = (f"{head_of(spec)}.", f"{AUX.name}.fc.")
    kept = {
        name: fresh[name] if name.startswith(heads) else weights.get(name)
        for name in fresh
    }
    if missing := [name for name, value in kept.items() if value is None]:
        raise ValueError(
            f"weights must have all but the last layer, missing are {missing[:3]} "
            f"({len(missing)} in all); use weights of the same network"
        )
    return {name: np.asarray(value) for name, value in kept.items()}


def headless(spec: Spec, weights: Weights) -> tuple[Any, Weights]:
    """The network and weights whose logits are the features of `spec`."""
    name, n = head_of(spec), features_of(spec)
    bare = with_classes(spec, n)
    if isinstance(spec, InceptionSpec):
        bare = replace(bare, aux=False)
    elif isinstance(bare, CNNSpec):
        last = replace(bare.layers[bare.head], bias=True)  # type: ignore[arg-type]
        bare = replace(bare, layers=(*bare.layers[: bare.head], last))
    identity = {f"{name}.kernel": np.eye(n), f"{name}.bias": np.zeros(n)}
    return bare, {key: (weights | identity)[key] for key in bare.weights}
