"""Judge any two groups of runs as compare judges two tracks.

    twintrack contrast recipe.lr=0.1 recipe.lr=0.01
    twintrack contrast precision=float32 precision=bfloat16 --track torch
    twintrack contrast store=runs store=../other/runs

Nothing is trained: the runs are those of the store, one pair of groups for each
system, track and setting that both sides have.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Unpack

from benchmarks import options, outcome
from benchmarks.request import several, share_of
from common import contrast as groups
from common import report
from common.contrast import Condition, Member
from common.errors import Refused
from common.results import Store
from common.stats import MARGIN

GROUP = options.argument(
    str, "What the runs have in common: recipe.lr=0.1, or several with commas."
)


@options.command
def contrast(
    first: Annotated[str, GROUP],
    second: Annotated[str, GROUP],
    *,
    where: Annotated[
        options.Names | None,
        options.option(
            list[str] | None, "What the runs of both groups have: system=rasbt-mlp."
        ),
    ] = None,
    margin: options.Margin = 100 * MARGIN,
    **rest: Unpack[options.Told],
) -> dict[str, Any]:
    """Judge two groups of the store's runs, whatever tells them apart.

    Returns:
        What --json writes: {"systems": [...], "alone": [...]}; a row is one of compare
        whose "tracks" are the two groups.

    Raises:
        Refused: A group has no runs, or nothing but what was asked must differ and more
            does.
    """
    out = options.filled(options.Told, rest)
    share = share_of(margin)
    outcome.check_told(out)
    sides = [groups.conditions(text) for text in (first, second)]
    both = [c for text in several(where) for c in groups.conditions(text)]
    everyone = [
        member
        for member in found(sides, Store(out["store"]))
        if all(map(member.meets, both))
    ]
    if not everyone:
        raise Refused(
            f"a contrast needs finished runs, got none{_that(both)}; run `twintrack "
            "compare` or name another --store"
        )
    pairs, alone = groups.pairs(everyone, *sides)
    names = tuple(", ".join(map(str, side)) for side in sides)
    rows = [report.contrasted(pair, names, margin=share) for pair in pairs]
    result = {"systems": rows, "alone": alone}
    outcome.told("contrast", result, out, subject=" against ".join(names), tracks=())
    return result


def found(sides: Sequence[Sequence[Condition]], store: Store) -> list[Member]:
    """The runs of the stores that the groups name, or of the one that is asked."""
    named = [c.value for side in sides for c in side if c.field == "store"]
    everyone: list[Member] = []
    for name in dict.fromkeys(named or [str(store.path)]):
        runs, damaged = Store(name).scan()
        for error in damaged:
            print(f"left out: {error}", file=sys.stderr)
        members = list(groups.members(runs, name))
        if own := len(runs) - len(members):
            print(
                f"left out: {own} runs of a user's own kind of spec in {name}",
                file=sys.stderr,
            )
        everyone += members
    return everyone


def _that(both: Sequence[Condition]) -> str:
    return f" with {', '.join(map(str, both))}" if both else ""


if __name__ == "__main__":
    from benchmarks.shell import script

    script(contrast)
