"""Speed beside a bare loop, what most people write, and the machine's peak.

    twintrack speed rosetta-cnn
    twintrack speed inception-v3 --data photos/ --classes ants,bees
    twintrack speed rasbt-mlp --tracks torch --rounds 20 --json speed.json
    twintrack speed rosetta-cnn --bars         # 1 where a bar is missed

In a process per framework, one after the other, loops take turns in rounds
(`benchmarks.measures.timing`).  Inception v3 is used rather than trained: its answers
and its transfer are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Unpack

from benchmarks import options, outcome
from benchmarks.engine import machine
from benchmarks.engine.machine import Machine
from benchmarks.measures import answers, training_speed, transfer_speed
from benchmarks.measures.training_speed import Measurement
from benchmarks.request import (
    changes_of,
    check_positive,
    chosen_systems,
    class_names,
    listed,
    opened,
    side_of,
    tracks_of,
)
from common.data import DataRequest
from common.errors import Failed, Refused
from common.extras import Yardsticks, check_extra
from common.systems import Resolved
from common.track import DEFAULT

INCEPTION = "inception-v3"  # the system whose speed is that of its use
USES = ("predict", "transfer")
DEFAULT_SYSTEM = "rosetta-cnn"
BATCH = 16  # pictures that Inception answers at once, unless told
TRAIN, TEST = 100, 200  # pictures that Inception's transfer takes, unless told

Row = dict[str, Any]


class Asked(options.Computes, options.Told, total=False):
    """What every measurement has in common."""


@options.command
def speed(
    systems: options.SystemsOrRosetta = None,
    *,
    data: options.MaybeData = None,
    tracks: options.Tracks = DEFAULT,
    rounds: Annotated[int, options.option(int, "Turns of each loop.")] = 10,
    steps: Annotated[
        int | None,
        options.option(int | None, "Updates per turn; about 2 s unless given."),
    ] = None,
    what: Annotated[
        options.Names,
        options.option(str, "inception-v3: predict, transfer, or both with a comma."),
    ] = USES,
    size: options.FullSize = None,
    batch: Annotated[
        int, options.option(int, "inception-v3: pictures per call.")
    ] = BATCH,
    weights: options.RandomOrWeights = None,
    classes: Annotated[
        options.Names,
        options.option(str, "inception-v3, transfer: classes, with commas between."),
    ] = "",
    one_class: options.OneClass = None,
    bars: Annotated[
        bool,
        options.option(bool, "End with 1 where a bar is missed.", "--bars"),
    ] = False,
    epochs: options.TutorialEpochs = None,
    limit: options.Limit100 = None,
    test_limit: options.TestLimit200 = None,
    system: options.System = None,
    **rest: Unpack[Asked],
) -> dict[str, Any]:
    """Measure training, or Inception v3's answers and transfer, beside naive code.

    Returns:
        What --json writes: {"systems": [...]}.

    Raises:
        Refused: The request cannot be met.
        Failed: A measurement failed, or with `bars` a bar was missed.
    """
    asked = options.filled(Asked, rest)
    names = tracks_of(tracks)
    for name in names:
        check_extra(name, Yardsticks)
    check_positive(rounds=rounds, steps=steps, threads=asked["threads"])
    check_positive(batch=batch, epochs=epochs, limit=limit, test_limit=test_limit)
    side, changes = side_of(size) or answers.FULL_SIZE, changes_of(asked["set"])
    outcome.check_told(asked)
    uses = uses_of(what)
    computer = machine.settle(
        asked["device"],
        asked["precision"],
        mode="aligned",
        tracks=names,
        threads=asked["threads"],
    )
    if request := DataRequest(source=str(data)) if data else None:
        opened(request)
    wanted = systems_of(systems, system)
    given = {"size": size, "weights": weights, "classes": classes, "limit": limit}
    given |= {"test-limit": test_limit, "epochs": epochs, "class": one_class}
    check_unused(given | {"batch": None if batch == BATCH else batch}, wanted)
    plan = Measurement(
        system="",
        overrides=changes,
        data=asdict(request) if request else None,
        precision=computer.precision,
        device=computer.device,
        threads=computer.threads,
        rounds=rounds,
        steps=steps,
    )
    plans = [replace(plan, system=name) for name in wanted if name != INCEPTION]
    resolved = [  # every wrong name is refused before anything is measured
        training_speed.resolve(plan, training_speed.data_at_hand(plan))
        for plan in plans
    ]
    rows: list[Row] = []
    if INCEPTION in wanted:  # trained here it would say nothing of how it is used
        chosen = class_names(classes, one_class)
        shared = of_inception(request, computer, chosen, side, rounds, weights)
        lesson = transfer_speed.Asked(
            epochs=epochs or transfer_speed.EPOCHS,
            train=limit or TRAIN,
            test=test_limit or TEST,
            **shared,
        )
        measured = {
            "predict": partial(answers.row, answers.Asked(batch=batch, **shared)),
            "transfer": partial(transfer_speed.row, lesson),
        }
        rows += [measured[use](names) for use in USES if use in uses]
    pairs = zip(plans, resolved, strict=True)
    rows += [trained(plan, fit, computer, names) for plan, fit in pairs]
    found = {"systems": rows}
    subject = f"{', '.join(wanted)}; {', '.join(names)}"
    outcome.told("speed", found, asked, subject=subject, tracks=names)
    if bars:
        check_bars(found)
    return found


def trained(
    plan: Measurement, fit: Resolved, computer: Machine, names: list[str]
) -> Row:
    """Training of a system; "auto" is the precision that its runs would have."""
    precision = computer.precision_of(fit.spec, fit.recipe)
    return training_speed.system_row(replace(plan, precision=precision), fit, names)


def check_bars(found: Row) -> None:
    """Fail where a figure falls short of its bar; it is asked for with --bars.

    Another machine, or one that others use too, measures other figures: that is no
    failure of the command.

    Raises:
        Failed: A bar was missed.
    """
    every = [bar for row in found["systems"] for bar in row["bars"]]
    if short := [bar["said"] for bar in every if not bar["holds"]]:
        raise Failed("; ".join(short))


def check_unused(given: dict[str, Any], wanted: Sequence[str]) -> None:
    """Refuse options that only the measurements of Inception v3 look at."""
    unused = [name for name, value in given.items() if value]
    if unused and INCEPTION not in wanted:
        raise Refused(
            f"--{unused[0]} is for {INCEPTION}, got {', '.join(wanted)}; leave it out, "
            f"or measure {INCEPTION}"
        )


def uses_of(what: options.Names) -> tuple[str, ...]:
    """What is measured of Inception v3.

    Raises:
        Refused: It is none of USES.
    """
    uses = listed(what)
    if not uses or any(use not in USES for use in uses):
        raise Refused(
            f"--what must be {', '.join(USES)} or both, got {what!r}; choose of them"
        )
    return uses


def systems_of(
    systems: options.Names | None, modules: options.Names | None
) -> list[str]:
    """The systems to measure."""
    return chosen_systems(systems, modules, default=[DEFAULT_SYSTEM])


def of_inception(
    request: DataRequest | None,
    computer: Machine,
    classes: tuple[str, ...],
    size: int,
    rounds: int,
    weights: str | Path | None,
) -> dict[str, Any]:
    """What the measurements of Inception v3 share."""
    seen = None
    if request:
        seen = replace(request, side=size, classes=classes).to_dict()
    return {
        "size": size,
        "rounds": rounds,
        "weights": str(weights) if weights else None,
        "data": seen,
        "precision": computer.precision,
        "device": computer.device,
        "threads": computer.threads or machine.available_cores(),
    }


if __name__ == "__main__":
    from benchmarks.shell import script

    script(speed)
