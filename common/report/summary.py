"""From finished runs to the summary that `compare --json` and `table --json` write.

Runs whose numbers mean different things never share a row: a row has one system,
data set, mode, precision, spec, recipe, device, thread count and set of versions.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common import stats
from common.job import Job
from common.report.sentence import Standing, verdict_sentence
from common.results import JOB
from common.systems import SYSTEMS

PAIR = ("torch", "tensorflow")  # `difference` is the first minus the second
UNPAIRED = "native"  # the mode in which equal seeds share nothing
NO_INTERVAL: dict[str, float | None] = {"mean": None, "low": None, "high": None}

# What the numbers of both tracks' runs depend on, from the record itself ...
SHARED = (
    *("system", "mode", "precision", "spec", "recipe"),
    *("epochs", "device", "threads"),
)
# ... and from its identity, where the store keeps that: the code of `common`.
CODE = ("code",)

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
    runs: Iterable[Finished], *, margin: float = stats.MARGIN, tracks=None
) -> Summary:
    """Judge finished runs, one row per system and setting.

    Rates and times are medians over a track's runs, peak memory is the largest.
    `mcnemar_p` is the smallest of the seeds' exact p values times their number, at
    most 1 (Bonferroni); the seeds' own are in `mcnemar`.

    Args:
        runs: Of any systems and settings, in any order.
        margin: The largest difference that does not matter, as a fraction.

    Returns:
        {"systems": [...]} as common/schema/compare.json describes.
    """
    return {"systems": [_row(group, margin) for group in _groups(list(runs))]}


# --- which runs belong together ---------------------------------------------------


def _groups(runs: Sequence[Finished]) -> list[Group]:
    together: dict[str, list[Finished]] = {}
    for run in runs:
        together.setdefault(_shared(run.record), []).append(run)
    found = [group for same in together.values() for group in _by_versions(same)]
    order = list(dict.fromkeys(run.record["system"] for run in runs))
    return sorted(found, key=lambda group: _place(group.runs[0].record, order))


def _place(record: Mapping[str, Any], order: list[str]) -> tuple[Any, ...]:
    """Systems as they were given, each system's settings in a fixed order."""
    data = (record["data"]["name"], record["data"]["note"])
    setting = (record["mode"], record["precision"], record["epochs"])
    return order.index(record["system"]), *data, *setting, record["overrides"]


def _shared(record: Mapping[str, Any]) -> str:
    identity = record.get("identity") or {}
    parts = [record[key] for key in SHARED] + [identity.get(key) for key in CODE]
    data = [record["data"][key] for key in ("fingerprint", "name", "note")]
    numpy = record["environment"].get("versions", {}).get("numpy")
    return repr([*parts, *data, record["overrides"], numpy])


def _by_versions(runs: Sequence[Finished]) -> Iterator[Group]:
    """A group for each combination of the tracks' versions, usually one."""
    tracks: dict[str, dict[str, list[Finished]]] = {track: {} for track in PAIR}
    for run in runs:
        versions = run.record["environment"].get("versions", {})
        identity = run.record.get("identity") or {}
        code = [identity.get(key) for key in ("track_code", "system_code")]
        same = tracks.setdefault(run.record["track"], {})
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
        "published": _published(about),
        "command": _command(group, seeds, margin),
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
    """Difference, tests, verdict and sentence of the pair of tracks."""
    torch, tensorflow = (correct[track] for track in PAIR)
    both = sorted(torch.keys() & tensorflow.keys())
    seeds = (both, both) if paired else (sorted(torch), sorted(tensorflow))
    found = None
    if all(seeds):
        found = stats.compare(
            np.stack([torch[seed] for seed in seeds[0]]),
            np.stack([tensorflow[seed] for seed in seeds[1]]),
            paired=paired,
            margin=margin,
        )
    exact = {seed: stats.mcnemar(torch[seed], tensorflow[seed]) for seed in both}
    standings = {
        track: _standing(group.tracks[track], correct[track]) for track in PAIR
    }
    return {
        "paired": paired,
        "difference": asdict(found.difference) if found else NO_INTERVAL,
        "mcnemar_p": stats.smallest_p(test.p for test in exact.values()),
        "mcnemar": [{"seed": seed} | asdict(test) for seed, test in exact.items()],
        "tost_p": found.tost_p if found else None,
        "margin": margin,
        "verdict": found.verdict if found else "undecided",
        "sentence": verdict_sentence(found, standings, margin=margin),
    }


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


def _published(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The published figure, with the name of the data it was published for."""
    if not record["published"]:
        return None
    system = SYSTEMS.get(record["system"])
    return {"data": system.data if system else None, **record["published"]}


def _command(group: Group, seeds: list[int], margin: float) -> str | None:
    """What makes these runs again, or none if the job of one is not there to say."""
    try:
        job = Job.from_json((group.runs[0].path / JOB).read_bytes())
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if job.start or job.data.features or job.data.classes or job.data.leave_out:
        return None  # another command than compare made it
    size = "x".join(map(str, job.data.size)) if job.data.size else job.data.side
    tracks = [track for track, runs in group.tracks.items() if runs]
    options = {
        "--system": job.module,
        "--data": job.data.source,
        "--seeds": max(seeds) + 1,
        "--mode": job.mode if job.mode != "aligned" else None,
        "--tracks": ",".join(tracks) if tuple(tracks) != PAIR else None,
        "--epochs": job.epochs,
        "--limit": job.data.limit,
        "--valid": job.data.valid or None,
        "--size": size,
        "--precision": job.precision if job.mode == "aligned" else None,
        "--device": job.device if job.device != "cpu" else None,
        "--threads": job.threads,
        "--margin": margin if margin != stats.MARGIN else None,
    }
    words = ["twintrack", "compare"] + ([] if job.module else [job.system])
    words += [str(w) for pair in options.items() if pair[1] is not None for w in pair]
    words += ["--skip-bad"] if job.data.skip_bad else []
    words += [word for override in job.overrides for word in ("--set", override)]
    return shlex.join(words)
