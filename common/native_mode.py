"""What the native modes of both tracks agree on: architecture, and where seeds go.

All other numbers are the frameworks' own, so nothing here is about them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from common.errors import Refused
from common.recipe import Recipe
from common.spec import (
    Add,
    Branch,
    CNNSpec,
    Dense,
    Dropout,
    Flatten,
    FractionalPool,
    Layer,
    MLPSpec,
    Norm,
    Relu,
    Shape,
    Spec,
)


def chain(spec: Spec) -> Iterator[tuple[str, Layer, Shape]]:
    """Name, record and input shape of each layer, first to last.

    Raises:
        Refused: The spec is of a kind of the user's own.
    """
    match spec:
        case CNNSpec():
            _check_plain(spec)
            yield from zip(spec.names, spec.layers, spec.shapes[:-1], strict=True)
        case MLPSpec():
            yield from _mlp(spec)
        case _:
            raise Refused(
                f"native mode needs an MLPSpec or a CNNSpec, got {type(spec).__name__}"
                "; use --mode aligned"
            )


def _check_plain(spec: CNNSpec) -> None:
    """Refuse what a sequence of the frameworks' own layers with defaults is not."""
    special = [x for x in spec.layers if isinstance(x, Branch | Add | FractionalPool)]
    if special:
        raise Refused(
            "native mode builds a plain sequence of layers that both frameworks have, "
            f"got {type(special[0]).__name__}; use --mode aligned"
        )
    if spec.canvas:
        raise Refused(
            "native mode augments with the frameworks' own layers, which have no "
            f"canvas, got one of {spec.canvas} px; use --mode aligned"
        )


def _mlp(spec: MLPSpec) -> Iterator[tuple[str, Layer, Shape]]:
    yield "flatten", Flatten(), spec.image
    for i, (width, out) in enumerate(zip(spec.widths, spec.hidden, strict=False)):
        yield f"hidden.{i}", Dense(out), (width,)
        if spec.norm:
            yield f"norms.{i}", Norm(), (out,)
        yield f"relus.{i}", Relu(), (out,)
        if spec.dropout:
            yield f"drops.{i}", Dropout(spec.dropout), (out,)
    yield "head", Dense(spec.classes), (spec.widths[-2],)


def left_alone(recipe: Recipe) -> Recipe:
    """The recipe as native mode counts steps by: the short last batch is kept."""
    recipe = replace(recipe, drop_last=False, average=None, last_epoch=1.0)
    return replace(recipe, views=(), repeats=1)


def epoch_seed(seed: int, epoch: int) -> int:
    """A framework's seed for one epoch, so that a resumed run sees the same draws."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
