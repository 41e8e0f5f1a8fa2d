"""What every table says of its runs, whatever it is printed on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.report.figures import NONE, count, percent

MANY = 5  # seeds that are all named
SHORT = 8  # digits of a fingerprint that tell two data sets apart

Row = Mapping[str, Any]


def setting(row: Row) -> str:
    """How it was trained: mode, precision, epochs, machine, changes, versions."""
    parts = [
        row["mode"],
        row["precision"],
        count(row["epochs"], "epoch"),
        f"{row['device']} with {count(row['threads'], 'thread')}",
        *_switches(row),
        *(f"--set {override}" for override in row["overrides"]),
        *(f"{name} {version}" for name, version in row["versions"].items()),
    ]
    return ", ".join(parts)


def _switches(row: Mapping[str, Any]) -> list[str]:
    """The variables that changed the arithmetic of all tracks, or of some."""
    own = {
        track: " and ".join(found) for track, found in row.get("switches", {}).items()
    }
    if len(own) == len(row["tracks"]) and len(set(own.values())) == 1:
        return [f"under {next(iter(own.values()))}"]
    return [f"{track} under {found}" for track, found in own.items()]


def about(row: Row) -> str:
    """What it was trained and judged on: sizes, note, seeds."""
    parts = [
        count(row["n_train"], "training image"),
        count(row["n_test"], "test image"),
    ]
    note = f" ({row['note']})" if row["note"] else ""
    seeds = count(len(row["seeds"]), "seed")
    line = f"{' and '.join(parts)}{note}; {seeds}: {_seeds(row['seeds'])}"
    if row["left_out"]:
        line += f"; {count(row['left_out'], 'older run')} of the same seeds left out"
    return line


def _seeds(seeds: Sequence[int]) -> str:
    """Say "0, 1, 2", or "0 to 9" where there are more."""
    if len(seeds) > MANY and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def apart(rows: Sequence[Row], *, shown: Sequence[str] = ()) -> list[str]:
    """What each row differs in from those that would look like it; "" where nothing.

    Two rows of one system on one data set may differ in threads or precision alone:
    the table would show the same network twice, with two accuracies.

    Args:
        rows: That stand in one list or table.
        shown: Of `_facts`, those that have a column of their own.
    """
    names = [(row["system"], row["data"]) for row in rows]
    seen = ["".join(_facts(row)[fact] for fact in shown) for row in rows]
    facts = [
        {fact: said for fact, said in _facts(row).items() if fact not in shown}
        for row in rows
    ]
    told = _differing(list(zip(names, seen, strict=True)), facts)
    spare = _differing(list(zip(names, seen, told, strict=True)), map(_digests, rows))
    return [", ".join(filter(None, both)) for both in zip(told, spare, strict=True)]


def _differing(
    names: Sequence[object], facts: Iterable[Mapping[str, str]]
) -> list[str]:
    """Of each row, the facts that are others in a row of the same name."""
    every = list(facts)
    alike: dict[object, list[Mapping[str, str]]] = {}
    for name, own in zip(names, every, strict=True):
        alike.setdefault(name, []).append(own)
    return [
        ", ".join(
            said
            for fact, said in own.items()
            if said and any(other.get(fact, said) != said for other in alike[name])
        )
        for name, own in zip(names, every, strict=True)
    ]


def _facts(row: Row) -> dict[str, str]:
    """What tells a row from another of its system and data, each in words."""
    return {
        "mode": row["mode"],
        "precision": row["precision"],
        "epochs": count(row["epochs"], "epoch"),
        "overrides": ", ".join(row["overrides"]) or "no --set",
        "device": row["device"],
        "threads": count(row["threads"], "thread"),
        "images": count(row["n_train"], "training image"),
        "note": row["note"],
        "switches": ", ".join(_switches(row)),
        **{name: f"{name} {version}" for name, version in row["versions"].items()},
    }


def _digests(row: Row) -> dict[str, str]:
    """What tells rows apart that are alike in everything that has a name."""
    found = {"data": row["fingerprint"][:SHORT], "code": row.get("code", "")}
    return {fact: f"{fact} {digest}" for fact, digest in found.items() if digest}


def foreign(row: Row) -> bool:
    """Whether the published figures are for another data set than the row's."""
    published = row["published"]
    return bool(published and published.get("data") not in (None, row["data"]))


def published_line(row: Row) -> str:
    """Where the published figures come from, or "" without any."""
    published = row["published"]
    if not published:
        return ""
    data = f"on {published['data']}, " if published.get("data") else ""
    if foreign(row):
        data = f"on {published['data']}, not on {row['data']}: "
    other = published.get("other")
    figure = "" if other is None else f"{_bracketed(row, percent(other) + ' %')} "
    return f"published    {figure}{data}{published['source']}"


def published_of(row: Row, track: str) -> str:
    """A track's published figure; of another data set only in brackets."""
    figure = (row["published"] or {}).get(track)
    return percent(figure) if figure is None else _bracketed(row, percent(figure))


def _bracketed(row: Row, text: str) -> str:
    return f"({text})" if foreign(row) else text


def published_cell(row: Row) -> str:
    """The published figures of all tracks in one cell, with their data set.

    "97.54 / 97.50 (mnist)" beside a row on mnist, "(97.54 / 97.50 on mnist)" beside
    one on other pictures, which they say nothing of.
    """
    published = row["published"]
    if not published:
        return NONE
    found = " / ".join(percent(published.get(track)) for track in row["tracks"])
    if (other := published.get("other")) is not None:
        found = f"{percent(other)} in neither"
    if foreign(row):
        return f"({found} on {published['data']})"
    return f"{found} ({published['data']})" if published.get("data") else found
