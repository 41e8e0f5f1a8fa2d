"""How strange: scores by hand, percentiles, and detection with its interval."""

import itertools

import numpy as np
import pytest

from common.strangeness import SCORES, detection, percentile, probabilities, scores

EXACT = 1e-12  # a handful of float64 operations
# Of 400 simulated 95 % intervals, with room for four standard errors of a true 93 %:
# DeLong's is known to be a little narrow for small groups.
SIMULATIONS, COVERED = 400, 0.88


def test_scores_by_hand():
    logits = np.log([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]) + 2
    found = scores(logits)
    assert found["max_probability"] == pytest.approx([0.5, 1 / 3], rel=EXACT)
    entropy = [0.5 * np.log(2) + 0.5 * np.log(4), np.log(3)]
    assert found["entropy"] == pytest.approx(entropy, rel=EXACT)
    assert found["energy"] == pytest.approx([-2, -2], rel=EXACT)


def test_scores_of_enormous_logits_are_finite():
    found = scores(np.array([[5000.0, 0, -5000], [1e30, 1e30, 0]], np.float32))
    assert found["max_probability"] == pytest.approx([1, 0.5])
    assert found["entropy"] == pytest.approx([0, np.log(2)])
    assert all(np.isfinite(values).all() for values in found.values())
    assert probabilities(np.array([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]


def test_percentiles_point_the_way_of_strangeness():
    among = np.array([1.0, 2.0, 3.0, 4.0])
    assert percentile("entropy", 3.5, among) == 75
    assert percentile("max_probability", 3.5, among) == 25
    assert percentile("energy", 2.0, among) == 37.5  # a tie counts by half
    assert percentile("energy", 9.0, among) == 100


def test_auroc_is_the_share_of_pairs():
    rng = np.random.default_rng(0)
    own, foreign = (
        rng.normal(0, 2, (40, 5)).round(1),
        rng.normal(0, 1, (15, 5)).round(1),
    )
    for name, sign in SCORES.items():
        a, b = (sign * scores(x)[name] for x in (own, foreign))
        pairs = [(y > x) + (y == x) / 2 for x, y in itertools.product(a, b)]
        found = detection(name, own, foreign)
        assert found.auroc.mean == pytest.approx(np.mean(pairs), abs=EXACT)
        assert found.auroc.low < found.auroc.mean < found.auroc.high
        # The threshold is the largest score among the least strange 95 %.
        threshold = np.sort(a)[int(np.ceil(0.95 * len(a))) - 1]
        assert found.fpr95.mean == pytest.approx((b <= threshold).mean())
        assert (found.own, found.foreign) == (40, 15)


def test_perfect_detection_still_has_an_interval():
    own = np.tile([9.0, 0.0], (100, 1)) + np.arange(100)[:, None] * 1e-3
    foreign = np.zeros((10, 2))
    found = detection("max_probability", own, foreign)
    assert (found.auroc.mean, found.auroc.high) == (1, 1)
    assert 0.5 < found.auroc.low < 0.95
    assert found.fpr95.mean == 0
    assert found.fpr95.high > 0.2


def test_the_interval_of_the_auroc_covers_the_truth():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(SIMULATIONS):
        # Energies are -logits of one class: normal, one standard deviation apart.
        own, foreign = rng.normal(1, 1, (300, 1)), rng.normal(0, 1, (38, 1))
        found = detection("energy", own, foreign).auroc
        hits += found.low <= 0.7602 <= found.high  # Phi(1 / sqrt 2)
    assert hits / SIMULATIONS > COVERED
