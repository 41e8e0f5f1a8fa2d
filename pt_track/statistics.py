"""Batch norm's statistics anew, in PyTorch.  Twin: tf_track/statistics.py."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from pt_track.layers import Norm


@torch.no_grad()
def estimate_statistics(model: nn.Module, batches: Iterable[np.ndarray]) -> None:
    """Set the running statistics to the mean over `batches` of each batch's own."""
    norms = [layer for layer in model.modules() if isinstance(layer, Norm)]
    kept = [norm.momentum for norm in norms]
    device = next(model.parameters()).device
    model.train()
    for i, images in enumerate(batches):
        for norm in norms:
            norm.momentum = 1 / (i + 1)
        model(torch.from_numpy(images).to(device).permute(0, 3, 1, 2))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    model.eval()
