"""Batch norm's statistics anew, in PyTorch.  Twin: tf_track/statistics.py."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from common.moments import Spread
from pt_track.layers import Norm


@torch.no_grad()
def estimate_statistics(model: nn.Module, batches: Iterable[np.ndarray]) -> None:
    """Set the running statistics to those of all `batches` together."""
    norms = [layer for layer in model.modules() if isinstance(layer, Norm)]
    found = [Spread() for _ in norms]
    kept = [norm.momentum for norm in norms]
    device = next(model.parameters()).device
    model.train()
    for norm in norms:
        norm.momentum = 1.0  # the running statistics are the last batch's own
    for images in batches:
        model(torch.from_numpy(images).to(device).permute(0, 3, 1, 2))
        for norm, spread in zip(norms, found, strict=True):
            spread.add(norm.running_mean.cpu().numpy(), norm.running_var.cpu().numpy())
    for norm, momentum, spread in zip(norms, kept, found, strict=True):
        norm.momentum = momentum
        norm.running_mean.copy_(torch.from_numpy(spread.mean))
        norm.running_var.copy_(torch.from_numpy(spread.variance))
    model.eval()
