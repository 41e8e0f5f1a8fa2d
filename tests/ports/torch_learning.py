"""Trainings as PyTorch users have them, beyond the table; ports: keras_learning.py."""

import torch
from torch import nn
from torch.nn import functional as F


def chaotic():
    """Deep and driven hard: a difference grows a thousandfold in a few steps."""
    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (nn.Linear(16, 16), nn.Tanh())]
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), *layers, nn.Linear(16, 4))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.8)
    return model


def mlp():
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4))


def bias_before_norm():
    """The bias of the first layer has no gradient: rounding alone moves it."""
    return nn.Sequential(
        nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4)
    )


def dropping():
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 4))


class Recurrent(nn.Module):
    """Two biases that both learn, where Keras has one."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Attending(nn.Module):
    """A block of a transformer, of tokens."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8, eps=1e-3)
        self.head = nn.Linear(8, 11)

    def forward(self, tokens):
        x = self.embed(tokens)
        x = self.norm(x + self.attend(x, x, x, need_weights=False)[0])
        return self.head(x)


class Segmenting(nn.Module):
    """Classes of each pixel."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)

    def forward(self, x):
        return self.up(F.relu(F.max_pool2d(self.down(x), 2)))


# --- optimizers and losses


def sgd_hard(parameters):
    return torch.optim.SGD(parameters, lr=1.0, momentum=0.9)


def sgd_decayed(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.02)


def next_token(outputs, tokens):
    return F.cross_entropy(outputs.flatten(0, 1), tokens.flatten())


# --- training steps


def accumulating(model, optimizer, loss, x, y):
    """Halves of a loss, two batches to a step: their mean."""
    loss = loss(model(x), y) / 2
    loss.backward()
    optimizer.count = getattr(optimizer, "count", 0) + 1
    if optimizer.count % 2 == 0:
        optimizer.step()
        optimizer.zero_grad()
    return loss


def clipping(model, optimizer, loss, x, y):
    optimizer.zero_grad()
    loss = loss(model(x), y)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)
    optimizer.step()
    return loss


def falling(model, optimizer, loss, x, y):
    """A rate that falls after each step."""
    clipping(model, optimizer, loss, x, y)
    for group in optimizer.param_groups:
        group["lr"] *= 0.5


def raising(model, optimizer, loss, x, y):
    raise RuntimeError("out of paper")
