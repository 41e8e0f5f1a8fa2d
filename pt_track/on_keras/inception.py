"""Inception v3, in Keras on torch.  Twin: tf_track/inception.py."""

import keras
from keras import ops
from torch import Tensor

from common import inception as table
from common import spec
from pt_track.on_keras.layers import (
    AXES,
    Dropout,
    Network,
    Part,
    Relu,
    Scale,
    average,
    conv,
    dense,
    mean,
    norm,
    policy,
    pool,
    stored,
)


class Inception(Network):
    """The network `spec` describes: float pixels (n, h, w, c) to logits.

    In training, with an auxiliary head: (logits, logits of that head).
    """

    def __init__(self, spec_: table.InceptionSpec, dtype: str) -> None:
        super().__init__(dtype=stored(dtype))
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

    def call(
        self, x: Tensor, training: bool = False, draws: dict[str, Tensor] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        aux = None
        x = self.scale(x)
        for name in self.order:
            x = getattr(self, name)(x, training=training)
            if name == table.AUX_AFTER and self.wants_aux(training):
                aux = self.AuxLogits(x, training=training)
        x = mean(x, AXES)
        x = self.dropout(x, (draws or {}).get("dropout"), training=training)
        x = self.fc(x)  # (n, classes)
        x = ops.cast(x, "float32") if self.mixed else x
        if aux is None or not training:
            return x
        return x, ops.cast(aux, "float32") if self.mixed else aux

    def wants_aux(self, training: bool) -> bool:
        """In training, and once before: Keras makes weights when called."""
        head = getattr(self, "AuxLogits", None)
        return head is not None and (training or not head.built)


class Block(Part):
    """Rows that each take another's output; the loose ends are joined."""

    def __init__(
        self, block: table.Block, channels: int, norm_: spec.Norm, dtype: str
    ) -> None:
        super().__init__(dtype=policy(dtype))
        self.rows = [(row.name, row.after) for row in block.rows]
        self.ends = block.ends
        taken = block.inputs(channels)
        for row in block.rows:
            setattr(self, row.name, step(row, taken[row.name], norm_, dtype))

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        found = {"": x}
        for name, after in self.rows:
            found[name] = getattr(self, name)(found[after], training=training)
        return ops.concatenate([found[name] for name in self.ends], -1)


class Unit(Part):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, channels: int, layer: spec.Conv, norm_: spec.Norm, dtype: str
    ) -> None:
        super().__init__(dtype=policy(dtype))
        self.conv = conv(channels, layer, dtype)
        self.bn = norm(layer.out, norm_, dtype)
        self.relu = Relu(dtype)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return self.relu(self.bn(self.conv(x), training=training))


class Aux(Part):
    """The auxiliary head: maps after `AUX_AFTER` to logits."""

    def __init__(self, spec_: table.InceptionSpec, channels: int, dtype: str) -> None:
        super().__init__(dtype=policy(dtype))
        self.pool = average(table.AUX_POOL, dtype)
        taken = table.AUX.inputs(channels)
        for row in table.AUX.rows:
            setattr(self, row.name, step(row, taken[row.name], spec_.norm, dtype))
        self.fc = dense(table.AUX.out(channels), spec_.aux_head, dtype)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        x = self.conv0(self.pool(x), training=training)
        x = self.conv1(x, training=training)
        return self.fc(mean(x, AXES))


def step(
    row: table.Row, channels: int, norm_: spec.Norm, dtype: str
) -> keras.layers.Layer:
    """What a row of the table does to input of `channels`."""
    match row.layer:
        case spec.Conv():
            return Unit(channels, row.layer, norm_, dtype)
        case spec.Pool():
            return pool(row.layer, dtype)
        case spec.AveragePool():
            return average(row.layer, dtype)
