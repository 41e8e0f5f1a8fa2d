"""What a Keras network on torch computes in.  Twin: tf_track/probe.py."""

import keras
import numpy as np

from pt_track import probe
from pt_track.on_keras.as_torch import AsTorch


def arithmetic(model: keras.Model, images: np.ndarray) -> dict[str, list[str]]:
    """Types of the products and of all values of a network that looks at pictures."""
    return probe.arithmetic(AsTorch(model), images)
