"""Two traces followed side by side: what agrees, and the first step that parts.

A step agrees if some step of the other side gives the same (`common.port.alike`).  One
that has no equal there is harmless where something that depends on it agrees: sides may
fuse, split or leave out steps.  What is left parts; the first of it, whose inputs are
all sound, is where to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.port.alike import AGREE, Array, alike, mark, may_be_alike
from common.port.told import UNKNOWN, Step, Trace

# Steps that only carry values on: where one of them parts, what follows tells more.
GLUE = frozenset(
    [
        "pad",
        "crop",
        "reshape",
        "permute",
        "identity",
        "slice",
        "part",
        "rescale",
        "dropout",
    ]
)
ARITHMETIC = frozenset(["add", "subtract", "multiply", "divide"])


@dataclass(frozen=True, slots=True)
class Meeting:
    """A step of one side and its equal of the other.

    Attributes:
        other: Number of the step of the other side.
        difference: Between their outputs.
        axes: Order of the first's axes that gives the other's (`alike`).
    """

    other: int
    difference: float
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Followed:
    """What two traces have in common.

    Attributes:
        torch, keras: The traces.
        met: Step of torch -> its equal in Keras.
        sound: Of each side, the steps that agree or are harmless.
        ends: Difference of each output that both return, by torch's name.
        bar: Relative difference up to which two arrays hold the same.
        random: Of each side, steps that give something else at every call.
        paired: Name of each end in torch and in Keras, where the names differ.
    """

    torch: Trace
    keras: Trace
    met: dict[int, Meeting]
    sound: tuple[frozenset[int], frozenset[int]]
    ends: dict[str, float]
    bar: float
    random: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
    paired: tuple[tuple[str, str], ...] = ()

    @property
    def agree(self) -> bool:
        """Whether all ends agree."""
        return all(found <= self.bar for found in self.ends.values())

    @property
    def traces(self) -> tuple[Trace, Trace]:
        """Of torch and of Keras."""
        return self.torch, self.keras

    def parted(self, side: int) -> list[int]:
        """Steps of a side that part, in order."""
        trace = (self.torch, self.keras)[side]
        return [s.at for s in trace.steps if s.at not in self.sound[side]]

    def first(self, side: int) -> Iterator[int]:
        """Steps that part though all that goes into them is sound."""
        trace = (self.torch, self.keras)[side]
        for at in self.parted(side):
            if all(i < 0 or i in self.sound[side] for i in trace.steps[at].inputs):
                yield at


def followed(
    torch: Trace,
    keras: Trace,
    partners: Mapping[str, str],
    bar: float = AGREE,
    mended: Mapping[int, int] | None = None,
) -> Followed:
    """Two traces side by side.

    Args:
        torch: One trace.
        keras: The other.
        partners: Unit of torch -> unit of Keras.
        bar: Relative difference up to which two arrays hold the same.
        mended: Step of Keras whose output was replaced -> the step of torch whose
            output it got.  What leads there is neither proved by it nor asked for.
    """
    mended = mended or {}
    met = meetings(torch, keras, partners, bar)
    paired = paired_ends(torch, keras)
    ends = ends_of(torch, keras, paired)
    agree = all(found <= bar for found in ends.values())
    sound = []
    for trace, agreeing, cut in (
        (torch, set(met), set(mended.values())),
        (keras, {meeting.other for meeting in met.values()}, set(mended)),
    ):
        everything = {step.at for step in trace.steps}
        agreeing = passed_on(trace, agreeing)
        passing = harmless(trace, agreeing | constants(trace) | cut, cut)
        passing |= everything - leading(trace, cut)
        sound.append(frozenset(everything if agree else passing))
    return Followed(
        torch,
        keras,
        met,
        (sound[0], sound[1]),
        ends,
        bar,
        paired=tuple(pair for pair in paired if pair[0] != pair[1]),
    )


def meetings(
    torch: Trace, keras: Trace, partners: Mapping[str, str], bar: float
) -> dict[int, Meeting]:
    """Step of torch -> the step of Keras that gives the same, each taken once."""
    marks = [mark(out) for out in keras.outputs]
    free = set(range(len(keras.steps)))
    found: dict[int, Meeting] = {}
    last = -1
    for step in torch.steps:
        own = mark(torch.outputs[step.at])
        near = sorted(
            (j for j in free if may_be_alike(own, marks[j], bar)),
            key=lambda j: (_unlike(step, keras.steps[j], partners), abs(j - last - 1)),
        )
        for j in near:
            result = alike(torch.outputs[step.at], keras.outputs[j])
            if result.axes is not None and result.difference <= bar:
                found[step.at] = Meeting(j, result.difference, result.axes)
                free.discard(j)
                last = j
                break
    return found


def _unlike(one: Step, other: Step, partners: Mapping[str, str]) -> int:
    """0 for the same unit, 1 for the same kind, 2 for another."""
    if one.unit and partners.get(one.unit) == other.unit:
        return 0
    return 1 if one.kind == other.kind and not (one.unit or other.unit) else 2


def passed_on(trace: Trace, agreeing: set[int]) -> set[int]:
    """Steps that agree, and those that hand on what such a step gave, as it is.

    (A step of the other side is the equal of one alone: an adaptive pool of the size
    that is there already has none.)
    """
    found = set(agreeing)
    for step in trace.steps:
        if len(step.inputs) == 1 and step.inputs[0] in found:
            same = np.array_equal(trace.outputs[step.at], trace.inputs[step.at][0])
            found |= {step.at} if same else set()
    return found


def harmless(trace: Trace, agreeing: set[int], cut: set[int]) -> set[int]:
    """Steps that agree, and all that they depend on, but through what was replaced."""
    found = set(agreeing)
    for step in reversed(trace.steps):
        if step.at in found and step.at not in cut:
            found.update(i for i in step.inputs if i >= 0)
    return found


def leading(trace: Trace, cut: set[int]) -> set[int]:
    """Steps that still lead to the end, with some outputs replaced."""
    used = {i for step in trace.steps for i in step.inputs}
    found = {step.at for step in trace.steps if step.at not in used}
    for step in reversed(trace.steps):
        if step.at in found and step.at not in cut:
            found.update(i for i in step.inputs if i >= 0)
    return found


def constants(trace: Trace) -> set[int]:
    """Steps that depend on nothing that goes into the model: masks, positions."""
    found: set[int] = set()
    for step in trace.steps:
        if step.inputs and all(i == UNKNOWN or i in found for i in step.inputs):
            found.add(step.at)
    return found


def paired_ends(torch: Trace, keras: Trace) -> list[tuple[str, str]]:
    """Which end is which: by name; by what they hold where the names differ."""
    if torch.ends.keys() == keras.ends.keys():
        return [(name, name) for name in torch.ends]
    free = list(keras.ends)
    found = []
    for name, mine in torch.ends.items():
        near = sorted(free, key=lambda other: alike(mine, keras.ends[other]).difference)
        if near:
            found.append((name, near[0]))
            free.remove(near[0])
    return found


def ends_of(
    torch: Trace, keras: Trace, paired: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Difference of what both return, by torch's name; infinite for one's alone."""
    found = {a: alike(torch.ends[a], keras.ends[b]).difference for a, b in paired}
    found |= {name: float("inf") for name in torch.ends if name not in found}
    there = {b for _, b in paired}
    return found | {name: float("inf") for name in keras.ends if name not in there}


def is_glue(step: Step) -> bool:
    """Whether a step only carries values on, or shifts and scales them by numbers."""
    alone = sum(one != UNKNOWN for one in step.inputs) == 1
    return step.kind in GLUE or (step.kind in ARITHMETIC and alone)


# --- where to look ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Region:
    """What a side computes from sound values up to a step that parts.

    Attributes:
        at: The step.
        glue: Steps before it that part too, in order: pads, reshapes.
        base: The sound array that all this begins with.
        origin: Number of the step that made the base; below 0 for an input.
    """

    at: int
    glue: tuple[int, ...]
    base: Array
    origin: int


def region(trace: Trace, at: int, sound: frozenset[int]) -> Region:
    """What leads to the step `at`, back along its first inputs to a sound one."""
    glue: list[int] = []
    step = trace.steps[at]
    while step.inputs and step.inputs[0] >= 0 and step.inputs[0] not in sound:
        step = trace.steps[step.inputs[0]]
        glue.append(step.at)
    origin = step.inputs[0] if step.inputs else -2
    base = trace.inputs[step.at][0] if step.inputs else trace.outputs[step.at]
    return Region(at, tuple(reversed(glue)), base, origin)


def look_at(found: Followed, partners: Mapping[str, str]) -> tuple[int, int] | None:
    """The step of each side where they part, or none where one side has none."""
    torch = [_past_glue(found, 0, at) for at in found.first(0)]
    keras = [_past_glue(found, 1, at) for at in found.first(1)]
    if not torch or not keras:
        return None
    at = torch[0]
    step = found.torch.steps[at]
    if step.kind == "custom":  # what carries values on in one's own way
        for other in found.first(1):
            if alike(found.torch.outputs[at], found.keras.outputs[other]).axes:
                return at, other
    return at, _partner(found, at, keras, partners)


def _past_glue(found: Followed, side: int, at: int) -> int:
    """The first step after glue that computes something."""
    trace = (found.torch, found.keras)[side]
    while is_glue(trace.steps[at]):
        after = [s.at for s in trace.steps if at in s.inputs]
        if not after or after[0] in found.sound[side]:
            return at
        at = after[0]
    return at


def _partner(
    found: Followed, at: int, fronts: Sequence[int], partners: Mapping[str, str]
) -> int:
    step, steps = found.torch.steps[at], found.keras.steps
    parted = found.parted(1)
    if step.unit:
        for j in parted:
            if steps[j].unit and steps[j].unit == partners.get(step.unit):
                return j
    alone = [j for j in fronts if steps[j].kind == step.kind]
    return alone[0] if alone else fronts[0]
