"""What torch's modules are, in shared words.  Twin: tf_track/ports/kinds.py.

Every module has a kind and what it computes with; one with weights is a unit, or some,
whose tensors are told and taken in canonical layouts (`common.port.told`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[Any]
Config = dict[str, Any]

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE_AVERAGE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
ADAPTIVE_MAX = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
RECURRENT = {nn.LSTM: ("lstm", "ifgo"), nn.GRU: ("gru", "rzn"), nn.RNN: ("rnn", "h")}
# Modules that have parts, and are one thing all the same.
WHOLE = (nn.MultiheadAttention,)


def sides(value: int | tuple[int, ...], n: int) -> list[int]:
    """One number for each side."""
    return [int(value)] * n if isinstance(value, int) else [int(v) for v in value]


def activation(module: nn.Module) -> Config | None:
    """What an activation's module computes, or none if it is no activation."""
    for kind, name, fields in ACTIVATIONS:
        if type(module) is kind:
            return {"function": name} | {
                ours: getattr(module, theirs) for ours, theirs in fields.items()
            }
    return None


ACTIVATIONS: tuple[tuple[type, str, dict[str, str]], ...] = (
    (nn.ReLU, "relu", {}),
    (nn.ReLU6, "relu6", {}),
    (nn.LeakyReLU, "leaky_relu", {"slope": "negative_slope"}),
    (nn.ELU, "elu", {"alpha": "alpha"}),
    (nn.SELU, "selu", {}),
    (nn.CELU, "celu", {"alpha": "alpha"}),
    (nn.GELU, "gelu", {"approximate": "approximate"}),
    (nn.SiLU, "silu", {}),
    (nn.Mish, "mish", {}),
    (nn.Sigmoid, "sigmoid", {}),
    (nn.Tanh, "tanh", {}),
    (nn.Softplus, "softplus", {}),
    (nn.Softsign, "softsign", {}),
    (nn.Hardswish, "hard_silu", {}),
    (nn.Hardsigmoid, "hard_sigmoid", {}),
    (nn.Hardtanh, "hard_tanh", {}),
    (nn.LogSigmoid, "log_sigmoid", {}),
    (nn.Softmax, "softmax", {}),
    (nn.LogSoftmax, "log_softmax", {}),
)


def along(dim: int | None, n: int) -> Config:
    """The axis of a softmax, where it is not the last; channels first are last."""
    if dim is None or dim == -1:
        return {}
    dim = dim % n if n else dim
    if dim == n - 1 or (dim == 1 and n != 3):
        return {}
    return {"axis": dim}


def described(module: nn.Module) -> tuple[str, Config, bool]:
    """Kind, what it computes with, and whether its maps have channels first."""
    if (act := activation(module)) is not None:
        return "act", act | along(getattr(module, "dim", None), 0), False
    for kinds, describe in TABLE:
        if isinstance(module, kinds):
            return describe(module)
    return "custom", {}, False


def _conv(m: Any) -> tuple[str, Config, bool]:
    n = len(m.kernel_size)
    kernel, dilation = sides(m.kernel_size, n), sides(m.dilation, n)
    config = {
        "kernel": kernel,
        "strides": sides(m.stride, n),
        "dilation": dilation,
        "groups": m.groups,
        "bias": m.bias is not None,
    }
    if isinstance(m, TRANSPOSED):
        pads = sides(m.padding, n)
        extra = sides(m.output_padding, n)
        cut = [[p, p - e] for p, e in zip(pads, extra, strict=True)]
        return "transposed", config | {"cut": cut}, True
    if m.padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads2 = [[t // 2, t - t // 2] for t in total]
    elif m.padding == "valid":
        pads2 = [[0, 0]] * n
    else:
        pads2 = [[p, p] for p in sides(m.padding, n)]
    mode = {} if m.padding_mode == "zeros" else {"pad_mode": m.padding_mode}
    return "conv", config | {"pads": pads2} | mode, True


def _dense(m: Any) -> tuple[str, Config, bool]:
    return "dense", {"bias": m.bias is not None}, False


def _max_pool(m: Any) -> tuple[str, Config, bool]:
    n = int(type(m).__name__[-2])
    return (
        "max_pool",
        {
            "window": sides(m.kernel_size, n),
            "strides": sides(m.stride or m.kernel_size, n),
            "pads": [[p, p] for p in sides(m.padding, n)],
            "dilation": sides(m.dilation, n),
            "ceil": bool(m.ceil_mode),
        },
        True,
    )


def _average_pool(m: Any) -> tuple[str, Config, bool]:
    n = int(type(m).__name__[-2])
    return (
        "average_pool",
        {
            "window": sides(m.kernel_size, n),
            "strides": sides(m.stride or m.kernel_size, n),
            "pads": [[p, p] for p in sides(m.padding, n)],
            "ceil": bool(m.ceil_mode),
            "counts_padding": bool(m.count_include_pad),
        },
        True,
    )


def _adaptive(m: Any) -> tuple[str, Config, bool]:
    n = int(type(m).__name__[-2])
    size = m.output_size
    size = [size] * n if isinstance(size, int) or size is None else list(size)
    how = "average" if isinstance(m, ADAPTIVE_AVERAGE) else "max"
    if all(side == 1 for side in size):
        return f"global_{how}", {}, True
    return f"adaptive_{how}", {"size": size}, True


def _batch_norm(m: Any) -> tuple[str, Config, bool]:
    config = {
        "eps": m.eps,
        "decay": None if m.momentum is None else 1 - m.momentum,
        "batch": bool(m.training or m.running_mean is None),
        "variance": "unbiased",
        "scale": m.affine,
        "shift": m.affine,
    }
    return "batch_norm", config, True


def _instance_norm(m: Any) -> tuple[str, Config, bool]:
    return "group_norm", {"eps": m.eps, "groups": -1}, True


def _layer_norm(m: Any) -> tuple[str, Config, bool]:
    return "layer_norm", {"eps": m.eps, "axes": len(m.normalized_shape)}, False


def _rms_norm(m: Any) -> tuple[str, Config, bool]:
    eps = torch.finfo(torch.get_default_dtype()).eps if m.eps is None else m.eps
    return "rms_norm", {"eps": eps, "axes": len(m.normalized_shape)}, False


def _group_norm(m: Any) -> tuple[str, Config, bool]:
    return "group_norm", {"eps": m.eps, "groups": m.num_groups}, True


def _lrn(m: Any) -> tuple[str, Config, bool]:
    return "lrn", lrn(m.size, m.alpha, m.beta, m.k), True


def lrn(size: int, alpha: float, beta: float, k: float) -> Config:
    """LRN in shared words: x / (offset + strength * sum over span) ** power."""
    return {"span": size, "strength": alpha / size, "power": beta, "offset": float(k)}


def _dropout(m: Any) -> tuple[str, Config, bool]:
    return "dropout", {"rate": m.p, "active": bool(m.training)}, False


def _recurrent(m: Any) -> tuple[str, Config, bool]:
    kind, _ = RECURRENT[type(m)]
    config = {
        "units": m.hidden_size,
        "layers": m.num_layers,
        "both_ways": m.bidirectional,
        "time_first": not m.batch_first,
        "bias": m.bias,
        "returns": "sequence",
    }
    if kind == "gru":
        config["reset_after"] = True
    if kind == "rnn":
        config["function"] = m.nonlinearity
    return kind, config, False


def _attention(m: Any) -> tuple[str, Config, bool]:
    config = {
        "heads": m.num_heads,
        "width": m.head_dim,
        "bias": m.in_proj_bias is not None,
        "time_first": not m.batch_first,
    }
    return "attention", config, False


def _embedding(m: Any) -> tuple[str, Config, bool]:
    return "embedding", {}, False


def _prelu(m: Any) -> tuple[str, Config, bool]:
    return "prelu", {}, True


def _resize(m: Any) -> tuple[str, Config, bool]:
    size = list(m.size) if isinstance(m.size, tuple) else m.size
    config = {
        "size": size,
        "factor": factors(m.scale_factor, SIDES_OF.get(m.mode, 2)),
        "method": {"bilinear": "linear", "trilinear": "linear"}.get(m.mode, m.mode),
        "corners": bool(m.align_corners),
        "half_pixel": True,
        "antialias": False,
    }
    return "resize", config, True


# Sides of the maps that a method is for, where its name tells.
SIDES_OF = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


def factors(value: Any, n: int) -> list[float] | None:
    """A factor for each side, or none."""
    if value is None:
        return None
    given = list(value) if isinstance(value, (list, tuple)) else [value] * n
    return [float(factor) for factor in given]


def _pad(m: Any) -> tuple[str, Config, bool]:
    flat = m.padding
    pads = [[int(flat[i]), int(flat[i + 1])] for i in range(0, len(flat), 2)][::-1]
    mode = {"Zero": "zeros", "Cons": "constant", "Refl": "reflect"}
    name = mode.get(type(m).__name__[:4], "replicate")
    return "pad", {"pads": pads, "mode": name, "value": getattr(m, "value", 0.0)}, True


def _flatten(m: Any) -> tuple[str, Config, bool]:
    return "reshape", {}, False


def _identity(m: Any) -> tuple[str, Config, bool]:
    return "identity", {}, False


Describe = Callable[[Any], tuple[str, Config, bool]]
TABLE: tuple[tuple[Any, Describe], ...] = (
    ((*CONVS, *TRANSPOSED), _conv),
    (nn.Linear, _dense),
    (MAX_POOLS, _max_pool),
    (AVERAGE_POOLS, _average_pool),
    ((*ADAPTIVE_AVERAGE, *ADAPTIVE_MAX), _adaptive),
    (BATCH_NORMS, _batch_norm),
    (INSTANCE_NORMS, _instance_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.RMSNorm, _rms_norm),
    (nn.GroupNorm, _group_norm),
    (nn.LocalResponseNorm, _lrn),
    (DROPOUTS, _dropout),
    (tuple(RECURRENT), _recurrent),
    (nn.MultiheadAttention, _attention),
    (nn.Embedding, _embedding),
    (nn.PReLU, _prelu),
    ((nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d), _resize),
    (nn.modules.padding._ConstantPadNd, _pad),
    (nn.modules.padding._ReflectionPadNd, _pad),
    (nn.modules.padding._ReplicationPadNd, _pad),
    ((nn.Flatten, nn.Unflatten), _flatten),
    (nn.Identity, _identity),
)


# --- weights ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """How one canonical tensor lies in a module.

    Attributes:
        names: The module's tensors that it is made of.
        get: Their arrays -> the canonical one.
        put: The canonical one -> their arrays.
    """

    names: tuple[str, ...]
    get: Callable[..., Array]
    put: Callable[[Array], tuple[Array, ...]]


def plain(name: str) -> Form:
    """A tensor that is canonical as it is."""
    return Form((name,), lambda a: a, lambda a: (a,))


def moved(name: str, axes: tuple[int, ...]) -> Form:
    """A tensor whose axes are in another order; `axes` make the canonical one."""
    back = tuple(int(i) for i in np.argsort(axes))
    return Form(
        (name,), lambda a: np.transpose(a, axes), lambda a: (np.transpose(a, back),)
    )


def _rows(name: str, n: int, order: tuple[int, ...]) -> Form:
    """Gates of a recurrent kernel (gates * units, in) as (in, gates * units)."""

    def get(a: Array) -> Array:
        parts = np.split(a, n, 0)
        return np.concatenate([parts[i] for i in order], 0).T

    def put(a: Array) -> tuple[Array, ...]:
        parts = np.split(a.T, n, 0)
        return (np.concatenate([parts[order.index(i)] for i in range(n)], 0),)

    return Form((name,), get, put)


def forms(module: nn.Module) -> dict[str, dict[str, Form]]:
    """Unit, as a suffix of the module's path -> canonical name -> its form."""
    has = {n for n, p in module.named_parameters(recurse=False) if p is not None}
    has |= {n for n, b in module.named_buffers(recurse=False) if b is not None}
    n = 0
    if isinstance(module, (*CONVS, *TRANSPOSED)):
        n = len(module.kernel_size)
        window = tuple(range(2, n + 2))
        swapped = (0, 1) if isinstance(module, TRANSPOSED) else (1, 0)
        found = {"kernel": moved("weight", (*window, *swapped))}
        return {"": found | ({"bias": plain("bias")} if "bias" in has else {})}
    if isinstance(module, nn.Linear):
        found = {"kernel": moved("weight", (1, 0))}
        return {"": found | ({"bias": plain("bias")} if "bias" in has else {})}
    norms = (*BATCH_NORMS, *INSTANCE_NORMS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    if isinstance(module, norms):
        words = {"scale": "weight", "shift": "bias"}
        words |= {"mean": "running_mean", "var": "running_var"}
        return {"": {ours: plain(t) for ours, t in words.items() if t in has}}
    if isinstance(module, nn.Embedding):
        return {"": {"table": plain("weight")}}
    if isinstance(module, nn.PReLU):
        return {"": {"slope": plain("weight")}}
    if type(module) in RECURRENT:
        return _recurrent_forms(module)
    if isinstance(module, nn.MultiheadAttention) and module._qkv_same_embed_dim:
        return {"": _attention_forms(module)}
    return {"": {name: plain(name) for name in sorted(has)}} if has else {}


def _recurrent_forms(module: Any) -> dict[str, dict[str, Form]]:
    """A unit for each layer and direction."""
    n = len(RECURRENT[type(module)][1])
    order = tuple(range(n))
    found = {}
    for layer in range(module.num_layers):
        for way in ("", "_reverse")[: 2 if module.bidirectional else 1]:
            end = f"_l{layer}{way}"
            one = {
                "kernel": _rows(f"weight_ih{end}", n, order),
                "recurrent": _rows(f"weight_hh{end}", n, order),
            }
            if module.bias:
                both = (f"bias_ih{end}", f"bias_hh{end}")
                if isinstance(module, nn.GRU):  # the reset gate stands between them
                    one["bias"] = Form(both, lambda *a: np.stack(a), lambda a: (*a,))
                else:
                    one["bias"] = Form(
                        both, lambda a, b: a + b, lambda a: (a, np.zeros_like(a))
                    )
            name = f"layer{layer}{way}" if module.num_layers > 1 or way else ""
            name = name or ("forward" if module.bidirectional else "")
            found[name] = one
    return found


def _attention_forms(module: Any) -> dict[str, Form]:
    """Kernels (in, heads * width) of query, key and value, and (heads * width, out)."""

    def third(name: str, i: int) -> Form:
        return Form(
            (f"{name}[{i}]",),
            lambda a: a.T if a.ndim > 1 else a,
            lambda a: (a.T if a.ndim > 1 else a,),
        )

    found = {}
    for i, part in enumerate(("query", "key", "value")):
        found[f"{part}.kernel"] = third("in_proj_weight", i)
        if module.in_proj_bias is not None:
            found[f"{part}.bias"] = third("in_proj_bias", i)
    found["out.kernel"] = moved("out_proj.weight", (1, 0))
    if module.out_proj.bias is not None:
        found["out.bias"] = plain("out_proj.bias")
    return found


def tensor(module: nn.Module, name: str) -> torch.Tensor:
    """A module's tensor: "weight", "out_proj.bias", or a third, "in_proj_bias[1]"."""
    name, bracket, part = name.partition("[")
    holder: Any = module
    for word in name.split("."):
        holder = getattr(holder, word)
    if bracket:
        i, size = int(part[:-1]), len(holder) // 3
        return holder[i * size : (i + 1) * size]
    return holder
