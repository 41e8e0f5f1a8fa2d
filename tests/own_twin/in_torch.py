"""Two towers, in PyTorch.  Twin: in_keras.py."""

from math import prod

import torch
from torch import nn


class TwoTowers(nn.Module):
    """Float pixels (n, c, h, w) to logits."""

    def __init__(self, spec, dtype):
        super().__init__()
        self.stored = torch.float64 if dtype == "float64" else torch.float32
        pixels = prod(spec.image)
        self.left = nn.Linear(pixels, spec.classes, dtype=self.stored)
        self.right = nn.Linear(pixels, spec.classes, dtype=self.stored)

    def forward(self, x):
        x = x.to(self.stored).movedim(1, -1).flatten(1) / 255
        return self.left(x) + self.right(x).relu()


build = TwoTowers
