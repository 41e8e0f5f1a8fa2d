"""How much of each class was found, per track: what one accuracy hides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from common import stats
from common.report.figures import NONE
from common.report.summary import Finished
from common.report.table import Table, columns

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


def recalls_table(found: Recalls) -> Table:
    """The same as a table."""
    names = dict.fromkeys(name for track in found.values() for name in track)
    return Table(
        columns=columns(["found, % (95 % interval)"], list(found)),
        rows=tuple(
            (name, *(_share(track.get(name)) for track in found.values()))
            for name in names
        ),
    )


def _share(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return NONE
    percents = {key: 100 * value for key, value in interval.items()}
    return "{mean:.1f} ({low:.1f} to {high:.1f})".format(**percents)
