"""What there is to train, what of it can be set, and which faults parity can plant.

twintrack list
twintrack list rasbt-mlp     # every field of its spec and recipe
twintrack list --faults
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from benchmarks import options, outcome
from benchmarks.request import chosen_systems, several
from common.errors import Refused
from common.faults import FAULTS, PLANTED_IN, Fault
from common.overrides import described
from common.recipe import (
    SGD,
    Adam,
    Augment,
    Lookahead,
    Muon,
    Piecewise,
    Recipe,
    Schedule,
    Staircase,
    Steady,
    WarmCosine,
)
from common.spec import parameters
from common.systems import SYSTEMS, System, find, resolve

CLASSES = 10
NOT_TOLD = "says nothing: it is given no draw, data, average or rule of ours"


@options.command
def catalogue(
    systems: options.SystemsToList = None,
    *,
    faults: Annotated[
        bool, options.option(bool, "The faults that parity can plant.", "--faults")
    ] = False,
    system: options.System = None,
    format: options.Format = "text",
    json: options.Json = None,
) -> dict[str, Any]:
    """List the systems; of those that are named every field that --set can change.

    Returns:
        What --json writes: {"systems": [...]} or, with --faults, {"faults": [...]}:
        what parity --break can plant.

    Raises:
        Refused: A system is unknown, or an option is wrong.
    """
    out = options.filled(options.Told, {"format": format, "json": json})
    outcome.check_told(out)
    named = [*several(systems), *several(system)]
    if faults and named:
        raise Refused(
            f"--faults lists the faults of all systems, got {', '.join(named)} too; "
            "leave one out"
        )
    chosen = chosen_systems(systems, system) if named else list(SYSTEMS)
    found: dict[str, Any] = {"systems": [_system(find(name)) for name in chosen]}
    if faults:
        found = listed_faults()
    elif named:
        rows = zip(found["systems"], chosen, strict=True)
        found = {"systems": [row | {"fields": _fields(find(n))} for row, n in rows]}
    outcome.written(found, out)
    outcome.shown("catalogue", found, out)
    return found


def listed_faults() -> dict[str, Any]:
    """What --faults lists."""
    return {"faults": [_fault(name, fault) for name, fault in FAULTS.items()]}


def _fault(name: str, fault: Fault) -> dict[str, str]:
    return {
        "fault": name,
        "plants": fault.what,
        "track": PLANTED_IN,
        "in": fault.system,
        "seen by": fault.rung,
        "port": _said(fault),
    }


def _said(fault: Fault) -> str:
    """What `twintrack port` says of the same mistake in a user's pair."""
    if fault.training:
        return f"says {fault.training}, with --train"
    return f"says {fault.port}" if fault.port else NOT_TOLD


def _fields(system: System) -> list[dict[str, str]]:
    """Every field of a system's spec and recipe, for the data it was made for."""
    made = resolve(system.name, image=system.image, classes=CLASSES)
    return [asdict(one) for one in described(made.spec, made.recipe)]


def _system(system: System) -> dict[str, Any]:
    spec = resolve(system.name, image=system.image, classes=CLASSES).spec
    h, w, c = system.image
    return {
        "system": system.name,
        "architecture": system.summary,
        "recipe": in_words(system.recipe),
        "parameters": parameters(spec),
        "data": f"{system.data}, {h}x{w}x{c}",
        "published": asdict(system.published) if system.published else None,
        "bars": system.bars,
    }


def in_words(recipe: Recipe) -> str:
    """A recipe in one line."""
    words = [f"{_rule(recipe.optimizer, recipe)}, lr {recipe.lr:g}"]
    for rule in dict.fromkeys(rule for _, rule in recipe.optimizers):
        names = [name for name, own in recipe.optimizers if own == rule]
        words.append(f"{_rule(rule, recipe)} for {' '.join(names)}")
    factors: dict[float, list[str]] = {}
    for name, factor in recipe.multipliers:
        factors.setdefault(factor, []).append(name)
    words += [f"rate x {f:g} for {' '.join(names)}" for f, names in factors.items()]
    words.append(f"batch {recipe.batch}")
    words.append(f"{recipe.epochs - 1 + recipe.last_epoch:g} epochs")
    if recipe.schedule != Steady():
        words.append(_schedule(recipe.schedule))
    words += [f"{_schedule(own)} for {name}" for name, own in recipe.schedules]
    if recipe.decay:
        words.append(f"{recipe.decay.kind} decay {recipe.decay.rate:g}")
    if isinstance(recipe.average, Lookahead):
        words.append(f"slow weights every {recipe.average.every} steps")
    elif recipe.average:
        words.append(f"average {recipe.average.decay:g}")
    words += [f"clip {recipe.clip:g}"] if recipe.clip else []
    words += [f"smoothing {recipe.smoothing:g}"] if recipe.smoothing else []
    words += ["last short batch dropped"] if recipe.drop_last else []
    usual = asdict(Augment())
    augment = {n: v for n, v in asdict(recipe.augment).items() if v != usual[n]}
    words += [n if v is True else f"{n} {_plain(v)}" for n, v in augment.items()]
    words += [f"judged in {len(recipe.views)} views"] if recipe.views else []
    words += [f"judged {recipe.repeats} times"] if recipe.repeats > 1 else []
    return ", ".join(words)


def _schedule(schedule: Schedule) -> str:
    """How the learning rate goes."""
    match schedule:
        case Staircase(every, factor, unit):
            often = unit if every == 1 else f"{every:,} {unit}s"
            return f"rate x {factor:.4g} every {often}"
        case WarmCosine(warm):
            return f"warm-up of {warm:.0%}, then a cosine"
        case Piecewise(points):
            each = (f"{factor:.3g} at {share:.0%}" for share, factor in points)
            return f"rate x {', '.join(each)} of the run"
    return str(schedule)


def _rule(rule: SGD | Adam | Muon, recipe: Recipe) -> str:
    """An update rule by its name and what it is known by."""
    if isinstance(rule, Adam):
        decoupled = recipe.decay and recipe.decay.kind == "decoupled"
        return f"{'AdamW' if decoupled else 'Adam'} eps {rule.eps:g}"
    name = type(rule).__name__
    name += f" momentum {rule.momentum:g}" if rule.momentum else ""
    return name + (" Nesterov" if isinstance(rule, SGD) and rule.nesterov else "")


def _plain(value: object) -> str:
    return " to ".join(map(str, value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    from benchmarks.shell import script

    script(catalogue)
