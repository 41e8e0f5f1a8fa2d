"""Where two trainings part, step by step, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from common.port import rules
from common.port.alike import Array, difference
from common.port.cause import FLOAT32_CONSTANT, Cause, shown
from common.port.rules import Gap, History, Rule

WHAT = ("loss", "gradient", "weights", "buffers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """What counts as the same, in a precision.

    Attributes:
        agree: Largest relative difference in one step.
        floor: Updates are measured by their own size, or by this share of the weights,
            below which they are rounding.
        flat: Gradients likewise, of the norm of all.
        noise: A gradient below this share of all is rounding alone: its true value is
            0, as of a bias before batch norm.
    """

    agree: float
    floor: float
    flat: float
    noise: float


# float64: rounding is 1e-16; sums and a batch norm's division make 1e-13 of it, and an
# update of 1e-6 of its weight keeps 1e-10.  float32: 6e-8, by the same reasoning 1e-3
# of an update of 1e-4: a tenth of a percent hides small faults, and that is said.
BARS = {
    "float64": Bars(agree=1e-10, floor=1e-6, flat=1e-5, noise=1e-12),
    "float32": Bars(agree=1e-3, floor=1e-4, flat=1e-3, noise=1e-5),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a side, all names torch's.

    Attributes:
        loss: Of the batch.
        gradient: Of the loss, by tensor.
        penalty: Of what regularizers add to the loss.
        used: What the optimizer was given.
        before, after: Weights and buffers.
        rates: By tensor.
        outputs: Of the model, channels last; none where a step calls its loss often.
        y: Labels.
    """

    loss: float
    gradient: Mapping[str, Array]
    penalty: Mapping[str, Array]
    used: Mapping[str, Array]
    before: Mapping[str, Array]
    after: Mapping[str, Array]
    rates: Mapping[str, float]
    outputs: Array | None
    y: Array


@dataclass(frozen=True, slots=True)
class Parted:
    """A tensor that differs.

    Attributes:
        step: From 1.
        what: Of `WHAT`.
        tensor: In torch, or "" for the loss.
        size: Relative difference.
    """

    step: int
    what: str
    tensor: str
    size: float


def apart(a: Array, b: Array, floor: float) -> float:
    """Norm of a - b over that of b, or over `floor` where that is more."""
    above, below = float(np.linalg.norm(a - b)), float(np.linalg.norm(b))
    if above == 0:
        return 0.0
    found = above / max(below, floor, np.finfo(float).tiny)
    return found if np.isfinite(found) else np.inf


def differences(
    number: int,
    one: Step,
    other: Step,
    buffers: frozenset[str],
    bars: Bars,
    *,
    start: Mapping[str, Array] | None = None,
) -> Iterator[Parted]:
    """Every difference of a step, in the order of `WHAT`, however small.

    Args:
        number: Of the step, from 1.
        one: Torch's.
        other: What is measured by it.
        buffers: Names of what is no weight.
        bars: Of the precision.
        start: From where weights and buffers have moved; by default from before the
            step, which both must then have had in common.
    """
    start = one.before if start is None else start
    size = abs(one.loss - other.loss) / max(abs(one.loss), np.finfo(float).tiny)
    both = not (np.isfinite(one.loss) or np.isfinite(other.loss))
    yield Parted(number, "loss", "", 0.0 if both else _finite(size))
    yield from _gradients(number, one, other, bars)
    noise = noisy(one, bars) & noisy(other, bars)
    for name in one.after:
        if name in other.after and name not in buffers | noise:
            yield _moved(number, "weights", name, one, other, start[name], bars)
    for name in one.after:
        if name in other.after and name in buffers:
            yield _moved(number, "buffers", name, one, other, start[name], bars)


def _finite(size: float) -> float:
    return size if np.isfinite(size) else np.inf


def _gradients(number: int, one: Step, other: Step, bars: Bars) -> Iterator[Parted]:
    whole = _whole(one.gradient)
    for name, gradient in one.gradient.items():
        there = other.gradient.get(name)
        if there is not None:
            size = apart(there, gradient, bars.flat * whole)
            yield Parted(number, "gradient", name, size)
        elif name in other.after and name not in noisy(one, bars):
            yield Parted(number, "gradient", name, 1.0)
    for name, gradient in other.gradient.items():
        if name not in one.gradient and name in one.after and gradient.any():
            yield Parted(number, "gradient", name, 1.0)


def _whole(gradients: Mapping[str, Array]) -> float:
    return float(np.sqrt(sum(float((g * g).sum()) for g in gradients.values())))


def noisy(step: Step, bars: Bars) -> set[str]:
    """Tensors whose gradient is rounding alone."""
    least = bars.noise * _whole(step.gradient)
    return {n for n, g in step.gradient.items() if np.linalg.norm(g) <= least}


def _moved(
    number: int,
    what: str,
    name: str,
    one: Step,
    other: Step,
    start: Array,
    bars: Bars,
) -> Parted:
    a, b = one.after[name] - start, other.after[name] - start
    floor = bars.floor * float(np.linalg.norm(start))
    return Parted(number, what, name, apart(b, a, floor))


# --- gradients ----------------------------------------------------------------------


def factor(pairs: Sequence[tuple[Step, Step]], bar: float) -> float | None:
    """By what all gradients of torch are larger; none if by no one number."""
    found = None
    for one, other in pairs:
        if not one.gradient:
            continue
        names = one.gradient.keys() & other.gradient.keys()
        a = np.concatenate([one.gradient[n].ravel() for n in sorted(names)])
        b = np.concatenate([other.gradient[n].ravel() for n in sorted(names)])
        ratio = float(a @ b / (b @ b)) if b.any() else np.nan
        if found is None:
            found = ratio
        if not difference(a, b * found) <= bar:
            return None
    return None if found is None or abs(found - 1) <= FLOAT32_CONSTANT else found


def gradients(
    pairs: Sequence[tuple[Step, Step]],
    parted: Sequence[Parted],
    bar: float,
    *,
    begun: bool,
) -> Cause | None:
    """Why gradients differ though the losses agree."""
    first = parted[0]
    one, other = pairs[first.step - 1]
    name = first.tensor
    for a, b, side, there in (
        (one, other, "Keras", "torch"),
        (other, one, "torch", "Keras"),
    ):
        if name in a.gradient and name not in b.gradient:
            text = f"it learns in {there}, and is frozen in {side}: it has no gradient"
            return Cause(name="frozen", text=text, after=0.0)
    if (cause := small(parted, begun=begun)) is not None:
        return cause
    decay = _decaying(one, other, name, bar)
    if decay is not None:
        text = f"torch's gradient has a decay of {decay:.6g} in it, Keras's has not"
        return Cause(name="decay", text=text, after=0.0)
    return None


def _decaying(one: Step, other: Step, name: str, bar: float) -> float | None:
    gap, w = one.gradient[name] - other.gradient[name], one.before[name]
    found = float((gap * w).sum() / (w * w).sum()) if w.any() else 0.0
    return found if found and difference(gap, found * w) <= max(bar, 1e-6) else None


def small(parted: Sequence[Parted], *, begun: bool) -> Cause | None:
    """What differences too small for a mistake are, or none.

    Args:
        parted: All of one kind.
        begun: Whether something is off so little from the first step.
    """
    size, first = max(p.size for p in parted), parted[0]
    if size > PRECISE:
        return None
    if begun:
        text = (
            f"off by {first.size:.0e}, from the first step on: a number passed through "
            "float32 inside of Keras or TensorFlow; no mistake of the port"
        )
        return Cause(name="precision", text=text, after=size, fault=False)
    text = f"{first.size:.0e} within one step, while all before agree"
    return Cause(name=GROWN, text=text, after=size, fault=False)


# What passed through float32, once or some times.
PRECISE = 10 * FLOAT32_CONSTANT
# A cause that is believed if torch does so with itself.
GROWN = "rounding"


# --- weights ------------------------------------------------------------------------

NAMES = {
    "momentum": "momentum",
    "dampening": "momentum",
    "nesterov": "momentum",
    "rate_inside": "momentum",
    "decays": "decay",
    "coupled": "decay",
    "betas": "betas",
    "eps": "epsilon",
    "eps_at": "epsilon",
    "rho": "rho",
    "centred": "centred",
    "amsgrad": "amsgrad",
    "start": "initial-accumulator",
    "gather": "accumulation",
    "clip": "clip",
    "rates": "rate",
    "kind": "optimizer",
    "doubled": "two-biases",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause, and where it shows first.

    Attributes:
        cause: Why.
        first: (step, tensor, size) with this alone as in Keras.
    """

    cause: Cause
    first: tuple[int, str, float]


def reasons(
    torch: Rule, keras: Rule, history: History, bar: float, parted: Parted
) -> list[Reason]:
    """The words in which two rules differ and that matter, of what torch did.

    Args:
        torch: The rule that does what torch did.
        keras: Likewise.
        history: Torch's.
        bar: Largest difference of an update.
        parted: The first weights that were seen to part.
    """
    if torch.kind != keras.kind:
        return [_other_kind(torch, keras, history, bar)]
    keras = _comparable(torch, keras)
    different = [n for n in NAMES if getattr(torch, n) != getattr(keras, n)]
    for n in range(len(different) + 1):
        for some in combinations(different, n):
            mended = replace(keras, **{name: getattr(torch, name) for name in some})
            left = rules.apart(mended, history)
            if left.size <= bar:
                was = rules.apart(keras, history).size
                was = was if np.isfinite(was) else parted.size
                falls = f"the difference falls from {was:.0e} to {left.size:.0e}"
                found = _told(torch, keras, history, bar, some, left, falls)
                return [_seen(reason, parted) for reason in found]
    return []


def _comparable(torch: Rule, keras: Rule) -> Rule:
    """Keras's rule with rates for as many updates as torch made."""
    n = len(torch.rates)
    rates = (*keras.rates, *([keras.rates[-1]] * n))[:n] if keras.rates else torch.rates
    same = all(
        np.allclose(a, b, rtol=FLOAT32_CONSTANT, atol=0)
        for a, b in zip(rates, torch.rates, strict=True)
    )
    near = np.allclose(keras.decays, torch.decays, rtol=FLOAT32_CONSTANT, atol=0)
    decays = torch.decays if near else keras.decays
    return replace(keras, rates=torch.rates if same else rates, decays=decays)


def _told(
    torch: Rule,
    keras: Rule,
    history: History,
    bar: float,
    some: Sequence[str],
    left: Gap,
    falls: str,
) -> list[Reason]:
    found: dict[str, list[str]] = {}
    for word in some:
        name = (
            "epsilon-hat" if word == "eps_at" and torch.kind == "adam" else NAMES[word]
        )
        found.setdefault(name, []).append(word)
    reasons = []
    real = rules.really(history)
    for name, words in found.items():
        one = replace(torch, **{w: getattr(keras, w) for w in words})
        alone = rules.gap(history, list(rules.moved(one, history)), real, bar)
        texts = "; ".join(said(w, torch, keras, history) for w in words)
        small = words == ["clip"] and _same_clip(torch, keras)
        mended = (
            "with torch's" if len(found) == 1 else f"with all {len(found)} of torch"
        )
        text = f"{texts}; {mended} {falls}"
        if small:
            text = (
                f"torch's clip_grad_norm_ adds {rules.CLIP_EPS:g} to the norm, Keras "
                "nothing; no mistake of the port"
            )
        cause = Cause(name=name, text=text, after=left.size, fault=not small)
        reasons.append(Reason(cause, alone.first or (0, "", alone.size)))
    reasons = [r for r in reasons if r.first[0]]
    return sorted(reasons, key=lambda r: (r.first[0], -r.first[2]))


def _seen(reason: Reason, parted: Parted) -> Reason:
    """What updates of torch alone cannot show is where it was seen."""
    if np.isfinite(reason.first[2]):
        return reason
    return replace(reason, first=(parted.step, parted.tensor, parted.size))


def _same_clip(torch: Rule, keras: Rule) -> bool:
    (kind, bound, _), (other, there, _) = torch.clip, keras.clip
    return kind == other and abs(bound - there) <= FLOAT32_CONSTANT * bound


def _other_kind(torch: Rule, keras: Rule, history: History, bar: float) -> Reason:
    one = replace(keras, rates=torch.rates)
    found = rules.apart(one, history, bar)
    text = f"optimizer: {torch.kind} in torch, {keras.kind} in Keras"
    cause = Cause(name="optimizer", text=text, after=0.0)
    return Reason(cause, found.first or (1, history.names[0], found.size))


LABELS = {
    "eps": "epsilon",
    "rate_inside": "rate",
    "eps_at": "epsilon",
    "decays": "weight decay",
    "coupled": "weight decay",
    "rates": "rate",
    "gather": "gradients",
    "clip": "clipping",
    "doubled": "bias",
    "start": "sum of squares begins at",
}
PLACES = {
    "corrected": "beside the corrected root",
    "plain": "beside the root as it is (epsilon-hat)",
    "beside": "beside the root",
    "inside": "inside of the root",
}


def said(word: str, torch: Rule, keras: Rule, history: History) -> str:
    """A word of both rules, as people write it."""
    one, other = (_value(word, rule, history) for rule in (torch, keras))
    return f"{LABELS.get(word, word)}: {one} in torch, {other} in Keras"


def _value(word: str, rule: Rule, history: History) -> str:
    value = getattr(rule, word)
    match word:
        case "eps_at":
            return PLACES.get(value, "none")
        case "eps" | "momentum" | "dampening" | "rho" | "start":
            return f"{value:g}"
        case "coupled":
            through = "coupled, through the gradient" if value else "decoupled"
            return through if any(rule.decays) else "none"
        case "rate_inside":
            return "inside of the momentum" if value else "outside of the momentum"
        case "decays":
            return _decayed(value, history)
        case "betas":
            return f"{value[0]:g} and {value[1]:g}"
        case "gather":
            every, mean = value
            how = "mean" if mean else "sum"
            return f"the {how} of {every} batches" if every > 1 else "of each batch"
        case "clip":
            return _clipped(value)
        case "rates":
            return _series([max(row) for row in value])
        case "doubled":
            return "two that both learn, and move it twice" if value else "one"
    return shown(value)


def _decayed(decays: Sequence[float], history: History) -> str:
    most = max(decays, default=0.0)
    spared = [n for n, d in zip(history.names, decays, strict=True) if not d]
    if not most or not spared:
        return f"{most:g}"
    return f"{most:g} without {', '.join(spared[:3])}{' ...' * (len(spared) > 3)}"


def _clipped(value: tuple[str, float, float]) -> str:
    kind, bound, _ = value
    names = {
        "all": "the norm of all to",
        "tensor": "each tensor's norm to",
        "value": "each number to",
    }
    return f"{names[kind]} {bound:g}" if kind else "none"


def _series(values: Sequence[float]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:.6g}"
    return ", ".join(f"{v:.6g}" for v in values[:4]) + (
        " ..." if len(values) > 4 else ""
    )


# --- buffers ------------------------------------------------------------------------

MANY = 1e6  # a variance of so many values is biased by rounding alone


@dataclass(slots=True)
class Statistics:
    """What a batch norm's two buffers did in one step.

    Attributes:
        unit: In torch.
        decays: What each side says of the weight of the old: torch, Keras; or none.
        mean, var: (before, torch's after, Keras's after) of each.
    """

    unit: str
    decays: tuple[float | None, float | None]
    mean: tuple[Array, Array, Array]
    var: tuple[Array, Array, Array]
    found: list[tuple[str, Cause]] = field(default_factory=list)


def statistics(s: Statistics, bar: float) -> list[tuple[str, Cause]]:
    """Causes by the buffer that shows them, "mean" or "var"."""
    here, there = s.decays
    if here is None or there is None:
        return []
    found = []
    means = [_of_batch(s.mean, i, d) for i, d in ((1, here), (2, there))]
    if difference(*means) > bar:
        return []
    if abs(here - there) > FLOAT32_CONSTANT:
        text = (
            f"weight of the old statistic: {here:g} in torch (momentum {1 - here:g}), "
            f"{there:g} in Keras (momentum {there:g})"
        )
        left = difference(*means)
        found.append(
            ("mean", Cause(name="momentum-of-statistics", text=text, after=left))
        )
    one, other = (_of_batch(s.var, i, d) for i, d in ((1, here), (2, there)))
    n = _count(one, other, max(FLOAT32_CONSTANT, bar / 10))
    if difference(one, other) > bar and n:
        text = (
            f"variance: unbiased in torch, biased in Keras, of {n} values; torch's "
            f"times {n - 1}/{n} is Keras's"
        )
        left = difference(one * (n - 1) / n, other)
        found.append(("var", Cause(name="variance", text=text, after=left)))
    return found


def _of_batch(values: tuple[Array, Array, Array], side: int, decay: float) -> Array:
    """The batch's own statistic that made a buffer what it is."""
    return (values[side] - decay * values[0]) / (1 - decay)


def _count(one: Array, other: Array, bar: float) -> int:
    """The n for which the first is the second times n / (n - 1); else 0."""
    with np.errstate(all="ignore"):
        ratio = float((one @ other) / (other @ other))
        n = ratio / (ratio - 1) if ratio > 1 else 0.0
    if not 1 < n < MANY:
        return 0
    whole = round(n)
    fits = difference(one, other * whole / (whole - 1)) <= bar
    return whole if fits else 0
