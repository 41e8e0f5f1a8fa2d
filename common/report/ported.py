"""The result of `twintrack port` as tables: where two models part, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.report.figures import NONE, count
from common.report.table import Table, columns

Found = Mapping[str, Any]
SHOWN = 3  # layers that agree, before the first that parts; --all has the others


def tables(result: Found) -> list[Table]:
    """The layers that agree, where the two part, and what is to be said besides."""
    found = [_agreeing(result)] if result["layers"] else []
    if result["parts"]:
        found.append(_parting(result))
    found.append(_ends(result))
    return [*found, _trained(result["training"])] if result["training"] else found


def _agreeing(result: Found) -> Table:
    layers = result["layers"]
    shown = layers if result["all"] else layers[-SHOWN:]
    left = len(layers) - len(shown)
    notes = (f"and {count(left, 'layer')} before: --all has them",) if left else ()
    return Table(
        title=f"What agrees{', before they part' if result['parts'] else ''}: "
        f"{count(len(layers), 'layer')}",
        columns=columns(["PyTorch", "Keras"], ["difference"]),
        rows=tuple(
            (
                placed(row["torch"]),
                placed(row["keras"]),
                f"{row['difference']:.1e}",
            )
            for row in shown
        ),
        notes=notes,
    )


def placed(step: Found | None) -> str:
    """A step as a reader finds it: name, class, line."""
    if step is None:
        return NONE
    name = f"{step['name']} " if step["name"] else ""
    where = f", {step['where']}" if step["where"] else ""
    return f"{name}({step['class']}{where})"


def _parting(result: Found) -> Table:
    rows = []
    for row in result["parts"]:
        rows.append(
            (
                placed(row["torch"]),
                placed(row["keras"]),
                _apart(row),
                row["cause"] or "not found",
                _said(row),
            )
        )
    return Table(
        title="Where they part",
        columns=(
            *columns(["PyTorch", "Keras"], ["difference"]),
            *columns(["cause", "why"]),
        ),
        rows=tuple(rows),
    )


def _apart(row: Found) -> str:
    if row["difference"] is not None:
        return f"{row['difference']:.1e}"
    one, other = ("x".join(map(str, shape)) for shape in row["shapes"])
    return f"{one} and {other}"


def _said(row: Found) -> str:
    if row["cause"] is None:
        return "nothing that is tried makes the difference vanish"
    text = str(row["text"])
    if row["fault"] and row["after"]:
        text += f"; with torch's the difference is {row['after']:.0e}"
    if row["also"]:
        few = ", ".join(row["also"][:2])
        more = f" and {len(row['also']) - 2} more" if len(row["also"]) > 2 else ""
        text += f"; the same in {few}{more}"
    return text


def _ends(result: Found) -> Table:
    mended = result["mended"] is not None and bool(result["parts"])
    return Table(
        title=f"What they return, {result['dtype']}, "
        f"{count(result['units']['carried'], 'layer')} with the same weights",
        columns=columns(
            ["output"], ["difference", *(["after all fixes"] if mended else [])]
        ),
        rows=tuple(
            (
                row["name"],
                _number(row["difference"]),
                *([_number(row["after"])] if mended else []),
            )
            for row in result["ends"]
        ),
        notes=(happened(result), *_hint(result), *result["notes"]),
    )


def _hint(result: Found) -> tuple[str, ...]:
    """What would tell more, where more is to be told."""
    stopped = result["mended"] is None and not result["agree"]
    hint = "--fix-and-go-on mends that in memory and looks for the next"
    return (hint,) if stopped else ()


def _trained(training: Found) -> Table:
    """Where two trainings part."""
    rows = tuple(
        (
            str(row["step"]),
            row["what"],
            row["torch"] or NONE,
            row["keras"] or NONE,
            _number(row["size"]),
            row["cause"] or "not found",
            row["text"],
        )
        for row in training["parts"]
    )
    return Table(
        title=f"Trained for {count(training['steps'], 'step')}",
        columns=(
            *columns(["step"], []),
            *columns(["what", "PyTorch", "Keras"], ["difference"]),
            *columns(["cause", "why"]),
        ),
        rows=rows,
        notes=(learned(training), *training["notes"]),
    )


def learned(training: Found) -> str:
    """What came of two trainings, in a line."""
    proved, steps = training["proved"], training["steps"]
    if training["agree"] and training["chaos"]:
        return (
            f"the first {proved} of {steps} steps agree; then they part no more than "
            "one side from itself after a start one ulp away: chaos, no fault"
        )
    if training["agree"]:
        return f"all {count(steps, 'step')} agree"
    faults = [row for row in training["parts"] if row["fault"]]
    first = (
        f": {faults[0]['cause'] or 'of a cause that is not found'}" if faults else ""
    )
    where = f"the {faults[0]['what']} of step {faults[0]['step']}" if faults else ""
    return f"the trainings part at {where or f'step {proved + 1}'}{first}"


def _number(value: float | None) -> str:
    return "other shapes" if value is None else f"{value:.1e}"


def happened(result: Found) -> str:
    """What was found, in a line."""
    faults = [row for row in result["parts"] if row["fault"]]
    training = result["training"]
    if not faults and training and not training["agree"]:
        return f"they compute the same, but {learned(training)}"
    if not faults:
        return "they compute the same"
    first = faults[0]
    step = first["torch"] or first["keras"]
    cause = first["cause"] or "of a cause that is not found"
    more = f", and at {count(len(faults) - 1, 'further place')}" if faults[1:] else ""
    return f"they part at {placed(step)}: {cause}{more}"
