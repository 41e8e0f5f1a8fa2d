"""Two groups of runs as a row of a comparison, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from common.contrast import Pair
from common.errors import Refused
from common.report.comparison import detailed, overview
from common.report.summary import Finished, Group, Row, judged_again, unjudged
from common.report.table import Table
from common.results import Run

PUBLISHED = ("Published", "published")
LEGEND = (
    "n: runs of each group, each with its own seed. Accuracies are means over the "
    "runs, on all test images. Difference: the first group minus the other."
)
# What both groups have and a row says once.
SAID = ("system", "mode", "precision", "device", "threads", "epochs")


def contrasted(pair: Pair, names: Sequence[str], *, margin: float) -> Row:
    """A row as of `summarise`, whose "tracks" are two groups of runs.

    Args:
        pair: The groups.
        names: What they are called.
        margin: The largest difference that does not matter, as a fraction.

    Raises:
        Refused: They were judged on other test pictures.
    """
    sides = (pair.first, pair.second)
    check_same_pictures(*sides)
    groups: dict[str, list[Finished]] = {
        name: list(side) for name, side in zip(names, sides, strict=True)
    }
    row = unjudged(Group(groups, pair.left_out))
    told = [side[0].record for side in sides]
    row |= {key: _both(one[key] for one in told) for key in SAID if key != "mode"}
    row["data"] = _both(one["data"]["name"] for one in told)
    row["track"] = _both(one["track"] for one in told)
    common = [text for text in told[0]["overrides"] if text in told[1]["overrides"]]
    row |= {"overrides": common, "published": None, "paired": pair.paired}
    row["noun"] = "group"
    return judged_again(row, margin=margin)


def _both(values: Any) -> Any:
    """One value where both have it, else the two."""
    found = list(dict.fromkeys(values))
    return found[0] if len(found) == 1 else " / ".join(map(str, found))


def check_same_pictures(first: Sequence[Run], second: Sequence[Run]) -> None:
    """Refuse groups whose answers are not to the same questions, in one order.

    Raises:
        Refused: Their test labels differ.
    """
    judged = [
        next((r for r in side if not r.diverged), None) for side in (first, second)
    ]
    if not all(judged):
        return
    one, other = (run.labels() for run in judged if run)
    if not np.array_equal(one, other):
        raise Refused(
            "groups must be judged on the same test pictures in one order, got "
            f"{len(one):,} and {len(other):,} with other labels; contrast runs whose "
            "test parts are copies of each other"
        )


def _of_groups(table: Table) -> Table:
    """A comparison's table whose rows are groups: nothing was published for them."""
    kept = [k for k, c in enumerate(table.columns) if not c.name.startswith(PUBLISHED)]
    columns = [table.columns[k] for k in kept]
    named = [replace(c, name="group") if c.name == "track" else c for c in columns]
    return replace(
        table,
        columns=tuple(named),
        rows=tuple(tuple(row[k] for k in kept) for row in table.rows),
    )


def contrast(result: Mapping[str, Any], *, wide: bool = True) -> list[Table]:
    """The result of `twintrack contrast` as tables."""
    rows = [
        row | {"system": f"{row['system']} in {row['track']}"}
        for row in result["systems"]
    ]
    tables = (overview if wide else detailed)({"systems": rows})
    found = [_of_groups(table) for table in tables[:-1]]
    found += [Table(about=(LEGEND,))] if wide else tables[-1:]
    if result["alone"]:
        found.append(Table(about=tuple(result["alone"])))
    return found
