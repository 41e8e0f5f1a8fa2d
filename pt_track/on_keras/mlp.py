"""MLP, in Keras on torch.  Twin: tf_track/mlp.py."""

from itertools import pairwise

from keras import ops
from torch import Tensor

from common import spec
from pt_track.on_keras.layers import (
    Dropout,
    Flatten,
    Network,
    Relu,
    Scale,
    dense,
    norm,
    stored,
)


class MLP(Network):
    """The network `spec` describes: float pixels (n, h, w, c) to logits."""

    def __init__(self, spec_: spec.MLPSpec, dtype: str) -> None:
        super().__init__(dtype=stored(dtype))
        self.mixed = dtype == "bfloat16"
        *hidden, head = pairwise(spec_.widths)
        self.scale = Scale(spec_.scale, dtype)
        self.flatten = Flatten("hwc", dtype)
        self.hidden = [dense(fan_in, spec.Dense(out), dtype) for fan_in, out in hidden]
        self.norms = [norm(out, spec_.norm, dtype) for _, out in hidden if spec_.norm]
        self.relu = Relu(dtype)
        self.drops = [Dropout(spec_.dropout, dtype) for _ in hidden if spec_.dropout]
        self.head = dense(head[0], spec.Dense(head[1]), dtype)

    def call(
        self, x: Tensor, training: bool = False, draws: dict[str, Tensor] | None = None
    ) -> Tensor:
        draws = draws or {}
        x = self.flatten(self.scale(x))  # (n, pixels)
        for i, layer in enumerate(self.hidden):
            x = layer(x)
            if self.norms:
                x = self.norms[i](x, training=training)
            x = self.relu(x)
            if self.drops:
                x = self.drops[i](x, draws.get(f"drops.{i}"), training=training)
        x = self.head(x)  # (n, classes)
        return ops.cast(x, "float32") if self.mixed else x
