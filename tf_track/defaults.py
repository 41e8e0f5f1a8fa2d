"""Keras's own defaults, read and probed.  Twin: pt_track/defaults.py.

What a signature says is read from it; what it does not say (the draw of a kernel, which
variance is kept, where Adam's eps goes) is found by doing it once, in float64.
"""

from math import sqrt

import keras
import numpy as np

from common.ledger import ALPHA, GRADIENTS, INPUTS, OUTPUTS, RATES, drawn_as, nearest


def probe(what: str) -> object:
    """What a name of `common.ledger.PROBES` stands for."""
    return PROBES[what]()


def kernel() -> str:
    """How a dense kernel is drawn."""
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(OUTPUTS)
    layer.build((None, INPUTS))
    return drawn_as(keras.ops.convert_to_numpy(layer.kernel), INPUTS, OUTPUTS)


def filters() -> str:
    """How a convolution's kernel is drawn."""
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv2D(OUTPUTS // 9, 3)
    layer.build((None, 3, 3, INPUTS // 9))
    return drawn_as(
        keras.ops.convert_to_numpy(layer.kernel), INPUTS // 9 * 9, OUTPUTS // 9 * 9
    )


def bias() -> str:
    """How a bias is drawn."""
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(OUTPUTS)
    layer.build((None, INPUTS))
    return drawn_as(keras.ops.convert_to_numpy(layer.bias), INPUTS, OUTPUTS)


def variance() -> str:
    """Whether batch norm keeps the biased variance of a batch."""
    x = np.arange(4.0)[:, None]
    layer = keras.layers.BatchNormalization(momentum=0.0, dtype="float64")
    layer(x, training=True)
    biased, unbiased = x.var(), x.var(ddof=1)
    kept = float(layer.moving_variance[0])
    return nearest(kept, {"biased": biased, "unbiased": unbiased})


def adam_form() -> str:
    """Where Adam's eps is added."""
    w = keras.Variable(np.zeros(1), dtype="float64")
    rule = keras.optimizers.Adam(learning_rate=1.0, epsilon=ALPHA)
    rule.apply([np.full(1, ALPHA)], [w])
    step, bias = -float(w[0]), sqrt(1 - 0.999)
    forms = {"corrected": ALPHA / (ALPHA + ALPHA)}
    forms["raw"] = ALPHA / (ALPHA + ALPHA / bias)
    return nearest(step, forms)


def sgd_form() -> str:
    """Whether the learning rate is folded into what momentum remembers."""
    w = keras.Variable(np.zeros(1), dtype="float64")
    rule = keras.optimizers.SGD(learning_rate=RATES[0], momentum=0.5)
    for lr, g in zip(RATES, GRADIENTS, strict=True):
        rule.learning_rate = lr
        rule.apply([np.full(1, g)], [w])
    first = RATES[0] * GRADIENTS[0]
    forms = {
        "buffer": first + RATES[1] * (0.5 * GRADIENTS[0] + GRADIENTS[1]),
        "velocity": first + 0.5 * first + RATES[1] * GRADIENTS[1],
    }
    return nearest(-float(w[0]), forms)


def border() -> str:
    """Whether an average pool counts its padding."""
    x = np.ones((1, 2, 2, 1))
    pool = keras.layers.AveragePooling2D(3, 1, "same", dtype="float64")
    corner = float(pool(x)[0, 0, 0, 0])
    return nearest(corner, {"include": 4 / 9, "exclude": 1.0})


PROBES = {
    "kernel": kernel,
    "filters": filters,
    "bias": bias,
    "variance": variance,
    "adam_form": adam_form,
    "sgd_form": sgd_form,
    "border": border,
}
