"""What there is to train, and which faults parity can plant.

twintrack list
twintrack list --faults
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from benchmarks import options
from benchmarks.request import path_of, several
from common import codec, files, report
from common.faults import FAULTS, PLANTED_IN
from common.recipe import SGD, Recipe
from common.spec import parameters
from common.systems import SYSTEMS, System, find, resolve

CLASSES = 10


@options.command
def catalogue(
    *,
    faults: Annotated[
        bool, options.option(bool, "The faults that parity can plant.", "--faults")
    ] = False,
    system: options.System = None,
    format: options.Format = "text",
    json: options.Json = None,
) -> dict[str, Any]:
    """List the systems, or with --faults what parity --break can plant.

    Returns:
        What --json writes: {"systems": [...]} or {"faults": [...]}.
    """
    for module in several(system):
        find(module)
    rows = (
        [{"fault": n, **_fault(n)} for n in FAULTS]
        if faults
        else [_system(s) for s in SYSTEMS.values()]
    )
    found = {"faults" if faults else "systems": rows}
    print(report.shown("catalogue", found, format).rstrip())
    if path := path_of(json):
        files.write_atomic(path, files.readable(found))
    return found


def _fault(name: str) -> dict[str, str]:
    fault = FAULTS[name]
    return {
        "plants": fault.what,
        "track": PLANTED_IN,
        "in": fault.system,
        "seen by": fault.rung,
    }


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
    rule = recipe.optimizer
    if isinstance(rule, SGD):
        name = "SGD" + (f" momentum {rule.momentum:g}" if rule.momentum else "")
        name += " Nesterov" if rule.nesterov else ""
    else:
        decoupled = recipe.decay and recipe.decay.kind == "decoupled"
        name = f"{'AdamW' if decoupled else 'Adam'} eps {rule.eps:g}"
    words = [f"{name}, lr {recipe.lr:g}", f"batch {recipe.batch}"]
    words.append(f"{recipe.epochs} epochs")
    if codec.dumps(recipe.schedule) != '{"is": "Steady"}':
        words.append(str(recipe.schedule))
    if recipe.decay:
        words.append(f"{recipe.decay.kind} decay {recipe.decay.rate:g}")
    if recipe.average:
        words.append(f"average {recipe.average.decay:g}")
    words += [f"clip {recipe.clip:g}"] if recipe.clip else []
    words += [f"smoothing {recipe.smoothing:g}"] if recipe.smoothing else []
    words += ["last short batch dropped"] if recipe.drop_last else []
    augment = asdict(recipe.augment)
    words += [name for name, value in augment.items() if value]
    return ", ".join(words)


if __name__ == "__main__":
    from benchmarks.shell import script

    script(catalogue)
