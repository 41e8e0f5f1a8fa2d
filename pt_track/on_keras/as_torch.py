"""A Keras network on torch, called as `pt_track` calls its own."""

import keras
from torch import Tensor, nn

from common.spec import Spec


class AsTorch(nn.Module):
    """What lets the loop of `pt_track` train a Keras network without knowing it.

    The loop gives pictures (n, c, h, w) that lie in memory as (n, h, w, c): turning
    them back costs nothing.  The mode that torch keeps on a module Keras is told at
    each call.
    """

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network

    @property
    def spec(self) -> Spec:
        """What the network is."""
        return self.network.spec

    def forward(
        self, x: Tensor, draws: dict[str, Tensor] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        given = {"draws": draws} if draws else {}
        with keras.device(self.network.place):  # a user's own network has no such scope
            x = x.permute(0, 2, 3, 1)
            return self.network(x, training=self.training, **given)
