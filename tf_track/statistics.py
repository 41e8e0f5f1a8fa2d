"""Batch norm's statistics anew, in Keras.  Twin: pt_track/statistics.py."""

from collections.abc import Iterable

import keras
import numpy as np

from tf_track.layers import Norm
from tf_track.weights import named_layers


def estimate_statistics(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Set the running statistics to the mean over `batches` of each batch's own."""
    norms = [layer for _, layer in named_layers(model) if isinstance(layer, Norm)]
    kept = [norm.momentum for norm in norms]
    for i, images in enumerate(batches):
        for norm in norms:
            norm.momentum = i / (i + 1)
        model(images, training=True)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
