"""The verdict in plain English, with its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from common.report.figures import (
    count,
    listed,
    margin_points,
    p_is,
    points,
    points_range,
)
from common.stats import Comparison


@dataclass(frozen=True, slots=True)
class Standing:
    """How the runs of one track stand.

    Attributes:
        finished: Seeds that have an accuracy.
        diverged: Seed -> step at which its loss stopped being a number, if known.
    """

    finished: tuple[int, ...]
    diverged: Mapping[int, int | None]


def verdict_sentence(
    found: Comparison | None, standings: Mapping[str, Standing], *, margin: float
) -> str:
    """One sentence (or two) that says what was found.

    Args:
        found: The comparison, or none where there is nothing to compare.
        standings: The first track and the second -> its runs.
        margin: The largest difference that does not matter, as a fraction.
    """
    verdict = found.verdict if found else "undecided"
    body = _compared(found, margin) if found else _not_compared(standings)
    return f"{verdict}: {body}{_left_out(found, standings)}"


def _not_compared(standings: Mapping[str, Standing]) -> str:
    if len(standings) == 1:
        return (
            f"only {listed(list(standings))} was run, so there is no difference to "
            "judge; run another track as well"
        )
    absent = [t for t, s in standings.items() if not s.finished and not s.diverged]
    lost = [t for t, s in standings.items() if not s.finished and s.diverged]
    if len(absent) == len(standings):
        return (
            f"neither {' nor '.join(absent)} was run, so there is no difference to "
            "judge; run both"
        )
    if absent:
        ran = [track for track in standings if track not in absent]
        return (
            f"only {listed(ran)} was run, so there is no difference to judge; "
            f"run {listed(absent)} as well"
        )
    if lost:
        return f"every {' and every '.join(lost)} run diverged, nothing to compare"
    return (
        "no seed has a finished run in both tracks, so there are no pairs to compare; "
        "run the same seeds in both"
    )


def _compared(found: Comparison, margin: float) -> str:
    if min(found.seeds) == 1:
        return _one_seed(found)
    if found.identical:
        return _identical(found, margin)
    if found.verdict == "equivalent":
        return _equivalent(found, margin)
    if found.verdict == "different":
        return _different(found)
    return f"{_advice(found)}. {_capital(_differ(found, margin))}, {_over(found)}"


def _one_seed(found: Comparison) -> str:
    differ = "differ" if not found.identical else "are right on the same images: differ"
    return (
        "one seed cannot tell the luck of training from a difference; run 2 or more, "
        f"better 5. On {_images(found)} the tracks {differ} by "
        f"{points(found.difference.mean)} points ({_minus(found)}; 95 % "
        f"interval {_range(found)} from the sampling of the test images alone)"
    )


def _identical(found: Comparison, margin: float) -> str:
    same = (
        f"both tracks are right on exactly the same of {_images(found)} in each of "
        f"{found.seeds[0]} seeds, so the difference is 0"
    )
    if found.verdict == "equivalent":
        return (
            f"{same} (95 % interval {_range(found)}), inside the margin of "
            f"{margin_points(margin)} points (TOST {_tost(found)}){_adjusted(found)}"
        )
    if found.alone == "equivalent":
        return f"{_advice(found)}. {_capital(same)} (95 % interval {_range(found)})"
    enough = found.examples_needed
    need = f"; about {count(enough, 'test image')} would do" if enough else ""
    return (
        f"{same}, but {_images(found)} are too few to claim equivalence within "
        f"{margin_points(margin)} points (95 % interval {_range(found)}){need}"
    )


def _equivalent(found: Comparison, margin: float) -> str:
    inside = (
        f"the tracks differ by {points(found.difference.mean)} points "
        f"({_minus(found)}; 95 % interval {_range(found)}), inside the margin of "
        f"{margin_points(margin)} points (TOST {_tost(found)}), "
        f"{_over(found)}"
    )
    if found.difference.low > 0 or found.difference.high < 0:
        return f"{inside}; the interval excludes 0, but so small a difference is none"
    return inside


def _different(found: Comparison) -> str:
    mean = found.difference.mean
    better, worse = found.names if mean > 0 else found.names[::-1]
    return (
        f"{better} is {points(abs(mean))} points more accurate than {worse} "
        f"({_minus(found)}: {points(mean)}, 95 % interval {_range(found)}), "
        f"{_over(found)}"
    )


def _differ(found: Comparison, margin: float) -> str:
    return (
        f"the tracks differ by {points(found.difference.mean)} points "
        f"({_minus(found)}; 95 % interval {_range(found)}; margin "
        f"{margin_points(margin)} points)"
    )


def _advice(found: Comparison) -> str:
    if found.alone not in (None, "undecided"):
        return (
            f"by itself this comparison would be called {found.alone}, but not as one "
            f"of {found.among}; more runs or more test images would tell"
        )
    if found.more_runs:
        each = "in each track"
        return f"not enough runs to tell; about {found.more_runs:,} more would ({each})"
    if found.examples_needed and found.both_needed:
        return (
            "not enough runs and test images to tell; it takes many more seeds and "
            f"about {count(found.examples_needed, 'test image')}"
        )
    if found.examples_needed:
        return (
            f"no number of runs would tell, because {_images(found)} are too few: "
            f"about {count(found.examples_needed, 'test image')} would be needed"
        )
    return (
        "the difference is so close to the margin that no feasible number of runs or "
        "test images would tell"
    )


def _left_out(found: Comparison | None, standings: Mapping[str, Standing]) -> str:
    said = [
        f"{track} diverged{'' if step is None else f' at step {step}'} in seed {seed}"
        for track, standing in standings.items()
        for seed, step in standing.diverged.items()
    ]
    if not found:
        return f". {_capital(', '.join(said))}" if said else ""
    parts = [f"{', '.join(said)}: left out"] if said else []
    if found.paired:
        parts += _unmatched(standings)
    return "".join(f". {_capital(part)}" for part in parts)


def _unmatched(standings: Mapping[str, Standing]) -> list[str]:
    seeds = {track: set(standing.finished) for track, standing in standings.items()}
    common = set.intersection(*seeds.values())
    alone = [
        f"{track} seed {seed}"
        for track, own in seeds.items()
        for seed in sorted(own - common)
    ]
    if not alone:
        return []
    return [f"without a finished partner, so not in the difference: {listed(alone)}"]


def _over(found: Comparison) -> str:
    a, b = found.seeds
    if found.paired:
        runs = count(a, "seed")
    elif a == b:
        runs = f"{count(a, 'run')} per track (not paired)"
    else:
        one, other = found.names
        runs = f"{a} {one} and {b} {other} runs (not paired)"
    return f"over {runs} and {_images(found)}{_adjusted(found)}"


def _adjusted(found: Comparison) -> str:
    if found.among == 1:
        return ""
    return f", adjusted for {found.among} comparisons (Holm)"


def _minus(found: Comparison) -> str:
    """Which track is subtracted from which."""
    return " minus ".join(found.names)


def _images(found: Comparison) -> str:
    return count(found.examples, "test image")


def _tost(found: Comparison) -> str:
    return "not possible" if found.tost_p is None else p_is(found.tost_p)


def _range(found: Comparison) -> str:
    return points_range(asdict(found.difference))


def _capital(text: str) -> str:
    """Text as a sentence begins; the name of a track's module stays as it is."""
    first, *_ = text.split(" ")
    plain = first.rstrip(",:;").isalpha()
    return text[:1].upper() + text[1:] if plain else text
