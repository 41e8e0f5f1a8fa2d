"""A script without `if __name__ == "__main__"`: it says something and leaves traces."""

import random
from pathlib import Path

import torch
from torch import nn

print("epoch 1: loss 0.7")
torch.manual_seed(0)
random.seed(0)
torch.set_default_dtype(torch.float16)
Path("trained.txt").write_text("done")


def plain():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
