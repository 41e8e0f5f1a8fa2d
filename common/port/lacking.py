"""Causes that are layers: one too few, one too many, two in another order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from common.port.alike import Array, alike
from common.port.cause import Cause, Tried, shown, turned
from common.port.told import Step, Trace, channels_last


def by_layers(t: Tried) -> Iterator[Cause]:
    """A layer that one side has and the other has not, or two in another order."""
    yield from _swapped(t)  # first: of two swapped ones each looks lacking
    yield from _lacking(t, 0)
    yield from _lacking(t, 1)


def _next(trace: Trace, at: int) -> Step | None:
    """The step that takes the output of another, past glue that changes nothing."""
    after = [s for s in trace.steps if at in s.inputs]
    while after and after[0].kind in ("identity", "dropout"):
        at = after[0].at
        after = [s for s in trace.steps if at in s.inputs]
    return after[0] if after else None


def _computed(
    t: Tried, side: int, step: Step, x: Array, after: int = -3
) -> Array | None:
    """A side's step on another input, in place of what the step `after` gives it."""
    trace = t.found.traces[side]
    given = [turned(step, a) for a in trace.inputs[step.at]]
    place = step.inputs.index(after) if after in step.inputs else 0
    given[place] = x
    weights = t.weights[side](step.unit) if step.unit else {}
    return t.compute(step.kind, step.config, weights, given)


def _lacking(t: Tried, side: int) -> Iterator[Cause]:
    """The other side lacks the step at which this one parts."""
    mine, other = (t.here, t.there)[side], (t.there, t.here)[side]
    names = ("torch", "Keras")
    traces = (t.found.torch, t.found.keras)
    after = _next(traces[side], mine.step.at)
    x = mine.given[0] if mine.given else None
    if x is None:
        return
    text = f"{names[side]} has {mine.step.cls} here, {names[1 - side]} has not"
    if after is None:  # the last: what goes in is what the other returns
        for end in (other.given[0] if other.given else None, other.y):
            if end is not None and alike(x, end).difference <= t.bar:
                yield _of_layer(t, side, text, mine.step)
                return
        ends = traces[1 - side].ends.values()
        if any(alike(x, end).difference <= t.bar for end in ends):
            yield _of_layer(t, side, text, mine.step)
        return
    given = _turned_like(mine.step, after, x)
    y = _computed(t, side, after, given, mine.step.at)
    if y is None:
        return
    for step in traces[1 - side].steps[other.step.at :]:
        out = turned(step, traces[1 - side].outputs[step.at])
        if alike(y, out).difference <= t.bar:
            torch, keras = (after.at, step.at) if side == 0 else (step.at, after.at)
            yield _of_layer(t, side, text, mine.step, torch=torch, keras=keras)
            return


def _turned_like(step: Step, after: Step, x: Array) -> Array:
    """An input of one step, channels last, as the next takes it."""
    if step.first or not after.first:
        return x
    return channels_last(x)


def _of_layer(t: Tried, side: int, text: str, step: Step, **at: Any) -> Cause:
    name = "softmax" if step.config.get("function") == "softmax" else "layer"
    if step.kind in ("multiply", "divide") and "number" in step.config:
        name = "scale"
        text = text.replace(step.cls, f"{step.cls} by {shown(step.config['number'])}")
    layer = (step.at, None) if side == 0 else (None, step.at)
    return Cause(name=name, text=text, after=0.0, layer=layer, **at)


def _swapped(t: Tried) -> Iterator[Cause]:
    """Two layers in one order here and in the other there."""
    first, third = (
        trace.steps[(*one.place.glue, one.step.at)[0]]
        for trace, one in ((t.found.torch, t.here), (t.found.keras, t.there))
    )
    second, fourth = _next(t.found.torch, first.at), _next(t.found.keras, third.at)
    if second is None or fourth is None:
        return
    if (first.kind, second.kind) != (fourth.kind, third.kind):
        return
    x = turned(third, t.found.keras.inputs[third.at][0])
    once = _computed(t, 1, fourth, x)
    y = None if once is None else _computed(t, 1, third, once)
    mine = turned(second, t.found.torch.outputs[second.at])
    if y is not None and alike(y, mine).difference <= t.bar:
        yield Cause(
            name="order",
            text=f"torch has {first.cls} and then {second.cls}, Keras {third.cls} and "
            f"then {fourth.cls}",
            after=0.0,
            torch=second.at,
            keras=fourth.at,
        )
