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

People add seeds until a verdict comes.  So verdicts are made at the looks of `LOOKS`
and nowhere between: a verdict is a function of the first seeds, as many as the last
look that was reached, and the looks share its error rate.  Only the seeds' part pays
for them in full, because the test examples are the same at every look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import log10
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MARGIN = 0.005  # half a point: what the published figures of one network differ by
LEVEL = 0.95  # of every interval
ALPHA = 0.05  # of each of the two one-sided tests of equivalence
POWER_Z = 0.8416  # normal quantile of 0.8: "would tell" means in 4 of 5 cases
MOST_EXAMPLES = 10_000_000  # beyond this "collect more" is no advice
TINY_P = 1e-30  # smaller p are given as this

LOOKS = (3, 5, 10, 20, 40)  # numbers of seeds at which verdicts are made
# Share of an error rate at which the examples' part is judged where looks share it: it
# is the same examples at every look.  tests/test_histories.py holds the sum to 5 %.
EXAMPLES_SHARE = 0.7
ONE_SIGMA = 0.1587  # normal tail beyond one standard deviation: how sure advice is

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

    def half_width(self, alpha: float, *, looks: int = 1) -> Figure:
        """Half of the interval that misses with probability `alpha`.

        Args:
            alpha: That any of the looks misses.
            looks: How many looks at more and more seeds share `alpha`.
        """
        examples = alpha if looks == 1 else EXAMPLES_SHARE * alpha
        z = _quantile(examples, np.maximum(self.examples - 1, 1))
        rest = z**2 * np.maximum(self.by_columns - self.shared, 0)
        floor = z**2 * PSEUDO / np.square(self.examples)
        rows = self._rows_width(alpha / looks) + rest
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
        """Both ends of the 95 % interval of the mean, for one look."""
        half = self.half_width(1 - LEVEL)
        return self.mean - half, self.mean + half

    def tost_p(self, margin: float) -> float:
        """The larger p of the one-sided tests against -margin and +margin.

        It is the `alpha` at which the interval of level 1 - 2 alpha just fits, the
        looks counted.
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
            width = self.half_width(2 * 10**exponent, looks=len(LOOKS))
            return float(width) - distance

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
class Advice:
    """What would decide an undecided comparison, if its difference stays.

    Attributes:
        seeds: The look that would decide in four of five repetitions, or none.
        least: The same where difference and spread of the seeds are more favourable,
            by one standard deviation each, than they seem.
        most: The same where they are less so; none where no look would.
        examples: About how many test examples would decide with as many seeds as there
            are, or with those of the last look; none if no feasible number, or if
            seeds would do.
        last_look: Whether those many examples take the last look's seeds.
    """

    seeds: int | None
    least: int | None
    most: int | None
    examples: int | None = None
    last_look: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the runs of two tracks say together.

    Attributes:
        names: Of the first and of the second track.
        difference: First minus second, with the 95 % interval of its verdict; before
            the first look a plain one; of one seed: from the examples alone; none if
            no run is left to compare.
        within: The same with the 90 % interval that the one-sided tests use.
        difference_p: Of no difference, two-sided; none before the first look.
        tost_p: Of equivalence within the margin; none before the first look.
        verdict: Equivalent, else different, else undecided.
        paired: Whether runs of the same seed are pairs.
        look: The look that judged, in seeds; none before the first.
        seeds: Runs of the first and of the second track that were compared.
        stored: Runs of each track there are, those beyond the look included.
        diverged: Runs of each track, among those of the look, that have no accuracy.
        diverged_p: That they diverge equally often, two-sided.
        examples: Size of the test set.
        identical: Whether both are right on the same examples in every seed.
        advice: What would decide, where it is undecided after a look.
        among: How many comparisons the p values are adjusted for (Holm); 1 for none.
        alone: The verdict without that adjustment, or none where there is none.
        noun: What the two are called.
    """

    names: tuple[str, str]
    difference: Interval | None
    within: Interval | None
    difference_p: float | None
    tost_p: float | None
    verdict: Outcome
    paired: bool
    look: int | None
    seeds: tuple[int, int]
    stored: tuple[int, int]
    diverged: tuple[int, int]
    diverged_p: float
    examples: int
    identical: bool
    advice: Advice | None = None
    among: int = 1
    alone: Outcome | None = None
    noun: str = "track"

    @property
    def next_look(self) -> int | None:
        """The next number of seeds at which a verdict is made."""
        return next((n for n in LOOKS if n > (self.look or 0)), None)

    @property
    def diverge_differently(self) -> bool:
        """Whether that the tracks diverge equally often is refuted."""
        return self.diverged_p < (1 - LEVEL) / len(LOOKS) / self.among


def look_at(seeds: int) -> int | None:
    """The last look that so many seeds reach, or none."""
    return max((n for n in LOOKS if n <= seeds), default=None)


def compare(
    first: Correct,
    second: Correct,
    *,
    paired: bool,
    margin: float = MARGIN,
    names: tuple[str, str] = ("first", "second"),
    among: int = 1,
    ended: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
) -> Comparison:
    """Judge whether two tracks are equally accurate.

    Only the first rows, as many as the last look that both tracks reach, are judged.

    Args:
        first: (seeds, examples), which test examples each run gets right, in the order
            of the seeds.
        second: The same of the same examples; row by row the same seeds if paired.
        paired: Whether rows are pairs (strict, aligned) or not (native).
        margin: The largest difference that does not matter, as a fraction.
        names: Of the tracks.
        among: How many comparisons `adjusted` will be given: what more runs would tell
            is then what they would tell after that.
        ended: (seeds,) of each track: False for a run that diverged, whose row of
            answers does not count; all ended if None.

    Raises:
        ValueError: There are no examples, or not the same ones.
    """
    if first.shape[1] != second.shape[1] or not first.shape[1]:
        raise ValueError(
            "tracks are compared on the same test images, at least one, got "
            f"{first.shape[1]} and {second.shape[1]}; judge both on one test part"
        )
    stored = (len(first), len(second))
    look = look_at(min(stored))
    tables = [table[:look].astype(np.int8) for table in (first, second)]
    kept = [np.ones(len(t), bool) for t in tables]
    if ended:
        kept = [np.asarray(own)[:look] for own in ended]
    diverged = (int((~kept[0]).sum()), int((~kept[1]).sum()))
    diverged_p = _diverged_p(kept[0], kept[1], paired=paired)
    if paired:
        kept = [kept[0] & kept[1]] * 2
    a, b = (table[own] for table, own in zip(tables, kept, strict=True))
    found = Comparison(
        names=names,
        difference=None,
        within=None,
        difference_p=None,
        tost_p=None,
        verdict="undecided",
        paired=paired,
        look=look,
        seeds=(len(a), len(b)),
        stored=stored,
        diverged=diverged,
        diverged_p=diverged_p,
        examples=a.shape[1],
        identical=bool(len(a)) and paired and np.array_equal(a, b),
        among=among,
    )
    if min(found.seeds):
        parts = components(a - b) if paired else components(a, -b)
        found = _judged(found, parts, margin)
    if found.diverge_differently:
        return replace(found, verdict="different", advice=None, among=1)
    return replace(found, among=1)


def _judged(found: Comparison, parts: Components, margin: float) -> Comparison:
    """With the difference; with p values and verdict where a look has enough runs."""
    judged = found.look is not None and min(found.seeds) >= LOOKS[0]
    looks = len(LOOKS) if judged else 1
    found = replace(
        found,
        difference=_shown(parts, 1 - LEVEL, looks),
        within=_shown(parts, 2 * ALPHA, looks),
    )
    if not judged:
        return found
    outcome = judge(parts, margin)
    if outcome == "equivalent" and found.diverged[0] != found.diverged[1]:
        outcome = "undecided"  # what is left of runs says nothing of the others
    advice = None
    if outcome == "undecided":
        advice = _advice(parts, margin, found.among, found.look or 0)
    return replace(
        found,
        difference_p=parts.difference_p(),
        tost_p=parts.tost_p(margin),
        verdict=outcome,
        advice=advice,
    )


def _shown(parts: Components, alpha: float, looks: int) -> Interval:
    """The mean with its interval, which ends where differences of shares end."""
    mean, half = float(parts.mean), float(parts.half_width(alpha, looks=looks))
    return Interval(mean=mean, low=max(mean - half, -1.0), high=min(mean + half, 1.0))


def _diverged_p(
    first: NDArray[np.bool_], second: NDArray[np.bool_], *, paired: bool
) -> float:
    """Two-sided p that both tracks' runs end well equally often.

    McNemar's exact test of pairs, Fisher's of runs that are none.
    """
    from scipy.stats import binomtest, fisher_exact

    if not paired:
        table = [[int(own.sum()), int((~own).sum())] for own in (first, second)]
        return float(fisher_exact(np.array(table)).pvalue)
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    return float(binomtest(one, one + other).pvalue) if one + other else 1.0


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
    if replace(one, among=among).diverge_differently:
        outcome = "different"
    elif same < ALPHA and one.diverged[0] == one.diverged[1]:
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


def equivalent(parts: Components, margin: float, *, looks: int = len(LOOKS)) -> Figure:
    """Whether both one-sided tests against the margin pass."""
    return parts.half_width(2 * ALPHA, looks=looks) < margin - np.abs(parts.mean)


def differs(parts: Components, *, looks: int = len(LOOKS)) -> Figure:
    """Whether the 95 % interval excludes 0."""
    return parts.half_width(1 - LEVEL, looks=looks) < np.abs(parts.mean)


# --- what would tell --------------------------------------------------------------


def _advice(parts: Components, margin: float, among: int, look: int) -> Advice:
    """More seeds, else more test examples, else both, that would decide."""
    ahead = np.array([n for n in LOOKS if n > look])
    luck = float(np.sqrt(parts.variance))
    found = [
        _first(ahead, would_tell(expected(each, seeds=ahead), margin, among))
        for each in _as_it_may_be(parts, luck)
    ]
    known = [n for n in found if n]
    least = min(known, default=None)
    most = max(known) if known and None not in found else None
    if found[0]:
        return Advice(seeds=found[0], least=least, most=most)
    start = float(parts.examples)
    sizes = np.geomspace(start, max(start, MOST_EXAMPLES), 2000)
    for seeds in dict.fromkeys((look, LOOKS[-1])):
        more = expected(parts, seeds=np.array(seeds), examples=sizes)
        if enough := _first(sizes, would_tell(more, margin, among)):
            return Advice(
                seeds=None,
                least=least,
                most=most,
                examples=_rounded_up(enough),
                last_look=seeds > look,
            )
    return Advice(seeds=None, least=least, most=most)


def _as_it_may_be(parts: Components, luck: float) -> Iterator[Components]:
    """What was seen, then what it may stand for, each one standard deviation away."""
    from scipy.stats import chi2

    yield parts
    size = abs(float(parts.mean))
    for mean in (max(size - luck, 0.0), size, size + luck):
        for tail in (ONE_SIGMA, 0.5, 1 - ONE_SIGMA):
            blocks = []
            for block in parts.blocks:
                free = max(int(block.seeds) - 1, 1)
                rows = block.rows * free / chi2.isf(tail, free)
                blocks.append(replace(block, rows=rows))
            yield replace(parts, mean=mean, blocks=tuple(blocks))


def expected(
    parts: Components, *, seeds: Figure, examples: Figure | None = None
) -> Components:
    """What so many `seeds` per table and so many `examples` should show.

    The mean is taken to stay; more seeds shrink only what seeds cause.
    """
    size = parts.examples if examples is None else examples
    blocks = []
    own = parts.columns - sum(b.interaction / b.seeds for b in parts.blocks)
    columns = np.maximum(own, 0)
    for block in parts.blocks:
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


def would_tell(
    parts: Components, margin: float, among: int = 1, *, looks: int = len(LOOKS)
) -> Figure:
    """Whether either verdict would be reached in four of five repetitions.

    As one of several comparisons it must pass the hardest of Holm's steps.
    """
    luck = POWER_Z * np.sqrt(parts.variance)
    size = np.abs(parts.mean)
    same = parts.half_width(2 * ALPHA / among, looks=looks) + luck < margin - size
    return same | (parts.half_width((1 - LEVEL) / among, looks=looks) + luck < size)


def _first(values: NDArray[Any], holds: NDArray[np.bool_]) -> int | None:
    return int(np.ceil(values[holds.argmax()])) if holds.any() else None


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
