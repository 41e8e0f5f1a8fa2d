"""Batch norm's statistics anew, in Keras.  Twin: pt_track/statistics.py."""

from collections.abc import Iterable

import keras
import numpy as np

from common.moments import Spread
from tf_track.layers import Norm
from tf_track.weights import assign, named_layers


def estimate_statistics(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Set the running statistics to those of all `batches` together."""
    norms = [layer for _, layer in named_layers(model) if isinstance(layer, Norm)]
    found = [Spread() for _ in norms]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # the running statistics are the last batch's own
    for images in batches:
        model(images, training=True)
        for norm, spread in zip(norms, found, strict=True):
            spread.add(norm.moving_mean.numpy(), norm.moving_variance.numpy())
    for norm, momentum, spread in zip(norms, kept, found, strict=True):
        norm.momentum = momentum
        assign(norm.moving_mean, spread.mean)
        assign(norm.moving_variance, spread.variance)
