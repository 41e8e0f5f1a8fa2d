"""How much of each class was found, per track: what one accuracy hides."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from common import stats
from common.report.summary import Finished
from common.report.terminal import LINES, WIDTH

Recalls = dict[str, dict[str, dict[str, float]]]


def recalls(runs: Iterable[Finished | None], classes: Sequence[str]) -> Recalls:
    """Track -> class -> share of its test pictures that were found, with 95 %.

    Args:
        runs: Finished runs of one setting; none and diverged ones are left out.
        classes: Name of each label, label 0 first.
    """
    tracks: dict[str, list[Finished]] = {}
    for run in runs:
        if run is not None and run.record["scores"]:
            tracks.setdefault(run.record["track"], []).append(run)
    found: Recalls = {}
    for track, own in tracks.items():
        labels = own[0].labels()
        correct = np.stack([run.correct for run in own])
        found[track] = {
            name: asdict(stats.accuracy(correct[:, labels == label]))
            for label, name in enumerate(classes)
            if (labels == label).any()
        }
    return found


def recalls_text(found: Mapping[str, Any]) -> str:
    """The same as a table."""
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=Box(LINES, ascii=True), pad_edge=False, show_edge=False)
    table.add_column("found, % (95 % interval)")
    for track in found:
        table.add_column(track, justify="right")
    for name in next(iter(found.values()), {}):
        cells = [
            "{mean:.1f} ({low:.1f} to {high:.1f})".format(
                **{key: 100 * value for key, value in found[track][name].items()}
            )
            for track in found
        ]
        table.add_row(name, *cells)
    page = io.StringIO()
    Console(file=page, width=WIDTH, highlight=False, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())
