"""Add a class from a folder of photos, and measure what that changes.

    twintrack new-class apple apples/ --data cifar10 --system rasbt-mlp

The few photos are dealt into folds: each is judged by networks that were trained
without it.  Every fold has a seed of its own, and a network without the class from
the same seed is its pair: the luck of one training would be in every difference else.
All networks are runs in a store, so what is finished is not repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import devices, options
from benchmarks.compare import (
    check_output,
    check_positive,
    fitted,
    job,
    tracks_of,
)
from benchmarks.data import ensure_prepared, size_of
from benchmarks.network import Networks
from benchmarks.progress import amount
from benchmarks.progress import screen as fitting_screen
from benchmarks.runner import DAY, RunsFailed, run_jobs
from benchmarks.trained import from_runs
from common import files, imbalance, photos
from common.data import Addition, DataRequest, Dataset, open_data
from common.data.addition import keep, with_bars
from common.data.split import stratified
from common.errors import Failed, Refused
from common.images import BadPicture, Framing, framing_for, printable, read
from common.job import Job
from common.report import drawings
from common.report import new_class as report
from common.report.photos import answer
from common.results import Run, Store

Images = NDArray[np.uint8]

FOLDS_SEED = 0
BARRED_TESTS = 2000  # old test pictures that bars are put on
BARRED_SEED = 0
BARRED_SHARE = 0.5  # of the old training pictures, where all classes get bars
# What the shortcut is measured with: `none` finds too few photos to tell.
SHORTCUT_REMEDIES = ("oversample", "balanced-batches", "weights", "augment", "none")
SUBFOLDER = "new-class"  # of the store, for the networks of the folds


@dataclass(frozen=True, slots=True)
class Case:
    """One way to train: a remedy, how photos are framed, bars on the others or not."""

    remedy: str
    how: str
    barred: float = 0.0


def new_class(
    name: Annotated[str, typer.Argument(help="What the new class is called.")],
    folder: Annotated[list[Path], typer.Argument(help="Its photos, or folders.")],
    *,
    system: Annotated[str, typer.Option(help="A system.")] = "rasbt-mlp",
    data: options.Data = "cifar10",
    folds: Annotated[int, typer.Option(help="Parts the photos are dealt into.")] = 5,
    remedy: Annotated[
        list[str] | None,
        typer.Option(help=f"Of {', '.join(imbalance.REMEDIES)}; all unless given."),
    ] = None,
    shortcut: Annotated[
        bool, typer.Option(help="Measure whether bars give the class away.")
    ] = True,
    seed: Annotated[
        int, typer.Option(help="Of the first fold; the next has the next.")
    ] = 0,
    how: options.HowToFit = "fit",
    filter: options.Resampling = "bicubic",
    colour: options.Colour = "black",
    tracks: options.Tracks = "torch,tensorflow",
    epochs: Annotated[
        int | None, typer.Option(help="Epochs, in place of the recipe's.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most so many old training pictures.")
    ] = None,
    skip_bad: options.SkipBad = False,
    size: options.Size = None,
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    set: options.Set = None,
    save: Annotated[
        Path | None, typer.Option(help="Folder for contact sheets and the bars.")
    ] = None,
    time_limit: Annotated[
        float, typer.Option(help="Seconds after which a run is given up.")
    ] = DAY,
    keep_out: Annotated[
        list[Path] | None,
        typer.Option(help="A photo of the folder to be classified afterwards."),
    ] = None,
    json: options.Json = None,
    store: options.Store = None,
) -> dict[str, Any]:
    """Add a class from a folder of photos; say what it costs and what it brings.

    Returns:
        What --json writes.

    Raises:
        Refused: The class exists, the photos are too few, or an option is wrong.
        RunsFailed: Some runs failed; the same command goes on.
        Failed: A photo was refused; the others were used.
    """
    names = tracks_of(tracks)
    check_positive(epochs=epochs, threads=threads, time_limit=time_limit)
    check_output(json)
    remedies = _remedies(remedy)
    place, dtype = devices.settle(device, precision, mode="aligned", tracks=names)
    request = DataRequest(
        source=data, limit=limit, skip_bad=skip_bad, size=size_of(size)
    )
    ensure_prepared(request)
    base = open_data(request)
    _check_name(name, base)
    framing = framing_for(base.image, how, filter, colour)
    found, refused = _load(folder, framing)
    sorted_photos = photos.without_duplicates(found)
    fold = photos.deal(sorted_photos.groups, folds, FOLDS_SEED)
    for line in (*refused, *sorted_photos.notes):
        print(line, file=sys.stderr)
    study = Study(
        name=name,
        system=system,
        request=request,
        base=base,
        photos=sorted_photos.kept,
        kept_out=_kept_out(keep_out or (), sorted_photos.kept),
        fold=fold,
        framing=framing,
        tracks=names,
        overrides=tuple(set or ()),
        epochs=epochs,
        seed=seed,
        precision=dtype,
        device=place,
        threads=threads,
        store=Store(store),
        time_limit=time_limit,
    )
    result = study.measure(remedies, shortcut)
    result |= {"refused": refused, "notes": list(sorted_photos.notes)}
    print(report.text(result))
    if save:
        study.draw(result, save)
    if json:
        files.write_atomic(json, files.readable(result))
    if refused:
        raise Failed(
            f"every photo must be one that can be read, {len(refused)} could not; each "
            "is named above with what to do, the others were used"
        )
    return result


def _remedies(asked: Sequence[str] | None) -> list[str]:
    chosen = list(dict.fromkeys(asked or imbalance.REMEDIES))
    for one in chosen:
        if one not in imbalance.REMEDIES:
            raise Refused(
                f"--remedy must be one of {', '.join(imbalance.REMEDIES)}, got {one}; "
                "choose one, or leave it out for all"
            )
    return chosen


def _check_name(name: str, base: Dataset) -> None:
    if name in base.classes or not name.strip():
        raise Refused(
            f"a new class needs a new name, {name!r} is already one of "
            f"{', '.join(base.classes)}; choose another name"
        )


def _kept_out(paths: Sequence[Path], kept: Sequence[photos.Photo]) -> NDArray[np.bool_]:
    """Which photos the last networks are not to see, (n,)."""
    wanted = {path.resolve() for path in paths}
    here = {photo.path.resolve() for photo in kept}
    if missing := sorted(wanted - here):
        raise Refused(
            f"--keep-out must name photos of the folder, got {printable(missing[0])}; "
            "name one of those that are used"
        )
    return np.array([photo.path.resolve() in wanted for photo in kept], bool)


def _load(paths: Sequence[Path], framing: Framing) -> tuple[list[photos.Photo], list]:
    """Photos that can be decoded, and a line for each file that cannot."""
    good: list[photos.Photo] = []
    bad: list[str] = []
    for one in photos.files(paths):
        try:
            if isinstance(one, BadPicture):
                raise one
            good.append(photos.load(one, framing))
        except BadPicture as error:
            bad.append(str(error))
    return good, bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A class, its photos, and how networks are trained with it."""

    name: str
    system: str
    request: DataRequest
    base: Dataset
    photos: tuple[photos.Photo, ...]
    kept_out: NDArray[np.bool_]
    fold: NDArray[np.int64]
    framing: Framing
    tracks: Sequence[str]
    overrides: tuple[str, ...]
    epochs: int | None
    seed: int
    precision: str
    device: str
    threads: int | None
    store: Store
    time_limit: float

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return int(self.fold.max()) + 1

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, the new one last."""
        return (*self.base.classes, self.name)

    # --- training -----------------------------------------------------------------

    def measure(self, remedies: Sequence[str], shortcut: bool) -> dict[str, Any]:
        """Train what is missing, ask all networks, and put the figures together."""
        trained = [r for r in remedies if r != "logit-adjust"]
        if "logit-adjust" in remedies and "none" not in trained:
            trained.insert(0, "none")
        cases = [Case(remedy, self.framing.how) for remedy in trained]
        bars = next(r for r in SHORTCUT_REMEDIES if r in trained)
        variants = {
            "fit": Case(bars, "fit"),
            "pad": Case(bars, "pad"),
            "pad, bars on all": Case(bars, "pad", BARRED_SHARE),
        }
        if shortcut:
            cases += [case for case in variants.values() if case not in cases]
        olds = self._before()
        old = {track: olds[0, track] for track in self.tracks}
        runs = self._folds(cases)
        rows = self._judged(remedies, runs, olds)
        final = report.best(rows, trained)
        if shortcut and any(
            runs[case, k, track].diverged
            for case, k, track in runs
            if case in variants.values()
        ):
            raise RunsFailed(
                f"the shortcut is measured with {bars}, whose networks diverged; lower "
                "--set recipe.lr or use --no-shortcut"
            )
        return {
            "name": self.name,
            "photos": len(self.photos),
            "kept_out": int(self.kept_out.sum()),
            "folds": self.folds,
            "system": self.system,
            "data": self.base.name,
            "about": self._about(old),
            "refused": [],
            "notes": [],
            "before": self._answers_before(old),
            "remedies": rows,
            "shortcut": self._shortcut(bars, variants, runs) if shortcut else None,
            "held_out": list(self._held_out(final, runs)),
            "final": {"remedy": final, "tracks": self._final(final)},
        }

    def _about(self, old: Mapping[str, Run]) -> str:
        record = next(iter(old.values())).record
        said = [
            f"{self.system}, {amount(record['epochs'], 'epoch')}, "
            f"{record['precision']}, seeds {self.seed} to {self.seed + self.folds - 1}",
            f"{len(self.photos)} photos against {len(self.base.train):,} pictures of "
            f"{len(self.base.classes)} classes",
            self.base.note,
        ]
        return "; ".join(part for part in said if part)

    def _job(
        self, track: str, request: DataRequest, extra: tuple[str, ...], fold: int
    ) -> Job:
        pictures = self._opened(request)
        resolved = fitted(self.system, pictures, (*self.overrides, *extra), self.epochs)
        return job(
            resolved,
            request=request,
            pictures=pictures,
            mode="aligned",
            track=track,
            seed=self.seed + fold,
            precision=self.precision,
            device=self.device,
            threads=self.threads or devices.threads_for(resolved.spec, resolved.recipe),
        )

    def _opened(self, request: DataRequest) -> Dataset:
        return self.base if request == self.request else open_data(request)

    def _run(self, jobs: Sequence[Job], store: Store) -> list[Run]:
        screen = fitting_screen(sys.stderr)
        done = run_jobs(jobs, store, screen=screen, time_limit=self.time_limit)
        failed = [outcome for outcome in done if outcome.run is None]
        for outcome in failed:
            screen.say(f"{outcome.job.name} failed: {outcome.failure}")
        if failed:
            raise RunsFailed(
                f"every network must be trained to its end, {len(failed)} of "
                f"{len(jobs)} failed; the others are kept, the same command tries again"
            )
        return [outcome.run for outcome in done if outcome.run]

    def _whole(self, runs: list[Run]) -> list[Run]:
        """Refuse runs that diverged where there is no figure without them."""
        for run in runs:
            if run.diverged:
                raise RunsFailed(
                    f"{self.system} must be trained to its end, {run.id} diverged at "
                    f"step {run.record['diverged_at']}; lower --set recipe.lr"
                )
        return runs

    def _before(self) -> dict[tuple[int, str], Run]:
        """(fold, track) -> the network without the class that is the fold's pair."""
        keys = list(product(range(self.folds), self.tracks))
        jobs = [self._job(track, self.request, (), fold) for fold, track in keys]
        runs = self._whole(self._run(jobs, self.store))
        return dict(zip(keys, runs, strict=True))

    def _folds(self, cases: Sequence[Case]) -> dict[tuple[Case, int, str], Run]:
        """(case, fold, track) -> its network."""
        jobs: dict[tuple[Case, int, str], Job] = {}
        for case, fold in product(cases, range(self.folds)):
            addition = self._addition(case, self.fold != fold, self.fold == fold)
            for track, one in self._jobs(case, addition, fold):
                jobs[case, fold, track] = one
        place = Store(self.store.path / SUBFOLDER)
        return dict(zip(jobs, self._run(list(jobs.values()), place), strict=True))

    def _final(self, remedy: str) -> dict[str, str]:
        """Train on all photos but those kept out; track -> id of the run."""
        case = Case(remedy, self.framing.how)
        addition = self._addition(case, ~self.kept_out, np.zeros_like(self.kept_out))
        jobs = [one for _, one in self._jobs(case, addition, 0)]
        runs = self._whole(self._run(jobs, self.store))
        return {run.record["track"]: run.id for run in runs}

    def _jobs(
        self, case: Case, addition: Addition, fold: int
    ) -> Iterator[tuple[str, Job]]:
        request = replace(self.request, addition=addition)
        pictures = self._opened(request)
        counts = np.bincount(pictures.train.labels, minlength=len(self.classes))
        extra = imbalance.overrides(case.remedy, counts.tolist())
        for track in self.tracks:
            yield track, self._job(track, request, extra, fold)

    def _addition(
        self, case: Case, train: NDArray[np.bool_], test: NDArray[np.bool_]
    ) -> Addition:
        h, w, _ = self.base.image
        framing = replace(self.framing, how=case.how)
        chosen = [p for p, take in zip(self.photos, train, strict=True) if take]
        if case.remedy == "augment":
            large = self._pixels(replace(framing, size=(2 * h, 2 * w)))[train]
            images = imbalance.augmented(large, (h, w))
        else:
            images = self._pixels(framing)[train]
        path = keep(
            images,
            self._pixels(framing)[test],
            [photo.ratio for photo in chosen],
            framing.colour,
        )
        return Addition(
            name=self.name,
            path=path,
            times=imbalance.times(case.remedy, len(images)),
            barred=case.barred,
        )

    def _pixels(self, framing: Framing) -> Images:
        """Every photo framed so, (n, h, w, c)."""
        return _framed(tuple(photo.path for photo in self.photos), framing)

    # --- asking -------------------------------------------------------------------

    def _answers_before(self, old: Mapping[str, Run]) -> dict[str, Any]:
        foreign = {} if self.request.source == "digits" else {"digits": self._digits()}
        with Networks(from_runs(old).networks) as networks:
            photo_logits = networks(self._pixels(self.framing))
            others = {what: networks(images) for what, images in foreign.items()}
        return {
            track: report.before(
                photo_logits[track],
                run.logits(),
                {what: logits[track] for what, logits in others.items()},
                self.base.classes,
            )
            for track, run in old.items()
        }

    def _digits(self) -> Images:
        """scikit-learn's digits at the size and colours of the data."""
        from PIL import Image

        h, w, c = self.base.image
        pages = open_data(DataRequest(source="digits")).test.take(slice(None))
        large = [
            np.asarray(Image.fromarray(page[..., 0]).resize((w, h))) for page in pages
        ]
        return np.repeat(np.stack(large)[..., None], c, axis=3)

    def _judged(
        self,
        remedies: Sequence[str],
        runs: Mapping[tuple[Case, int, str], Run],
        olds: Mapping[tuple[int, str], Run],
    ) -> list[dict[str, Any]]:
        rows = []
        for remedy in remedies:
            base = "none" if remedy == "logit-adjust" else remedy
            tracks = {}
            for track in self.tracks:
                case = Case(base, self.framing.how)
                mine = [runs[case, k, track] for k in range(self.folds)]
                if lost := sum(run.diverged for run in mine):
                    tracks[track] = report.diverged(lost)
                    continue
                folds = [self._fold(run) for run in mine]
                if remedy == "logit-adjust":
                    folds = [self._adjusted(fold, k) for k, fold in enumerate(folds)]
                before = np.stack([olds[k, track].correct for k in range(self.folds)])
                tracks[track] = report.after(
                    folds, self.base.test.labels, before, self.classes
                )
            rows.append({"remedy": remedy, "tracks": tracks})
        return rows

    def _fold(self, run: Run) -> report.Fold:
        logits, m = run.logits(), len(self.base.test)
        return report.Fold(logits[:m], logits[m:])

    def _adjusted(self, fold: report.Fold, number: int) -> report.Fold:
        old = np.bincount(self.base.train.labels, minlength=len(self.base.classes))
        counts = [*old.tolist(), int((self.fold != number).sum())]
        both = (imbalance.adjusted(part, counts) for part in (fold.old, fold.new))
        return report.Fold(*both)

    def _shortcut(
        self,
        remedy: str,
        variants: Mapping[str, Case],
        runs: Mapping[tuple[Case, int, str], Run],
    ) -> dict[str, Any]:
        test = self.base.test
        n = min(BARRED_TESTS, len(test))
        rows = stratified(test.labels, n, BARRED_SEED) if n < len(test) else slice(None)
        ratios = np.array([photo.ratio for photo in self.photos])
        barred = with_bars(
            test.take(rows), ratios, np.array(self.framing.colour, np.uint8)
        )
        found: dict[str, Any] = {}
        for what, case in variants.items():
            other = replace(self.framing, how="fit" if case.how == "pad" else "pad")
            turned = self._pixels(other)
            said: dict[str, Any] = {t: ([], [], [], []) for t in self.tracks}
            for k in range(self.folds):
                mine = {track: runs[case, k, track] for track in self.tracks}
                with Networks(from_runs(mine).networks) as networks:
                    on_bars = networks(barred)
                    on_turned = networks(turned[self.fold == k])
                for track, run in mine.items():
                    fold = self._fold(run)
                    parts = (fold, on_bars[track], fold.old[rows], on_turned[track])
                    for kept, part in zip(said[track], parts, strict=True):
                        kept.append(part)
            found[what] = {
                track: report.variant(*parts) for track, parts in said.items()
            }
        sentences = {
            track: report.learned(self.name, {w: found[w][track] for w in found})
            for track in self.tracks
        }
        return {"remedy": remedy, "variants": found, "sentences": sentences}

    def _held_out(
        self, remedy: str, runs: Mapping[tuple[Case, int, str], Run]
    ) -> Iterator[dict[str, Any]]:
        """What the networks say of each photo that they were trained without."""
        case, m = Case(remedy, self.framing.how), len(self.base.test)
        logits = {
            (k, track): runs[case, k, track].logits()[m:]
            for k, track in product(range(self.folds), self.tracks)
        }
        places = np.zeros(self.folds, np.int64)
        for photo, k in zip(self.photos, self.fold, strict=True):
            row, places[k] = places[k], places[k] + 1
            told = {
                track: answer(logits[int(k), track][row], self.classes, None, 1)
                for track in self.tracks
            }
            yield {"file": photo.name, "fold": int(k), "tracks": told}

    # --- pictures -----------------------------------------------------------------

    def draw(self, result: Mapping[str, Any], folder: Path) -> None:
        """Write the contact sheets and the confusion row."""
        remedy = result["final"]["remedy"]
        title = f"{self.name}: what networks say that were trained without the photo"
        sheets = drawings.Sheets(folder, f"{title} ({self.system}, {remedy})")
        by_file = {row["file"]: row["tracks"] for row in result["held_out"]}
        for photo in self.photos:
            sheets.add(drawings.cell(photo.path, by_file[photo.name]))
        sheets.close()
        row = next(r for r in result["remedies"] if r["remedy"] == remedy)
        counts = {
            "before": {t: [*f["called"].values()] for t, f in result["before"].items()},
            f"after ({remedy})": {
                t: [*f["called"].values()] for t, f in row["tracks"].items()
            },
        }
        said = (
            f"{len(self.photos)} photos of {self.name}: what {self.system} calls them"
        )
        drawings.save_row(self.classes, counts, said, folder / "confusion-row.png")
        print(f"\ncontact sheets and the confusion row are in {folder}")


@cache
def _framed(paths: tuple[Path, ...], framing: Framing) -> Images:
    return np.stack([read(path, framing).pixels for path in paths])


if __name__ == "__main__":
    from benchmarks.cli import script

    script(new_class)
