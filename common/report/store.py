"""A store as tables: what is in it, one record, what a merge or a pruning does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from common.report.figures import NONE, count
from common.report.table import Table, columns

Found = Mapping[str, Any]
UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
SHOWN = 10  # runs of a kind that are named one by one, unless all are asked for
FEW = 8  # values of a list that are all shown
LONG = 72  # signs of a value that a cell holds
ELSEWHERE = ("id", "files", "pruned")  # of a record: said beside the table
OF_IDENTITY = ("system_code", "start", "versions", "code")


def size(n: int) -> str:
    """Bytes as "512 B", "1.2 MB"."""
    for unit, one in UNITS:
        if n >= one:
            return f"{n / one:,.1f} {unit}"
    return f"{n} B"


def seeds(found: Sequence[int]) -> str:
    """Seeds as "0 to 4, 7"."""
    parts: list[list[int]] = []
    for seed in found:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(
        f"{part[0]} to {part[-1]}" if len(part) > 2 else ", ".join(map(str, part))
        for part in parts
    )


# --- what is in it ------------------------------------------------------------------


def contents(result: Found) -> list[Table]:
    """The result of `twintrack store list`: a table of systems, one of bytes."""
    return [
        table
        for one in result["stores"]
        for table in (_systems(one), _sizes(one), *_ids(one, result["runs"]))
    ]


def _systems(one: Found) -> Table:
    runs = sum(row["runs"] for row in one["systems"])
    findings = sum(one["findings"].values())
    return Table(
        title=f"{one['store']}: {count(runs, 'finished run')}, "
        f"{count(findings, 'finding')}, {size(one['total'])}",
        columns=columns(
            ["system", "data", "mode", "precision", "track: seeds"],
            ["epochs", "runs", "stale", "pruned", "size"],
        )
        if one["systems"]
        else (),
        rows=tuple(_system(row) for row in one["systems"]),
        notes=tuple(_notes(one)),
    )


def _system(row: Found) -> tuple[str, ...]:
    tracks = (f"{name}: {seeds(own)}" for name, own in row["tracks"].items())
    changes = "".join(f", {override}" for override in row["overrides"])
    about = (f"{row['system']}{changes}", row["data"], row["mode"], row["precision"])
    counts = (str(row[key] or NONE) for key in ("epochs", "runs", "stale", "pruned"))
    return *about, "; ".join(tracks), *counts, size(row["bytes"])


def _notes(one: Found) -> Iterator[str]:
    for what, key in (("stale", "stale"), ("not told whether stale", "unknown")):
        reasons = Counter(row["why"] for row in one[key])
        for why, n in reasons.items():
            yield f"{what}: {count(n, 'run')}: {why}"
    for row in one["unfinished"]:
        yield f"unfinished: {row['id']}, {_begun(row)}"
    for line in one["damaged"]:
        yield f"damaged: {line}"
    if one["findings"]:
        kinds = (f"{kind} {n}" for kind, n in sorted(one["findings"].items()))
        yield f"findings: {', '.join(kinds)}"


def _begun(row: Found) -> str:
    of = f" of {row['epochs']}" if row["epochs"] else ""
    if not row["epoch"]:
        return "no checkpoint"
    return f"goes on after epoch {row['epoch']}{of}, {size(row['size'])}"


def _sizes(one: Found) -> Table:
    kinds = [kind for kind in one["bytes"] if one["files"][kind]]
    return Table(
        columns=columns(["what"], ["files", "size"]),
        rows=(
            *(
                (kind, f"{one['files'][kind]:,}", size(one["bytes"][kind]))
                for kind in kinds
            ),
            ("total", f"{sum(one['files'].values()):,}", size(one["total"])),
        ),
    )


def _ids(one: Found, asked: bool) -> Iterator[Table]:
    if asked and one["systems"]:
        stale = {row["id"]: row["why"] for row in one["stale"]}
        rows = [
            (run, stale.get(run, "")) for row in one["systems"] for run in row["ids"]
        ]
        yield Table(columns=columns(["run", "stale"]), rows=tuple(rows))


# --- one record ---------------------------------------------------------------------


def run(result: Found) -> list[Table]:
    """The result of `twintrack store show`: the record, then its files."""
    record = {k: v for k, v in result["record"].items() if k not in ELSEWHERE}
    identity = record.get("identity") or {}  # what of it the record does not say itself
    if identity:
        record["identity"] = {k: v for k, v in identity.items() if k in OF_IDENTITY}
    epochs = record.pop("history", [])
    return [
        Table(
            title=f"{result['record']['id']}: {result['state']}"
            + (f" ({result['why']})" if result["why"] else ""),
            columns=columns(["what", "value"]),
            rows=tuple(_flat(record)),
        ),
        *([_history(epochs)] if epochs else []),
        Table(
            columns=columns(["file", "what of it"], ["size"]),
            rows=tuple(
                (row["name"], row["state"], size(row["bytes"]))
                for row in result["files"]
            ),
        ),
    ]


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, own in value.items():
        name = f"{before}{key}"
        if key in ("spec", "recipe") and isinstance(own, str):
            own = _parsed(own)
        if key == "code" and isinstance(own, dict):
            yield name, f"{count(len(own), 'definition')} of {_modules(own)}"
        elif isinstance(own, dict) and own:
            yield from _flat(own, f"{name}.")
        else:
            yield name, _cell(own)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _modules(code: Iterable[str]) -> str:
    return count(len({name.partition(":")[0] for name in code}), "module")


def _cell(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, str):
        return value or NONE
    if isinstance(value, list) and len(value) > FEW and not isinstance(value[0], str):
        first, last = _figure(value[0]), _figure(value[-1])
        return f"{len(value):,} values, {first} to {last}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONG else f"{text[: LONG - 3]}..."


def _figure(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _cell(value)


def _history(epochs: Sequence[Found]) -> Table:
    names = list(epochs[0])
    rows = [tuple(_figure(epoch.get(name)) for name in names) for epoch in epochs]
    return Table(columns=columns([], names), rows=tuple(rows))


# --- merging, pruning, exporting ----------------------------------------------------

# What became of a run -> how it is said; the first word of each line.
FATES = {
    "copied": "copied",
    "restored": "brought back",
    "replaced": "copied in place of a damaged one, which was set aside",
    "same": "there already",
    "pruned": "there already, pruned here: --restore brings back its files",
    "conflict": "conflict, ours is kept",
    "in work": "left out, another process works on it here",
    "unfinished": "left out, unfinished",
    "damaged": "left out, damaged",
}
QUIET = ("copied", "same", "restored")  # not named one by one


def merge(result: Found) -> list[Table]:
    """The result of `twintrack store merge`: how many of each, the odd ones named."""
    groups = {what: _of(result["fates"], what) for what in FATES}
    would = "would become" if result["dry_run"] else "became"
    return [
        Table(
            title=f"what {would} of the runs and findings of {result['other']} in "
            f"{result['store']}",
            columns=columns(["what"], ["number", "size"]),
            rows=tuple(
                (FATES[what], str(len(own)), size(sum(row["size"] for row in own)))
                for what, own in groups.items()
                if own
            ),
            notes=(
                *(
                    f"{FATES[what].partition(',')[0]}: {row['id']}{_because(row)}"
                    for what, own in groups.items()
                    if what not in QUIET
                    for row in own
                ),
                *(("nothing was written: --dry-run",) if result["dry_run"] else ()),
            ),
        )
    ]


def _of(fates: Iterable[Found], what: str) -> list[Found]:
    return [row for row in fates if row["what"] == what]


def _because(row: Found) -> str:
    return f": {row['why']}" if row["why"] else ""


def prune(result: Found) -> list[Table]:
    """The result of `twintrack store prune`: how much of each part goes, and whose."""
    done = [row for row in result["cuts"] if row["done"] or not result["done"]]
    parts = list(dict.fromkeys(row["part"] for row in done))
    total = sum(row["bytes"] for row in done)
    what = "gone" if result["done"] else "would go"
    rows = [
        (part, str(len(own)), size(sum(row["bytes"] for row in own)))
        for part in parts
        for own in [[row for row in done if row["part"] == part]]
    ]
    return [
        Table(
            title=f"{what} from {result['store']}: {size(total)}",
            columns=columns(["what"], ["runs", "size"]) if rows else (),
            rows=tuple(rows),
            notes=tuple(_pruned(result, done)),
        )
    ]


def _pruned(result: Found, done: Sequence[Found]) -> Iterator[str]:
    for part in dict.fromkeys(row["part"] for row in done):
        own = [row for row in done if row["part"] == part]
        named = own if part not in ("logits", "weights", "logs") else own[:SHOWN]
        for row in named:
            yield f"{part}: {row['run']}, {size(row['bytes'])}{_because(row)}"
        if len(own) > len(named):
            yield f"{part}: {len(own) - len(named)} further runs (--json names all)"
    for row in result["cuts"]:
        if result["done"] and not row["done"]:
            yield f"left: {row['part']} of {row['run']}, another process works on it"
    if result["lost"]:
        yield (
            f"unfinished runs would be begun again from nothing: {result['lost']}"
            if not result["done"]
            else f"unfinished runs are begun again from nothing: {result['lost']}"
        )
    if not result["done"]:
        yield "nothing was removed: --yes does it" if done else "nothing to remove"


def export(result: Found) -> list[Table]:
    """What `twintrack store export` wrote."""
    return [
        Table(
            title=f"{result['file']}: {result['kind']}, {size(result['bytes'])}",
            notes=tuple(result["said"]),
        )
    ]
