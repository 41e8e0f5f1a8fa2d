"""Other findings as tables: parity, official networks, data sets, what there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from common.report.figures import NONE, count, percent
from common.report.table import Table, columns

Found = Mapping[str, Any]


def parity(result: Found) -> list[Table]:
    """The result of `twintrack parity`, a table per system."""
    return [_rungs(row) for row in result["systems"]]


def _rungs(row: Found) -> Table:
    failed = next((rung for rung in row["rungs"] if not rung["passed"]), None)
    said = f"stopped at the rung that failed: {failed['name']}" if failed else "holds"
    return Table(
        title=f"{row['system']}, {' and '.join(row['tracks'])}",
        columns=(*columns(["rung"], ["difference", "allowed"]), *columns(["where"])),
        rows=tuple(
            (rung["name"], _figure(rung), _allowed(rung), rung["where"] or NONE)
            for rung in row["rungs"]
        ),
        notes=(said,),
    )


def _figure(rung: Found) -> str:
    if rung["difference"] is None:
        return "not a number"
    form = ".0f" if rung["dtype"] is None else ".1e"
    return f"{rung['difference']:{form}}"


def _allowed(rung: Found) -> str:
    if rung["tolerance"] is None:
        return NONE
    return f"{rung['tolerance']:.0e}" if rung["tolerance"] else "0"


def official(result: Found) -> list[Table]:
    """The result of `twintrack official`: the pairs, the farthest first."""
    pairs = sorted(result["pairs"], key=lambda row: -row["difference"])
    return [
        Table(
            title=f"{result['size']} px, {result['n']} photos, float32 logits, "
            f"weights: {result['weights']}",
            columns=columns(["from the same weights", "and"], ["difference"]),
            rows=tuple(
                (row["a"], row["b"], f"{row['difference']:.1e}") for row in pairs
            ),
        )
    ]


def classify(result: Found) -> list[Table]:
    """The result of `twintrack classify`: the first label of each photo."""
    answered = (row["tracks"] for row in result["photos"] if "tracks" in row)
    tracks = list(next(answered, ()))
    named = ["photo", *tracks, "agree"]
    rows = [_photo(row, tracks) for row in result["photos"]]
    left = result["n_photos"] - len(rows)
    notes = (f"{count(left, 'further photo')} not kept",) if left else ()
    return [Table(columns=columns(named), rows=tuple(rows), notes=notes)]


def _photo(row: Found, tracks: list[str]) -> tuple[str, ...]:
    if "error" in row:
        return (row["file"], *(NONE for _ in tracks), row["error"])
    firsts = (row["tracks"][track]["top"][0] for track in tracks)
    said = (f"{first['label']} {first['probability']:.1%}" for first in firsts)
    agree = {True: "yes", False: "no", None: NONE}[row["agree"]]
    return (row["file"], *said, agree)


def pretrain(result: Found) -> list[Table]:
    """The result of `twintrack pretrain`."""
    return [
        Table(
            columns=columns(
                ["file", "track"], ["classes", "accuracy %", "before %", "n"]
            ),
            rows=(
                (
                    *(result["output"], result["track"]),
                    str(len(result["classes"])),
                    percent(result["accuracy"]),
                    percent(result["before"]),
                    f"{result['n']:,}",
                ),
            ),
        )
    ]


def data(result: Found) -> list[Table]:
    """The result of `twintrack data` and its subcommands."""
    words, figured = ["name"], ["classes", "train", "test"]
    rest = columns(["image", "fingerprint", "state", "note"])
    return [
        Table(
            title=result.get("title", ""),
            columns=(*columns(words, figured), *rest),
            rows=tuple(tuple(_dataset(row)) for row in result["data"]),
        )
    ]


def _dataset(row: Found) -> Iterator[str]:
    yield row["name"]
    for key in ("classes", "train", "test"):
        yield "" if row[key] is None else f"{row[key]:,}"
    yield "x".join(str(n) for n in row["image"] or ())
    yield (row["fingerprint"] or "")[:12]
    yield row.get("state") or ("prepared" if row["prepared"] else "not prepared")
    yield row["note"]


def catalogue(result: Found) -> list[Table]:
    """The result of `twintrack list`: a block per system, or per fault."""
    rows = result.get("systems") or result.get("faults") or []
    return [_entry(row) for row in rows]


def _entry(row: Found) -> Table:
    (_, name), *rest = row.items()
    width = max(len(key) for key, _ in rest)
    lines = (f"  {key:<{width}}  {_value(value)}" for key, value in rest)
    return Table(title=name, about=tuple(lines))


def catalogue_page(result: Found) -> list[Table]:
    """The same as one table."""
    rows = result.get("systems") or result.get("faults") or []
    return [
        Table(
            columns=columns(list(rows[0])),
            rows=tuple(tuple(_value(cell) for cell in row.values()) for row in rows),
        )
    ]


def _value(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, Mapping):
        return value or "nothing"
    figures = [
        f"{name} {percent(figure)} %"
        for name, figure in value.items()
        if isinstance(figure, float)
    ]
    return f"{', '.join(figures)} ({value['source']})"


def kept(result: Found) -> list[Table]:
    """What findings a store has, the newest first."""
    return [
        Table(
            title="Findings",
            columns=columns(["kind", "what", "written", "command"]),
            rows=tuple(
                (row["kind"], row["subject"], row["written"], row["command"])
                for row in result["findings"]
            ),
        )
    ]
