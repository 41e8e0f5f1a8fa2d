"""Causes that are words of a configuration: an epsilon, pads, a slope, an axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from common.port.alike import alike
from common.port.cause import FLOAT32_CONSTANT, Cause, Tried, of_one_kind, shown
from common.port.told import Config

# Words of a configuration -> the name of the cause.
NAMES = {
    "eps": "eps",
    "pads": "padding",
    "pad_value": "padding",
    "pad_mode": "padding",
    "cut": "padding",
    "strides": "stride",
    "dilation": "dilation",
    "groups": "groups",
    "bias": "bias",
    "counts_padding": "pool-border",
    "ceil": "ceil-mode",
    "window": "window",
    "kernel": "window",
    "function": "activation",
    "slope": "slope",
    "alpha": "slope",
    "approximate": "gelu",
    "batch": "statistics",
    "active": "dropout",
    "axis": "axis",
    "axes": "axis",
    "corners": "resize",
    "half_pixel": "resize",
    "antialias": "resize",
    "method": "resize",
    "size": "resize",
    "factor": "resize",
    "reset_after": "reset",
    "returns": "return",
    "masked": "mask",
    "heads": "heads",
    "scale": "affine",
    "shift": "affine",
    "number": "number",
    "functions": "activation",
    "backwards": "backwards",
    "threshold": "activation",
    "span": "lrn-size",
    "strength": "lrn-alpha",
    "power": "lrn-power",
    "offset": "lrn-offset",
}


# What is part of no single call.
TRAINING_ONLY = {"decay", "variance", "rate", "layers", "time_first", "merge", "width"}


WORDS = {
    "pads": "pads",
    "counts_padding": "counts its padding",
    "ceil": "ceil mode",
    "batch": "uses the batch's own statistics",
    "active": "dropout is active",
    "corners": "align_corners",
    "half_pixel": "half-pixel centres",
    "reset_after": "reset_after",
    "masked": "causal mask",
    "returns": "returns",
    "span": "channels of its sum",
    "strength": "alpha, of the sum",
    "power": "beta",
    "offset": "bias (k)",
}


def different(t: Tried) -> list[str]:
    """Words of the two configurations that say something else."""
    one, other = t.here.config, t.there.config
    return [
        key
        for key in dict.fromkeys([*one, *other])
        if key not in TRAINING_ONLY and one.get(key) != other.get(key)
    ]


# Words of a kind that say which weights it has.
BIASES = frozenset({"bias", "reset_after"})
BRING_WEIGHTS = {"batch_norm": frozenset({"scale", "shift"})}


def by_words(t: Tried) -> Iterator[Cause]:
    """The fewest words of the configuration that make the difference vanish."""
    x = t.x
    if x is None or not of_one_kind(t):
        return
    keys = different(t)
    for n in range(1, min(len(keys), 3) + 1):
        for chosen in combinations(keys, n):
            changed = changed_words(t, chosen)
            weights = t.there.weights
            if BRING_WEIGHTS.get(t.here.step.kind, BIASES) & set(chosen):
                weights = t.here.weights
            inputs = [x, *t.others()]
            left = t.gives(t.there.step.kind, changed, weights, inputs)
            if left <= t.bar:
                yield _worded(t, chosen, left)


def changed_words(t: Tried, keys: Sequence[str]) -> Config:
    """Keras's words with torch's for some."""
    changed = dict(t.there.config)
    for key in keys:
        if key in t.here.config:
            changed[key] = t.here.config[key]
        else:
            changed.pop(key, None)
    return changed


def _worded(t: Tried, keys: Sequence[str], left: float) -> Cause:
    parts = []
    for key in keys:
        one, other = t.here.config.get(key), t.there.config.get(key)
        word = WORDS.get(key, key)
        parts.append(f"{word}: {shown(one)} in torch, {shown(other)} in Keras")
    lead = next((k for k in LEADING if k in keys), keys[0])
    change = {key: t.here.config.get(key) for key in keys}
    return Cause(
        name=NAMES.get(lead, lead), text="; ".join(parts), after=left, change=change
    )


# Of several words that change together, the one that names the cause.
LEADING = (
    "function",
    "slope",
    "approximate",
    "strides",
    "dilation",
    "counts_padding",
    "pads",
    "eps",
    "reset_after",
)


def by_precision(t: Tried) -> Iterator[Cause]:
    """A function that Keras computes with a constant of float32."""
    kind = t.here.step.kind
    if (
        t.x is None
        or not of_one_kind(t)
        or kind not in ("act", "resize")
        or different(t)
    ):
        return
    left = alike(t.here.y, t.there.y).difference
    if left <= FLOAT32_CONSTANT:
        name = t.there.config.get("function", t.there.step.cls)
        yield Cause(
            name="precision",
            text=f"Keras's {name} computes with float32 inside in float64: it is only "
            f"good to {left:.0e} there, and no mistake of the port",
            after=left,
            fault=False,
        )


def by_kind(t: Tried) -> Iterator[Cause]:
    """Another kind of the same family: a norm over other axes, another pool."""
    one, other = t.here.step.kind, t.there.step.kind
    family = next((f for f in FAMILIES if {one, other} <= f.keys()), None)
    if one == other or family is None or t.x is None:
        return
    left = t.gives(one, t.here.config, t.here.weights, [t.x])
    if left <= t.bar:
        names = " in torch, ".join((t.here.step.cls, t.there.step.cls))
        yield Cause(name=family[other], text=f"{names} in Keras", after=left)


NORMS = dict.fromkeys(("batch_norm", "layer_norm", "group_norm", "rms_norm"), "axis")


POOLS = dict.fromkeys(("max_pool", "average_pool"), "pool-kind")


GLOBAL_POOLS = dict.fromkeys(("global_max", "global_average"), "pool-kind")


FUNCTIONS = dict.fromkeys(("act", "prelu"), "activation")


FAMILIES = (NORMS, POOLS, GLOBAL_POOLS, FUNCTIONS)
