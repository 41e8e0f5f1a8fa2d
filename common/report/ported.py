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
    return [*found, _ends(result)]


def _agreeing(result: Found) -> Table:
    layers = result["layers"]
    shown = layers if result["all"] or result["agree"] else layers[-SHOWN:]
    shown = layers[-SHOWN:] if not result["all"] else shown
    left = len(layers) - len(shown)
    notes = (f"and {count(left, 'layer')} before: --all has them",) if left else ()
    return Table(
        title=f"{count(len(layers), 'layer')} that agree"
        + ("" if not result["parts"] else ", before they part"),
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
    text = row["text"]
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
        notes=(happened(result), *result["notes"]),
    )


def _number(value: float | None) -> str:
    return "other shapes" if value is None else f"{value:.1e}"


def happened(result: Found) -> str:
    """What was found, in a line."""
    faults = [row for row in result["parts"] if row["fault"]]
    if not faults:
        return "they compute the same"
    first = faults[0]
    step = first["torch"] or first["keras"]
    cause = first["cause"] or "of a cause that is not found"
    more = f", and at {count(len(faults) - 1, 'further place')}" if faults[1:] else ""
    return f"they part at {placed(step)}: {cause}{more}"
