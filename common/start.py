"""What a network starts from, where that depends on the pictures it will learn."""

from __future__ import annotations

import numpy as np

from common.data import Part
from common.errors import Refused
from common.spec import Spec
from common.weights import Weights, Whitening, draw, stream


def pictures_needed(spec: Spec) -> int:
    """How many training pictures the spec's draws are made from; 0 for none."""
    inits = (record.init for record in spec.weights.values())
    return max((i.pictures for i in inits if isinstance(i, Whitening)), default=0)


def check_enough(spec: Spec, n: int) -> None:
    """Refuse `n` training pictures that are fewer than the spec's draw takes.

    Raises:
        Refused: In one line.
    """
    if (wanted := pictures_needed(spec)) > n:
        inits = {name: record.init for name, record in spec.weights.items()}
        drawn = next(name for name, i in inits.items() if isinstance(i, Whitening))
        raise Refused(
            f"whitening takes a sample of {wanted:,} training pictures, got {n:,}; use "
            f"more data, or a smaller sample: --set spec.layers."
            f"{drawn.partition('.')[0]}.init.pictures={n}"
        )


def initial_weights(spec: Spec, seed: int, part: Part) -> Weights:
    """The spec's draw for `seed`, in float64, from pictures of `part` where it asks.

    Raises:
        Refused: `part` has fewer pictures than the draw takes.
    """
    n = pictures_needed(spec)
    if not n:
        return draw(spec.weights, seed)
    check_enough(spec, len(part))
    rows = np.sort(stream("pictures", seed).permutation(len(part))[:n])
    images = spec.scale.applied(part.take(rows))  # type: ignore[attr-defined]
    return draw(spec.weights, seed, images)
