"""NumPy in, NumPy out, in PyTorch.  Twin: tf_track/predict.py."""

import numpy as np
import torch
from torch import nn

from common.draws import draws_of, regions
from common.evaluate import Judge


def predictor(model: nn.Module) -> Judge:
    """A function from uint8 images (n, h, w, c) to logits (n, classes).

    Regions of a fractional pool are drawn anew for each picture and each `repeat`.
    """

    @torch.inference_mode()
    def predict(images: np.ndarray, repeat: int = 0) -> np.ndarray:
        model.eval()
        device = next(model.parameters()).device
        x = torch.from_numpy(np.array(images, order="C")).to(device).permute(0, 3, 1, 2)
        drawn = regions(draws_of(model), images, repeat)
        given = {name: torch.from_numpy(d).to(device) for name, d in drawn.items()}
        logits = model(x, given) if given else model(x)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return logits.cpu().numpy()

    return predict
