"""The recipe's update rules, in PyTorch.  Twin: tf_track/optim.py.

One formula per rule, the same in both tracks, scalars in float64.  Torch's own
classes differ from Keras's in the epsilon, in what a schedule does to momentum
and in what weight decay means.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common import recipe as r
from common.spec import Spec
from pt_track.weights import assign, to_canonical, trained


class Rule:
    """What every rule does around its formula: learning rate, decay, average.

    It is used like a `torch.optim.Optimizer` and is none: to make one imports torch's
    compiler, which takes longer than a short run.

    Args:
        params: Tensors, or groups with a "decay", a "factor" (on the learning rate) and
            "rates" (in place of `rates`, or none) of their own.
        rates: Learning rate of each update, or one for all.
        decay: Strength of weight decay where a group names none.
        decoupled: Whether decay shrinks the weights instead of the gradient.
        averages: Share that stays in the average of the weights at each update.
        slots: Names of what the rule remembers of each tensor.
    """

    def __init__(
        self,
        params: Iterable[Any],
        rates: np.ndarray | float,
        *,
        decay: float = 0.0,
        decoupled: bool = False,
        averages: np.ndarray | None = None,
        slots: tuple[str, ...] = (),
    ) -> None:
        groups = list(params)
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups: list[dict[str, Any]] = [
            {"decay": decay, "factor": 1.0} | group for group in groups
        ]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self.rates = rates
        self.decoupled = decoupled
        self.averages = averages
        self.updates = 0
        if averages is not None:
            slots = (*slots, "average")
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = {slot: torch.zeros_like(p) for slot in slots}
                if averages is not None:
                    self.state[p]["average"].copy_(p.detach())

    def zero_grad(self) -> None:
        """Forget the gradients of the last update."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every tensor by its gradient."""
        rates: Any = self.rates
        rate = float(rates[self.updates]) if np.ndim(rates) else rates
        for group in self.param_groups:
            own = group.get("rates")
            lr = (rate if own is None else float(own[self.updates])) * group["factor"]
            weights = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in weights]
            if group["decay"] and self.decoupled:
                torch._foreach_mul_(weights, 1 - lr * group["decay"])
            elif group["decay"]:
                gradients = torch._foreach_add(gradients, weights, alpha=group["decay"])
            self.update(weights, gradients, lr)
        if self.averages is not None:
            self._average(float(self.averages[self.updates]))
        self.updates += 1

    def update(self, weights: list[Tensor], gradients: list[Tensor], lr: float) -> None:
        """The rule's formula."""
        raise NotImplementedError

    def _average(self, stays: float) -> None:
        weights = [p for group in self.param_groups for p in group["params"]]
        averages = self._slot(weights, "average")
        torch._foreach_mul_(averages, stays)
        torch._foreach_add_(averages, weights, alpha=1 - stays)

    def _slot(self, weights: list[Tensor], name: str) -> list[Tensor]:
        return [self.state[p][name] for p in weights]

    def penalty(self) -> Tensor | float:
        """The L2 term whose gradient coupled decay adds: decay / 2 * sum of w^2."""
        if self.decoupled:
            return 0.0
        terms = [
            group["decay"] / 2 * p.detach().square().sum()
            for group in self.param_groups
            if group["decay"]
            for p in group["params"]
        ]
        return torch.stack(terms).sum() if terms else 0.0


class SGD(Rule):
    """Momentum and Nesterov, as `common.recipe.SGD` states them."""

    def __init__(
        self,
        params: Iterable[Any],
        rates: np.ndarray | float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        form: str = "buffer",
        **rest: Any,
    ) -> None:
        super().__init__(params, rates, slots=("momentum",) if momentum else (), **rest)
        self.momentum, self.nesterov, self.form = momentum, nesterov, form

    def update(self, weights: list[Tensor], gradients: list[Tensor], lr: float) -> None:
        """The rule's formula."""
        inside, outside = (lr, 1.0) if self.form == "velocity" else (1.0, lr)
        if inside != 1:
            gradients = torch._foreach_mul(gradients, inside)
        if self.momentum:
            buffers = self._slot(weights, "momentum")
            torch._foreach_mul_(buffers, self.momentum)
            torch._foreach_add_(buffers, gradients)
            if self.nesterov:
                gradients = torch._foreach_add(gradients, buffers, alpha=self.momentum)
            else:
                gradients = buffers
        torch._foreach_add_(weights, gradients, alpha=-outside)


class Adam(Rule):
    """As `common.recipe.Adam` states it; AdamW where decay is decoupled."""

    def __init__(
        self,
        params: Iterable[Any],
        rates: np.ndarray | float,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        form: str = "corrected",
        **rest: Any,
    ) -> None:
        super().__init__(params, rates, slots=("mean", "square"), **rest)
        self.beta1, self.beta2, self.eps, self.form = beta1, beta2, eps, form

    def update(self, weights: list[Tensor], gradients: list[Tensor], lr: float) -> None:
        """The rule's formula."""
        means, squares = self._slot(weights, "mean"), self._slot(weights, "square")
        torch._foreach_mul_(means, self.beta1)
        torch._foreach_add_(means, gradients, alpha=1 - self.beta1)
        torch._foreach_mul_(squares, self.beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - self.beta2)
        t = self.updates + 1
        bias = (1 - self.beta2**t) ** 0.5
        below = torch._foreach_sqrt(squares)
        torch._foreach_div_(below, bias)
        eps = self.eps if self.form == "corrected" else self.eps / bias
        torch._foreach_add_(below, eps)
        torch._foreach_addcdiv_(weights, means, below, -lr / (1 - self.beta1**t))


class Muon(Rule):
    """As `common.recipe.Muon` states it."""

    def __init__(
        self,
        params: Iterable[Any],
        rates: np.ndarray | float,
        *,
        momentum: float = 0.95,
        iterations: int = 5,
        eps: float = 1e-7,
        renormalise: bool = False,
        rows: str = "outputs",
        dtype: torch.dtype | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(params, rates, slots=("momentum",), **rest)
        self.momentum, self.iterations, self.eps = momentum, iterations, eps
        self.renormalise, self.dtype = renormalise, dtype
        self.swap = (0, 1 if rows == "inputs" else 0)  # (outputs, inputs, ...) in torch

    def update(self, weights: list[Tensor], gradients: list[Tensor], lr: float) -> None:
        """The rule's formula."""
        buffers = self._slot(weights, "momentum")
        torch._foreach_mul_(buffers, self.momentum)
        torch._foreach_add_(buffers, gradients)
        gradients = torch._foreach_add(gradients, buffers, alpha=self.momentum)
        for w, g in zip(weights, gradients, strict=True):
            if self.renormalise:
                w.mul_(len(w) ** 0.5 / w.norm())
            rows = g.transpose(*self.swap)
            step = self.orthogonal(rows.reshape(len(rows), -1)).to(w.dtype)
            w.sub_(step.reshape(rows.shape).transpose(*self.swap), alpha=lr)

    def orthogonal(self, matrix: Tensor) -> Tensor:
        """The matrix (m, n) with all singular values near 1."""
        a, b, c = r.QUINTIC
        x = matrix if len(matrix) <= matrix.shape[1] else matrix.T
        x = x / (x.norm() + self.eps)
        x = x.to(self.dtype or x.dtype)
        for _ in range(self.iterations):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        return x if len(matrix) <= matrix.shape[1] else x.T


class Several:
    """Rules side by side, each with tensors of its own."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = rules
        self.state = {p: own for rule in rules for p, own in rule.state.items()}

    @property
    def updates(self) -> int:
        """How many there were."""
        return self.rules[0].updates

    @updates.setter
    def updates(self, n: int) -> None:
        for rule in self.rules:
            rule.updates = n

    def step(self) -> None:
        """Update every tensor by its gradient."""
        for rule in self.rules:
            rule.step()

    def penalty(self) -> Tensor | float:
        """The L2 terms of all rules."""
        return sum(rule.penalty() for rule in self.rules)


def optimizer(
    model: nn.Module, spec: Spec, recipe: r.Recipe, rates: np.ndarray
) -> Rule | Several:
    """The recipe's optimizer for a model of `spec`, at the given learning rates."""
    named = trained(model)
    kinds = dict.fromkeys(recipe.optimizer_of(name) for name in named)
    rules = [_rule(model, kind, spec, recipe, rates) for kind in kinds]
    return rules[0] if len(rules) == 1 else Several(rules)


def _rule(
    model: nn.Module,
    kind: r.SGD | r.Adam | r.Muon,
    spec: Spec,
    recipe: r.Recipe,
    rates: np.ndarray,
) -> Rule:
    """The rule of the tensors that `kind` is for."""
    named = {
        n: row for n, row in trained(model).items() if recipe.optimizer_of(n) == kind
    }
    chosen = recipe.decay.chosen(spec.weights) if recipe.decay else ()
    alike: dict[tuple[float, float, r.Schedule | None], list[Tensor]] = {}
    for name, (p, _) in named.items():
        factor, decay = recipe.multiplier(name), 0.0
        if recipe.decay and name in chosen:
            decay = recipe.decay.strength(factor)
        alike.setdefault((decay, factor, recipe.schedule_of(name)), []).append(p)
    groups = [
        {
            "params": params,
            "decay": decay,
            "factor": factor,
            "rates": recipe.lr * schedule.factors(len(rates), len(rates))
            if schedule
            else None,
        }
        for (decay, factor, schedule), params in alike.items()
    ]
    average = recipe.average
    common: dict[str, Any] = {
        "decoupled": bool(recipe.decay and recipe.decay.kind == "decoupled"),
        "averages": average.decays(len(rates))
        if isinstance(average, r.Average)
        else None,
    }
    match kind:
        case r.SGD(momentum=momentum, nesterov=nesterov, form=form):
            return SGD(
                groups,
                rates,
                momentum=momentum,
                nesterov=nesterov,
                form=form,
                **common,
            )
        case r.Adam():
            return Adam(groups, rates, **asdict(kind), **common)
        case r.Muon():
            bf16 = getattr(model, "arithmetic", None) == "bfloat16"
            return Muon(
                groups,
                rates,
                dtype=torch.bfloat16 if bf16 else None,
                **asdict(kind),
                **common,
            )
    raise TypeError(f"no such optimizer: {kind!r}")


class Lookahead:
    """Slow weights, as `common.recipe.Lookahead` states them.

    Args:
        tensors: Canonical name -> every tensor of the model, statistics included.
        stays: Share that stays after each update, -1 where nothing is done.
    """

    def __init__(self, tensors: dict[str, Tensor], stays: np.ndarray) -> None:
        self.stays = stays
        self.fast = list(tensors.values())
        self.slow = {name: t.detach().clone() for name, t in tensors.items()}

    @torch.no_grad()
    def step(self, updates: int) -> None:
        """What follows the update that made them `updates`."""
        stays = float(self.stays[updates - 1])
        if stays < 0:
            return
        slow = list(self.slow.values())
        torch._foreach_mul_(slow, stays)
        torch._foreach_add_(slow, self.fast, alpha=1 - stays)
        torch._foreach_copy_(self.fast, slow)


def clip(gradients: list[Tensor], limit: float) -> None:
    """Scale all gradients in place so that their global norm is at most `limit`."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    scale = limit * torch.minimum(1 / norm, torch.full_like(norm, 1 / limit))
    torch._foreach_mul_(gradients, scale)


def get_slots(model: nn.Module, rule: Rule | Several) -> dict[str, np.ndarray]:
    """What the rule remembers, "slot/weight" -> canonical array."""
    return {
        f"{slot}/{name}": to_canonical(value, axes)
        for name, (p, axes) in trained(model).items()
        for slot, value in rule.state[p].items()
    }


def set_slots(
    model: nn.Module, rule: Rule | Several, slots: dict[str, np.ndarray], updates: int
) -> None:
    """Go back to what `get_slots` returned after `updates` updates."""
    for name, (p, axes) in trained(model).items():
        for slot, value in rule.state[p].items():
            assign(value, axes, slots[f"{slot}/{name}"])
    rule.updates = updates
