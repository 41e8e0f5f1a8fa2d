"""What a track tells of a user's model: its units and its steps.

Canonical layouts: kernels (*window, in, out), maps (n, *sides, channels), gates of an
LSTM in the order i, f, g, o and of a GRU r, z, n.  A step's arrays are as its framework
has them; `Step.first` says where the channels are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Config = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A part of a model that has weights.

    Attributes:
        name: Its path in the model; of a part of a layer, with what part.
        kind: What it computes, such as "conv"; "custom" where that is not known.
        shapes: Canonical name of each tensor -> its canonical shape.
        tensors: Canonical name -> the framework's own name.
        where: "file:line" where it was made.
        config: What else its weights depend on.
    """

    name: str
    kind: str
    shapes: dict[str, tuple[int, ...]]
    tensors: dict[str, str]
    where: str = ""
    config: Config = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def unwire(cls, values: dict[str, Any]) -> Unit:
        """Back from `wire`."""
        shapes = {name: tuple(shape) for name, shape in values["shapes"].items()}
        return cls(**(values | {"shapes": shapes}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that a model computes.

    Attributes:
        at: Its number, from 0, in the order of computing.
        kind: As of `Unit`; of what has no weights too, such as "act" or "add".
        name: Path of the module, and the function where it is one.
        cls: Class or function, as its framework calls it.
        where: "file:line" of the user's code.
        config: What it computes with, in canonical words.
        inputs: Number of the step that made each input; -1 for the model's own, -2
            for one that no step made.
        unit: Name of its unit, or "".
        first: Whether its maps are (n, channels, *sides).
    """

    at: int
    kind: str
    name: str
    cls: str
    where: str = ""
    config: Config = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    unit: str = ""
    first: bool = False

    def wire(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def unwire(cls, values: dict[str, Any]) -> Step:
        """Back from `wire`."""
        return cls(**(values | {"inputs": tuple(values["inputs"])}))


GIVEN, UNKNOWN = -1, -2
# Kinds that leave axes where they are.
IN_PLACE = frozenset(
    [
        "act",
        "add",
        "subtract",
        "multiply",
        "divide",
        "concat",
        "identity",
        "dropout",
        "custom",
        "maximum",
        "minimum",
        "pad",
        "prelu",
        "noise",
        "clamp",
    ]
)


@dataclass(frozen=True, slots=True)
class Trace:
    """All steps of one call of a model, with what went in and came out.

    Attributes:
        steps: In the order of computing.
        outputs: Of each step.
        inputs: Of each step, the arrays that went in.
        ends: What the model returned, name by name or number by number.
    """

    steps: tuple[Step, ...]
    outputs: tuple[Array, ...]
    inputs: tuple[tuple[Array, ...], ...]
    ends: dict[str, Array]

    def pack(self) -> tuple[dict[str, Array], list[dict[str, Any]]]:
        """Arrays and steps, as they are sent."""
        arrays = {f"out/{i}": array for i, array in enumerate(self.outputs)}
        for i, given in enumerate(self.inputs):
            arrays |= {
                f"in/{i}/{j}": array
                for j, array in enumerate(given)
                if self.steps[i].inputs[j] < 0
            }
        arrays |= {f"end/{name}": array for name, array in self.ends.items()}
        return arrays, [step.wire() for step in self.steps]

    @classmethod
    def unpack(cls, arrays: dict[str, Array], steps: Iterable[dict[str, Any]]) -> Trace:
        """Back from `pack`."""
        told = tuple(Step.unwire(step) for step in steps)
        outputs = tuple(arrays[f"out/{step.at}"] for step in told)
        inputs = tuple(
            tuple(
                outputs[one] if one >= 0 else arrays[f"in/{step.at}/{j}"]
                for j, one in enumerate(step.inputs)
            )
            for step in told
        )
        ends = {n[4:]: array for n, array in arrays.items() if n.startswith("end/")}
        return cls(told, outputs, inputs, ends)


def held(array: Array) -> tuple[object, ...]:
    """What tells arrays of the same shape and values from all others."""
    solid = np.ascontiguousarray(array, np.float64)
    return (*array.shape, hashlib.sha256(solid.tobytes()).digest())


def channels_last(array: Array) -> Array:
    """(n, channels, *sides) as (n, *sides, channels); up to two axes as they are."""
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array


def canonical(step: Step, arrays: Sequence[Array]) -> list[Array]:
    """A step's arrays with their channels last."""
    return [channels_last(a) if step.first else a for a in arrays]
