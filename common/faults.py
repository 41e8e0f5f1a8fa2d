"""Faults that `twintrack parity --break` plants in the first of two tracks, as data.

Each is a mistake that people really make when they port a network.  A fault that
no rung of the ladder sees would be a hole in the ladder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from common.errors import Refused
from common.recipe import SGD, Adam, Lookahead, Muon, Recipe
from common.spec import (
    LRN,
    Act,
    CNNSpec,
    Conv,
    Dense,
    Flatten,
    FractionalPool,
    Norm,
    Pool,
    Scale,
    sides,
)
from common.weights import Normal, Whitening

# What torchvision's transforms use, as a share of white.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Planted = tuple[Any, Recipe]
PLANTED_IN = "the first of the two tracks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One planted fault.

    Attributes:
        what: What is planted, in words.
        system: Where it is planted unless another system is named.
        rung: The first rung that sees it.
        plant: (spec, recipe) -> the same with the fault.
    """

    what: str
    system: str
    rung: str
    plant: Callable[[Any, Recipe], Planted]


def _layers(spec: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A CNN's spec with every layer of `kind` changed."""
    if not isinstance(spec, CNNSpec):
        return spec
    layers = (change(x) if isinstance(x, kind) else x for x in spec.layers)
    return replace(spec, layers=tuple(layers))


def _norms(spec: Any, change: Callable[[Norm], Norm]) -> Any:
    if getattr(spec, "norm", None):
        return replace(spec, norm=change(spec.norm))
    return _layers(spec, Norm, change)


def _bn_eps(spec: Any, recipe: Recipe) -> Planted:
    def other(norm: Norm) -> Norm:
        return replace(norm, eps=1e-5 if norm.eps != 1e-5 else 1e-3)

    return _norms(spec, other), recipe


def _bn_variance(spec: Any, recipe: Recipe) -> Planted:
    def other(norm: Norm) -> Norm:
        kind = norm.variance
        return replace(norm, variance="biased" if kind == "unbiased" else "unbiased")

    return _norms(spec, other), recipe


def _pool_border(spec: Any, recipe: Recipe) -> Planted:
    if not hasattr(spec, "border"):
        return spec, recipe
    other = "include" if spec.border == "exclude" else "exclude"
    return replace(spec, border=other), recipe


def _preprocessing(spec: Any, recipe: Recipe) -> Planted:
    if spec.image[2] != len(IMAGENET_MEAN):
        return spec, recipe
    return replace(spec, scale=Scale(mean=IMAGENET_MEAN, std=IMAGENET_STD)), recipe


def _padding(spec: Any, recipe: Recipe) -> Planted:
    def symmetric(layer: Conv | Pool) -> Conv | Pool:
        size = layer.kernel if isinstance(layer, Conv) else layer.window
        axes = zip(sides(size), layer.pad, strict=True)
        tall, wide = ((k // 2, k // 2) if a != b else (a, b) for k, (a, b) in axes)
        return replace(layer, pad=(tall, wide))

    return _layers(spec, Conv | Pool, symmetric), recipe  # type: ignore[arg-type]


def _flatten_order(spec: Any, recipe: Recipe) -> Planted:
    return _layers(spec, Flatten, lambda layer: Flatten("chw")), recipe


def _lrn_alpha(spec: Any, recipe: Recipe) -> Planted:
    def divided(lrn: LRN) -> LRN:
        return replace(lrn, alpha=lrn.alpha / (2 * lrn.radius + 1))

    return _layers(spec, LRN, divided), recipe


def _init_bias(spec: Any, recipe: Recipe) -> Planted:
    normal = Normal(0.02)
    if hasattr(spec, "bias_init"):
        return replace(spec, bias_init=normal), recipe
    kinds: Any = Conv | Dense
    return _layers(spec, kinds, lambda x: replace(x, bias_init=normal)), recipe


def _adam_eps(spec: Any, recipe: Recipe) -> Planted:
    if not isinstance(recipe.optimizer, Adam):
        return spec, recipe
    return spec, replace(recipe, optimizer=replace(recipe.optimizer, eps=1e-7))


def _momentum_form(spec: Any, recipe: Recipe) -> Planted:
    rule = recipe.optimizer
    if not isinstance(rule, SGD) or not rule.momentum:
        return spec, recipe
    if rule.form == "velocity":
        return spec, replace(recipe, optimizer=replace(rule, form="buffer"))
    return spec, replace(recipe, optimizer=replace(rule, form="velocity"))


def _decay_coupling(spec: Any, recipe: Recipe) -> Planted:
    if not recipe.decay:
        return spec, recipe
    if recipe.decay.kind == "decoupled":
        return spec, replace(recipe, decay=replace(recipe.decay, kind="coupled"))
    return spec, replace(recipe, decay=replace(recipe.decay, kind="decoupled"))


def _gelu_tanh(spec: Any, recipe: Recipe) -> Planted:
    def other(act: Act) -> Act:
        return replace(act, kind="gelu-tanh") if act.kind == "gelu" else act

    return _layers(spec, Act, other), recipe


def _whiten_sign(spec: Any, recipe: Recipe) -> Planted:
    def other(conv: Conv) -> Conv:
        if not isinstance(conv.init, Whitening):
            return conv
        return replace(conv, init=replace(conv.init, sign="negative"))

    return _layers(spec, Conv, other), recipe


def _lookahead_statistics(spec: Any, recipe: Recipe) -> Planted:
    if not isinstance(recipe.average, Lookahead):
        return spec, recipe
    average = replace(recipe.average, statistics=not recipe.average.statistics)
    return spec, replace(recipe, average=average)


def _flip_phase(spec: Any, recipe: Recipe) -> Planted:
    other = {"odd": "even", "even": "odd"}.get(recipe.augment.alternate)
    if not other:
        return spec, recipe
    augment: Any = replace(recipe.augment, alternate=other)  # type: ignore[arg-type]
    return spec, replace(recipe, augment=augment)


def _muon_transpose(spec: Any, recipe: Recipe) -> Planted:
    rule = recipe.optimizer
    if not isinstance(rule, Muon):
        return spec, recipe
    return spec, replace(recipe, optimizer=replace(rule, rows="inputs"))


def _fmp_regions(spec: Any, recipe: Recipe) -> Planted:
    return _layers(spec, FractionalPool, lambda x: replace(x, per="channel")), recipe


def _tta_weights(spec: Any, recipe: Recipe) -> Planted:
    views = recipe.views
    if not views:
        return spec, recipe
    mean = sum(view.weight for view in views) / len(views)
    alike = tuple(replace(view, weight=mean) for view in views)
    return spec, replace(recipe, views=alike)


FAULTS: dict[str, Fault] = {
    "bn-eps": Fault(
        what="batch norm's epsilon is 1e-5 (torch's default) for 1e-3 (Keras's)",
        system="small-cnn",
        rung="logits",
        plant=_bn_eps,
    ),
    "bn-variance": Fault(
        what="the running variance takes the unbiased batch variance, as torch does",
        system="small-cnn",
        rung="statistics",
        plant=_bn_variance,
    ),
    "padding": Fault(
        what="a stride-2 convolution or pool is padded alike on both sides, as torch "
        "does, where SAME pads the end only",
        system="small-cnn",
        rung="logits",
        plant=_padding,
    ),
    "pool-border": Fault(
        what="average pools count their padding (torchvision) where the mean leaves it "
        "out (Keras), or the other way round",
        system="inception-v3",
        rung="logits",
        plant=_pool_border,
    ),
    "preprocessing": Fault(
        what="pixels are standardised with ImageNet's mean and deviation where the "
        "network takes -1 to 1",
        system="inception-v3",
        rung="logits",
        plant=_preprocessing,
    ),
    "adam-eps": Fault(
        what="Adam's epsilon is 1e-7 (Keras's default) for 1e-8 (torch's)",
        system="adventures-cnn",
        rung="losses",
        plant=_adam_eps,
    ),
    "momentum-form": Fault(
        what="the learning rate is folded into the momentum, as Keras does: the same "
        "until the rate changes",
        system="small-cnn",
        rung="losses",
        plant=_momentum_form,
    ),
    "flatten-order": Fault(
        what="maps are flattened as (c, h, w), torch's order, before the same kernel",
        system="adventures-cnn",
        rung="logits",
        plant=_flatten_order,
    ),
    "lrn-alpha": Fault(
        what="LRN's alpha is divided by the window's size, as torch's own layer does",
        system="deep-cnn",
        rung="logits",
        plant=_lrn_alpha,
    ),
    "init-bias": Fault(
        what="biases start as small random numbers, as in torch, instead of the spec's",
        system="rasbt-mlp",
        rung="draw",
        plant=_init_bias,
    ),
    "decay-coupling": Fault(
        what="weight decay shrinks the weights (Keras) instead of entering the "
        "gradient (torch), or the other way round",
        system="deep-cnn",
        rung="losses",
        plant=_decay_coupling,
    ),
    "gelu-tanh": Fault(
        what="GELU is its approximation by tanh, as many networks' code has it",
        system="airbench94",
        rung="logits",
        plant=_gelu_tanh,
    ),
    "whiten-sign": Fault(
        what="the whitening filters have the other sign, as another library's "
        "eigenvectors may",
        system="airbench94",
        rung="draw",
        plant=_whiten_sign,
    ),
    "lookahead-statistics": Fault(
        what="the slow weights leave the running statistics out",
        system="airbench94",
        rung="statistics",
        plant=_lookahead_statistics,
    ),
    "flip-phase": Fault(
        what="pictures are mirrored anew in even epochs for odd ones",
        system="airbench94",
        rung="gradients",
        plant=_flip_phase,
    ),
    "muon-transpose": Fault(
        what="Muon's matrix has a row for each input instead of each output",
        system="airbench94-muon",
        rung="losses",
        plant=_muon_transpose,
    ),
    "fmp-regions": Fault(
        what="each channel of a picture has regions of its own, as in torch's own "
        "fractional pool, instead of each picture",
        system="fmp-small",
        rung="logits",
        plant=_fmp_regions,
    ),
    "tta-weights": Fault(
        what="all views of a picture weigh the same when it is judged",
        system="airbench94",
        rung="evaluation",
        plant=_tta_weights,
    ),
}


def plant(name: str, spec: Any, recipe: Recipe, system: str) -> Planted:
    """`spec` and `recipe` with the fault `name`.

    Raises:
        Refused: No such fault, or it changes nothing in this system.
    """
    if name not in FAULTS:
        near = get_close_matches(name, FAULTS, n=1, cutoff=0.0)[0]
        raise Refused(
            f"a fault must be in `twintrack list --faults`, got {name!r}; "
            f"the nearest is {near}"
        )
    planted = FAULTS[name].plant(spec, recipe)
    if planted == (spec, recipe):
        raise Refused(
            f"a fault must matter where it is planted, {name} changes nothing in "
            f"{system}; leave the system out to use {FAULTS[name].system}"
        )
    return planted
