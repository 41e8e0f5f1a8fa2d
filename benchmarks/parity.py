"""Prove that two tracks compute the same function, rung by rung, in float64.

    twintrack parity deep-cnn
    twintrack parity all --json parity.json
    twintrack parity rasbt-mlp --tracks my_package.my_track,torch
    twintrack parity --break padding      # a planted fault: must be caught, exits 1

Both tracks measure in processes of their own (`benchmarks.measures.ladder`); this one
judges what they wrote (`benchmarks.measures.rungs`), and stops at the first rung that
fails.  A third witness, an ONNX graph of the spec, says which of two that differ is off
(`benchmarks.measures.testimony`); it needs the extra `[onnx]`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Unpack

from benchmarks import options, outcome
from benchmarks.engine import machine
from benchmarks.engine.call import new_log, result
from benchmarks.engine.process import Child
from benchmarks.measures import testimony
from benchmarks.measures.ladder import STAGES, Climb
from benchmarks.measures.rungs import BESIDE, Rung, compare_stage, line
from benchmarks.measures.rungs import result as judged
from benchmarks.request import (
    changes_of,
    check_positive,
    check_seed,
    chosen_systems,
    opened,
    tracks_of,
)
from common import codec, witness
from common import systems as registry
from common.data import DataRequest
from common.errors import Failed, Refused
from common.faults import FAULTS, PLANTED_IN, plant
from common.track import DEFAULT

DEFAULT_SYSTEM = "small-cnn"


@options.command
def parity(
    systems: options.SystemsOrSmall = None,
    *,
    tracks: options.Tracks = DEFAULT,
    data: options.MaybeData = None,
    steps: Annotated[
        int | None,
        options.option(
            int | None,
            "Training steps.  [default: 200; the system's own if fewer]",
        ),
    ] = None,
    seed: options.Seed = 0,
    fault: Annotated[
        str | None,
        options.option(
            str | None,
            f"Plant a fault in {PLANTED_IN}: twintrack list --faults",
            "--break",
        ),
    ] = None,
    threads: options.TrackThreads = 1,
    set: options.Set = None,
    system: options.System = None,
    **rest: Unpack[options.Told],
) -> dict[str, Any]:
    """Prove that two tracks compute the same function, in float64.

    Returns:
        What --json writes: {"systems": [{"system", "tracks", "passed", "rungs",
        "not_climbed"}]}.

    Raises:
        Refused: The request cannot be met.
        Failed: A rung did not hold.
    """
    out = options.filled(options.Told, rest)
    check_positive(steps=steps, threads=threads)
    machine.check_threads(threads)
    check_seed(seed)
    changes = changes_of(set)
    outcome.check_told(out)
    pair = pair_of(tracks)
    usual = FAULTS[fault].system if fault in FAULTS else DEFAULT_SYSTEM
    names = chosen_systems(systems, system, default=[usual])
    request = DataRequest(source=str(data)) if data else None
    results = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="twintrack-") as folder:
            climbs = plan_climbs(
                name,
                pair,
                request=request,
                steps=steps,
                seed=seed,
                threads=threads,
                overrides=changes,
                fault=fault,
                folder=Path(folder),
            )
            planted = f", with {fault} planted in {pair[0]}" if fault else ""
            told = out["format"] == "text"
            sound = climbs[pair[1]]  # a fault is planted in the first
            absent = witness.why_not(codec.loads(sound.spec))
            if told:
                print(f"{name}, {' and '.join(pair)}{planted}", flush=True)
            if told and absent:
                print(f"  witness: not climbed, {absent}", flush=True)
            by = None if absent else testimony.climb_of(sound, Path(folder))
            rungs = climbed(in_children(climbs, by), told=told)
        results.append(judged(name, pair, rungs, absent))
    found = {"systems": results}
    if out["format"] != "text":  # there each rung was printed as it came
        outcome.shown("parity", found, out)
    subject = f"{', '.join(names)}; {', '.join(pair)}"
    outcome.kept("parity", found, out, subject=subject, tracks=pair)
    if broken := [row["system"] for row in results if not row["passed"]]:
        raise Failed(f"parity did not hold in {', '.join(broken)}")
    return found


def pair_of(tracks: options.Names) -> tuple[str, str]:
    """The two tracks in "torch,tensorflow".

    Raises:
        Refused: They are not two, or one does not exist.
    """
    names = tracks_of(tracks)
    if len(names) != 2:
        raise Refused(
            f"parity is judged of two different tracks, got {', '.join(names)}; "
            "name two with a comma between"
        )
    return names[0], names[1]


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
    # A pixel higher than wide: on squares, heights may be taken for widths unseen.
    h, w, c = system.image
    image, classes = ladder.image or (h + 1, w, c), 10
    overrides = (*ladder.overrides, *overrides)
    if request:
        dataset = opened(request)
        image, classes = dataset.image, len(dataset.classes)
    resolved = registry.resolve(name, image=image, classes=classes, overrides=overrides)
    climbs = {}
    registry.check_judged_and_changed(resolved)
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


def in_children(
    climbs: dict[str, Climb], witness: Climb | None = None
) -> Iterator[list[Rung]]:
    """The rungs of each stage, as soon as both tracks have measured it.

    Args:
        climbs: Of the first track and of the second, in this order.
        witness: The climb of a third one, which measures one stage alone; or none.

    Raises:
        Refused: A child refused; the line is the child's.
        Failed: A child ended before it had measured everything.
        Fault: A fault of ours in a child.
    """
    with ExitStack() as stack:
        children = {
            track: stack.enter_context(
                _started("benchmarks.measures.ladder:climb", climb)
            )
            for track, climb in climbs.items()
        }
        everyone = list(children.values())
        if witness:  # done before a framework is imported
            task = "benchmarks.measures.testimony:testify"
            everyone.append(stack.enter_context(_started(task, witness)))
        stack.callback(_tidy, everyone)
        told = {track: child.events() for track, child in children.items()}
        for stage in STAGES:
            for track, child in children.items():
                _await(stage, child, told[track])
            if witness and stage == testimony.STAGE:
                testified = everyone[-1]
                for _ in testified.events():
                    pass
                result(testified)
            yield list(compare_stage(stage, climbs, witness))


def _started(task: str, climb: Climb) -> Child:
    """A child that measures."""
    return Child(
        task,
        dataclasses.asdict(climb),
        threads=climb.threads,
        device="cpu",
        log=new_log(),
    )


def _await(stage: str, child: Child, told: Iterator[dict[str, Any]]) -> None:
    """Wait until a child has measured a stage."""
    for event in told:
        if event.get("event") == "stage" and event["name"] == stage:
            return
    result(child)  # raises, but for a child that is well and measures less
    raise Failed(f"{child.task} ended before it measured {stage}")


def _tidy(children: Sequence[Child]) -> None:
    """Remove the logs of children that are well, or were ended by us."""
    for child in children:
        if child.process.poll() in (None, 0):
            child.log.unlink(missing_ok=True)


def climbed(stages: Iterator[list[Rung]], *, told: bool) -> list[Rung]:
    """The rungs of one system, printed as they come, up to the first that fails.

    One that is judged beside it is told too.
    """
    rungs: list[Rung] = []
    stopped = ""
    for rung in chain.from_iterable(stages):
        if stopped and BESIDE.get(rung.name) != stopped:
            break
        rungs.append(rung)
        if told:
            print(line(rung), flush=True)
        if not rung.passed:
            stopped = stopped or rung.name
    if told and stopped:
        print(f"  stopped at the rung that failed: {stopped}")
    return rungs


if __name__ == "__main__":
    from benchmarks.shell import script

    script(parity)
