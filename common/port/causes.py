"""Why two steps part: what usually is the cause, each tried on the common input.

A cause is believed if it makes the difference vanish: the step of Keras, computed anew
with what torch has, gives what torch gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from common.port.cause import Cause, Compute, Tried, WeightsOf, local, returning
from common.port.follow import Followed
from common.port.given import by_input
from common.port.lacking import by_layers
from common.port.reordered import by_weights
from common.port.returned import (
    by_dot_attention,
    by_drawing,
    by_output,
    by_return,
    by_scale,
)
from common.port.worded import by_kind, by_precision, by_words


def causes(
    found: Followed,
    at: tuple[int, int],
    weights: tuple[WeightsOf, WeightsOf],
    compute: Compute,
) -> Cause | None:
    """Why the steps `at` of both sides part; none where nothing that is tried helps."""
    here, there = (
        local(trace, one, sound, own)
        for trace, one, sound, own in zip(
            (found.torch, found.keras), at, found.sound, weights, strict=True
        )
    )
    here = returning(here, there)
    tried = Tried(found, here, there, weights, compute)
    return next((cause for search in SEARCHES for cause in search(tried)), None)


SEARCHES: tuple[Callable[[Tried], Iterator[Cause]], ...] = (
    by_drawing,
    by_words,
    by_precision,
    by_weights,
    by_return,
    by_dot_attention,
    by_kind,
    by_input,
    by_output,
    by_layers,
    by_scale,
)
