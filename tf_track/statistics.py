"""Batch norm's statistics anew, in Keras.  Twin: pt_track/statistics.py."""

from collections.abc import Iterable

import keras
import numpy as np

from common.draws import draws_of, regions
from common.moments import Spread
from tf_track.weights import assign, norms


def estimate_statistics(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Set the running statistics to those of all `batches` together."""
    layers = norms(model)
    found = [Spread() for _ in layers]
    kept = [norm.momentum for norm in layers]
    for norm in layers:
        norm.momentum = norm.alone
    for images in batches:
        drawn = regions(draws_of(model), images)
        model(images, training=True, **({"draws": drawn} if drawn else {}))
        for norm, spread in zip(layers, found, strict=True):
            spread.add(norm.moving_mean.numpy(), norm.moving_variance.numpy())
    for norm, momentum, spread in zip(layers, kept, found, strict=True):
        norm.momentum = momentum
        assign(norm.moving_mean, spread.mean)
        assign(norm.moving_variance, spread.variance)
