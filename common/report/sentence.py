"""The verdict in plain English, with its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from common.report.figures import (
    count,
    listed,
    margin_points,
    p_is,
    points,
    points_range,
)
from common.stats import LOOKS, Advice, Comparison, Interval

ROUNDING = 1e-12  # a mean of shares that is smaller is 0


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
    found: Comparison | None,
    standings: Mapping[str, Standing],
    *,
    margin: float,
    noun: str = "track",
) -> str:
    """One sentence (or some) that says what was found.

    Args:
        found: The comparison, or none where there is nothing to compare.
        standings: The first track and the second -> its runs.
        margin: The largest difference that does not matter, as a fraction.
        noun: What they are called: groups, where two groups of runs are compared.
    """
    if found and found.diverge_differently:
        return f"different: {_diverging(found)}{_left_out(found, standings)}"
    if found and found.difference:
        return f"{_compared(found, margin)}{_left_out(found, standings)}"
    return f"undecided: {_not_compared(standings, noun)}{_left_out(None, standings)}"


def _not_compared(standings: Mapping[str, Standing], noun: str) -> str:
    if len(standings) == 1:
        return (
            f"only {listed(list(standings))} was run, so there is no difference to "
            f"judge; run another {noun} as well"
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
        return (
            f"every {' and every '.join(lost)} run diverged, so there is nothing to "
            "compare"
        )
    run = [{*s.finished, *s.diverged} for s in standings.values()]
    both = set.intersection(*run)
    return (
        f"no seed has a finished run in both {noun}s, so there are no pairs to "
        "compare; "
        + (
            "take a recipe that does not diverge"
            if both
            else "run the same seeds in both"
        )
    )


def _compared(found: Comparison, margin: float) -> str:
    if found.tost_p is None:
        return f"undecided: {_too_few(found)}"
    if found.verdict == "different":
        return f"different: {_different(found)}"
    body = _identical(found, margin) if found.identical else _within(found, margin)
    if found.verdict == "equivalent":
        return f"equivalent: {body}"
    return f"undecided{_advice(found)}. {_capital(body)}"


def _too_few(found: Comparison) -> str:
    """Before the first look, or with too few runs left of one."""
    least = min(found.seeds)
    if found.look:
        why = (
            f"only {least} of {found.look} seeds ended well in both {found.noun}s, and "
            f"a verdict takes {LOOKS[0]}; run more, or a recipe that does not diverge"
        )
    else:
        more = LOOKS[0] - min(found.stored)
        why = (
            f"verdicts are made at {_looks()} seeds and nowhere between, and "
            f"{count(min(found.stored), 'seed')} cannot tell the luck of training from "
            f"a difference; run {more} more in each {found.noun}"
        )
    sampling = " from the sampling of the test images alone" if least == 1 else ""
    return (
        f"{why}. On {_images(found)} {_gap(found)}; 95 % interval "
        f"{_range(found.difference)}{sampling})"
    )


def _diverging(found: Comparison) -> str:
    one, other = found.diverged
    said = (
        f"{found.names[0]} diverged in {one} of {found.look} seeds and "
        f"{found.names[1]} in {other} (exact p {_p(found.diverged_p)}), whatever the "
        "accuracy of the runs that ended"
    )
    if found.difference is None:
        return said
    return (
        f"{said}. In those {_gap(found)}; 95 % interval {_range(found.difference)}), "
        f"{_over(found)}"
    )


def _identical(found: Comparison, margin: float) -> str:
    same = (
        f"{_names(found)} get the very same of {_images(found)} right in each of "
        f"{found.seeds[0]} seeds, so they do not differ on these"
    )
    if found.verdict == "equivalent":
        return (
            f"{same} (90 % interval {_range(found.within)}), inside the margin of "
            f"{margin_points(margin)} points (TOST {_tost(found)}){_adjusted(found)}"
        )
    ends = (found.within.low, found.within.high) if found.within else (-1.0, 1.0)
    inside = max(map(abs, ends)) < margin  # what is undecided may be so for others
    beside = "; margin" if inside else ", not inside the margin of"
    return (
        f"{same} (90 % interval {_range(found.within)}{beside} "
        f"{margin_points(margin)} points){_adjusted(found)}"
    )


def _within(found: Comparison, margin: float) -> str:
    if found.verdict == "undecided":
        return (
            f"{_gap(found)}; 95 % interval {_range(found.difference)}; margin "
            f"{margin_points(margin)} points), {_over(found)}"
        )
    inside = (
        f"{_gap(found)}; 90 % interval {_range(found.within)}, the one of two "
        f"one-sided tests), inside the margin of {margin_points(margin)} points (TOST "
        f"{_tost(found)}), {_over(found)}"
    )
    if found.difference and (found.difference.low > 0 or found.difference.high < 0):
        return (
            f"{inside}; the 95 % interval, {_range(found.difference)}, excludes 0, so "
            "there is a difference, but one too small to matter"
        )
    return inside


def _gap(found: Comparison) -> str:
    """How far the tracks are apart, with a bracket that stays open for intervals."""
    mean = _mean(found)
    size = points(abs(mean))
    they = f"the {found.noun}s"
    if found.identical:
        said = f"{they} get the very same images right"
    elif abs(mean) < ROUNDING:
        said = f"{they} get equally many images right"
        said += ", though not always the same ones" if found.paired else ""
    elif size == points(0):
        said = f"{they} differ by less than 0.01 points"
    else:
        said = f"{they} differ by {size} points"
    above = "" if size != points(0) and mean > 0 else f": {points(mean)}"
    return f"{said} ({_minus(found)}{above}"


def _different(found: Comparison) -> str:
    mean = _mean(found)
    better, worse = found.names if mean > 0 else found.names[::-1]
    return (
        f"{better} is {points(abs(mean))} points more accurate than {worse} "
        f"({_minus(found)}: {points(mean)}, 95 % interval {_range(found.difference)}), "
        f"{_over(found)}"
    )


def _advice(found: Comparison) -> str:
    """What was looked at, when the next look is, and what would decide."""
    if found.alone not in (None, "undecided"):
        return (
            f": by itself this comparison would be called {found.alone}, but not as "
            f"one of {found.among}; more runs or more test images would tell"
        )
    said = f" after the look at {found.look} seeds"
    if found.next_look:
        more = found.next_look - min(found.stored)
        said += f"; the next is at {found.next_look} ({more} more in each {found.noun})"
    else:
        said += ", the last one"
    if found.diverged[0] != found.diverged[1]:
        one, other = found.diverged
        return (
            f"{said}. The {found.noun}s do not end equally often ({found.names[0]} "
            f"diverged in {one} seeds, {found.names[1]} in {other}), so the runs that "
            "ended cannot show equivalence"
        )
    return f"{said}. {_would_decide(found, found.advice)}" if found.advice else said


def _would_decide(found: Comparison, advice: Advice) -> str:
    stays = f"If the difference stays near {points(abs(_mean(found)))} points"
    if advice.seeds:
        return f"{stays}, about {advice.seeds} seeds would decide{_spread(found)}"
    none = f"no number of seeds up to {LOOKS[-1]} would decide"
    if advice.examples and not advice.last_look:
        return (
            f"{stays}, {none}: {_images(found)} {_be(found.examples)} too few, about "
            f"{count(advice.examples, 'test image')} would do{_spread(found)}"
        )
    if advice.examples:
        return (
            f"{stays}, {none}: it takes {LOOKS[-1]} seeds and about "
            f"{count(advice.examples, 'test image')}{_spread(found)}"
        )
    return (
        f"{stays}, no feasible number of seeds or test images would decide: for runs "
        f"that scatter so much it is too close to the margin{_spread(found)}"
    )


def _spread(found: Comparison) -> str:
    """How far the advice may be off: a few seeds know little of their own spread."""
    advice = found.advice
    if not advice or not advice.least:
        return ""
    if advice.most == advice.least:
        return ""
    if not advice.seeds:
        return f" (but {found.look} seeds tell little: {advice.least} may do)"
    upwards = f"to {advice.most}" if advice.most else "upwards"
    return f" (as far as {found.look} seeds can tell: {advice.least} {upwards})"


def _left_out(found: Comparison | None, standings: Mapping[str, Standing]) -> str:
    said = [
        f"{track} diverged {listed(_where(standing.diverged))}"
        for track, standing in standings.items()
        if standing.diverged
    ]
    if not found:
        return f". {_capital(', '.join(said))}" if said else ""
    parts = [f"{', '.join(said)}: left out"] if said else []
    if found.paired:
        parts += _unmatched(standings)
    return "".join(f". {_capital(part)}" for part in parts)


def _where(diverged: Mapping[int, int | None]) -> list[str]:
    """At which steps, each with its seeds."""
    steps: dict[int | None, list[int]] = {}
    for seed, step in diverged.items():
        steps.setdefault(step, []).append(seed)
    return [
        f"{'' if step is None else f'at step {step} '}in {_seeds(seeds)}"
        for step, seeds in steps.items()
    ]


def _seeds(seeds: Sequence[int]) -> str:
    """Say "seed 3", "seeds 0, 1 and 5", "seeds 0 to 7"."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {listed([str(seed) for seed in seeds])}"


def _unmatched(standings: Mapping[str, Standing]) -> list[str]:
    seeds = {track: set(standing.finished) for track, standing in standings.items()}
    common = set.intersection(*seeds.values())
    alone = [
        f"{track} {_seeds(sorted(own - common))}"
        for track, own in seeds.items()
        if own - common
    ]
    if not alone:
        return []
    return [f"without a finished partner, so not in the difference: {listed(alone)}"]


def _over(found: Comparison) -> str:
    a, b = found.seeds
    if found.paired:
        runs = count(a, "seed")
    elif a == b:
        runs = f"{count(a, 'run')} per {found.noun} (not paired)"
    else:
        one, other = found.names
        runs = f"{a} {one} and {b} {other} runs (not paired)"
    return f"over {runs} and {_images(found)}{_adjusted(found)}{_beyond(found)}"


def _beyond(found: Comparison) -> str:
    """What is stored beyond the look and therefore not judged yet."""
    most = max(found.stored)
    if not found.look or most == found.look:
        return ""
    both = f"{most} seeds are stored"
    if found.stored[0] != found.stored[1]:
        each = zip(found.names, found.stored, strict=True)
        both = f"{listed([f'{n} seeds of {name}' for name, n in each])} are stored"
    then = f", next look at {found.next_look}" if found.next_look else ""
    return f". {both}: judged on the first {found.look}{then}"


def _adjusted(found: Comparison) -> str:
    if found.among == 1:
        return ""
    return f", adjusted for {found.among} comparisons (Holm)"


def _looks() -> str:
    return listed([str(n) for n in LOOKS])


def _names(found: Comparison) -> str:
    return " and ".join(found.names)


def _minus(found: Comparison) -> str:
    """Which track is subtracted from which."""
    return " minus ".join(found.names)


def _images(found: Comparison) -> str:
    return count(found.examples, "test image")


def _be(n: int) -> str:
    return "is" if n == 1 else "are"


def _mean(found: Comparison) -> float:
    return found.difference.mean if found.difference else 0.0


def _tost(found: Comparison) -> str:
    return "not possible" if found.tost_p is None else p_is(found.tost_p)


def _p(p: float) -> str:
    return p_is(p).removeprefix("p ")


def _range(interval: Interval | None) -> str:
    return points_range(asdict(interval)) if interval else "none"


def _capital(text: str) -> str:
    """Text as a sentence begins; the name of a track's module stays as it is."""
    first, *_ = text.split(" ")
    plain = first.rstrip(",:;").isalpha()
    return text[:1].upper() + text[1:] if plain else text
