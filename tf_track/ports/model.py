"""A user's Keras model: told, given weights, run.  Twin: pt_track/ports/model.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from common.errors import Refused
from common.port.target import Target, made, told, users_line
from common.port.told import Trace, Unit
from tf_track.ports.kinds import described, forms, tensor
from tf_track.ports.trace import Recorder, catch_calls, is_open, odd, recording

Array = NDArray[Any]


# What a layer may say of its type, and is not judged in.
NARROW = ("float16", "bfloat16", "float32", "mixed_float16", "mixed_bfloat16")
# Words of a layer that can be changed while it stands -> its attribute.
ATTRIBUTES = {"eps": "epsilon"}


@contextmanager
def _noting(
    lines: dict[int, str], kept: list[Any], narrow: list[str]
) -> Iterator[None]:
    """While open, where each layer and operation is made is noted.

    A layer that says a type of less than float64 computes in that of all others; its
    name is noted too.
    """
    init, whole = keras.Operation.__init__, layers.Layer.__init__
    given = layers.InputLayer.__init__

    def noted(operation: Any, *args: Any, **kwargs: Any) -> None:
        lines[id(operation)] = users_line(2)
        kept.append(operation)
        init(operation, *args, **kwargs)

    def widened(layer: Any, *args: Any, **kwargs: Any) -> None:
        said = kwargs.get("dtype")
        if isinstance(said, str) and said in NARROW:
            kwargs["dtype"] = None
        whole(layer, *args, **kwargs)
        if isinstance(said, str) and said in NARROW:
            narrow.append(f"{layer.name} ({said})")

    def taken(layer: Any, *args: Any, **kwargs: Any) -> None:
        kwargs["dtype"] = None if kwargs.get("dtype") in NARROW else kwargs.get("dtype")
        given(layer, *args, **kwargs)

    keras.Operation.__init__, layers.Layer.__init__ = noted, widened
    layers.InputLayer.__init__ = taken
    try:
        yield
    finally:
        keras.Operation.__init__, layers.Layer.__init__ = init, whole
        layers.InputLayer.__init__ = given


def opened(target: Target, *, dtype: str, seed: int, threads: int) -> Opened:
    """The model that a target names, ready to be run at inference.

    Args:
        target: What the user named.
        dtype: "float64" or "float32", of all that it computes.
        seed: Of all of Keras's draws, before the model is made and before each call.
        threads: Of TensorFlow.

    Raises:
        Refused: It is no `keras.Model`, or its factory raises.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if keras.backend.backend() != "tensorflow":
        raise Refused(
            "the Keras side runs on TensorFlow, got Keras on "
            f"{keras.backend.backend()}; unset KERAS_BACKEND"
        )
    keras.backend.clear_session()  # names are counted from the first again
    keras.utils.set_random_seed(seed)
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    catch_calls()
    lines: dict[int, str] = {}
    kept: list[Any] = []
    narrow: list[str] = []
    with _noting(lines, kept, narrow):
        model = made(target, keras.Model, "a keras.Model")
    opened = Opened(model, lines, dtype=dtype, seed=seed)
    opened.narrow = narrow if dtype == "float64" else []
    return opened


class Opened:
    """One user's model in its framework.

    Args:
        model: The model.
        lines: Where its layers were made, by their id.
        dtype: Of all that it computes.
        seed: Of Keras's draws before each call.
    """

    def __init__(
        self, model: keras.Model, lines: Mapping[int, str], *, dtype: str, seed: int
    ) -> None:
        self.model = model
        self.lines = lines
        self.dtype = dtype
        self.seed = seed
        self.odd: dict[str, str] = {}  # what it returned last that is no tensor
        self.narrow: list[str] = []
        self.known: dict[str, Any] = {}  # unit -> layer and part, in computing order

    @property
    def bytes(self) -> int:
        """Of its tensors, as they are now."""
        return sum(w.numpy().nbytes for w in self.model.weights) if self.built else 0

    @property
    def built(self) -> bool:
        """Whether it has its weights."""
        return bool(self.model.built)

    def described(self) -> dict[str, Any]:
        """What is told before anything runs."""
        return {
            "class": type(self.model).__name__,
            "inputs": self._inputs(),
            "lazy": [] if self.built else [self.model.name],
            "bytes": self.bytes,
            "tokens": self._tokens(),
            "narrow": self.narrow,
            "tied": [],
        }

    def _inputs(self) -> list[dict[str, Any]] | None:
        """Name, shape and type of each input, where the model says."""
        try:
            given = self.model.inputs
        except (AttributeError, ValueError):
            return None
        if not given:
            return None
        return [
            {"name": i.name, "shape": list(i.shape), "dtype": str(i.dtype)}
            for i in given
        ]

    def _tokens(self) -> int | None:
        """How many tokens it knows, where it begins with an embedding."""
        found = [m for m in self._layers() if isinstance(m, layers.Embedding)]
        return min(m.input_dim for m in found) if found else None

    def _layers(self) -> list[Any]:
        return list(self.model._flatten_layers(include_self=False))

    def units(self) -> list[Unit]:
        """What has weights, in the order of computing; then what never computes."""
        self._rest()
        found = []
        for name, (layer, part) in self.known.items():
            form = forms(layer)[part]
            arrays = self._read(layer, part)
            kind, config, _ = described(layer, (), {})
            found.append(
                Unit(
                    name=name,
                    kind=kind,
                    shapes={n: a.shape for n, a in arrays.items()},
                    tensors={
                        n: " + ".join(f"{name}.{t}" for t in f.names)
                        for n, f in form.items()
                    },
                    where=self.lines.get(id(layer), ""),
                    config=config,
                )
            )
        return found

    def _rest(self) -> None:
        """Units of layers that no call reached."""
        there = {id(layer) for layer, _ in self.known.values()}
        inside = {
            id(part) for layer, _ in self.known.values() for part in _parts(layer)
        }
        for layer in self._layers():
            if id(layer) in there | inside or is_open(layer) or not layer.built:
                continue
            inside |= {id(part) for part in _parts(layer)}
            for part in forms(layer):
                name = f"{layer.name}.{part}" if part else layer.name
                self.known.setdefault(name, (layer, part))

    def _read(self, layer: Any, part: str) -> dict[str, Array]:
        return {
            name: form.get(tensor(layer, form.names[0]).numpy())
            for name, form in forms(layer)[part].items()
        }

    def weights(self) -> dict[str, Array]:
        """Copies of canonical arrays, by "unit/tensor"."""
        found = {}
        for name, (layer, part) in self.known.items():
            for ours, array in self._read(layer, part).items():
                found[f"{name}/{ours}"] = np.array(array, order="C")
        return found

    def assign(self, given: Mapping[str, Array]) -> None:
        """Set tensors, "unit/tensor" -> canonical array."""
        for name, (layer, part) in self.known.items():
            for ours, form in forms(layer)[part].items():
                array = given.get(f"{name}/{ours}")
                if array is None:
                    continue
                variable = tensor(layer, form.names[0])
                shape = tuple(variable.shape)
                variable.assign(np.array(form.put(array, shape), order="C"))

    def takes(self, arrays: Sequence[Array], names: Sequence[str]) -> Any:
        """Arrays as the model is called with them."""
        values = [
            tf.constant(a, self.dtype if a.dtype.kind == "f" else "int64")
            for a in arrays
        ]
        if names:
            return dict(zip(names, values, strict=True))
        return values[0] if len(values) == 1 else values

    def run(
        self,
        arrays: Sequence[Array],
        names: Sequence[str] = (),
        seed: int | None = None,
        instead: Mapping[int, Array] | None = None,
    ) -> Trace:
        """One call at inference, step by step.

        Args:
            arrays: What goes in, in the framework's own layout.
            names: Of the inputs, where the model takes a dictionary.
            seed: Of all draws; its own unless given.
            instead: Number of a step -> what is taken for its output from there on.

        Raises:
            Refused: The model raised; the line is the user's.
        """
        keras.utils.set_random_seed(self.seed if seed is None else seed)
        given = self.takes(arrays, names)
        if not self.built:
            self._called(given, arrays)
        recorder = Recorder(self.model, self.lines, instead)
        recorder.given(given)
        with recording(recorder):
            value = self._called(given, arrays)
        self.known = recorder.units | self.known
        self.odd = odd(value)
        return recorder.trace(value)

    def _called(self, given: Any, arrays: Sequence[Array]) -> Any:
        try:
            # No flag: as users call it.  `training=False` would overrule a layer that
            # was called with True when the model was written.
            return self.model(given)
        except Exception as error:
            shapes = ", ".join(str(tuple(a.shape)) for a in arrays)
            raise Refused(
                f"the Keras model must take {shapes}, it raised {told(error)}; give "
                "--input as it takes it"
            ) from error

    def edit(self, changes: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Change what layers compute with, in memory: unit -> word -> value.

        Returns:
            The units that were changed; a word that no attribute stands for is left.
        """
        done = []
        for name, words in changes.items():
            layer, _ = self.known[name]
            for word, value in words.items():
                if word in ATTRIBUTES and hasattr(layer, ATTRIBUTES[word]):
                    setattr(layer, ATTRIBUTES[word], value)
                    done.append(name)
        return done

    def save(self, path: Path) -> None:
        """Its weights as `save_weights` writes them, read back to check."""
        self.model.save_weights(path)
        before = [w.numpy() for w in self.model.weights]
        self.model.load_weights(path)
        for value, variable in zip(before, self.model.weights, strict=True):
            if not np.array_equal(value, variable.numpy()):
                raise Refused(f"{path} must hold {variable.path} as it is")


def _parts(layer: Any) -> list[Any]:
    return list(layer._flatten_layers(include_self=False))
