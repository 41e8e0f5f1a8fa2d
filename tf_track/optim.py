"""The recipe's update rules, in Keras.  Twin: pt_track/optim.py.

One formula per rule, the same in both tracks, scalars in float64.  Keras's own
classes differ from torch's in the epsilon, in what a schedule does to momentum
and in what weight decay means.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import Variable
from tensorflow import Tensor

from common import recipe as r
from common.spec import Spec
from tf_track.weights import assign, to_canonical, trained


class Table(keras.optimizers.schedules.LearningRateSchedule):
    """One number per update, in float64 (Keras keeps a plain rate in float32)."""

    def __init__(self, values: np.ndarray | float) -> None:
        self.values = np.atleast_1d(np.asarray(values, np.float64))

    def __call__(self, step: Any) -> Tensor:
        step = tf.convert_to_tensor(step)
        return tf.gather(self.values, tf.minimum(step, len(self.values) - 1))


class Rule(keras.optimizers.Optimizer):
    """What every rule does around its formula: learning rate, decay, average.

    Args:
        rates: Learning rate of each update, or one for all.
        decay: Strength of weight decay; one, or one per variable in the order of
            `build`.
        decayed: The variables that decay, or none for all.
        factors: On the learning rate, one per variable in the order of `build`.
        own: Rates in place of `rates`, or none, one per variable in that order.
        decoupled: Whether decay shrinks the weights instead of the gradient.
        averages: Share that stays in the average of the weights at each update.
        slots: Names of what the rule remembers of each tensor.
    """

    def __init__(
        self,
        rates: np.ndarray | float,
        *,
        decay: float | list[float] = 0.0,
        decayed: Iterable[Variable] | None = None,
        factors: Iterable[float] | None = None,
        own: Iterable[np.ndarray | None] | None = None,
        decoupled: bool = False,
        averages: np.ndarray | None = None,
        slots: tuple[str, ...] = (),
    ) -> None:
        super().__init__(learning_rate=Table(rates))
        self.factors = None if factors is None else list(factors)
        tables = () if own is None else own
        self.own = [None if rates is None else Table(rates) for rates in tables]
        self.decay = decay
        self.decayed = None if decayed is None else list(decayed)
        self.decoupled = decoupled
        self.averages = None if averages is None else Table(averages)
        self.slots = slots if averages is None else (*slots, "average")
        self.kept: list[dict[str, Variable]] = []

    def build(self, variables: list[Variable]) -> None:
        """Make the slots of `variables`."""
        if self.built:
            return
        super().build(variables)
        for variable in variables:
            kept = {
                slot: self.add_variable_from_reference(variable, slot)
                for slot in self.slots
            }
            if self.averages is not None:
                kept["average"].assign(variable)
            self.kept.append(kept)

    def update_step(self, gradient: Tensor, variable: Variable, lr: Tensor) -> None:
        """Update one variable by its gradient."""
        gradient = tf.convert_to_tensor(gradient)
        index = self._get_variable_index(variable)
        own = self.own[index] if self.own else None
        if own is not None:
            lr = own(self.iterations)
        if self.factors is not None:
            lr = lr * self.factors[index]
        decay = self.strength(variable)
        if decay and self.decoupled:
            variable.assign(variable * tf.cast(1 - lr * decay, variable.dtype))
        elif decay:
            gradient += decay * tf.convert_to_tensor(variable)
        self.update(variable, gradient, lr)
        if self.averages is not None:
            stays = self.averages(self.iterations)
            average = self.slot(variable, "average")
            old = average * tf.cast(stays, average.dtype)
            average.assign(old + variable * tf.cast(1 - stays, average.dtype))

    def update(self, variable: Variable, gradient: Tensor, lr: Tensor) -> None:
        """The rule's formula."""
        raise NotImplementedError

    def slot(self, variable: Variable, name: str) -> Variable:
        """What is remembered of a variable."""
        return self.kept[self._get_variable_index(variable)][name]

    def slots_of(self, variable: Variable) -> tuple[str, ...]:
        """Names of what is remembered of a variable."""
        return self.slots

    def set_updates(self, n: int) -> None:
        """Go on from so many."""
        self.iterations.assign(n)

    def strength(self, variable: Variable) -> float:
        """How strongly the variable decays; 0 for not."""
        index = self._get_variable_index(variable)
        decay = self.decay[index] if isinstance(self.decay, list) else self.decay
        if self.decayed is None or not decay:
            return decay
        chosen = {self._get_variable_index(v) for v in self.decayed}
        return decay if index in chosen else 0.0

    def penalty(self, variables: list[Variable]) -> Tensor | float:
        """The L2 term whose gradient coupled decay adds: decay / 2 * sum of w^2."""
        if self.decoupled or not self.decay:
            return 0.0
        terms = [
            self.strength(v) / 2 * tf.reduce_sum(tf.square(v))
            for v in variables
            if self.strength(v)
        ]
        return tf.add_n(terms) if terms else 0.0


class SGD(Rule):
    """Momentum and Nesterov, as `common.recipe.SGD` states them."""

    def __init__(
        self,
        rates: np.ndarray | float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        form: str = "buffer",
        **rest: Any,
    ) -> None:
        super().__init__(rates, slots=("momentum",) if momentum else (), **rest)
        self.momentum, self.nesterov, self.form = momentum, nesterov, form

    def update(self, variable: Variable, gradient: Tensor, lr: Tensor) -> None:
        """The rule's formula."""
        lr = tf.cast(lr, variable.dtype)
        outside = lr
        if self.form == "velocity":
            gradient, outside = gradient * lr, tf.ones((), variable.dtype)
        if self.momentum:
            buffer = self.slot(variable, "momentum")
            buffer.assign(buffer * self.momentum + gradient)
            if self.nesterov:
                gradient = gradient + self.momentum * buffer
            else:
                gradient = tf.convert_to_tensor(buffer)
        variable.assign_sub(outside * gradient)


class Adam(Rule):
    """As `common.recipe.Adam` states it; AdamW where decay is decoupled."""

    def __init__(
        self,
        rates: np.ndarray | float,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        form: str = "corrected",
        **rest: Any,
    ) -> None:
        super().__init__(rates, slots=("mean", "square"), **rest)
        self.beta1, self.beta2, self.eps, self.form = beta1, beta2, eps, form

    def update(self, variable: Variable, gradient: Tensor, lr: Tensor) -> None:
        """The rule's formula."""
        mean = self.slot(variable, "mean")
        square = self.slot(variable, "square")
        mean.assign(mean * self.beta1 + gradient * (1 - self.beta1))
        square.assign(square * self.beta2 + gradient * gradient * (1 - self.beta2))
        t = tf.cast(self.iterations + 1, tf.float64)
        bias = tf.sqrt(1 - tf.pow(np.float64(self.beta2), t))
        eps = np.float64(self.eps)  # a Python float would be cast from float32
        eps = eps if self.form == "corrected" else eps / bias
        below = tf.sqrt(square) / tf.cast(bias, variable.dtype)
        below += tf.cast(eps, variable.dtype)
        step = lr / (1 - tf.pow(np.float64(self.beta1), t))
        variable.assign_sub(tf.cast(step, variable.dtype) * (mean / below))


class Muon(Rule):
    """As `common.recipe.Muon` states it."""

    def __init__(
        self,
        rates: np.ndarray | float,
        *,
        momentum: float = 0.95,
        iterations: int = 5,
        eps: float = 1e-7,
        renormalise: bool = False,
        rows: str = "outputs",
        dtype: str | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(rates, slots=("momentum",), **rest)
        self.momentum, self.rounds, self.eps = momentum, iterations, eps
        self.renormalise, self.dtype = renormalise, dtype
        self.axis = -1 if rows == "outputs" else -2  # (..., inputs, outputs) in Keras

    def update(self, variable: Variable, gradient: Tensor, lr: Tensor) -> None:
        """The rule's formula."""
        buffer = self.slot(variable, "momentum")
        buffer.assign(buffer * self.momentum + gradient)
        gradient = gradient + self.momentum * buffer
        out = variable.shape[-1]
        if self.renormalise:
            norm = tf.norm(tf.convert_to_tensor(variable))
            variable.assign(variable * (out**0.5 / norm))
        rank = len(variable.shape)
        last = rank + self.axis
        order = [*(axis for axis in range(rank) if axis != last), last]
        moved = tf.transpose(gradient, order)
        matrix = tf.transpose(tf.reshape(moved, (-1, variable.shape[last])))
        step = tf.cast(self.orthogonal(matrix), variable.dtype)
        step = tf.reshape(tf.transpose(step), moved.shape)
        step = tf.transpose(step, [order.index(axis) for axis in range(rank)])
        variable.assign_sub(tf.cast(lr, variable.dtype) * step)

    def orthogonal(self, matrix: Tensor) -> Tensor:
        """The matrix (m, n) with all singular values near 1."""
        a, b, c = r.QUINTIC
        tall = matrix.shape[0] > matrix.shape[1]
        x = tf.transpose(matrix) if tall else matrix
        x = x / (tf.norm(x) + self.eps)
        x = tf.cast(x, self.dtype or x.dtype)
        for _ in range(self.rounds):
            square = tf.matmul(x, x, transpose_b=True)
            x = a * x + tf.matmul(b * square + c * tf.matmul(square, square), x)
        return tf.transpose(x) if tall else x


class Several:
    """Rules side by side, each with variables of its own."""

    def __init__(self, rules: dict[Rule, list[Variable]]) -> None:
        self.rules = rules
        self.owner = {id(v): rule for rule, own in rules.items() for v in own}
        self.iterations = next(iter(rules)).iterations

    def apply(self, gradients: list[Tensor], variables: list[Variable]) -> None:
        """Update every variable by its gradient."""
        given = {id(v): g for g, v in zip(gradients, variables, strict=True)}
        for rule, own in self.rules.items():
            rule.apply([given[id(v)] for v in own], own)

    def penalty(self, variables: list[Variable]) -> Tensor | float:
        """The L2 terms of all rules."""
        return sum(rule.penalty(own) for rule, own in self.rules.items())

    def slots_of(self, variable: Variable) -> tuple[str, ...]:
        """Names of what is remembered of a variable."""
        return self.owner[id(variable)].slots_of(variable)

    def slot(self, variable: Variable, name: str) -> Variable:
        """What is remembered of a variable."""
        return self.owner[id(variable)].slot(variable, name)

    def set_updates(self, n: int) -> None:
        """Go on from so many."""
        for rule in self.rules:
            rule.set_updates(n)


def optimizer(
    model: keras.Model, spec: Spec, recipe: r.Recipe, rates: np.ndarray
) -> Rule | Several:
    """The recipe's optimizer for a model of `spec`, at the given learning rates."""
    named = trained(model)
    kinds = dict.fromkeys(recipe.optimizer_of(name) for name in named)
    rules = {}
    for kind in kinds:
        own = {n: v for n, v in named.items() if recipe.optimizer_of(n) == kind}
        rules[_rule(model, kind, own, spec, recipe, rates)] = list(own.values())
    return next(iter(rules)) if len(rules) == 1 else Several(rules)


def _rule(
    model: keras.Model,
    kind: r.SGD | r.Adam | r.Muon,
    named: dict[str, Variable],
    spec: Spec,
    recipe: r.Recipe,
    rates: np.ndarray,
) -> Rule:
    """The rule of the variables `named`, which `kind` is for."""
    chosen = recipe.decay.chosen(spec.weights) if recipe.decay else ()
    factors = [recipe.multiplier(name) for name in named]
    schedules = [recipe.schedule_of(name) for name in named]
    steps, average = len(rates), recipe.average
    common: dict[str, Any] = {
        "decay": [recipe.decay.strength(factor) for factor in factors]
        if recipe.decay
        else 0.0,
        "decayed": [named[name] for name in named if name in chosen],
        "factors": factors if recipe.multipliers else None,
        "own": [s and recipe.lr * s.factors(steps, steps) for s in schedules]
        if any(schedules)
        else None,
        "decoupled": bool(recipe.decay and recipe.decay.kind == "decoupled"),
        "averages": average.decays(steps) if isinstance(average, r.Average) else None,
    }
    match kind:
        case r.SGD(momentum=momentum, nesterov=nesterov, form=form):
            rule: Rule = SGD(
                rates, momentum=momentum, nesterov=nesterov, form=form, **common
            )
        case r.Adam():
            rule = Adam(rates, **asdict(kind), **common)
        case r.Muon():
            bf16 = getattr(model, "arithmetic", None) == "bfloat16"
            dtype = "bfloat16" if bf16 else None
            rule = Muon(rates, dtype=dtype, **asdict(kind), **common)
        case _:
            raise TypeError(f"no such optimizer: {kind!r}")
    rule.build(list(named.values()))
    return rule


class Lookahead:
    """Slow weights, as `common.recipe.Lookahead` states them.

    Args:
        variables: Canonical name -> every variable of the model, statistics included.
        stays: Share that stays after each update, -1 where nothing is done.
    """

    def __init__(self, variables: dict[str, Variable], stays: np.ndarray) -> None:
        self.stays = Table(stays)
        self.fast = list(variables.values())
        self.slow = {
            name: Variable(v.numpy(), trainable=False, dtype=v.dtype)
            for name, v in variables.items()
        }

    def step(self, updates: Tensor) -> None:
        """What follows the update that made them `updates`."""
        stays = self.stays(updates - 1)

        def approach() -> tf.Operation:
            for fast, slow in zip(self.fast, self.slow.values(), strict=True):
                old = slow.value * tf.cast(stays, slow.dtype)
                slow.assign(old + fast.value * tf.cast(1 - stays, slow.dtype))
                fast.assign(slow.value)
            return tf.no_op()

        tf.cond(stays < 0, tf.no_op, approach)


def clip(gradients: list[Tensor], limit: float) -> list[Tensor]:
    """All gradients, scaled so that their global norm is at most `limit`."""
    norm = tf.linalg.global_norm(gradients)
    scale = limit * tf.minimum(1 / norm, 1 / limit)
    return [gradient * scale for gradient in gradients]


def get_slots(model: keras.Model, rule: Rule | Several) -> dict[str, np.ndarray]:
    """What the rule remembers, "slot/weight" -> canonical array."""
    return {
        f"{slot}/{name}": to_canonical(rule.slot(variable, slot))
        for name, variable in trained(model).items()
        for slot in rule.slots_of(variable)
    }


def set_slots(
    model: keras.Model, rule: Rule | Several, slots: dict[str, np.ndarray], updates: int
) -> None:
    """Go back to what `get_slots` returned after `updates` updates."""
    for name, variable in trained(model).items():
        for slot in rule.slots_of(variable):
            assign(rule.slot(variable, slot), slots[f"{slot}/{name}"])
    rule.set_updates(updates)
