"""Why two steps part: what usually is the cause, each tried on the common input.

A cause is believed if it makes the difference vanish: the step of Keras, computed anew
with what torch has, gives what torch gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np

from common.port.alike import AGREE, Array, alike, as_other, difference
from common.port.follow import Followed, Region, region
from common.port.told import Config, Step, Trace, channels_last

# What Keras computes in float64 with constants of float32 is so far off.
FLOAT32_CONSTANT = 2e-7
# With more gates than that nobody mixes them up.
MOST_GATES = 4
Compute = Callable[[str, Config, Mapping[str, Array], Sequence[Array]], Array | None]

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
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why two steps part.

    Attributes:
        name: Of the cause, as in `twintrack list --faults`.
        text: In words: what is there, and what here.
        after: Difference that is left with it mended.
        change: What to give the Keras step in place of its own words.
        torch: Step up to which torch's side is explained.
        keras: Step whose output is torch's from there on.
        layer: Steps where it is, if not those that were looked at.
        fault: Whether it is a mistake; what Keras cannot compute exactly is none.
    """

    name: str
    text: str
    after: float
    change: Config = field(default_factory=dict)
    torch: int | None = None
    keras: int | None = None
    layer: tuple[int | None, int | None] = (None, None)
    fault: bool = True


@dataclass(frozen=True, slots=True)
class Local:
    """One side's step, from the sound value that it begins with.

    Attributes:
        step: The step.
        config: Its words, with pads before it taken in.
        x: The sound value, channels last.
        given: What goes into the step itself, channels last.
        y: What it gives, channels last.
        weights: Canonical, of its unit.
        place: Where it comes from.
    """

    step: Step
    config: Config
    x: Array
    given: tuple[Array, ...]
    y: Array
    weights: Mapping[str, Array]
    place: Region


WeightsOf = Callable[[str], Mapping[str, Array]]


def local(trace: Trace, at: int, sound: frozenset[int], weights: WeightsOf) -> Local:
    """A step with what leads to it."""
    step = trace.steps[at]
    place = region(trace, at, sound)
    config, x = dict(step.config), place.base
    first = step.first
    if step.kind in TAKES_PADS and place.glue:
        steps = [trace.steps[i] for i in place.glue]
        if all(s.kind in ("pad", "identity") for s in steps):
            pads = [s for s in steps if s.kind == "pad"]
            config = _with_pads(config, pads, step.kind)
        else:
            x = trace.inputs[at][0]
    elif place.glue:
        x = trace.inputs[at][0]
    turn = channels_last if first else _as_is
    given = tuple(turn(a) for a in trace.inputs[at])
    return Local(
        step=step,
        config=_settled(step.kind, config),
        x=turn(x),
        given=given,
        y=turn(trace.outputs[at]),
        weights=weights(step.unit) if step.unit else {},
        place=place,
    )


TAKES_PADS = ("conv", "max_pool", "average_pool")


def _as_is(a: Array) -> Array:
    return a


def _with_pads(config: Config, steps: Sequence[Step], kind: str) -> Config:
    """A step's words with the pads of steps before it."""
    for step in steps:
        both = zip(config["pads"], step.config["pads"], strict=True)
        config = config | {"pads": [[a + c, b + d] for (a, b), (c, d) in both]}
        if kind == "average_pool":
            config |= {"counts_padding": True}
        elif kind == "max_pool":
            config |= {"pad_value": float(step.config["value"])}
        elif step.config["mode"] not in ("zeros", "constant"):
            config |= {"pad_mode": step.config["mode"]}
    return config


def _settled(kind: str, config: Config) -> Config:
    """Words that decide nothing left out: how a border counts where there is none."""
    if kind in ("average_pool", "max_pool") and not any(map(any, config["pads"])):
        config = {k: v for k, v in config.items() if k != "pad_value"}
        if not config.get("ceil"):
            config.pop("counts_padding", None)
    return config


def _returning(here: Local, there: Local) -> Local:
    """Torch's recurrent step as Keras's returns: its last alone, where torch takes the
    last of all."""
    ours, theirs = (one.config.get("returns") for one in (here, there))
    if (ours, theirs) != ("sequence", "last") or here.y.ndim != 3:
        return here
    if alike(here.y[:, -1], there.y).difference <= AGREE:
        return here  # then this is what differs
    return replace(here, config=here.config | {"returns": "last"}, y=here.y[:, -1])


# --- the search -----------------------------------------------------------------------


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
    here = _returning(here, there)
    tried = _Tried(found, here, there, weights, compute)
    return next((cause for search in SEARCHES for cause in search(tried)), None)


@dataclass(frozen=True, slots=True)
class _Tried:
    """What every search has.

    Attributes:
        found: Both traces.
        here, there: Torch's step and Keras's.
        weights: Canonical weights of a unit, of each side.
        compute: Computes any step anew; none where nothing can.
    """

    found: Followed
    here: Local
    there: Local
    weights: tuple[WeightsOf, WeightsOf]
    compute: Compute

    def again(self, config: Config, x: Array, kind: str = "") -> float:
        """Difference to torch's output of Keras's step with other words or input."""
        return self.gives(kind or self.there.step.kind, config, self.there.weights, [x])

    def gives(
        self,
        kind: str,
        config: Config,
        weights: Mapping[str, Array],
        x: Sequence[Array],
    ) -> float:
        """Difference to torch's output of any step."""
        y = self.compute(kind, config, weights, x)
        return np.inf if y is None else alike(y, self.here.y).difference

    @property
    def x(self) -> Array | None:
        """Keras's sound value, if it is torch's too: the common input."""
        same = alike(self.here.x, self.there.x)
        if same.axes is not None and same.difference <= self.bar:
            return self.there.x
        return None

    @property
    def bar(self) -> float:
        """Relative difference up to which two arrays hold the same."""
        return self.found.bar

    def others(self) -> list[Array]:
        """The further inputs of Keras's step."""
        return list(self.there.given[1:])


def _kinds(t: _Tried) -> bool:
    return t.here.step.kind == t.there.step.kind


def _different(t: _Tried) -> list[str]:
    one, other = t.here.config, t.there.config
    return [
        key
        for key in dict.fromkeys([*one, *other])
        if key not in TRAINING_ONLY and one.get(key) != other.get(key)
    ]


def by_words(t: _Tried) -> Iterator[Cause]:
    """The fewest words of the configuration that make the difference vanish."""
    x = t.x
    if x is None or not _kinds(t):
        return
    keys = _different(t)
    for n in range(1, min(len(keys), 3) + 1):
        for chosen in combinations(keys, n):
            changed = _changed(t, chosen)
            weights = t.there.weights
            if {"bias", "reset_after"} & set(chosen):
                weights = t.here.weights
            inputs = [x, *t.others()]
            left = t.gives(t.there.step.kind, changed, weights, inputs)
            if left <= t.bar:
                yield _worded(t, chosen, left)


def _changed(t: _Tried, keys: Sequence[str]) -> Config:
    """Keras's words with torch's for some."""
    changed = dict(t.there.config)
    for key in keys:
        if key in t.here.config:
            changed[key] = t.here.config[key]
        else:
            changed.pop(key, None)
    return changed


def _worded(t: _Tried, keys: Sequence[str], left: float) -> Cause:
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


def shown(value: Any) -> str:
    """A word's value as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list) and all(
        isinstance(v, list) and len(v) == 2 for v in value
    ):
        return ", ".join(f"{a}+{b}" for a, b in value)
    if isinstance(value, list):
        return " x ".join(str(v) for v in value)
    return str(value)


def by_precision(t: _Tried) -> Iterator[Cause]:
    """A function that Keras computes with a constant of float32."""
    kind = t.here.step.kind
    if t.x is None or not _kinds(t) or kind not in ("act", "resize") or _different(t):
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


def by_weights(t: _Tried) -> Iterator[Cause]:
    """The same layer with other weights: which order of them is torch's?"""
    if not _kinds(t) or not t.here.weights or not t.there.weights:
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
    t: _Tried, name: str, theirs: Array, mine: Array
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
            order = _rows(theirs, mine, axis)
            if order is not None:
                yield (
                    "kernel",
                    f"axis {axis} is in another order",
                    np.take(theirs, order, axis),
                )


def gates(t: _Tried, theirs: Array) -> Iterator[tuple[str, str, Array]]:
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


def groups(t: _Tried, theirs: Array, mine: Array) -> Iterator[tuple[str, str, Array]]:
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
    order = _rows(theirs, mine, theirs.ndim - 1)
    if order is not None:
        yield "groups", "filters belong to other groups", np.take(theirs, order, -1)


def _rows(theirs: Array, mine: Array, axis: int) -> list[int] | None:
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


# --- what goes in -----------------------------------------------------------------------


def by_kind(t: _Tried) -> Iterator[Cause]:
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
POOLS = dict.fromkeys(("max_pool", "average_pool"), "layer")
GLOBAL_POOLS = dict.fromkeys(("global_max", "global_average"), "layer")
FUNCTIONS = dict.fromkeys(("act", "prelu"), "activation")
FAMILIES = (NORMS, POOLS, GLOBAL_POOLS, FUNCTIONS)


def by_return(t: _Tried) -> Iterator[Cause]:
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


def _returned(t: _Tried, one: Array, other: Array, text: str) -> Iterator[Cause]:
    if alike(one, other).difference <= t.bar:
        yield Cause(name="return", text=text, after=0.0)


def by_dot_attention(t: _Tried) -> Iterator[Cause]:
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
        for at in t.found.parted(1) if y is not None else ():
            if alike(y, trace.outputs[at]).difference <= t.bar:
                text = f"scores are times {scale:.6g} in torch, {other:.6g} in Keras"
                if name == "mask":
                    text = (
                        f"causal mask: {shown(mask)} in torch, {shown(masked)} in Keras"
                    )
                yield Cause(name=name, text=text, after=0.0, keras=at)
                return


def by_input(t: _Tried) -> Iterator[Cause]:
    """The layer is right, and what it is given is not: how are the two inputs related?"""
    mine, theirs = t.here.given[0], t.there.given[0]
    kinds = {t.here.step.kind, t.there.step.kind}
    if len(kinds) > 1 and kinds != {"dense", "conv"}:
        return
    for cause, text, changed in relations(t, mine, theirs):
        weights = t.there.weights
        inputs = [changed, *t.others()]
        left = t.gives(t.there.step.kind, t.there.config, weights, inputs)
        if left <= t.bar:
            yield _of_input(t, cause, text, left)


def _of_input(t: _Tried, cause: str, text: str, left: float) -> Cause:
    """A cause that is in what leads to the step."""
    ours, theirs = t.here.place.glue, t.there.place.glue
    origin = t.here.step.inputs[0]
    if theirs and origin >= 0:  # mended there, whoever else takes it
        return Cause(
            name=cause,
            text=text,
            after=left,
            layer=(None, theirs[-1]),
            torch=origin,
            keras=theirs[-1],
        )
    layer = (None, theirs[-1]) if theirs else (ours[-1] if ours else None, None)
    return Cause(name=cause, text=text, after=left, layer=layer)


def relations(
    t: _Tried, mine: Array, theirs: Array
) -> Iterator[tuple[str, str, Array]]:
    """How Keras's input becomes torch's: the cause, in words, and torch's as Keras takes
    it."""
    yield from _flattened(t, mine, theirs)
    if mine.shape == theirs.shape and mine.ndim > 1:
        reverse = np.flip(theirs, -1)
        if difference(reverse, mine) <= t.bar:
            yield (
                "channel-order",
                "channels stand in reverse: RGB here, BGR there",
                mine,
            )
        yield from _scaled(t, mine, theirs)
        order = _rows(theirs, mine, mine.ndim - 1) if mine.ndim == 4 else None
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
    t: _Tried, mine: Array, theirs: Array
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
                            "maps are flattened as (channels, height, width) in torch "
                            "and (height, width, channels) in Keras: permute before it, "
                            "or the kernel's rows"
                        )
                        yield "flatten-order", text, mine
                        return


def _reordered(
    t: _Tried, mine: Array, theirs: Array
) -> Iterator[tuple[str, str, Array]]:
    """The same values of each example in another order, after a reshape."""
    steps = [t.found.keras.steps[i] for i in t.there.place.glue]
    steps += [t.found.torch.steps[i] for i in t.here.place.glue]
    if not any(s.kind in ("reshape", "permute") for s in steps):
        return
    one, other = (np.sort(a.reshape(len(a), -1), -1) for a in (mine, theirs))
    if difference(other, one) <= t.bar:
        text = (
            "the same values stand in another order after a reshape: maps are (channels, "
            "height, width) in torch and (height, width, channels) in Keras"
        )
        yield "flatten-order", text, mine


SCALE = ("scale", "values are")


def _scaled(t: _Tried, mine: Array, theirs: Array) -> Iterator[tuple[str, str, Array]]:
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
    name, what = ("pixel-scale", "pixels are") if t.here.place.origin < 0 else SCALE
    text = f"{what} scaled otherwise: torch's are Keras's times {factor}, plus {offset}"
    yield name, text, mine


# --- what comes out -----------------------------------------------------------------------


def by_output(t: _Tried) -> Iterator[Cause]:
    """What one side's output is of the other's: probabilities, dropped, of the batch."""
    mine, theirs = t.here.y, t.there.y
    if _kinds(t) and t.here.step.kind == "batch_norm" and t.x is not None:
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
        for name, text, _ in _scaled(t, mine, theirs):
            yield Cause(name=name, text=text, after=0.0)


def _softmaxed(t: _Tried, mine: Array, theirs: Array) -> Iterator[Cause]:
    for name, one, other in (("Keras", mine, theirs), ("torch", theirs, mine)):
        soft = t.compute("act", {"function": "softmax"}, {}, [one])
        if soft is not None and alike(soft, other).difference <= t.bar:
            yield Cause(
                name="softmax",
                text=f"{name} has one softmax more: it gives probabilities of what the "
                "other gives",
                after=0.0,
            )


def by_drawing(t: _Tried) -> Iterator[Cause]:
    """Dropout that is active: zeros, and the rest larger."""
    for side, one in (("torch", t.here), ("Keras", t.there)):
        glue = one.place.glue
        trace = t.found.torch if side == "torch" else t.found.keras
        for at in (*glue, one.step.at):
            step = trace.steps[at]
            if at in t.found.random[side == "Keras"] and step.kind != "dropout":
                yield Cause(
                    name="random",
                    text=f"{side}'s {step.cls} draws at inference: two calls of one side "
                    "differ, and what follows cannot be judged as it is",
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


# --- which layers there are -----------------------------------------------------------------


def by_layers(t: _Tried) -> Iterator[Cause]:
    """A layer that one side has and the other has not, or two in another order."""
    yield from _lacking(t, 0)
    yield from _lacking(t, 1)
    yield from _swapped(t)


def _next(trace: Trace, at: int) -> Step | None:
    """The step that takes the output of another, past glue that changes nothing."""
    after = [s for s in trace.steps if at in s.inputs]
    while after and after[0].kind in ("identity", "dropout"):
        at = after[0].at
        after = [s for s in trace.steps if at in s.inputs]
    return after[0] if after else None


def _turned(step: Step, array: Array) -> Array:
    return channels_last(array) if step.first else array


def _computed(
    t: _Tried, side: int, step: Step, x: Array, after: int = -3
) -> Array | None:
    """A side's step on another input, in place of what the step `after` gives it."""
    trace = t.found.traces[side]
    given = [_turned(step, a) for a in trace.inputs[step.at]]
    place = step.inputs.index(after) if after in step.inputs else 0
    given[place] = x
    weights = t.weights[side](step.unit) if step.unit else {}
    return t.compute(step.kind, step.config, weights, given)


def _lacking(t: _Tried, side: int) -> Iterator[Cause]:
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
        out = _turned(step, traces[1 - side].outputs[step.at])
        if alike(y, out).difference <= t.bar:
            torch, keras = (after.at, step.at) if side == 0 else (step.at, after.at)
            yield _of_layer(t, side, text, mine.step, torch=torch, keras=keras)
            return


def _turned_like(step: Step, after: Step, x: Array) -> Array:
    """An input of one step, channels last, as the next takes it."""
    if step.first or not after.first:
        return x
    return channels_last(x)


def _of_layer(t: _Tried, side: int, text: str, step: Step, **at: int) -> Cause:
    name = "softmax" if step.config.get("function") == "softmax" else "layer"
    if step.kind in ("multiply", "divide") and "number" in step.config:
        name = "scale"
        text = text.replace(step.cls, f"{step.cls} by {shown(step.config['number'])}")
    layer = (step.at, None) if side == 0 else (None, step.at)
    return Cause(name=name, text=text, after=0.0, layer=layer, **at)


def _swapped(t: _Tried) -> Iterator[Cause]:
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
    x = _turned(third, t.found.keras.inputs[third.at][0])
    once = _computed(t, 1, fourth, x)
    y = None if once is None else _computed(t, 1, third, once)
    mine = _turned(second, t.found.torch.outputs[second.at])
    if y is not None and alike(y, mine).difference <= t.bar:
        yield Cause(
            name="order",
            text=f"torch has {first.cls} and then {second.cls}, Keras {third.cls} and "
            f"then {fourth.cls}",
            after=0.0,
            torch=second.at,
            keras=fourth.at,
        )


def by_scale(t: _Tried) -> Iterator[Cause]:
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


SEARCHES: tuple[Callable[[_Tried], Iterator[Cause]], ...] = (
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
