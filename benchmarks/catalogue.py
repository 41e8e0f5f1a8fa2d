"""What there is to train, and which faults parity can plant.

twintrack list
twintrack list --faults
"""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import options
from common import codec, files
from common.faults import FAULTS, PLANTED_IN
from common.recipe import SGD, Recipe
from common.spec import parameters
from common.systems import SYSTEMS, System, find, resolve

CLASSES = 10


def catalogue(
    *,
    faults: Annotated[
        bool, typer.Option("--faults", help="The faults that parity can plant.")
    ] = False,
    system: options.System = None,
    json: options.Json = None,
) -> dict[str, Any]:
    """List the systems, or with --faults what parity --break can plant."""
    for module in system or []:
        find(module)
    rows = (
        [{"fault": n, **_fault(n)} for n in FAULTS]
        if faults
        else [_system(s) for s in SYSTEMS.values()]
    )
    console = Console()
    for row in rows:
        _show(console, row)
    found = {"faults" if faults else "systems": rows}
    if json:
        files.write_atomic(json, jsonlib.dumps(found, indent=1).encode())
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


def _show(console: Console, row: dict[str, Any]) -> None:
    (_, name), *rest = row.items()
    console.print(f"[bold]{name}[/]")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(min_width=12)
    grid.add_column(overflow="fold")
    for key, value in rest:
        grid.add_row(f"  {key}", _text(value))
    console.print(grid, highlight=False)


def _text(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, dict):
        return value or "nothing"
    figures = [
        f"{track} {100 * value[track]:.2f} %"
        for track in ("torch", "tensorflow")
        if value[track] is not None
    ]
    return f"{', '.join(figures)} ({value['source']})"


if __name__ == "__main__":
    from benchmarks.cli import script

    script(catalogue)
