"""Causes that are in what goes into a layer that is right itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

import numpy as np

from common.port.alike import Array, alike, as_other, difference
from common.port.cause import Cause, Tried, of_one_kind, pads_before
from common.port.reordered import order_of_rows
from common.port.told import Config
from common.port.worded import changed_words, different


def by_input(t: Tried) -> Iterator[Cause]:
    """The layer is right, and what it is given is not: how are the two related?"""
    kinds = {t.here.step.kind, t.there.step.kind}
    if not t.here.given or (len(kinds) > 1 and kinds != {"dense", "conv"}):
        return
    for cause, text, changed in relations(t, t.here.x, t.there.x):
        for config in configs(t):
            inputs = [changed, *t.others()]
            left = t.gives(t.there.step.kind, config, t.there.weights, inputs)
            if left <= t.bar:
                yield _of_input(t, cause, text, left)
                return


def configs(t: Tried) -> Iterator[Config]:
    """Keras's words, and those with torch's for a few: two causes may meet."""
    yield t.there.config
    keys = different(t) if of_one_kind(t) else []
    for n in range(1, min(len(keys), MOST_WORDS) + 1):
        for chosen in combinations(keys, n):
            yield changed_words(t, chosen)


# Words that are mended along with an input.
MOST_WORDS = 2


def _of_input(t: Tried, cause: str, text: str, left: float) -> Cause:
    """A cause that is in what leads to the step."""
    traces = t.found.traces
    ours, theirs = (
        [i for i in one.place.glue if trace.steps[i].kind != "pad"]
        for one, trace in zip((t.here, t.there), traces, strict=True)
    )
    if theirs:  # mended there, whoever else takes it: with what goes in on this side
        pads = pads_before(traces[0], t.here.place)
        taker = pads[0] if pads else t.here.step
        return Cause(
            name=cause,
            text=text,
            after=left,
            layer=(None, theirs[-1]),
            torch=taker.inputs[0],
            keras=theirs[-1],
        )
    layer = (None, theirs[-1]) if theirs else (ours[-1] if ours else None, None)
    return Cause(name=cause, text=text, after=left, layer=layer)


def relations(t: Tried, mine: Array, theirs: Array) -> Iterator[tuple[str, str, Array]]:
    """How Keras's input becomes torch's: cause, words, torch's as Keras takes it."""
    yield from _flattened(t, mine, theirs)
    if mine.shape == theirs.shape and mine.ndim > 1:
        reverse = np.flip(theirs, -1)
        if difference(reverse, mine) <= t.bar:
            yield (
                "channel-order",
                "channels stand in reverse: RGB here, BGR there",
                mine,
            )
        yield from scaled(t, mine, theirs)
        order = order_of_rows(theirs, mine, mine.ndim - 1) if mine.ndim == 4 else None
        if order is not None:
            yield "groups", "channels are shuffled in another order", mine
        yield from _reordered(t, mine, theirs)
        for axis in range(1, mine.ndim - 1):
            if difference(np.flip(theirs, axis), mine) <= t.bar:
                yield "axis", f"axis {axis} is reversed", mine
    found = alike(mine, theirs)
    if (
        found.axes is not None
        and found.difference <= t.bar
        and mine.shape != theirs.shape
    ):
        yield (
            "axis",
            "axes stand in another order",
            as_other(mine, found.axes, theirs.shape),
        )


def _flattened(
    t: Tried, mine: Array, theirs: Array
) -> Iterator[tuple[str, str, Array]]:
    """Maps flattened as (channels, height, width) and as (height, width, channels)."""
    if mine.ndim != 2 or mine.shape != theirs.shape:
        return
    for trace, place in (
        (t.found.keras, t.there.place),
        (t.found.torch, t.here.place),
    ):
        for at in place.glue[::-1]:
            maps = trace.inputs[at][0]
            if maps.ndim > 2 and maps[0].size == mine.shape[1]:
                for axes in permutations(range(1, maps.ndim)):
                    turned = maps.transpose(0, *axes).reshape(mine.shape)
                    if difference(turned, mine) <= t.bar:
                        text = (
                            "maps are flattened as (channels, height, width) in "
                            "torch and (height, width, channels) in Keras: permute "
                            "before it, or the kernel's rows"
                        )
                        yield "flatten-order", text, mine
                        return


def _reordered(
    t: Tried, mine: Array, theirs: Array
) -> Iterator[tuple[str, str, Array]]:
    """The same values of each example in another order, after a reshape."""
    steps = [t.found.keras.steps[i] for i in t.there.place.glue]
    steps += [t.found.torch.steps[i] for i in t.here.place.glue]
    if not any(s.kind in ("reshape", "permute") for s in steps):
        return
    one, other = (np.sort(a.reshape(len(a), -1), -1) for a in (mine, theirs))
    if difference(other, one) <= t.bar:
        text = (
            "the same values stand in another order after a reshape: maps are "
            "(channels, height, width) in torch and (height, width, channels) in Keras"
        )
        yield "flatten-order", text, mine


SCALE = ("scale", "values are")
PIXELS = ("pixel-scale", "pixels are")


def scaled(t: Tried, mine: Array, theirs: Array) -> Iterator[tuple[str, str, Array]]:
    """One is a multiple of the other and an offset, channel by channel."""
    one, other = (a.reshape(-1, a.shape[-1]) for a in (mine, theirs))
    factors, offsets = [], []
    for a, b in zip(one.T, other.T, strict=True):
        if not np.ptp(b) > 0 or not np.isfinite(a).all():
            return
        slope, offset = np.polyfit(b, a, 1)
        if difference(slope * b + offset, a) > 1e-8:
            return
        factors.append(float(slope))
        offsets.append(float(offset))
    factor = ", ".join(f"{f:.6g}" for f in dict.fromkeys(np.round(factors, 9)))
    offset = ", ".join(f"{o:.6g}" for o in dict.fromkeys(np.round(offsets, 9)))
    if difference(theirs, mine) <= t.bar:
        return
    name, what = PIXELS if t.here.place.origin < 0 else SCALE
    text = f"{what} scaled otherwise: torch's are Keras's times {factor}"
    text += f", plus {offset}" if any(np.round(offsets, 9)) else ""
    yield name, text, mine
