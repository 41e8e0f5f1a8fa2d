"""A summary as Markdown: one table per mode and precision, sentences below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.report import figures
from common.report.headings import about, published_pair, setting

COLUMNS = (
    "System",
    "Data",
    "Epochs",
    "n",
    "PyTorch % [95 %]",
    "TensorFlow % [95 %]",
    "Difference, points [95 %]",
    "Verdict",
    "Published %, PyTorch / TensorFlow",
)
LEGEND = (
    "n: runs of PyTorch / TensorFlow, each with its own seed. Accuracies are means "
    "over the runs, on all test images. Difference: PyTorch minus TensorFlow. "
    "Published figures stand with the data set they were published for."
)


def markdown(summary: Mapping[str, Any]) -> str:
    """Every row of a summary, for a README.

    Results of different modes or precisions are never in one table.
    """
    kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in summary["systems"]:
        kinds.setdefault((row["mode"], row["precision"]), []).append(row)
    parts = [_section(*kind, rows) for kind, rows in kinds.items()]
    return "\n\n".join([*parts, LEGEND]) + "\n"


def _section(mode: str, precision: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(_cells(row)) for row in rows]
    said = [_said(row) for row in rows]
    title = f"**Mode {mode}, precision {precision}**"
    return "\n\n".join([title, "\n".join(lines), "\n".join(said)])


def _cells(row: Mapping[str, Any]) -> list[str]:
    torch, tensorflow = (row["tracks"][track] for track in ("torch", "tensorflow"))
    runs = [
        sum(run["accuracy"] is not None for run in track["runs"])
        for track in (torch, tensorflow)
    ]
    changes = "".join(f", {override}" for override in row["overrides"])
    note = f" ({row['note']})" if row["note"] else ""
    return [
        f"{row['system']}{changes}",
        f"{row['data']}{note}; {row['n_test']:,} test images",
        str(row["epochs"]),
        f"{runs[0]} / {runs[1]}",
        _with(torch["accuracy"], figures.percent, figures.percent_range),
        _with(tensorflow["accuracy"], figures.percent, figures.percent_range),
        _with(row["difference"], figures.points, figures.points_range),
        row["verdict"],
        published_pair(row),
    ]


def _with(interval: Mapping[str, Any], mean: Any, span: Any) -> str:
    if interval["mean"] is None:
        return figures.NONE
    return f"{mean(interval['mean'])} [{span(interval)}]"


def _said(row: Mapping[str, Any]) -> str:
    """The row's sentence, its setting and the command that repeats it."""
    name = f"**{row['system']}** on {row['data']}"
    text = f"- {name}: {row['sentence']}. ({_escaped(setting(row))}; {about(row)}"
    if row["published"]:
        text += f"; published: {row['published']['source']}"
    text += ")"
    return f"{text}\n  `{row['command']}`" if row["command"] else text


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Text that ends no cell."""
    return text.replace("|", "\\|")
