"""A new class: folds, remedies, and whether a shortcut gives the class away.

The few photos are dealt into folds: each is judged by networks that were trained
without it.  Every fold has a seed of its own, and a network without the class from
the same seed is its pair: the luck of one training would be in every difference else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.chosen import from_runs
from benchmarks.engine.machine import Machine
from benchmarks.engine.networks import Networks
from benchmarks.engine.progress import amount
from benchmarks.engine.runner import RunsFailed
from benchmarks.request import Setting, fitted
from common import remedies
from common.data import Addition, DataRequest, Dataset, open_data
from common.data.addition import add, keep, on_white, with_bars
from common.data.split import stratified
from common.job import Job
from common.photos import sort as photos
from common.photos.decode import Framing, How, read
from common.report import new_class as report
from common.report.photos import answer
from common.results import FOLDS, LOGITS, WEIGHTS, Run, Store

Images = NDArray[np.uint8]

BARRED_TESTS = 2000  # old test pictures that bars are put on
BARRED_SEED = 0
BARRED_SHARE = 0.5  # of the old training pictures, where all classes get bars
# What the shortcut is measured with: `none` finds too few photos to tell.
SHORTCUT_REMEDIES = ("oversample", "balanced-batches", "weights", "augment", "none")


@dataclass(frozen=True, slots=True)
class Case:
    """One way to train: a remedy, how photos are framed, bars on the others or not."""

    remedy: str
    how: How
    barred: float = 0.0


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
    machine: Machine
    store: Store
    train: Callable[[Sequence[Job], Store], list[Run]]

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return int(self.fold.max()) + 1

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, the new one last."""
        return (*self.base.classes, self.name)

    # --- training -----------------------------------------------------------------

    def measure(self, asked: Sequence[str], shortcut: bool) -> dict[str, Any]:
        """Train what is missing, ask all networks, and put the figures together."""
        trained = [r for r in asked if r != "logit-adjust"]
        if "logit-adjust" in asked and "none" not in trained:
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
        jobs = self._folds(cases)  # what can be refused is, before anything is trained
        olds = self._before()
        old = {track: olds[0, track] for track in self.tracks}
        place = Store(self.store.path / FOLDS)
        found = self.train(list(jobs.values()), place)
        for run in found:
            run.check_has(LOGITS, WEIGHTS)
        runs = dict(zip(jobs, found, strict=True))
        shown = [r for r in remedies.REMEDIES if r in {*asked, *trained}]
        rows = self._judged(shown, runs, olds)
        final = report.best(rows, trained)
        return {
            "name": self.name,
            "photos": len(self.photos),
            "kept_out": int(self.kept_out.sum()),
            "folds": self.folds,
            "system": self.system,
            "data": self.base.name,
            "n_test": len(self.base.test),
            "about": self._about(old),
            "before": self._answers_before(old),
            "remedies": rows,
            "shortcut_asked": shortcut,
            "shortcut": self._shortcut(bars, variants, runs) if shortcut else None,
            "held_out": list(self._held_out(final, runs)) if final else [],
            "final": self._final(final) if final else None,
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
        self,
        track: str,
        request: DataRequest,
        pictures: Dataset,
        extra: tuple[str, ...],
        fold: int,
    ) -> Job:
        resolved = fitted(self.system, pictures, (*self.overrides, *extra), self.epochs)
        setting = Setting(request=request, pictures=pictures, machine=self.machine)
        return setting.job(resolved, track=track, seed=self.seed + fold)

    def _whole(self, runs: list[Run]) -> list[Run]:
        """Refuse runs without which there is no figure: diverged ones, pruned ones."""
        for run in runs:
            run.check_has(LOGITS, WEIGHTS)
            if run.diverged:
                raise RunsFailed(
                    f"{self.system} must be trained to its end, {run.id} diverged at "
                    f"step {run.record['diverged_at']}; lower --set recipe.lr"
                )
        return runs

    def _before(self) -> dict[tuple[int, str], Run]:
        """(fold, track) -> the network without the class that is the fold's pair."""
        keys = list(product(range(self.folds), self.tracks))
        jobs = [
            self._job(track, self.request, self.base, (), fold) for fold, track in keys
        ]
        runs = self._whole(self.train(jobs, self.store))
        return dict(zip(keys, runs, strict=True))

    def _folds(self, cases: Sequence[Case]) -> dict[tuple[Case, int, str], Job]:
        """(case, fold, track) -> the job of its network."""
        jobs: dict[tuple[Case, int, str], Job] = {}
        for case, fold in product(cases, range(self.folds)):
            addition = self._addition(case, self.fold != fold, self.fold == fold)
            for track, one in self._jobs(case, addition, fold):
                jobs[case, fold, track] = one
        return jobs

    def _final(self, remedy: str) -> dict[str, Any] | None:
        """Train on all photos but those kept out; none if a network diverges."""
        case = Case(remedy, self.framing.how)
        addition = self._addition(case, ~self.kept_out, np.zeros_like(self.kept_out))
        jobs = [one for _, one in self._jobs(case, addition, 0)]
        runs = self.train(jobs, self.store)
        if any(run.diverged for run in runs):
            return None
        found = {run.record["track"]: str(run.path / WEIGHTS) for run in runs}
        return {"remedy": remedy, "tracks": found}

    def _jobs(
        self, case: Case, addition: Addition, fold: int
    ) -> Iterator[tuple[str, Job]]:
        request = replace(self.request, addition=addition)
        pictures = add(self.base, addition)
        counts = np.bincount(pictures.train.labels, minlength=len(self.classes))
        extra = remedies.overrides(case.remedy, counts.tolist())
        for track in self.tracks:
            yield track, self._job(track, request, pictures, extra, fold)

    def _addition(
        self, case: Case, train: NDArray[np.bool_], test: NDArray[np.bool_]
    ) -> Addition:
        h, w, _ = self.base.image
        framing = replace(self.framing, how=case.how)
        chosen = [p for p, take in zip(self.photos, train, strict=True) if take]
        if case.remedy == "augment":
            large = self._pixels(replace(framing, size=(2 * h, 2 * w)))[train]
            images = remedies.augmented(large, (h, w))
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
            times=remedies.times(case.remedy, len(images)),
            barred=case.barred,
        )

    def _pixels(self, framing: Framing) -> Images:
        """Every photo framed so, (n, h, w, c)."""
        return _framed(tuple(photo.path for photo in self.photos), framing)

    # --- asking -------------------------------------------------------------------

    def _answers_before(self, old: Mapping[str, Run]) -> dict[str, Any]:
        digits = {str(k) for k in range(10)} <= set(self.base.classes)
        foreign = {} if digits else {"digits": self._digits()}
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
        shown: Sequence[str],
        runs: Mapping[tuple[Case, int, str], Run],
        olds: Mapping[tuple[int, str], Run],
    ) -> list[dict[str, Any]]:
        rows = []
        for remedy in shown:
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
        both = (remedies.adjusted(part, counts) for part in (fold.old, fold.new))
        return report.Fold(*both)

    def _shortcut(
        self,
        remedy: str,
        variants: Mapping[str, Case],
        runs: Mapping[tuple[Case, int, str], Run],
    ) -> dict[str, Any] | None:
        """What bars and white do; none where a network of it diverged."""
        wanted = set(variants.values())
        if any(run.diverged for (case, *_), run in runs.items() if case in wanted):
            return None
        test = self.base.test
        n = min(BARRED_TESTS, len(test))
        rows = stratified(test.labels, n, BARRED_SEED) if n < len(test) else slice(None)
        ratios = np.array([photo.ratio for photo in self.photos])
        colour = np.array(self.framing.colour, np.uint8)
        barred = with_bars(test.take(rows), ratios, colour)
        white = on_white(test.take(rows))
        found: dict[str, Any] = {}
        for what, case in variants.items():
            other = replace(self.framing, how="fit" if case.how == "pad" else "pad")
            turned = self._pixels(other)
            folds: dict[str, list[report.Fold]] = {t: [] for t in self.tracks}
            asked: dict[str, list[report.Asked]] = {t: [] for t in self.tracks}
            for k in range(self.folds):
                mine = {track: runs[case, k, track] for track in self.tracks}
                with Networks(from_runs(mine).networks) as networks:
                    made = (barred, white, turned[self.fold == k])
                    said = [networks(images) for images in made]
                for track, run in mine.items():
                    fold = self._fold(run)
                    folds[track].append(fold)
                    answers = (one[track] for one in said)
                    asked[track].append(report.Asked(fold.old[rows], *answers))
            found[what] = {t: report.variant(folds[t], asked[t]) for t in self.tracks}
        padded, cut = found["pad"], found["fit"]
        return {
            "remedy": remedy,
            "n": n,
            "variants": found,
            "sentences": {t: report.learned(self.name, padded[t]) for t in padded},
            "white": {t: report.on_white(self.name, cut[t]) for t in cut},
        }

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


@cache
def _framed(paths: tuple[Path, ...], framing: Framing) -> Images:
    return np.stack([read(path, framing).pixels for path in paths])
