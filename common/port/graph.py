"""Which units of two models stand at the same place of the same graph.

Labels are refined by those of the neighbours, step by step, as Weisfeiler and Leman did
(1968): units of two graphs that are the same have the same labels in the end, in
whatever order the frameworks compute parallel branches.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from common.port.carry import NORMS, of_kernel
from common.port.told import Trace, Unit

# Unit -> those before it and those after it, each with the pools between.
Near = set[tuple[str, int]]
Neighbours = dict[str, tuple[Near, Near]]


def neighbours(trace: Trace) -> Neighbours:
    """Units right before and right after each unit, past steps without weights."""
    reached: dict[int, Near] = {}  # step -> what its output comes from
    found: Neighbours = {}
    for step in trace.steps:
        before = {one for i in step.inputs for one in reached.get(i, {("", 0)})}
        if not step.unit:
            pools = int("pool" in step.kind)
            reached[step.at] = {(name, n + pools) for name, n in before}
            continue
        found.setdefault(step.unit, (set(), set()))[0].update(before)
        for name, pools in before:
            if name:
                found[name][1].add((step.unit, pools))
        reached[step.at] = {(step.unit, 0)}
    return found


def said(unit: Unit) -> str:
    """What tells a unit from others by itself: not a bias that one side may lack."""
    shape = unit.shapes.get("kernel") or max(unit.shapes.values(), key=len, default=())
    sides = of_kernel(shape) if len(shape) > 1 else shape
    kind = "norm" if unit.kind in NORMS else unit.kind
    kind = "linear" if kind in ("conv", "dense") else kind
    return f"{kind} {tuple(sides)}"


def labels(units: Sequence[Unit], trace: Trace) -> dict[str, str]:
    """Label of each unit that computes, refined as often as there are units."""
    near = neighbours(trace)
    found = {unit.name: said(unit) for unit in units if unit.name in near}
    kinds = len(set(found.values()))
    while True:
        found = {
            name: _digest(
                label,
                *("before", *sorted(f"{found.get(n)} {k}" for n, k in near[name][0])),
                *("after", *sorted(f"{found.get(n)} {k}" for n, k in near[name][1])),
            )
            for name, label in found.items()
        }
        more = len(set(found.values()))
        if more == kinds:
            return found
        kinds = more


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def same_places(
    torch: Sequence[Unit], here: Trace, keras: Sequence[Unit], there: Trace
) -> Mapping[str, str]:
    """Unit of torch -> unit of Keras, if the two graphs are the same; else nothing.

    Of several units with one label, in the order of computing.
    """
    one, other = labels(torch, here), labels(keras, there)
    if not one or Counter(one.values()) != Counter(other.values()):
        return {}
    rows: dict[str, list[str]] = {}
    for unit in keras:
        if unit.name in other:
            rows.setdefault(other[unit.name], []).append(unit.name)
    return {u.name: rows[one[u.name]].pop(0) for u in torch if u.name in one}
