"""Train the same networks in several tracks, and say whether they differ.

    twintrack compare                                    # digits, under two minutes
    twintrack compare deep-cnn --data cifar10 --seeds 5 --jobs 2

Each run is a child process and a record in the store; a run that has a record is
not repeated, and one that was interrupted goes on from its last epoch.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Unpack

from benchmarks import options, outcome
from benchmarks.engine import machine
from benchmarks.request import (
    Setting,
    changes_of,
    check_positive,
    chosen_systems,
    framing_of,
    judged_often,
    opened,
    seeds_of,
    share_of,
    sweep_said,
    swept,
    tracks_of,
)
from common import report
from common.data import DataRequest
from common.extras import Native, check_extra
from common.results import Store
from common.stats import MARGIN
from common.track import DEFAULT


@options.command
def compare(
    systems: options.Systems = None,
    *,
    data: options.Data = "digits",
    seeds: options.Seeds = 3,
    mode: options.Mode = "aligned",
    tracks: options.Tracks = DEFAULT,
    epochs: options.Epochs = None,
    repeats: Annotated[
        int | None,
        options.option(
            int | None,
            "Times that a picture is judged, where a network draws regions.",
        ),
    ] = None,
    valid: options.Valid = None,
    size: options.Size = None,
    repeat_channel: Annotated[
        bool,
        options.option(
            bool,
            "Give grey pictures to networks that take colours.",
            "--repeat-channel",
        ),
    ] = False,
    system: options.System = None,
    margin: options.Margin = 100 * MARGIN,
    **rest: Unpack[options.Runs],
) -> dict[str, Any]:
    """Train systems in both frameworks and say whether they differ.

    Returns:
        What --json writes: {"systems": [...]}.

    Raises:
        Refused: The request cannot be met; nothing that is finished is lost.
        RunsFailed: Some runs failed; the result of the others was printed.
        KeyboardInterrupt: The user had enough; what is finished is kept.
    """
    runs = options.filled(options.Runs, rest)
    names = tracks_of(tracks)
    chosen_seeds = seeds_of(seeds)
    check_positive(epochs=epochs, repeats=repeats)
    share, changes = share_of(margin), changes_of(runs["set"])
    outcome.check_runs(runs)
    if mode == "native":
        for name in names:
            check_extra(name, Native)
    computer = machine.settle(
        runs["device"],
        runs["precision"],
        mode=mode,
        tracks=names,
        threads=runs["threads"],
    )
    request = DataRequest(
        source=str(data),
        limit=runs["limit"],
        test_limit=runs["test_limit"],
        valid=valid or 0,
        skip_bad=runs["skip_bad"],
        colour=repeat_channel,
        **framing_of(size),
    )
    setting = Setting(
        request=request, pictures=opened(request), mode=mode, machine=computer
    )
    outcome.say_many(
        len(chosen_systems(systems, system)) * len(chosen_seeds) * len(names)
    )
    jobs = [
        setting.job(resolved, track=track, seed=seed)
        for resolved in [
            judged_often(one, repeats)
            for name in chosen_systems(systems, system)
            for one in swept(name, setting.pictures, changes, epochs)
        ]
        for seed in chosen_seeds
        for track in names
    ]
    if rows := sweep_said(jobs, len(chosen_seeds) * len(names)):
        print(rows, file=sys.stderr)
    outcomes = outcome.carried_out(jobs, runs, Store(runs["store"]))
    found = [one.run for one in outcomes if one.run]
    summary = report.summarise(found, margin=share, tracks=names)
    summary |= setting.pictures.found.for_json()
    try:
        outcome.written(summary, runs)
    finally:  # what cannot be written is shown
        if found:
            outcome.shown("compare", summary, runs)
    outcome.check_finished(outcomes)
    return summary


if __name__ == "__main__":
    from benchmarks.shell import script

    script(compare)
