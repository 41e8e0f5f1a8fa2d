"""Update rules of optimizers by their words, in NumPy, and which words a rule has.

Sources: the update formulas of torch.optim 2.x and keras.optimizers 3.x.  They differ
where a word below says so: where epsilon stands, whether the rate is inside of the
momentum, whether decay goes through the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import combinations
from typing import Any

import numpy as np

from common.port.alike import Array
from common.port.told import Config
from common.weights import stream

# Of a larger tensor so many numbers are looked at: rules act on each by itself.
MOST = 4096
# torch's `clip_grad_norm_` adds this to a norm.
CLIP_EPS = 1e-6
EPSILONS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 1e-10)
ROUNDED = 9  # digits of a bound that is found from what was clipped
# Variants are tried in so many words at a time.
MOST_WORDS = 3

Decays = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An update rule.

    Attributes:
        kind: "sgd", "adam", "rmsprop", "adadelta", "adagrad"; or a class, unknown.
        momentum, dampening, nesterov: Of sgd; momentum of rmsprop too.
        rate_inside: Whether the rate is in the momentum (as in Keras), not outside.
        decays: Weight decay of each tensor.
        coupled: Whether decay goes through the gradient.
        betas: Of adam.
        eps: Epsilon.
        eps_at: Of adam "corrected" or "plain", the root that it stands beside; of the
            others "beside" or "inside" of the root.
        rho: Of rmsprop (torch's alpha) and adadelta.
        centred: Of rmsprop.
        amsgrad: Of adam.
        start: Of adagrad's sum.
        gather: After how many batches it updates, and whether by their mean.
        clip: "", "value", "tensor" or "all"; the bound; what is added to the norm.
        rates: Of each update, for each tensor.
        doubled: Numbers of the tensors that are the sum of two parameters.
    """

    kind: str = "sgd"
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    rate_inside: bool = False
    decays: Decays = ()
    coupled: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 0.0
    eps_at: str = ""
    rho: float = 0.0
    centred: bool = False
    amsgrad: bool = False
    start: float = 0.0
    gather: tuple[int, bool] = (1, True)
    clip: tuple[str, float, float] = ("", 0.0, 0.0)
    rates: tuple[Decays, ...] = ()
    doubled: tuple[int, ...] = ()


KNOWN = ("sgd", "adam", "rmsprop", "adadelta", "adagrad")


def rule(words: Config, names: Sequence[str]) -> Rule:
    """A rule from what a track says of an optimizer.

    Args:
        words: Those of `Rule`, with "decays" by name, "every", "mean" and "bound".
        names: Of the tensors, in order.
    """
    taken = {f.name for f in fields(Rule)} - {"decays", "clip", "doubled"}
    given: Config = {n: v for n, v in words.items() if n in taken}
    given["decays"] = tuple(float(words["decays"].get(n, 0.0)) for n in names)
    given["betas"] = tuple(words.get("betas", (0.9, 0.999)))
    given["gather"] = (words.get("every", 1), words.get("mean", True))
    given["clip"] = (words.get("clip", ""), words.get("bound", 0.0), 0.0)
    doubled = words.get("doubled", ())
    return Rule(**given, doubled=tuple(i for i, n in enumerate(names) if n in doubled))


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One update of a side; numbers of all tensors in a row.

    Attributes:
        step: Of the training, from 1.
        every: Batches that went into it.
        given: Sum of their gradients.
        norms: Of that, for each whole tensor.
        used: What the optimizer was given.
        used_norms: Of that, for each whole tensor.
        before, after: Weights.
        rates: For each tensor.
    """

    step: int
    every: int
    given: Array
    norms: Array
    used: Array
    used_norms: Array
    before: Array
    after: Array
    rates: Decays


@dataclass(slots=True)
class History:
    """All updates of a side.

    Attributes:
        names: Of the tensors.
        sizes: How many numbers of each are looked at.
        floor: Updates smaller than this share of their weights are rounding.
        updates: In order.
        noise: Names of tensors whose gradient is rounding alone.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    floor: float
    updates: list[Update] = field(default_factory=list)
    noise: set[str] = field(default_factory=set)

    def spread(self, values: Sequence[float] | Array) -> Array:
        """A value of each tensor, for each of its numbers."""
        return np.repeat(np.asarray(values, float), self.sizes)

    def of_tensors(self, row: Array) -> list[Array]:
        """A row of numbers, tensor by tensor."""
        return np.split(row, np.cumsum(self.sizes)[:-1])

    def rates(self) -> tuple[Decays, ...]:
        """Of each update, for each tensor."""
        return tuple(u.rates for u in self.updates)


class Recorder:
    """Steps on their way to a `History`."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], floor: float) -> None:
        self.places = {n: _places(n, int(np.prod(s))) for n, s in shapes.items()}
        sizes = tuple(len(p) for p in self.places.values())
        self.history = History(tuple(shapes), sizes, floor)
        self.window: dict[str, Array] = {}
        self.every = 0

    def add(
        self,
        step: int,
        gradient: Mapping[str, Array],
        used: Mapping[str, Array],
        weights: tuple[Mapping[str, Array], Mapping[str, Array]],
        rates: Mapping[str, float],
    ) -> None:
        """A step: its gradients, those handed to the optimizer, weights around it."""
        self.every += 1
        for name in self.places:
            if name in gradient:
                self.window[name] = self.window.get(name, 0) + gradient[name]
        before, after = weights
        if all(np.array_equal(before[n], after[n]) for n in self.places):
            return
        given = {n: self.window.get(n, np.zeros_like(before[n])) for n in self.places}
        used = {n: used.get(n, given[n]) for n in self.places}
        self.history.updates.append(
            Update(
                step=step,
                every=self.every,
                given=self._row(given),
                norms=_norms(given),
                used=self._row(used),
                used_norms=_norms(used),
                before=self._row(before),
                after=self._row(after),
                rates=tuple(float(rates.get(n, 0.0)) for n in self.places),
            )
        )
        self.window, self.every = {}, 0

    def _row(self, arrays: Mapping[str, Array]) -> Array:
        parts = [arrays[n].ravel()[p] for n, p in self.places.items()]
        return np.concatenate(parts).astype(np.float64)


def _places(name: str, size: int) -> Array:
    if size <= MOST:
        return np.arange(size)
    return np.sort(stream(name, 0).choice(size, MOST, replace=False))


def _norms(arrays: Mapping[str, Array]) -> Array:
    return np.array([np.linalg.norm(a.ravel()) for a in arrays.values()])


# --- what a rule does -----------------------------------------------------------


def gathered(rule: Rule, history: History, update: Update) -> Array:
    """What the optimizer is given: of some batches, clipped; NaN of other batches."""
    every, mean = rule.gather
    if every != update.every:
        return np.full_like(update.given, np.nan)
    share = 1 / every if mean else 1.0
    g, norms = update.given * share, update.norms * share
    kind, bound, extra = rule.clip
    match kind:
        case "value":
            return np.clip(g, -bound, bound)
        case "tensor":
            return g * history.spread(np.minimum(1.0, bound / _above(norms + extra)))
        case "all":
            share = bound / _above(float(np.linalg.norm(norms)) + extra)
            return g * min(1.0, float(share))
    return g


def _above(norm: Any) -> Any:
    """A norm to divide by."""
    return np.maximum(norm, np.finfo(float).tiny)


def moved(rule: Rule, history: History) -> Iterator[Array]:
    """What each update adds to the weights by a rule."""
    state: dict[str, Array] = {}
    doubled = np.ones(len(history.names))
    doubled[list(rule.doubled)] = 2.0
    times = history.spread(doubled)
    for t, update in enumerate(history.updates, 1):
        g = gathered(rule, history, update)
        yield _delta(rule, history, state, t, g, update, times)


def _delta(
    rule: Rule,
    history: History,
    state: dict[str, Array],
    t: int,
    g: Array,
    update: Update,
    times: Array,
) -> Array:
    rates = rule.rates[t - 1] if t <= len(rule.rates) else update.rates
    lr = history.spread(rates)
    decay = history.spread(rule.decays) * update.before
    if rule.coupled:
        g = g + decay / times
    step = STEPS[rule.kind](rule, state, t, g, lr) * times
    return -step if rule.coupled else -step - lr * decay


def _sgd(rule: Rule, state: dict[str, Array], t: int, g: Array, lr: Array) -> Array:
    if not rule.momentum:
        return lr * g
    share = 1.0 if t == 1 else 1 - rule.dampening
    inside, outside = (lr, 1.0) if rule.rate_inside else (1.0, lr)
    m = rule.momentum * state.get("m", np.zeros_like(g)) + share * inside * g
    state["m"] = m
    return outside * (inside * g + rule.momentum * m if rule.nesterov else m)


def _adam(rule: Rule, state: dict[str, Array], t: int, g: Array, lr: Array) -> Array:
    b1, b2 = rule.betas
    zero = np.zeros_like(g)
    m = state["m"] = b1 * state.get("m", zero) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", zero) + (1 - b2) * g * g
    if rule.amsgrad:
        v = state["most"] = np.maximum(v, state.get("most", zero))
    first, second = 1 - b1**t, float(np.sqrt(1 - b2**t))
    root: Array = np.sqrt(v)
    if rule.eps_at == "plain":
        return lr * second / first * m / (root + rule.eps)
    return lr / first * m / (root / second + rule.eps)


def _root(rule: Rule, v: Array) -> Array:
    if rule.eps_at == "inside":
        return np.sqrt(v + rule.eps)
    return np.sqrt(v) + rule.eps


def _rmsprop(rule: Rule, state: dict[str, Array], t: int, g: Array, lr: Array) -> Array:
    zero = np.zeros_like(g)
    v = state["v"] = rule.rho * state.get("v", zero) + (1 - rule.rho) * g * g
    if rule.centred:
        a = state["a"] = rule.rho * state.get("a", zero) + (1 - rule.rho) * g
        v = v - a * a
    step = g / _root(rule, v)
    if not rule.momentum:
        return lr * step
    inside, outside = (lr, 1.0) if rule.rate_inside else (1.0, lr)
    state["m"] = rule.momentum * state.get("m", zero) + inside * step
    return outside * state["m"]


def _adadelta(
    rule: Rule, state: dict[str, Array], t: int, g: Array, lr: Array
) -> Array:
    zero = np.zeros_like(g)
    v = state["v"] = rule.rho * state.get("v", zero) + (1 - rule.rho) * g * g
    d = state.get("d", zero)
    step = np.sqrt(d + rule.eps) / np.sqrt(v + rule.eps) * g
    state["d"] = rule.rho * d + (1 - rule.rho) * step * step
    return lr * step


def _adagrad(rule: Rule, state: dict[str, Array], t: int, g: Array, lr: Array) -> Array:
    v = state.get("v", np.full_like(g, rule.start)) + g * g
    state["v"] = v
    return lr * g / _root(rule, v)


STEPS = {
    "sgd": _sgd,
    "adam": _adam,
    "rmsprop": _rmsprop,
    "adadelta": _adadelta,
    "adagrad": _adagrad,
}


@dataclass(frozen=True, slots=True)
class Gap:
    """Where two series of updates part.

    Attributes:
        size: Largest difference, of a tensor's update.
        first: (step, tensor, size) of the first above a bar, or none.
    """

    size: float
    first: tuple[int, str, float] | None = None


def gap(
    history: History, rows: Sequence[Array], others: Sequence[Array], bar: float
) -> Gap:
    """How far two series of updates are apart, tensor by tensor."""
    most, first = 0.0, None
    for update, row, other in zip(history.updates, rows, others, strict=True):
        parts = (history.of_tensors(r) for r in (row, other, update.before))
        for name, a, b, w in zip(history.names, *parts, strict=True):
            if name in history.noise:
                continue
            size = _apart(a, b, history.floor * float(np.linalg.norm(w)))
            most = max(most, size)
            if size > bar and first is None:
                first = update.step, name, size
    return Gap(most, first)


def _apart(a: Array, b: Array, floor: float) -> float:
    above, below = float(np.linalg.norm(a - b)), float(np.linalg.norm(b))
    if above == 0:
        return 0.0
    found = above / max(below, floor, np.finfo(float).tiny)
    return found if np.isfinite(found) else np.inf


def really(history: History) -> list[Array]:
    """What each update added to the weights."""
    return [u.after - u.before for u in history.updates]


def apart(rule: Rule, history: History, bar: float = np.inf) -> Gap:
    """How far a rule is from what happened."""
    if rule.kind not in STEPS:
        return Gap(np.inf)
    with np.errstate(all="ignore"):
        rows = list(moved(rule, history))
    return gap(history, rows, really(history), bar)


# --- which rule it was ----------------------------------------------------------


def inferred(told: Rule, other: Rule, history: History, bar: float) -> Rule | None:
    """The rule that does what happened, nearest to what is told of it.

    Args:
        told: What the optimizer says of itself.
        other: The other side's rule.
        history: What happened.
        bar: Largest difference of an update.
    """
    if not history.updates:
        return None
    start = _gathering(replace(told, rates=history.rates()), other, history, bar)
    if start.kind not in STEPS:
        start = replace(other, rates=start.rates, gather=start.gather, clip=start.clip)
    changes = list(_changes(start, other))
    for n in range(MOST_WORDS + 1):
        for some in combinations(changes, n):
            merged = {k: v for one in some for k, v in one.items()}
            if len(merged) < sum(map(len, some)):
                continue  # two values of one word
            tried = replace(start, **merged)
            if apart(tried, history).size <= bar:
                return tried
    return None


def _changes(rule: Rule, other: Rule) -> Iterator[Config]:
    """Words that may be other than what an optimizer's class says."""
    zeros = (0.0,) * len(rule.decays)
    words = [n for n in WORDS_OF.get(rule.kind, ()) if n not in ("decays", "coupled")]
    for name in words:
        if (value := getattr(other, name)) != getattr(rule, name):
            yield {name: value}
    for name in ("nesterov", "rate_inside", "centred", "amsgrad"):
        value = not getattr(rule, name)
        if name in words and value != getattr(other, name):
            yield {name: value}
    if "eps_at" in words:
        places = ("corrected", "plain") if rule.kind == "adam" else ("beside", "inside")
        for place in places:
            if place not in (rule.eps_at, other.eps_at):
                yield {"eps_at": place}
    for decays in dict.fromkeys((rule.decays, other.decays, zeros)):
        for coupled in (True, False):
            if (decays, coupled) != (rule.decays, rule.coupled):
                yield {"decays": decays, "coupled": coupled}
    if "eps" in words:
        yield from ({"eps": e} for e in EPSILONS if e not in (rule.eps, other.eps))


# What each kind of rule is made of.
WORDS_OF = {
    "sgd": ("momentum", "dampening", "nesterov", "rate_inside", "decays", "coupled"),
    "adam": ("betas", "eps", "eps_at", "amsgrad", "decays", "coupled"),
    "rmsprop": (
        "rho",
        "eps",
        "eps_at",
        "centred",
        "momentum",
        "rate_inside",
        "decays",
        "coupled",
    ),
    "adadelta": ("rho", "eps", "decays", "coupled"),
    "adagrad": ("eps", "eps_at", "start", "decays", "coupled"),
}


def _gathering(rule: Rule, other: Rule, history: History, bar: float) -> Rule:
    """The same with what is done to gradients before, from what the optimizer got."""
    every = history.updates[0].every
    used = [u.used for u in history.updates]
    for mean in dict.fromkeys((rule.gather[1], True, False)):
        for clip in _clips(rule, other, history, 1 / every if mean else 1.0):
            tried = replace(rule, gather=(every, mean), clip=clip)
            rows = [gathered(tried, history, u) for u in history.updates]
            if gap(history, rows, used, bar).size <= bar:
                return tried
    return replace(rule, gather=(every, rule.gather[1]))


def _clips(
    rule: Rule, other: Rule, history: History, share: float
) -> Iterator[tuple[str, float, float]]:
    """Ways of clipping, with bounds as what came out of it shows them."""
    yield rule.clip
    yield "", 0.0, 0.0
    yield other.clip
    for kind in ("all", "tensor", "value"):
        bound, norm = _most(kind, history)
        for extra in (0.0, CLIP_EPS) if kind != "value" else (0.0,):
            exact = bound * (1 + extra / _above(norm * share))
            yield kind, float(f"{exact:.{ROUNDED}g}"), extra
            yield kind, float(exact), extra


def _most(kind: str, history: History) -> tuple[float, float]:
    """The largest norm that came out of clipping, and what had gone in."""
    found = []
    for u in history.updates:
        if kind == "all":
            whole = np.linalg.norm(u.used_norms), np.linalg.norm(u.norms)
            found.append((float(whole[0]), float(whole[1])))
        elif kind == "tensor":
            found += zip(u.used_norms.tolist(), u.norms.tolist(), strict=True)
        else:
            found.append((float(np.abs(u.used).max()), 1.0))
    return max(found)
