"""Other findings as tables: parity, official networks, data sets, what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from common.data.dataset import Found as Met
from common.data.dataset import few
from common.report.figures import NONE, count, disk, listed, percent, percent_range
from common.report.form import Unlike, of_this_version
from common.report.ported import happened
from common.report.table import Column, Table, columns

Found = Mapping[str, Any]


def parity(result: Found) -> list[Table]:
    """The result of `twintrack parity`, a table per system."""
    return [_rungs(row) for row in result["systems"]]


def _rungs(row: Found) -> Table:
    failed = next((rung for rung in row["rungs"] if not rung["passed"]), None)
    said = f"stopped at the rung that failed: {failed['name']}" if failed else "holds"
    absent = (f"{one['rung']}: not climbed, {one['why']}" for one in _absent(row))
    return Table(
        title=f"{row['system']}, {' and '.join(row['tracks'])}",
        columns=(*columns(["rung"], ["difference", "allowed"]), *columns(["where"])),
        rows=tuple(
            (rung["name"], _figure(rung), _allowed(rung), rung["where"] or NONE)
            for rung in row["rungs"]
        ),
        notes=(said, *absent),
    )


def _absent(row: Found) -> Sequence[Found]:
    """The rungs that were left out; older findings do not say."""
    found: Sequence[Found] = row.get("not_climbed", ())
    return found


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
    found = [Table(columns=columns(named), rows=tuple(rows), notes=notes)]
    return [*found, _labelled(result["labelled"])] if result["labelled"] else found


def _labelled(summary: Found) -> Table:
    """How many of the photos were right whose folder is named like a class."""
    photos, test = "right, % [95 %]", "its test pictures, % [95 %]"
    return Table(
        title=f"{count(summary['photos'], 'photo')} in folders named "
        f"{listed(list(summary['classes']))}",
        columns=columns(["track"], [photos, test]),
        rows=tuple(
            (track, _share(found["photos"]), _share(found["test"]))
            for track, found in summary["tracks"].items()
        ),
    )


def _share(interval: Found | None) -> str:
    if interval is None:
        return NONE
    return f"{percent(interval['mean'])} [{percent_range(interval)}]"


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
    rest = columns(["image", "fingerprint", "state"], ["size"])
    notes = [line for row in result["data"] for line in _met(row)]
    if cache := result.get("cache"):
        notes += _kept(cache)
    return [
        Table(
            title=result.get("title", ""),
            columns=(*columns(words, figured), *rest, *columns(["note"])),
            rows=tuple(tuple(_dataset(row)) for row in result["data"]),
            notes=tuple(notes),
        )
    ]


def _met(row: Found) -> Iterator[str]:
    """The classes of a prepared data set, and what was met in a folder."""
    if names := row.get("class_names"):
        yield f"{row['name']}: {few(names)}"
    if row.get("layout"):
        yield f"{row['name']} is arranged as {row['layout']}"
        kinds = [field.name for field in fields(Met)]
        met = Met(**{kind: row[kind] for kind in kinds})
        yield from (f"{row['name']}: {line}" for line in met.lines())
    if n := row.get("valid"):
        yield f"{row['name']} has a validation part of {n:,}"


def _dataset(row: Found) -> Iterator[str]:
    yield row["name"]
    for key in ("classes", "train", "test"):
        yield "" if row[key] is None else f"{row[key]:,}"
    yield "x".join(str(n) for n in row["image"] or ())
    yield (row["fingerprint"] or "")[:12]
    yield row.get("state") or ("prepared" if row["prepared"] else "not prepared")
    yield disk(row["bytes"]) if row["bytes"] else ""
    yield row["note"]


def _kept(cache: Found) -> Iterator[str]:
    """What a cache holds in all, and where else is looked."""
    kept = (f"{p['name']} {disk(p['bytes'])}" for p in cache["parts"] if p["bytes"])
    told = (
        "; of it " + ", ".join(kept) if any(p["bytes"] for p in cache["parts"]) else ""
    )
    yield f"Cache: {cache['folder']}, {disk(cache['bytes'])}{told}."
    for one in cache["shared"]:
        size = disk(one["bytes"]) if one["there"] else "which is not there"
        yield f"Shared, and only read: {one['folder']}, {size}."


def removed(result: Found) -> list[Table]:
    """The result of `twintrack data remove`."""
    rows = result["removed"]
    where = [(r["name"], disk(r["bytes"]), r["source"] or "", r["path"]) for r in rows]
    frees = "would free" if result["dry_run"] else "freed"
    return [
        Table(
            title=result.get("title", ""),
            columns=columns(["name"], ["size"]) + columns(["from", "kept at"]),
            rows=tuple(where),
            notes=(f"This {frees} {disk(result['bytes'])}.",),
        )
    ]


def catalogue(result: Found) -> list[Table]:
    """The result of `twintrack list`: a block per system, or per fault."""
    rows = result.get("systems") or result.get("faults") or []
    return [table for row in rows for table in _entry(row)]


def _entry(row: Found) -> list[Table]:
    (_, name), *rest = ((key, v) for key, v in row.items() if key != "fields")
    found = [
        Table(
            title=name,
            columns=columns(["", ""]),
            rows=tuple((f"  {key}", _value(value)) for key, value in rest),
        )
    ]
    return [*found, *(_field(one) for one in row.get("fields", ()))]


def _field(field: Found) -> Table:
    """A field that --set can change: what it is, what it means, the line to type."""
    said = [field["meaning"], f"takes {field['choices']}"]
    lines = (*(f"  {text}" for text in said if text), f"  {field['line'] or FROM_DATA}")
    return Table(title=f"{field['path']} = {field['value']}", about=lines)


FROM_DATA = "comes from the data and cannot be set"


def catalogue_page(result: Found) -> list[Table]:
    """The same as one table."""
    rows = result.get("systems") or result.get("faults") or []
    bare = [{key: v for key, v in row.items() if key != "fields"} for row in rows]
    found = Table(
        columns=columns(list(bare[0])),
        rows=tuple(tuple(_value(cell) for cell in row.values()) for row in bare),
    )
    return [found, *(_fields(row) for row in rows if "fields" in row)]


def _fields(row: Found) -> Table:
    """The fields of a system's spec and recipe."""
    return Table(
        title=row["system"],
        columns=columns(["field", "value", "takes", "meaning", "to type"]),
        rows=tuple(
            (
                *(one["path"], one["value"], one["choices"], one["meaning"]),
                one["line"] or FROM_DATA,
            )
            for one in row["fields"]
        ),
    )


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
    """What findings a store has, the newest first; `left`: how many are not named."""
    left = result.get("left", 0)
    return [
        Table(
            title="Findings",
            columns=(
                *columns(["kind", "what", "written", "outcome"]),
                Column("command", whole=True),
            ),
            rows=tuple(
                (
                    *(row["kind"], row["subject"], row["written"]),
                    *(outcome(row["kind"], row["result"]), row["command"]),
                )
                for row in result["findings"]
            ),
            notes=(f"and {left:,} older",) if left else (),
        )
    ]


# --- in a line ----------------------------------------------------------------------


def outcome(kind: str, result: Found) -> str:
    """What was found, in a few words; "" for a kind that is not known here.

    A result that another version of the command left may have another form; a list of
    all findings says so of that one and names the others.
    """
    said = OUTCOMES.get(kind)
    try:
        with of_this_version(kind, result):
            return said(result) if said else ""
    except Unlike:
        return "of another form: --format json has it"


def _of_parity(result: Found) -> str:
    rows = result["systems"]
    failed = [row["system"] for row in rows if not row["passed"]]
    return f"did not hold in {', '.join(failed)}" if failed else "holds"


def _of_speed(result: Found) -> str:
    bars = [bar for row in result["systems"] for bar in row["bars"]]
    if not bars:
        return "measured, no bar"
    return f"{sum(bar['holds'] for bar in bars)} of {count(len(bars), 'bar')} held"


def _of_official(result: Found) -> str:
    return f"at most {max(row['difference'] for row in result['pairs']):.1e} apart"


def _of_classify(result: Found) -> str:
    told = [row["agree"] for row in result["photos"] if row.get("agree") is not None]
    asked = count(result["n_photos"], "photo")
    return f"{asked}; {sum(told)} of {len(told)} agreed on" if told else asked


def _of_new_class(result: Found) -> str:
    if result["final"] is None:
        return "some networks diverged with every remedy"
    return f"best with {result['final']['remedy']}"


def _of_transfer(result: Found) -> str:
    return ", ".join(row["verdict"] for row in result["systems"]) or "no run"


def _of_pretrain(result: Found) -> str:
    return f"{percent(result['accuracy'])} % of {result['n']:,} right"


OUTCOMES: dict[str, Callable[[Found], str]] = {
    "parity": _of_parity,
    "port": happened,
    "speed": _of_speed,
    "official": _of_official,
    "classify": _of_classify,
    "new-class": _of_new_class,
    "transfer": _of_transfer,
    "pretrain": _of_pretrain,
}
