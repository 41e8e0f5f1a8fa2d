"""Choosing a part of the examples with every class in proportion.

Draws use the raw 64-bit stream of Philox, which NumPy promises never to change; its
`Generator.permutation` carries no such promise, and a split must outlive a release.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ONE_IN = 5  # images of a class for each one that is held out for testing
TEST_SEED = 0
HELD_OUT = f"one in {ONE_IN} of each class held out for testing"


def raw(seed: int, n: int) -> NDArray[np.uint64]:
    """`n` random words of 64 bits, the same for `seed` on every version and machine."""
    return np.asarray(np.random.Philox(key=seed).random_raw(n), dtype=np.uint64)


def ranks(labels: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
    """Random rank (n,) of each example within its own class, 0 first."""
    draw = np.lexsort((raw(seed, len(labels)), labels))
    ordered = labels[draw]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(labels)])
    rank = np.empty(len(labels), np.int64)
    rank[draw] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return rank


def stratified(labels: NDArray[np.integer], n: int, seed: int) -> NDArray[np.int64]:
    """Index (n,), ascending, of `n` examples with the classes in proportion.

    Each class's share is exact to one example, and every class is there as soon as `n`
    reaches the number of classes.  A smaller `n` chooses from what a larger one chose.
    """
    if not len(labels):
        return np.empty(0, np.int64)
    share = ranks(labels, seed) / np.bincount(labels)[labels]
    return np.sort(np.lexsort((labels, share))[:n])


def one_in(k: int, labels: NDArray[np.integer], seed: int) -> NDArray[np.bool_]:
    """Marks (n,): every k-th example of each class, rounded, and at least one."""
    quota = np.maximum(1, (np.bincount(labels) + k // 2) // k)
    return np.asarray(ranks(labels, seed) < quota[labels])


def held_out(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Marks (n,): the test part of a data set that comes without one."""
    return one_in(ONE_IN, labels, TEST_SEED)
