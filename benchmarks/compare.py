"""Train the same networks in both frameworks, and say whether they differ.

    twintrack compare                                    # digits, under two minutes
    twintrack compare deep-cnn --data cifar10 --seeds 5

Each run is a child process and a record in the store; a run that has a record is
not repeated, and one that was interrupted goes on from its last epoch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import options
from benchmarks.data import ensure_prepared, framing_of
from benchmarks.engine import machine
from benchmarks.engine.progress import screen as fitting_screen
from benchmarks.engine.runner import DAY, RunsFailed, run_jobs
from common import files, report
from common.data import DataRequest, Dataset, open_data
from common.errors import Refused
from common.job import Job
from common.results import Store
from common.spec import Spec
from common.stats import MARGIN
from common.systems import BUILDERS, Resolved, check_fits, resolve
from common.track import check_track

DEFAULT_SYSTEMS = ("small-cnn", "rasbt-mlp")


def compare(
    systems: options.Systems = None,
    *,
    data: options.Data = "digits",
    seeds: Annotated[int, typer.Option(help="Runs per track: seeds 0 to N-1.")] = 3,
    mode: Annotated[str, typer.Option(help="strict, aligned or native.")] = "aligned",
    tracks: options.Tracks = "torch,tensorflow",
    epochs: options.Epochs = None,
    limit: options.Limit = None,
    valid: Annotated[
        int, typer.Option(help="Training pictures held out for validation.")
    ] = 0,
    skip_bad: options.SkipBad = False,
    size: options.Size = None,
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    set: options.Set = None,
    system: options.System = None,
    margin: options.Margin = MARGIN,
    time_limit: options.TimeLimit = DAY,
    json: options.Json = None,
    store: options.Store = None,
) -> dict[str, Any]:
    """Train systems in both frameworks and say whether they differ.

    Returns:
        What --json writes: {"systems": [...]}.

    Raises:
        Refused: The request cannot be met; nothing that is finished is lost.
        RunsFailed: Some runs failed; the result of the others was printed.
        KeyboardInterrupt: The user had enough; what is finished is kept.
    """
    names = tracks_of(tracks)
    check_positive(seeds=seeds, threads=threads, epochs=epochs, time_limit=time_limit)
    check_margin(margin)
    check_output(json)
    place, dtype = machine.settle(device, precision, mode=mode, tracks=names)
    overrides = tuple(set or ())
    request = DataRequest(
        source=data, limit=limit, valid=valid, skip_bad=skip_bad, **framing_of(size)
    )
    ensure_prepared(request)
    pictures = open_data(request)
    jobs = [
        job(
            resolved,
            request=request,
            pictures=pictures,
            mode=mode,
            track=track,
            seed=seed,
            precision=dtype,
            device=place,
            threads=threads or machine.threads_for(resolved.spec, resolved.recipe),
        )
        for resolved in [
            fitted(name, pictures, overrides, epochs)
            for name in chosen_systems(systems, system)
        ]
        for seed in range(seeds)
        for track in names
    ]
    return carried_out(jobs, Store(store), margin, time_limit, json)


def carried_out(
    jobs: Sequence[Job],
    store: Store,
    margin: float,
    time_limit: float,
    output: Path | None,
) -> dict[str, Any]:
    """Run what is missing, then print and return the comparison of just these runs."""
    screen = fitting_screen(sys.stderr)
    try:
        outcomes = run_jobs(jobs, store, screen=screen, time_limit=time_limit)
    except KeyboardInterrupt:
        screen.say("interrupted; what is finished is kept, the same command goes on")
        raise
    runs = [outcome.run for outcome in outcomes if outcome.run]
    summary = report.summarise(runs, margin=margin)
    if runs:
        print(report.text(summary))
    if output:
        files.write_atomic(output, files.readable(summary))
    failed = [outcome for outcome in outcomes if not outcome.run]
    for outcome in failed:
        screen.say(f"{outcome.job.name} failed: {outcome.failure}")
    if failed:
        raise RunsFailed(
            f"every run must end with a record, {len(failed)} of {len(jobs)} did not; "
            "the others are kept, the same command tries again"
        )
    return summary


def job(
    resolved: Resolved,
    *,
    request: DataRequest,
    pictures: Dataset,
    mode: str,
    track: str,
    seed: int,
    precision: str,
    device: str,
    threads: int,
    start: tuple[Path, str] | None = None,
) -> Job:
    """One run of a system on some data; `start`: weights and their digest."""
    builders = BUILDERS.get(type(resolved.spec), {})
    return Job(
        system=resolved.name,
        module=resolved.module,
        builder=builders.get(track),
        overrides=resolved.overrides,
        data=request,
        fingerprint=pictures.fingerprint,
        image=pictures.image,
        classes=len(pictures.classes),
        mode=mode,
        track=track,
        seed=seed,
        precision=precision,
        device=device,
        threads=threads,
        epochs=resolved.recipe.epochs,
        spec=repr(resolved.spec),
        recipe=repr(resolved.recipe),
        start=str(start[0].resolve()) if start else None,
        start_digest=start[1] if start else None,
    )


# --- is the request one that can be met? ----------------------------------------


def chosen_systems(
    named: Sequence[str] | None, modules: Sequence[str] | None
) -> list[str]:
    """The systems of the request, each once; the default ones if it names none."""
    chosen = [*(named or ()), *(modules or ())] or DEFAULT_SYSTEMS
    return list(dict.fromkeys(chosen))


def fitted(
    name: str,
    pictures: Dataset,
    overrides: tuple[str, ...],
    epochs: int | None,
    *,
    base: Spec | None = None,
) -> Resolved:
    """The system for these pictures; `base`: the spec of weights to start from.

    Raises:
        Refused: It is unknown, or it does not fit the pictures or their number.
    """
    resolved = resolve(
        name,
        image=pictures.image,
        classes=len(pictures.classes),
        overrides=overrides,
        epochs=epochs,
        base=base,
    )
    if resolved.recipe.keep == "best" and not len(pictures.valid):
        raise Refused(
            "the best epoch is chosen on a validation part, there is none; hold one "
            "out with --valid"
        )
    check_fits(resolved, len(pictures.train))
    return resolved


def tracks_of(text: str) -> list[str]:
    """The tracks in "torch,tensorflow", each once.

    Raises:
        Refused: One does not exist, or Keras is set to another framework.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        check_track(name)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if "tensorflow" in names and backend != "tensorflow":
        raise Refused(
            "the tensorflow track needs Keras on TensorFlow, got "
            f"KERAS_BACKEND={backend}; unset it or set it to tensorflow"
        )
    return names


def check_positive(**options: float | None) -> None:
    """Refuse an option that is given and not above zero."""
    for name, value in options.items():
        if value is not None and not value > 0:
            option = name.replace("_", "-")
            raise Refused(f"--{option} must be above 0, got {value}; use 1 or more")


def check_margin(margin: float) -> None:
    """Refuse a margin that is no share."""
    if not 0 < margin < 1:
        raise Refused(
            f"--margin must be a share between 0 and 1, got {margin}; "
            "use 0.005 for half a point"
        )


def check_output(path: Path | None) -> None:
    """Refuse, before anything runs, a file that could not be written at the end."""
    if path and path.is_dir():
        raise Refused(f"--json must be a file, got the folder {path}; add a name")


def check_folder(path: Path | None) -> None:
    """Refuse, before anything runs, a folder that could not be made at the end."""
    if path and path.exists() and not path.is_dir():
        raise Refused(f"--save must be a folder, got the file {path}; name another")


if __name__ == "__main__":
    from benchmarks.cli import script

    script(compare)
