"""Results for experiment trackers: what one comparison and each of its runs log.

A comparison is a parent, each run of it a child.  Names and numbers are plain, so any
tracker can take them; which one does is `benchmarks.export`'s matter.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.report.summary import Group, Row

STEPS = 2000  # losses of a run that are logged at most, evenly chosen


@dataclass(frozen=True, slots=True)
class Point:
    """A number of a series.

    Attributes:
        name: Of the series.
        value: Finite.
        step: Its place.
    """

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What one run of a tracker holds.

    Attributes:
        key: The same for the same thing, whenever it is exported.
        state: What it is made of by now: a comparison grows with its seeds.
        name: For people.
        params: Settings, as texts.
        points: Numbers.
        tags: Words about it.
        children: Runs beneath it.
    """

    key: str
    state: str
    name: str
    params: Mapping[str, str]
    points: tuple[Point, ...]
    tags: Mapping[str, str]
    children: tuple[Logged, ...] = ()


def comparisons(pairs: Sequence[tuple[Group, Row]]) -> Iterator[Logged]:
    """A parent for each comparison, a child for each of its runs."""
    for group, row in pairs:
        children = tuple(
            run_logged(run) for runs in group.tracks.values() for run in runs
        )
        settings = _settings(row)
        code = [(run.record.get("identity") or {}).get("code") for run in group.runs]
        told = json.dumps([settings, code[0]], sort_keys=True)
        yield Logged(
            key=hashlib.sha256(told.encode()).hexdigest()[:32],
            state=" ".join(sorted(child.key for child in children)),
            name=f"{row['system']} on {row['data']}",
            params=settings,
            points=tuple(_judged(row)),
            tags={
                "verdict": row["verdict"],
                "sentence": row["sentence"],
                "seeds": ", ".join(map(str, row["seeds"])),
            },
            children=children,
        )


def _settings(row: Row) -> dict[str, str]:
    said = ("system", "data", "mode", "precision", "device", "threads", "epochs")
    found = {name: str(row[name]) for name in said}
    found |= {f"version.{name}": v for name, v in row["versions"].items()}
    found |= dict(_changes(row["overrides"]))
    return found | {"fingerprint": row["fingerprint"]}


def _changes(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in overrides:
        name, _, value = line.partition("=")
        yield name, value


def _judged(row: Row) -> Iterator[Point]:
    """Accuracies and differences with the ends of their intervals."""
    for track, found in row["tracks"].items():
        yield from _interval(f"accuracy.{track}", found["accuracy"])
    for pair in row["comparisons"]:
        name = "difference." + "-".join(pair["tracks"])
        yield from _interval(name, pair["difference"])
        yield from _known(f"{name}.tost_p", pair["tost_p"])
    yield from _known("margin", row["margin"])


def _interval(name: str, found: Mapping[str, Any]) -> Iterator[Point]:
    yield from _known(name, found["mean"])
    yield from _known(f"{name}.low", found["low"])
    yield from _known(f"{name}.high", found["high"])


def _known(name: str, value: float | None, step: int = 0) -> Iterator[Point]:
    """A point, where the number is one: trackers turn infinity into 1.8e308."""
    if value is not None and math.isfinite(value):
        yield Point(name, float(value), step)


def run_logged(run: Any) -> Logged:
    """One run: its settings, its scores, its loss and its epochs."""
    record = run.record
    scores = record["scores"] or {}
    said = ("system", "mode", "precision", "track", "seed", "device", "threads")
    params = {name: str(record[name]) for name in (*said, "epochs", "parameters")}
    params |= {"data": record["data"]["name"], "id": record["id"]}
    params |= dict(_changes(record["overrides"]))
    return Logged(
        key=record["id"],
        state=record["sha256"],
        name=f"{record['track']} seed {record['seed']}",
        params=params,
        points=tuple(_of_run(record, scores)),
        tags={
            "command": record.get("command") or "",
            "environment": json.dumps(record["environment"], sort_keys=True),
        },
    )


def _of_run(record: Mapping[str, Any], scores: Mapping[str, Any]) -> Iterator[Point]:
    yield from _known("test.accuracy", scores.get("accuracy"))
    yield from _known("test.loss", scores.get("loss"))
    yield from _known("diverged_at", record["diverged_at"])
    yield from _known("seconds", record["times"]["total"])
    yield from _known("images_per_second", record["times"]["images_per_second"])
    yield from _known("peak_memory_bytes", record["memory"]["peak"])
    for epoch in record["history"]:
        step = epoch["epoch"]
        yield from _known("epoch.train_loss", epoch.get("train_loss"), step)
        yield from _known("epoch.accuracy", epoch.get("accuracy"), step)
        yield from _known("epoch.loss", epoch.get("loss"), step)
    losses = record["losses"]
    every = max(-(-len(losses) // STEPS), 1)
    for step in range(0, len(losses), every):
        yield from _known("step.loss", losses[step], step)
