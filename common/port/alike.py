"""Whether two arrays of two frameworks hold the same, however their axes lie."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# Two float64 sides that compute the same differ by 1e-13 after some hundred layers;
# the smallest fault that people make, an epsilon of 1.001e-5 for 1e-5, by 1e-8.
AGREE = 1e-10
# Permutations are tried of arrays of up to so many axes: 24.
MOST_AXES = 4


@dataclass(frozen=True, slots=True)
class Alike:
    """How near two arrays are in the best order of axes.

    Attributes:
        difference: Norm of the difference over the norm of the second.
        axes: The order of the first array's axes, without those of length 1, in which
            it is nearest; none where no order gives the second's shape.
    """

    difference: float
    axes: tuple[int, ...] | None


def squeezed(array: Array) -> Array:
    """Without the axes of length 1."""
    return array.reshape([side for side in array.shape if side != 1])


def difference(a: Array, b: Array) -> float:
    """Norm of a - b over that of b; infinite where that is no number."""
    if a.shape != b.shape:
        return np.inf
    if "b" in (a.dtype.kind, b.dtype.kind):  # masks
        a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        above = float(np.linalg.norm((a - b).ravel()))
        below = float(np.linalg.norm(b.ravel()))
    if above == 0:
        return 0.0
    found = above / below if below else np.inf
    return found if np.isfinite(found) else np.inf


def alike(a: Array, b: Array) -> Alike:
    """The difference of two arrays in the order of axes in which they are nearest."""
    one, other = squeezed(a), squeezed(b)
    if sorted(one.shape) != sorted(other.shape):
        return Alike(np.inf, None)
    best = Alike(np.inf, None)
    for axes in _orders(one.ndim):
        if tuple(one.shape[i] for i in axes) != other.shape:
            continue
        found = difference(one.transpose(axes), other)
        if best.axes is None or found < best.difference:
            best = Alike(found, axes)
        if found <= AGREE:
            break
    return best


def _orders(n: int) -> list[tuple[int, ...]]:
    """Orders of axes, the likely ones first."""
    usual = [tuple(range(n))]
    if n > 2:
        usual.append((0, *range(2, n), 1))  # channels first to last
        usual.append((0, n - 1, *range(1, n - 1)))
    rest = permutations(range(n)) if n <= MOST_AXES else ()
    return list(dict.fromkeys([*usual, *rest]))


def as_other(a: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The first array of `alike` as the second lies, whose shape is given."""
    return np.ascontiguousarray(squeezed(a).transpose(axes)).reshape(shape)


def mark(array: Array) -> tuple[int, float]:
    """What arrays have in common whatever the order of their axes: size and norm."""
    with np.errstate(all="ignore"):
        return array.size, float(np.linalg.norm(array.ravel().astype(np.float64)))


def may_be_alike(one: tuple[int, float], other: tuple[int, float], bar: float) -> bool:
    """Whether two marks allow for arrays that differ by less than `bar`."""
    if one[0] != other[0]:
        return False
    return bool(abs(one[1] - other[1]) <= 2 * bar * max(one[1], other[1]))
