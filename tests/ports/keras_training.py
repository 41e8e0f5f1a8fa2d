"""Ports of torch_training.py.  Defaults are the mistakes; arguments mend them.

An optimizer is made of nothing; a loss is called with (targets, outputs).
"""

import keras
import tensorflow as tf
from keras import layers, ops

CLASS_WEIGHTS = [0.5, 1.0, 2.0, 4.0]


# --- models


def mlp():
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(12, activation="tanh"), layers.Dense(4)]
    )


class UnbiasedBatchNormalization(layers.BatchNormalization):
    """Keeps the unbiased variance for inference, as PyTorch does."""

    def call(self, inputs, training=None):
        outputs = super().call(inputs, training=training)
        if training:
            axes = list(range(len(inputs.shape) - 1))
            count = ops.size(inputs) / inputs.shape[-1]
            missing = ops.var(inputs, axis=axes) / (ops.cast(count, inputs.dtype) - 1)
            self.moving_variance.assign_add((1 - self.momentum) * missing)
        return outputs


def normed(momentum=0.9, unbiased=False):
    norm = UnbiasedBatchNormalization if unbiased else layers.BatchNormalization
    return keras.Sequential(
        [
            keras.Input((8, 6, 3)),
            layers.Conv2D(6, 3, padding="same", use_bias=False),
            norm(momentum=momentum, epsilon=1e-5),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )


def normed_swapped(momentum=0.1, unbiased=False):
    return normed(momentum, unbiased)


def normed_unbiased():
    return normed(unbiased=True)


# --- optimizers, some with PyTorch's formulas


class TorchAdam(keras.optimizers.Adam):
    """Epsilon beside the corrected root."""

    def update_step(self, gradient, variable, learning_rate):
        rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        m.assign(self.beta_1 * m + (1 - self.beta_1) * gradient)
        v.assign(self.beta_2 * v + (1 - self.beta_2) * gradient**2)
        mean, root = m / (1 - self.beta_1**step), v / (1 - self.beta_2**step)
        variable.assign_sub(rate * mean / (ops.sqrt(root) + self.epsilon))


class TorchSGD(keras.optimizers.SGD):
    """The rate outside the momentum; decay with the gradient."""

    def __init__(self, *arguments, coupled=0.0, **options):
        super().__init__(*arguments, **options)
        self.coupled = coupled

    def update_step(self, gradient, variable, learning_rate):
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = gradient + self.coupled * variable
        if self.momentum:
            m = self.momentums[self._get_variable_index(variable)]
            m.assign(self.momentum * m + gradient)
            gradient = m
        variable.assign_sub(rate * gradient)


class TorchRMSprop(keras.optimizers.RMSprop):
    """Epsilon beside the root."""

    def update_step(self, gradient, variable, learning_rate):
        rate = ops.cast(learning_rate, variable.dtype)
        v = self._velocities[self._get_variable_index(variable)]
        v.assign(self.rho * v + (1 - self.rho) * gradient**2)
        variable.assign_sub(rate * gradient / (ops.sqrt(v) + self.epsilon))


def sgd():
    return keras.optimizers.SGD(0.05)


def sgd_slow(**options):
    return keras.optimizers.SGD(**options)


def adam(ported=False):
    if ported:
        return TorchAdam(1e-2, epsilon=1e-8)
    return keras.optimizers.Adam(1e-2)


def adam_ported(epsilon=1e-7):
    return TorchAdam(1e-2, epsilon=epsilon)


def adam_same_epsilon(ported=False):
    if ported:
        return TorchAdam(1e-2, epsilon=1e-8)
    return keras.optimizers.Adam(1e-2, epsilon=1e-8)


def adam_betas(**options):
    return TorchAdam(1e-2, epsilon=1e-8, **options)


def adamw(weight_decay=0.05):
    return TorchAdam(1e-2, epsilon=1e-8, weight_decay=weight_decay)


def adamw_default(weight_decay=0.004):
    return adamw(weight_decay)


def adadelta(**options):
    return keras.optimizers.Adadelta(1.0, **options)


def sgd_decay(coupled=False):
    if coupled:
        return TorchSGD(0.05, momentum=0.9, coupled=0.01)
    return keras.optimizers.SGD(0.05, momentum=0.9, weight_decay=0.01)


def sgd_decay_all(without_bias=True):
    optimizer = keras.optimizers.SGD(0.05, weight_decay=0.01)
    if without_bias:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def sgd_dampened():
    return keras.optimizers.SGD(0.05, momentum=0.9)


def sgd_nesterov(**options):
    return keras.optimizers.SGD(0.05, momentum=0.9, **options)


def sgd_scheduled(ported=False):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    kind = TorchSGD if ported else keras.optimizers.SGD
    return kind(schedule, momentum=0.9)


def sgd_accumulated():
    return keras.optimizers.SGD(0.05, gradient_accumulation_steps=2)


sgd_accumulated_mean = sgd_accumulated


def sgd_clipped(together=False):
    kind = "global_clipnorm" if together else "clipnorm"
    return keras.optimizers.SGD(0.05, **{kind: 0.1})


def sgd_clipped_values(values=False):
    kind = "clipvalue" if values else "clipnorm"
    return keras.optimizers.SGD(0.05, **{kind: 0.02})


def sgd_all_right():
    return keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, global_clipnorm=0.1)


def rmsprop(ported=False):
    if ported:
        return TorchRMSprop(1e-3, rho=0.99, epsilon=1e-8)
    return keras.optimizers.RMSprop(1e-3, epsilon=1e-8)


def rmsprop_same_rho(ported=False):
    kind = TorchRMSprop if ported else keras.optimizers.RMSprop
    return kind(1e-3, rho=0.9, epsilon=1e-8)


# --- losses


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def smoothed(label_smoothing=0.0):
    whole = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing
    )
    return lambda y_true, y_pred: whole(ops.one_hot(y_true, 4), y_pred)


def smoothed_right():
    return smoothed(label_smoothing=0.1)


def summed(reduction="sum_over_batch_size"):
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction
    )


def per_example(y_true, y_pred):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y_true, logits=y_pred)


def weighted(weighing=False):
    def loss(y_true, y_pred):
        losses = per_example(y_true, y_pred)
        if not weighing:
            return tf.reduce_mean(losses)
        weights = tf.gather(tf.constant(CLASS_WEIGHTS, losses.dtype), y_true)
        return tf.reduce_sum(weights * losses) / tf.reduce_sum(weights)

    return loss


def weighted_mean(by_weights=False):
    def loss(y_true, y_pred):
        losses = per_example(y_true, y_pred)
        weights = tf.gather(tf.constant(CLASS_WEIGHTS, losses.dtype), y_true)
        if by_weights:
            return tf.reduce_sum(weights * losses) / tf.reduce_sum(weights)
        return tf.reduce_mean(weights * losses)

    return loss
