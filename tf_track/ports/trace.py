"""What a Keras model computes, step by step.  Twin: pt_track/ports/trace.py.

Layers and the operations of functional graphs are caught where they are called, in
this process only; so are the functions that a user's `call` calls between them.  What
happens inside a layer that is a step is not caught.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from common.port.target import is_users, users_line
from common.port.told import GIVEN, UNKNOWN, Step, Trace, held
from tf_track.ports.functions import told
from tf_track.ports.kinds import (
    FUSED,
    LINEAR,
    SEPARABLE,
    described,
    forms,
    function_of,
    is_linear,
)

Array = NDArray[Any]


def tensors(value: Any) -> list[Any]:
    """All tensors in a nest of lists, tuples and dictionaries, in order."""
    if isinstance(value, tf.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for v in value.values() for t in tensors(v)]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in tensors(v)]
    return []


def array(value: Any) -> Array:
    """A copy as NumPy, C-contiguous."""
    return np.array(value.numpy(), order="C")


def odd(value: Any) -> dict[str, str]:
    """What a model returned that is no tensor: name or number -> its type."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    if isinstance(value, (list, tuple)):
        pairs = enumerate(value)
    return {str(k): type(v).__name__ for k, v in pairs if not tensors(v)}


def named(value: Any) -> dict[str, Array]:
    """What a model returned: by name, by number, or as "0"."""
    if isinstance(value, Mapping):
        return {str(k): array(t) for k, v in value.items() for t in tensors(v)[:1]}
    return {str(i): array(t) for i, t in enumerate(tensors(value))}


class Recorder:
    """Records the steps of one call of a model.

    Args:
        model: Whose layers are steps.
        lines: Where layers were made, by their id.
        instead: Number of a step -> what is taken for its output from there on.
    """

    def __init__(
        self,
        model: keras.Model,
        lines: Mapping[int, str],
        instead: Mapping[int, Array] | None = None,
    ) -> None:
        self.model = model
        self.lines = lines
        self.instead = instead or {}
        self.steps: list[Step] = []
        self.outputs: list[Array] = []
        self.inputs: list[tuple[Array, ...]] = []
        self.origin: dict[int, int] = {}
        self.same: dict[tuple[object, ...], int] = {}
        self.kept: list[Any] = []  # else an id would name another tensor later
        self.inside = 0
        self.path: list[str] = []
        self.open: list[Any] = []  # layers whose parts are being called
        self.units: dict[str, Any] = {}

    def given(self, values: Any) -> None:
        """Mark what goes into the model."""
        for value in tensors(values):
            self._mark(value, GIVEN, array(value))

    def _mark(self, value: Any, at: int, content: Array) -> None:
        self.origin[id(value)] = at
        self.same[held(content)] = at
        self.kept.append(value)

    def before(self, values: Any) -> list[tuple[int, Array]]:
        """Step and content of each tensor that goes into a step."""
        return [self._from(t, array(t)) for t in tensors(values)]

    def _from(self, value: Any, content: Array) -> tuple[int, Array]:
        """Where a tensor comes from: what made it, or else what holds the same.

        (Keras hands on other tensors of the same content than it was given.)
        """
        known = self.origin.get(id(value))
        return (
            self.same.get(held(content), UNKNOWN) if known is None else known
        ), content

    def after(self, given: list[tuple[int, Array]], value: Any, **about: Any) -> Any:
        """Record a step with its first output, and the others as parts of it.

        Returns:
            The value, or what is to be taken for it.
        """
        for i, out in enumerate(tensors(value)):
            at = len(self.steps)
            if i:
                about = about | {"kind": "part", "config": {"part": i}, "unit": ""}
                given = [(self.steps[-i].at, self.outputs[-i])]
            step = Step(at=at, inputs=tuple(one for one, _ in given), **about)
            self.steps.append(step)
            self.inputs.append(tuple(content for _, content in given))
            self.outputs.append(array(out))
            if at in self.instead and out is value:
                self.outputs[-1] = self.instead[at]
                value = out = tf.constant(self.instead[at], out.dtype)
            self._mark(out, at, self.outputs[-1])
        return value

    def called(
        self, layer: Any, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """A layer, or an operation of a graph, called by whoever."""
        if self.inside:
            return call(layer, *args, **kwargs)
        if layer is self.model or is_open(layer):
            return self._opened(layer, call, args, kwargs)
        given = self.before((args, kwargs))
        if not given:
            return call(layer, *args, **kwargs)
        if not isinstance(layer, layers.Layer):
            return self._operation(layer, call, args, kwargs, given)
        return self._layer(layer, call, args, kwargs, given)

    def _opened(self, layer: Any, call: Any, args: Any, kwargs: Any) -> Any:
        if self.open and self.open[-1] is layer:  # the call of its base class
            return call(layer, *args, **kwargs)
        outer = layer is self.model
        self.path.append("" if outer else self.name(layer))
        self.open.append(layer)
        try:
            # Keras converts what is given, and hands on what is not ours to mark.
            return call(layer, *args, **kwargs)
        finally:
            self.path.pop()
            self.open.pop()

    def name(self, layer: Any) -> str:
        """A layer's path from the model."""
        inside = self.path[-1] if self.path else ""
        return f"{inside}.{layer.name}".strip(".")

    def _layer(self, layer: Any, call: Any, args: Any, kwargs: Any, given: Any) -> Any:
        name = self.name(layer)
        line = self.lines.get(id(layer), "")
        activation = getattr(layer, "activation", None)
        fused = isinstance(layer, FUSED) and not is_linear(activation)
        self.inside += 1
        try:
            if fused:
                layer.activation = LINEAR
            value = call(layer, *args, **kwargs)
        finally:
            self.inside -= 1
            if fused:
                layer.activation = activation
        shape = given[0][1].shape
        kind, config, first = described(layer, shape, self._context(layer, kwargs))
        units = self._units(name, layer)
        about = {"cls": type(layer).__name__, "where": line, "first": first}
        if isinstance(layer, SEPARABLE):
            given = self._depthwise(layer, name, config, given, about)
            config = config | {"pads": [[0, 0]] * len(config["pads"]), "groups": 1}
            config |= {"kernel": [1] * len(config["pads"])}
            config |= {"strides": [1] * len(config["pads"])}
        named = {"name": name, "kind": kind, "config": config}
        value = self.after(
            given, value, **about, **named, unit=units[-1] if units else ""
        )
        if not fused:
            return value
        return self._activated(activation, value, name, about)

    def _context(self, layer: Any, kwargs: Any) -> dict[str, Any]:
        """What a layer was called with, with the training flag as Keras resolves it."""
        if "training" in kwargs and kwargs["training"] is not None:
            return dict(kwargs)
        context = layer._get_call_context()
        return dict(kwargs) | {"training": bool(getattr(context, "training", False))}

    def _units(self, name: str, layer: Any) -> list[str]:
        found = []
        for part in forms(layer):
            unit = f"{name}.{part}" if part else name
            self.units.setdefault(unit, (layer, part))
            found.append(unit)
        return found

    def _depthwise(
        self, layer: Any, name: str, config: Any, given: Any, about: Any
    ) -> Any:
        """The first half of a separable convolution, as a step of its own."""
        self.inside += 1
        middle = keras.ops.depthwise_conv(
            tf.constant(given[0][1]),
            layer.depthwise_kernel,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )
        self.inside -= 1
        self.after(
            given,
            middle,
            **about,
            name=name,
            kind="conv",
            config=config | {"bias": False},
            unit=f"{name}.depthwise",
        )
        return [(self.steps[-1].at, self.outputs[-1])]

    def _activated(self, activation: Any, value: Any, name: str, about: Any) -> Any:
        """The activation at the end of a layer, as a step of its own."""
        before = self.before(value)
        self.inside += 1
        out = activation(value)
        self.inside -= 1
        about = about | {"cls": f"{about['cls']}(activation)"}
        config = function_of(activation)
        return self.after(before, out, **about, name=name, kind="act", config=config)

    def _operation(
        self, layer: Any, call: Any, args: Any, kwargs: Any, given: Any
    ) -> Any:
        self.inside += 1
        try:
            value = call(layer, *args, **kwargs)
        finally:
            self.inside -= 1
        own = {k: v for k, v in vars(layer).items() if not k.startswith("_")}
        kind, config, first = told(type(layer).__name__, args, own | dict(kwargs))
        return self.after(
            given,
            value,
            kind=kind,
            name=self.name(layer),
            cls=type(layer).__name__,
            where=self.lines.get(id(layer), ""),
            config=config,
            first=first,
        )

    def function(
        self, name: str, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """A function that a user's code calls between layers."""
        if self.inside or not is_users(sys._getframe(2).f_code.co_filename):
            return call(*args, **kwargs)
        given = self.before((args, kwargs))
        if not given:
            return call(*args, **kwargs)
        self.inside += 1
        try:
            value = call(*args, **kwargs)
        finally:
            self.inside -= 1
        if not tensors(value):
            return value
        kind, config, first = told(name, args, kwargs)
        if name == "gelu" and "approximate" not in kwargs and len(args) < 2:
            usual = "tanh" if call.__module__.startswith("keras.src.ops") else "none"
            config["approximate"] = usual
        return self.after(
            given,
            value,
            kind=kind,
            name=self.path[-1] if self.path else "",
            cls=name,
            where=users_line(3),
            config=config,
            first=first,
        )

    def trace(self, value: Any) -> Trace:
        """All that was recorded; `value` is what the model returned."""
        return Trace(
            tuple(self.steps), tuple(self.outputs), tuple(self.inputs), named(value)
        )


def is_open(layer: Any) -> bool:
    """Whether a layer's parts are steps, and not the layer: models, and users' own."""
    if isinstance(layer, keras.Model):
        return True
    if not isinstance(layer, layers.Layer):
        return False
    if isinstance(layer, layers.TimeDistributed):
        return False
    if isinstance(layer, layers.Lambda):
        return True  # the user's functions inside are steps
    if type(layer).__module__.startswith("keras."):
        return False
    return bool(layer._layers) or not layer.weights


# --- where calls are caught ---------------------------------------------------------

_current: list[Recorder] = []
_caught_already: list[bool] = []
OPERATORS = [
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "truediv",
    "rtruediv",
    "matmul",
    "getitem",
    "neg",
    "pow",
]


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """While open, what is called is told to the recorder."""
    _current.append(recorder)
    try:
        yield
    finally:
        _current.pop()


def catch_calls() -> None:
    """Have layers, operations and functions tell of their calls; before user code.

    A child of `twintrack port` does this once; nothing else in it uses Keras.
    """
    if _caught_already:
        return
    _caught_already.append(True)
    for cls in (layers.Layer, keras.Operation):
        cls.__call__ = _caught(cls.__call__)
    for name in ("lrn", "local_response_normalization"):
        setattr(tf.nn, name, _in_float64(getattr(tf.nn, name)))
    for home in (keras.ops, keras.activations, tf, tf.nn, tf.math, tf.image):
        _wrap(home)
    for name in OPERATORS:
        dunder = f"__{name}__"
        if hasattr(tf.Tensor, dunder):
            setattr(tf.Tensor, dunder, _told(dunder, getattr(tf.Tensor, dunder)))


def _in_float64(own: Callable[..., Any]) -> Callable[..., Any]:
    """TensorFlow's LRN, which has no float64, by its formula there."""

    @functools.wraps(own)
    def normalised(
        input: Any,
        depth_radius: int = 5,
        bias: float = 1,
        alpha: float = 1,
        beta: float = 0.5,
        name: str | None = None,
    ) -> Any:
        if input.dtype != tf.float64:
            return own(input, depth_radius, bias, alpha, beta, name)
        sides = [[0, 0]] * 3 + [[depth_radius, depth_radius]]
        squares, n = tf.pad(input * input, sides), input.shape[-1]
        total = tf.add_n([squares[..., i : i + n] for i in range(2 * depth_radius + 1)])
        return input / (bias + alpha * total) ** beta

    return normalised


def _caught(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def caught(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _current:
            return call(self, *args, **kwargs)
        return _current[-1].called(self, call, args, kwargs)

    return caught


def _wrap(home: ModuleType) -> None:
    for name, thing in list(vars(home).items()):
        function = callable(thing) and not isinstance(thing, type)
        if function and not name.startswith("_") and name not in UNSEEN:
            setattr(home, name, _told(name, thing))


UNSEEN = frozenset(
    [
        "function",
        "GradientTape",
        "constant",
        "Variable",
        "shape",
        "rank",
        "convert_to_tensor",
        "cond",
        "scan",
        "map",
        "while_loop",
        "map_fn",
        "numpy_function",
        "py_function",
        "init_scope",
        "control_dependencies",
        "get",
        "serialize",
        "deserialize",
        "name_scope",
        "device",
        "custom_gradient",
        "vectorized_map",
        "executing_eagerly",
        "is_tensor",
        "Module",
        "zeros",
        "ones",
        "zeros_like",
        "ones_like",
        "range",
    ]
)


def _told(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def told_of(*args: Any, **kwargs: Any) -> Any:
        if not _current:
            return call(*args, **kwargs)
        return _current[-1].function(name, call, args, kwargs)

    return told_of
