"""How a model is trained: optimizer constants, learning rate per step, augmentation.

Every constant on which the frameworks' defaults differ is stated here, and the
formulas it enters are written in `pt_track/optim.py` and `tf_track/optim.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil, cos, pi
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from common.weights import WeightRecord


@runtime_checkable
class Schedule(Protocol):
    """A factor on the learning rate for each step."""

    def factors(self, steps: int, per_epoch: int) -> NDArray[np.float64]:
        """The factor at each of `steps` steps, (steps,)."""

    def compressed(self, steps: int) -> Schedule:
        """The same shape, made to change inside a run of `steps` steps."""


@dataclass(frozen=True, slots=True)
class Steady:
    """No schedule: the factor is 1."""

    def factors(self, steps: int, per_epoch: int) -> NDArray[np.float64]:
        """The factor at each of `steps` steps, (steps,)."""
        return np.ones(steps)

    def compressed(self, steps: int) -> Steady:
        """The same shape, made to change inside a run of `steps` steps."""
        return self


@dataclass(frozen=True, slots=True)
class Staircase:
    """Times `factor` after every `every` steps or epochs, as `unit` says.

    Attributes:
        every: After how many the rate changes.
        factor: What it is multiplied by.
        unit: "step" or "epoch".
    """

    every: int
    factor: float
    unit: Literal["step", "epoch"] = "step"

    def factors(self, steps: int, per_epoch: int) -> NDArray[np.float64]:
        """The factor at each of `steps` steps, (steps,)."""
        every = self.every * (per_epoch if self.unit == "epoch" else 1)
        return np.power(self.factor, np.arange(steps) // every)

    def compressed(self, steps: int) -> Staircase:
        """The same shape, made to change inside a run of `steps` steps."""
        if self.unit == "epoch":
            return Staircase(max(1, steps // 2), self.factor)
        return replace(self, every=max(1, min(self.every, steps // 2)))


@dataclass(frozen=True, slots=True)
class WarmCosine:
    """Linear from 0 to 1 over the first `warm` share of steps, then a half cosine.

    It changes at every step and scales with the run, so it is always compressed.

    Attributes:
        warm: Share of the run's steps, 0 to 1.
    """

    warm: float

    def factors(self, steps: int, per_epoch: int) -> NDArray[np.float64]:
        """The factor at each of `steps` steps, (steps,)."""
        rise = max(1, round(self.warm * steps))
        fall = max(1, steps - rise)
        return np.array(
            [
                (i + 1) / rise if i < rise else 0.5 + 0.5 * cos(pi * (i - rise) / fall)
                for i in range(steps)
            ]
        )

    def compressed(self, steps: int) -> WarmCosine:
        """The same shape, made to change inside a run of `steps` steps."""
        return self


@dataclass(frozen=True, slots=True)
class Piecewise:
    """Straight lines between points (share of the run's steps, factor).

    The first point is at 0 and the last at 1.  Where two points have one share the
    factor jumps, and the step there has the second one.  A share's step is rounded
    down, as the published schedules do.

    Attributes:
        points: Pairs (share, factor), the first at share 0, the last at 1.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.points]
        if len(shares) < 2 or shares != sorted(shares) or shares[0] or shares[-1] != 1:
            raise ValueError(
                "a piecewise schedule goes from share 0 to share 1 of the run, never "
                f"back, got shares {shares}; correct them"
            )

    def factors(self, steps: int, per_epoch: int) -> NDArray[np.float64]:
        """The factor at each of `steps` steps, (steps,)."""
        at = [int(share * steps) for share, _ in self.points]
        return np.interp(np.arange(steps), at, [factor for _, factor in self.points])

    def compressed(self, steps: int) -> Piecewise:
        """The same shape, made to change inside a run of `steps` steps."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookahead:
    """Slow weights that the fast ones start from again and again; they are evaluated.

    After every `every`-th update t (from 1) of T: slow = d * slow + (1 - d) * fast and
    fast = slow, with d = decay**every * (t / T)**power, for all weights and, where
    `statistics`, running statistics alike.  They start as the initial weights.  Zhang
    et al. 2019, arXiv 1907.08610, algorithm 1, with the growing d of Jordan 2024, arXiv
    2404.00498.

    Attributes:
        every: Updates between two moves of the slow weights.
        decay: Share of the slow weights that stays, per update.
        power: Of the run's share t / T that d grows with; 0 for a steady d.
        statistics: Whether running statistics are treated alike.
    """

    every: int
    decay: float
    power: float = 0.0
    statistics: bool = True

    def stays(self, steps: int) -> NDArray[np.float64]:
        """D after each of `steps` updates, (steps,); -1 where nothing is done."""
        t = np.arange(1, steps + 1)
        grown = self.decay**self.every * (t / steps) ** self.power
        return np.where(t % self.every, -1.0, grown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """An average of the weights, evaluated in their place.

    After update n (from 1): average = d * average + (1 - d) * weights with
    d = min(decay, (1 + n) / (10 + n)) where `warm_up`, else d = decay.  It starts
    as the initial weights; running statistics are copied, not averaged.

    Attributes:
        decay: Share of the average that stays, per update.
        warm_up: Whether the first updates count more.
    """

    decay: float
    warm_up: bool

    def decays(self, steps: int) -> NDArray[np.float64]:
        """D at each of `steps` updates, (steps,)."""
        n = np.arange(1, steps + 1)
        full = np.full(steps, self.decay)
        return np.minimum(full, (1 + n) / (10 + n)) if self.warm_up else full


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD:
    """Stochastic gradient descent.

    buffer = momentum * buffer + g; step = buffer, or g + momentum * buffer with
    Nesterov; w -= lr * step.  Sutskever et al. 2013, in torch's form.

    Attributes:
        momentum: Share of the buffer that stays.
        nesterov: Whether to look ahead.
        form: "buffer" as above (torch), or "velocity" where the learning rate is
            folded into what is remembered (Keras): another path once lr changes.
    """

    momentum: float = 0.0
    nesterov: bool = False
    form: Literal["buffer", "velocity"] = "buffer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam, Kingma and Ba 2015, algorithm 1: w -= lr * m^ / (sqrt(v^) + eps).

    With decay of kind "decoupled" it is AdamW (Loshchilov and Hutter 2019).

    Attributes:
        beta1: Share of the mean of the gradients that stays.
        beta2: The same of the mean of their squares.
        eps: What keeps the step finite.
        form: "corrected" as above (torch); "raw" where eps is added to the root of v
            before its bias is corrected (Keras; the end of section 2 of the paper).
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    form: Literal["corrected", "raw"] = "corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Muon:
    """Momentum whose step is made orthogonal; of kernels.  Jordan et al. 2024.

    buffer = momentum * buffer + g; G = g + momentum * buffer as a matrix (outputs,
    inputs of one output), transposed if it is taller than wide; X = G / (|G| + eps),
    then `iterations` times A = X X^T, X = a X + (b A + c A A) X with the quintic's
    a, b, c = 3.4445, -4.7750, 2.0315; w -= lr * X.  In bfloat16 where the model
    computes in it.  kellerjordan.github.io/posts/muon.

    Attributes:
        momentum: Share of the buffer that stays.
        iterations: Of Newton and Schulz.
        eps: Added to the norm of G.
        renormalise: Whether a kernel is first scaled to the norm sqrt(outputs).
        rows: What a row of the matrix belongs to.
    """

    momentum: float = 0.95
    iterations: int = 5
    eps: float = 1e-7
    renormalise: bool = False
    rows: Literal["outputs", "inputs"] = "outputs"


QUINTIC = (3.4445, -4.7750, 2.0315)  # `Muon`'s a, b, c


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """Weight decay.

    Attributes:
        rate: Its strength.
        kind: "coupled" adds rate * w to the gradient (an L2 term of rate / 2 in
            the loss, and it is in the reported training loss); "decoupled"
            multiplies w by 1 - lr * rate before the update.
        names: Canonical names of the tensors that decay; empty for those of `which`.
        which: "kernels", or "all" that is trained.
        over_factor: Whether a tensor's strength is divided by the factor on its
            learning rate (`Recipe.multipliers`): rate times strength is that of all.
    """

    rate: float
    kind: Literal["coupled", "decoupled"] = "coupled"
    names: tuple[str, ...] = ()
    which: Literal["kernels", "all"] = "kernels"
    over_factor: bool = False

    def strength(self, factor: float) -> float:
        """Of a tensor whose learning rate has this factor."""
        return self.rate / factor if self.over_factor and factor else self.rate

    def chosen(self, records: dict[str, WeightRecord]) -> tuple[str, ...]:
        """Names of the tensors that decay, in the model's order.

        Raises:
            ValueError: A name is not a trained tensor of the model.
        """
        trained = [name for name, record in records.items() if record.trained]
        if strangers := sorted(set(self.names) - set(trained)):
            raise ValueError(
                f"only trained tensors can decay, got {strangers}; "
                f"choose from {trained}"
            )
        if self.names:
            return tuple(name for name in trained if name in self.names)
        if self.which == "all":
            return tuple(trained)
        return tuple(name for name in trained if name.endswith(".kernel"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """What training does to a picture, in this order; floats are never clipped.

    Attributes:
        flip: Mirror left to right with probability one half.
        alternate: Where `flip`: one draw for each picture of the run, and in the "odd"
            or "even" epochs (from 0) every picture is mirrored once more, so that two
            epochs show both sides.  Jordan 2024, arXiv 2404.00498, section 3.6.
            "never": a draw for each picture and epoch.
        shift: Move each picture by up to so many pixels in both directions; what comes
            in at the border is its reflection.
        cutout: Side of a square in pixels, anywhere inside, that is painted over; 0 for
            none.
        paint: Its colour, 0 to 255 for each channel; empty for black.
        brightness: Add one number per picture from U(-brightness, brightness),
            on the scale 0 to 255.
        contrast: Multiply the distance from each channel's mean by one number per
            picture from U(low, high); empty for none.
        stretch: Of a picture on a canvas: height and width are multiplied by two
            numbers from U(1 - stretch, 1 + stretch).
        slant: Of a picture on a canvas: then one of three, slanted along x or along y
            by a number from U(-slant, slant), or turned by that angle (radians).
        tint: Deviation of one normal number per picture and channel that is added to
            what differs from the canvas by more than 2 in some channel.
        shade: Deviation of two more, added for each pixel away from the picture's
            middle, to the right and down.
        clean: So many epochs, the last ones, see pictures as they are.

    Random crops come first and are the spec's (`CNNSpec.crop`).  On a canvas
    (`CNNSpec.canvas`) a picture is moved from the middle, no further than to the
    canvas's border, and what comes in is the canvas.  Stretch, slant, tint and shade
    are the augmentation of Graham's SparseConvNet (cifar10big.cpp, OpenCVPicture.cpp).
    """

    flip: bool = False
    brightness: float = 0.0
    contrast: tuple[float, float] | tuple[()] = ()
    alternate: Literal["never", "odd", "even"] = "never"
    shift: int = 0
    cutout: int = 0
    stretch: float = 0.0
    slant: float = 0.0
    tint: float = 0.0
    shade: float = 0.0
    clean: int = 0
    paint: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.alternate != "never" and not self.flip:
            raise ValueError(
                f"to alternate is a way to flip, got alternate={self.alternate!r} and "
                "flip=False; set flip=True"
            )
        for name in ("shift", "cutout", "stretch", "slant", "tint", "shade", "clean"):
            if (value := getattr(self, name)) < 0 or (name == "stretch" and value >= 1):
                most = ", below 1" if name == "stretch" else ""
                raise ValueError(
                    f"{name} must be 0 or more{most}, got {value}; use 0 for none"
                )
        if not all(0 <= value <= 255 for value in self.paint):
            raise ValueError(
                f"paint is a pixel's values, 0 to 255, got {self.paint}; correct it"
            )

    @property
    def recolours(self) -> bool:
        """Whether pictures stop being whole numbers 0 to 255."""
        coloured = self.brightness or self.contrast or self.tint or self.shade
        return bool(coloured or self.warps)

    @property
    def warps(self) -> bool:
        """Whether pixels are interpolated; only on a canvas."""
        return bool(self.stretch or self.slant)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way to look at a picture when it is judged.

    Attributes:
        flip: Whether it is mirrored left to right.
        down, right: By how many pixels it is moved before that; what comes in at the
            border is its reflection.
        weight: Of its logits in the sum over the views.
    """

    flip: bool = False
    down: int = 0
    right: int = 0
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained, and how it is judged in the end.

    Attributes:
        lr: Learning rate, before the schedule's factor.
        batch: Examples per update.
        epochs: Passes over the training data.
        optimizer: The update rule.
        optimizers: Pairs of a prefix and a rule in its place; the longest counts.
        schedule: Factor on `lr` per step.
        decay: Weight decay, or none.
        clip: Largest global norm of the gradient (of the data loss, before
            decay), or 0 for no limit; the scale is min(1, clip / norm).
        average: Average of the weights, or slow weights, or none.
        augment: What happens to training pictures.
        smoothing: Label smoothing: share of the target spread over all classes.
        class_weights: Weight of each class in the loss, label 0 first; a batch's loss
            is the weighted mean (divided by the sum of its weights, not by its size:
            a rare class must not multiply the step).  Empty for equal weights.
        sampling: "shuffled": an epoch is a permutation; "balanced": every batch has
            every class equally often, to within one, and an epoch as many examples.
        drop_last: Whether the short last batch of an epoch is left out.
        auxiliary: Weight of an auxiliary head's loss, where the network has one.
        statistics: "moving": batch norm uses the batch in training and keeps running
            statistics; "frozen": it uses the ones it came with, and keeps them.
        multipliers: Pairs of a prefix of canonical names and a factor on the learning
            rate; the longest prefix counts ("" is one of all), 0 freezes.
        schedules: Pairs of a prefix and a schedule in place of the recipe's; the
            longest prefix counts.  Its shares are of the whole run.
        last_epoch: Share of the last epoch that is trained; rounded up to a batch.
        views: What is looked at when the trained model is judged; a picture's logits
            are the weighted sum over them.  Empty: the picture as it is.
        repeats: How often each picture is judged, with regions of fractional pools
            drawn anew; its probabilities are the mean.
        keep: "last": the weights after the last epoch are judged; "best": those of
            the first epoch with the highest accuracy on the validation part.

    Raises:
        ValueError: A number is out of its range.
    """

    lr: float
    batch: int
    epochs: int
    optimizer: SGD | Adam | Muon = SGD()
    schedule: Schedule = Steady()
    decay: Decay | None = None
    clip: float = 0.0
    average: Average | Lookahead | None = None
    augment: Augment = Augment()
    smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    drop_last: bool = False
    auxiliary: float = 0.4
    statistics: Literal["moving", "frozen"] = "moving"
    multipliers: tuple[tuple[str, float], ...] = ()
    keep: Literal["last", "best"] = "last"
    schedules: tuple[tuple[str, Piecewise | WarmCosine | Steady], ...] = ()
    last_epoch: float = 1.0
    views: tuple[View, ...] = ()
    optimizers: tuple[tuple[str, SGD | Adam | Muon], ...] = ()
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(
                f"a picture is judged once or more, got repeats {self.repeats}; use 1 "
                "for once"
            )
        if self.lr < 0 or self.batch < 1 or self.epochs < 1 or self.clip < 0:
            raise ValueError(
                f"lr and clip must be 0 or more, batch and epochs 1 or more, got lr "
                f"{self.lr}, clip {self.clip}, batch {self.batch}, epochs {self.epochs}"
                "; correct the one that is not"
            )
        if not 0 <= self.smoothing < 1:
            raise ValueError(
                f"label smoothing must lie in [0, 1), got {self.smoothing}; "
                "use 0 for none"
            )
        if not all(weight > 0 for weight in self.class_weights):
            raise ValueError(
                f"class weights must be above 0, got {self.class_weights}; "
                "leave a class out of the data instead"
            )
        if self.auxiliary < 0 or any(factor < 0 for _, factor in self.multipliers):
            raise ValueError(
                f"factors must be 0 or more, got auxiliary {self.auxiliary} and "
                f"multipliers {self.multipliers}; use 0 for none of it"
            )
        if not 0 < self.last_epoch <= 1:
            raise ValueError(
                "the share of the last epoch must lie in (0, 1], got "
                f"{self.last_epoch}; use 1 for all of it"
            )
        if self.keep == "best" and self.average:
            raise ValueError(
                "the best epoch's weights and an average of all cannot both be kept, "
                "got keep best and an average; leave one out"
            )

    def multiplier(self, name: str) -> float:
        """Factor on the learning rate of the tensor called `name`."""
        return _of_longest(name, self.multipliers, 1.0)

    def schedule_of(self, name: str) -> Schedule | None:
        """The schedule of the tensor called `name`, if it has one of its own."""
        return _of_longest(name, self.schedules, None)

    def optimizer_of(self, name: str) -> SGD | Adam | Muon:
        """The update rule of the tensor called `name`."""
        return _of_longest(name, self.optimizers, self.optimizer)

    def check(self, records: dict[str, WeightRecord]) -> None:
        """Refuse what names tensors that the model has not, or cannot be done to them.

        Raises:
            ValueError: In one line.
        """
        if self.decay:
            self.decay.chosen(records)
        for name, record in records.items():
            vector = record.trained and len(record.shape) < 2
            if vector and isinstance(self.optimizer_of(name), Muon):
                raise ValueError(
                    f"Muon makes matrices orthogonal, {name} has the shape "
                    f"{record.shape}; give it another rule in recipe.optimizers"
                )

    def steps(self, n: int) -> int:
        """Updates in the whole run over `n` examples."""
        per_epoch = self.steps_per_epoch(n)
        return ceil(per_epoch * (self.epochs - 1 + self.last_epoch))

    def steps_per_epoch(self, n: int) -> int:
        """Updates in one pass over `n` examples."""
        return n // self.batch if self.drop_last else -(-n // self.batch)

    def rates(self, n: int) -> NDArray[np.float64]:
        """Learning rate of every update of the run over `n` examples, (steps,)."""
        per_epoch = self.steps_per_epoch(n)
        return self.lr * self.schedule.factors(self.steps(n), per_epoch)


T = TypeVar("T")


def _of_longest(name: str, pairs: Iterable[tuple[str, T]], other: T) -> T:
    """What the longest prefix of a canonical name is paired with; "" is one of all."""
    fitting = [
        (prefix, value)
        for prefix, value in pairs
        if prefix == "" or name == prefix or name.startswith(f"{prefix}.")
    ]
    return max(fitting, key=lambda pair: len(pair[0]))[1] if fitting else other
