"""Causes that are in the order of weights: axes, gates, groups."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from common.port.alike import AGREE, Array, difference
from common.port.cause import Cause, Tried, of_one_kind

# With more gates than that nobody mixes them up.
MOST_GATES = 4


def by_weights(t: Tried) -> Iterator[Cause]:
    """The same layer with other weights: which order of them is torch's?"""
    if not of_one_kind(t) or not t.here.weights or not t.there.weights:
        return
    found: dict[tuple[str, str], list[str]] = {}
    for name, mine in t.here.weights.items():
        theirs = t.there.weights.get(name)
        if theirs is None or difference(_like(theirs, mine), mine) <= t.bar:
            continue
        for cause, text, changed in orders(t, name, theirs, mine):
            if changed.shape == mine.shape and difference(changed, mine) <= t.bar:
                found.setdefault((cause, text), []).append(name)
                break
        else:
            return  # a tensor that is torch's in no order: other weights
    if not found:
        return
    left = t.gives(
        t.there.step.kind, t.there.config, t.here.weights, [t.there.x, *t.others()]
    )
    if left <= t.bar:
        text = "; ".join(f"{' and '.join(of)}: {why}" for (_, why), of in found.items())
        yield Cause(name=next(iter(found))[0], text=text, after=left)


def _like(one: Array, other: Array) -> Array:
    return one.reshape(other.shape) if one.size == other.size else one


def orders(
    t: Tried, name: str, theirs: Array, mine: Array
) -> Iterator[tuple[str, str, Array]]:
    """Other orders of a tensor: the cause, in words, and the tensor in that order."""
    n = theirs.ndim
    for axes in permutations(range(n)) if n <= 5 else ():
        if axes != tuple(range(n)):
            words = f"axes stand as {'-'.join(map(str, axes))} of what torch's are"
            if n == 4 and axes == (1, 0, 2, 3):
                words = "height and width are swapped"
            elif n == 2:
                words = "it is transposed"
            yield "kernel", words, theirs.transpose(axes)
    for axis in range(max(0, n - 2)):
        yield "kernel", f"it is mirrored along side {axis}", np.flip(theirs, axis)
    if n >= 4:
        yield "kernel", "it is mirrored along its sides", np.flip(theirs, (0, 1))
    yield from gates(t, theirs)
    yield from groups(t, theirs, mine)
    if theirs.shape == mine.shape and n >= 1:
        for axis in range(n):
            order = order_of_rows(theirs, mine, axis)
            if order is not None:
                yield (
                    "kernel",
                    f"axis {axis} is in another order",
                    np.take(theirs, order, axis),
                )


def gates(t: Tried, theirs: Array) -> Iterator[tuple[str, str, Array]]:
    """Gates of a recurrent layer in another order."""
    names = {"lstm": "ifgo", "gru": "rzn"}.get(t.there.step.kind)
    if not names:
        return
    parts = np.split(theirs, len(names), -1)
    for order in permutations(range(len(names))):
        if order != tuple(range(len(names))):
            was = "".join(names[order.index(i)] for i in range(len(names)))
            words = f"its gates stand as {', '.join(was)} where the layer reads "
            words += ", ".join(names)
            yield "gates", words, np.concatenate([parts[i] for i in order], -1)


def groups(t: Tried, theirs: Array, mine: Array) -> Iterator[tuple[str, str, Array]]:
    """Filters of a grouped convolution, dealt out to the groups another way."""
    n = int(t.there.config.get("groups", 1) or 1)
    out = theirs.shape[-1]
    if n < 2 or out % n or n > out:
        return
    shape = theirs.shape[:-1]
    for k in {n, out // n}:
        dealt = theirs.reshape(*shape, k, out // k)
        turned = np.swapaxes(dealt, -1, -2).reshape(*shape, out)
        yield "groups", "filters are dealt out to the groups in turn", turned
    parts = np.split(theirs, n, -1)
    yield "groups", "the groups stand in reverse", np.concatenate(parts[::-1], -1)
    order = order_of_rows(theirs, mine, theirs.ndim - 1)
    if order is not None:
        yield "groups", "filters belong to other groups", np.take(theirs, order, -1)


def order_of_rows(theirs: Array, mine: Array, axis: int) -> list[int] | None:
    """The order in which `theirs` along an axis is `mine`, or none."""
    if theirs.shape != mine.shape:
        return None
    flat = [np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1) for a in (theirs, mine)]
    # Rows are told apart by one number each, and compared whole afterwards.
    look = np.random.Generator(np.random.Philox(0)).normal(size=flat[0].shape[1])
    was, new = (np.argsort(rows @ look, kind="stable") for rows in flat)
    order = np.empty(len(was), int)
    order[new] = was
    if difference(flat[0][order], flat[1]) > AGREE:
        return None
    return [int(i) for i in order]
