"""People who add seeds until a verdict comes, simulated: how often is it false?

    python -m tests.histories > docs/results/histories.json    # minutes

A history is one comparison that grows seed by seed.  Its answers are drawn in one of
two ways: as right and wrong answers to every picture (`Answers`, exact, slow), or as
the sums of squares that so many pictures of normal effects have (`Normal`, fast).
Both give `stats.Components` of the first S seeds, and the verdict is made of those by
the code that judges real runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtri

from common import stats
from common.stats import LOOKS, MARGIN, Block, Components

HISTORIES = 2000
MOST_SEEDS = 20  # of those who add one at a time
CAP, MOST_LOOKS = 30, 5  # of those who followed the advice of the rule before
VERDICTS = ("undecided", "equivalent", "different")
IMAGES = (797, 2000, 10_000)
SEED_LUCK = (0.001, 0.002, 0.003, 0.006)  # deviation of a paired difference
DISCORDANT = (0.01, 0.03, 0.1)  # share of the pictures that only one track gets right


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is simulated.

    Attributes:
        images: In the test part.
        seeds: Standard deviation of the difference between seeds, as a fraction.
        discordant: Share of the answers that differ between the tracks.
        lasting: Share of that which is the picture's own, the same in every seed.
        paired: Whether runs of a seed are pairs.
    """

    images: int
    seeds: float
    discordant: float
    lasting: float = 0.5
    paired: bool = True


class Histories(Protocol):
    """Many comparisons that grow."""

    def at(self, seeds: int) -> Components:
        """What their first `seeds` seeds say; every figure is (histories,)."""


class Normal:
    """Effects of seeds, pictures and single answers are normal."""

    def __init__(self, setting: Setting, gap: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.setting, n = setting, setting.images
        tables = 1 if setting.paired else 2
        self.own = setting.discordant * setting.lasting
        self.luck = setting.discordant * (1 - setting.lasting) / tables
        shape = (tables, HISTORIES, LOOKS[-1])
        spread = np.hypot(setting.seeds / tables**0.5, (self.luck / n) ** 0.5)
        self.rows = spread * rng.standard_normal(shape)
        shared = (self.own / n) ** 0.5 * rng.standard_normal(HISTORIES)
        self.shift = gap + shared
        self.columns = self.own * rng.chisquare(n - 1, HISTORIES) / (n - 1)
        self.noise = self.luck * rng.chisquare(n - 1, HISTORIES) / (n - 1)

    def at(self, seeds: int) -> Components:
        """What their first `seeds` seeds say; every figure is (histories,)."""
        rows = self.rows[:, :, :seeds]
        blocks = tuple(
            Block(rows=own.var(1, ddof=1), interaction=self.noise, seeds=seeds)
            for own in rows
        )
        return Components(
            mean=self.shift + rows.mean(2).sum(0),
            columns=self.columns + len(rows) * self.noise / seeds,
            examples=self.setting.images,
            blocks=blocks,
        )


class Answers:
    """Every answer is right or wrong: a threshold on difficulty, taste and luck."""

    def __init__(
        self, setting: Setting, gap: float, seed: int, *, right: float
    ) -> None:
        self.setting = setting
        self.parts: dict[int, list[Components]] = {n: [] for n in LOOKS}
        for k in range(HISTORIES // 50):
            rng = np.random.default_rng([seed, k])
            for n, parts in self._drawn(rng, gap, right).items():
                self.parts[n].append(parts)

    def _drawn(
        self, rng: np.random.Generator, gap: float, right: float
    ) -> dict[int, Components]:
        """Components of 50 histories at each look."""
        about, most = self.setting, max(n for n in LOOKS if n <= MOST_SEEDS)
        hard = rng.standard_normal((50, 1, about.images)).astype(np.float32)
        found = []
        for sign in (1, -1):
            # A deviation of x in the threshold moves the accuracy by x times the
            # density of the difficulty there.
            slope = float(np.exp(-(ndtri(right) ** 2) / 2) / (2 * np.pi) ** 0.5)
            moved = ndtri(right + sign * gap / 2) - ndtri(right)
            tracks = 2**0.5
            seeds = about.seeds / tracks / slope * rng.standard_normal((50, most, 1))
            # A pair of thresholds e apart parts about slope * e * .8 of the pictures.
            apart = about.discordant / slope / tracks
            taste = apart * about.lasting**0.5
            taste = taste * rng.standard_normal((50, 1, about.images))
            luck = apart * (1 - about.lasting) ** 0.5
            luck = luck * rng.standard_normal((50, most, about.images), np.float32)
            # Taste and luck spread the thresholds: without this the mean would move.
            whole = np.sqrt(1 + apart**2 + (about.seeds / tracks / slope) ** 2)
            easy = (ndtri(right) + moved) * whole + seeds
            found.append(hard + taste + luck < easy)
        first, second = (table.astype(np.int8) for table in found)
        tables = (first - second,) if about.paired else (first, -second)
        looks = [n for n in LOOKS if n <= most]
        return {n: stats.components(*(t[:, :n] for t in tables)) for n in looks}

    def at(self, seeds: int) -> Components:
        """What their first `seeds` seeds say; every figure is (histories,)."""
        parts = self.parts[seeds]
        tables = range(len(parts[0].blocks))

        def joined(name: str, of: list) -> np.ndarray:
            return np.concatenate([getattr(one, name) for one in of])

        return Components(
            mean=joined("mean", parts),
            columns=joined("columns", parts),
            examples=self.setting.images,
            blocks=tuple(
                Block(
                    rows=joined("rows", [p.blocks[t] for p in parts]),
                    interaction=joined("interaction", [p.blocks[t] for p in parts]),
                    seeds=seeds,
                )
                for t in tables
            ),
        )


# --- what people do -----------------------------------------------------------------


def verdicts(parts: Components, looks: int) -> np.ndarray:
    """0 undecided, 1 equivalent, 2 different, (histories,)."""
    same = stats.equivalent(parts, MARGIN, looks=looks)
    return np.where(same, 1, np.where(stats.differs(parts, looks=looks), 2, 0))


def one_at_a_time(told: dict[int, np.ndarray]) -> np.ndarray:
    """The first verdict of those who add a seed until there is one."""
    found = np.zeros(HISTORIES, int)
    for n in sorted(told):
        if n <= MOST_SEEDS:
            found = np.where(found == 0, told[n], found)
    return found


def as_advised(
    told: dict[int, np.ndarray], advised: dict[int, np.ndarray], looks: int
) -> np.ndarray:
    """The first verdict of those who go on to the number of seeds they are advised."""
    seeds = np.full(HISTORIES, LOOKS[0])
    found = np.zeros(HISTORIES, int)
    for _ in range(looks):
        for n in sorted(told):
            here = (seeds == n) & (found == 0)
            found[here] = told[n][here]
        for n, then in advised.items():
            going = (seeds == n) & (found == 0) & (then > 0)
            seeds[going] = then[going]
    return found


def advice(history: Histories, looks: int, seeds: list[int]) -> dict[int, np.ndarray]:
    """S -> the first larger number of seeds that would tell, or 0, (histories,)."""
    found = {}
    for n in seeds:
        parts, then = history.at(n), np.zeros(HISTORIES, int)
        for more in (m for m in seeds if m > n):
            ahead = stats.expected(parts, seeds=more)
            tells = stats.would_tell(ahead, MARGIN, looks=looks)
            then = np.where((then == 0) & tells, more, then)
        found[n] = then
    return found


@dataclass(frozen=True)
class Errors:
    """Shares of histories that end in each verdict, per way of adding seeds."""

    one: np.ndarray  # (3,)
    advised: np.ndarray


def outcomes(history: Histories, *, looks: int) -> Errors:
    """What both kinds of people are told in the end.

    Args:
        history: The comparisons.
        looks: 1 for the rule before, which judged any number of seeds as if it were
            the only one; len(LOOKS) for ours.
    """
    seeds = list(range(LOOKS[0], CAP + 1)) if looks == 1 else _looks_of(history)
    told = {n: verdicts(history.at(n), looks) for n in seeds}
    advised = advice(history, looks, seeds)
    turns = MOST_LOOKS if looks == 1 else len(LOOKS)
    shares = [
        np.bincount(found, minlength=3) / HISTORIES
        for found in (one_at_a_time(told), as_advised(told, advised, turns))
    ]
    return Errors(*shares)


def _looks_of(history: Histories) -> list[int]:
    most = MOST_SEEDS if isinstance(history, Answers) else LOOKS[-1]
    return [n for n in LOOKS if n <= most]


# --- the table ----------------------------------------------------------------------


def settings() -> Iterator[Setting]:
    """Those of the page."""
    for images, seeds, discordant, paired in product(
        IMAGES, SEED_LUCK, DISCORDANT, (True, False)
    ):
        yield Setting(images=images, seeds=seeds, discordant=discordant, paired=paired)


RULES = {1: "before: any number", len(LOOKS): "now: five looks"}


def table() -> dict[str, Any]:
    """What docs/results/histories.json holds.

    False verdicts in percent of the histories, mean and worst over the settings.
    """
    rows = []
    for images, paired, looks in product(IMAGES, (True, False), RULES):
        chosen = [s for s in settings() if (s.images, s.paired) == (images, paired)]
        cells = []
        for gap, verdict in ((0.0, "different"), (MARGIN, "equivalent")):
            found = [
                outcomes(Normal(one, gap, seed=k), looks=looks)
                for k, one in enumerate(chosen)
            ]
            place = VERDICTS.index(verdict)
            for way in ("one", "advised"):
                shares = [100 * getattr(one, way)[place] for one in found]
                cells.append(f"{np.mean(shares):.1f} / {max(shares):.1f}")
        kind = "paired" if paired else "not paired"
        rows.append([f"{images:,}", kind, RULES[looks], *cells])
        print(*rows[-1], file=sys.stderr, flush=True)
    return {
        "kind": "compare",
        "origin": f"simulated: {HISTORIES:,} histories in each of {len(chosen)} "
        "settings per row",
        "command": "python -m tests.histories",
        "environment": {"versions": {"numpy": version("numpy")}},
        "tables": [{"title": "", "columns": COLUMNS, "rows": rows}],
    }


COLUMNS = [
    *("Test images", "Runs", "Rule"),
    *('No gap, "different" %: one at a time', "as advised"),
    *('Gap of the margin, "equivalent" %: one at a time', "as advised"),
]


if __name__ == "__main__":
    print(json.dumps(table(), indent=1))
