"""Models, optimizers and losses as PyTorch users write them; ports: keras_training.py.

An optimizer is made of parameters; a loss is called with (outputs, targets).
"""

import torch
from torch import nn

CLASS_WEIGHTS = [0.5, 1.0, 2.0, 4.0]


# --- models


def mlp():
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4))


def normed():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


normed_swapped = normed_unbiased = normed


# --- optimizers


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05)


sgd_slow = sgd


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-2)


def adam_ported(parameters):
    return torch.optim.Adam(parameters, lr=1e-2)


def adam_same_epsilon(parameters):
    return torch.optim.Adam(parameters, lr=1e-2)


def adam_betas(parameters):
    return torch.optim.Adam(parameters, lr=1e-2, betas=(0.9, 0.99))


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.05)


adamw_default = adamw


def adadelta(parameters):
    return torch.optim.Adadelta(parameters, lr=1.0, rho=0.95)


def sgd_decay(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.01)


def sgd_decay_all(parameters):
    return torch.optim.SGD(parameters, lr=0.05, weight_decay=0.01)


def sgd_dampened(parameters, dampening=0.5):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, dampening=dampening)


def sgd_nesterov(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True)


def sgd_scheduled(parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    optimizer.register_step_post_hook(lambda *_: scheduler.step())
    return optimizer


class Accumulated(torch.optim.SGD):
    """Steps with every second batch, as training loops do that save memory."""

    def __init__(self, parameters, lr, mean):
        super().__init__(parameters, lr=lr)
        self.mean, self.count = mean, 0

    def zero_grad(self, set_to_none=True):
        if self.count % 2 == 0:
            super().zero_grad(set_to_none)

    def step(self, closure=None):
        self.count += 1
        if self.count % 2:
            return None
        if self.mean:
            for parameter in self.param_groups[0]["params"]:
                parameter.grad /= 2
        return super().step(closure)


def sgd_accumulated(parameters, mean=False):
    return Accumulated(parameters, 0.05, mean)


def sgd_accumulated_mean(parameters):
    return Accumulated(parameters, 0.05, mean=True)


def sgd_clipped(parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.05)

    def clip(optimizer, *_):
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.1)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def sgd_clipped_values(parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.05)

    def clip(optimizer, *_):
        nn.utils.clip_grad_value_(optimizer.param_groups[0]["params"], 0.02)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def sgd_all_right(parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True)

    def clip(optimizer, *_):
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.1)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def rmsprop(parameters):
    return torch.optim.RMSprop(parameters, lr=1e-3)


def rmsprop_same_rho(parameters):
    return torch.optim.RMSprop(parameters, lr=1e-3, alpha=0.9)


# --- losses


def cross_entropy():
    return nn.CrossEntropyLoss()


def smoothed():
    return nn.CrossEntropyLoss(label_smoothing=0.1)


def smoothed_right():
    return nn.CrossEntropyLoss(label_smoothing=0.1)


def summed():
    return nn.CrossEntropyLoss(reduction="sum")


def weighted():
    return nn.CrossEntropyLoss(weight=torch.tensor(CLASS_WEIGHTS))


def weighted_mean():
    return nn.CrossEntropyLoss(weight=torch.tensor(CLASS_WEIGHTS))
