"""How a model is trained: optimizer constants, learning rate per step, augmentation.

Every constant on which the frameworks' defaults differ is stated here, and the
formulas it enters are written in `pt_track/optim.py` and `tf_track/optim.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, pi
from typing import Literal, Protocol, runtime_checkable

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
    """Times `factor` after every `every` steps or epochs, as `unit` says."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """An average of the weights, evaluated in their place.

    After update n (from 1): average = d * average + (1 - d) * weights with
    d = min(decay, (1 + n) / (10 + n)) where `warm_up`, else d = decay.  It starts
    as the initial weights; running statistics are copied, not averaged.
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
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """Weight decay.

    Attributes:
        rate: Its strength.
        kind: "coupled" adds rate * w to the gradient (an L2 term of rate / 2 in
            the loss, and it is in the reported training loss); "decoupled"
            multiplies w by 1 - lr * rate before the update.
        names: Canonical names of the tensors that decay; empty for all kernels.
    """

    rate: float
    kind: Literal["coupled", "decoupled"] = "coupled"
    names: tuple[str, ...] = ()

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
        return tuple(name for name in trained if name.endswith(".kernel"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """What training does to a picture, in this order; floats are never clipped.

    Attributes:
        flip: Mirror left to right with probability one half.
        brightness: Add one number per picture from U(-brightness, brightness),
            on the scale 0 to 255.
        contrast: Multiply the distance from each channel's mean by one number per
            picture from U(low, high); empty for none.

    Random crops come first and are the spec's (`CNNSpec.crop`).
    """

    flip: bool = False
    brightness: float = 0.0
    contrast: tuple[float, float] | tuple[()] = ()

    @property
    def recolours(self) -> bool:
        """Whether pictures stop being whole numbers 0 to 255."""
        return bool(self.brightness or self.contrast)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        lr: Learning rate, before the schedule's factor.
        batch: Examples per update.
        epochs: Passes over the training data.
        optimizer: The update rule.
        schedule: Factor on `lr` per step.
        decay: Weight decay, or none.
        clip: Largest global norm of the gradient (of the data loss, before
            decay), or 0 for no limit; the scale is min(1, clip / norm).
        average: Average of the weights, or none.
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
        keep: "last": the weights after the last epoch are judged; "best": those of
            the first epoch with the highest accuracy on the validation part.

    Raises:
        ValueError: A number is out of its range.
    """

    lr: float
    batch: int
    epochs: int
    optimizer: SGD | Adam = SGD()
    schedule: Schedule = Steady()
    decay: Decay | None = None
    clip: float = 0.0
    average: Average | None = None
    augment: Augment = Augment()
    smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    drop_last: bool = False
    auxiliary: float = 0.4
    statistics: Literal["moving", "frozen"] = "moving"
    multipliers: tuple[tuple[str, float], ...] = ()
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
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
        if self.keep == "best" and self.average:
            raise ValueError(
                "the best epoch's weights and an average of all cannot both be kept, "
                "got keep best and an average; leave one out"
            )

    def multiplier(self, name: str) -> float:
        """Factor on the learning rate of the tensor called `name`."""
        fitting = [
            (len(prefix), factor)
            for prefix, factor in self.multipliers
            if prefix == "" or name == prefix or name.startswith(f"{prefix}.")
        ]
        return max(fitting)[1] if fitting else 1.0

    def steps_per_epoch(self, n: int) -> int:
        """Updates in one pass over `n` examples."""
        return n // self.batch if self.drop_last else -(-n // self.batch)

    def rates(self, n: int) -> NDArray[np.float64]:
        """Learning rate of every update of the run over `n` examples, (steps,)."""
        per_epoch = self.steps_per_epoch(n)
        return self.lr * self.schedule.factors(per_epoch * self.epochs, per_epoch)
