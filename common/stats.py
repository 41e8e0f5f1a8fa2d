"""Is one track better?  Intervals, equivalence and a verdict that can be trusted.

A run is a row, a test example a column, an entry says whether that run is right.
Both are samples: of the seeds one could have drawn, and of the examples one could
have been asked.  The mean of such a table is uncertain in both ways, and the closed
form of two-way random effects adds them:

    var(mean) = rows / S + columns / N - interaction / (S N)

with `rows` the variance of the S row means, `columns` that of the N column means
and `interaction` the mean square of what is left, which the first two both contain.

Paired runs (strict, aligned) are one table, the first track minus the second.  Native
runs are no pairs: two tables, whose seed parts add (Welch) and whose columns still
subtract, because the test examples are the same.

A half-width takes for the seeds' part and for the examples' part the quantile of its
own degrees of freedom (Banerjee 1961): never too narrow, whatever their shares.  One
number of degrees of freedom for both (Satterthwaite) is, with few seeds: it called
tracks of the same accuracy different in 8 % of simulated comparisons with 3 seeds,
and in 13 % with 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, log10
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MARGIN = 0.005  # half a point: what the published figures of one network differ by
LEVEL = 0.95  # of every interval
ALPHA = 0.05  # of each of the two one-sided tests of equivalence
POWER_Z = 0.8416  # normal quantile of 0.8: "would tell" means in 4 of 5 cases
MOST_RUNS = 1000  # beyond this "run more" is no advice
MOST_EXAMPLES = 10_000_000  # and beyond this neither is "collect more"
TINY_P = 1e-30  # smaller p are given as this

# An estimated variance of zero is not a variance of zero: four discordant examples,
# two each way, are added to what was seen, as Agresti and Coull do.  With none among
# N the exact one-sided 95 % bound is 3 / N, and 1.645 * sqrt(4) / N covers it.
PSEUDO = 4.0

Correct = NDArray[np.bool_]  # (seeds, examples), True where the run is right
Outcome = Literal["equivalent", "different", "undecided"]
# One number or, in the simulations that test all this, thousands of them at once.
Figure = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Spread of one table of runs and examples.

    Attributes:
        rows: Variance of the row (seed) means; 0 with one seed.
        interaction: Mean square of the residual; 0 with one seed.
        seeds: Rows of the table.
    """

    rows: Figure
    interaction: Figure
    seeds: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """What the tables say of the sum of their means, and how sure that is.

    Attributes:
        mean: The sum of the tables' means.
        columns: Variance of the examples' own sums of means.
        examples: Columns of every table.
        blocks: One per table: one for paired runs, two for unpaired ones.
    """

    mean: Figure
    columns: Figure
    examples: Figure
    blocks: tuple[Block, ...]

    @property
    def shared(self) -> Figure:
        """What both the rows' and the columns' part of the variance contain."""
        return sum(b.interaction / (b.seeds * self.examples) for b in self.blocks)

    @property
    def by_rows(self) -> Figure:
        """The seeds' part of the variance of the mean."""
        return sum(block.rows / block.seeds for block in self.blocks)

    @property
    def by_columns(self) -> Figure:
        """The examples' part of the variance of the mean."""
        return self.columns / self.examples

    @property
    def variance(self) -> Figure:
        """Of the mean, as estimated: never below what either way shows alone."""
        least = np.maximum(self.by_rows, self.by_columns)
        return np.maximum(self.by_rows + self.by_columns - self.shared, least)

    def half_width(self, alpha: float) -> Figure:
        """Half of the interval that misses with probability `alpha`."""
        z = _quantile(alpha, np.maximum(self.examples - 1, 1))
        rest = z**2 * np.maximum(self.by_columns - self.shared, 0)
        floor = z**2 * PSEUDO / np.square(self.examples)
        rows = self._rows_width(alpha) + rest
        return np.sqrt(np.maximum(rows, z**2 * self.by_columns) + floor)

    def _rows_width(self, alpha: float) -> Figure:
        """Squared half-width of the seeds' part.

        Welch's degrees of freedom serve two tables of as many seeds; of 5 and 2 they
        missed a true gap of zero in 5.7 % of the simulations, so those are Banerjee's.
        """
        parts = [(b.rows / b.seeds, np.maximum(b.seeds - 1, 1)) for b in self.blocks]
        first = parts[0][1]
        if len(parts) == 1 or any(np.any(free != first) for _, free in parts):
            return sum(_quantile(alpha, free) ** 2 * part for part, free in parts)
        squares = sum(part**2 for part, _ in parts)
        shares = np.where(squares > 0, squares, 1)
        welch = np.maximum(first * np.square(self.by_rows) / shares, first)
        return _quantile(alpha, welch) ** 2 * self.by_rows

    def interval(self) -> tuple[Figure, Figure]:
        """Both ends of the 95 % interval of the mean."""
        half = self.half_width(1 - LEVEL)
        return self.mean - half, self.mean + half

    def tost_p(self, margin: float) -> float:
        """The larger p of the one-sided tests against -margin and +margin.

        It is the `alpha` at which the interval of level 1 - 2 alpha just fits.
        """
        room = margin - abs(float(self.mean))
        p = self._tail(abs(room))
        return p if room >= 0 else 1 - p

    def difference_p(self) -> float:
        """Two-sided p of no difference: the `alpha` at which the interval meets 0."""
        return min(1.0, 2 * self._tail(abs(float(self.mean))))

    def _tail(self, distance: float) -> float:
        """Half the `alpha` whose half-width is `distance`: a one-sided p."""
        from scipy.optimize import brentq

        def excess(exponent: float) -> float:
            return float(self.half_width(2 * 10**exponent)) - distance

        if not distance:  # at 0.5 the interval is a point
            return 0.5
        least, most = log10(TINY_P), log10(0.5)
        if excess(least) <= 0:
            return TINY_P
        return float(10 ** brentq(excess, least, most)) if excess(most) < 0 else 0.5


def _quantile(alpha: float, free: Figure) -> Figure:
    """Two-sided quantile of Student's t."""
    from scipy.stats import t  # a second to import: not for `--help`

    return t.isf(alpha / 2, free)


def components(*tables: NDArray[Any], counts: NDArray[Any] | None = None) -> Components:
    """What is known of the sum of the tables' means.

    Args:
        tables: Each (..., seeds, examples), of the same examples; seeds may differ.
        counts: (..., examples), how often each column stands in the test set, where
            equal columns are given once; once if None.
    """
    weight = np.ones(tables[0].shape[-1]) if counts is None else counts
    n = weight.sum(-1)
    free = np.maximum(n - 1, 1)
    total = np.sum([table.mean(-2) for table in tables], axis=0)
    mean = (total * weight).sum(-1) / n
    spread = np.square(total - mean[..., None]) * weight
    return Components(
        mean=mean,
        columns=spread.sum(-1) / free,
        examples=n,
        blocks=tuple(_block(table, weight, n, free) for table in tables),
    )


def _block(table: NDArray[Any], weight: Figure, n: Figure, free: Figure) -> Block:
    """Two-way analysis of variance of one table."""
    seeds = table.shape[-2]
    row = (table * weight[..., None, :]).sum(-1) / n[..., None]
    row = row - row.mean(-1)[..., None]
    residual = table - table.mean(-2)[..., None, :] - row[..., None]
    squares = np.square(residual) * weight[..., None, :]
    rows_free = max(seeds - 1, 1)  # with one seed there is nothing to divide
    return Block(
        rows=np.square(row).sum(-1) / rows_free,
        interaction=squares.sum((-2, -1)) / (rows_free * free),
        seeds=seeds,
    )


def accuracy(correct: Correct) -> Interval:
    """Mean accuracy of a track's runs, (seeds, examples), with its 95 % interval.

    With one run: Wilson's, which knows the sampling of the examples only.
    """
    if len(correct) == 1:
        return wilson(int(correct.sum()), correct.shape[1])
    parts = components(correct)
    low, high = parts.interval()
    return Interval(
        mean=float(parts.mean), low=max(float(low), 0.0), high=min(float(high), 1.0)
    )


def wilson(hits: int, n: int) -> Interval:
    """Share of `hits` among `n`, with Wilson's 95 % interval."""
    from scipy.stats import binomtest

    ends = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Interval(mean=hits / n, low=float(ends.low), high=float(ends.high))


def mean_of(shares: Sequence[Interval]) -> Interval:
    """The mean of independent shares, such as the recalls of all classes.

    Both ends combine the shares' own distances to theirs (the method of variance
    estimates recovery; Zou and Donner 2008, Statistics in Medicine 27).
    """
    middle = sum(s.mean for s in shares) / len(shares)
    below = sum((s.mean - s.low) ** 2 for s in shares) ** 0.5 / len(shares)
    above = sum((s.high - s.mean) ** 2 for s in shares) ** 0.5 / len(shares)
    return Interval(mean=middle, low=middle - below, high=middle + above)


# --- the verdict ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the runs of two tracks say together.

    Attributes:
        names: Of the first and of the second track.
        difference: First minus second; of one seed: from the examples alone.
        difference_p: Of no difference, two-sided; none with one seed.
        tost_p: Of equivalence within the margin; none with one seed.
        verdict: Equivalent, else different, else undecided.
        paired: Whether runs of the same seed are pairs.
        seeds: Runs of the first and of the second track that were compared.
        examples: Size of the test set.
        identical: Whether both are right on the same examples in every seed.
        more_runs: About how many more in each track would tell, if that is what an
            undecided comparison lacks.
        examples_needed: About how many test examples would tell, if that is.
        both_needed: Whether that takes many more runs as well.
        among: How many comparisons the p values are adjusted for (Holm); 1 for none.
        alone: The verdict without that adjustment, or none where there is none.
    """

    names: tuple[str, str]
    difference: Interval
    difference_p: float | None
    tost_p: float | None
    verdict: Outcome
    paired: bool
    seeds: tuple[int, int]
    examples: int
    identical: bool
    more_runs: int | None = None
    examples_needed: int | None = None
    both_needed: bool = False
    among: int = 1
    alone: Outcome | None = None


def compare(
    first: Correct,
    second: Correct,
    *,
    paired: bool,
    margin: float = MARGIN,
    names: tuple[str, str] = ("first", "second"),
    among: int = 1,
) -> Comparison:
    """Judge whether two tracks are equally accurate.

    Args:
        first: (seeds, examples), which test examples each run gets right.
        second: The same of the same examples; row by row the same seeds if paired.
        paired: Whether rows are pairs (strict, aligned) or not (native).
        margin: The largest difference that does not matter, as a fraction.
        names: Of the tracks.
        among: How many comparisons `adjusted` will be given: what more runs would tell
            is then what they would tell after that.
    """
    a, b = first.astype(np.int8), second.astype(np.int8)
    parts = components(a - b) if paired else components(a, -b)
    seeds = (len(a), len(b))
    low, high = (float(end) for end in parts.interval())
    outcome: Outcome = "undecided"
    advice: dict[str, Any] = {}
    if min(seeds) > 1:
        outcome = judge(parts, margin)
        if outcome == "undecided":
            advice = _advice(parts, margin, among)
    return Comparison(
        names=names,
        difference=Interval(mean=float(parts.mean), low=low, high=high),
        difference_p=parts.difference_p() if min(seeds) > 1 else None,
        tost_p=parts.tost_p(margin) if min(seeds) > 1 else None,
        verdict=outcome,
        paired=paired,
        seeds=seeds,
        examples=a.shape[1],
        identical=paired and np.array_equal(a, b),
        **advice,
    )


def adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    """Several comparisons judged together: p values after Holm, verdicts by them.

    Each family, of no difference and of equivalence, is adjusted by itself, so that a
    false verdict of either kind stays as rare among all as it is in one.  Holm 1979,
    Scandinavian Journal of Statistics 6.
    """
    judged = [one for one in found if one.tost_p is not None]
    if len(judged) < 2:
        return list(found)
    same = dict(zip(map(id, judged), holm([c.tost_p for c in judged]), strict=True))
    no = dict(zip(map(id, judged), holm([c.difference_p for c in judged]), strict=True))
    return [
        _judged_again(one, same[id(one)], no[id(one)], len(judged))
        if id(one) in same
        else one
        for one in found
    ]


def _judged_again(
    one: Comparison, same: float, differs: float, among: int
) -> Comparison:
    outcome: Outcome = "undecided"
    if same < ALPHA:
        outcome = "equivalent"
    elif differs < 1 - LEVEL:
        outcome = "different"
    return replace(
        one,
        tost_p=same,
        difference_p=differs,
        verdict=outcome,
        among=among,
        alone=one.verdict,
    )


def holm(values: Sequence[float | None]) -> list[float]:
    """The p values, each times the number of those not smaller, never falling."""
    p = np.array(values, np.float64)
    order = np.argsort(p, kind="stable")
    steps = (len(p) - np.arange(len(p))) * p[order]
    found = np.empty_like(p)
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in found]


def judge(parts: Components, margin: float) -> Outcome:
    """Equivalent if TOST passes, else different if the interval excludes 0."""
    if equivalent(parts, margin):
        return "equivalent"
    return "different" if differs(parts) else "undecided"


def equivalent(parts: Components, margin: float) -> Figure:
    """Whether both one-sided tests against the margin pass."""
    return parts.half_width(2 * ALPHA) < margin - np.abs(parts.mean)


def differs(parts: Components) -> Figure:
    """Whether the 95 % interval excludes 0."""
    return parts.half_width(1 - LEVEL) < np.abs(parts.mean)


# --- what would tell --------------------------------------------------------------


def _advice(parts: Components, margin: float, among: int) -> dict[str, Any]:
    """More runs, else more test examples, else both, that would decide."""
    extra = np.arange(1, MOST_RUNS + 1)
    if found := _first(extra, would_tell(expected(parts, extra=extra), margin, among)):
        return {"more_runs": found}
    start = float(parts.examples)
    sizes = np.geomspace(start, max(start, MOST_EXAMPLES), 2000)
    for runs in (0, MOST_RUNS):
        ahead = expected(parts, extra=np.array(runs), examples=sizes)
        if found := _first(sizes, would_tell(ahead, margin, among)):
            return {"examples_needed": _rounded_up(found), "both_needed": runs > 0}
    return {}


def expected(
    parts: Components, *, extra: Figure, examples: Figure | None = None
) -> Components:
    """What `extra` more seeds per table and so many `examples` should show.

    The mean is taken to stay; more seeds shrink only what seeds cause.
    """
    size = parts.examples if examples is None else examples
    blocks = []
    own = parts.columns - sum(b.interaction / b.seeds for b in parts.blocks)
    columns = np.maximum(own, 0)
    for block in parts.blocks:
        seeds = block.seeds + extra
        rows = np.maximum(block.rows - block.interaction / parts.examples, 0)
        blocks.append(
            Block(
                rows=rows + block.interaction / size,
                interaction=block.interaction,
                seeds=seeds,
            )
        )
        columns = columns + block.interaction / seeds
    return Components(
        mean=parts.mean, columns=columns, examples=size, blocks=tuple(blocks)
    )


def would_tell(parts: Components, margin: float, among: int = 1) -> Figure:
    """Whether either verdict would be reached in four of five repetitions.

    As one of several comparisons it must pass the hardest of Holm's steps.
    """
    luck = POWER_Z * np.sqrt(parts.variance)
    size = np.abs(parts.mean)
    same = parts.half_width(2 * ALPHA / among) + luck < margin - size
    return same | (parts.half_width((1 - LEVEL) / among) + luck < size)


def _first(values: NDArray[Any], holds: NDArray[np.bool_]) -> int | None:
    return ceil(values[holds.argmax()]) if holds.any() else None


def _rounded_up(n: int) -> int:
    """To two digits: no more is known."""
    unit = int(10 ** max(len(str(n)) - 2, 0))
    return -(-n // unit) * unit


# --- McNemar ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Exact test of one pair of runs; it knows nothing of training luck.

    Attributes:
        p: Two-sided; 1 if the runs are right on the same examples.
        first_only: Examples that only the first run gets right.
        second_only: Examples that only the second run gets right.
    """

    p: float
    first_only: int
    second_only: int


def mcnemar(first: Correct, second: Correct) -> McNemar:
    """Compare one run of each of two tracks, both (examples,)."""
    from scipy.stats import binomtest

    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(binomtest(one, one + other).pvalue) if one + other else 1.0
    return McNemar(p=p, first_only=one, second_only=other)


def smallest_p(values: Iterable[float]) -> float | None:
    """The smallest of several p, times their number, at most 1 (Bonferroni).

    Of one it is the value itself, of none it is none.
    """
    found = list(values)
    return min(1.0, len(found) * min(found)) if found else None
