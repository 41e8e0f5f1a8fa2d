"""One run, in a child process: train, judge, write the record.

What it leaves at any moment is whole: the last checkpoint or a record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.engine.machine import peak_memory
from benchmarks.engine.process import Tell, Values, orphaned
from common import files, model_file, precision, results
from common.data import Dataset, open_data
from common.draws import Starts
from common.errors import Damaged, Refused
from common.evaluate import at_once, counted, judged, score, seen
from common.extras import Native, Probe, load_extra, missing
from common.heads import transplanted
from common.job import Job, installed
from common.loop import REPORT_EVERY
from common.plan import Plan
from common.recipe import Recipe
from common.record import environment
from common.results import Checkpoint, Record, Run, Store, figure
from common.spec import Spec, parameters
from common.start import initial_weights, pictures_needed
from common.systems import find
from common.track import (
    EpochScores,
    History,
    OnEpoch,
    OnProgress,
    Progress,
    State,
    Track,
    load_track,
)
from common.weights import Weights, digest

BORN = time.monotonic()
TRUSTED = ("torch", "tensorflow", "keras_torch")  # parity proves what their own do


def run(values: Values, tell: Tell) -> None:
    """Carry out the job file that the parent names.

    Raises:
        Refused: The job cannot be met; its line says why.
    """
    path = Path(values["job"])
    store = Store(path.parent.parent, guard=orphaned)
    try:
        carry_out(Job.from_json(path.read_bytes()), path.parent.name, store, tell)
    except OSError as error:
        if error.errno in files.FULL:
            raise Refused(files.unwritable(path.parent, error)) from error
        raise


def carry_out(job: Job, run: str, store: Store, tell: Tell) -> None:
    """Make sure that the job has a record, alone among all processes.

    Raises:
        Refused: The code or the packages changed since the parent looked at them.
    """
    if job.id != run:
        raise Refused(
            f"code must stay as it is while it runs, that of {job.name} changed; "
            "repeat the command"
        )
    with store.lock(job.id, waiting=lambda: tell("waiting")):
        if finished(job, store, tell):
            tell("found")
            return
        theirs = f".{results.JOB}."  # another parent may be writing the job file
        for leftover in store.folder(job.id).glob(".*"):
            if not leftover.name.startswith(theirs):
                leftover.unlink(missing_ok=True)
        Attempt(job, store, tell).run()
    tell("done")


def finished(job: Job, store: Store, tell: Tell) -> bool:
    """Whether there is a record to be trusted; one that is not is set aside."""
    try:
        return store.find(job.id) is not None
    except Damaged as error:
        aside = store.set_aside(job.id)
        tell("note", text=f"{error}; kept in {aside}, {job.name} starts again")
        return False


def trained(
    job: Job,
    track: Track,
    data: Dataset,
    spec: Spec,
    recipe: Recipe,
    *,
    weights: Weights | None,
    state: State | None,
    on_epoch: OnEpoch | None,
    on_progress: OnProgress | None,
) -> tuple[Any, History]:
    """The model of a job, trained, and what happened.  All of it decides numbers."""
    if job.mode == "native":
        own = load_extra(job.track, Native)
        train = own.train_native
        model = own.build_native(spec, seed=job.seed, device=job.device)
    else:
        train = track.train
        model = track.build(
            spec,
            weights=weights,
            seed=job.seed,
            dtype=job.precision,
            device=job.device,
        )
    plan = Plan(
        seed=job.seed,
        dtype="float64" if job.precision == "float64" else "float32",
    )
    history = train(
        model,
        data,
        recipe,
        plan,
        state=state,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )
    return model, history


class Looked:
    """A track whose networks are looked at between their building and their training.

    Args:
        track: The track.
        look: Given each network that was built.
    """

    def __init__(self, track: Track, look: Callable[[Any], None]) -> None:
        self.track, self.look = track, look

    def __getattr__(self, name: str) -> Any:
        return getattr(self.track, name)

    def build(self, spec: Spec, **given: Any) -> Any:
        """The track's own network."""
        model = self.track.build(spec, **given)
        self.look(model)
        return model


class Attempt:
    """One attempt at a run, from nothing or from its checkpoint."""

    def __init__(self, job: Job, store: Store, tell: Tell) -> None:
        self.job = job
        self.store = store
        self.tell = tell
        self.checkpoint = self._checkpoint()
        self.before: Run | None = None  # whose weights are judged
        self.told = 0.0  # when it last told how many pictures it had judged
        self.resumed = self.checkpoint.resumed if self.checkpoint else ()
        if self.checkpoint:
            self.resumed += (self.checkpoint.state.epoch,)

    def _checkpoint(self) -> Checkpoint | None:
        try:
            return self.store.load_checkpoint(self.job.id)
        except Damaged as error:
            aside = self.store.set_aside(self.job.id)
            text = f"{error}; kept in {aside}, {self.job.name} starts from nothing"
            self.tell("note", text=text)
            return None

    def run(self) -> None:
        """Train, judge, write the record."""
        job = self.job
        state = self.checkpoint.state if self.checkpoint else None
        self.tell("start", epoch=state.epoch if state else 0, epochs=job.epochs)
        track = load_track(job.track)
        track.configure(threads=job.threads, device=job.device, mode=job.mode)
        (spec, recipe), data = job.records(), self._data()
        if before := self._trained_before():
            self._judge_again(track, data, spec, recipe, before)
            return
        start = self._start()
        model, history = trained(
            job,
            self._looked_at(track, data),
            data,
            spec,
            recipe,
            weights=transplanted(spec, start, job.seed)
            if start
            else self._drawn(spec, data),
            state=state,
            on_epoch=self._epoch_done,
            on_progress=self._progressed,
        )
        self._write(track, model, data, spec, recipe, history)

    def _looked_at(self, track: Track, data: Dataset) -> Track:
        """The track; of a user's own networks it checks what they compute in."""
        job = self.job
        if not job.builder and job.track in TRUSTED:
            return track
        if missing(job.track, Probe):
            if job.precision != "float32":
                self.tell(
                    "note",
                    text=f"{job.precision} is what {job.track} says of {job.system}: "
                    "it has no probe.py to look at what a network computes in",
                )
            return track
        probe = load_extra(job.track, Probe)

        def look(model: Any) -> None:
            found = probe.arithmetic(model, data.train.take(slice(0, 2)))
            precision.check_computed(
                job.precision,
                found,
                mode=job.mode,
                who=f"{job.system} in {job.track}",
                cure=f"have {job.builder or job.track} heed the dtype it is given",
            )

        return cast(Track, Looked(track, look))

    def _trained_before(self) -> Run | None:
        """A run that was trained alike: only to be judged more or less often."""
        job, (spec, _) = self.job, self.job.records()
        if self.checkpoint or not any(
            isinstance(draw, Starts) for draw in spec.draws.values()
        ):
            return None
        return self.store.trained_alike(job.id, job.identity)

    def _judge_again(
        self, track: Track, data: Dataset, spec: Spec, recipe: Recipe, before: Run
    ) -> None:
        """Write the record of the job from the weights that `before` ended with."""
        job, then = self.job, before.record
        self.tell("note", text=f"{job.name} was trained before, it is only judged")
        self.before, self.resumed = before, tuple(then["resumed"])
        model = track.build(
            spec, weights=before.weights(), dtype=job.precision, device=job.device
        )
        times = then["times"]
        history = History(
            np.array(then["losses"], np.float64),
            [EpochScores(**epoch) for epoch in then["history"]],
            times["train"] or 0.0,
            times["images_per_second"] or 0.0,
            times["first_step"] or 0.0,
            None,
        )
        self._write(track, model, data, spec, recipe, history)

    def _start(self) -> Weights | None:
        if self.job.start is None:
            return None
        _, weights, _ = model_file.load(Path(self.job.start))
        if digest(weights) != self.job.start_digest:
            raise Refused(
                "weights must stay as they are while they are used, "
                f"{self.job.start} changed; repeat the command"
            )
        return weights

    def _drawn(self, spec: Spec, data: Dataset) -> Weights | None:
        """Weights that are drawn from pictures, which the track itself has none of."""
        if self.job.mode == "native" or not pictures_needed(spec):
            return None
        return initial_weights(spec, self.job.seed, data.train)

    def _data(self) -> Dataset:
        data = open_data(self.job.data)
        if data.fingerprint != self.job.fingerprint:
            raise Refused(
                f"data must stay as they are while they are used, {data.name} "
                "changed; repeat the command"
            )
        return data

    def _epoch_done(self, scores: EpochScores, state: State) -> None:
        checkpoint = Checkpoint(
            state=state,
            seconds=self._seconds(),
            peak=self._peak(),
            resumed=self.resumed,
        )
        self.store.save_checkpoint(self.job.id, checkpoint)
        self.tell("epoch", **_defined(asdict(scores)), epochs=self.job.epochs)

    def _progressed(self, progress: Progress) -> None:
        self.tell("progress", **_defined(asdict(progress)))

    def _judged(self, done: int, total: int) -> None:
        if not done or time.monotonic() - self.told >= REPORT_EVERY:
            self.told = time.monotonic()
            self.tell("judging", judged=done, to_judge=total)

    def _seconds(self) -> float:
        before = self.checkpoint.seconds if self.checkpoint else 0.0
        before += self.before.record["times"]["total"] if self.before else 0.0
        return before + time.monotonic() - BORN

    def _peak(self) -> int:
        earlier = [self.checkpoint.peak] if self.checkpoint else []
        earlier += [self.before.record["memory"]["peak"]] if self.before else []
        return max([peak_memory(), *earlier])

    def _write(
        self,
        track: Track,
        model: Any,
        data: Dataset,
        spec: Spec,
        recipe: Recipe,
        history: History,
    ) -> None:
        job, record = self.job, self._record(track, data, spec, history)
        if history.diverged_at is not None:
            self.store.write(record)
            return
        predict = counted(
            seen(track.predictor(model), recipe.views),
            len(data.test) * recipe.repeats,
            self._judged,
        )
        found = judged(
            predict, data.test, recipe.repeats, batch_size=at_once(spec.input)
        )
        logits = found.logits
        if not np.isfinite(logits).all():  # it was the last update that did it
            self.store.write(record | {"diverged_at": len(history.losses)})
            return
        record["scores"] = asdict(score(logits, data.test.labels))
        record["curve"] = list(found.curve)
        record["trained_by"] = self.before.id if self.before else job.id
        record["memory"]["peak"] = self._peak()
        record["times"]["total"] = self._seconds()
        self.store.write(
            record,
            logits=files.pack({"logits": logits, "labels": data.test.labels}),
            weights=self._weights(track, model),
        )

    def _weights(self, track: Track, model: Any) -> bytes:
        """The model's file, as the track itself saves it."""
        path = self.store.folder(self.job.id) / ".weights.tmp"
        track.save(model, path)
        content = path.read_bytes()
        path.unlink()
        saved, expected = files.unpack(content)[0], track.get_weights(model)
        if digest(saved) != digest(expected):
            raise RuntimeError(f"{self.job.track} saves other weights than it has")
        return content

    def _record(
        self, track: Track, data: Dataset, spec: Spec, history: History
    ) -> Record:
        job = self.job
        system = find(job.module or job.system)
        published = system.published
        return {
            "schema": results.SCHEMA,
            "id": job.id,
            "system": job.system,
            "module": job.module,
            "base": asdict(job.base) if job.base else None,
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "train": len(data.train),
                "test": len(data.test),
                "note": data.note,
                "classes": list(data.classes),
                "features": data.features,
            },
            "mode": job.mode,
            "precision": job.precision,
            "track": job.track,
            "seed": job.seed,
            "device": job.device,
            "threads": job.threads,
            "overrides": list(job.overrides),
            "epochs": job.epochs,
            "spec": job.spec,
            "recipe": job.recipe,
            "identity": job.identity,
            "parameters": parameters(spec),
            "scores": None,
            "diverged_at": history.diverged_at,
            "history": [_defined(asdict(epoch)) for epoch in history.epochs],
            "losses": [figure(loss) for loss in history.losses.tolist()],
            "times": {
                "total": self._seconds(),
                "train": figure(history.train_seconds),
                "first_step": figure(history.first_step),
                "images_per_second": figure(history.images_per_second) or None,
            },
            "memory": {"peak": self._peak(), "gpu": track.peak_gpu_memory()},
            "environment": self._environment(track),
            "resumed": list(self.resumed),
            "command": job.command,
            "published": {"data": system.data, **asdict(published)}
            if published
            else None,
        }

    def _environment(self, track: Track) -> dict[str, object]:
        return environment(installed(self.job.closure().frameworks)) | {
            "threads": self.job.threads,
            "track": track.describe(),
        }


def _defined(values: dict[str, Any]) -> dict[str, Any]:
    """The same, with none for every number that is not finite."""
    return {
        key: None if isinstance(value, float) and not isfinite(value) else value
        for key, value in values.items()
    }
