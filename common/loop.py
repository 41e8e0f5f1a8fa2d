"""The loop around the updates, the same for both tracks: epochs, clock, divergence.

Everything that touches a framework is behind `Trainer`; what is here sees only
NumPy, so the two tracks cannot differ in what they count, time or call diverged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.data import Dataset, Part
from common.evaluate import Counted, Predict, at_once, counted, evaluate
from common.plan import Chunk, Plan, ahead
from common.recipe import Recipe
from common.spec import Spec
from common.track import (
    EpochScores,
    History,
    OnEpoch,
    OnProgress,
    Progress,
    State,
    Trainer,
)

Arrays = dict[str, NDArray[Any]]
BEST = "best/"  # before the names of the best epoch's weights in a `State`
REPORT_EVERY = 1.0  # seconds between two reports of progress


class Keeper(Protocol):
    """The part of a `Trainer` that knows what training changes."""

    def averaged(self) -> AbstractContextManager[None]:
        """While open, the model holds the averaged weights, if there are any."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights, statistics, optimizer slots: all that training changes."""

    def restore(self, arrays: dict[str, NDArray[Any]], step: int) -> None:
        """Go back to what `arrays` returned after `step` updates."""


class Clock:
    """Losses and seconds of a run, and who is told of them."""

    def __init__(self, steps: int, recipe: Recipe, on_progress: OnProgress | None):
        """Start the clock of a run of `steps` updates."""
        self.losses = np.full(steps, np.nan)
        self.step = 0
        self.epoch, self.began = 1, 0  # the epoch, and updates before it
        self.epochs: list[EpochScores] = []
        self.images = 0
        self.seconds = 0.0
        self.first_step = 0.0
        self.recipe = recipe
        self.on_progress = on_progress
        self.born = self.lap = self.told = monotonic()

    def begin(self, epoch: int) -> None:
        """An epoch (from 1) begins here."""
        self.epoch, self.began = epoch, self.step

    def start_lap(self) -> None:
        """From here on time counts as training."""
        self.lap = monotonic()

    def add(self, losses: NDArray[np.float64], images: int) -> None:
        """Take in the losses of consecutive updates on `images` pictures."""
        now = monotonic()
        self.losses[self.step : self.step + len(losses)] = losses
        self.step += len(losses)
        if self.first_step:
            self.images += images
            self.seconds += now - self.lap
        else:
            self.first_step = now - self.born
        self.lap = now
        self.report()

    def report(self, judged: int = 0, to_judge: int = 0) -> None:
        """Tell where the run stands, unless that was told a moment ago.

        That it evaluates now is told at once: what was said of its speed is over.
        """
        now, turns = monotonic(), to_judge > 0 and not judged
        if self.on_progress and (turns or now - self.told >= REPORT_EVERY):
            self.told = now
            self.on_progress(self.progress(judged, to_judge))

    def progress(self, judged: int = 0, to_judge: int = 0) -> Progress:
        """Where the run stands."""
        # The mean of the epoch so far: one step's loss is not the run's.
        loss = float(self.losses[self.began : self.step].mean())
        return Progress(
            self.epoch,
            self.recipe.epochs,
            self.step,
            len(self.losses),
            loss,
            self.rate(),
            judged,
            to_judge,
        )

    def rate(self) -> float:
        """Training pictures per second, the first step left out."""
        return self.images / self.seconds if self.seconds else 0.0

    def diverged_at(self) -> int | None:
        """First step, from 1, whose loss is not finite."""
        bad = np.flatnonzero(~np.isfinite(self.losses[: self.step]))
        return int(bad[0]) + 1 if len(bad) else None

    def history(self) -> History:
        """All of it, cut off where the run diverged."""
        diverged = self.diverged_at()
        losses = self.losses[: diverged or self.step].copy()
        return History(
            losses, self.epochs, self.seconds, self.rate(), self.first_step, diverged
        )


def run(
    trainer: Trainer,
    predict: Predict,
    data: Dataset,
    spec: Spec,
    recipe: Recipe,
    plan: Plan,
    *,
    state: State | None,
    on_epoch: OnEpoch | None,
    on_progress: OnProgress | None,
) -> History:
    """Train for the recipe's epochs, from `state` on; stop where it diverges."""

    def train_epoch(epoch: int, clock: Clock) -> None:
        replay(trainer, data.train, spec, recipe, plan, epoch, clock)

    return epochs(
        train_epoch,
        trainer,
        predict,
        data,
        recipe,
        state=state,
        on_epoch=on_epoch,
        on_progress=on_progress,
        batch_size=at_once(spec.input),
    )


def epochs(
    train_epoch: Callable[[int, Clock], None],
    trainer: Keeper,
    predict: Predict,
    data: Dataset,
    recipe: Recipe,
    *,
    state: State | None,
    on_epoch: OnEpoch | None,
    on_progress: OnProgress | None,
    batch_size: int | None = None,
) -> History:
    """The same for any way to train an epoch, native mode's included.

    `train_epoch(epoch, clock)` starts a lap of the clock, adds every loss to it, and
    returns early at one that is not finite; `batch_size` as `evaluate` takes it.
    """
    if recipe.keep == "best" and not len(data.valid):
        raise ValueError(
            "the best epoch is chosen on a validation part, there is none; hold one out"
        )
    best: Arrays = {}
    clock = Clock(recipe.steps(len(data.train)), recipe, on_progress)
    if state:
        _restore(trainer, clock, state)
        best = {n: a for n, a in state.arrays.items() if n.startswith(BEST)}
    for epoch in range(state.epoch if state else 0, recipe.epochs):
        before, first = clock.seconds, clock.step
        clock.begin(epoch + 1)
        train_epoch(epoch, clock)
        if clock.diverged_at():
            return clock.history()
        seconds = clock.seconds - before
        mean = float(clock.losses[first : clock.step].mean())
        scores = _scores(
            trainer, predict, data, epoch, mean, seconds, batch_size, clock.report
        )
        clock.epochs.append(scores)
        if recipe.keep == "best" and _best_yet(clock.epochs):
            best = {BEST + n: a for n, a in trainer.arrays().items() if _is_weight(n)}
        if on_epoch:
            on_epoch(clock.epochs[-1], _state(trainer, clock, epoch, best))
    if best:
        kept = {name.removeprefix(BEST): array for name, array in best.items()}
        trainer.restore(trainer.arrays() | kept, clock.step)
    return clock.history()


def _best_yet(epochs: list[EpochScores]) -> bool:
    """Whether the last epoch is better than all before it."""
    *before, last = [_nan(epoch.accuracy) for epoch in epochs]
    return not any(last <= other for other in before)


def _is_weight(name: str) -> bool:
    return name.startswith("weights/")


def replay(
    trainer: Trainer,
    part: Part,
    spec: Spec,
    recipe: Recipe,
    plan: Plan,
    epoch: int,
    clock: Clock,
) -> None:
    """Train for one epoch of the plan, or until the loss is not finite."""
    chunks = ahead(plan.chunks(part, spec, recipe, epoch))
    clock.start_lap()
    for chunk in _first_alone(chunks) if clock.step == 0 else chunks:
        left = len(clock.losses) - clock.step
        if left < len(chunk.labels):  # the last epoch may be cut
            chunk = chunk[:left]
        if not left:
            return
        clock.add(trainer.run(chunk), chunk.labels.size)
        if clock.diverged_at():
            return


def _first_alone(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The first batch by itself, so that the first step can be timed."""
    first = next(chunks)
    yield first[:1]
    if len(first.labels) > 1:
        yield first[1:]
    yield from chunks


def _scores(
    trainer: Keeper,
    predict: Predict,
    data: Dataset,
    epoch: int,
    train_loss: float,
    seconds: float,
    batch_size: int | None,
    report: Counted,
) -> EpochScores:
    part = data.valid if len(data.valid) else data.test
    if not len(part):
        return EpochScores(epoch + 1, train_loss, None, None, seconds)
    with trainer.averaged():
        told = counted(predict, len(part), report)
        scores = evaluate(told, part, batch_size=batch_size)
    loss = scores.loss if np.isfinite(scores.loss) else None
    return EpochScores(epoch + 1, train_loss, scores.accuracy, loss, seconds)


def _state(trainer: Keeper, clock: Clock, epoch: int, best: Arrays) -> State:
    rows = [
        (e.epoch, e.train_loss, _nan(e.accuracy), _nan(e.loss), e.seconds)
        for e in clock.epochs
    ]
    arrays: dict[str, NDArray[Any]] = {
        "history/losses": clock.losses[: clock.step].copy(),
        "history/epochs": np.array(rows, np.float64),
        "history/clock": np.array([clock.images, clock.seconds, clock.first_step]),
    }
    return State(epoch + 1, clock.step, trainer.arrays() | arrays | best)


def _nan(value: float | None) -> float:
    return np.nan if value is None else value


def _restore(trainer: Keeper, clock: Clock, state: State) -> None:
    losses = state.arrays["history/losses"]
    clock.losses[: len(losses)] = losses
    clock.step = state.step
    for epoch, train_loss, accuracy, loss, seconds in state.arrays["history/epochs"]:
        accuracy, loss = (None if np.isnan(v) else float(v) for v in (accuracy, loss))
        clock.epochs.append(
            EpochScores(int(epoch), float(train_loss), accuracy, loss, float(seconds))
        )
    images, clock.seconds, clock.first_step = map(float, state.arrays["history/clock"])
    clock.images = int(images)
    trainer.restore(state.arrays, state.step)
