"""SGD on softmax cross-entropy, written out in NumPy."""

from contextlib import nullcontext

import numpy as np

from common.errors import Refused
from common.recipe import SGD
from tests.numpy_track.planted import pause, strike

# What a recipe may not ask for, and its value when it does not.
PLAIN = {"decay": None, "clip": 0, "average": None, "multipliers": ()}


class Trainer:
    """One MLP under one recipe, in the model's dtype."""

    def __init__(self, model, spec, recipe, rates):
        asked = [name for name, none in PLAIN.items() if getattr(recipe, name) != none]
        if not isinstance(recipe.optimizer, SGD):
            asked.append(type(recipe.optimizer).__name__)
        if asked:
            raise Refused(
                f"the track tests.numpy_track trains with plain SGD, got "
                f"{', '.join(asked)}; use another track"
            )
        self.model, self.recipe = model, recipe
        self.rates = rates
        self.slots = {name: np.zeros_like(w) for name, w in model.weights.items()}
        self.step = 0

    def run(self, chunk):
        """Update on each batch of the chunk; the losses (k,), float64."""
        pause()
        pairs = zip(chunk.images, chunk.labels, strict=True)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return np.array([self.update(*pair) for pair in pairs], np.float64)

    def update(self, images, labels):
        fault = strike(f"update:{self.step + 1}", self.model.seed)
        loss, gradients = self.gradients(images, labels)
        rate, rule = float(self.rates[self.step]), self.recipe.optimizer
        inside, outside = (rate, 1.0) if rule.form == "velocity" else (1.0, rate)
        for name, gradient in gradients.items():
            g = inside * gradient
            self.slots[name] = rule.momentum * self.slots[name] + g
            ahead = g + rule.momentum * self.slots[name]
            step = ahead if rule.nesterov else self.slots[name]
            self.model.weights[name] = self.model.weights[name] - outside * step
        self.step += 1
        return np.nan if fault == "nan" else loss

    def gradients(self, images, labels):
        """Loss of one batch, (n, h, w, c) and (n,), and its gradient by name."""
        *inputs, logits = self.model.values(images)
        loss, back = self.objective(logits, labels)
        found = {}
        layers = list(zip(self.model.names, inputs, strict=True))
        for name, x in reversed(layers):
            found |= {f"{name}.kernel": x.T @ back, f"{name}.bias": back.sum(axis=0)}
            back = (back @ self.model.weights[f"{name}.kernel"].T) * (x > 0)
        return loss, found

    def objective(self, logits, labels):
        """The weighted mean of the cross-entropies, and its gradient (n, classes)."""
        n, classes = logits.shape
        kind, smoothing = logits.dtype.type, self.recipe.smoothing
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        target = np.full_like(logits, smoothing / classes)
        target[np.arange(n), labels] += kind(1 - smoothing)
        weights = np.array(self.recipe.class_weights or np.ones(classes), kind)[labels]
        weights = weights / weights.sum()
        loss = -(weights * (target * log_shares).sum(axis=1)).sum()
        return loss, weights[:, None] * (np.exp(log_shares) - target)

    def canonical_gradients(self, chunk):
        return self.gradients(chunk.images[0], chunk.labels[0])[1]

    def averaged(self):
        return nullcontext()

    def arrays(self):
        parts = {"weights": self.model.weights, "slots/momentum": self.slots}
        return {
            f"{p}/{n}": a.copy() for p, part in parts.items() for n, a in part.items()
        }

    def restore(self, arrays, step):
        for name in self.slots:
            self.model.weights[name] = arrays[f"weights/{name}"].copy()
            self.slots[name] = arrays[f"slots/momentum/{name}"].copy()
        self.step = step
