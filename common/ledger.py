"""The defaults in which the frameworks differ, and what each means in a spec or recipe.

A `Meaning` says of one default where each library keeps it (an argument of a signature,
or what is found by doing it once), how that reads in our words, which systems it acts
in, and which `--set` lines give it a value in both tracks.  No value is written here:
values are those of the installed libraries.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from math import isclose, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.recipe import SGD, Adam, Recipe, Steady
from common.spec import (
    LRN,
    Act,
    AveragePool,
    CNNSpec,
    Conv,
    Dense,
    Layer,
    MLPSpec,
    Norm,
    Spec,
)

# What the tracks probe with.  Large enough that a uniform draw shows its bound.
INPUTS, OUTPUTS = 900, 360
ALPHA = 1e-3  # an eps as large as the gradient: both forms differ fifteenfold
RATES, GRADIENTS = (1.0, 0.25), (1.0, 3.0)  # a rate that changes under momentum
CLOSE = 1e-4  # relative; Keras raises Adam's betas to their powers in float32: 7e-6
BOUND = 0.02  # relative; of 324,000 uniform draws the largest misses its bound by less

PROBES = ("kernel", "filters", "bias", "variance", "adam_form", "sgd_form", "border")
SIDES = {"torch": "torch", "tensorflow": "keras"}  # track -> its column

Value = Any


def drawn_as(values: NDArray[Any], inputs: int, outputs: int) -> str:
    """The init, as `--set` takes it, that made these values.

    Args:
        values: A kernel or a bias, in float32.
        inputs: Fan in of its kernel.
        outputs: Fan out.

    Raises:
        ValueError: It is none that we know: a release has changed it.
    """
    largest, spread = float(np.abs(values).max()), float(values.std())
    if not largest:
        return "Constant(0.0)"
    bounds = {
        "FanInUniform()": 1 / sqrt(inputs),
        "GlorotUniform()": sqrt(6 / (inputs + outputs)),
    }
    for name, bound in bounds.items():
        uniform = isclose(spread, bound / sqrt(3), rel_tol=4 * BOUND)
        if uniform and isclose(largest, bound, rel_tol=BOUND):
            return name
    raise ValueError(
        f"a default draw must be one of {', '.join(bounds)} or zeros, got values up to "
        f"{largest:.4g} of deviation {spread:.4g}; add the init to common.ledger"
    )


def nearest(found: float, forms: Mapping[str, float]) -> str:
    """The name of the form that gives this number.

    Raises:
        ValueError: None does: a release has changed it.
    """
    for name, value in forms.items():
        if isclose(found, value, rel_tol=CLOSE):
            return name
    raise ValueError(
        f"a default must be one of {dict(forms)}, got {found}; add what it is to "
        "common.ledger"
    )


# --- meanings ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument's default.

    Attributes:
        path: Of the callable, with its package.
        name: Of the argument.
        read: Its value in our words.
        at: The same in a layer whose own numbers it depends on.
    """

    path: str
    name: str
    read: Callable[[Any], Value] = lambda value: value
    at: Callable[[Value, Any], Value] = lambda value, layer: value

    def __str__(self) -> str:
        return f"{self.path}({self.name}=)"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a track's `probe` says of this name."""

    name: str

    def __str__(self) -> str:
        return "what it does"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """One default, in both libraries and in ours.

    Attributes:
        name: In our words.
        acts: Where it acts, for people.
        torch: Where PyTorch keeps it.
        keras: Where Keras keeps it.
        used: The fields of spec and recipe that it sets in a system, each with the
            record it is in; none where it acts in nothing.
    """

    name: str
    acts: str
    torch: Argument | Probe
    keras: Argument | Probe
    used: Callable[[Spec, Recipe], Iterator[tuple[str, Any]]]

    def place(self, side: str) -> Argument | Probe:
        """Where a library keeps it; `side`: "torch" or "keras"."""
        return self.torch if side == "torch" else self.keras


def _layers(
    kinds: tuple[type, ...], field: str
) -> Callable[..., Iterator[tuple[str, Any]]]:
    """A field of every layer of these kinds; of an MLP, which has one for all."""

    def paths(spec: Spec, recipe: Recipe) -> Iterator[tuple[str, Any]]:
        if isinstance(spec, MLPSpec):
            if Dense in kinds:
                yield f"spec.{field}", spec
            elif Norm in kinds and spec.norm:
                yield f"spec.norm.{field}", spec.norm
        elif isinstance(spec, CNNSpec):
            for name, layer in zip(spec.names, spec.layers, strict=True):
                if isinstance(layer, kinds) and _has(layer, field):
                    yield f"spec.layers.{name}.{field}", layer

    return paths


def _has(layer: Layer, field: str) -> bool:
    """Whether the field acts: a bias is drawn where there is one, padding if any."""
    if field == "bias_init":
        return bool(getattr(layer, "bias", False))
    if isinstance(layer, Act):
        return layer.kind == "leaky"
    if isinstance(layer, AveragePool):
        return any(map(any, layer.pad))
    return True


def _rule(kind: type, field: str) -> Callable[..., Iterator[tuple[str, Any]]]:
    def paths(spec: Spec, recipe: Recipe) -> Iterator[tuple[str, Any]]:
        if isinstance(recipe.optimizer, kind):
            yield f"recipe.optimizer.{field}", recipe.optimizer

    return paths


def _changing(spec: Spec, recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """SGD's form acts where the rate changes under momentum."""
    rule = recipe.optimizer
    if isinstance(rule, SGD) and rule.momentum and recipe.schedule != Steady():
        yield "recipe.optimizer.form", rule


def _decoupled(spec: Spec, recipe: Recipe) -> Iterator[tuple[str, Any]]:
    if recipe.decay and recipe.decay.kind == "decoupled":
        yield "recipe.decay.rate", recipe.decay


def _complement(value: float) -> float:
    return float(round(1 - value, 12))  # .9, and not .9 with a rest of 1e-17


KERNELS = (Conv, Dense)
NORM = "keras.layers.BatchNormalization"
LRN_OF_TF = "tensorflow.nn.local_response_normalization"
MEANINGS = (
    Meaning(
        name="initial kernels",
        acts="every dense layer and convolution",
        torch=Probe("kernel"),
        keras=Probe("kernel"),
        used=_layers(KERNELS, "init"),
    ),
    Meaning(
        name="initial biases",
        acts="every dense layer and convolution with a bias",
        torch=Probe("bias"),
        keras=Probe("bias"),
        used=_layers(KERNELS, "bias_init"),
    ),
    Meaning(
        name="batch norm's eps",
        acts="batch norm: added to the variance",
        torch=Argument("torch.nn.BatchNorm2d", "eps"),
        keras=Argument(NORM, "epsilon"),
        used=_layers((Norm,), "eps"),
    ),
    Meaning(
        name="batch norm's decay",
        acts="batch norm: share of the old running statistic that stays",
        torch=Argument("torch.nn.BatchNorm2d", "momentum", _complement),
        keras=Argument(NORM, "momentum"),
        used=_layers((Norm,), "decay"),
    ),
    Meaning(
        name="batch norm's variance",
        acts="batch norm: which variance of a batch is kept",
        torch=Probe("variance"),
        keras=Probe("variance"),
        used=_layers((Norm,), "variance"),
    ),
    Meaning(
        name="Adam's eps",
        acts="Adam: added below the step",
        torch=Argument("torch.optim.Adam", "eps"),
        keras=Argument("keras.optimizers.Adam", "epsilon"),
        used=_rule(Adam, "eps"),
    ),
    Meaning(
        name="where Adam's eps is added",
        acts="Adam: to the corrected root, or to the raw one",
        torch=Probe("adam_form"),
        keras=Probe("adam_form"),
        used=_rule(Adam, "form"),
    ),
    Meaning(
        name="Adam's beta1",
        acts="Adam: share of the mean gradient that stays",
        torch=Argument("torch.optim.Adam", "betas", lambda betas: betas[0]),
        keras=Argument("keras.optimizers.Adam", "beta_1"),
        used=_rule(Adam, "beta1"),
    ),
    Meaning(
        name="Adam's beta2",
        acts="Adam: share of the mean square that stays",
        torch=Argument("torch.optim.Adam", "betas", lambda betas: betas[1]),
        keras=Argument("keras.optimizers.Adam", "beta_2"),
        used=_rule(Adam, "beta2"),
    ),
    Meaning(
        name="momentum",
        acts="SGD: share of the step before that stays",
        torch=Argument("torch.optim.SGD", "momentum"),
        keras=Argument("keras.optimizers.SGD", "momentum"),
        used=_rule(SGD, "momentum"),
    ),
    Meaning(
        name="Nesterov",
        acts="SGD: whether momentum looks ahead",
        torch=Argument("torch.optim.SGD", "nesterov"),
        keras=Argument("keras.optimizers.SGD", "nesterov"),
        used=_rule(SGD, "nesterov"),
    ),
    Meaning(
        name="momentum's form",
        acts="SGD with momentum, where the learning rate changes",
        torch=Probe("sgd_form"),
        keras=Probe("sgd_form"),
        used=_changing,
    ),
    Meaning(
        name="AdamW's decay",
        acts="AdamW: share of a weight that a step of rate 1 takes away",
        torch=Argument("torch.optim.AdamW", "weight_decay"),
        keras=Argument("keras.optimizers.AdamW", "weight_decay"),
        used=_decoupled,
    ),
    Meaning(
        name="alpha of local response norm",
        acts="local response norm: weight of a neighbour's square",
        torch=Argument(
            "torch.nn.LocalResponseNorm",
            "alpha",
            at=lambda alpha, layer: alpha / (2 * layer.radius + 1),
        ),
        keras=Argument(LRN_OF_TF, "alpha"),
        used=_layers((LRN,), "alpha"),
    ),
    Meaning(
        name="beta of local response norm",
        acts="local response norm: power of the sum",
        torch=Argument("torch.nn.LocalResponseNorm", "beta"),
        keras=Argument(LRN_OF_TF, "beta"),
        used=_layers((LRN,), "beta"),
    ),
    Meaning(
        name="bias of local response norm",
        acts="local response norm: added to the sum",
        torch=Argument("torch.nn.LocalResponseNorm", "k"),
        keras=Argument(LRN_OF_TF, "bias"),
        used=_layers((LRN,), "bias"),
    ),
    Meaning(
        name="slope of the leaky ReLU",
        acts="leaky ReLU: below zero",
        torch=Argument("torch.nn.LeakyReLU", "negative_slope"),
        keras=Argument("keras.layers.LeakyReLU", "negative_slope"),
        used=_layers((Act,), "slope"),
    ),
    Meaning(
        name="border of average pools",
        acts="average pools with padding: whether it counts",
        torch=Probe("border"),
        keras=Probe("border"),
        used=_layers((AveragePool,), "border"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A default that acts in a system and is not the same in both libraries.

    Attributes:
        name: Of its meaning.
        acts: Where it acts.
        torch: PyTorch's value, in our words.
        keras: Keras's.
        ours: What the system has, each value once.
        settings: "torch" and "keras" -> the `--set` lines that give a system that
            library's value in both tracks.
    """

    name: str
    acts: str
    torch: Value
    keras: Value
    ours: tuple[Value, ...]
    settings: Mapping[str, tuple[str, ...]]


def differences(
    spec: Spec, recipe: Recipe, values: Mapping[str, Mapping[str, Value]]
) -> list[Difference]:
    """The defaults that act in a system and differ, in the order of `MEANINGS`.

    Args:
        spec: The system's.
        recipe: The system's.
        values: "torch" and "keras" -> name of a meaning -> its default there, as
            `read` gives it.
    """
    found = []
    for meaning in MEANINGS:
        places = list(meaning.used(spec, recipe))
        there = {side: values[side][meaning.name] for side in SIDES.values()}
        if not places or there["torch"] == there["keras"]:
            continue
        own = [getattr(record, path.rpartition(".")[2]) for path, record in places]
        settings = {
            side: tuple(
                f"{path}={_at(meaning.place(side), value, record)}"
                for path, record in places
            )
            for side, value in there.items()
        }
        found.append(
            Difference(
                name=meaning.name,
                acts=meaning.acts,
                torch=there["torch"],
                keras=there["keras"],
                ours=tuple(dict.fromkeys(own)),
                settings=settings,
            )
        )
    return found


def _at(place: Argument | Probe, value: Value, record: Any) -> Value:
    return place.at(value, record) if isinstance(place, Argument) else value


def plain(recipe: Recipe) -> tuple[str, ...]:
    """The `--set` lines that leave a recipe what native mode takes of it.

    Its optimizer's name, learning rate, batch, epochs and augmentation stay; all of it
    where its optimizer is none that both libraries have.
    """
    kind = type(recipe.optimizer)
    if kind not in (SGD, Adam):
        return ()
    decay = recipe.decay
    adamw = decay is not None and decay.kind == "decoupled"
    bare = Recipe(
        lr=recipe.lr,
        batch=recipe.batch,
        epochs=recipe.epochs,
        optimizer=kind(),
        decay=replace(decay, names=(), which="all") if decay and adamw else None,
        augment=recipe.augment,
    )
    return tuple(
        f"recipe.{field.name}={getattr(bare, field.name)!r}"
        for field in fields(bare)
        if getattr(bare, field.name) != getattr(recipe, field.name)
    )


def read(probe: Callable[[str], Value], side: str) -> dict[str, Value]:
    """Name of each meaning -> its default in a library, in our words.

    Args:
        probe: A track's: name of a probe -> what it finds.
        side: "torch" or "keras".
    """
    found = {}
    for meaning in MEANINGS:
        place = meaning.place(side)
        if isinstance(place, Argument):
            found[meaning.name] = place.read(_argument(place.path, place.name))
        else:
            found[meaning.name] = probe(place.name)
    return found


def _argument(path: str, name: str) -> Value:
    """What a signature says: ("torch.nn.Dropout", "p") -> 0.5; imports the library."""
    top, *rest = path.split(".")
    found: Any = import_module(top)
    for part in rest:
        found = getattr(found, part)
    return inspect.signature(found).parameters[name].default
