"""What speed is measured against, in PyTorch.  Twin: tf_track/speed.py.

Every loop here is a function: updates to make -> seconds they took.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from common import recipe as r
from common import spec
from common.draws import WINDOW, draws_of, regions
from common.errors import Refused
from common.evaluate import Predict
from pt_track.layers import FractionalPool
from pt_track.official import whole

Loop = Callable[[int], float]
Laps = Callable[[Callable[[], None]], list[float]]


def bare(
    model: nn.Module, recipe: r.Recipe, images: np.ndarray, labels: np.ndarray
) -> Loop:
    """A hand-written loop that only slices what lies shuffled in memory.

    It trains the model that it is given (the same class, precision and layout as
    twintrack's loop, eager as there) with the framework's optimizer, dropout and
    average of the weights; it augments nothing, and regions of fractional pools were
    drawn before.

    Args:
        model: From `build`.
        recipe: Batch size and optimizer.
        images: (batches, batch, h, w, c), uint8.
        labels: (batches, batch).
    """
    device = next(model.parameters()).device
    x_all = torch.from_numpy(images).to(device).permute(0, 1, 4, 2, 3)
    y_all = torch.from_numpy(labels).to(device)
    given: list[list[dict[str, Tensor]]] = []
    for batch in images:
        drawn = regions(draws_of(model), batch)
        tensors = {n: torch.from_numpy(draw).to(device) for n, draw in drawn.items()}
        given.append([tensors] if tensors else [])
    rule = stock(model, recipe)
    average = None
    if isinstance(recipe.average, r.Average):
        rule_of = get_ema_multi_avg_fn(recipe.average.decay)
        average = AveragedModel(model, multi_avg_fn=rule_of)

    def loop(steps: int) -> float:
        start = perf_counter()
        model.train()
        for i in range(steps):
            x, y = x_all[i % len(x_all)], y_all[i % len(y_all)]
            rule.zero_grad()
            loss = F.cross_entropy(model(x, *given[i % len(given)]), y)
            loss.backward()
            rule.step()
            if average:
                average.update_parameters(model)
        loss.item()  # waits for the device
        return perf_counter() - start

    return loop


def own_pools(model: nn.Module) -> nn.Module:
    """The same network, its fractional pools the framework's own.

    They draw regions for every channel, pseudorandom and overlapping ones alone.
    """
    for layer in model.modules():
        if isinstance(layer, FractionalPool):
            own = nn.FractionalMaxPool2d(WINDOW, spec.sides(layer.layer.out))
            layer.pooled = partial(_without_regions, own)
    return model


def _without_regions(
    pool: nn.FractionalMaxPool2d, x: Tensor, rows: Tensor, columns: Tensor
) -> Tensor:
    return pool(x)


def naive(
    model: nn.Module, recipe: r.Recipe, images: np.ndarray, labels: np.ndarray
) -> Loop:
    """What most people write: a DataLoader of float32 tensors and an eager loop.

    Args:
        model: From `build_native`: stock layers, channels first.
        recipe: Batch size and optimizer.
        images: (n, h, w, c), uint8.
        labels: (n,).
    """
    device = next(model.parameters()).device
    x_all = torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous()
    pictures = TensorDataset(x_all, torch.from_numpy(labels))
    batches = DataLoader(
        pictures, batch_size=recipe.batch, shuffle=True, drop_last=True
    )
    rule = stock(model, recipe)

    def forever() -> Iterator[list[Tensor]]:
        while True:
            yield from batches

    source = forever()

    def loop(steps: int) -> float:
        start = perf_counter()
        model.train()
        total = 0.0
        for _ in range(steps):
            x, y = next(source)
            x, y = x.to(device), y.to(device)
            rule.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            rule.step()
            total += loss.item()
        return perf_counter() - start

    return loop


def tutorial(
    path: Path,
    recipe: r.Recipe,
    head: tuple[np.ndarray, np.ndarray],
    train: tuple[np.ndarray, np.ndarray],
    valid: tuple[np.ndarray, np.ndarray],
    *,
    device: str,
) -> tuple[Laps, Predict]:
    """The transfer tutorial's loop: the frozen network runs in every epoch.

    Args:
        path: torchvision's file of Inception v3.
        recipe: Its epochs, batch, SGD and schedule.
        head: Kernel (2048, classes) and bias that the new layer starts from.
        train: uint8 images (n, h, w, c) and labels (n,) to learn from.
        valid: The same, looked at after every epoch; the best one's weights are kept.
        device: "cpu" or "gpu".

    Returns:
        The loop and the network's predictor.  The loop takes what is to be done after
        each epoch, off the clock, and returns the seconds of each.
    """
    model, call = whole(path, train[0].shape[1], device=device)
    place = next(model.parameters()).device
    kernel, bias = (torch.from_numpy(np.asarray(v, np.float32)) for v in head)
    for p in model.parameters():
        p.requires_grad_(False)
    model.fc = nn.Linear(*kernel.shape, device=place)
    with torch.no_grad():
        model.fc.weight.copy_(kernel.T)
        model.fc.bias.copy_(bias)
    rule = torch.optim.SGD(
        model.fc.parameters(), lr=recipe.lr, momentum=recipe.optimizer.momentum
    )
    drop = recipe.schedule
    schedule = torch.optim.lr_scheduler.StepLR(rule, drop.every, drop.factor)
    x = torch.from_numpy(np.moveaxis(train[0], -1, 1).astype(np.float32)) / 127.5 - 1
    pictures = TensorDataset(x, torch.from_numpy(train[1]))
    batches = DataLoader(pictures, batch_size=recipe.batch, shuffle=True)

    def loop(between: Callable[[], None]) -> list[float]:
        seconds, most, best = [], -1, {}
        for _ in range(recipe.epochs):
            start = perf_counter()
            for x, y in batches:
                rule.zero_grad()
                F.cross_entropy(model(x.to(place)), y.to(place)).backward()
                rule.step()
            schedule.step()
            right = 0
            for i in range(0, len(valid[0]), recipe.batch):
                named = call(valid[0][i : i + recipe.batch]).argmax(1)
                right += int((named == valid[1][i : i + recipe.batch]).sum())
            if right > most:
                most, best = right, deepcopy(model.state_dict())
            seconds.append(perf_counter() - start)
            between()
        model.load_state_dict(best)
        return seconds

    return loop, call


def stock(model: nn.Module, recipe: r.Recipe) -> torch.optim.Optimizer:
    """The framework's own optimizer with the recipe's numbers."""
    decay = recipe.decay.rate if recipe.decay else 0.0
    adamw = recipe.decay and recipe.decay.kind == "decoupled"
    match recipe.optimizer:
        case r.SGD(momentum=momentum, nesterov=nesterov):
            return torch.optim.SGD(
                model.parameters(),
                lr=recipe.lr,
                momentum=momentum,
                nesterov=nesterov,
                weight_decay=decay,
            )
        case r.Adam(beta1=beta1, beta2=beta2, eps=eps):
            kind = torch.optim.AdamW if adamw else torch.optim.Adam
            return kind(
                model.parameters(),
                lr=recipe.lr,
                betas=(beta1, beta2),
                eps=eps,
                weight_decay=decay,
            )
    raise Refused(
        "speed is measured against the framework's own SGD or Adam, got "
        f"{type(recipe.optimizer).__name__}; use --set recipe.optimizer=SGD()"
    )


def product(dtype: str, side: int, device: str) -> Callable[[], float]:
    """A function that multiplies two (side, side) matrices once: seconds it took."""
    kind = getattr(torch, dtype)
    place = {"cpu": "cpu", "gpu": "cuda"}[device]
    a, b = (torch.rand((side, side), device=place).to(kind) for _ in range(2))

    def once() -> float:
        start = perf_counter()
        (a @ b)[0, 0].item()  # waits for the device
        return perf_counter() - start

    return once
