"""How strange a picture is to a network, from its logits alone.

A classifier with a closed set of labels has to call an apple something.  Three
scores say how much it hesitates; as percentiles among the test set's own pictures
they can be read, and as detectors of foreign pictures they can be measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.stats import LEVEL, Interval, wilson

Logits = NDArray[np.floating]

# score -> 1 if it grows with strangeness, -1 if it falls
SCORES = {"max_probability": -1, "entropy": 1, "energy": 1}
# The score whose percentile is "the" strangeness: unlike the other two, it is no
# function of the probabilities that are printed beside it.
HEADLINE = "energy"
TPR = 0.95  # share of the network's own pictures that a threshold lets through


def probabilities(logits: Logits) -> NDArray[np.float64]:
    """Softmax of logits (n, classes), in float64."""
    exact = logits.astype(np.float64)
    powers = np.exp(exact - exact.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def scores(logits: Logits) -> dict[str, NDArray[np.float64]]:
    """Each score of logits (n, classes), (n,).

    max_probability: of the softmax (Hendrycks and Gimpel 2017, arXiv 1610.02136).
    entropy: of the softmax, in nats.
    energy: -log sum exp(logits), in nats (Liu et al. 2020, arXiv 2010.03759, eq. 4
    with T = 1).
    """
    exact = logits.astype(np.float64)
    top = exact.max(axis=1)
    logs = exact - top[:, None]
    total = np.log(np.exp(logs).sum(axis=1))
    logs -= total[:, None]
    chances = np.exp(logs)
    # A chance of zero has a logarithm of -inf and adds nothing.
    terms = np.where(chances > 0, chances * np.where(chances > 0, logs, 0), 0)
    return {
        "max_probability": chances.max(axis=1),
        "entropy": -terms.sum(axis=1) + 0.0,
        "energy": -(top + total),
    }


def percentile(name: str, value: float, among: NDArray[np.float64]) -> float:
    """Percent of `among` (n,) that are less strange than `value`, ties by half."""
    sign = SCORES[name]
    below = float((sign * among < sign * value).mean())
    equal = float((among == value).mean())
    return 100 * (below + equal / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How well a score tells foreign pictures from the network's own.

    Attributes:
        auroc: Chance that a foreign picture looks stranger than one of its own, with
            DeLong's 95 % interval, taken on the logit scale.
        fpr95: Share of foreign pictures let through by the threshold that lets 95 %
            of its own through, with Wilson's interval (the threshold is taken as
            known: it rests on the whole test set).
        own: Number of the network's own pictures.
        foreign: Number of foreign ones.
    """

    auroc: Interval
    fpr95: Interval
    own: int
    foreign: int


def detection(name: str, own: Logits, foreign: Logits) -> Detection:
    """Measure a score on the network's own logits (n, c) and foreign ones (m, c)."""
    from sklearn.metrics import roc_auc_score, roc_curve

    sign = SCORES[name]
    inside, outside = (sign * scores(x)[name] for x in (own, foreign))
    values = np.concatenate([inside, outside])
    is_own = np.repeat([True, False], [len(inside), len(outside)])
    area = float(roc_auc_score(~is_own, values))
    passed, kept, _ = roc_curve(is_own, -values, drop_intermediate=False)
    let_through = round(float(passed[np.argmax(kept >= TPR)]) * len(outside))
    return Detection(
        auroc=_delong(area, inside, outside),
        fpr95=wilson(let_through, len(outside)),
        own=len(inside),
        foreign=len(outside),
    )


def _delong(
    area: float, inside: NDArray[np.float64], outside: NDArray[np.float64]
) -> Interval:
    """Interval of an area under the ROC curve (DeLong et al. 1988, Biometrics 44).

    The variance is that of the mean placement values of both groups.  On the logit
    scale the ends stay within 0 and 1; an area of exactly 0 or 1 is taken to be half
    a picture of the smaller group away from it, so that its interval is not empty.
    """
    from scipy.special import expit, logit
    from scipy.stats import norm

    n, m = len(inside), len(outside)
    ranked = np.sort(inside)
    below = np.searchsorted(ranked, outside, "left")
    beneath = np.searchsorted(ranked, outside, "right")
    of_outside = (below + beneath) / 2 / n
    ordered = np.sort(outside)
    above = m - np.searchsorted(ordered, inside, "right")
    over = m - np.searchsorted(ordered, inside, "left")
    of_inside = (above + over) / 2 / m
    variance = _variance(of_outside) / m + _variance(of_inside) / n
    nearest = 0.5 / min(n, m)
    middle = float(np.clip(area, nearest, 1 - nearest))
    # No disagreement seen is not none possible: then the variance is the binomial one
    # of as many pictures as the smaller group has.
    if area in (0.0, 1.0):
        variance = middle * (1 - middle) / min(n, m)
    half = norm.ppf((1 + LEVEL) / 2) * np.sqrt(variance) / (middle * (1 - middle))
    low, high = (float(expit(logit(middle) + side * half)) for side in (-1, 1))
    return Interval(mean=area, low=min(low, area), high=max(high, area))


def _variance(values: NDArray[Any]) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
