"""Native mode, in PyTorch: what one gets who just writes it.  Twin: tf_track/native.py.

Architecture, batch size, epochs, the optimizer's name and its learning rate are
the spec's and the recipe's; every other number is PyTorch's own, and so are the
draws: initial weights, order of the pictures, dropout, augmentation.  The weights
of a model are in its own order: flattening goes channel by channel (c, h, w).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import isfinite

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from common import data as d
from common import loop, spec
from common import recipe as r
from common.errors import Refused
from common.native_mode import chain, epoch_seed, left_alone
from common.plan import Plan
from common.track import History, OnEpoch, OnProgress, State
from pt_track.layers import Flatten, Multiply, Scale, crop
from pt_track.predict import predictor

PLACES = {"cpu": "cpu", "gpu": "cuda"}
# What the stock layers compute, told as records: a saved model is opened with them.
NORM = spec.Norm(decay=0.9, eps=1e-5, variance="unbiased")
LRN = spec.LRN(radius=0, bias=1.0, alpha=1e-4, beta=0.75)


class Native(nn.Module):
    """Stock layers, one after the other: float pixels (n, c, h, w) to logits."""

    def __init__(self, layers: dict[str, nn.Module], side: int) -> None:
        super().__init__()
        self.side = side
        self.order = tuple(layers)
        for path, layer in layers.items():
            place, _, name = path.rpartition(".")
            if place and place not in self._modules:
                self.add_module(place, nn.Module())
            self.get_submodule(place).add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        x = crop(x, self.side)  # v2.CenterCrop rounds odd margins to even ones
        for path in self.order:
            x = self.get_submodule(path)(x)
        return x  # (n, classes)


def build_native(spec_: spec.Spec, *, seed: int, device: str = "cpu") -> nn.Module:
    """The architecture of `spec` with the framework's own defaults and draws."""
    torch.manual_seed(seed)
    written = as_written(spec_)
    layers: dict[str, nn.Module] = {"scale": Scale(written.scale, "float32")}
    for name, layer, shape in chain(written):
        layers[name] = stock(layer, shape)
    if isinstance(written, spec.MLPSpec):
        layers["flatten"] = Flatten("hwc", "float32")  # the only order its files know
    model = Native(layers, getattr(written, "crop", 0))
    model.spec = written
    return model.to(PLACES[device])


def as_written(spec_: spec.Spec) -> spec.Spec:
    """The spec with the numbers that stock layers have in place of its own."""
    if isinstance(spec_, spec.MLPSpec):
        return replace(spec_, norm=spec_.norm and NORM)
    layers = [_as_written(layer, shape) for _, layer, shape in chain(spec_)]
    return replace(spec_, layers=tuple(layers))


def _as_written(layer: spec.Layer, shape: spec.Shape) -> spec.Layer:
    match layer:
        case (
            spec.Conv(kernel=side)
            | spec.Pool(window=side)
            | spec.AveragePool(window=side)
        ):
            (top, bottom), (left, right) = layer.pad
            if (top, left) == (bottom, right):
                return layer
            h, w = (k // 2 for k in spec.sides(side))  # how PyTorch users say "same"
            return replace(layer, pad=((h, h), (w, w)))
        case spec.Norm():
            return NORM
        case spec.LRN(radius=radius):
            size = 2 * radius + 1
            return replace(LRN, radius=radius, alpha=LRN.alpha / size)
        case spec.Flatten():
            return spec.Flatten("chw")
    return layer


def stock(layer: spec.Layer, shape: spec.Shape) -> nn.Module:
    """The framework's own layer for one example of `shape`, its defaults untouched."""
    channels = shape[-1]
    match layer:
        case spec.Conv(out, kernel, stride, pad, bias):
            pads = (pad[0][0], pad[1][0])
            return nn.Conv2d(channels, out, kernel, stride, pads, bias=bias)
        case spec.Dense(out, bias):
            return nn.Linear(channels, out, bias=bias)
        case spec.Norm():
            kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
            return kind(channels)
        case spec.LRN(radius=radius):
            return nn.LocalResponseNorm(2 * radius + 1)
        case spec.Pool(window, stride, pad):
            return nn.MaxPool2d(window, stride, (pad[0][0], pad[1][0]))
        case spec.AveragePool(window, stride, pad):
            return nn.AvgPool2d(window, stride, (pad[0][0], pad[1][0]))
        case spec.Dropout(rate, per):
            whole = per == "map" and len(shape) == 3
            return (nn.Dropout2d if whole else nn.Dropout)(rate)
        case spec.Flatten():
            return nn.Flatten()
        case spec.Relu():
            return nn.ReLU()
        case spec.Act(kind):
            return {
                "leaky": nn.LeakyReLU,
                "gelu": nn.GELU,
                "gelu-tanh": partial(nn.GELU, "tanh"),
                "silu": nn.SiLU,
            }[kind]()
        case spec.Multiply(factor):
            return Multiply(factor, "float32")
    raise TypeError(f"a layer must be a record of common.spec, got {layer!r}")


def optimizer(model: nn.Module, recipe: r.Recipe) -> torch.optim.Optimizer:
    """The framework's optimizer of the recipe's name, at its learning rate."""
    adamw = recipe.decay and recipe.decay.kind == "decoupled"
    match recipe.optimizer:
        case r.SGD():
            return torch.optim.SGD(model.parameters(), lr=recipe.lr)
        case r.Adam():
            kind = torch.optim.AdamW if adamw else torch.optim.Adam
            return kind(model.parameters(), lr=recipe.lr)
    raise Refused(
        "native mode knows each framework's own SGD and Adam, got "
        f"{type(recipe.optimizer).__name__}; use --mode aligned"
    )


def augmentation(model: nn.Module, recipe: r.Recipe) -> list[nn.Module]:
    """The framework's own transforms; drawn for each picture."""
    # Imported late: two seconds that aligned runs and predictions never need.
    from torchvision.transforms import v2

    augment = recipe.augment
    found: list[nn.Module] = []
    if side := getattr(model.spec, "crop", 0):
        found.append(v2.RandomCrop(side))
    if augment.flip:
        found.append(v2.RandomHorizontalFlip())
    if augment.recolours:
        colours = {"contrast": augment.contrast} if augment.contrast else {}
        found.append(v2.ColorJitter(brightness=augment.brightness / 255, **colours))
    return found


class Pictures(Dataset):
    """Pictures (c, h, w) with their labels, changed anew whenever asked for."""

    def __init__(self, part: d.Part, changes: list[nn.Module]) -> None:
        images = torch.from_numpy(part.take(slice(None))).permute(0, 3, 1, 2)
        self.images = images.contiguous()
        self.labels = torch.from_numpy(part.labels)
        self.change = nn.Sequential(*changes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.change(self.images[index]), self.labels[index]


class Trainer:
    """A plain loop over a DataLoader."""

    def __init__(
        self, model: nn.Module, part: d.Part, recipe: r.Recipe, seed: int
    ) -> None:
        self.model, self.seed = model, seed
        self.device = next(model.parameters()).device
        pictures = Pictures(part, augmentation(model, recipe))
        self.batches = DataLoader(pictures, batch_size=recipe.batch, shuffle=True)
        self.rule = optimizer(model, recipe)

    def epoch(self, epoch: int, clock: loop.Clock) -> None:
        """Train for one epoch, or until the loss is not finite."""
        torch.manual_seed(epoch_seed(self.seed, epoch))
        self.model.train()
        clock.start_lap()
        for images, labels in self.batches:
            images, labels = images.to(self.device), labels.to(self.device)
            self.rule.zero_grad()
            loss = F.cross_entropy(self.model(images), labels)
            loss.backward()
            self.rule.step()
            value = loss.item()
            clock.add(np.array([value]), len(labels))
            if not isfinite(value):
                return

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Nothing: there is no average of the weights."""
        yield

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, statistics and optimizer slots."""
        state = self.rule.state_dict()["state"]
        weights = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        slots = {
            f"rule/{i}/{name}": value
            for i, row in state.items()
            for name, value in row.items()
            if value is not None
        }
        return {
            name: np.array(value.cpu().numpy())
            for name, value in (weights | slots).items()
        }

    def restore(self, arrays: dict[str, np.ndarray], step: int) -> None:
        """Go back to what `arrays` returned after `step` updates."""
        weights: dict[str, Tensor] = {}
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in arrays.items():
            part, _, rest = name.partition("/")
            if part == "model":
                weights[rest] = torch.from_numpy(np.array(value))
            elif part == "rule":
                i, _, slot = rest.partition("/")
                # Files turn numbers into arrays of one.
                value = value.reshape(()) if slot == "step" else value
                slots.setdefault(int(i), {})[slot] = torch.from_numpy(np.array(value))
        self.model.load_state_dict(weights)
        groups = self.rule.state_dict()["param_groups"]
        self.rule.load_state_dict({"state": slots, "param_groups": groups})


def train_native(
    model: nn.Module,
    data: d.Dataset,
    recipe: r.Recipe,
    plan: Plan,
    *,
    state: State | None = None,
    on_epoch: OnEpoch | None = None,
    on_progress: OnProgress | None = None,
) -> History:
    """Train a native model in the framework's own idiom, with its own draws."""
    recipe = left_alone(recipe)
    check_last_batch(model, len(data.train), recipe.batch)
    trainer = Trainer(model, data.train, recipe, plan.seed)
    return loop.epochs(
        trainer.epoch,
        trainer,
        predictor(model),
        data,
        recipe,
        state=state,
        on_epoch=on_epoch,
        on_progress=on_progress,
    )


def check_last_batch(model: nn.Module, n: int, batch: int) -> None:
    """Refuse a last batch of one picture where the framework cannot normalise it."""
    if n % batch == 1 and any(isinstance(m, nn.BatchNorm1d) for m in model.modules()):
        raise Refused(
            f"torch's batch norm needs two pictures or more, got a last batch of 1 "
            f"from {n} pictures in batches of {batch}; use --limit {n - 1}"
        )
