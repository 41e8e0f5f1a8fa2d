"""What each default costs, and whether that is all that native runs differ by.

    twintrack ledger --list                      # the defaults that differ, by system
    twintrack ledger rasbt-mlp --data mnist --seeds 5 --jobs 2

Defaults are read from the installed libraries.  Each is set to either library's value
in both tracks, with shared weights and batches, so that a price is that of the default
and not of an engine; the runs are runs of the store like any others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, Unpack

from benchmarks import options, outcome
from benchmarks.engine import machine
from benchmarks.engine.call import call
from benchmarks.engine.process import Tell, Values
from benchmarks.request import (
    Setting,
    changes_of,
    check_choice,
    check_positive,
    chosen_systems,
    fitted,
    framing_of,
    opened,
    seeds_of,
    share_of,
)
from common import ledger as defaults
from common import screening
from common.data import DataRequest
from common.errors import Refused
from common.extras import Defaults, Native, check_extra, load_extra
from common.job import Job
from common.ledger import SIDES, Difference
from common.native_mode import chain
from common.recipe import SGD, Adam
from common.report.ledger import Ledger, in_words
from common.results import Run, Store
from common.stats import MARGIN
from common.systems import SYSTEMS, Resolved, find, resolve

CLASSES = 10  # of a system that is listed without data


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A system whose defaults are to be priced.

    Attributes:
        name: Of the system.
        found: The defaults that differ.
        signs: The design: (points, defaults).
        points: The `--set` lines of each point, in the design's order.
    """

    name: str
    found: Sequence[Difference]
    signs: Any
    points: Sequence[tuple[str, ...]]


@options.command
def ledger(
    systems: options.SystemsToPrice = None,
    *,
    data: options.Data = "digits",
    seeds: options.Seeds = 3,
    design: Annotated[
        str, options.option(str, f"{' or '.join(screening.KINDS)}.")
    ] = "screening",
    epochs: options.Epochs = None,
    size: options.Size = None,
    list_only: Annotated[
        bool,
        options.option(bool, "Only list the defaults that differ.", "--list"),
    ] = False,
    margin: options.Margin = 100 * MARGIN,
    **rest: Unpack[options.Runs],
) -> dict[str, Any]:
    """Price the defaults in which the frameworks differ, one by one and together.

    Returns:
        What --json writes: {"systems": [...]}, or with --list {"defaults": [...]}.

    Raises:
        Refused: The request cannot be met.
        RunsFailed: Some runs failed; the others are kept.
    """
    runs = options.filled(options.Runs, rest)
    check_choice("design", design, screening.KINDS)
    chosen = seeds_of(seeds)
    check_positive(epochs=epochs)
    share = share_of(margin)
    outcome.check_runs(runs)
    for track in SIDES:
        check_extra(track, Defaults)
    names = chosen_systems(systems, None, default=list(SYSTEMS) if list_only else ())
    if list_only:
        return listed(names, runs)
    if not names:
        raise Refused(
            "ledger needs a system, got none; name one, twintrack ledger --list shows "
            "which defaults act in which"
        )
    request = DataRequest(
        source=str(data),
        limit=runs["limit"],
        test_limit=runs["test_limit"],
        skip_bad=runs["skip_bad"],
        **framing_of(size),
    )
    shared = Setting(
        request=request,
        pictures=opened(request),
        machine=settled("aligned", runs),
    )
    own = Setting(
        request=request,
        pictures=shared.pictures,
        machine=settled("native", runs),
        mode="native",
    )
    for name in names:  # what can be refused is, before a framework is asked
        changes = changes_of(runs["set"])
        check_native(name, fitted(name, shared.pictures, changes, epochs))
    values = read_all()
    asked = [planned(n, shared, values, design, runs, epochs) for n in names]
    jobs = [
        job
        for one in asked
        for job in (
            *priced(one, shared, chosen, epochs),
            *natives(one, own, chosen, runs, epochs),
        )
    ]
    done = outcome.all_trained(mixed(jobs), runs, Store(runs["store"]))
    trained = {run.id: run for run in done}
    rows = [
        row_of(one, shared, own, trained, chosen, runs, epochs, design, share)
        for one in asked
    ]
    result = {"systems": rows}
    outcome.told("ledger", result, runs, subject=", ".join(names), tracks=tuple(SIDES))
    return result


def settled(mode: str, runs: options.Runs) -> machine.Machine:
    """What computes, in a mode."""
    return machine.settle(
        runs["device"],
        runs["precision"] if mode != "native" else "auto",
        mode=mode,
        tracks=list(SIDES),
        threads=runs["threads"],
    )


# --- what differs -----------------------------------------------------------------


def read_all() -> dict[str, dict[str, Any]]:
    """Each library's defaults, read in a process of its own."""
    task = f"{__name__}:read_defaults"
    return {
        side: call(task, {"track": track}, threads=1, device="cpu")["values"]
        for track, side in SIDES.items()
    }


def read_defaults(values: Values, tell: Tell) -> Values:
    """In a child: a library's defaults, in our words."""
    track = values["track"]
    home = load_extra(track, Defaults)
    return {"values": defaults.read(home.probe, SIDES[track])}


def listed(names: Sequence[str], runs: options.Runs) -> dict[str, Any]:
    """Every default that differs, in each system where it acts."""
    values = read_all()
    rows = []
    for name in names:
        resolved = bare(name, runs)
        rows += [
            {"system": resolved.name, **told(one)}
            for one in defaults.differences(resolved.spec, resolved.recipe, values)
        ]
    listed_too = {row["system"] for row in rows}
    without = [n for n in names if find(n).name not in listed_too]
    result = {"defaults": rows, "without": without}
    outcome.shown("ledger", result, runs)
    outcome.written(result, runs)
    return result


def bare(name: str, runs: options.Runs) -> Resolved:
    """A system without data, as native mode takes its recipe."""
    own, image = changes_of(runs["set"]), find(name).image
    found = resolve(name, image=image, classes=CLASSES, overrides=own)
    lines = (*own, *defaults.plain(found.recipe))
    return resolve(name, image=image, classes=CLASSES, overrides=lines)


def told(one: Difference) -> dict[str, Any]:
    """A difference as plain values."""
    return {
        "default": one.name,
        "acts": one.acts,
        "torch": in_words(one.torch),
        "keras": in_words(one.keras),
        "ours": [in_words(value) for value in one.ours],
        "set": {side: list(lines) for side, lines in one.settings.items()},
    }


# --- what it costs ----------------------------------------------------------------


def planned(
    name: str,
    setting: Setting,
    values: Mapping[str, Mapping[str, Any]],
    design: Any,
    runs: options.Runs,
    epochs: int | None,
) -> Asked:
    """The design for a system.

    Raises:
        Refused: No default differs in it.
    """
    own = changes_of(runs["set"])
    first = fitted(name, setting.pictures, own, epochs)
    base = (*own, *defaults.plain(first.recipe))
    resolved = fitted(name, setting.pictures, base, epochs)
    found = defaults.differences(resolved.spec, resolved.recipe, values)
    if not found:
        raise Refused(
            f"a ledger needs a default that differs, none acts in {name}; "
            "twintrack ledger --list shows those of every system"
        )
    signs = screening.design(len(found), design)
    points = [
        (
            *base,
            *(
                line
                for one, sign in zip(found, row, strict=True)
                for line in one.settings["torch" if sign > 0 else "keras"]
            ),
        )
        for row in signs
    ]
    return Asked(name=name, found=found, signs=signs, points=points)


def mixed(jobs: Iterable[Job]) -> list[Job]:
    """The jobs seed by seed, in an order that no default has to do with.

    A machine that slows down meanwhile would else be taken for a slow default.
    """
    chance = Random(0)
    return sorted(jobs, key=lambda job: (job.seed, chance.random()))


def check_native(name: str, resolved: Resolved) -> None:
    """Refuse a system that native mode cannot train: its gap is what prices explain.

    Raises:
        Refused: As native mode would, but before anything is trained.
    """
    if type(resolved.recipe.optimizer) not in (SGD, Adam):
        raise Refused(
            "a ledger is held against native runs, which know each framework's own SGD "
            f"and Adam, {name} has {type(resolved.recipe.optimizer).__name__}; take "
            "another system, or --set recipe.optimizer"
        )
    list(chain(resolved.spec))


def priced(
    one: Asked, setting: Setting, seeds: Sequence[int], epochs: int | None
) -> Iterable[Job]:
    """The runs of a design: every point, in both tracks, from every seed."""
    for lines in one.points:
        resolved = fitted(one.name, setting.pictures, lines, epochs)
        for seed in seeds:
            for track in SIDES:
                yield setting.job(resolved, track=track, seed=seed)


def natives(
    one: Asked,
    setting: Setting,
    seeds: Sequence[int],
    runs: options.Runs,
    epochs: int | None,
) -> Iterable[Job]:
    """The native runs, whose gap the prices are to add up to."""
    for track in SIDES:
        check_extra(track, Native)
    resolved = fitted(one.name, setting.pictures, changes_of(runs["set"]), epochs)
    for seed in seeds:
        for track in SIDES:
            yield setting.job(resolved, track=track, seed=seed)


def row_of(
    one: Asked,
    shared: Setting,
    own: Setting,
    trained: Mapping[str, Run],
    seeds: Sequence[int],
    runs: options.Runs,
    epochs: int | None,
    design: str,
    margin: float,
) -> dict[str, Any]:
    """What a system's runs say of its defaults."""
    mine = [trained[job.id] for job in priced(one, shared, seeds, epochs)]
    native = [trained[job.id] for job in natives(one, own, seeds, runs, epochs)]
    found = Ledger(one.signs, mine, native, margin=margin)
    about = mine[0].record
    kept = ("system", "precision", "device", "threads", "epochs", "command")
    return {
        **{key: about[key] for key in kept},
        "data": about["data"]["name"],
        "fingerprint": about["data"]["fingerprint"],
        "n_train": about["data"]["train"],
        "n_test": about["data"]["test"],
        "seeds": list(seeds),
        "design": design,
        "points": [list(lines) for lines in one.points],
        "versions": versions_of((*mine, *native)),
        "margin": margin,
        "defaults": [
            {**told(default), **price}
            for default, price in zip(one.found, found.prices(), strict=True)
        ],
        **found.rest([default.name for default in one.found]),
    }


def versions_of(runs: Iterable[Run]) -> dict[str, str]:
    """Of the packages that the runs used."""
    found: dict[str, str] = {}
    for run in runs:
        found |= run.record["environment"].get("versions", {})
    return found


if __name__ == "__main__":
    from benchmarks.shell import script

    script(ledger)
