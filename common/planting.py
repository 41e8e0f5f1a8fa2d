"""How the faults of `common.faults` are planted: each another spec or recipe.

Every function takes (spec, recipe) and gives both with the fault, or as they were where
it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from common.recipe import (
    SGD,
    Adam,
    Average,
    Lookahead,
    Muon,
    Recipe,
    Steady,
    WarmCosine,
)
from common.spec import (
    LRN,
    NO_PAD,
    Act,
    AveragePool,
    CNNSpec,
    Conv,
    Dense,
    Dropout,
    Flatten,
    FractionalPool,
    Norm,
    Pool,
    Relu,
    Scale,
    sides,
)
from common.weights import (
    FanInUniform,
    GlorotUniform,
    Normal,
    TruncatedNormal,
    Whitening,
)

# What torchvision's transforms use, as a share of white.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TORCH_SLOPE = 0.01  # of its leaky ReLU; Keras has .3, its function .2
ADAM_RATE = 1e-3  # of both libraries
Planted = tuple[Any, Recipe]


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


def bn_eps(spec: Any, recipe: Recipe) -> Planted:
    """Another epsilon of batch norm."""

    def other(norm: Norm) -> Norm:
        return replace(norm, eps=1e-5 if norm.eps != 1e-5 else 1e-3)

    return _norms(spec, other), recipe


def bn_variance(spec: Any, recipe: Recipe) -> Planted:
    """The other variance of a batch enters the running one."""

    def other(norm: Norm) -> Norm:
        kind = norm.variance
        return replace(norm, variance="biased" if kind == "unbiased" else "unbiased")

    return _norms(spec, other), recipe


def pool_border(spec: Any, recipe: Recipe) -> Planted:
    """Average pools take their padding the other way."""
    if not hasattr(spec, "border"):
        return spec, recipe
    other = "include" if spec.border == "exclude" else "exclude"
    return replace(spec, border=other), recipe


def preprocessing(spec: Any, recipe: Recipe) -> Planted:
    """ImageNet's mean and deviation."""
    if spec.image[2] != len(IMAGENET_MEAN):
        return spec, recipe
    return replace(spec, scale=Scale(mean=IMAGENET_MEAN, std=IMAGENET_STD)), recipe


def padding(spec: Any, recipe: Recipe) -> Planted:
    """Pads alike on both sides."""

    def symmetric(layer: Conv | Pool) -> Conv | Pool:
        size = layer.kernel if isinstance(layer, Conv) else layer.window
        axes = zip(sides(size), layer.pad, strict=True)
        tall, wide = ((k // 2, k // 2) if a != b else (a, b) for k, (a, b) in axes)
        return replace(layer, pad=(tall, wide))

    return _layers(spec, Conv | Pool, symmetric), recipe  # type: ignore[arg-type]


def flatten_order(spec: Any, recipe: Recipe) -> Planted:
    """Maps flattened as (c, h, w)."""
    return _layers(spec, Flatten, lambda layer: Flatten("chw")), recipe


def lrn_alpha(spec: Any, recipe: Recipe) -> Planted:
    """LRN's alpha divided by its channels."""

    def divided(lrn: LRN) -> LRN:
        return replace(lrn, alpha=lrn.alpha / (2 * lrn.radius + 1))

    return _layers(spec, LRN, divided), recipe


def init_bias(spec: Any, recipe: Recipe) -> Planted:
    """Biases drawn from a normal."""
    normal = Normal(0.02)
    if hasattr(spec, "bias_init"):
        return replace(spec, bias_init=normal), recipe
    kinds: Any = Conv | Dense
    return _layers(spec, kinds, lambda x: replace(x, bias_init=normal)), recipe


def adam_eps(spec: Any, recipe: Recipe) -> Planted:
    """Adam's epsilon as Keras has it."""
    if not isinstance(recipe.optimizer, Adam):
        return spec, recipe
    return spec, replace(recipe, optimizer=replace(recipe.optimizer, eps=1e-7))


def momentum_form(spec: Any, recipe: Recipe) -> Planted:
    """The rate inside the momentum, or outside."""
    rule = recipe.optimizer
    if not isinstance(rule, SGD) or not rule.momentum:
        return spec, recipe
    if rule.form == "velocity":
        return spec, replace(recipe, optimizer=replace(rule, form="buffer"))
    return spec, replace(recipe, optimizer=replace(rule, form="velocity"))


def decay_coupling(spec: Any, recipe: Recipe) -> Planted:
    """Decay beside the gradient, or in it."""
    if not recipe.decay:
        return spec, recipe
    if recipe.decay.kind == "decoupled":
        return spec, replace(recipe, decay=replace(recipe.decay, kind="coupled"))
    return spec, replace(recipe, decay=replace(recipe.decay, kind="decoupled"))


def gelu_tanh(spec: Any, recipe: Recipe) -> Planted:
    """GELU by tanh."""

    def other(act: Act) -> Act:
        return replace(act, kind="gelu-tanh") if act.kind == "gelu" else act

    return _layers(spec, Act, other), recipe


def whiten_sign(spec: Any, recipe: Recipe) -> Planted:
    """Whitening filters of the other sign."""

    def other(conv: Conv) -> Conv:
        if not isinstance(conv.init, Whitening):
            return conv
        return replace(conv, init=replace(conv.init, sign="negative"))

    return _layers(spec, Conv, other), recipe


def lookahead_statistics(spec: Any, recipe: Recipe) -> Planted:
    """Slow weights without running statistics, or with them."""
    if not isinstance(recipe.average, Lookahead):
        return spec, recipe
    average = replace(recipe.average, statistics=not recipe.average.statistics)
    return spec, replace(recipe, average=average)


def flip_phase(spec: Any, recipe: Recipe) -> Planted:
    """Mirrored in the other epochs."""
    other = {"odd": "even", "even": "odd"}.get(recipe.augment.alternate)
    if not other:
        return spec, recipe
    augment: Any = replace(recipe.augment, alternate=other)  # type: ignore[arg-type]
    return spec, replace(recipe, augment=augment)


def muon_transpose(spec: Any, recipe: Recipe) -> Planted:
    """Muon's matrix transposed."""
    rule = recipe.optimizer
    if not isinstance(rule, Muon):
        return spec, recipe
    return spec, replace(recipe, optimizer=replace(rule, rows="inputs"))


def fmp_regions(spec: Any, recipe: Recipe) -> Planted:
    """Regions for each channel."""
    return _layers(spec, FractionalPool, lambda x: replace(x, per="channel")), recipe


def tta_weights(spec: Any, recipe: Recipe) -> Planted:
    """Views that weigh the same."""
    views = recipe.views
    if not views:
        return spec, recipe
    mean = sum(view.weight for view in views) / len(views)
    alike = tuple(replace(view, weight=mean) for view in views)
    return spec, replace(recipe, views=alike)


def _order(spec: Any, first: type, second: type) -> Any:
    """A CNN's spec whose layers of one kind stand after the next ones of another."""
    if not isinstance(spec, CNNSpec):
        return spec
    layers = list(spec.layers)
    for i, pair in enumerate(pairwise(spec.layers)):
        if isinstance(pair[0], first) and isinstance(pair[1], second):
            layers[i : i + 2] = pair[::-1]
    return replace(spec, layers=tuple(layers))


def _without(spec: Any, kind: type) -> Any:
    """A CNN's spec without its last layer of a kind."""
    if not isinstance(spec, CNNSpec):
        return spec
    found = [i for i, layer in enumerate(spec.layers) if isinstance(layer, kind)]
    layers = [layer for i, layer in enumerate(spec.layers) if i not in found[-1:]]
    return replace(spec, layers=tuple(layers))


def norm_order(spec: Any, recipe: Recipe) -> Planted:
    """Batch norm after the ReLU."""
    return _order(spec, Norm, Relu), recipe


def norm_missing(spec: Any, recipe: Recipe) -> Planted:
    """The last batch norm, or that of every layer, left out."""
    if getattr(spec, "norm", None):
        return replace(spec, norm=None), recipe
    return _without(spec, Norm), recipe


def norm_scale(spec: Any, recipe: Recipe) -> Planted:
    """Batch norm without its factor, or with one."""
    return _norms(spec, lambda norm: replace(norm, scale=not norm.scale)), recipe


def norm_decay(spec: Any, recipe: Recipe) -> Planted:
    """The new share of running statistics for the old."""
    return _norms(spec, lambda norm: replace(norm, decay=1 - norm.decay)), recipe


def norm_frozen(spec: Any, recipe: Recipe) -> Planted:
    """Batch norm frozen in training, or not."""
    if not any(name.endswith(".var") for name in spec.weights):
        return spec, recipe
    other = "frozen" if recipe.statistics == "moving" else "moving"
    return spec, replace(recipe, statistics=other)  # type: ignore[arg-type]


def relu_missing(spec: Any, recipe: Recipe) -> Planted:
    """The last ReLU left out."""
    return _without(spec, Relu), recipe


def leaky(spec: Any, recipe: Recipe) -> Planted:
    """Leaky ReLUs."""
    return _layers(spec, Relu, lambda layer: Act("leaky", TORCH_SLOPE)), recipe


def slope(spec: Any, recipe: Recipe) -> Planted:
    """Torch's own slope."""

    def other(act: Act) -> Act:
        return replace(act, slope=TORCH_SLOPE) if act.kind == "leaky" else act

    return _layers(spec, Act, other), recipe


def pool_kind(spec: Any, recipe: Recipe) -> Planted:
    """Average pools for max pools."""

    def mean(pool: Pool) -> AveragePool:
        return AveragePool(pool.window, pool.stride, pool.pad)

    return _layers(spec, Pool, mean), recipe


def pool_order(spec: Any, recipe: Recipe) -> Planted:
    """LRN after the pool."""
    return _order(spec, LRN, Pool), recipe


def pads_missing(spec: Any, recipe: Recipe) -> Planted:
    """Convolutions without pads."""
    return _layers(spec, Conv, lambda conv: replace(conv, pad=NO_PAD)), recipe


def stride(spec: Any, recipe: Recipe) -> Planted:
    """The first stride moves to the convolution before it, its pads with it."""
    if not isinstance(spec, CNNSpec):
        return spec, recipe
    layers = list(spec.layers)
    convs = [i for i, layer in enumerate(layers) if isinstance(layer, Conv)]
    for before, at in pairwise(convs):
        one: Any = layers[before]
        other: Any = layers[at]
        if one.stride == 1 < other.stride and one.kernel == other.kernel:
            layers[before] = replace(one, stride=other.stride, pad=other.pad)
            layers[at] = replace(other, stride=1, pad=one.pad)
            break
    return replace(spec, layers=tuple(layers)), recipe


def bias_missing(spec: Any, recipe: Recipe) -> Planted:
    """No biases."""

    def without(layer: Conv | Dense) -> Conv | Dense:
        return replace(layer, bias=False)

    return _layers(spec, Conv | Dense, without), recipe  # type: ignore[arg-type]


def lrn_size(spec: Any, recipe: Recipe) -> Planted:
    """LRN over half the channels."""

    def other(lrn: LRN) -> LRN:
        return replace(lrn, radius=lrn.radius // 2)

    return _layers(spec, LRN, other), recipe


def pixel_scale(spec: Any, recipe: Recipe) -> Planted:
    """0 to 1 for -1 to 1, or the other way round; as it is where that is scaled."""
    if spec.scale == Scale():
        half = (1.0,) * spec.image[2]
        return replace(spec, scale=Scale(divide=127.5, mean=half)), recipe
    return replace(spec, scale=Scale()), recipe


def channel_order(spec: Any, recipe: Recipe) -> Planted:
    """Means and deviations in the order of BGR."""
    scale = spec.scale
    scale = replace(scale, mean=scale.mean[::-1], std=scale.std[::-1])
    return replace(spec, scale=scale), recipe


def dropout_missing(spec: Any, recipe: Recipe) -> Planted:
    """Nothing dropped."""
    if getattr(spec, "dropout", 0):
        return replace(spec, dropout=0.0), recipe
    return _layers(spec, Dropout, lambda drop: replace(drop, rate=0.0)), recipe


def dropout_rate(spec: Any, recipe: Recipe) -> Planted:
    """The share that is kept dropped."""
    if getattr(spec, "dropout", 0):
        return replace(spec, dropout=1 - spec.dropout), recipe
    other = _layers(spec, Dropout, lambda drop: replace(drop, rate=1 - drop.rate))
    return other, recipe


def _kernels(spec: Any, old: type, new: Callable[[Any], Any]) -> Any:
    """A spec whose kernels of one draw have another."""

    def other(layer: Conv | Dense) -> Conv | Dense:
        found = layer.init
        return replace(layer, init=new(found)) if isinstance(found, old) else layer

    return _layers(spec, Conv | Dense, other)  # type: ignore[arg-type]


def init_default(spec: Any, recipe: Recipe) -> Planted:
    """Kernels drawn as torch's own are."""
    return _kernels(spec, GlorotUniform, lambda _: FanInUniform()), recipe


def init_truncation(spec: Any, recipe: Recipe) -> Planted:
    """Kernels drawn without the truncation."""
    return _kernels(spec, TruncatedNormal, lambda init: Normal(init.std)), recipe


def sgd(**fields: Any) -> Callable[[Any, Recipe], Planted]:
    """What plants another SGD, where there is momentum."""

    def plant(spec: Any, recipe: Recipe) -> Planted:
        rule = recipe.optimizer
        if not isinstance(rule, SGD) or not rule.momentum:
            return spec, recipe
        return spec, replace(recipe, optimizer=replace(rule, **fields))

    return plant


def adam(**fields: Any) -> Callable[[Any, Recipe], Planted]:
    """What plants another Adam."""

    def plant(spec: Any, recipe: Recipe) -> Planted:
        if not isinstance(recipe.optimizer, Adam):
            return spec, recipe
        rule = replace(recipe.optimizer, **fields)
        return spec, replace(recipe, optimizer=rule)

    return plant


def rate(spec: Any, recipe: Recipe) -> Planted:
    """Adam's own rate."""
    if not isinstance(recipe.optimizer, Adam):
        return spec, recipe
    return spec, replace(recipe, lr=ADAM_RATE)


def warm_up(spec: Any, recipe: Recipe) -> Planted:
    """No warm-up."""
    if not isinstance(recipe.schedule, WarmCosine):
        return spec, recipe
    return spec, replace(recipe, schedule=WarmCosine(0.0))


def schedule(spec: Any, recipe: Recipe) -> Planted:
    """No schedule."""
    return spec, replace(recipe, schedule=Steady())


def decay_twice(spec: Any, recipe: Recipe) -> Planted:
    """Decay of twice the strength."""
    if not recipe.decay:
        return spec, recipe
    decay = replace(recipe.decay, rate=2 * recipe.decay.rate)
    return spec, replace(recipe, decay=decay)


def decay_all(spec: Any, recipe: Recipe) -> Planted:
    """Everything decays."""
    if not recipe.decay:
        return spec, recipe
    decay = replace(recipe.decay, names=(), which="all")
    return spec, replace(recipe, decay=decay)


def decay_missing(spec: Any, recipe: Recipe) -> Planted:
    """No decay."""
    return spec, replace(recipe, decay=None)


def smoothing(spec: Any, recipe: Recipe) -> Planted:
    """Labels smoothed by .1, or not."""
    return spec, replace(recipe, smoothing=0.0 if recipe.smoothing else 0.1)


def clip(spec: Any, recipe: Recipe) -> Planted:
    """Gradients clipped to 1, or not."""
    return spec, replace(recipe, clip=0.0 if recipe.clip else 1.0)


def average_warm_up(spec: Any, recipe: Recipe) -> Planted:
    """An average that warms up, or does not."""
    if not isinstance(recipe.average, Average):
        return spec, recipe
    average = replace(recipe.average, warm_up=not recipe.average.warm_up)
    return spec, replace(recipe, average=average)


def last_batch(spec: Any, recipe: Recipe) -> Planted:
    """The short last batch left out, or kept."""
    return spec, replace(recipe, drop_last=not recipe.drop_last)


def flip_missing(spec: Any, recipe: Recipe) -> Planted:
    """No picture mirrored."""
    if not recipe.augment.flip:
        return spec, recipe
    augment = replace(recipe.augment, flip=False, alternate="never")
    return spec, replace(recipe, augment=augment)
