"""PyTorch's own defaults, read and probed.  Twin: tf_track/defaults.py.

What a signature says is read from it; what it does not say (the draw of a kernel, which
variance is kept, where Adam's eps goes) is found by doing it once, in float64.
"""

from math import sqrt

import torch
from torch import nn

from common.ledger import ALPHA, GRADIENTS, INPUTS, OUTPUTS, RATES, drawn_as, nearest


def probe(what: str) -> object:
    """What a name of `common.ledger.PROBES` stands for."""
    return PROBES[what]()


def kernel() -> str:
    """How a dense kernel is drawn."""
    torch.manual_seed(0)
    weight = nn.Linear(INPUTS, OUTPUTS).weight.detach().numpy().T
    return drawn_as(weight, INPUTS, OUTPUTS)


def filters() -> str:
    """How a convolution's kernel is drawn."""
    torch.manual_seed(0)
    weight = nn.Conv2d(INPUTS // 9, OUTPUTS // 9, 3).weight.detach().numpy()
    return drawn_as(weight, INPUTS // 9 * 9, OUTPUTS // 9 * 9)


def bias() -> str:
    """How a bias is drawn."""
    torch.manual_seed(0)
    return drawn_as(nn.Linear(INPUTS, OUTPUTS).bias.detach().numpy(), INPUTS, OUTPUTS)


def variance() -> str:
    """Whether batch norm keeps the biased variance of a batch."""
    x = torch.arange(4.0, dtype=torch.float64)[:, None]
    layer = nn.BatchNorm1d(1, momentum=1.0, dtype=torch.float64)
    layer(x)
    biased, unbiased = x.var(unbiased=False).item(), x.var().item()
    kept = layer.running_var.item()
    return nearest(kept, {"biased": biased, "unbiased": unbiased})


def adam_form() -> str:
    """Where Adam's eps is added."""
    w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    rule = torch.optim.Adam([w], lr=1.0, eps=ALPHA)
    w.grad = torch.full_like(w, ALPHA)
    rule.step()
    step, bias = -w.item(), sqrt(1 - 0.999)
    forms = {"corrected": ALPHA / (ALPHA + ALPHA)}
    forms["raw"] = ALPHA / (ALPHA + ALPHA / bias)
    return nearest(step, forms)


def sgd_form() -> str:
    """Whether the learning rate is folded into what momentum remembers."""
    w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    rule = torch.optim.SGD([w], lr=RATES[0], momentum=0.5)
    for lr, g in zip(RATES, GRADIENTS, strict=True):
        rule.param_groups[0]["lr"] = lr
        w.grad = torch.full_like(w, g)
        rule.step()
    first = RATES[0] * GRADIENTS[0]
    forms = {
        "buffer": first + RATES[1] * (0.5 * GRADIENTS[0] + GRADIENTS[1]),
        "velocity": first + 0.5 * first + RATES[1] * GRADIENTS[1],
    }
    return nearest(-w.item(), forms)


def border() -> str:
    """Whether an average pool counts its padding."""
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    corner = nn.AvgPool2d(3, 1, 1)(x)[0, 0, 0, 0].item()
    return nearest(corner, {"include": 4 / 9, "exclude": 1.0})


PROBES = {
    "kernel": kernel,
    "filters": filters,
    "bias": bias,
    "variance": variance,
    "adam_form": adam_form,
    "sgd_form": sgd_form,
    "border": border,
}
