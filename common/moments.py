"""Mean and variance of a whole from those of its parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Spread:
    """Batches of one size, one after the other; in float64.

    The law of total variance: the variance of the whole is the mean of the parts'
    variances and the variance of their means.  Without the second a class at a time
    would look narrower than all of them together.
    """

    def __init__(self) -> None:
        self.n = 0
        self.means: NDArray[np.float64] = np.zeros(())
        self.squares: NDArray[np.float64] = np.zeros(())

    def add(self, mean: NDArray[np.floating], variance: NDArray[np.floating]) -> None:
        """One more batch's mean and variance (channels,)."""
        exact = np.asarray(mean, np.float64)
        self.means = self.means + exact
        self.squares = self.squares + np.asarray(variance, np.float64) + exact**2
        self.n += 1

    @property
    def mean(self) -> NDArray[np.float64]:
        """Of all batches (channels,).

        Raises:
            ValueError: There was none.
        """
        if not self.n:
            raise ValueError("statistics need a batch, got none; give one or more")
        return np.asarray(self.means / self.n)

    @property
    def variance(self) -> NDArray[np.float64]:
        """Of all batches (channels,), never below zero."""
        return np.asarray(np.maximum(self.squares / self.n - self.mean**2, 0.0))
