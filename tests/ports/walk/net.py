"""A network as people write them; `port.py` beside it is a port with six mistakes."""

import torch
import torch.nn.functional as F
from torch import nn


class ConvBlock(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(cout)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a = ConvBlock(width, width)
        self.b = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return F.leaky_relu(x + self.b(self.a(x)), 0.1)


class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem = ConvBlock(3, 16)
        self.down = ConvBlock(16, 32, stride=2)
        self.res = Residual(32)
        self.pool = nn.AvgPool2d(3, 2, padding=1)
        self.fc1 = nn.Linear(32 * 8 * 6, 64)
        self.fc2 = nn.Linear(64, classes)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        x = self.res(self.down(self.stem(x)))
        x = torch.flatten(self.pool(x), 1)
        return self.fc2(self.drop(F.gelu(self.fc1(x))))
