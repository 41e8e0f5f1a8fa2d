"""A run, or the newest pair of a system: how it learned, and what it gets wrong.

    twintrack show rasbt-mlp                   # both tracks side by side
    twintrack show rasbt-mlp-torch-0-745       # one run, by a beginning of its id
    twintrack show rasbt-mlp --save pictures   # the same as pictures

Nothing is trained, and nothing is asked: all of it was stored.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Unpack

import numpy as np

from benchmarks import options, outcome
from benchmarks.engine.chosen import pair_of
from benchmarks.request import check_folder, check_positive, on_data
from common.data import DataRequest, open_data
from common.data.cache import DamagedEntry, cache_folder, load, read_meta
from common.data.dataset import Part
from common.data.folder import scan
from common.data.sources import NAMED, entry_path, is_prepared
from common.errors import Refused
from common.job import Job
from common.report import drawings, mistakes
from common.report.summary import in_order
from common.results import JOB, LOGITS, RECORD, Run, Store
from common.store import contents

Result = dict[str, Any]
TOP = 10
CURVES, CONFUSIONS, ERRORS = "curves.png", "confusions.png", "class-errors.png"


@options.command
def show(
    what: Annotated[
        str,
        options.argument(str, "A system, or a run: its id, or a beginning of it."),
    ],
    *,
    data: options.OnData = None,
    mode: options.InMode = None,
    seed: options.OfSeed = None,
    top: Annotated[
        int, options.option(int, "Mistakes of each kind that are shown.")
    ] = TOP,
    save: options.Save = None,
    **rest: Unpack[options.Told],
) -> Result:
    """Show how a run learned and what it gets wrong; of a system, its newest pair.

    Returns:
        What --json writes: {"system", "data", "mode", "precision", "seed", "classes",
        "tracks": {NAME: {"run", "accuracy", "epochs", "confusion", "classes",
        "worst"}}, "together": {"all_wrong", "disagree", "shared", "apart", ..} or
        null, "missing", "saved"}.

    Raises:
        Refused: There is no such run, or it is damaged.
    """
    out = options.filled(options.Told, rest)
    outcome.check_told(out)
    check_positive(top=top)
    check_folder(save)
    place = Store(out["store"])
    contents.check_store(place)
    runs, left_out = chosen(place, what, {"data": data, "mode": mode, "seed": seed})
    result = mistakes.found(runs, top=top)
    result["missing"] = [*_missing(runs), *left_out]
    result["saved"] = []
    if save:
        found = test_pictures(next(iter(runs.values())))
        pictures = None if isinstance(found, str) else found
        if isinstance(found, str):
            result["missing"].append(f"test pictures: {found}")
        result["saved"] = [str(path) for path in drawn(result, pictures, Path(save))]
    outcome.shown("show", result, out)
    for path in result["saved"]:
        print(f"written: {path}")
    outcome.written(result, out)
    return result


# --- which runs ---------------------------------------------------------------------


def chosen(
    store: Store, what: str, wanted: Mapping[str, Any]
) -> tuple[dict[str, Run], list[str]]:
    """Track -> the run that is meant, one of each for a system; and what is left out.

    Raises:
        Refused: There is none.
    """
    runs, damaged = store.scan()
    own = [run for run in runs if run.record["system"] == what]
    if not own:
        if given := [name for name, value in wanted.items() if value is not None]:
            raise Refused(
                f"--{given[0]} chooses among the runs of a system, got it with {what}, "
                f"of which {store.path} has none; leave it out, or name a system"
            )
        run = contents.matching(store, what)
        other = f"another track: twintrack show {run.record['system']} has both"
        return {run.record["track"]: run}, [other]
    for error in damaged:
        print(f"left out: {error}", file=sys.stderr)
    alike = [run for run in on_data(own, wanted["data"]) if _is(run, wanted)]
    if not alike:
        has = sorted({_setting(run) for run in own})
        raise Refused(
            f"{what} has no finished run of that kind in {store.path}; it has "
            f"{'; '.join(has)}"
        )
    return _newest_pair(alike)


def _newest_pair(runs: Sequence[Run]) -> tuple[dict[str, Run], list[str]]:
    """The newest run that has one of another track, and those; what was passed over."""
    groups: dict[tuple[Any, ...], dict[str, Run]] = {}
    for run in sorted(runs, key=_written, reverse=True):
        groups.setdefault(pair_of(run.record), {}).setdefault(run.record["track"], run)
    every = list(groups.values())
    place = next((k for k, pair in enumerate(every) if len(pair) > 1), 0)
    pair = every[place]
    said = [
        f"{run.id}, which is newer: no run of another track belongs to it yet"
        for one in every[:place]
        for run in one.values()
    ]
    if len(pair) == 1:
        said = [f"another track beside {next(iter(pair))}: no run of one belongs to it"]
    return {track: pair[track] for track in in_order(pair)}, said[:1]


def _written(run: Run) -> int:
    return (run.path / RECORD).stat().st_mtime_ns


def _is(run: Run, wanted: Mapping[str, Any]) -> bool:
    return all(wanted[key] in (None, run.record[key]) for key in ("mode", "seed"))


def _setting(run: Run) -> str:
    said = run.record
    return f"{said['data']['name']}, {said['mode']}, seed {said['seed']}"


def _missing(runs: Mapping[str, Run]) -> list[str]:
    """What cannot be shown of them, and why."""
    found = []
    for track, run in runs.items():
        if run.diverged:
            step = run.record["diverged_at"]
            found.append(f"answers of {track}: it diverged at step {step}")
        elif not run.has(LOGITS):
            when = run.pruned[LOGITS]["when"][:10]
            found.append(
                f"how sure {track} is, so mistakes are not the worst but the first: "
                f"its logits were pruned on {when}"
            )
    return found


# --- pictures -----------------------------------------------------------------------


def test_pictures(run: Run) -> Part | str:
    """The test pictures of a run, from the cache, or why they cannot be had."""
    if run.record["data"].get("features"):
        return "it was trained on features, which are no pictures"
    if part := _in_cache(run.record["data"]["fingerprint"]):
        return part
    try:
        request = Job.from_json((run.path / JOB).read_bytes()).data
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{JOB} of {run.id}, which names them, is missing or damaged"
    try:
        if not is_prepared(request):
            return (
                f"{request.source} is not in {cache_folder()}; run twintrack data "
                f"prepare {request.source}"
            )
        if request.source not in NAMED and _changed(request):
            return f"{request.source} is not what it was when it was decoded"
        found = open_data(request)
    except (Refused, DamagedEntry) as error:
        return str(error)
    if found.fingerprint != run.record["data"]["fingerprint"]:
        return f"{request.source} has other pictures now (another fingerprint)"
    return found.test


def _in_cache(fingerprint: str) -> Part | None:
    """The test part of what the cache has of this fingerprint, whatever its name."""
    folder = cache_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(DamagedEntry):
            if path.is_dir() and not path.name.startswith("."):
                same = read_meta(path)["fingerprint"] == fingerprint
                if same and (entry := load(path)):
                    return entry.dataset.test
    return None


def _changed(request: DataRequest) -> bool:
    """Whether a folder would have to be decoded again.

    Raises:
        Refused: It is gone.
        DamagedEntry: Its entry in the cache is damaged.
    """
    stamp: str = read_meta(entry_path(request))["stamp"]
    return scan(Path(request.source).expanduser().resolve()).stamp != stamp


def drawn(result: Result, pictures: Part | None, folder: Path) -> Iterator[Path]:
    """Write the pictures of a result; the files, one after the other."""
    title = f"{result['system']} on {result['data']}, seed {result['seed']}"
    tracks, classes = result["tracks"], result["classes"]
    ended = {name: own for name, own in tracks.items() if own["confusion"]}
    if any(own["epochs"] for own in tracks.values()):
        curves = {name: own["epochs"] for name, own in tracks.items()}
        drawings.save_curves(curves, f"{title}: learning curves", folder / CURVES)
        yield folder / CURVES
    if ended:
        matrices = {name: np.array(own["confusion"]) for name, own in ended.items()}
        drawings.save_confusions(matrices, classes, title, folder / CONFUSIONS)
        yield folder / CONFUSIONS
        wrong = {
            name: [100 * row["wrong"] / max(row["n"], 1) for row in own["classes"]]
            for name, own in ended.items()
        }
        said = f"{title}: what of each class is called something else"
        drawings.save_bars(classes, wrong, said, "wrong, %", folder / ERRORS)
        yield folder / ERRORS
    if pictures is not None:
        for name, (about, rows) in _sheets(result).items():
            cells = [_cell(row, pictures) for row in rows]
            sheets = drawings.Sheets(folder, f"{title}: {about}", name=name)
            yield from sheets.written(cells)


def _sheets(result: Result) -> dict[str, tuple[str, list[Result]]]:
    """Beginning of a file's name -> what it shows, and of which pictures."""
    found = {
        f"worst-{name}": (
            f"worst mistakes of {name}",
            [
                row | {"called": {name: row["called"]}, "sure": {name: row["sure"]}}
                for row in own["worst"]
            ],
        )
        for name, own in result["tracks"].items()
    }
    if both := result["together"]:
        found["wrong-in-all"] = ("wrong in all tracks", both["shared"])
        found["disagree"] = ("on which the tracks disagree", both["apart"])
    return found


def _cell(row: Result, pictures: Part) -> drawings.Cell:
    (pixels,) = pictures.take(np.array([row["picture"]]))
    called = row["called"].items()
    return drawings.Cell(
        drawings.enlarged(pixels, drawings.THUMB),
        f"test picture {row['picture']:,}",
        tuple((track, label, row["sure"][track]) for track, label in called),
        truth=row["class"],
    )


if __name__ == "__main__":
    from benchmarks.shell import script

    script(show)
