"""The training loop, in PyTorch.  Twin: tf_track/train.py."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import loop
from common.data import Dataset
from common.plan import Chunk, Plan
from common.recipe import Lookahead as LookaheadRecipe
from common.recipe import Recipe
from common.spec import Spec
from common.track import History, OnEpoch, OnProgress, State
from pt_track.optim import Lookahead, clip, get_slots, optimizer, set_slots
from pt_track.predict import predictor
from pt_track.weights import (
    assign,
    get_weights,
    native,
    norms,
    parameters,
    set_weights,
    to_canonical,
    trained,
)


class Trainer:
    """One model under one recipe: batches in, updates out."""

    def __init__(
        self, model: nn.Module, spec: Spec, recipe: Recipe, rates: np.ndarray
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.drawn = bool(spec.draws)
        prepare(model, recipe)
        self.rule = optimizer(model, spec, recipe, rates)
        self.lookahead = None
        if isinstance(recipe.average, LookaheadRecipe):
            rows = native if recipe.average.statistics else parameters
            tensors = {name: tensor for name, (tensor, _) in rows(model).items()}
            self.lookahead = Lookahead(tensors, recipe.average.stays(len(rates)))
        self.weights = [p for p, _ in trained(model).values()]
        self.device = self.weights[0].device

    def run(self, chunk: Chunk) -> np.ndarray:
        """Update on each batch of the chunk; the losses (k,), float64."""
        self.model.train()
        images, labels, draws = self._tensors(chunk)
        losses = [
            self.step(images[i], labels[i], {name: m[i] for name, m in draws.items()})
            for i in range(len(images))
        ]
        return torch.stack(losses).double().cpu().numpy()

    def _tensors(self, chunk: Chunk) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The chunk on the device, images (k, n, c, h, w) in channels-last memory."""
        images = torch.from_numpy(chunk.images).to(self.device).permute(0, 1, 4, 2, 3)
        labels = torch.from_numpy(chunk.labels).to(self.device).long()
        draws = {
            name: torch.from_numpy(draw).to(self.device)
            for name, draw in chunk.draws.items()
        }
        return images, labels, draws

    def step(self, images: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """One update; the objective before it, coupled decay included."""
        gradients, value = self.gradients(images, labels, draws)
        if self.recipe.clip:
            clip(gradients, self.recipe.clip)
        value = value + self.rule.penalty()
        self.rule.step()
        if self.lookahead:
            self.lookahead.step(self.rule.updates)
        return value

    def gradients(
        self, images: Tensor, labels: Tensor, draws: dict[str, Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """Gradient of each trained tensor, in the model's order, and the data loss."""
        for p in self.weights:
            p.grad = None
        output = self.model(images, draws) if self.drawn else self.model(images)
        value = objective(output, labels, self.recipe)
        value.backward()
        return [p.grad for p in self.weights], value.detach()

    def canonical_gradients(self, chunk: Chunk) -> dict[str, np.ndarray]:
        """Gradient of the data loss on the first batch, by canonical name."""
        self.model.train()
        images, labels, draws = self._tensors(chunk)
        kept = {name: draw[0] for name, draw in draws.items()}
        gradients, _ = self.gradients(images[0], labels[0], kept)
        named = trained(self.model).items()
        return {
            name: to_canonical(gradient, axes)
            for (name, (_, axes)), gradient in zip(named, gradients, strict=True)
        }

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While open, the model holds the averaged weights, if there are any."""
        if not self.recipe.average:
            yield
            return
        raw = get_weights(self.model)
        self.keep_average()
        try:
            yield
        finally:
            set_weights(self.model, raw)

    def keep_average(self) -> None:
        """Put the averaged weights in place of the last ones."""
        slots = self._slots()
        averages = {
            name: slots.get(f"average/{name}", value)
            for name, value in get_weights(self.model).items()
        }
        set_weights(self.model, averages)

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, statistics and optimizer slots."""
        weights = get_weights(self.model)
        return {f"weights/{name}": value for name, value in weights.items()} | {
            f"slots/{name}": value for name, value in self._slots().items()
        }

    def _slots(self) -> dict[str, np.ndarray]:
        """What the rule remembers, and the slow weights as averages."""
        slots = get_slots(self.model, self.rule)
        if self.lookahead:
            axes = {name: own for name, (_, own) in native(self.model).items()}
            for name, value in self.lookahead.slow.items():
                slots[f"average/{name}"] = to_canonical(value, axes[name])
        return slots

    def restore(self, arrays: dict[str, np.ndarray], step: int) -> None:
        """Go back to what `arrays` returned after `step` updates."""
        parts: dict[str, dict[str, np.ndarray]] = {"weights": {}, "slots": {}}
        for name, value in arrays.items():
            part, _, rest = name.partition("/")
            parts.get(part, {})[rest] = value
        set_weights(self.model, parts["weights"])
        set_slots(self.model, self.rule, parts["slots"], step)
        if self.lookahead:
            axes = {name: own for name, (_, own) in native(self.model).items()}
            for name, value in self.lookahead.slow.items():
                assign(value, axes[name], parts["slots"][f"average/{name}"])


def prepare(model: nn.Module, recipe: Recipe) -> None:
    """Freeze what the recipe does not train."""
    for name, (p, _) in parameters(model).items():
        p.requires_grad_(recipe.multiplier(name) > 0)
    for norm in norms(model):
        norm.frozen = recipe.statistics == "frozen"


def objective(
    output: Tensor | tuple[Tensor, Tensor], labels: Tensor, recipe: Recipe
) -> Tensor:
    """The loss of the data, an auxiliary head's share included."""
    if not isinstance(output, tuple):
        return cross_entropy(output, labels, recipe)
    main, aux = (cross_entropy(logits, labels, recipe) for logits in output)
    return main + recipe.auxiliary * aux


def cross_entropy(logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """Mean over the batch, weighted where the recipe has class weights."""
    if not recipe.class_weights:
        return F.cross_entropy(logits, labels, label_smoothing=recipe.smoothing)
    each = F.cross_entropy(
        logits, labels, label_smoothing=recipe.smoothing, reduction="none"
    )
    weights = logits.new_tensor(recipe.class_weights)[labels]
    return (weights * each).sum() / weights.sum()


def train(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    plan: Plan,
    *,
    state: State | None = None,
    on_epoch: OnEpoch | None = None,
    on_progress: OnProgress | None = None,
) -> History:
    """Train in place; at the end the model holds the weights to be judged."""
    trainer = Trainer(model, model.spec, recipe, recipe.rates(len(data.train)))
    history = loop.run(
        trainer,
        predictor(model),
        data,
        model.spec,
        recipe,
        plan,
        state=state,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )
    if recipe.average:
        trainer.keep_average()
    return history
