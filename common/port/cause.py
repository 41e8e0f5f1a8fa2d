"""A cause, and what every search for one has: both steps, from the common input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from common.port.alike import AGREE, Array, alike
from common.port.follow import Followed, Region, region
from common.port.told import Config, Step, Trace, channels_last

# What Keras computes in float64 with constants of float32 is so far off.
FLOAT32_CONSTANT = 2e-7


Compute = Callable[[str, Config, Mapping[str, Array], Sequence[Array]], Array | None]


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
    config = dict(step.config)
    first = step.first
    x = trace.inputs[at][0] if step.inputs else place.base
    if step.kind in TAKES_PADS:
        taken = pads_before(trace, place)
        config = _with_pads(config, taken, step.kind)
        x = trace.inputs[taken[0].at][0] if taken else x
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


def pads_before(trace: Trace, place: Region) -> list[Step]:
    """The pads right before a step, in order."""
    found: list[Step] = []
    for at in reversed(place.glue):
        if trace.steps[at].kind == "pad":
            found.append(trace.steps[at])
        elif trace.steps[at].kind != "identity":
            break
    return found[::-1]


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


def returning(here: Local, there: Local) -> Local:
    """Torch's recurrent step as Keras's returns: its last alone, if that is taken."""
    ours, theirs = (one.config.get("returns") for one in (here, there))
    if (ours, theirs) != ("sequence", "last") or here.y.ndim != 3:
        return here
    if alike(here.y[:, -1], there.y).difference <= AGREE:
        return here  # then this is what differs
    return replace(here, config=here.config | {"returns": "last"}, y=here.y[:, -1])


@dataclass(frozen=True, slots=True)
class Tried:
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


def of_one_kind(t: Tried) -> bool:
    """Whether both steps compute the same kind of thing."""
    return t.here.step.kind == t.there.step.kind


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


def turned(step: Step, array: Array) -> Array:
    """An array of a step with its channels last."""
    return channels_last(array) if step.first else array
