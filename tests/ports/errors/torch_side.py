"""PyTorch models that need an answer: refused, or carried with a word."""

import time

import torch
import torch.nn.functional as F
from torch import nn


def plain():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def needs_arguments(width, *, classes):
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, classes))


class NeedsArguments(nn.Module):
    """A class whose widths have no default."""

    def __init__(self, width, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.body(x))


def gives_nothing():
    nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def gives_weights():
    return plain().state_dict()


NOT_CALLABLE = 3
MODEL = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def fails_when_made():
    raise FileNotFoundError("checkpoints/best.pt")


class Prints(nn.Module):
    """As one leaves it while debugging."""

    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, x):
        print("forward", x.shape)
        return self.net(x)


class Raises(nn.Module):
    """An error of the user's own, two calls deep."""

    def __init__(self):
        super().__init__()
        self.net = plain()
        self.gate = nn.Linear(8, 8)

    def forward(self, x):
        return self.net[2](self.gate(self.net[0](x).T))


class Hangs(nn.Module):
    """Waits for what never comes."""

    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, x):
        while True:
            time.sleep(0.1)


def lazy():
    return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))


class TwoInputs(nn.Module):
    """A vector and tokens."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 4)
        self.fc = nn.Linear(10, 3)

    def forward(self, x, tokens):
        return self.fc(torch.cat([x, self.embed(tokens).mean(1)], 1))


class DictOutput(nn.Module):
    """Two heads, by name."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.kind = nn.Linear(8, 3)
        self.box = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.body(x))
        return {"kind": self.kind(x), "box": self.box(x)}


class TupleOutput(DictOutput):
    """Two heads, in order."""

    def forward(self, x):
        x = F.relu(self.body(x))
        return self.kind(x), self.box(x)


class OtherOutput(DictOutput):
    """A string beside the numbers."""

    def forward(self, x):
        return {"kind": self.kind(F.relu(self.body(x))), "version": "1.0"}


class GaussianNoise(nn.Module):
    """Noise, whatever the mode."""

    def __init__(self, std):
        super().__init__()
        self.std = std

    def forward(self, x):
        return x + self.std * torch.randn_like(x)


def random_layer():
    return nn.Sequential(nn.Linear(6, 8), GaussianNoise(0.1), nn.Linear(8, 3))


class Gate(nn.Module):
    """A layer of the user's own: a scale and a shift for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.alpha = nn.Parameter(torch.linspace(0.5, 1.5, channels))
        self.beta = nn.Parameter(torch.linspace(-0.5, 0.5, channels))

    def forward(self, x):
        return torch.tanh(self.alpha * x + self.beta)


def unknown_layer():
    return nn.Sequential(nn.Linear(6, 8), Gate(8), nn.Linear(8, 3))


class Tied(nn.Module):
    """The embedding is the last layer, too."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.fc = nn.Linear(8, 8)
        self.out = nn.Linear(8, 20, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        return self.out(torch.tanh(self.fc(self.embed(tokens))))


def extra_linear():
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def other_width():
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))


class TwoOfOneShape(nn.Module):
    """Called in another order than defined: only activations tell the two apart."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 6)
        self.hidden = nn.Linear(6, 6)

    def forward(self, x):
        return torch.tanh(self.out(torch.tanh(self.hidden(x))))


def other_input():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


def not_a_number():
    model = plain()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    return model


def no_parameters():
    return nn.Sequential(nn.Flatten(), nn.Softmax(dim=1))


def half():
    return plain().half()


def training_left_on():
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    return model.train()


def scripted():
    return torch.jit.script(plain())
