"""Faults that `twintrack parity --break` plants in the first of two tracks, as data.

Each is a mistake that people really make when they port a network.  A fault that
no rung of the ladder sees would be a hole in the ladder; one that a user's own model
can have is found by `twintrack port` too, which names the cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from common import planting
from common.errors import Refused
from common.planting import Planted
from common.recipe import Recipe

PLANTED_IN = "the first of the two tracks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One planted fault.

    Attributes:
        what: What is planted, in words.
        system: Where it is planted unless another system is named.
        rung: The first rung that sees it.
        plant: (spec, recipe) -> the same with the fault.
        port: Cause that `twintrack port` names for it in two models, or "".
        training: The same of two trainings.  Both are "" where `port` is not given what
            parts: a draw, data, an average, a rule that our training alone has.
    """

    what: str
    system: str
    rung: str
    plant: Callable[[Any, Recipe], Planted]
    port: str = ""
    training: str = ""


FAULTS: dict[str, Fault] = {
    "bn-eps": Fault(
        what="batch norm's epsilon is 1e-5 (torch's default) for 1e-3 (Keras's)",
        system="small-cnn",
        rung="logits",
        plant=planting.bn_eps,
        port="eps",
    ),
    "bn-variance": Fault(
        what="the running variance takes the unbiased batch variance, as torch does",
        system="small-cnn",
        rung="statistics",
        plant=planting.bn_variance,
        training="variance",
    ),
    "padding": Fault(
        what="a stride-2 convolution or pool is padded alike on both sides, as torch "
        "does, where SAME pads the end only",
        system="small-cnn",
        rung="logits",
        plant=planting.padding,
        port="padding",
    ),
    "pool-border": Fault(
        what="average pools count their padding (torchvision) where the mean leaves it "
        "out (Keras), or the other way round",
        system="inception-v3",
        rung="logits",
        plant=planting.pool_border,
        port="pool-border",
    ),
    "preprocessing": Fault(
        what="pixels are standardised with ImageNet's mean and deviation where the "
        "network takes -1 to 1",
        system="inception-v3",
        rung="logits",
        plant=planting.preprocessing,
        port="pixel-scale",
    ),
    "adam-eps": Fault(
        what="Adam's epsilon is 1e-7 (Keras's default) for 1e-8 (torch's)",
        system="adventures-cnn",
        rung="losses",
        plant=planting.adam_eps,
        training="epsilon",
    ),
    "momentum-form": Fault(
        what="the learning rate is folded into the momentum, as Keras does: the same "
        "until the rate changes",
        system="small-cnn",
        rung="losses",
        plant=planting.momentum_form,
        training="momentum",
    ),
    "flatten-order": Fault(
        what="maps are flattened as (c, h, w), torch's order, before the same kernel",
        system="adventures-cnn",
        rung="logits",
        plant=planting.flatten_order,
        port="flatten-order",
    ),
    "lrn-alpha": Fault(
        what="LRN's alpha is divided by the window's size, as torch's own layer does",
        system="deep-cnn",
        rung="logits",
        plant=planting.lrn_alpha,
        port="lrn-alpha",
    ),
    "init-bias": Fault(
        what="biases start as small random numbers, as in torch, instead of the spec's",
        system="rasbt-mlp",
        rung="draw",
        plant=planting.init_bias,
    ),
    "decay-coupling": Fault(
        what="weight decay shrinks the weights (Keras) instead of entering the "
        "gradient (torch), or the other way round",
        system="deep-cnn",
        rung="losses",
        plant=planting.decay_coupling,
        training="decay",
    ),
    "gelu-tanh": Fault(
        what="GELU is its approximation by tanh, as many networks' code has it",
        system="airbench94",
        rung="logits",
        plant=planting.gelu_tanh,
        port="gelu",
    ),
    "whiten-sign": Fault(
        what="the whitening filters have the other sign, as another library's "
        "eigenvectors may",
        system="airbench94",
        rung="draw",
        plant=planting.whiten_sign,
    ),
    "lookahead-statistics": Fault(
        what="the slow weights leave the running statistics out",
        system="airbench94",
        rung="statistics",
        plant=planting.lookahead_statistics,
    ),
    "flip-phase": Fault(
        what="pictures are mirrored anew in even epochs for odd ones",
        system="airbench94",
        rung="gradients",
        plant=planting.flip_phase,
    ),
    "muon-transpose": Fault(
        what="Muon's matrix has a row for each input instead of each output",
        system="airbench94-muon",
        rung="losses",
        plant=planting.muon_transpose,
    ),
    "fmp-regions": Fault(
        what="each channel of a picture has regions of its own, as in torch's own "
        "fractional pool, instead of each picture",
        system="fmp-small",
        rung="logits",
        plant=planting.fmp_regions,
    ),
    "tta-weights": Fault(
        what="all views of a picture weigh the same when it is judged",
        system="airbench94",
        rung="evaluation",
        plant=planting.tta_weights,
    ),
    "norm-order": Fault(
        what="batch norm stands after the ReLU, not before it",
        system="small-cnn",
        rung="logits",
        plant=planting.norm_order,
        port="order",
    ),
    "norm-missing": Fault(
        what="the last batch norm is left out",
        system="small-cnn",
        rung="names",
        plant=planting.norm_missing,
        port="layer",
    ),
    "norm-scale": Fault(
        what="batch norm has no factor (gamma), as TensorFlow's slim has it",
        system="small-cnn",
        rung="names",
        plant=planting.norm_scale,
        port="affine",
    ),
    "norm-decay": Fault(
        what="running statistics keep .1 of the old for .9: torch's momentum, given to "
        "Keras",
        system="small-cnn",
        rung="statistics",
        plant=planting.norm_decay,
        training="momentum-of-statistics",
    ),
    "norm-frozen": Fault(
        what="batch norm trains by its running statistics: eval() or training=False is "
        "left on",
        system="small-cnn",
        rung="gradients",
        plant=planting.norm_frozen,
        port="statistics",
    ),
    "activation-missing": Fault(
        what="the last hidden layer has no ReLU",
        system="small-cnn",
        rung="logits",
        plant=planting.relu_missing,
        port="layer",
    ),
    "activation": Fault(
        what="ReLUs are leaky",
        system="small-cnn",
        rung="logits",
        plant=planting.leaky,
        port="activation",
    ),
    "slope": Fault(
        what="a leaky ReLU's slope is .01 (torch's default)",
        system="fmp-small",
        rung="logits",
        plant=planting.slope,
        port="slope",
    ),
    "pool-kind": Fault(
        what="average pools stand for max pools",
        system="small-cnn",
        rung="logits",
        plant=planting.pool_kind,
        port="pool-kind",
    ),
    "pool-order": Fault(
        what="LRN stands after the pool, not before it",
        system="deep-cnn",
        rung="logits",
        plant=planting.pool_order,
        port="order",
    ),
    "pads-missing": Fault(
        what="convolutions have no pads, the default of both libraries",
        system="small-cnn",
        rung="shapes",
        plant=planting.pads_missing,
        port="padding",
    ),
    "stride": Fault(
        what="the convolution before strides: ResNet v1 for v1.5",
        system="small-cnn",
        rung="logits",
        plant=planting.stride,
        port="stride",
    ),
    "bias-missing": Fault(
        what="convolutions and dense layers have no bias",
        system="rosetta-cnn",
        rung="names",
        plant=planting.bias_missing,
        port="bias",
    ),
    "lrn-size": Fault(
        what="LRN's radius is given as torch's size, which is the number of channels",
        system="deep-cnn",
        rung="logits",
        plant=planting.lrn_size,
        port="lrn-size",
    ),
    "pixel-scale": Fault(
        what="pixels are -1 to 1 where the network takes 0 to 1, or 0 to 1 where it "
        "does not",
        system="small-cnn",
        rung="logits",
        plant=planting.pixel_scale,
        port="pixel-scale",
    ),
    "channel-order": Fault(
        what="means and deviations stand as BGR where the pixels are RGB",
        system="airbench94",
        rung="draw",
        plant=planting.channel_order,
        port="pixel-scale",
    ),
    "dropout-missing": Fault(
        what="nothing is dropped in training",
        system="rasbt-mlp-dropout",
        rung="gradients",
        plant=planting.dropout_missing,
    ),
    "dropout-rate": Fault(
        what="the dropped share is taken for the one that is kept",
        system="rosetta-cnn",
        rung="gradients",
        plant=planting.dropout_rate,
    ),
    "init-default": Fault(
        what="kernels start as torch's own do, not as Keras's",
        system="rosetta-cnn",
        rung="draw",
        plant=planting.init_default,
    ),
    "init-truncation": Fault(
        what="kernels are drawn from the whole normal: torch cuts at 2, not at two "
        "deviations",
        system="adventures-cnn",
        rung="draw",
        plant=planting.init_truncation,
    ),
    "nesterov": Fault(
        what="momentum is plain where it is Nesterov's",
        system="small-cnn",
        rung="losses",
        plant=planting.sgd(nesterov=False),
        training="momentum",
    ),
    "momentum-missing": Fault(
        what="SGD has no momentum, Keras's default",
        system="rosetta-cnn",
        rung="losses",
        plant=planting.sgd(momentum=0.0, nesterov=False),
        training="momentum",
    ),
    "adam-form": Fault(
        what="Adam's epsilon stands beside the uncorrected root, as Keras has it",
        system="adventures-cnn",
        rung="losses",
        plant=planting.adam(form="raw"),
        training="epsilon-hat",
    ),
    "adam-beta2": Fault(
        what="Adam's beta2 is .99 for .999",
        system="adventures-cnn",
        rung="losses",
        plant=planting.adam(beta2=0.99),
        training="betas",
    ),
    "learning-rate": Fault(
        what="the learning rate is 1e-3, Adam's default",
        system="adventures-cnn",
        rung="losses",
        plant=planting.rate,
        training="rate",
    ),
    "warm-up": Fault(
        what="the learning rate does not warm up",
        system="small-cnn",
        rung="losses",
        plant=planting.warm_up,
        training="rate",
    ),
    "schedule-missing": Fault(
        what="the learning rate never changes",
        system="small-cnn",
        rung="losses",
        plant=planting.schedule,
        training="rate",
    ),
    "decay-twice": Fault(
        what="weight decay is twice as strong: Keras's L2 has no factor of one half",
        system="small-cnn",
        rung="losses",
        plant=planting.decay_twice,
        training="decay",
    ),
    "decay-all": Fault(
        what="biases and norms decay too, as torch's weight_decay makes them",
        system="small-cnn",
        rung="losses",
        plant=planting.decay_all,
        training="decay",
    ),
    "decay-missing": Fault(
        what="weights do not decay",
        system="small-cnn",
        rung="losses",
        plant=planting.decay_missing,
        training="decay",
    ),
    "smoothing": Fault(
        what="label smoothing is left out, or .1 where there is none",
        system="small-cnn",
        rung="gradients",
        plant=planting.smoothing,
        training="smoothing",
    ),
    "clip": Fault(
        what="gradients are clipped to a norm of 1, or never where they are clipped",
        system="small-cnn",
        rung="losses",
        plant=planting.clip,
        training="clip",
    ),
    "average-warm-up": Fault(
        what="the average of the weights does not count the first updates more",
        system="deep-cnn",
        rung="averages",
        plant=planting.average_warm_up,
    ),
    "last-batch": Fault(
        what="the short last batch of an epoch is left out, or kept where it is left "
        "out",
        system="small-cnn",
        rung="losses",
        plant=planting.last_batch,
    ),
    "flip-missing": Fault(
        what="pictures are not mirrored",
        system="deep-cnn",
        rung="gradients",
        plant=planting.flip_missing,
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
