"""Two models carried, run and followed for `twintrack port`, from fault to fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.measures.sides import Side, random_input
from common.errors import Refused
from common.port.alike import AGREE, Array, alike, as_other, difference, squeezed
from common.port.carry import Carried, carried_across, shaken
from common.port.cause import Cause, shown
from common.port.causes import causes
from common.port.follow import Followed, followed, look_at
from common.port.told import Step, Trace, Unit, channels_last

BATCH = 3  # odd, and more than one: a batch of one hides statistics
USUAL_SIDES = (64, 48, 40)  # of an input that may have any: not the same
MOST_FAULTS = 200  # found in one run; there is no end of it otherwise
# Causes that change the size of what comes out.
RESHAPING = ("stride", "padding", "ceil-mode", "window", "dilation")
SWAPS = 6  # partners tried anew before a fault is believed


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One place where the sides part.

    Attributes:
        torch, keras: The steps, by what a reader looks for.
        size: Largest relative difference of the outputs.
        shapes: Of both outputs.
        cause: Why, or none where nothing that is tried explains it.
        also: Further layers with the same cause.
    """

    torch: Step | None
    keras: Step | None
    size: float
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    cause: Cause | None
    also: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Ported:
    """What was found of a pair.

    Attributes:
        carried: Which units belong together.
        notes: What is to be said besides.
        first: Both traces as they were at first.
        parts: Where they part, in order.
        agree: Whether the ends agree; after all fixes, if they were gone on with.
        ends: Difference of each end, at first.
        after: The same after all fixes.
    """

    carried: Carried
    notes: list[str]
    first: Followed
    parts: list[Part] = field(default_factory=list)
    agree: bool = False
    ends: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


# --- what goes in -------------------------------------------------------------------


def sized(text: str) -> tuple[int, ...]:
    """The shape in "3x224x224".

    Raises:
        Refused: It is none.
    """
    parts = re.split(r"[x, ]+", text.strip().strip("()[]").rstrip(","))
    if not all(re.fullmatch(r"[1-9]\d*", part) for part in parts):
        raise Refused(
            "an input is a shape without its batch, 3x224x224, a .npy file or a "
            f"photo, got '{text}'; write numbers with an x between"
        )
    return tuple(int(part) for part in parts)


def last(shape: Sequence[int]) -> tuple[int, ...]:
    """(channels, *sides) as (*sides, channels)."""
    return (*shape[1:], shape[0])


def first(shape: Sequence[int]) -> tuple[int, ...]:
    """(*sides, channels) as (channels, *sides)."""
    return (shape[-1], *shape[:-1])


def keras_shapes(
    inputs: Sequence[Mapping[str, Any]] | None, given: Sequence[Sequence[int]]
) -> list[tuple[int, ...]]:
    """The shape of each input as Keras takes it, without the batch.

    Args:
        inputs: What the Keras model says of its own inputs, or none.
        given: Shapes from the user, or none.

    Raises:
        Refused: Nobody says, or the shapes do not fit.
    """
    if inputs is None:
        if not given:
            raise Refused(
                "what goes in must be known, the Keras model has no input of its own; "
                "give --input 3x224x224 (or build it with keras.Input)"
            )
        return [last(s) if _channels_first(s) else tuple(s) for s in given]
    wanted = [one["shape"][1:] for one in inputs]
    if not given:
        return [_filled(shape) for shape in wanted]
    if len(given) != len(wanted):
        raise Refused(
            f"the Keras model takes {len(wanted)} inputs ("
            f"{', '.join(one['name'] for one in inputs)}), got {len(given)}; give "
            "--input once for each"
        )
    return [_fitted(s, w) for s, w in zip(given, wanted, strict=True)]


def _filled(shape: Sequence[int | None]) -> tuple[int, ...]:
    free = iter(USUAL_SIDES)
    return tuple(next(free) if side is None else side for side in shape)


def _fitted(shape: Sequence[int], wanted: Sequence[int | None]) -> tuple[int, ...]:
    for one in (tuple(shape), last(shape)):
        if len(one) == len(wanted) and all(
            w in (None, s) for s, w in zip(one, wanted, strict=True)
        ):
            return one
    raise Refused(
        f"the input must fit the Keras model, which takes {_said(wanted)}, got "
        f"{_said(shape)}; give --input as one of the two takes it"
    )


def _said(shape: Sequence[int | None]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)


def _channels_first(shape: Sequence[int]) -> bool:
    """Whether a shape of three or more is (channels, *sides), by its few channels."""
    return len(shape) > 2 and shape[0] < min(shape[1:]) and shape[0] <= shape[-1]


def turned(array: Array) -> Array:
    """Maps (n, *sides, channels) as torch has them, (n, channels, *sides)."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def drawn(
    shapes: Sequence[Sequence[int]],
    inputs: Sequence[Mapping[str, Any]] | None,
    tokens: int | None,
    seed: int,
) -> list[Array]:
    """Seeded inputs as Keras takes them."""
    found = []
    for i, shape in enumerate(shapes):
        said = inputs[i]["dtype"] if inputs else ""
        whole = "int" in said or (tokens is not None and len(shape) == 1)
        known = (tokens or 2) if whole else None
        found.append(random_input(shape, tokens=known, seed=seed + i, batch=BATCH))
    return found


def both_run(
    torch: Side, keras: Side, given: Sequence[Array]
) -> tuple[Trace, Trace, list[Array], str]:
    """One call of each side on the same input; torch's in the layout that it takes.

    Returns:
        Both traces, torch's inputs, and how the layouts were understood.

    Raises:
        Refused: Torch takes neither layout, or a model raised.
    """
    maps = any(a.ndim > 2 for a in given)
    turns = [[turned(a) if a.ndim > 3 else a for a in given], list(given)]
    if maps and not any(a.ndim > 3 for a in given):
        turns = [list(given), [turned(a) if a.ndim > 2 else a for a in given]]
    refusals: list[Refused] = []
    for tried in turns if maps else turns[1:]:
        try:
            there = torch.run(tried)
        except Refused as error:
            refusals.append(error)
            continue
        shapes = " and ".join(_said(a.shape) for a in tried)
        mine = " and ".join(_said(a.shape) for a in given)
        said = f"input: {shapes} in PyTorch"
        said += f", {mine} in Keras" if shapes != mine else " and in Keras"
        return there, keras.run(given), tried, said
    raise refusals[0]


def turned_to(array: Array, wanted: Sequence[int | None] | None) -> Array:
    """An array with its batch as Keras takes it, if it has its channels first."""
    if wanted is None or array.ndim < 4:
        return array
    fits = [
        all(w in (None, s) for s, w in zip(one.shape[1:], wanted, strict=True))
        for one in (array, np.moveaxis(array, 1, -1))
    ]
    return array if fits[0] or not fits[1] else np.moveaxis(array, 1, -1)


# In float32 two frameworks part by more than one of them does from itself, after a
# start one ulp away; measured on the pairs of the tests, 12 times at most.
WIDER = 50
LEAST = 3e-6  # what rounding makes of one layer of a thousand terms


def band(torch: Side, given: Sequence[Array], trace: Trace) -> float:
    """The relative difference that float32 makes of an input one ulp away."""
    moved = [
        np.nextafter(a, np.float32(np.inf)) if a.dtype.kind == "f" else a for a in given
    ]
    other = torch.run(moved)
    both = zip(trace.outputs, other.outputs, strict=True)
    apart = [difference(a, b) for a, b in both if a.dtype.kind == "f"]
    return max(LEAST, WIDER * max((d for d in apart if np.isfinite(d)), default=0.0))


# --- weights ------------------------------------------------------------------------


def carry(
    torch: Side,
    keras: Side,
    carried: Carried,
    *,
    source: str,
    given: Mapping[str, Array] | None,
    seed: int,
) -> list[str]:
    """Give both sides the same weights; what is to be said of it.

    Args:
        torch: Its side.
        keras: The other.
        carried: Which units belong together.
        source: "torch", "keras", or "own": each keeps what it brings.
        given: Weights from a file, by torch's names, in place of the source's.
        seed: Of the draw of tensors that hide faults.
    """
    if source == "own":
        return []
    back = source == "keras"
    owner, taker = (keras, torch) if back else (torch, keras)
    weights = owner.weights()
    check_numbers(weights, owner.units)
    notes = []
    if given is not None:
        weights |= given
        owner.assign(given)
    else:
        # Of what one side alone has nothing is drawn: a scale of 1 is none.
        names = {
            f"{unit.name}/{tensor}"
            for pair in carried.pairs
            for unit in pair
            for tensor in pair[0].shapes.keys() & pair[1].shapes.keys()
        }
        held = {n: a for n, a in weights.items() if n in names}
        if drawn := shaken(held, seed):
            weights |= drawn
            owner.assign(drawn)
            notes.append(
                f"{len(drawn)} tensors were all 0 or all 1, which hides faults: both "
                "sides got random ones"
            )
    taker.assign(carried_across(carried.pairs, weights, back=back))
    return notes


def check_numbers(weights: Mapping[str, Array], units: Sequence[Unit]) -> None:
    """Refuse weights that are no numbers: nothing is the same behind them.

    Raises:
        Refused: A tensor holds NaN or infinity; with its own name.
    """
    for unit in units:
        for name, own in unit.tensors.items():
            array = weights.get(f"{unit.name}/{name}")
            if array is not None and not np.isfinite(array).all():
                odd = array[~np.isfinite(array)].flat[0]
                raise Refused(
                    f"weights must be numbers, {own} holds {odd}; load others, or give "
                    "--weights of the other side"
                )


def drawing(side: Side, given: Sequence[Array], seed: int) -> frozenset[int]:
    """Steps that give something else with another seed, though their inputs do not."""
    one, other = (side.run(given, seed=seed + i) for i in (1, 2))
    found = set()
    for step in one.steps[: len(other.steps)]:
        same = difference(one.outputs[step.at], other.outputs[step.at]) == 0
        before = [i in found or not _kept(one, other, i) for i in step.inputs if i >= 0]
        if not same and not any(before):
            found.add(step.at)
    return frozenset(found)


def _kept(one: Trace, other: Trace, at: int) -> bool:
    return difference(one.outputs[at], other.outputs[at]) == 0


def weights_of(side: Side) -> Callable[[str], dict[str, Array]]:
    """Unit -> its canonical weights."""
    held: dict[str, dict[str, Array]] = {}
    for name, array in side.weights().items():
        unit, _, tensor = name.rpartition("/")
        held.setdefault(unit, {})[tensor] = array
    return lambda unit: held.get(unit, {})


# --- from fault to fault --------------------------------------------------------------


@dataclass
class Porting:
    """Two sides on their way from fault to fault.

    Attributes:
        torch, keras: The sides.
        given: What goes into each.
        carried: Which units belong together.
        source: Whose weights are carried, "own" for neither.
        weights: From a file, or none.
        seed: Of all draws.
        bar: Relative difference up to which two arrays hold the same.
        go_on: Whether faults are mended in memory and the next looked for.
    """

    torch: Side
    keras: Side
    given: tuple[list[Array], list[Array]]
    carried: Carried
    source: str
    weights: Mapping[str, Array] | None
    seed: int
    go_on: bool
    bar: float = AGREE

    def found(self) -> Ported:
        """Everything that parts, or the first."""
        notes = carry(
            self.torch,
            self.keras,
            self.carried,
            source=self.source,
            given=self.weights,
            seed=self.seed,
        )
        self.notes = notes
        self.instead: dict[int, Array] = {}
        self.mended: dict[int, int] = {}
        self.here = self.torch.run(self.given[0])
        self.own = weights_of(self.torch), weights_of(self.keras)
        self.random = (
            drawing(self.torch, self.given[0], self.seed),
            drawing(self.keras, self.given[1], self.seed),
        )
        first = self._follow()
        parts = []
        for part in self._parts(first):
            parts.append(part)
            if not self.go_on and (part.cause is None or part.cause.fault):
                break
        return Ported(
            carried=self.carried,
            notes=notes,
            first=first,
            parts=parts,
            agree=self.now.agree,
            ends=dict(first.ends),
            after=dict(self.now.ends),
        )

    def _follow(self) -> Followed:
        there = self.keras.run(self.given[1], instead=self.instead)
        partners = {a: b.name for a, b in self.carried.of_torch().items()}
        found = followed(self.here, there, partners, self.bar, self.mended)
        self.now = replace(found, random=self.random)
        return self.now

    def _exchange(self, one: Unit, other: Unit) -> None:
        """Let two units of Keras change their partners."""
        self.carried = exchanged(self.carried, one, other)
        pairs = [p for p in self.carried.pairs if p[1].name in (one.name, other.name)]
        back = self.source == "keras"
        held = (self.keras if back else self.torch).weights()
        taker = self.torch if back else self.keras
        taker.assign(carried_across(pairs, held, back=back))
        if back:
            self.here = self.torch.run(self.given[0])
        self.own = weights_of(self.torch), weights_of(self.keras)

    def _other_partners(self, found: Followed, at: int) -> Followed | None:
        """Partners of equal shapes tried the other way; none where none is better."""
        if self.source == "own":
            return None
        for one, other in candidates(found, self.carried, at):
            self._exchange(one, other)
            tried = self._follow()
            if tried.agree or len(tried.parted(0)) < len(found.parted(0)):
                was = self.carried.of_keras()
                self.notes.append(
                    "of layers with the same shapes, by trying: "
                    f"{was[one.name].name} = {one.name}, "
                    f"{was[other.name].name} = {other.name}"
                )
                return tried
            self._exchange(one, other)
        self._follow()
        return None

    def _parts(self, found: Followed) -> Iterator[Part]:
        for _ in range(MOST_FAULTS):
            if found.agree:
                return
            partners = {a: b.name for a, b in self.carried.of_torch().items()}
            at = look_at(found, partners)
            if at is None:
                yield from self._end(found)
                if found is self.now:
                    return
                found = self.now
                continue
            cause = causes(found, at, self.own, self.torch.compute)
            if cause is None and (better := self._other_partners(found, at[0])):
                found = better
                continue
            part = self._part(found, at, cause)
            yield part
            if self._edited(part):
                found = self._follow()
                if at[1] in found.sound[1]:
                    continue
            torch, keras = at
            if cause is not None and cause.name in RESHAPING:
                self._reshaped(found, keras, part)
            if cause is not None:
                torch = torch if cause.torch is None else cause.torch
                keras = keras if cause.keras is None else cause.keras
            if not self._replace(found, torch, keras, at[0]):
                return
            found = self._follow()
        self.notes.append(f"{MOST_FAULTS} places were looked at, and no more of them")

    def _edited(self, part: Part) -> bool:
        """Change a word of all layers with the same two values; whether it could be."""
        cause, step, other = part.cause, part.torch, part.keras
        if cause is None or not cause.change or not other or not step:
            return False
        if cause.name in RESHAPING or len(cause.change) > 1:
            return False
        (word,) = cause.change
        values = step.config.get(word), other.config.get(word)
        told = {s.unit: s.config for s in self.here.steps if s.unit}
        theirs = {s.unit: s.config for s in self.now.keras.steps if s.unit}
        same = [
            (a.name, b.name)
            for a, b in self.carried.pairs
            if (
                told.get(a.name, {}).get(word),
                theirs.get(b.name, {}).get(word),
            )
            == values
        ]
        changed = self.keras.edit({b: {word: values[0]} for _, b in same})
        part.also.extend(
            f"{a} = {b}" for a, b in same if b in changed and b != other.unit
        )
        return bool(changed)

    def _reshaped(self, found: Followed, keras: int, part: Part) -> None:
        """Torch's output for every later unit whose stride or window differs too.

        With one mended and the next not, shapes would not fit together any more.
        """
        partners = self.carried.of_keras()
        place = {step.unit: step.at for step in found.torch.steps if step.unit}
        for step in found.keras.steps[keras + 1 :]:
            unit = partners.get(step.unit)
            at = place.get(unit.name) if unit else None
            if unit is None or at is None or step.at in self.instead:
                continue
            mine = found.torch.steps[at].config.get("strides")
            if mine != step.config.get("strides") and self._replace(found, at, step.at):
                part.also.append(
                    f"{unit.name} = {step.unit} ({shown(mine)} in torch, "
                    f"{shown(step.config.get('strides'))} in Keras)"
                )

    def _end(self, found: Followed) -> Iterator[Part]:
        """What one side alone computes at its end, mended where that can be."""
        mine, theirs = (next(found.first(side), None) for side in (0, 1))
        at = theirs if mine is None else mine
        side = 1 if mine is None else 0
        if at is None:
            yield unplaced(found)
            return
        trace, other = found.traces[side], found.traces[1 - side]
        step, given = trace.steps[at], trace.inputs[at][0]
        end = next(iter(other.ends.values()))
        same = alike(given, end).difference <= found.bar
        name = "softmax" if step.config.get("function") == "softmax" else "layer"
        names = ("torch", "Keras")
        text = f"{names[side]} has {step.cls} at its end, {names[1 - side]} has not"
        yield Part(
            torch=None if side else step,
            keras=step if side else None,
            size=max(found.ends.values()),
            shapes=(trace.outputs[at].shape, end.shape),
            cause=Cause(name=name, text=text, after=0.0) if same else None,
        )
        if same and side:
            self.instead[at] = given
            self._follow()
        elif same:
            ends = dict(found.ends) | {next(iter(found.ends)): 0.0}
            self.now = replace(found, ends=ends)

    def _part(self, found: Followed, at: tuple[int, int], cause: Cause | None) -> Part:
        one, other = found.torch.outputs[at[0]], found.keras.outputs[at[1]]
        steps: list[Step | None] = [
            found.torch.steps[at[0]],
            found.keras.steps[at[1]],
        ]
        if cause is not None and cause.layer != (None, None):
            for side, (where, trace) in enumerate(
                zip(cause.layer, (found.torch, found.keras), strict=True)
            ):
                if where is not None:
                    steps[side] = trace.steps[where]
        return Part(
            torch=steps[0],
            keras=steps[1],
            size=alike(one, other).difference,
            shapes=(one.shape, other.shape),
            cause=cause,
        )

    def _replace(
        self, found: Followed, torch: int, keras: int, at: int | None = None
    ) -> bool:
        """Go on from torch's output in Keras's place; whether that can be.

        (What goes into the model has no step: it is taken where the step `at` does.)
        """
        if keras in self.instead:
            return False
        value = as_keras(found, torch, keras, at)
        if value is None:
            return False
        self.instead[keras] = np.ascontiguousarray(value)
        self.mended[keras] = torch
        return True


def as_keras(
    found: Followed, torch: int, keras: int, at: int | None = None
) -> Array | None:
    """Torch's output in place of Keras's, or its input; none where it can be none."""
    other = found.keras.steps[keras]
    theirs = found.keras.outputs[keras]
    if torch < 0:
        step = found.torch.steps[at or 0]
        mine = found.torch.inputs[step.at][0]
    else:
        step, mine = found.torch.steps[torch], found.torch.outputs[torch]
    if other.config.get("returns") == "last" and mine.ndim == theirs.ndim + 1:
        mine = mine[:, -1]
    usual = channels_last(mine) if step.first else mine
    if squeezed(usual).shape == squeezed(theirs).shape:
        return usual.reshape(theirs.shape)
    axes = alike(mine, theirs).axes
    if axes is not None:
        return as_other(mine, axes, theirs.shape)
    fits = usual.ndim == theirs.ndim and usual.shape[-1] == theirs.shape[-1]
    return usual if fits and step.kind == other.kind else None


def unplaced(found: Followed) -> Part:
    """A difference of the ends that no step accounts for."""
    torch, keras = (
        next((trace.steps[at] for at in found.parted(side)), None)
        for side, trace in enumerate((found.torch, found.keras))
    )
    shapes = [next(iter(t.ends.values())).shape for t in (found.torch, found.keras)]
    return Part(
        torch=torch,
        keras=keras,
        size=max(found.ends.values()),
        shapes=(shapes[0], shapes[1]),
        cause=None,
    )


# --- partners of equal shapes -------------------------------------------------------


def candidates(
    found: Followed, carried: Carried, at: int
) -> Iterator[tuple[Unit, Unit]]:
    """Units of Keras that may have each other's partner, the likeliest first.

    Those whose input is what goes into torch's step `at`, or into one that leads to it.
    """
    partners = carried.of_torch()
    theirs = {
        step.unit: found.keras.inputs[step.at][0]
        for step in found.keras.steps
        if step.unit and found.keras.inputs[step.at]
    }
    steps = found.torch.steps
    near = [at, *(i for i in reversed(range(at)) if steps[i].unit)][: SWAPS + 1]
    tried = 0
    for place in near:
        unit = partners.get(steps[place].unit)
        if unit is None or unit.name not in theirs:
            continue
        mine = found.torch.inputs[place][0]
        for other in partners.values():
            fits = other.kind == unit.kind and other.shapes == unit.shapes
            if not fits or other.name == unit.name or other.name not in theirs:
                continue
            if alike(mine, theirs[other.name]).difference <= found.bar:
                tried += 1
                if tried > SWAPS:
                    return
                yield unit, other


def exchanged(carried: Carried, one: Unit, other: Unit) -> Carried:
    """The same with two units of Keras exchanged."""
    turn = {one.name: other, other.name: one}
    pairs = tuple((a, turn.get(b.name, b)) for a, b in carried.pairs)
    return Carried(pairs, carried.torch, carried.keras, carried.notes)
