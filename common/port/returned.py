"""Causes that show in what comes out: probabilities, draws, another last step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.port.alike import AGREE, Array, alike, as_other, difference
from common.port.cause import Cause, Tried, of_one_kind, shown, turned
from common.port.given import scaled
from common.port.told import Trace


def by_return(t: Tried) -> Iterator[Cause]:
    """A recurrent layer's last step taken for its sequence, or for another last."""
    mine, theirs = t.found.torch.outputs[t.here.step.at], t.there.y
    mine = mine.swapaxes(0, 1) if t.here.config.get("time_first") else mine
    whole = [*t.there.given[:1], *t.here.given[:1]]
    if t.there.config.get("returns") == "last" and mine.ndim == 3:
        yield from _returned(t, mine[:, -1], theirs, LAST_ALONE)
        units = mine.shape[-1] // 2
        ends = np.concatenate([mine[:, -1, :units], mine[:, 0, units:]], -1)
        yield from _returned(t, ends, theirs, LAST_OF_EACH)
    for sequence in whole:
        if sequence.ndim == 3:
            yield from _returned(t, sequence[:, -1], mine, TORCH_LAST)
            yield from _returned(t, sequence[:, -1], theirs, KERAS_LAST)


LAST_ALONE = "Keras returns the last step alone, torch goes on with the whole sequence"


LAST_OF_EACH = (
    "torch takes the last step of both ways, Keras the last that each way computed, "
    "which is the first of the way back"
)


TORCH_LAST = "torch takes the last step of the sequence, Keras goes on otherwise"


KERAS_LAST = "Keras takes the last step of the sequence, torch goes on otherwise"


def _returned(t: Tried, one: Array, other: Array, text: str) -> Iterator[Cause]:
    if alike(one, other).difference <= t.bar:
        yield Cause(name="return", text=text, after=0.0)


def by_dot_attention(t: Tried) -> Iterator[Cause]:
    """Attention of a function here, written out there: another scale, or a mask."""
    if t.here.step.kind != "dot_attention":
        return
    width = t.here.given[0].shape[-1]
    said = t.here.config["scale"]
    scale = width**-0.5 if said is None else said
    mask = t.here.config["masked"]
    tried = [("scale", other, mask) for other in (1.0, 1 / width, width**0.5)]
    tried.append(("mask", scale, not mask))
    trace = t.found.keras
    for name, other, masked in tried:
        config = {"scale": other, "masked": masked}
        y = t.compute("dot_attention", config, {}, t.here.given)
        for at in t.found.parted(1):
            if y is not None and alike(y, trace.outputs[at]).difference <= t.bar:
                text = f"scores are times {scale:.6g} in torch, {other:.6g} in Keras"
                if name == "mask":
                    text = (
                        f"causal mask: {shown(mask)} in torch, {shown(masked)} in Keras"
                    )
                yield Cause(name=name, text=text, after=0.0, keras=at)
                return


def by_output(t: Tried) -> Iterator[Cause]:
    """What one side's output is of the other's: probabilities, of the batch."""
    mine, theirs = t.here.y, t.there.y
    if of_one_kind(t) and t.here.step.kind == "batch_norm" and t.x is not None:
        for side, one in (("Keras", t.there), ("torch", t.here)):
            y = t.compute(
                "batch_norm", one.config | {"batch": True}, one.weights, [one.x]
            )
            if y is not None and alike(y, one.y).difference <= t.bar:
                yield Cause(
                    name="statistics",
                    text=f"{side} normalises by the batch's own statistics: it is "
                    "called for training",
                    after=0.0,
                )
    yield from _softmaxed(t, mine, theirs)
    if t.here.place.origin < 0 and mine.shape == theirs.shape:
        last = _last_that_scales(t.found.keras, t.there.step.at)
        out = turned(t.found.keras.steps[last], t.found.keras.outputs[last])
        for name, text, _ in scaled(t, mine, out):
            yield Cause(name=name, text=text, after=0.0, keras=last)


def _last_that_scales(trace: Trace, at: int) -> int:
    """The last of the steps after one that take a number, or one for each channel.

    What torch normalises in one module a port may write as two operations.
    """
    while True:
        after = [step for step in trace.steps if at in step.inputs]
        if len(after) != 1 or len(after[0].inputs) != 1 or after[0].kind not in SCALING:
            return at
        at = after[0].at


SCALING = ("add", "subtract", "multiply", "divide")


def _softmaxed(t: Tried, mine: Array, theirs: Array) -> Iterator[Cause]:
    for name, one, other in (("Keras", mine, theirs), ("torch", theirs, mine)):
        soft = t.compute("act", {"function": "softmax"}, {}, [one])
        if soft is not None and alike(soft, other).difference <= t.bar:
            yield Cause(
                name="softmax",
                text=f"{name} has one softmax more: it gives probabilities of what the "
                "other gives",
                after=0.0,
            )


def by_drawing(t: Tried) -> Iterator[Cause]:
    """Dropout that is active: zeros, and the rest larger."""
    for side, one in (("torch", t.here), ("Keras", t.there)):
        glue = one.place.glue
        trace = t.found.torch if side == "torch" else t.found.keras
        for at in (*glue, one.step.at):
            step = trace.steps[at]
            if at in t.found.random[side == "Keras"] and step.kind != "dropout":
                yield Cause(
                    name="random",
                    text=f"{side}'s {step.cls} draws at inference: two calls of one "
                    "side differ, and what follows cannot be judged as it is",
                    after=0.0,
                    layer=(at, None) if side == "torch" else (None, at),
                )
            if step.kind not in ("dropout", "noise") or not trace.inputs[at]:
                continue
            if difference(trace.outputs[at], trace.inputs[at][0]) > AGREE:
                number = (at, None) if side == "torch" else (None, at)
                yield Cause(
                    name="dropout",
                    text=f"{side} draws at inference: {step.cls} is active",
                    after=0.0,
                    layer=number,
                )


def by_scale(t: Tried) -> Iterator[Cause]:
    """One output is a multiple of the other."""
    found = alike(t.here.y, t.there.y)
    if found.axes is None or not np.any(t.there.y):
        return
    mine = as_other(t.here.y, found.axes, t.there.y.shape)
    factor = float((mine * t.there.y).sum() / (t.there.y**2).sum())
    left = difference(factor * t.there.y, mine)
    if left <= t.bar:
        yield Cause(
            name="scale", text=f"torch's is {factor:.10g} times Keras's", after=left
        )
