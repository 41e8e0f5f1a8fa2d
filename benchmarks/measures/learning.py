"""Two trainings for `twintrack port --train`: where they part, why, and chaos or fault.

Both sides train freely on the same batches until they part.  From there each step is
begun anew from torch's weights, so that what is found is of that step alone; what is
explained is mended where that can be, and the rest is looked for.  What parts only in
the free run, with no step to blame, is measured beside torch's own training, started
one ulp away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.measures.porting import turned
from benchmarks.measures.sides import Answer, Side, random_input
from common.errors import Refused
from common.port import losses, rules, training
from common.port.alike import Array
from common.port.carry import Carried, carried_across
from common.port.cause import FLOAT32_CONSTANT, Cause
from common.port.losses import Batch
from common.port.told import Config
from common.port.training import BARS, GROWN, WHAT, Parted, Statistics, Step

BATCH = 8  # of a training's step: few, and enough for a variance
# Two frameworks differ in the rounding of every operation, a control in that of its
# start alone: of seven systems' trainings the pair was up to 23 times its control
# (docs/parity.md, 200 steps in float64).
BAND = 100.0
AWAY = (np.inf, -np.inf)  # trainings one ulp away: up, and down
CONTROL_BYTES = 2e9  # of torch's steps that are held to be compared with its control
MENDINGS = 3  # runs in which a cause is mended and the next looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a user asks of a training.

    Attributes:
        steps: How many.
        optimizer: Of torch and of Keras: `module:factory`, or a name.
        loss: Likewise.
        step: Likewise, `module:function(model, optimizer, loss, x, y)`, or "".
        batch: Examples of a step.
        seed: Of batches and labels.
        data: Inputs as Keras takes them and labels, to draw batches from; or none.
        tokens: How many a model knows that takes them.
    """

    steps: int
    optimizer: tuple[str, str]
    loss: tuple[str, str]
    step: tuple[str, str] = ("", "")
    batch: int = BATCH
    seed: int = 0
    data: tuple[Sequence[Array], Array] | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningPart:
    """A tensor where the trainings part.

    Attributes:
        step: From 1.
        what: "loss", "gradient", "weights" or "buffers".
        torch, keras: The tensor's names, or "" for the loss.
        size: Relative difference: of a loss or gradient itself, of an update.
        cause: Name of the cause, or "".
        text: In words.
        fault: Whether it is a mistake.
        also: Further tensors, torch's names.
    """

    step: int
    what: str
    torch: str
    keras: str
    size: float
    cause: str
    text: str
    fault: bool = True
    also: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Learnt:
    """What was found of two trainings.

    Attributes:
        steps: That were asked for.
        agree: Whether nothing parts but what is no mistake.
        proved: Steps, from the first, after which all is the same, freely run.
        stepwise: Steps that agree one by one, each begun from torch's weights, with
            what is named mended.
        parts: Where they part, in order.
        chaos: Whether the free run parts as torch does from itself.
        control: Of each step of the free run, torch's distance from itself.
        pair: Of each step of the free run, the distance of the two.
        notes: What is to be said besides.
    """

    steps: int
    agree: bool = False
    proved: int = 0
    stepwise: int = 0
    parts: list[LearningPart] = field(default_factory=list)
    chaos: bool = False
    control: list[float] = field(default_factory=list)
    pair: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wire(self) -> dict[str, Any]:
        """As JSON takes it: no number that is none."""
        found = asdict(self)
        for part in found["parts"]:
            part["size"] = _number(part["size"])
        found["control"] = [_number(x) for x in self.control]
        found["pair"] = [_number(x) for x in self.pair]
        return found


def _number(x: float) -> float | None:
    return x if np.isfinite(x) else None


# --- batches ------------------------------------------------------------------------


def turns_of(torch: Sequence[Array], keras: Sequence[Array]) -> list[bool]:
    """Of each input, whether torch takes it with its channels behind the batch."""
    return [
        there.ndim > 2
        and not np.array_equal(here, there)
        and np.array_equal(here, turned(there))
        for here, there in zip(torch, keras, strict=True)
    ]


def inputs_of(
    asked: Asked, given: Sequence[Array], number: int
) -> tuple[list[Array], Array | None]:
    """A step's inputs as Keras takes them; with their labels if those are given."""
    if asked.data is not None:
        inputs, labels = asked.data
        rng = np.random.Generator(np.random.Philox([asked.seed, number]))
        rows = rng.choice(len(labels), asked.batch, replace=len(labels) < asked.batch)
        return [x[rows] for x in inputs], labels[rows]
    found = []
    for i, x in enumerate(given):
        known = (asked.tokens or int(x.max()) + 1) if x.dtype.kind in "iu" else None
        seed = asked.seed + 1000 * number + i
        shape = x.shape[1:]
        found.append(random_input(shape, tokens=known, seed=seed, batch=asked.batch))
    return found, None


def labels_of(shape: Sequence[int], kind: str, seed: int) -> Array:
    """Seeded labels for outputs (n, ..., classes) as Keras has them."""
    rng = np.random.Generator(np.random.Philox([seed, 1]))
    if kind == "mse" or (not kind and (len(shape) == 1 or shape[-1] == 1)):
        return rng.normal(0.0, 1.0, shape)
    if kind == "bce":
        return rng.integers(0, 2, shape).astype(np.float64)
    return rng.integers(0, shape[-1], shape[:-1])


# --- both sides ---------------------------------------------------------------------


@dataclass
class Pair:
    """Two sides that train.

    Attributes:
        torch, keras: The sides.
        carried: Which units belong together.
        given: What went into each when they were followed.
        asked: What the user asks.
        dtype: Of both.
        tell: Given a line of what is being done.
    """

    torch: Side
    keras: Side
    carried: Carried
    given: tuple[Sequence[Array], Sequence[Array]]
    asked: Asked
    dtype: str = "float64"
    tell: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.bars = BARS[self.dtype]
        self.start = self.torch.weights(), self.keras.weights()
        self.there = names_across(self.carried)
        self.order = [f"{a.name}/{n}" for a, _ in self.carried.pairs for n in a.shapes]
        self.turns = turns_of(*self.given)
        self.words: tuple[Config, Config] = ({}, {})
        self.loss: list[str | Config] = [*self.asked.loss]
        self.layout = False
        self.times = 1.0  # torch's gradients are so much larger, and no harm in it
        self.buffers: frozenset[str] = frozenset()

    def begun(self, torch: Mapping[str, Array] | None = None) -> list[str]:
        """Both sides at their start, or torch's at other weights; notes."""
        self.torch.assign(torch or self.start[0])
        self.keras.assign(self.start[1])
        x, _ = inputs_of(self.asked, self.given[1], 0)
        answers = []
        for i, (side, inputs) in enumerate(
            ((self.torch, self.turned(x)), (self.keras, x))
        ):
            how = {"optimizer": self.asked.optimizer[i], "loss": self.loss[i]}
            answers.append(side.learn(inputs, step=self.asked.step[i], **how))
        (here, a), (there, b) = answers
        self.words = here, there
        self.shape = b["outputs"].shape
        self.layout = a["outputs"].shape != self.shape and len(self.shape) > 2
        names = set(self.there.values())
        self.buffers = frozenset(n for n in here["buffers"] if n in names)
        return _notes(here, there)

    def turned(self, x: Sequence[Array]) -> list[Array]:
        """Inputs as torch takes them."""
        return [turned(a) if t else a for a, t in zip(x, self.turns, strict=True)]

    def batch(self, number: int) -> tuple[list[Array], Array]:
        """Inputs and labels of a step, as Keras takes them."""
        x, y = inputs_of(self.asked, self.given[1], number)
        if y is None:
            kind = self.words[0]["loss"]["kind"] or self.words[1]["loss"]["kind"]
            shape = (len(x[0]), *self.shape[1:])
            y = labels_of(shape, kind, self.asked.seed + 1000 * number)
        return x, y

    def labels_for_torch(self, y: Array) -> Array:
        """Labels that lie as outputs do, turned where those are."""
        return turned(y) if self.layout and y.ndim == len(self.shape) else y

    def steps(self, *, together: bool) -> Iterator[tuple[Step, Step]]:
        """Both sides' steps; each begun from torch's weights if `together`."""
        before: tuple[Mapping[str, Array], Mapping[str, Array]]
        before = self.start[0], self.as_torch(self.start[1])
        for number in range(self.asked.steps):
            x, y = self.batch(number)
            self.torch.begin_step(self.turned(x), self.labels_for_torch(y))
            self.keras.begin_step(x, y)
            answers = self.answers()
            one = self.told(answers[0], before[0], y, torch=True)
            other = self.told(answers[1], before[1], y, torch=False)
            before = one.after, other.after
            if together:
                self.keras.assign(carried_across(self.carried.pairs, one.after))
                before = one.after, one.after
            yield one, other

    def answers(self) -> list[Answer]:
        """Of both sides; both are heard before one is refused."""
        found, refusal = [], None
        for side in (self.torch, self.keras):
            try:
                found.append(side.end_step())
            except Refused as error:
                refusal = refusal or error
        if refusal is not None:
            raise refusal
        return found

    def alone(self, start: Mapping[str, Array], steps: int) -> Iterator[Step]:
        """Torch's steps from other weights."""
        self.begun(start)
        before = start
        for number in range(steps):
            x, y = self.batch(number)
            self.torch.begin_step(self.turned(x), self.labels_for_torch(y))
            one = self.told(self.torch.end_step(), before, y, torch=True)
            before = one.after
            yield one

    def told(
        self,
        answer: tuple[Config, Mapping[str, Array]],
        before: Mapping[str, Array],
        y: Array,
        *,
        torch: bool,
    ) -> Step:
        """A side's answer with torch's names."""
        words, arrays = answer
        parts: dict[str, dict[str, Array]] = {}
        for name, array in arrays.items():
            home, _, tensor = name.partition("/")
            parts.setdefault(home, {})[tensor] = array
        used = parts.setdefault("used", {})
        used |= {n: parts["gradient"][n] for n in words["same"]}
        if not torch:
            parts = {
                k: v if k == "outputs" else self.as_torch(v) for k, v in parts.items()
            }
            words["rates"] = {
                self.there[n]: r for n, r in words["rates"].items() if n in self.there
            }
        outputs = arrays.get("outputs")
        if outputs is not None and torch and self.layout:
            outputs = np.moveaxis(outputs, 1, -1)
        parts = {k: self.ordered(v) for k, v in parts.items() if k != "outputs"}
        if torch and self.times != 1:
            parts["gradient"] = {
                n: g / self.times for n, g in parts["gradient"].items()
            }
        return Step(
            loss=words["loss"],
            gradient=parts.get("gradient", {}),
            penalty=parts.get("penalty", {}),
            used=parts.get("used", {}),
            before=before,
            after=parts["weights"],
            rates=words["rates"],
            outputs=outputs,
            y=y,
        )

    def ordered(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Tensors that both sides have, in the order of computing."""
        return {n: arrays[n] for n in self.order if n in arrays}

    def as_torch(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Keras's tensors with torch's names and shapes; some may be missing."""
        lacking = {
            f"{unit.name}/{n}": np.zeros(shape)
            for _, unit in self.carried.pairs
            for n, shape in unit.shapes.items()
        }
        whole = carried_across(self.carried.pairs, lacking | dict(arrays), back=True)
        return {self.there[n]: whole[self.there[n]] for n in arrays if n in self.there}


def names_across(carried: Carried) -> dict[str, str]:
    """Name of each tensor in Keras -> in torch, where it has one."""
    found = {}
    for pair in carried.pairs:
        for name, shape in pair[1].shapes.items():
            marked = {
                f"{pair[1].name}/{n}": np.full(s, float(n == name))
                for n, s in pair[1].shapes.items()
            }
            back = carried_across((pair,), marked, back=True)
            for there, array in back.items():
                if array.any() or not np.prod(shape):
                    found[f"{pair[1].name}/{name}"] = there
    return found


def _notes(here: Config, there: Config) -> list[str]:
    notes = [*here["notes"], *there["notes"]]
    for name, words in (("PyTorch", here), ("Keras", there)):
        if words["random"]:
            notes.append(f"{name} draws something that cannot be shared or turned off")
    one, other = here["dropout"], there["dropout"]
    if one or other:
        differ = (
            "" if one == other else f"; rates differ: {one} in torch, {other} in Keras"
        )
        notes.append(f"dropout is off in both, its draws cannot be shared{differ}")
    return notes


# --- judging ------------------------------------------------------------------------


def learnt(
    torch: Side,
    keras: Side,
    carried: Carried,
    given: tuple[Sequence[Array], Sequence[Array]],
    asked: Asked,
    *,
    dtype: str = "float64",
    tell: Callable[[str], None] = lambda _: None,
) -> Learnt:
    """Train both sides, and say where and why they part.

    Args:
        torch: Its side, with carried weights, after a first call.
        keras: Likewise.
        carried: Which units belong together.
        given: Inputs of that call, as torch and as Keras take them.
        asked: What the user asks.
        dtype: Of both sides.
        tell: Given a line of what is being done.

    Raises:
        Refused: An optimizer, a loss or a step is none, or raised.
    """
    pair = Pair(torch, keras, carried, given, asked, dtype, tell)
    result = Learnt(asked.steps)
    result.notes = pair.begun()
    bar = pair.bars.agree
    free = Free(pair, bar)
    result.proved, result.pair = free.proved, free.sizes
    result.notes += free.notes
    if free.first is None:
        result.agree, result.stepwise = True, free.proved
        return result
    stepwise = Stepwise(pair, result.notes)
    found, result.stepwise = stepwise.found()
    grown = [p for p in found if p.cause == GROWN]
    result.parts = [p for p in found if p.cause != GROWN]
    named = any(p.fault for p in result.parts)
    if not named and (result.parts or pair.times != 1):
        pair.begun()  # no mistakes, but they keep the sides apart
        free = Free(pair, max(bar, BAND * stepwise.slack()))
        result.proved, result.pair = free.proved, free.sizes
    if not named and free.first is not None:
        _beside_control(pair, free, free.first, result)
        if not result.chaos:
            result.parts += [replace(p, cause="", fault=True) for p in grown]
    result.agree = result.chaos or not any(p.fault for p in result.parts)
    return result


class Free:
    """Both sides trained freely until they part.

    Attributes:
        first: What parts first, or none.
        proved: Steps that agree.
        sizes: Distance of each step, the one that parts included.
        steps: Torch's, to be compared with its control.
    """

    def __init__(self, pair: Pair, bar: float) -> None:
        self.first: Parted | None = None
        self.proved = 0
        self.sizes: list[float] = []
        self.steps: list[Step] = []
        self.notes: list[str] = []
        held = 0.0
        for number, (one, other) in enumerate(pair.steps(together=False), 1):
            found = list(
                training.differences(
                    number, one, other, pair.buffers, pair.bars, start=pair.start[0]
                )
            )
            held += sum(a.nbytes for a in (*one.after.values(), *one.gradient.values()))
            if held < CONTROL_BYTES:
                self.steps.append(one)
            self.sizes.append(max(p.size for p in found))
            self.first = next((p for p in found if p.size > bar), None)
            if self.first is not None:
                return
            self.proved = number
            if not np.isfinite(one.loss):
                self.notes.append(
                    f"the loss of both is no number from step {number} on: what "
                    "follows shows nothing"
                )
                return


def _beside_control(pair: Pair, free: Free, first: Parted, result: Learnt) -> None:
    """Judge a free run without a step to blame by how torch parts from itself."""
    n = len(free.sizes)
    if len(free.steps) < n:
        result.notes.append("no control: too much memory for torch's steps")
        return
    pair.tell(f"control: {len(AWAY)} trainings of torch, one ulp away")
    control = _control(pair, free)
    result.control = control.tolist()
    sizes, band = np.maximum.accumulate(free.sizes), np.maximum.accumulate(control)
    start = 1.0
    if result.parts:  # no mistakes, but they start the sides further apart than an ulp
        start = max(1.0, sizes[0] / max(band[0], np.finfo(float).eps))
    result.chaos = bool(np.all(sizes <= BAND * start * band))
    away = f"torch from itself, started one ulp away ({band[-1]:.0e} at step {n})"
    text = (
        f"chaos: the sides part as {away}; {free.proved} steps are proved, and "
        f"{result.stepwise} one by one, each begun from the same weights"
        if result.chaos
        else f"the sides part faster than {away}, though each step agrees when begun "
        "from the same weights: what is kept from step to step besides those?"
    )
    result.parts.append(
        LearningPart(
            step=first.step,
            what=first.what,
            torch=first.tensor,
            keras=_keras_name(pair, first.tensor),
            size=first.size,
            cause="chaos" if result.chaos else "",
            text=text,
            fault=not result.chaos,
        )
    )


def _control(pair: Pair, free: Free) -> Array:
    """Of each step, how far torch is from itself, started one ulp away."""
    control = np.zeros(len(free.sizes))
    for away in AWAY:
        start = {
            name: np.nextafter(a.astype(pair.dtype), np.asarray(away, pair.dtype))
            for name, a in pair.start[0].items()
        }
        for i, step in enumerate(pair.alone(start, len(control))):
            found = training.differences(
                i + 1, free.steps[i], step, pair.buffers, pair.bars, start=pair.start[0]
            )
            control[i] = max(control[i], *(p.size for p in found))
    return control


def _keras_name(pair: Pair, tensor: str) -> str:
    return next((k for k, t in pair.there.items() if t == tensor), "")


# --- step by step ---------------------------------------------------------------------


class Stepwise:
    """Each step begun from torch's weights: what parts in it, and why.

    Args:
        pair: Both sides.
        notes: To which something may be added.
    """

    def __init__(self, pair: Pair, notes: list[str]) -> None:
        self.pair = pair
        self.bars = pair.bars
        self.notes = notes
        self.parts: list[LearningPart] = []

    def found(self) -> tuple[list[LearningPart], int]:
        """All parts, in order, and the steps that agree with all named mended."""
        for _ in range(MENDINGS):
            self._run()
            mend = self._loss()
            if mend is not None:
                self.pair.tell(f"on with the loss mended: {mend}")
                self.pair.loss[1] = mend
            elif not self._scaled():
                break
        self._gradients()
        self._weights()
        self._buffers()
        unknown = [p.step for p in self.parts if p.cause in ("", GROWN)]
        self.parts.sort(key=_place)
        agree = min(unknown, default=len(self.steps) + 1) - 1
        return self.parts, agree

    def _run(self) -> None:
        self.pair.begun()
        self.steps: list[tuple[Step, Step]] = []
        self.parted: dict[str, list[Parted]] = {what: [] for what in WHAT}
        recorders = None
        for number, (one, other) in enumerate(self.pair.steps(together=True), 1):
            both = training.differences(
                number, one, other, self.pair.buffers, self.bars
            )
            for p in both:
                if p.size > self.bars.agree:
                    self.parted[p.what].append(p)
            recorders = recorders or self._recorders(one, other)
            for recorder, step in zip(recorders, (one, other), strict=True):
                self._record(recorder, number, step)
            noise = [training.noisy(s, self.bars) for s in (one, other)]
            for recorder in recorders:
                recorder.history.noise |= noise[0] & noise[1]
            first = [p for p in self.parted["gradient"] if p.step < number]
            if number > KEPT and (first or not self.parted["gradient"]):
                one, other = (_light(s, self.pair.buffers) for s in (one, other))
            self.steps.append((one, other))
            self.histories = recorders[0].history, recorders[1].history

    def _recorders(
        self, one: Step, other: Step
    ) -> tuple[rules.Recorder, rules.Recorder]:
        names = [
            n for n in one.after if n in other.after and n not in self.pair.buffers
        ]
        frozen = [n for n in names if n not in one.gradient or n not in other.gradient]
        shapes = {n: one.after[n].shape for n in names if n not in frozen}
        floor = self.bars.floor
        return rules.Recorder(shapes, floor), rules.Recorder(shapes, floor)

    def _record(self, recorder: rules.Recorder, number: int, step: Step) -> None:
        whole = {n: g + step.penalty.get(n, 0) for n, g in step.gradient.items()}
        weights = step.before, step.after
        recorder.add(number, whole, step.used, weights, step.rates)

    def _add(
        self, first: Parted, cause: Cause | None, also: Sequence[str] = ()
    ) -> None:
        if cause is not None and cause.name in ("precision", GROWN):
            for part in [p for p in self.parts if p.cause == cause.name]:
                if _place(part) <= (first.step, WHAT.index(first.what)):
                    return  # said once: what follows from it is off likewise
                self.parts.remove(part)
        self.parts.append(
            LearningPart(
                step=first.step,
                what=first.what,
                torch=first.tensor,
                keras=_keras_name(self.pair, first.tensor),
                size=first.size,
                cause=cause.name if cause else "",
                text=cause.text if cause else "nothing that is tried explains it",
                fault=cause.fault if cause else True,
                also=list(also),
            )
        )

    def slack(self) -> float:
        """By how much the sides part in one step without a mistake."""
        sizes = [p.size for parted in self.parted.values() for p in parted]
        harmless = [p.size for p in self.parts if not p.fault]
        return max(
            [*harmless, *(s for s in sizes if s <= training.PRECISE)], default=0.0
        )

    def _small(self, parted: Sequence[Parted]) -> Cause | None:
        return training.small(parted, begun=self._begun())

    def _begun(self) -> bool:
        """Whether something is off from the first step, by what is no mistake."""
        first = [p.size for w in WHAT[:3] for p in self.parted[w] if p.step == 1]
        return bool(first) and min(first) <= training.PRECISE

    def _loss(self) -> Config | None:
        """What parts in the loss; the words that mend Keras's."""
        parted = self.parted["loss"]
        if not parted:
            return None
        batches = [
            [Batch(s.outputs, s.y, s.loss) for s in side if s.outputs is not None]
            for side in zip(*self.steps, strict=True)
        ]
        told = [words["loss"] for words in self.pair.words]
        one = losses.inferred(told[0], told[1], batches[0], self.bars.agree)
        other = losses.inferred(told[1], one or told[0], batches[1], self.bars.agree)
        first = parted[0]
        causes: Sequence[Cause | None] = ()
        if batches[0] and one is not None and other is not None:
            causes = losses.why(one, other, batches[0], first.size)
        for cause in causes or [self._small(parted)]:
            self._add(first, cause)
        mended = any(cause is not None and cause.fault for cause in causes)
        plain = one is not None and one["given"] in ("logits", "log")
        mendable = one if batches[0] and mended and plain else None
        return mendable if isinstance(self.pair.loss[1], str) else None

    def _scaled(self) -> bool:
        """Whether all gradients differ by one factor; mended for what follows."""
        if not self.parted["gradient"] or self.parted["loss"]:
            return False
        times = training.factor(self.steps, self.bars.agree)
        if times is None or self.pair.times != 1:
            return False
        self.pair.tell(f"on with gradients divided by {times:.6g}")
        self.pair.times, self.first = times, self.parted["gradient"][0]
        return True

    def _of_factor(self, every: int) -> None:
        """Say of a factor of gradients whether the weights feel it."""
        times = self.pair.times
        if times == 1:
            return
        text = (
            f"gradients of one batch are {times:.6g} times as large in torch, of the "
            "same loss"
        )
        halved = abs(times * every - 1) <= FLOAT32_CONSTANT
        if halved or not self.parted["weights"]:
            self.notes.append(f"{text}; the weights come out all the same")
            return
        self._add(self.first, Cause(name="reduction", text=text, after=0.0))

    def _gradients(self) -> None:
        parted = self.parted["gradient"]
        known = any(p.what == "loss" and not p.cause for p in self.parts)
        if not parted or (known and self.parted["loss"]):
            return
        first = parted[0]
        cause = training.gradients(
            self.steps, parted, self.bars.agree, begun=self._begun()
        )
        names = dict.fromkeys(p.tensor for p in parted if p.tensor != first.tensor)
        self._add(first, cause, list(names))

    def _weights(self) -> None:
        parted = self.parted["weights"]
        if not parted:
            self._of_factor(1)
            return
        bar = self.bars.agree
        here, there = self.histories
        words = [w["optimizer"] for w in self.pair.words]
        words[0] = words[0] | {"doubled": self.pair.words[0]["doubled"]}
        words[1] = self._renamed(words[1])
        told = [rules.rule(w, here.names) for w in words]
        one = self._inferred(told[0], told[1], here)
        other = self._inferred(told[1], one or told[0], there)
        self._of_factor(one.gather[0] if one else 1)
        if one is None or other is None:
            self._unknown(parted, one, other)
            return
        other = self._with_penalty(other)
        found = training.reasons(one, other, here, bar, parted[0])
        if not found and not self.parted["gradient"]:
            self._add(parted[0], self._small(parted))
        for reason in found:
            step, tensor, size = reason.first
            self._add(Parted(step, "weights", tensor, size), reason.cause)

    def _inferred(
        self, told: rules.Rule, other: rules.Rule, history: rules.History
    ) -> rules.Rule | None:
        """A side's rule; or as near as numbers that passed through float32 allow."""
        for bar in (self.bars.agree, max(self.bars.agree, training.PRECISE)):
            found = rules.inferred(told, other, history, bar)
            if found is not None:
                return found
        return None

    def _renamed(self, words: Config) -> Config:
        there = self.pair.there
        decays = {there[n]: d for n, d in words["decays"].items() if n in there}
        return words | {"decays": decays}

    def _with_penalty(self, rule: rules.Rule) -> rules.Rule:
        """Keras's rule with what its regularizers do to gradients as decay."""
        step = self.steps[0][1]
        if not any(p.any() for p in step.penalty.values()):
            return rule
        decays = []
        for name in self.histories[1].names:
            p, w = step.penalty.get(name), step.before[name]
            share = float((p * w).sum() / (w * w).sum()) if p is not None else 0.0
            decays.append(float(f"{share:.{rules.ROUNDED}g}"))
        return replace(rule, decays=tuple(decays), coupled=True)

    def _unknown(
        self, parted: Sequence[Parted], one: rules.Rule | None, other: rules.Rule | None
    ) -> None:
        first = parted[0]
        if (cause := self._small(parted)) is not None:
            self._add(first, cause)
            return
        sides = [n for n, r in (("torch", one), ("Keras", other)) if r is None]
        classes = [w["optimizer"]["cls"] for w in self.pair.words]
        text = (
            f"{' and '.join(sides)} updates by no rule that is known here (optimizers: "
            f"{classes[0]} and {classes[1]})"
        )
        self._add(first, Cause(name="", text=text, after=first.size))

    def _buffers(self) -> None:
        parted = self.parted["buffers"]
        units = dict.fromkeys(p.tensor.rpartition("/")[0] for p in parted)
        found: dict[str, tuple[Parted, Cause, list[str]]] = {}
        explained: set[str] = set()
        for unit in units:
            first = {p.tensor: p for p in reversed(parted)}
            for tensor, cause in self._statistics(unit, first):
                explained.add(unit)
                name = f"{unit}/{tensor}"
                if cause.name in found:
                    found[cause.name][2].append(name)
                else:
                    found[cause.name] = first[name], cause, []
        for part, cause, also in found.values():
            self._add(part, cause, also)
        left = [p for p in parted if p.tensor.rpartition("/")[0] not in explained]
        if left:
            names = dict.fromkeys(p.tensor for p in left if p.tensor != left[0].tensor)
            self._add(left[0], self._small(left), list(names))

    def _statistics(
        self, unit: str, first: Mapping[str, Parted]
    ) -> list[tuple[str, Cause]]:
        step = min(p.step for n, p in first.items() if n.rpartition("/")[0] == unit)
        one, other = self.steps[step - 1]
        pairs = {a.name: (a, b) for a, b in self.pair.carried.pairs}
        names = [f"{unit}/mean", f"{unit}/var"]
        if unit not in pairs or any(n not in one.after for n in names):
            return []
        mean, var = ((one.before[n], one.after[n], other.after[n]) for n in names)
        decays = tuple(u.config.get("decay") for u in pairs[unit])
        told = Statistics(unit, (decays[0], decays[1]), mean, var)
        return [
            (tensor, cause)
            for tensor, cause in training.statistics(told, self.bars.agree)
            if f"{unit}/{tensor}" in first
        ]


def _place(part: LearningPart) -> tuple[int, int]:
    return part.step, WHAT.index(part.what)


KEPT = 2  # steps that are held whole; of the others losses and buffers


def _light(step: Step, buffers: frozenset[str]) -> Step:
    """A step without its gradients and weights."""
    before, after = (
        {n: a for n, a in held.items() if n in buffers}
        for held in (step.before, step.after)
    )
    return replace(step, gradient={}, used={}, penalty={}, before=before, after=after)


def refuse_too_few(steps: int) -> None:
    """Refuse a number of steps that is none.

    Raises:
        Refused: It is not positive.
    """
    if steps < 1:
        raise Refused(f"--train takes a number of steps, 1 or more, got {steps}")
