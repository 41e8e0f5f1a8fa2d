"""From finished runs to the summary that `compare --json` and `table --json` write.

Runs whose numbers mean different things never share a row: a row has one system,
data set, mode, precision, spec, recipe, device, thread count and set of versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common import stats
from common.report.sentence import Standing, verdict_sentence
from common.results import asked
from common.stats import Comparison

# Which come first where nobody says: "difference is torch minus tensorflow" is what
# the readers of `--json` rely on.
FIRST = ("torch", "tensorflow")
UNPAIRED = "native"  # the mode in which equal seeds share nothing
NO_INTERVAL: dict[str, float | None] = {"mean": None, "low": None, "high": None}

# What the numbers of all tracks' runs depend on, from the record itself.
SHARED = (
    *("system", "mode", "precision"),
    *("epochs", "device", "threads"),
)

Summary = dict[str, Any]
Row = dict[str, Any]


class Finished(Protocol):
    """What a summary needs of a run; `common.results.Run` is one."""

    @property
    def record(self) -> dict[str, Any]:
        """All that is known of it."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which test examples it gets right; only where it has scores."""

    def labels(self) -> NDArray[np.int64]:
        """The right label of each test example; only where it has scores."""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that belong in one row.

    Attributes:
        tracks: Track -> its runs, by seed; without runs for a track that has none.
        left_out: Runs that other runs of the same track and seed replace.
    """

    tracks: dict[str, list[Finished]]
    left_out: int

    @property
    def runs(self) -> list[Finished]:
        """Of all tracks."""
        return [run for runs in self.tracks.values() for run in runs]


def summarise(
    runs: Iterable[Finished],
    *,
    margin: float = stats.MARGIN,
    tracks: Sequence[str] | None = None,
) -> Summary:
    """Judge finished runs, one row per system and setting.

    The first track is compared with each of the others; with more than two tracks the
    verdicts are adjusted for their number (Holm).  `difference`, `verdict` and the like
    of a row are those of its first comparison.  Rates and times are medians over a
    track's runs, peak memory is the largest.  `mcnemar_p` is the smallest of the seeds'
    exact p values times their number, at most 1 (Bonferroni); the seeds' own are in
    `mcnemar`.

    Args:
        runs: Of any systems, settings and tracks, in any order.
        margin: The largest difference that does not matter, as a fraction.
        tracks: Those that were asked for, in order; those of the runs unless given.

    Returns:
        {"systems": [...]} as common/schema/compare.json describes.
    """
    groups = _groups(list(runs), tracks)
    return {"systems": [_row(group, margin) for group in groups]}


# --- which runs belong together ---------------------------------------------------


def _groups(runs: Sequence[Finished], tracks: Sequence[str] | None) -> list[Group]:
    together: dict[str, list[Finished]] = {}
    for run in runs:
        together.setdefault(_shared(run.record), []).append(run)
    found = [
        group
        for alike in together.values()
        for same in _by_code(alike)
        for group in _by_versions(same, tracks)
    ]
    order = list(dict.fromkeys(run.record["system"] for run in runs))
    return sorted(found, key=lambda group: _place(group.runs[0].record, order))


def _place(record: Mapping[str, Any], order: list[str]) -> tuple[Any, ...]:
    """Systems as they were given, each system's settings in a fixed order."""
    data = (record["data"]["name"], record["data"]["note"])
    setting = (record["mode"], record["precision"], record["epochs"])
    return order.index(record["system"]), *data, *setting, record["overrides"]


def _shared(record: Mapping[str, Any]) -> str:
    parts = [*(record[key] for key in SHARED), *asked(record)]
    data = [record["data"][key] for key in ("fingerprint", "name", "note")]
    numpy = record["environment"].get("versions", {}).get("numpy")
    return repr([*parts, *data, record["overrides"], numpy])


def _by_code(runs: Sequence[Finished]) -> Iterator[list[Finished]]:
    """Runs apart that used other code of `common`, where they used the same parts.

    What a track's run uses differs from track to track; what all of them use must be
    the same in a row.
    """
    codes = [(run.record.get("identity") or {}).get("code") or {} for run in runs]
    used = set.intersection(*(set(code) for code in codes))
    shared = sorted(name for name in used if name.startswith("common"))
    found: dict[tuple[str, ...], list[Finished]] = {}
    for run, code in zip(runs, codes, strict=True):
        found.setdefault(tuple(code[name] for name in shared), []).append(run)
    yield from found.values()


def in_order(tracks: Iterable[str]) -> list[str]:
    """Tracks as reports name them where nobody says: FIRST, then by name."""
    found = set(tracks)
    return [t for t in FIRST if t in found] + sorted(found - {*FIRST})


def _by_versions(
    runs: Sequence[Finished], asked: Sequence[str] | None
) -> Iterator[Group]:
    """A group for each combination of the tracks' versions, usually one."""
    there = in_order(run.record["track"] for run in runs)
    named = [*(asked or ()), *(track for track in there if track not in (asked or ()))]
    tracks: dict[str, dict[str, list[Finished]]] = {track: {} for track in named}
    for run in runs:
        versions = run.record["environment"].get("versions", {})
        identity = run.record.get("identity") or {}
        code = [identity.get(key) for key in ("code", "system_code")]
        same = tracks[run.record["track"]]
        same.setdefault(repr((versions, code)), []).append(run)
    for choice in product(*(list(kinds.values()) or [[]] for kinds in tracks.values())):
        chosen = {t: _one_per_seed(r) for t, r in zip(tracks, choice, strict=True)}
        dropped = sum(map(len, choice)) - sum(map(len, chosen.values()))
        yield Group(chosen, dropped)


def _one_per_seed(runs: list[Finished]) -> list[Finished]:
    """The newest run of each seed: records of other code may look the same."""
    newest: dict[int, Finished] = {}
    for run in sorted(runs, key=_written):
        newest[run.record["seed"]] = run
    return [newest[seed] for seed in sorted(newest)]


def _written(run: Finished) -> float:
    record = run.path / "record.json"
    return record.stat().st_mtime if record.exists() else 0.0


# --- one row ----------------------------------------------------------------------


def _row(group: Group, margin: float) -> Row:
    about = group.runs[0].record
    correct = {track: _correct(runs) for track, runs in group.tracks.items()}
    seeds = sorted({run.record["seed"] for run in group.runs})
    return {
        "system": about["system"],
        "data": about["data"]["name"],
        "fingerprint": about["data"]["fingerprint"],
        "note": about["data"]["note"],
        "n_train": about["data"]["train"],
        "n_test": about["data"]["test"],
        "mode": about["mode"],
        "precision": about["precision"],
        "device": about["device"],
        "threads": about["threads"],
        "epochs": about["epochs"],
        "overrides": list(about["overrides"]),
        "parameters": about["parameters"],
        "versions": _versions(group),
        "seeds": seeds,
        "tracks": {
            track: _track(runs, correct[track]) for track, runs in group.tracks.items()
        },
        **_judged(group, correct, paired=about["mode"] != UNPAIRED, margin=margin),
        "published": about["published"],
        "command": _command(group),
        "left_out": group.left_out,
    }


def _correct(runs: Sequence[Finished]) -> dict[int, NDArray[np.bool_]]:
    """Seed -> which test examples are right, of the runs that ended well."""
    found = {run.record["seed"]: run.correct for run in runs if run.record["scores"]}
    if len({len(right) for right in found.values()}) > 1:
        raise ValueError("runs of one data set must have test sets of one size")
    return found


def _track(runs: Sequence[Finished], correct: dict[int, Any]) -> dict[str, Any]:
    records = [run.record for run in runs]
    well = [record for record in records if record["scores"]]
    interval = NO_INTERVAL
    if correct:
        interval = asdict(stats.accuracy(np.stack(list(correct.values()))))
    times = [record["times"] for record in well]
    memory = [record["memory"] for record in well]
    return {
        "accuracy": interval,
        "images_per_second": _median(time["images_per_second"] for time in times),
        "peak_memory": _largest(used["peak"] for used in memory),
        "gpu_memory": _largest(used.get("gpu") for used in memory),
        "first_step": _median(time["first_step"] for time in times),
        "runs": [
            {
                "seed": record["seed"],
                "accuracy": record["scores"]["accuracy"] if record["scores"] else None,
                "diverged_at": record["diverged_at"],
                "weights_sha256": record["weights_sha256"],
            }
            for record in records
        ],
    }


def _judged(
    group: Group, correct: dict[str, dict[int, Any]], *, paired: bool, margin: float
) -> dict[str, Any]:
    """The first track against each of the others; the first of them is the row's."""
    first, *others = group.tracks
    pairs: list[tuple[str, ...]] = [(first, other) for other in others] or [(first,)]
    tables = [_tables(correct, pair, paired=paired) for pair in pairs]
    judged = sum(bool(both) and min(map(len, both)) > 1 for both in tables)
    compared = [
        _compared(both, pair, paired=paired, margin=margin, among=max(judged, 1))
        for pair, both in zip(pairs, tables, strict=True)
    ]
    known = stats.adjusted([one for one in compared if one])
    again = iter(known)
    found = [next(again) if one else None for one in compared]
    rows = [
        _comparison(group, correct, pair, one, margin)
        for pair, one in zip(pairs, found, strict=True)
    ]
    shared = {key: rows[0][key] for key in rows[0] if key != "tracks"}
    return {
        "paired": paired,
        "margin": margin,
        **shared,
        "comparisons": rows if others else [],
    }


def _tables(
    correct: dict[str, dict[int, Any]], pair: tuple[str, ...], *, paired: bool
) -> list[NDArray[np.bool_]]:
    """Which test examples the runs of two tracks get right; none if one has no run.

    Each is (seeds, examples), row by row the same seeds if paired.
    """
    if len(pair) < 2:
        return []
    one, other = (correct[track] for track in pair)
    both = sorted(one.keys() & other.keys())
    seeds = (both, both) if paired else (sorted(one), sorted(other))
    if not all(seeds):
        return []
    return [
        np.stack([own[seed] for seed in those])
        for own, those in zip((one, other), seeds, strict=True)
    ]


def _compared(
    both: Sequence[NDArray[np.bool_]],
    pair: tuple[str, ...],
    *,
    paired: bool,
    margin: float,
    among: int,
) -> Comparison | None:
    """What the runs of two tracks say together, if both have any."""
    if not both:
        return None
    names = (pair[0], pair[1])
    return stats.compare(*both, paired=paired, margin=margin, names=names, among=among)


def _comparison(
    group: Group,
    correct: dict[str, dict[int, Any]],
    pair: tuple[str, ...],
    found: Comparison | None,
    margin: float,
) -> dict[str, Any]:
    """Difference, tests, verdict and sentence of a pair of tracks."""
    exact = _exact(correct, pair)
    standings = {
        track: _standing(group.tracks[track], correct[track]) for track in pair
    }
    return {
        "tracks": list(pair),
        "difference": asdict(found.difference) if found else NO_INTERVAL,
        "difference_p": found.difference_p if found else None,
        "mcnemar_p": stats.smallest_p(row["p"] for row in exact),
        "mcnemar": exact,
        "tost_p": found.tost_p if found else None,
        "adjusted": found.among if found else 1,
        "verdict": found.verdict if found else "undecided",
        "sentence": verdict_sentence(found, standings, margin=margin),
    }


def _exact(
    correct: dict[str, dict[int, Any]], pair: tuple[str, ...]
) -> list[dict[str, Any]]:
    """McNemar's test of each seed that both tracks have."""
    if len(pair) < 2:
        return []
    one, other = (correct[track] for track in pair)
    rows = []
    for seed in sorted(one.keys() & other.keys()):
        test = stats.mcnemar(one[seed], other[seed])
        only = {f"{pair[0]}_only": test.first_only, f"{pair[1]}_only": test.second_only}
        rows.append({"seed": seed, "p": test.p} | only)
    return rows


def _standing(runs: Sequence[Finished], correct: Mapping[int, Any]) -> Standing:
    lost = [run.record for run in runs if not run.record["scores"]]
    return Standing(tuple(correct), {r["seed"]: r["diverged_at"] for r in lost})


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _versions(group: Group) -> dict[str, str]:
    versions: dict[str, str] = {}
    for run in group.runs:
        versions |= run.record["environment"].get("versions", {})
    return versions


def _command(group: Group) -> str | None:
    """The line that was typed for the newest of the runs, where its record says."""
    newest = max(group.runs, key=_written)
    return newest.record.get("command") or None
