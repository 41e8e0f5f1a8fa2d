"""MLP, in PyTorch.  Twin: tf_track/mlp.py."""

from itertools import pairwise

from torch import Tensor, autocast, bfloat16, nn

from common import spec
from pt_track.layers import Dropout, Flatten, Relu, Scale, dense, norm


class MLP(nn.Module):
    """The network `spec` describes: float pixels (n, c, h, w) to logits."""

    def __init__(self, spec_: spec.MLPSpec, dtype: str) -> None:
        super().__init__()
        self.mixed = dtype == "bfloat16"
        *hidden, head = pairwise(spec_.widths)
        self.scale = Scale(spec_.scale, dtype)
        self.flatten = Flatten("hwc", dtype)
        self.hidden = nn.ModuleList(
            [dense(fan_in, spec.Dense(out), dtype) for fan_in, out in hidden]
        )
        self.norms = nn.ModuleList(
            [norm(out, spec_.norm, dtype) for _, out in hidden if spec_.norm]
        )
        self.relu = Relu(dtype)
        self.drops = nn.ModuleList(
            [Dropout(spec_.dropout, dtype) for _ in hidden if spec_.dropout]
        )
        self.head = dense(head[0], spec.Dense(head[1]), dtype)

    def forward(self, x: Tensor, draws: dict[str, Tensor] | None = None) -> Tensor:
        draws = draws or {}
        with autocast(x.device.type, bfloat16, self.mixed):
            x = self.flatten(self.scale(x))  # (n, pixels)
            for i, layer in enumerate(self.hidden):
                x = layer(x)
                if self.norms:
                    x = self.norms[i](x)
                x = self.relu(x)
                if self.drops:
                    x = self.drops[i](x, draws.get(f"drops.{i}"))
            x = self.head(x)  # (n, classes)
        return x.float() if self.mixed else x
