"""What a network computes in, in PyTorch.  Twin: tf_track/probe.py."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from common.draws import draws_of, regions

# Operations that multiply values by weights, by PyTorch's own names.
PRODUCTS = {
    *("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "matmul", "linear"),
    *("einsum", "conv1d", "conv2d", "conv3d", "convolution", "_convolution"),
}


class Types(TorchDispatchMode):
    """While open, notes the types of floating-point values that operations give."""

    def __init__(self) -> None:
        super().__init__()
        self.products: set[str] = set()
        self.values: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            name = str(result.dtype).removeprefix("torch.")
            self.values.add(name)
            if function.overloadpacket.__name__ in PRODUCTS:
                self.products.add(name)
        return result


def arithmetic(model: nn.Module, images: np.ndarray) -> dict[str, list[str]]:
    """Types of the products and of all values of a network that looks at pictures."""
    model.eval()
    device = next(model.parameters()).device
    x = torch.from_numpy(np.array(images, order="C")).to(device).permute(0, 3, 1, 2)
    drawn = regions(draws_of(model), images)
    given = {name: torch.from_numpy(d).to(device) for name, d in drawn.items()}
    with torch.no_grad(), Types() as types:
        model(x, given) if given else model(x)
    return {"products": sorted(types.products), "values": sorted(types.values)}
