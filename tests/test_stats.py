"""Verdicts on simulated tracks whose true accuracies are known, and edge cases.

The population: examples of many kinds, each kind with its own difficulty and its own
preference for either track; seeds that move all of a run's answers, in part together
in a pair; luck in each single answer.  Every probability is a normal distribution
function of a sum, so a true gap can be set exactly.  Runs of one kind of example
differ only in their pattern of right and wrong over the seeds, so counts of patterns,
drawn at once, are the whole experiment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from scipy import stats as reference
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from common import stats
from common.stats import LOOKS, MARGIN, Components

SIMULATIONS = 2000
BOUND = 0.062  # 99 % bound of what 2,000 simulations of a true 5 % show
AT_ONCE = 100  # simulations; seven seeds have 2,187 patterns of each kind
KINDS = 24
FLIPS = np.array([-1, 0, 1])
ANSWERS = np.array([0, 1])


@dataclass(frozen=True, kw_only=True)
class Luck:
    """Standard deviations, where that of the examples' difficulty is 1.

    `same`: share of a pair's luck in single answers that both tracks have in common.
    """

    preference: float
    answer: float
    shared_seed: float
    own_seed: float
    same: float


# Runs that float32 rounding alone sets apart; usual ones; seeds that matter much.
CLOSE = Luck(preference=0.02, answer=0.1, shared_seed=0.02, own_seed=0.003, same=0.95)
USUAL = Luck(preference=0.05, answer=0.3, shared_seed=0.02, own_seed=0.01, same=0.7)
LOOSE = Luck(preference=0.2, answer=0.5, shared_seed=0.03, own_seed=0.03, same=0.2)

PAIRED = [
    pytest.param(2, 797, 0.975, CLOSE, id="2 seeds, 797 at 97.5 %, close"),
    pytest.param(3, 797, 0.975, CLOSE, id="3 seeds, 797 at 97.5 %, close"),
    pytest.param(3, 797, 0.975, USUAL, id="3 seeds, 797 at 97.5 %, usual"),
    pytest.param(3, 2000, 0.95, CLOSE, id="3 seeds, 2000 at 95 %, close"),
    pytest.param(3, 2000, 0.95, USUAL, id="3 seeds, 2000 at 95 %, usual"),
    pytest.param(2, 10000, 0.55, LOOSE, id="2 seeds, 10000 at 55 %, loose"),
    pytest.param(3, 10000, 0.55, USUAL, id="3 seeds, 10000 at 55 %, usual"),
    pytest.param(3, 10000, 0.55, LOOSE, id="3 seeds, 10000 at 55 %, loose"),
    pytest.param(5, 10000, 0.55, USUAL, id="5 seeds, 10000 at 55 %, usual"),
]
UNPAIRED = [
    pytest.param((3, 3), 797, 0.975, USUAL, id="3 and 3 runs, 797 at 97.5 %"),
    pytest.param((2, 2), 10000, 0.55, LOOSE, id="2 and 2 runs, 10000 at 55 %"),
    pytest.param((5, 2), 10000, 0.55, USUAL, id="5 and 2 runs, 10000 at 55 %"),
    pytest.param((3, 3), 10000, 0.975, CLOSE, id="3 and 3 runs, 10000 at 97.5 %"),
]


class Population:
    """Two tracks of which torch is better by `gap`, exactly."""

    def __init__(self, accuracy: float, gap: float, luck: Luck, *, seed: int) -> None:
        self.luck = luck
        self.rng = np.random.default_rng(seed)
        hard = ndtri((np.arange(KINDS) + 0.5) / KINDS)
        taste = luck.preference * self.rng.standard_normal(KINDS)
        # Each kind has its mirror image, so that neither track is better by itself.
        easy = np.array(
            [[*hard + taste, *hard - taste], [*hard - taste, *hard + taste]]
        )
        spread = np.hypot(luck.answer, np.hypot(luck.shared_seed, luck.own_seed))
        goals = accuracy + gap / 2, accuracy - gap / 2
        self.easy = np.array(
            [
                kinds + brentq(_excess, -20, 20, args=(kinds, spread, goal))
                for kinds, goal in zip(easy, goals, strict=True)
            ]
        )

    def right(self, seeds: int, *, tracks: int = 2) -> np.ndarray:
        """P(right), (tracks, simulations, seeds, kinds), of runs with paired seeds."""
        shape = (SIMULATIONS, seeds, 1)
        shared = self.luck.shared_seed * self.rng.standard_normal(shape)
        own = self.luck.own_seed * self.rng.standard_normal((tracks, *shape))
        easy = self.easy[:tracks, None, None, :]
        return ndtr((easy + shared + own) / self.luck.answer)

    def counts(self, chances: list[np.ndarray], examples: int) -> np.ndarray:
        """How many of the examples show each pattern, (simulations, patterns).

        `chances`: per run, (simulations, kinds, outcomes).
        """
        patterns = np.concatenate(
            [
                _patterns([chance[i : i + AT_ONCE] for chance in chances])
                for i in range(0, len(chances[0]), AT_ONCE)
            ]
        )
        drawn = self.rng.multinomial(
            examples, patterns / patterns.sum(1, keepdims=True)
        )
        return drawn.astype(float)

    def paired(self, seeds: int, examples: int) -> tuple[np.ndarray, np.ndarray]:
        """Differences (seeds, patterns), and counts (simulations, patterns)."""
        torch, tensorflow = self.right(seeds)
        same = self.luck.same
        both = same * np.minimum(torch, tensorflow) + (1 - same) * torch * tensorflow
        flips = np.stack(
            [tensorflow - both, 1 - torch - tensorflow + 2 * both, torch - both], -1
        )
        counts = self.counts([flips[:, s] for s in range(seeds)], examples)
        return patterns_of(FLIPS, seeds), counts

    def single(self, seeds: int, examples: int) -> tuple[np.ndarray, np.ndarray]:
        """The same of torch's answers alone."""
        right = self.right(seeds, tracks=1)[0]
        counts = self.counts([_either(right[:, s]) for s in range(seeds)], examples)
        return patterns_of(ANSWERS, seeds), counts

    def unpaired(self, seeds: tuple[int, int], examples: int) -> Components:
        """Components of runs whose seeds share nothing."""
        chances = [
            _either(self.right(count)[track][:, s])
            for track, count in enumerate(seeds)
            for s in range(count)
        ]
        counts = self.counts(chances, examples)
        both = patterns_of(ANSWERS, sum(seeds))
        return stats.components(both[: seeds[0]], -both[seeds[0] :], counts=counts)


def _excess(shift: float, kinds: np.ndarray, spread: float, goal: float) -> float:
    return float(ndtr((kinds + shift) / spread).mean()) - goal


def _patterns(chances: list[np.ndarray]) -> np.ndarray:
    """P(pattern) of one example, (simulations, patterns)."""
    joint = np.ones((*chances[0].shape[:2], 1))
    for chance in chances:
        joint = joint[..., :, None] * chance[..., None, :]
        joint = joint.reshape(*joint.shape[:2], -1)
    return joint.mean(1)


def _either(right: np.ndarray) -> np.ndarray:
    return np.stack([1 - right, right], -1)


def patterns_of(outcomes: np.ndarray, seeds: int) -> np.ndarray:
    """Every pattern of outcomes, (seeds, patterns), the last seed changing fastest."""
    return np.array(list(product(outcomes, repeat=seeds))).T


def paired_components(
    seeds: int, examples: int, accuracy: float, luck: Luck, *, gap: float
) -> Components:
    """Components of simulated paired comparisons."""
    differences, counts = Population(accuracy, gap, luck, seed=0).paired(
        seeds, examples
    )
    return stats.components(differences, counts=counts)


def unpaired_components(
    seeds: tuple[int, int], examples: int, accuracy: float, luck: Luck, *, gap: float
) -> Components:
    """Components of simulated unpaired comparisons."""
    return Population(accuracy, gap, luck, seed=0).unpaired(seeds, examples)


def called_different(parts: Components) -> float:
    """Share of the comparisons with that verdict."""
    different = stats.differs(parts) & ~stats.equivalent(parts, MARGIN)
    return float(different.mean())


def called_equivalent(parts: Components) -> float:
    """Share of the comparisons with that verdict."""
    return float(stats.equivalent(parts, MARGIN).mean())


@pytest.mark.parametrize(("seeds", "examples", "accuracy", "luck"), PAIRED)
def test_equal_tracks_are_rarely_called_different(seeds, examples, accuracy, luck):
    parts = paired_components(seeds, examples, accuracy, luck, gap=0)
    assert called_different(parts) <= BOUND


@pytest.mark.parametrize(("seeds", "examples", "accuracy", "luck"), PAIRED)
def test_an_interval_rarely_misses_a_true_gap_of_zero(seeds, examples, accuracy, luck):
    parts = paired_components(seeds, examples, accuracy, luck, gap=0)
    assert stats.differs(parts).mean() <= BOUND


@pytest.mark.parametrize(("seeds", "examples", "accuracy", "luck"), PAIRED)
def test_a_gap_of_the_margin_is_rarely_called_equivalent(
    seeds, examples, accuracy, luck
):
    parts = paired_components(seeds, examples, accuracy, luck, gap=MARGIN)
    assert called_equivalent(parts) <= BOUND


@pytest.mark.parametrize(("seeds", "examples", "accuracy", "luck"), UNPAIRED)
def test_equal_native_tracks_are_rarely_called_different(
    seeds, examples, accuracy, luck
):
    parts = unpaired_components(seeds, examples, accuracy, luck, gap=0)
    assert called_different(parts) <= BOUND


@pytest.mark.parametrize(("seeds", "examples", "accuracy", "luck"), UNPAIRED)
def test_a_native_gap_of_the_margin_is_rarely_called_equivalent(
    seeds, examples, accuracy, luck
):
    parts = unpaired_components(seeds, examples, accuracy, luck, gap=MARGIN)
    assert called_equivalent(parts) <= BOUND


def test_accuracy_intervals_cover_the_true_accuracy():
    answers, counts = Population(0.975, 0, USUAL, seed=1).single(3, 797)
    low, high = stats.components(answers, counts=counts).interval()
    assert 1 - np.mean((low <= 0.975) & (high >= 0.975)) <= BOUND


def test_the_estimated_variance_is_that_of_simulated_means():
    parts = paired_components(5, 10000, 0.55, USUAL, gap=0)
    assert np.mean(parts.variance) == pytest.approx(np.var(parts.mean), rel=0.1)


def test_counted_patterns_give_what_the_expanded_tables_give():
    differences, counts = Population(0.9, 0.01, LOOSE, seed=2).paired(3, 500)
    table = np.repeat(differences, counts[0].astype(int), axis=1)
    counted, expanded = (
        stats.components(differences, counts=counts[0]),
        stats.components(table),
    )
    assert counted.half_width(0.05) == pytest.approx(
        expanded.half_width(0.05), rel=1e-12
    )


def test_compare_gives_the_verdicts_that_the_simulations_count():
    differences, counts = Population(0.95, MARGIN, CLOSE, seed=3).paired(3, 2000)
    parts = stats.components(differences, counts=counts)
    same = stats.equivalent(parts, MARGIN)
    other = stats.differs(parts) & ~same
    expected = np.where(same, "equivalent", np.where(other, "different", "undecided"))
    found = []
    for drawn in counts[:50].astype(int):
        table = np.repeat(differences, drawn, axis=1)
        found.append(stats.compare(table > 0, table < 0, paired=True).verdict)
    assert found == expected[:50].tolist()


def test_tost_passes_exactly_where_its_p_is_below_alpha():
    differences, counts = Population(0.95, MARGIN / 2, CLOSE, seed=4).paired(3, 2000)
    for drawn in counts[:50]:
        parts = stats.components(differences, counts=drawn)
        passed = bool(stats.equivalent(parts, MARGIN))
        assert passed == (parts.tost_p(MARGIN) < stats.ALPHA)


def test_at_its_p_the_interval_just_fits_the_margin():
    differences, counts = Population(0.95, MARGIN / 2, USUAL, seed=5).paired(3, 2000)
    parts = stats.components(differences, counts=counts[0])
    p = parts.tost_p(MARGIN)
    half = parts.half_width(2 * p, looks=len(LOOKS))
    assert abs(parts.mean) + half == pytest.approx(MARGIN)


def test_a_difference_beyond_the_margin_has_a_tost_p_above_a_half():
    torch, tensorflow = tables(2000, [40, 41, 43])
    assert stats.compare(torch, tensorflow, paired=True).tost_p > 0.5


def test_without_example_luck_the_interval_is_the_t_interval_of_the_seeds():
    means = np.array([0.1, 0.12, 0.17, 0.11])
    table = np.repeat(means[:, None], 10**6, axis=1)
    expected = reference.t.interval(0.95, 3, means.mean(), reference.sem(means))
    assert stats.components(table).interval() == pytest.approx(expected, rel=1e-6)


def test_without_seed_luck_the_interval_is_that_of_the_examples():
    rng = np.random.default_rng(0)
    column = rng.choice([-1, 0, 1], 5000, p=[0.1, 0.7, 0.2])
    expected = reference.t.interval(0.95, 4999, column.mean(), reference.sem(column))
    found = stats.components(np.tile(column, (4, 1))).interval()
    assert found == pytest.approx(expected, rel=1e-3)


def test_without_example_luck_native_runs_have_welchs_interval():
    rng = np.random.default_rng(1)
    a, b = rng.random(4), 3 * rng.random(4)
    welch = reference.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    parts = stats.components(
        np.repeat(a[:, None], 10**6, 1), np.repeat(-b[:, None], 10**6, 1)
    )
    assert parts.interval() == pytest.approx((welch.low, welch.high), rel=1e-6)


def tables(examples: int, wins: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Two tracks that agree but for so many examples that only torch gets right."""
    torch = np.ones((len(wins), examples), bool)
    tensorflow = torch.copy()
    for row, n in enumerate(wins):
        tensorflow[row, :n] = False
    return torch, tensorflow


def test_tracks_that_agree_on_a_large_test_set_are_equivalent():
    found = stats.compare(*tables(10000, [0, 0, 0]), paired=True)
    assert (found.verdict, found.identical) == ("equivalent", True)


def test_tracks_that_agree_on_a_small_test_set_are_undecided():
    found = stats.compare(*tables(360, [0, 0, 0]), paired=True)
    assert (found.verdict, found.advice.seeds) == ("undecided", None)


def test_the_test_set_that_agreement_needs_is_just_large_enough():
    needed = stats.compare(*tables(360, [0, 0, 0]), paired=True).advice.examples
    found = stats.compare(*tables(needed, [0, 0, 0]), paired=True)
    assert found.verdict == "equivalent"
    fewer = stats.compare(*tables(int(0.9 * needed), [0, 0, 0]), paired=True)
    assert fewer.verdict == "undecided"


def test_tracks_that_agree_differ_by_zero():
    found = stats.compare(*tables(360, [0, 0]), paired=True)
    assert found.difference.mean == 0


def test_two_seeds_are_never_decided():
    found = stats.compare(*tables(10000, [0, 0]), paired=True)
    assert (found.verdict, found.tost_p, found.look, found.next_look) == (
        *("undecided", None, None),
        3,
    )


@pytest.mark.parametrize(("seeds", "look"), [(3, 3), (4, 3), (7, 5), (19, 10)])
def test_only_the_seeds_of_a_look_are_judged(seeds, look):
    """Whatever came after them."""
    wins = np.random.default_rng(0).integers(0, 90, seeds)
    found = stats.compare(*tables(2000, [*wins]), paired=True)
    alone = stats.compare(*tables(2000, [*wins[:look]]), paired=True)
    assert (found.look, found.stored) == (look, (seeds, seeds))
    assert replace(found, stored=(look, look)) == alone


def test_a_difference_stays_between_all_and_nothing():
    ones, zeros = np.ones((3, 20), bool), np.zeros((3, 20), bool)
    found = stats.compare(ones, zeros, paired=True).difference
    assert (found.mean, found.high) == (1, 1)
    assert 0 < found.low < 1
    found = stats.compare(zeros, ones, paired=True).difference
    assert (found.mean, found.low) == (-1, -1)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 0), (5, 6)])
def test_no_test_images_or_others_are_refused(first, second):
    tracks = np.ones((3, first), bool), np.ones((3, second), bool)
    with pytest.raises(ValueError, match=f"at least one, got {first} and {second};"):
        stats.compare(*tracks, paired=True)


def test_one_seed_is_never_decided():
    found = stats.compare(*tables(10000, [500]), paired=True)
    assert (found.verdict, found.tost_p) == ("undecided", None)


def test_one_seed_has_the_interval_of_the_examples_sampling():
    torch, tensorflow = tables(10000, [500])
    found = stats.compare(torch, tensorflow, paired=True).difference
    column = torch[0].astype(int) - tensorflow[0]
    expected = reference.t.interval(0.95, 9999, column.mean(), reference.sem(column))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-2)


def test_one_native_run_of_one_track_is_never_decided():
    torch, tensorflow = tables(10000, [500, 500, 500])
    found = stats.compare(torch, tensorflow[:1], paired=False)
    assert found.verdict == "undecided"


def test_a_large_steady_difference_is_found():
    found = stats.compare(*tables(10000, [200, 204, 198]), paired=True)
    assert found.verdict == "different"


def test_a_small_measurable_difference_is_equivalent():
    found = stats.compare(*tables(10000, [20, 20, 20]), paired=True)
    assert (found.verdict, found.difference.low > 0) == ("equivalent", True)


def test_the_margin_decides_what_is_equivalent():
    found = stats.compare(*tables(10000, [20, 20, 20]), paired=True, margin=0.001)
    assert found.verdict == "different"


def test_a_single_test_example_gives_numbers():
    found = stats.compare(*tables(1, [0, 1, 0]), paired=True)
    ends = (found.difference.low, found.difference.high, found.tost_p)
    assert np.isfinite(ends).all()


def test_no_more_runs_and_the_same_examples_are_expected_to_show_what_was_seen():
    differences, counts = Population(0.55, 0, LOOSE, seed=6).paired(3, 10000)
    parts = stats.components(differences, counts=counts[0])
    ahead = stats.expected(parts, seeds=3)
    assert ahead.half_width(0.05) == pytest.approx(parts.half_width(0.05))


def test_more_runs_are_advised_where_seeds_are_the_trouble():
    found = stats.compare(*tables(50000, [300, 20, 500]), paired=True)
    assert found.advice.seeds in LOOKS[1:]
    assert found.advice.least <= found.advice.seeds


def test_more_examples_are_advised_where_examples_are_the_trouble():
    found = stats.compare(*tables(500, [2, 2, 2]), paired=True)
    assert (found.advice.seeds, found.advice.examples > 500) == (None, True)


def test_one_run_has_wilsons_interval():
    found = stats.accuracy(np.arange(100)[None] < 98)
    assert (found.low, found.high) == pytest.approx((0.930, 0.9945), abs=1e-4)


def test_an_accuracy_interval_stays_between_0_and_1():
    found = stats.accuracy(np.ones((3, 50), bool))
    assert (found.mean, found.high, found.low < 1) == (1, 1, True)


def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_examples():
    torch = np.arange(100) >= 2
    tensorflow = (np.arange(100) < 2) | (np.arange(100) >= 12)
    assert stats.mcnemar(torch, tensorflow).p == pytest.approx(0.03857421875)


def test_mcnemar_without_discordant_examples_is_1():
    assert stats.mcnemar(np.ones(9, bool), np.ones(9, bool)).p == 1


def test_the_smallest_p_pays_for_the_number_of_seeds():
    assert stats.smallest_p([0.01, 0.5, 0.9]) == pytest.approx(0.03)


def test_no_seed_has_no_smallest_p():
    assert stats.smallest_p([]) is None


# --- several comparisons ------------------------------------------------------------


def compared(tost_p, difference_p):
    """A comparison with these p values."""
    found = stats.compare(*tables(2000, [3, 4, 5]), paired=True)
    return replace(found, tost_p=tost_p, difference_p=difference_p)


def test_holm_is_what_it_is_by_hand():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.5, 0.6]) == [1.0, 1.0]


def test_an_adjusted_verdict_may_be_another():
    """A p of .03 is enough for one comparison, and not for two such."""
    two = stats.adjusted([compared(0.03, 0.9), compared(0.03, 0.9)])
    assert [(c.verdict, c.among) for c in two] == [("undecided", 2)] * 2
    two = stats.adjusted([compared(0.01, 0.9), compared(0.03, 0.9)])
    assert [c.verdict for c in two] == ["equivalent"] * 2
    two = stats.adjusted([compared(0.9, 0.001), compared(0.9, 0.06)])
    assert [c.verdict for c in two] == ["different", "undecided"]


def test_one_comparison_is_not_adjusted():
    found = stats.compare(*tables(2000, [3, 4, 5]), paired=True)
    assert stats.adjusted([found]) == [found]


def test_the_p_of_a_difference_agrees_with_the_interval():
    rng = np.random.default_rng(5)
    seen = set()
    for _ in range(60):
        rate = rng.uniform(0.5, 0.99)
        a = rng.random((4, 300)) < rate
        b = rng.random((4, 300)) < rate - rng.uniform(0, 0.1)
        found = stats.compare(a, b, paired=True)
        excludes = found.difference.low > 0 or found.difference.high < 0
        assert (found.difference_p < 0.05) == excludes
        seen.add(excludes)
    assert seen == {True, False}


def test_equal_tracks_are_rarely_called_different_however_many_they_are():
    """Family-wise: any false "different" among three equal tracks."""
    rng = np.random.default_rng(11)
    tries, wrong = 300, 0
    for _ in range(tries):
        easy = rng.beta(8, 2, 400)  # how likely each picture is named
        luck = rng.normal(0, 0.02, (3, 5, 1))  # of a training
        right = rng.random((3, 5, 400)) < np.clip(easy + luck, 0, 1)
        pairs = [stats.compare(right[0], right[k], paired=True) for k in (1, 2)]
        judged = stats.adjusted(pairs)
        wrong += any(one.verdict == "different" for one in judged)
    # The 99 % bound of a true 5 % in so many tries.
    assert wrong / tries <= 0.05 + 2.33 * (0.05 * 0.95 / tries) ** 0.5


TRACKS = np.array(list(product(ANSWERS, repeat=3)))  # which of three tracks are right
THREE = [
    pytest.param(2, 797, 0.975, CLOSE, id="2 seeds, 797 at 97.5 %, close"),
    pytest.param(3, 2000, 0.95, USUAL, id="3 seeds, 2000 at 95 %, usual"),
    pytest.param(3, 10000, 0.55, LOOSE, id="3 seeds, 10000 at 55 %, loose"),
]


class Trio(Population):
    """Three tracks of exactly the same accuracy, each with its own preferences."""

    def __init__(self, accuracy: float, luck: Luck, *, seed: int) -> None:
        super().__init__(accuracy, 0, luck, seed=seed)
        hard = ndtri((np.arange(2 * KINDS) + 0.5) / (2 * KINDS))
        spread = np.hypot(luck.answer, np.hypot(luck.shared_seed, luck.own_seed))
        tastes = luck.preference * self.rng.standard_normal((3, 2 * KINDS))
        self.easy = np.array(
            [
                kinds + brentq(_excess, -20, 20, args=(kinds, spread, accuracy))
                for kinds in hard + tastes
            ]
        )

    def against_the_first(self, seeds: int, examples: int) -> list[Components]:
        """Components of both comparisons, of the same simulated answers."""
        right = self.right(seeds, tracks=3)
        same = self.luck.same
        chances = []
        for s in range(seeds):
            p = right[:, :, s]
            sides = [np.where(row, p, 1 - p) for row in TRACKS[:, :, None, None]]
            apart = np.stack([side.prod(0) for side in sides], -1)
            chances.append((1 - same) * apart + same * _together(p))
        counts = self.counts(chances, examples)
        chosen = patterns_of(np.arange(len(TRACKS)), seeds)
        answers = TRACKS[chosen]  # (seeds, patterns, tracks)
        return [
            stats.components(answers[..., 0] - answers[..., k], counts=counts)
            for k in (1, 2)
        ]


def _together(right: np.ndarray) -> np.ndarray:
    """P(which tracks are right) where one draw of luck decides for all three."""
    found = []
    for row in TRACKS:
        ends = [p if hit else 1 - p for hit, p in zip(row, right, strict=True)]
        hits = [p for hit, p in zip(row, right, strict=True) if hit]
        misses = [p for hit, p in zip(row, right, strict=True) if not hit]
        least = np.minimum.reduce(hits) if hits else np.ones_like(ends[0])
        most = np.maximum.reduce(misses) if misses else np.zeros_like(ends[0])
        found.append(np.maximum(least - most, 0))
    return np.stack(found, -1)


@pytest.mark.parametrize(("seeds", "examples", "accuracy", "luck"), THREE)
def test_no_equal_track_of_three_is_often_called_different(
    seeds, examples, accuracy, luck, capsys
):
    """Family-wise: Holm's first step decides whether any is."""
    pairs = Trio(accuracy, luck, seed=0).against_the_first(seeds, examples)
    level = (1 - stats.LEVEL) / len(pairs)
    wrong = [parts.half_width(level) < np.abs(parts.mean) for parts in pairs]
    alone = np.mean(np.any([stats.differs(parts) for parts in pairs], axis=0))
    found = np.mean(np.any(wrong, axis=0))
    with capsys.disabled():
        print(f"\nany of two false differences: {found:.1%}, unadjusted {alone:.1%}")
    assert found <= BOUND


def test_the_trio_has_tracks_of_one_accuracy():
    pairs = Trio(0.95, USUAL, seed=1).against_the_first(3, 2000)
    for parts in pairs:
        spread = np.std(parts.mean) / SIMULATIONS**0.5
        assert abs(np.mean(parts.mean)) < 4 * spread


def test_verdicts_of_three_tracks_are_those_that_the_simulation_counts():
    trio = Trio(0.95, CLOSE, seed=2)
    pairs = trio.against_the_first(2, 2000)
    differ = seen = 0
    for k in range(60):
        ps = [_chosen(parts, k).difference_p() for parts in pairs]
        steps = stats.holm(ps)
        level = (1 - stats.LEVEL) / len(pairs)
        widths = [_chosen(parts, k).half_width(level) for parts in pairs]
        means = [abs(_chosen(parts, k).mean) for parts in pairs]
        beyond = any(w < m for w, m in zip(widths, means, strict=True))
        seen += beyond
        differ += (min(steps) < 1 - stats.LEVEL) != beyond
    assert differ == 0


def _chosen(parts: Components, k: int) -> Components:
    """One simulation's components."""
    blocks = tuple(
        replace(b, rows=b.rows[k], interaction=b.interaction[k]) for b in parts.blocks
    )
    examples = parts.examples[k]
    return replace(
        parts,
        mean=parts.mean[k],
        columns=parts.columns[k],
        examples=examples,
        blocks=blocks,
    )


def test_advice_in_a_family_asks_for_more():
    differences, counts = Population(0.95, 0, USUAL, seed=0).paired(3, 5000)
    more = []
    for drawn in counts[:30].astype(int):
        table = np.repeat(differences, drawn, axis=1)
        found = [
            stats.compare(table > 0, table < 0, paired=True, among=n).advice
            for n in (1, 3)
        ]
        if all(found) and all(advice.seeds for advice in found):
            more.append([advice.seeds for advice in found])
    assert len(more) > 5
    assert all(one <= three for one, three in more)
    assert any(one < three for one, three in more)
