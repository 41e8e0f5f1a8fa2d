"""From finished runs to the summary that `compare --json` and `table --json` write.

Runs whose numbers mean different things never share a row: a row has one system,
data set, mode, precision, spec, recipe, device, thread count, set of versions and, of
each track, one setting of the variables that change arithmetic.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common import stats, variables
from common.report.reach import reach as reached
from common.report.sentence import Standing, verdict_sentence
from common.results import asked
from common.stats import Comparison, Interval

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
    reach: float | None = None,
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
        reach: An accuracy, a fraction: each track then has "reach", how long training
            took to it.

    Returns:
        {"systems": [...]} as common/schema/compare.json describes.
    """
    pairs = grouped(runs, margin, tracks)
    if reach is not None:
        for group, row in pairs:
            for track, own in group.tracks.items():
                records = [run.record for run in own]
                row["tracks"][track]["reach"] = reached(records, reach)
    return {"systems": [row for _, row in pairs]}


def grouped(
    runs: Iterable[Finished], margin: float, tracks: Sequence[str] | None = None
) -> list[tuple[Group, Row]]:
    """The runs of each row, with the row that `summarise` makes of them."""
    groups = _groups(list(runs), tracks)
    return [(group, _row(group, margin)) for group in groups]


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
    everywhere = [said for said in _set_for(record) if variables.acts_everywhere(said)]
    return repr([*parts, *data, record["overrides"], numpy, everywhere])


def _set_for(record: Mapping[str, Any]) -> list[str]:
    """The variables ("NAME=value") that changed the arithmetic of a run."""
    return (record.get("identity") or {}).get("switches") or []


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
        own = [*_code_of(run), _set_for(run.record)]
        same = tracks[run.record["track"]]
        same.setdefault(repr((versions, own)), []).append(run)
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
    return judged_again(unjudged(group), margin=margin)


def unjudged(group: Group) -> Row:
    """What a row says of its runs, before they are judged."""
    about = group.runs[0].record
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
        "switches": _switches(group),
        "code": _code(group),
        "seeds": seeds,
        "tracks": {track: _track(runs) for track, runs in group.tracks.items()},
        "published": about["published"],
        "command": _command(group),
        "left_out": group.left_out,
    }


def judged_again(row: Row, *, margin: float) -> Row:
    """The row with accuracies and verdicts computed from its runs' kept answers.

    Args:
        row: Of a summary; of each run, what matters is its seed, `correct` (which test
            pictures are right, as `packed` writes them) and `diverged_at`.
        margin: The largest difference that does not matter, as a fraction.
    """
    attempts = {
        track: {run["seed"]: _attempt(run, row["n_test"]) for run in found["runs"]}
        for track, found in row["tracks"].items()
    }
    tracks = {
        track: found | {"accuracy": _accuracy(attempts[track])}
        for track, found in row["tracks"].items()
    }
    paired = row.get("paired", row["mode"] != UNPAIRED)
    noun = row.get("noun", "track")
    found = _judged(attempts, paired=paired, margin=margin, noun=noun)
    return row | {"tracks": tracks} | found


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run, as far as a verdict goes.

    Attributes:
        correct: Which test examples it gets right, (n,); none if it diverged.
        diverged_at: First step whose loss is not a number, if known.
    """

    correct: NDArray[np.bool_] | None
    diverged_at: int | None


Attempts = dict[int, Attempt]  # by seed


def packed(correct: NDArray[np.bool_]) -> str:
    """Eight answers in a byte, the first in its highest bit, as base64."""
    return b64encode(np.packbits(correct).tobytes()).decode()


def _attempt(run: Mapping[str, Any], n: int) -> Attempt:
    if run["correct"] is None:
        return Attempt(None, run["diverged_at"])
    bits = np.frombuffer(b64decode(run["correct"], validate=True), np.uint8)
    if len(bits) != -(-n // 8):
        raise ValueError("runs of one data set must have test sets of one size")
    return Attempt(np.unpackbits(bits, count=n).astype(bool), None)


def _accuracy(attempts: Attempts) -> dict[str, Any]:
    correct = _ended(attempts)
    if not correct:
        return NO_INTERVAL
    return asdict(stats.accuracy(np.stack(list(correct.values()))))


def _ended(attempts: Attempts) -> dict[int, NDArray[np.bool_]]:
    """Seed -> which test examples are right, of the runs that ended well."""
    every = {seed: attempts[seed].correct for seed in sorted(attempts)}
    return {seed: answers for seed, answers in every.items() if answers is not None}


def _track(runs: Sequence[Finished]) -> dict[str, Any]:
    records = [run.record for run in runs]
    well = [record for record in records if record["scores"]]
    times = [record["times"] for record in well]
    memory = [record["memory"] for record in well]
    return {
        "accuracy": NO_INTERVAL,
        "images_per_second": _median(time["images_per_second"] for time in times),
        "peak_memory": _largest(used["peak"] for used in memory),
        "gpu_memory": _largest(used.get("gpu") for used in memory),
        "first_step": _median(time["first_step"] for time in times),
        "seconds": _median(time["total"] for time in times),
        "runs": [
            {
                "seed": run.record["seed"],
                "accuracy": scores["accuracy"] if scores else None,
                "diverged_at": run.record["diverged_at"],
                "weights_sha256": run.record["weights_sha256"],
                "correct": packed(run.correct) if scores else None,
                "curve": run.record.get("curve", []),
            }
            for run in runs
            for scores in [run.record["scores"]]
        ],
    }


def _judged(
    attempts: dict[str, Attempts], *, paired: bool, margin: float, noun: str
) -> dict[str, Any]:
    """The first track against each of the others; the first of them is the row's."""
    first, *others = attempts
    pairs: list[tuple[str, ...]] = [(first, other) for other in others] or [(first,)]
    both = [[_at_seeds(attempts, p, t, paired=paired) for t in p] for p in pairs]
    comparable = [len(p) == 2 and all(p) and any(map(_ended, p)) for p in both]
    judged = sum(
        able and stats.look_at(min(map(len, pair))) is not None
        for able, pair in zip(comparable, both, strict=True)
    )
    compared = [
        _compared(tables, pair, paired=paired, margin=margin, among=max(judged, 1))
        if able
        else None
        for able, pair, tables in zip(comparable, pairs, both, strict=True)
    ]
    known = stats.adjusted([one for one in compared if one])
    again = iter(known)
    found = [next(again) if one else None for one in compared]
    rows = [
        _comparison(attempts, pair, one, margin, noun)
        for pair, one in zip(pairs, found, strict=True)
    ]
    shared = {key: rows[0][key] for key in rows[0] if key != "tracks"}
    return {
        "paired": paired,
        "margin": margin,
        **shared,
        "comparisons": rows if others else [],
    }


def _at_seeds(
    attempts: dict[str, Attempts], pair: tuple[str, ...], track: str, *, paired: bool
) -> Attempts:
    """A track's runs in the order of their seeds; those of both tracks if paired."""
    seeds = set(attempts[track])
    if paired:
        seeds.intersection_update(*(attempts[name] for name in pair))
    return {seed: attempts[track][seed] for seed in sorted(seeds)}


def _compared(
    both: Sequence[Attempts],
    pair: tuple[str, ...],
    *,
    paired: bool,
    margin: float,
    among: int,
) -> Comparison:
    """What the runs of two tracks say together."""
    answered = next(rows for own in both for rows in _ended(own).values())
    nothing = np.zeros_like(answered)
    tables, ended = [], []
    for own in both:
        answers = [attempt.correct for attempt in own.values()]
        tables.append(np.stack([nothing if a is None else a for a in answers]))
        ended.append(np.array([a is not None for a in answers]))
    return stats.compare(
        tables[0],
        tables[1],
        paired=paired,
        margin=margin,
        names=(pair[0], pair[1]),
        among=among,
        ended=(ended[0], ended[1]),
    )


def _comparison(
    attempts: dict[str, Attempts],
    pair: tuple[str, ...],
    found: Comparison | None,
    margin: float,
    noun: str,
) -> dict[str, Any]:
    """Difference, tests, verdict and sentence of a pair of tracks."""
    found = replace(found, noun=noun) if found else None
    exact = _exact(attempts, pair)
    standings = {track: _standing(attempts[track]) for track in pair}
    return {
        "tracks": list(pair),
        "difference": _interval(found.difference if found else None),
        "difference_p": found.difference_p if found else None,
        "mcnemar_p": stats.smallest_p(row["p"] for row in exact),
        "mcnemar": exact,
        "tost_p": found.tost_p if found else None,
        "tost_interval": _interval(found.within if found else None),
        "look": found.look if found else None,
        "next_look": found.next_look if found else stats.LOOKS[0],
        "adjusted": found.among if found else 1,
        "verdict": found.verdict if found else "undecided",
        "sentence": verdict_sentence(found, standings, margin=margin, noun=noun),
    }


def _interval(found: Interval | None) -> dict[str, float | None]:
    return asdict(found) if found else NO_INTERVAL


def _exact(
    attempts: dict[str, Attempts], pair: tuple[str, ...]
) -> list[dict[str, Any]]:
    """McNemar's test of each seed that both tracks have."""
    if len(pair) < 2:
        return []
    one, other = (_ended(attempts[track]) for track in pair)
    rows = []
    for seed in sorted(one.keys() & other.keys()):
        test = stats.mcnemar(one[seed], other[seed])
        only = {f"{pair[0]}_only": test.first_only, f"{pair[1]}_only": test.second_only}
        rows.append({"seed": seed, "p": test.p} | only)
    return rows


def _standing(attempts: Attempts) -> Standing:
    lost = {s: a.diverged_at for s, a in attempts.items() if a.correct is None}
    return Standing(tuple(_ended(attempts)), lost)


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


def _switches(group: Group) -> dict[str, list[str]]:
    """Track -> variables that changed its arithmetic; only where some were set."""
    found = {
        track: _set_for(runs[0].record) for track, runs in group.tracks.items() if runs
    }
    return {track: own for track, own in found.items() if own}


def _code(group: Group) -> str:
    """Eight digits that differ where spec, recipe or code of two rows do."""
    parts = {
        (run.record["track"], asked(run.record), repr(_code_of(run)))
        for run in group.runs
    }
    return hashlib.sha256(repr(sorted(parts)).encode()).hexdigest()[:8]


def _code_of(run: Finished) -> list[Any]:
    identity = run.record.get("identity") or {}
    return [identity.get(key) for key in ("code", "system_code")]


def _command(group: Group) -> str | None:
    """The line that was typed for the newest of the runs, where its record says."""
    newest = max(group.runs, key=_written)
    return newest.record.get("command") or None
