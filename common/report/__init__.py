"""What was found, for people: results as tables, tables in any format."""

from collections.abc import Callable, Mapping
from typing import Any

from common.report import (
    comparison,
    findings,
    mistakes,
    new_class,
    ported,
    speed,
    store,
)
from common.report.contrasted import contrast, contrasted
from common.report.form import Unlike, of_this_version
from common.report.ledger import ledger
from common.report.recalls import recalls, recalls_table
from common.report.summary import summarise
from common.report.table import FORMATS, Table, rendered

__all__ = [
    "COMPARED",
    "FORMATS",
    "KINDS",
    "Unlike",
    "contrasted",
    "of_this_version",
    "recalls",
    "shown",
    "summarise",
    "tables",
]

Result = Mapping[str, Any]

# What leaves a result -> its tables.
KINDS: dict[str, Callable[[Result], list[Table]]] = {
    "parity": findings.parity,
    "port": ported.tables,
    "speed": speed.tables,
    "official": findings.official,
    "classify": findings.classify,
    "new-class": new_class.tables,
    "pretrain": findings.pretrain,
    "catalogue": findings.catalogue,
    "data": findings.data,
    "ledger": ledger,
    "removed": findings.removed,
    "findings": findings.kept,
    "show": mistakes.tables,
    "store": store.contents,
    "record": store.run,
    "merge": store.merge,
    "prune": store.prune,
    "export": store.export,
}
COMPARED = ("compare", "transfer", "contrast")  # those with runs in a summary


def tables(kind: str, result: Result, *, wide: bool = True) -> list[Table]:
    """A result as tables.

    Args:
        kind: "compare", "transfer", or one of KINDS.
        result: What the command's --json writes.
        wide: One table of all, for a page, rather than a block for each system, for
            a terminal.

    Raises:
        ValueError: There is no such kind.
    """
    if kind == "catalogue" and wide:
        return findings.catalogue_page(result)
    if kind == "contrast":
        return contrast(result, wide=wide)
    if kind in KINDS:
        return KINDS[kind](result)
    if kind not in COMPARED:
        raise ValueError(
            f"a result must be of {', '.join((*COMPARED, *KINDS))}, got {kind!r}; "
            "show it as JSON"
        )
    found = (comparison.overview if wide else comparison.detailed)(result)
    if kind == "transfer":
        found.append(recalls_table(result["recalls"]))
    return found


def shown(kind: str, result: Result, format: str = "text") -> str:
    """A result in one of FORMATS, as `tables` has it."""
    return rendered(tables(kind, result, wide=format != "text"), format)
