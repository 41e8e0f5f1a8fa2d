"""Which unit of one side is which of the other, and weights carried across."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.port.alike import Array
from common.port.told import Unit
from common.weights import stream

# Kinds that compute the same where the window is of one pixel.
ONE_PIXEL = {"dense", "conv"}
NORMS = {"batch_norm", "layer_norm", "group_norm", "rms_norm"}
NEITHER = -1.0  # of two units that cannot be the same
SAME, LACKING, UNLIKE = 4.0, 2.0, 1.0  # all tensors; without a bias; unknown kinds


@dataclass(frozen=True, slots=True)
class Carried:
    """Which units belong together.

    Attributes:
        pairs: (unit of torch, unit of Keras), in torch's order.
        torch, keras: Units that have no partner.
        notes: What is to be said of how they were matched.
    """

    pairs: tuple[tuple[Unit, Unit], ...]
    torch: tuple[Unit, ...] = ()
    keras: tuple[Unit, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def of_torch(self) -> dict[str, Unit]:
        """Name in torch -> unit in Keras."""
        return {one.name: other for one, other in self.pairs}

    def of_keras(self) -> dict[str, Unit]:
        """Name in Keras -> unit in torch."""
        return {other.name: one for one, other in self.pairs}


def bare(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without its axes of length 1."""
    return tuple(side for side in shape if side != 1)


def of_kernel(shape: Sequence[int]) -> tuple[int, ...]:
    """A kernel's shape without its window, if that is of one pixel.

    (1 x 3 and 3 x 1 are not the same, a dense kernel and one of 1 x 1 are.)
    """
    *window, fan_in, out = shape
    return (fan_in, out) if all(side == 1 for side in window) else tuple(shape)


def likeness(one: Unit, other: Unit) -> float:
    """How well two units fit; below 0 where they cannot be the same."""
    kinds = {one.kind, other.kind}
    known = one.kind == other.kind or kinds == ONE_PIXEL or kinds <= NORMS
    shared = one.shapes.keys() & other.shapes.keys()
    if known and shared and all(_fit(one, other, name) for name in shared):
        whole = one.shapes.keys() == other.shapes.keys()
        return (SAME if whole else LACKING) + _named_alike(one.name, other.name)
    if "custom" in kinds and _tensors(one) == _tensors(other):
        return UNLIKE + _named_alike(one.name, other.name)
    return NEITHER


def _fit(one: Unit, other: Unit, name: str) -> bool:
    a, b = one.shapes[name], other.shapes[name]
    if name == "bias" and one.kind == "gru":  # one bias, or two
        return bool(a[-1] == b[-1])
    if name == "kernel" and min(len(a), len(b)) > 1:
        return of_kernel(a) == of_kernel(b)
    return bare(a) == bare(b)


def _tensors(unit: Unit) -> Counter[tuple[int, ...]]:
    return Counter(tuple(sorted(bare(shape))) for shape in unit.shapes.values())


def _named_alike(one: str, other: str) -> float:
    """0 to 1: the share of words of two paths that are the same."""
    first, second = (set(re.findall(r"[a-z]+|\d+", n.lower())) for n in (one, other))
    return len(first & second) / max(1, len(first | second))


def matched(
    torch: Sequence[Unit],
    keras: Sequence[Unit],
    mapping: Mapping[str, str] | None = None,
) -> Carried:
    """Which units belong together, by kind, shapes, order and, among equals, names.

    Args:
        torch: Units in the order of computing.
        keras: The same of the other side.
        mapping: Name in torch -> name in Keras, as the user says; the rest is matched.
    """
    fixed = _fixed(torch, keras, mapping or {})
    left = [u for u in torch if u.name not in {a.name for a, _ in fixed}]
    right = [u for u in keras if u.name not in {b.name for _, b in fixed}]
    pairs = fixed + _in_order(left, right)
    taken = {a.name for a, _ in pairs}, {b.name for _, b in pairs}
    pairs += _whatever_order(
        [u for u in left if u.name not in taken[0]],
        [u for u in right if u.name not in taken[1]],
    )
    place = {unit.name: i for i, unit in enumerate(torch)}
    pairs.sort(key=lambda pair: place[pair[0].name])
    one, other = {a.name for a, _ in pairs}, {b.name for _, b in pairs}
    return Carried(
        tuple(pairs),
        tuple(u for u in torch if u.name not in one),
        tuple(u for u in keras if u.name not in other),
    )


Pairs = list[tuple[Unit, Unit]]


def _fixed(
    torch: Sequence[Unit], keras: Sequence[Unit], mapping: Mapping[str, str]
) -> Pairs:
    by_name = {unit.name: unit for unit in keras}
    return [(u, by_name[mapping[u.name]]) for u in torch if mapping.get(u.name)]


def _in_order(torch: Sequence[Unit], keras: Sequence[Unit]) -> Pairs:
    """The pairs of the best alignment that keeps both orders."""
    n, m = len(torch), len(keras)
    fits = np.array([[likeness(a, b) for b in keras] for a in torch]).reshape(n, m)
    best = np.zeros((n + 1, m + 1))
    for i in range(n - 1, -1, -1):
        for j in range(m - 1, -1, -1):
            both = fits[i, j] + best[i + 1, j + 1] if fits[i, j] >= 0 else NEITHER
            best[i, j] = max(both, best[i + 1, j], best[i, j + 1])
    pairs, i, j = [], 0, 0
    while i < n and j < m:
        if fits[i, j] >= 0 and best[i, j] == fits[i, j] + best[i + 1, j + 1]:
            pairs.append((torch[i], keras[j]))
            i, j = i + 1, j + 1
        elif best[i, j] == best[i + 1, j]:
            i += 1
        else:
            j += 1
    return pairs


def _whatever_order(torch: Sequence[Unit], keras: Sequence[Unit]) -> Pairs:
    """The best fits among what is left, in whatever order."""
    fits = sorted(
        (-likeness(a, b), i, j)
        for i, a in enumerate(torch)
        for j, b in enumerate(keras)
        if likeness(a, b) >= 0
    )
    pairs: Pairs = []
    done: tuple[set[int], set[int]] = (set(), set())
    for _, i, j in fits:
        if i not in done[0] and j not in done[1]:
            pairs.append((torch[i], keras[j]))
            done[0].add(i)
            done[1].add(j)
    return pairs


def guessed(left: Carried) -> list[tuple[str, str]]:
    """For each unit of torch without a partner, the unit whose sizes are nearest."""
    free = [*left.keras]
    rows = []
    for unit in left.torch:
        near = min(free, key=lambda other: _apart(unit, other), default=None)
        rows.append((unit.name, near.name if near else ""))
        if near:
            free.remove(near)
    return rows


def _apart(one: Unit, other: Unit) -> float:
    sizes = [sum(np.prod(s) for s in unit.shapes.values()) for unit in (one, other)]
    unlike = one.kind != other.kind
    return float(abs(np.log((sizes[0] + 1) / (sizes[1] + 1)))) + 10 * unlike


# --- values -------------------------------------------------------------------------


def carried_across(
    pairs: Sequence[tuple[Unit, Unit]],
    weights: Mapping[str, Array],
    *,
    back: bool = False,
) -> dict[str, Array]:
    """Weights of one side as the other takes them: "unit/tensor" -> array.

    Args:
        pairs: As of `Carried`.
        weights: Of torch; of Keras with `back`.
        back: From Keras to torch.
    """
    found = {}
    for pair in pairs:
        source, target = pair[::-1] if back else pair
        names = dict(zip(*(_in_shape_order(u) for u in (source, target)), strict=False))
        for name in source.shapes:
            there = name if name in target.shapes else None
            if there is None and {source.kind, target.kind} & {"custom"}:
                there = names.get(name)
            if there is not None:
                array = weights[f"{source.name}/{name}"]
                shape = target.shapes[there]
                found[f"{target.name}/{there}"] = shaped(array, shape)
    return found


def _in_shape_order(unit: Unit) -> list[str]:
    return sorted(unit.shapes, key=lambda n: (sorted(bare(unit.shapes[n])), n))


def shaped(array: Array, shape: tuple[int, ...]) -> Array:
    """A tensor as the other side has it: reshaped, transposed, or biases as one."""
    if array.shape == shape:
        return array
    if bare(array.shape) == bare(shape):
        return array.reshape(shape)
    if array.ndim == 2 and shape == array.shape[1:]:  # two biases, added
        return np.asarray(array.sum(0))
    if array.ndim == 1 and shape[1:] == array.shape:  # one, and one of zeros
        return np.stack([array, np.zeros_like(array)])
    if array.ndim == 1 and len(shape) == 1 and array.size == 1:
        return np.full(shape, array[0])
    if sorted(array.shape) == sorted(shape) and array.ndim == 2:
        return array.T
    return array


def shaken(weights: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """New values for tensors that are all 0 or all 1: such hide faults.

    Scales and variances are uniform in .5 to 1.5, others normal with deviation .1.
    """
    found = {}
    for name, array in weights.items():
        if not array.size or not (np.ptp(array) == 0 and array.flat[0] in (0, 1)):
            continue
        rng = stream(name, seed)
        if name.endswith(("/scale", "/var")):
            found[name] = rng.uniform(0.5, 1.5, array.shape)
        else:
            found[name] = rng.normal(0.0, 0.1, array.shape)
    return found
