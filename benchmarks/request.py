"""From options to a checked request, and from that to jobs.

Everything that can be refused is refused here, before anything runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.engine import download
from benchmarks.engine.machine import Machine
from benchmarks.options import Names, Paths
from common import codec
from common.command_line import typed
from common.data import DataRequest, Dataset, open_data
from common.data.canonical import PUBLIC
from common.data.sources import is_prepared
from common.errors import Refused
from common.job import Job, switches_of
from common.spec import Spec
from common.systems import BUILDERS, Resolved, check_fits, check_repeats, resolve
from common.track import check_track

DEFAULT_SYSTEMS = ("small-cnn", "rasbt-mlp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the runs of one system on some data have in common.

    Attributes:
        request: Which pictures, as they are asked for.
        pictures: The same, opened.
        mode: "strict", "aligned" or "native".
        machine: What computes.
        start: A file of weights to start from and their digest, or none.
    """

    request: DataRequest
    pictures: Dataset
    machine: Machine
    mode: str = "aligned"
    start: tuple[Path, str] | None = None

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


def chosen_systems(named: Names | None, modules: Names | None) -> list[str]:
    """The systems of the request, each once; the default ones if it names none."""
    chosen = [*several(named), *several(modules)] or DEFAULT_SYSTEMS
    return list(dict.fromkeys(chosen))


def framing_of(size: str | int | None) -> dict[str, Any]:
    """Fields of a request: "32x32" fits a folder's photos, "75" resizes any pictures.

    Raises:
        Refused: It is neither.
    """
    text = None if size is None else str(size)
    if text and text.isdecimal() and int(text):
        return {"side": int(text)}
    return {"size": size_of(text)}


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
            f"a size is height x width in pixels, got {text}; write it as 32x32"
        ) from error
    return h, w


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
        if value is not None and not value > 0:
            option = name.replace("_", "-")
            raise Refused(f"--{option} must be above 0, got {value}; use 1 or more")


def check_choice(option: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is not one of its option's."""
    if value not in allowed:
        raise Refused(
            f"--{option} must be one of {', '.join(allowed)}, got {value}; "
            "choose one of them"
        )


def check_margin(margin: float) -> None:
    """Refuse a margin that is no share."""
    if not 0 < margin < 1:
        raise Refused(
            f"--margin must be a share between 0 and 1, got {margin}; "
            "use 0.005 for half a point"
        )


def check_folder(path: str | Path | None) -> None:
    """Refuse, before anything runs, a folder that could not be made at the end."""
    if path and Path(path).exists() and not Path(path).is_dir():
        raise Refused(f"--save must be a folder, got the file {path}; name another")
