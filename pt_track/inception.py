"""Inception v3, in PyTorch.  Twin: tf_track/inception.py."""

import torch
from torch import Tensor, autocast, bfloat16, nn

from common import inception as table
from common import spec
from pt_track.layers import AXES, Dropout, Relu, Scale, average, conv, dense, norm, pool


class Inception(nn.Module):
    """The network `spec` describes: float pixels (n, c, h, w) to logits.

    In training, with an auxiliary head: (logits, logits of that head).
    """

    def __init__(self, spec_: table.InceptionSpec, dtype: str) -> None:
        super().__init__()
        self.mixed = dtype == "bfloat16"
        self.scale = Scale(spec_.scale, dtype)
        channels = spec_.image[2]
        for row in spec_.stem:
            setattr(self, row.name, step(row, channels, spec_.norm, dtype))
            channels = table.after(row, channels)
        for block in spec_.blocks:
            setattr(self, block.name, Block(block, channels, spec_.norm, dtype))
            channels = block.out(channels)
            if spec_.aux and block.name == table.AUX_AFTER:
                self.AuxLogits = Aux(spec_, channels, dtype)
        self.order = [part.name for part in (*spec_.stem, *spec_.blocks)]
        self.dropout = Dropout(spec_.dropout, dtype)
        self.fc = dense(channels, spec_.head, dtype)

    def forward(
        self, x: Tensor, draws: dict[str, Tensor] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        aux = None
        with autocast(x.device.type, bfloat16, self.mixed):
            x = self.scale(x)
            for name in self.order:
                x = getattr(self, name)(x)
                if name == table.AUX_AFTER and self.training:
                    aux = self.AuxLogits(x) if hasattr(self, "AuxLogits") else None
            x = self.dropout(x.mean(AXES), (draws or {}).get("dropout"))
            x = self.fc(x)  # (n, classes)
        x = x.float() if self.mixed else x
        return x if aux is None else (x, aux.float() if self.mixed else aux)


class Block(nn.Module):
    """Rows that each take another's output; the loose ends are joined."""

    def __init__(
        self, block: table.Block, channels: int, norm_: spec.Norm, dtype: str
    ) -> None:
        super().__init__()
        self.rows = [(row.name, row.after) for row in block.rows]
        self.ends = block.ends
        taken = block.inputs(channels)
        for row in block.rows:
            setattr(self, row.name, step(row, taken[row.name], norm_, dtype))

    def forward(self, x: Tensor) -> Tensor:
        found = {"": x}
        for name, after in self.rows:
            found[name] = getattr(self, name)(found[after])
        return torch.cat([found[name] for name in self.ends], 1)


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, channels: int, layer: spec.Conv, norm_: spec.Norm, dtype: str
    ) -> None:
        super().__init__()
        self.conv = conv(channels, layer, dtype)
        self.bn = norm(layer.out, norm_, dtype)
        self.relu = Relu(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Aux(nn.Module):
    """The auxiliary head: maps after `AUX_AFTER` to logits."""

    def __init__(self, spec_: table.InceptionSpec, channels: int, dtype: str) -> None:
        super().__init__()
        self.pool = average(table.AUX_POOL, dtype)
        taken = table.AUX.inputs(channels)
        for row in table.AUX.rows:
            setattr(self, row.name, step(row, taken[row.name], spec_.norm, dtype))
        self.fc = dense(table.AUX.out(channels), spec_.aux_head, dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.conv0(self.pool(x)))
        return self.fc(x.mean(AXES))


def step(row: table.Row, channels: int, norm_: spec.Norm, dtype: str) -> nn.Module:
    """What a row of the table does to input of `channels`."""
    match row.layer:
        case spec.Conv():
            return Unit(channels, row.layer, norm_, dtype)
        case spec.Pool():
            return pool(row.layer, dtype)
        case spec.AveragePool():
            return average(row.layer, dtype)
