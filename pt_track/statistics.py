"""Batch norm's statistics anew, in PyTorch.  Twin: tf_track/statistics.py."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from common.draws import draws_of, regions
from common.moments import Spread
from pt_track.weights import norms


@torch.no_grad()
def estimate_statistics(model: nn.Module, batches: Iterable[np.ndarray]) -> None:
    """Set the running statistics to those of all `batches` together."""
    layers = norms(model)
    found = [Spread() for _ in layers]
    kept = [norm.momentum for norm in layers]
    device = next(model.parameters()).device
    model.train()
    for norm in layers:
        norm.momentum = norm.alone
    for images in batches:
        x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        drawn = regions(draws_of(model), images)
        given = {
            name: torch.from_numpy(draw).to(device) for name, draw in drawn.items()
        }
        model(x, given) if given else model(x)
        for norm, spread in zip(layers, found, strict=True):
            spread.add(norm.running_mean.cpu().numpy(), norm.running_var.cpu().numpy())
    for norm, momentum, spread in zip(layers, kept, found, strict=True):
        norm.momentum = momentum
        norm.running_mean.copy_(torch.from_numpy(spread.mean))
        norm.running_var.copy_(torch.from_numpy(spread.variance))
    model.eval()
