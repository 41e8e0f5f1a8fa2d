"""The recipe's update rules, in PyTorch.  Twin: tf_track/optim.py.

One formula per rule, the same in both tracks, scalars in float64.  Torch's own
classes differ from Keras's in the epsilon, in what a schedule does to momentum
and in what weight decay means.
"""

from collections.abc import Iterable
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
        **rest: Any,
    ) -> None:
        super().__init__(params, rates, slots=("mean", "square"), **rest)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def update(self, weights: list[Tensor], gradients: list[Tensor], lr: float) -> None:
        """The rule's formula."""
        means, squares = self._slot(weights, "mean"), self._slot(weights, "square")
        torch._foreach_mul_(means, self.beta1)
        torch._foreach_add_(means, gradients, alpha=1 - self.beta1)
        torch._foreach_mul_(squares, self.beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - self.beta2)
        t = self.updates + 1
        below = torch._foreach_sqrt(squares)
        torch._foreach_div_(below, (1 - self.beta2**t) ** 0.5)
        torch._foreach_add_(below, self.eps)
        torch._foreach_addcdiv_(weights, means, below, -lr / (1 - self.beta1**t))


def optimizer(
    model: nn.Module, spec: Spec, recipe: r.Recipe, rates: np.ndarray
) -> Rule:
    """The recipe's optimizer for a model of `spec`, at the given learning rates."""
    named = trained(model)
    chosen = recipe.decay.chosen(spec.weights) if recipe.decay else ()
    kinds: dict[tuple[float, float, r.Schedule | None], list[Tensor]] = {}
    for name, (p, _) in named.items():
        factor, decay = recipe.multiplier(name), 0.0
        if recipe.decay and name in chosen:
            decay = recipe.decay.strength(factor)
        kinds.setdefault((decay, factor, recipe.schedule_of(name)), []).append(p)
    groups = [
        {
            "params": params,
            "decay": decay,
            "factor": factor,
            "rates": recipe.lr * schedule.factors(len(rates), len(rates))
            if schedule
            else None,
        }
        for (decay, factor, schedule), params in kinds.items()
    ]
    average = recipe.average
    common: dict[str, Any] = {
        "decoupled": bool(recipe.decay and recipe.decay.kind == "decoupled"),
        "averages": average.decays(len(rates))
        if isinstance(average, r.Average)
        else None,
    }
    match recipe.optimizer:
        case r.SGD(momentum=momentum, nesterov=nesterov, form=form):
            return SGD(
                groups,
                rates,
                momentum=momentum,
                nesterov=nesterov,
                form=form,
                **common,
            )
        case r.Adam(beta1=beta1, beta2=beta2, eps=eps):
            return Adam(groups, rates, beta1=beta1, beta2=beta2, eps=eps, **common)
    raise TypeError(f"no such optimizer: {recipe.optimizer!r}")


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


def get_slots(model: nn.Module, rule: Rule) -> dict[str, np.ndarray]:
    """What the rule remembers, "slot/weight" -> canonical array."""
    return {
        f"{slot}/{name}": to_canonical(value, axes)
        for name, (p, axes) in trained(model).items()
        for slot, value in rule.state[p].items()
    }


def set_slots(
    model: nn.Module, rule: Rule, slots: dict[str, np.ndarray], updates: int
) -> None:
    """Go back to what `get_slots` returned after `updates` updates."""
    for name, (p, axes) in trained(model).items():
        for slot, value in rule.state[p].items():
            assign(value, axes, slots[f"{slot}/{name}"])
    rule.updates = updates
