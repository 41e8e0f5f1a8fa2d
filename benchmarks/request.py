"""From options to a checked request, and from that to jobs.

Everything that can be refused is refused here, before anything runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import index
from pathlib import Path
from typing import Any

from benchmarks.engine import download
from benchmarks.engine.machine import Machine
from benchmarks.options import Names, Paths
from common import codec
from common.codec import LARGEST, WIDEST
from common.command_line import typed
from common.data import DataRequest, Dataset, open_data
from common.data.canonical import PUBLIC
from common.data.sources import NAMED, is_prepared
from common.errors import Refused
from common.job import Base, Job, switches_of
from common.overrides import sweep
from common.results import Run
from common.spec import Spec
from common.store import on_data as store_data
from common.systems import (
    BUILDERS,
    SYSTEMS,
    Resolved,
    check_fits,
    check_repeats,
    find,
    resolve,
)
from common.track import check_track

DEFAULT_SYSTEMS = ("small-cnn", "rasbt-mlp")
SEEDS = 2**32  # every framework takes those below
MOST_SEEDS = 10_000  # of one command: a verdict looks at 40
SMALLEST_MARGIN = 0.05  # points; what is below was a share before


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the runs of one system on some data have in common.

    Attributes:
        request: Which pictures, as they are asked for.
        pictures: The same, opened.
        mode: "strict", "aligned" or "native".
        machine: What computes.
        start: A file of weights to start from and their digest, or none.
        base: The frozen network whose features the pictures are, or none.
    """

    request: DataRequest
    pictures: Dataset
    machine: Machine
    mode: str = "aligned"
    start: tuple[Path, str] | None = None
    base: Base | None = None

    def job(self, resolved: Resolved, *, track: str, seed: int) -> Job:
        """One run of a system; many differ in their seed alone."""
        return replace(_first(_Itself(self), _Itself(resolved), track), seed=seed)

    def first(self, resolved: Resolved, track: str) -> Job:
        """Its run of seed 0."""
        return Job(
            system=resolved.name,
            module=resolved.module,
            builder=BUILDERS.get(type(resolved.spec), {}).get(track),
            overrides=resolved.overrides,
            data=self.request,
            fingerprint=self.pictures.fingerprint,
            image=self.pictures.image,
            classes=len(self.pictures.classes),
            mode=self.mode,
            track=track,
            seed=0,
            precision=self.machine.precision_of(resolved.spec, resolved.recipe),
            device=self.machine.device,
            threads=self.machine.threads_of(resolved.spec, resolved.recipe),
            epochs=resolved.recipe.epochs,
            spec=codec.dumps(resolved.spec),
            recipe=codec.dumps(resolved.recipe),
            start=str(self.start[0].resolve()) if self.start else None,
            start_digest=self.start[1] if self.start else None,
            switches=switches_of(track, mode=self.mode, device=self.machine.device),
            base=self.base,
            command=typed(),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Itself:
    """A value that equals itself alone: a user's own records need not have a hash."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


@lru_cache(maxsize=8)  # it holds their pictures
def _first(setting: _Itself, resolved: _Itself, track: str) -> Job:
    job: Job = setting.value.first(resolved.value, track)
    return job


def opened(request: DataRequest) -> Dataset:
    """The pictures of a request; public ones that are missing are downloaded first.

    Raises:
        Refused: They cannot be had.
    """
    if request.size and request.source in NAMED:
        h, w = request.size
        raise Refused(
            f"--size HxW is what a folder's photos are fitted into, got {h}x{w} for "
            f"{request.source}; its pictures are resized by --size {h}"
        )
    if request.source in PUBLIC and not is_prepared(request, cache=None):
        print(f"preparing {request.source}: downloaded once", file=sys.stderr)
        download.prepare(request.source, "torch", None)
    pictures = open_data(request)
    for line in pictures.found.lines():
        print(f"{pictures.name}: {line}", file=sys.stderr)
    return pictures


def fitted(
    name: str,
    pictures: Dataset,
    overrides: tuple[str, ...],
    epochs: int | None,
    *,
    base: Spec | None = None,
) -> Resolved:
    """The system for these pictures; `base`: the spec of weights to start from.

    Raises:
        Refused: It is unknown, or it does not fit the pictures or their number.
    """
    resolved = resolve(
        name,
        image=pictures.image,
        classes=len(pictures.classes),
        overrides=overrides,
        epochs=epochs,
        base=base,
    )
    if resolved.recipe.keep == "best" and not len(pictures.valid):
        raise Refused(
            "the best epoch is chosen on a validation part, there is none; hold one "
            "out with --valid"
        )
    check_fits(resolved, len(pictures.train))
    return resolved


def swept(
    name: str, pictures: Dataset, changes: tuple[str, ...], epochs: int | None
) -> list[Resolved]:
    """The system for these pictures, once for each combination of values of a sweep.

    Raises:
        Refused: As in `fitted`; or two combinations are the same.
    """
    bare = resolve(name, image=pictures.image, classes=len(pictures.classes))
    rows = sweep(bare.spec, bare.recipe, changes)
    found = [fitted(name, pictures, row, epochs) for row in rows]
    seen: dict[tuple[str, str], tuple[str, ...]] = {}
    for one in found:
        key = codec.dumps(one.spec), codec.dumps(one.recipe)
        before = seen.setdefault(key, one.overrides)
        if before is not one.overrides:
            raise Refused(
                f"a sweep has each value once, {' '.join(before)} and "
                f"{' '.join(one.overrides)} are the same; leave one out"
            )
    return found


def sweep_said(jobs: Sequence[Job], each: int) -> str:
    """What a sweep comes to, in a line; "" where nothing is swept.

    Args:
        jobs: Of all rows.
        each: Runs of one row.
    """
    rows: dict[str, dict[tuple[str, ...], None]] = {}
    for job in jobs:
        rows.setdefault(job.system, {})[job.overrides] = None
    if all(len(found) == 1 for found in rows.values()):
        return ""
    many = ", ".join(f"{name} {len(found)} times" for name, found in rows.items())
    return f"a sweep: {many}, {each} to a row; {len(jobs):,} runs follow"


def judged_often(resolved: Resolved, repeats: int | None) -> Resolved:
    """The system, its pictures judged so often; none: as its recipe says.

    Raises:
        Refused: It would say the same each time.
    """
    if repeats is None or repeats == resolved.recipe.repeats:
        return resolved
    check_repeats(resolved.name, resolved.spec, repeats)
    change = f"recipe.repeats={repeats}"
    return replace(
        resolved,
        recipe=replace(resolved.recipe, repeats=repeats),
        overrides=(*resolved.overrides, change),
    )


# --- words ------------------------------------------------------------------------


def listed(names: Names | None) -> tuple[str, ...]:
    """The names in "a,b" or in ["a", "b"], each once."""
    given = [names] if isinstance(names, str) else names or ()
    found = (name.strip() for text in given for name in text.split(","))
    return tuple(dict.fromkeys(name for name in found if name))


def class_names(names: Names | None, one_by_one: Names | None) -> tuple[str, ...]:
    """Classes: of a text those between its commas; in a list, and `one_by_one`, whole.

    A name may have commas and spaces at its ends.
    """
    between = listed(names) if isinstance(names, str) else tuple(names or ())
    return tuple(dict.fromkeys((*between, *several(one_by_one))))


def several(values: Names | None) -> tuple[str, ...]:
    """One text or many, as they are: an override may have commas."""
    return (values,) if isinstance(values, str) else tuple(values or ())


def paths_of(paths: Paths) -> list[Path]:
    """One path or many: a text is one path, and not its letters."""
    given = [paths] if isinstance(paths, str | Path) else paths
    return [Path(path) for path in given]


def path_of(path: str | Path | None) -> Path | None:
    """A path, where one is given."""
    return None if path is None else Path(path)


def changes_of(set: Names | None) -> tuple[str, ...]:
    """The `--set` options of a request.

    Raises:
        Refused: A field is set twice: only one of them would count.
    """
    given = several(set)
    paths = [text.partition("=")[0].strip() for text in given]
    if twice := [path for k, path in enumerate(paths) if path in paths[:k]]:
        values = [text.partition("=")[2].strip() for text in given]
        both = [v for path, v in zip(paths, values, strict=True) if path == twice[0]]
        raise Refused(
            f"--set takes each field once, got {twice[0]} {len(both)} times; leave one "
            f"out, or have compare train each: --set '{twice[0]}={','.join(both)}'"
        )
    return given


def chosen_systems(
    named: Names | None,
    systems: Names | None,
    *,
    default: Sequence[str] = DEFAULT_SYSTEMS,
) -> list[str]:
    """The systems of the request, each once; the default ones if it names none.

    A user's own is called by its module, which any process can import.

    Raises:
        Refused: One is unknown.
    """
    chosen = [*several(named), *several(systems)] or list(default)
    if "all" in chosen:
        ours = [name for name, system in SYSTEMS.items() if system.module is None]
        chosen = [*ours, *(name for name in chosen if name != "all")]
    found = (find(name) for name in chosen)
    return list(dict.fromkeys(system.module or system.name for system in found))


def chosen_system(systems: Names | None, *, default: str) -> str:
    """The one system of a request that takes no more.

    Raises:
        Refused: It is unknown, or there are several.
    """
    named = only("system", systems) or default
    if named == "all":
        raise Refused("--system is one system here, got all; name one")
    return chosen_systems(None, named)[0]


def only(option: str, values: Names | None) -> str | None:
    """The one value of an option that may be repeated elsewhere.

    Raises:
        Refused: There are several, or it is empty.
    """
    found = several(values)
    if len(found) > 1:
        raise Refused(
            f"--{option} is given once here, got {', '.join(found)}; repeat the "
            "command for each"
        )
    if found and not found[0].strip():
        raise Refused(f"--{option} must be a name, got an empty one; leave it out")
    return found[0] if found else None


def framing_of(size: str | int | None) -> dict[str, Any]:
    """Fields of a request: "32x32" fits a folder's photos, "75" resizes any pictures.

    Raises:
        Refused: It is neither.
    """
    text = None if size is None else str(size).strip()
    if text is None:
        return {}
    if text.isascii() and text.isdecimal():
        check_size(int(text))
        return {"side": int(text)}
    return {"size": size_of(text)}


def side_of(size: str | int | None) -> int | None:
    """Pixels a side of square pictures: "75" and "75x75" are one.

    Raises:
        Refused: They are not square, or it is no size.
    """
    asked = framing_of(size)
    if "size" not in asked:
        return asked.get("side")
    h, w = asked["size"]
    if h != w:
        raise Refused(f"--size must be square here, got {h}x{w}; write it as {h}")
    return int(h)


def check_size(*sides: int) -> None:
    """Refuse pixels a side that no network here takes."""
    if not all(1 <= side <= WIDEST for side in sides):
        said = "x".join(map(str, sides))
        raise Refused(
            f"--size must be above 0 and at most {WIDEST:,} pixels a side, got "
            f"{said[:20]}; write one like 32x32, or 75 for 75 x 75"
        )


def seeds_of(seeds: int | str | Sequence[int]) -> list[int]:
    """The seeds in 5 (0 to 4), in "5-9", in "0,3,7-9", or in a list of them.

    Raises:
        Refused: It is none of these, or a seed is there twice.
    """
    if isinstance(seeds, int) or (isinstance(seeds, str) and _counts(seeds)):
        check_positive(seeds=int(seeds))
        spans = [(0, int(seeds) - 1)]
    elif isinstance(seeds, str):
        spans = [_span(part, seeds) for part in seeds.split(",")]
    elif isinstance(seeds, Iterable) and all(hasattr(s, "__index__") for s in seeds):
        spans = [(index(seed), index(seed)) for seed in seeds]
    else:
        raise Refused(
            f"--seeds takes a number of them, a text such as 5-9, or whole numbers, "
            f"got {seeds!r}; write it so"
        )
    n = sum(high - low + 1 for low, high in spans)
    if not 0 < n <= MOST_SEEDS:
        raise Refused(
            f"--seeds must be 1 to {MOST_SEEDS:,} seeds, got {n:,}; a verdict looks at "
            "no more than 40"
        )
    found = [seed for low, high in spans for seed in range(low, high + 1)]
    check_seed(*found)
    if len(set(found)) != n:
        twice = next(seed for k, seed in enumerate(found) if seed in found[:k])
        raise Refused(
            f"--seeds takes each seed once, got {twice} twice in {seeds}; leave one out"
        )
    return found


def _counts(text: str) -> bool:
    """Whether a text is one whole number, of which it is the count of seeds."""
    return text.strip().lstrip("+-").isdecimal() and len(text) < 20


def _span(part: str, whole: str) -> tuple[int, int]:
    """(first, last) seed in "3" or "7-9"."""
    low, dash, high = part.strip().partition("-")
    ends = (low, high) if dash else (low, low)
    if not all(e.strip().isdecimal() and len(e) < 20 for e in ends):
        raise Refused(
            f"--seeds takes a number of them, or seeds such as 5-9 or 0,3,7-9, got "
            f"{whole[:40]!r}; write it so"
        )
    first, last = (int(end) for end in ends)
    if first > last:
        raise Refused(
            f"a range of seeds goes upwards, got {part.strip()}; write {last}-{first}"
        )
    return first, last


def check_seed(*seeds: int) -> None:
    """Refuse a seed that some framework does not take."""
    for seed in seeds:
        if not 0 <= seed < SEEDS:
            raise Refused(
                f"a seed must be a whole number from 0 to {SEEDS - 1}, got {seed}; "
                "choose one of those"
            )


def size_of(text: str | None) -> tuple[int, int] | None:
    """(h, w) from "32x32".

    Raises:
        Refused: It is not of this form.
    """
    if text is None:
        return None
    try:
        h, w = (int(side) for side in text.lower().split("x"))
    except ValueError as error:
        raise Refused(
            f"a size is height x width in pixels, got {text[:40]}; write it as 32x32"
        ) from error
    if max(h, w) > WIDEST:
        check_size(h, w)
    return h, w


# --- runs that there are ---------------------------------------------------------


def on_data(runs: Iterable[Run], data: str | Path | None) -> list[Run]:
    """The runs on a data set: of this name or folder, else of the folder's name.

    All of them if none is asked for; what only a name tells is said.
    """
    found = list(runs)
    if data is None:
        return found
    if same := [run for run in found if is_on(run, data)]:
        return same
    names = {run.id: run.record["data"]["name"] for run in found}
    alike = [r for r in found if store_data.is_called_like(names[r.id], str(data))]
    if alike:
        print(store_data.said(str(data)), file=sys.stderr)
    return alike


def is_on(run: Run, data: str | Path | None) -> bool:
    """Whether a run is on the data set of this name, or on this very folder."""
    if data is None:
        return True
    return store_data.is_on(run.record["data"]["name"], run.path, str(data))


# --- checks -----------------------------------------------------------------------


def tracks_of(names: Names) -> list[str]:
    """The tracks in "torch,tensorflow" or in a list of them, each once.

    Raises:
        Refused: One does not exist, or there is none.
    """
    found = list(listed(names))
    if not found:
        raise Refused(f"--tracks must name a track, got {names!r}; name one or more")
    for name in found:
        check_track(name)
    return found


def check_positive(**options: float | None) -> None:
    """Refuse an option that is given and not above zero."""
    for name, value in options.items():
        option = name.replace("_", "-")
        if value is not None and not value > 0:
            raise Refused(f"--{option} must be above 0, got {value}; use 1 or more")
        if value is not None and value > LARGEST:
            raise Refused(
                f"--{option} must be at most {LARGEST:,}, got {value:.3g}; use less"
            )


def check_choice(option: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is not one of its option's."""
    if value not in allowed:
        raise Refused(
            f"--{option} must be one of {', '.join(allowed)}, got {value}; "
            "choose one of them"
        )


def share_of(margin: float) -> float:
    """A margin in points as the fraction that results have.

    Raises:
        Refused: It is no number of points, or looks like the share it was before.
    """
    if 0 < margin < SMALLEST_MARGIN:
        raise Refused(
            f"--margin is in points since this version, got {margin:g}; for half a "
            "point write 0.5"
        )
    if not 0 < margin < 100:
        raise Refused(
            f"--margin must be points between 0 and 100, got {margin:g}; for half a "
            "point write 0.5"
        )
    return margin / 100


def check_folder(path: str | Path | None) -> None:
    """Refuse, before anything runs, a folder that could not be made at the end."""
    if path and Path(path).exists() and not Path(path).is_dir():
        raise Refused(f"--save must be a folder, got the file {path}; name another")
