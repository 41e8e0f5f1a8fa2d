"""Prove that two tracks compute the same function, rung by rung, in float64.

    twintrack parity deep-cnn
    twintrack parity all --json parity.json
    twintrack parity rasbt-mlp --tracks my_package.my_track,torch
    twintrack parity --break padding      # a planted fault: must be caught, exits 1

Both tracks measure in processes of their own (`benchmarks.measures.ladder`); this one
judges what they wrote (`benchmarks.measures.rungs`), and stops at the first rung that
fails.
"""

from __future__ import annotations

import dataclasses
import json as jsonlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import options
from benchmarks.compare import check_positive, tracks_of
from benchmarks.data import ensure_prepared
from benchmarks.engine.runner import Event, environment, events
from benchmarks.measures.ladder import STAGES, Climb
from benchmarks.measures.rungs import Rung, compare_stage, line, result
from common import codec, files
from common import systems as registry
from common.data import DataRequest, open_data
from common.errors import Failed, Refused
from common.faults import FAULTS, PLANTED_IN, plant
from common.track import DEFAULT


def parity(
    systems: Annotated[
        list[str] | None,
        typer.Argument(help="Systems, or all.  [default: small-cnn]"),
    ] = None,
    *,
    tracks: Annotated[
        str, typer.Option(help="Two tracks, with a comma between.")
    ] = ",".join(DEFAULT),
    data: options.MaybeData = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Training steps.  [default: 200; the system's own if fewer]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, pictures and plan.")] = 0,
    fault: Annotated[
        str | None,
        typer.Option(
            "--break",
            help=f"Plant a fault in {PLANTED_IN}: twintrack list --faults",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each track.")] = 1,
    set: options.Set = None,
    system: options.System = None,
    json: options.Json = None,
) -> dict[str, Any]:
    """Prove that two tracks compute the same function, in float64.

    Returns:
        What --json writes: {"systems": [{"system", "tracks", "passed", "rungs"}]}.

    Raises:
        Refused: The request cannot be met.
        Failed: A rung did not hold.
    """
    check_positive(steps=steps, threads=threads)
    pair = pair_of(tracks)
    names = _names([*(systems or []), *(system or [])], fault)
    console = Console()
    results = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="twintrack-") as folder:
            request = DataRequest(source=data) if data else None
            climbs = plan_climbs(
                name,
                pair,
                request=request,
                steps=steps,
                seed=seed,
                threads=threads,
                overrides=tuple(set or ()),
                fault=fault,
                folder=Path(folder),
            )
            planted = f", with {fault} planted in {pair[0]}" if fault else ""
            console.print(
                f"[bold]{name}[/], {' and '.join(pair)}{planted}", soft_wrap=True
            )
            rungs = show(console, in_children(climbs, Path(folder)))
        results.append(result(name, pair, rungs))
    found = {"systems": results}
    if json:
        files.write_atomic(json, jsonlib.dumps(found, indent=1).encode())
    if broken := [row["system"] for row in results if not row["passed"]]:
        raise Failed(f"parity did not hold in {', '.join(broken)}")
    return found


def pair_of(text: str) -> tuple[str, str]:
    """The two tracks in "torch,tensorflow".

    Raises:
        Refused: They are not two, one does not exist, or Keras is set to another
            framework.
    """
    names = tracks_of(text)
    if len(names) != 2:
        raise Refused(
            f"parity is judged of two tracks, got {', '.join(names)}; name two with a "
            "comma between"
        )
    return names[0], names[1]


def _names(names: list[str], fault: str | None) -> list[str]:
    if names == ["all"]:
        return list(registry.SYSTEMS)
    if names:
        return names
    return [FAULTS[fault].system if fault in FAULTS else "small-cnn"]


def plan_climbs(
    name: str,
    pair: Sequence[str] = DEFAULT,
    *,
    request: DataRequest | None,
    steps: int | None,
    seed: int,
    threads: int,
    overrides: tuple[str, ...],
    fault: str | None,
    folder: Path,
) -> dict[str, Climb]:
    """What each track of `pair` is to measure; a fault is planted in the first's."""
    system = registry.find(name)
    ladder = system.ladder
    image, classes = ladder.image or system.image, 10
    overrides = (*ladder.overrides, *overrides)
    if request:
        ensure_prepared(request)
        dataset = open_data(request)
        image, classes = dataset.image, len(dataset.classes)
    resolved = registry.resolve(name, image=image, classes=classes, overrides=overrides)
    climbs = {}
    if request:
        registry.check_fits(resolved, len(dataset.train))
    for track in pair:
        spec, recipe = resolved.spec, resolved.recipe
        if fault and track == pair[0]:
            spec, recipe = plant(fault, spec, recipe, name)
        climbs[track] = Climb(
            track=track,
            spec=codec.dumps(spec),
            recipe=codec.dumps(recipe),
            module=resolved.module,
            data=dataclasses.asdict(request) if request else None,
            steps=steps or ladder.steps,
            seed=seed,
            threads=threads,
            folder=str(folder / track),
            tensors=min(ladder.tensors or steps or ladder.steps, steps or ladder.steps),
            tolerance=ladder.tolerance,
            first=ladder.first,
            judged=ladder.judged,
        )
    return climbs


def in_children(climbs: dict[str, Climb], folder: Path) -> Iterator[list[Rung]]:
    """The rungs of each stage, as soon as both tracks have measured it.

    Raises:
        Refused: A child refused; the line is the child's.
        Failed: A child ended before it had measured everything.
    """
    with ExitStack() as stack:
        told = {}
        for track, climb in climbs.items():
            child = _start(climb, folder / f"{track}.call", stack)
            told[track] = events(child)
        for stage in STAGES:
            for track in climbs:
                _await(stage, track, told[track], folder / f"{track}.call" / "log")
            yield list(compare_stage(stage, climbs))


def _start(climb: Climb, folder: Path, stack: ExitStack) -> subprocess.Popen[bytes]:
    """A child that climbs, as `benchmarks.engine.call` has it; `stack` ends it."""
    folder.mkdir()
    (folder / "values").write_text(jsonlib.dumps(dataclasses.asdict(climb)))
    log = stack.enter_context((folder / "log").open("wb"))
    child = stack.enter_context(
        subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "benchmarks.engine.call"),
                *("benchmarks.measures.ladder:climb", str(folder), str(os.getpid())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(threads=climb.threads, device="cpu"),
        )
    )
    stack.callback(child.kill)  # before the context waits for it
    return child


def _await(stage: str, track: str, told: Iterator[Event], log: Path) -> None:
    for event in told:
        if event.get("event") == "refused":
            raise Refused(event["message"])
        if event.get("event") == "stage" and event["name"] == stage:
            return
    lines = log.read_text(errors="replace").strip().splitlines()
    raise Failed(f"{track} ended before it measured {stage}: {' | '.join(lines[-3:])}")


def show(console: Console, stages: Iterator[list[Rung]]) -> list[Rung]:
    """Print the rungs of one system as they come; stop at the first that fails."""
    rungs: list[Rung] = []
    for stage in stages:
        for rung in stage:
            rungs.append(rung)
            console.print(line(rung), highlight=False, soft_wrap=True)
            if not rung.passed:
                console.print(f"  stopped at the rung that failed: {rung.name}")
                return rungs
    return rungs


if __name__ == "__main__":
    from benchmarks.cli import script

    script(parity)
