"""A user's Keras model trained, step by step.  Twin: pt_track/ports/learn.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from common.errors import Refused
from common.port.chosen import (
    LOSSES,
    OPTIMIZERS,
    Named,
    chosen,
    is_loss,
    loss_words,
    same_arrays,
)
from common.port.target import told
from common.port.told import Array, Config
from tf_track.ports.kinds import DROPOUTS, NOISE, forms, tensor
from tf_track.ports.model import Opened

Answer = tuple[Config, dict[str, Array]]
REDUCTIONS = {"sum": "sum", "none": "none"}


class Learner:
    """One training of a model, from the weights that it has.

    Args:
        opened: The model.
        optimizer: `module:factory`, a name: "sgd(lr=.1)", or "" for that of `compile`.
        loss: `module:factory`, a name, words (`common.port.losses`), or "" as above.
        step: `module:function(model, optimizer, loss, x, y)`, or "" for the usual one.

    Raises:
        Refused: A factory raises, or gives something else; or nothing was compiled.
    """

    def __init__(
        self, opened: Opened, *, optimizer: str, loss: str | Config, step: str = ""
    ) -> None:
        self.opened = opened
        self.model = opened.model
        self.notes: list[str] = []
        self.measure, self.loss_words = _loss(loss, self.model)
        self.optimizer = _optimizer(optimizer, self.model)
        self.taken = chosen(step, "a training step") if step else None
        self.names = dict(self._names())
        self.caught: dict[int, Any] = {}
        self.penalty: dict[int, Any] = {}
        self.used: dict[int, Any] = {}
        self.rates: dict[int, float] = {}
        self.losses: list[float] = []
        if opened.dtype == "float64":
            _exact(self.optimizer)
            _exact(self.measure)
            for layer in self.model._flatten_layers():
                for name, value in list(vars(layer).items()):
                    if name.endswith("_regularizer"):
                        _exact(value)
        self._begun()
        self.update = self.optimizer._backend_update_step
        self.optimizer._backend_update_step = self._noting

    def close(self) -> None:
        """Take the hook off the optimizer."""
        self.optimizer._backend_update_step = self.update

    def _begun(self) -> None:
        """The optimizer as it was before its first step: one object may train twice."""
        if not self.optimizer.built:
            self.optimizer.build(self.model.trainable_variables)
        begun = getattr(self.model, "_twintrack_begun", None)
        if begun is None or begun[0] is not self.optimizer:
            begun = self.optimizer, [v.numpy() for v in self.optimizer.variables]
            object.__setattr__(self.model, "_twintrack_begun", begun)
        for variable, value in zip(self.optimizer.variables, begun[1], strict=True):
            variable.assign(value)

    def _names(self) -> Iterator[tuple[str, tuple[Any, str, str]]]:
        for unit, (layer, part) in self.opened.known.items():
            for ours in forms(layer)[part]:
                yield f"{unit}/{ours}", (layer, part, ours)

    def _variable(self, name: str) -> Any:
        layer, part, ours = self.names[name]
        return tensor(layer, forms(layer)[part][ours].names[0])

    def _noting(self, gradients: Any, variables: Any, rate: Any) -> Any:
        """Right before an update: what the optimizer is given, and its rates."""
        for gradient, variable in zip(gradients, variables, strict=True):
            self.used[_key(variable)] = tf.convert_to_tensor(gradient)
            self.rates[_key(variable)] = float(rate)
        return self.update(gradients, variables, rate)

    def told(self, arrays: Sequence[Array]) -> Answer:
        """What the training is, and what comes out before it."""
        before = [v.numpy() for v in self.model.non_trainable_variables]
        outputs = []
        with self._learning():
            rates = self.dropped
            for seed in (0, 1):
                keras.utils.set_random_seed(seed)
                outputs.append(_first(self._called(arrays)).numpy())
        there = self.model.non_trainable_variables
        for variable, value in zip(there, before, strict=True):
            variable.assign(value)
        self.classes = outputs[0].shape[-1]
        words = {
            "optimizer": self._rule(),
            "loss": self.loss_words,
            "random": not np.array_equal(*outputs),
            "dropout": rates,
            "buffers": [n for n in self.names if not self._variable(n).trainable],
            "doubled": [],
            "notes": self.notes,
        }
        return words, {"outputs": outputs[0]}

    def _rule(self) -> Config:
        """The optimizer in words (`common.port.training.Rule`)."""
        o = self.optimizer
        words: Config = {"cls": type(o).__name__, "decays": self._decays()}
        words["coupled"] = False
        words |= {"every": o.gradient_accumulation_steps or 1, "mean": True}
        for clip, name in CLIPS.items():
            if getattr(o, name):
                words |= {"clip": clip, "bound": float(getattr(o, name))}
        match o:
            case keras.optimizers.SGD():
                words |= {"kind": "sgd", "momentum": o.momentum, "nesterov": o.nesterov}
                words["rate_inside"] = True
            case keras.optimizers.Adam():  # AdamW is one
                words |= {"kind": "adam", "eps": o.epsilon, "eps_at": "plain"}
                words |= {"betas": [o.beta_1, o.beta_2], "amsgrad": o.amsgrad}
            case keras.optimizers.RMSprop():
                words |= {"kind": "rmsprop", "eps": o.epsilon, "eps_at": "inside"}
                words |= {"rho": o.rho, "momentum": o.momentum, "rate_inside": True}
                words["centred"] = o.centered
            case keras.optimizers.Adadelta():
                words |= {"kind": "adadelta", "eps": o.epsilon, "rho": o.rho}
            case keras.optimizers.Adagrad():
                words |= {"kind": "adagrad", "eps": o.epsilon, "eps_at": "inside"}
                words["start"] = o.initial_accumulator_value
            case _:
                words["kind"] = type(o).__name__
        return words

    def _decays(self) -> dict[str, float]:
        decay = float(self.optimizer.weight_decay or 0.0)
        there = {n: self._variable(n) for n in self.names}
        use = self.optimizer._use_weight_decay
        return {n: decay * bool(use(v)) for n, v in there.items() if v.trainable}

    def _by_tensor(self, held: Mapping[int, Any]) -> dict[str, Any]:
        found = {}
        for name in self.names:
            value = held.get(_key(self._variable(name)))
            if value is not None:
                found[name] = value
        return found

    def _canonical(self, held: Mapping[int, Any]) -> dict[str, Array]:
        """Gradients by variable as "unit/tensor" -> canonical array."""
        found = {}
        for name, (layer, part, ours) in self.names.items():
            gradient = held.get(_key(self._variable(name)))
            if gradient is not None:
                array = forms(layer)[part][ours].get(gradient.numpy())
                found[name] = np.array(array, order="C")
        return found

    def _called(self, arrays: Sequence[Array]) -> Any:
        return self.model(self.opened.takes(arrays, ()), training=True)

    def _step(self, x: Any, y: Any) -> Any:
        variables = self.model.trainable_variables
        with tf.GradientTape(persistent=True) as tape:
            outputs = self.model(x, training=True)
            data = self._measured(y, outputs)
            if self.measure is None:  # `compile` adds what regularizers ask for
                data = data - sum(self.model.losses)
                self.losses[-1] = float(data)
            loss = data + sum(self.model.losses)
        gradients = tape.gradient(data, variables)
        if self.model.losses:
            whole = _solid(tape.gradient(loss, variables))
            self.caught.clear()
            for v, one, g in zip(variables, whole, _solid(gradients), strict=True):
                self._catch(v, g)
                if one is not None:
                    self.penalty[_key(v)] = one if g is None else one - g
            gradients = whole
        pairs = zip(gradients, variables, strict=True)
        self.optimizer.apply_gradients([(g, v) for g, v in pairs if g is not None])
        return data

    def _catch(self, variable: Any, gradient: Any) -> None:
        if gradient is None:
            return
        before = self.caught.get(_key(variable))
        gradient = tf.convert_to_tensor(gradient)
        self.caught[_key(variable)] = gradient if before is None else before + gradient

    def _measured(self, y: Any, outputs: Any) -> Any:
        if self.measure is None:
            loss = self.model.compute_loss(y=y, y_pred=outputs)
        else:
            loss = self.measure(y, outputs)
        self.losses.append(float(loss))
        self.outputs = _first(outputs)
        return loss

    def step(
        self, arrays: Sequence[Array], y: Array
    ) -> tuple[Config, dict[str, Array]]:
        """One step on one batch: loss, gradients, and what it leaves.

        Raises:
            Refused: The training raised; the line is the user's.
        """
        for held in (self.caught, self.penalty, self.used, self.rates, self.losses):
            held.clear()
        x = self.opened.takes(arrays, ())
        labels = self.opened.takes([y], ())
        if self.loss_words.get("one_hot"):
            labels = tf.one_hot(labels, self.classes, dtype=self.opened.dtype)
        keras.utils.set_random_seed(self.opened.seed)
        try:
            with self._learning():
                if self.taken is None:
                    loss = self._step(x, labels)
                else:
                    loss = self.taken(
                        self.model, self.optimizer, self._measured, x, labels
                    )
        except Exception as error:
            raise Refused(
                f"the Keras training must make a step, it raised {told(error)}; mend "
                "that"
            ) from error
        value = float(np.mean(self.losses) if self.losses else loss)
        found = {f"weights/{n}": a for n, a in self.opened.weights().items()}
        gradients, used = (self._canonical(h) for h in (self.caught, self.used))
        same = same_arrays(gradients, used)
        found |= {f"gradient/{n}": a for n, a in gradients.items()}
        found |= {f"used/{n}": a for n, a in used.items() if n not in same}
        penalty = self._canonical(self.penalty)
        found |= {f"penalty/{n}": a for n, a in penalty.items()}
        if len(self.losses) == 1:
            found["outputs"] = self.outputs.numpy()
        rates = self._by_tensor(self.rates)
        return {"loss": value, "rates": rates, "same": same}, found

    @contextmanager
    def _learning(self) -> Iterator[None]:
        """While open, without dropout, eagerly, and gradients are caught."""
        inner = tf.GradientTape.gradient

        def gradient(tape: Any, target: Any, sources: Any, *a: Any, **w: Any) -> Any:
            found = inner(tape, target, sources, *a, **w)
            flat = tf.nest.flatten(sources), tf.nest.flatten(found)
            for variable, one in zip(*flat, strict=True):
                self._catch(variable, one)
            return found

        held = _dropping(self.model)
        self.dropped = [value for _, name, value in held if name == "rate"]
        eager = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        tf.GradientTape.gradient = gradient
        for layer, name, _ in held:
            setattr(layer, name, 0.0)
        try:
            yield
        finally:
            tf.GradientTape.gradient = inner
            tf.config.run_functions_eagerly(eager)
            for layer, name, value in held:
                setattr(layer, name, value)


CLIPS = {"tensor": "clipnorm", "value": "clipvalue", "all": "global_clipnorm"}


def _key(variable: Any) -> int:
    """One number for a variable, Keras's or TensorFlow's below it."""
    return id(getattr(variable, "_value", variable))


def _solid(gradients: Sequence[Any]) -> list[Any]:
    return [None if g is None else tf.convert_to_tensor(g) for g in gradients]


def _first(outputs: Any) -> Any:
    """The first output of a model with some."""
    return tf.nest.flatten(outputs)[0]


def _dropping(model: Any) -> list[tuple[Any, str, float]]:
    """Layers that draw, the attribute that says how much, and its value."""
    found = []
    for layer in model._flatten_layers():
        names = ("rate", "stddev") if isinstance(layer, (*DROPOUTS, *NOISE)) else ()
        for name in (*names, "dropout", "recurrent_dropout"):
            if isinstance(getattr(type(layer), name, None), property):
                continue  # of a part, which is met by itself
            value = getattr(layer, name, None)
            if isinstance(value, float) and value:
                found.append((layer, name, value))
    return found


def _exact(thing: Any) -> None:
    """Numbers as they were written: TensorFlow takes Python's through float32."""
    for name, value in list(vars(thing).items()) if hasattr(thing, "__dict__") else ():
        if type(value) is float:
            setattr(thing, name, np.float64(value))
        elif name in ("l1", "l2"):
            setattr(thing, name, written(float(value)))
        elif isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
            _exact(value)
        elif name == "_fn_kwargs":
            for key, one in value.items():
                value[key] = np.float64(one) if type(one) is float else one
        elif name == "_learning_rate" and isinstance(value, keras.Variable):
            value.assign(written(float(value.numpy())))


def written(value: float) -> np.float64:
    """The decimal number that float32 has made of a short one: .05."""
    narrow = np.float32(value)
    return np.float64(str(narrow)) if float(narrow) == value else np.float64(value)


# --- what the user names ----------------------------------------------------------

# PyTorch's words of an optimizer -> Keras's.
ITS_WORDS = {"lr": "learning_rate", "eps": "epsilon", "alpha": "rho"}
CLASSES = {
    "adam": "Adam",
    "adamw": "AdamW",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adadelta": "Adadelta",
    "adagrad": "Adagrad",
}


def _optimizer(text: str, model: Any) -> Any:
    if not text:
        if getattr(model, "optimizer", None) is None:
            raise Refused(
                "an optimizer must be named where the Keras model is not compiled; "
                "give --optimizer, or compile it"
            )
        return model.optimizer
    what = chosen(text, "an optimizer", OPTIMIZERS)
    try:
        if isinstance(what, Named):
            words = {ITS_WORDS.get(n, n): v for n, v in what.arguments.items()}
            if "betas" in words:
                words["beta_1"], words["beta_2"] = words.pop("betas")
            made = getattr(keras.optimizers, CLASSES[what.name])(**words)
        else:
            made = what if isinstance(what, keras.optimizers.Optimizer) else what()
    except Exception as error:
        raise Refused(
            f"{text} must make an optimizer, it raised {told(error)}; mend that"
        ) from error
    if not isinstance(made, keras.optimizers.Optimizer):
        raise Refused(
            f"{text} must give a keras.optimizers.Optimizer, got "
            f"{type(made).__name__}; name a function that returns one"
        )
    return made


Measure = Callable[[Any, Any], Any]


def _loss(text: str | Config, model: Any) -> tuple[Measure | None, Config]:
    """The loss, and what it is in words; none where `compile` has it."""
    if isinstance(text, dict):
        return _worded(text), text
    if not text:
        if getattr(model, "loss", None) is None:
            raise Refused(
                "a loss must be named where the Keras model is not compiled; give "
                "--loss, or compile it"
            )
        loss = model.loss
        return None, _words(keras.losses.get(loss) if isinstance(loss, str) else loss)
    what = chosen(text, "a loss", LOSSES)
    if isinstance(what, Named):
        words = loss_words(what)
        return _worded(words), words
    whole = isinstance(what, keras.losses.Loss) or is_loss(what)
    try:
        made = what if whole else what()
    except Exception as error:
        raise Refused(
            f"{text} must give a loss, it raised {told(error)}; mend that"
        ) from error
    words = _words(made)
    if isinstance(made, keras.losses.Loss):
        return made, words
    return lambda y, outputs: tf.reduce_mean(made(y, outputs)), words


def _words(loss: Any) -> Config:
    reduction = {"over": REDUCTIONS.get(getattr(loss, "reduction", ""), "mean")}
    more = getattr(loss, "_fn_kwargs", {})
    logits = "logits" if more.get("from_logits") else "probabilities"
    words: Config = {
        "given": logits,
        "smoothing": float(more.get("label_smoothing", 0)),
    }
    name = getattr(loss, "name", None) or getattr(loss, "__name__", "")
    match name:
        case "sparse_categorical_crossentropy":
            if not more.get("from_logits"):
                words["given"] = "clipped"
            return {"kind": "cross_entropy"} | words | reduction
        case "categorical_crossentropy":
            return {"kind": "cross_entropy", "one_hot": True} | words | reduction
        case "binary_crossentropy":
            return {"kind": "bce"} | words | reduction
        case "mean_squared_error":
            over = "rows" if reduction["over"] == "sum" else "mean"
            return {"kind": "mse", "over": over}
    return {"kind": ""} | reduction


def _worded(words: Config) -> Measure:
    """A loss by its words, exactly as `common.port.losses` has it."""

    def reduced(losses: Any) -> Any:
        total = tf.reduce_sum(losses)
        match words.get("over"):
            case "sum":
                return total
            case "batch":
                return total / losses.shape[0]
            case "rows":
                return total / (losses.shape[-1] if len(losses.shape) > 1 else 1)
        return total / tf.cast(tf.size(losses), losses.dtype)

    def measure(y: Any, outputs: Any) -> Any:
        x = _first(outputs)
        match words["kind"]:
            case "mse":
                return reduced((x - y) ** 2)
            case "bce":
                s = np.float64(words.get("smoothing", 0.0))
                y = y * (1 - s) + s / 2
                return reduced(tf.nn.sigmoid_cross_entropy_with_logits(y, x))
        x = x if words.get("given") == "log" else tf.nn.log_softmax(x)
        s = np.float64(words.get("smoothing", 0.0))
        hot = tf.one_hot(y, x.shape[-1], dtype=x.dtype)
        if words.get("weights") is None:
            picked = -tf.reduce_sum(x * hot, -1)
            return reduced((1 - s) * picked - s * tf.reduce_mean(x, -1))
        w = tf.constant(words["weights"], x.dtype)
        own = tf.reduce_sum(w * hot, -1)
        picked = -tf.reduce_sum(x * hot, -1) * own
        even = -tf.reduce_mean(x * w, -1)
        total = tf.reduce_sum((1 - s) * picked + s * even)
        match words.get("over"):
            case "sum":
                return total
            case "weights":
                return total / tf.reduce_sum(own)
        return total / tf.cast(tf.size(own), x.dtype)

    return measure
