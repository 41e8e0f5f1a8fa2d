"""Any kind of step computed by itself, from its words.  Twin: none is needed.

What a step would give with another epsilon, another pad or other weights is asked
here, whichever side it is of: the other framework's step in this one's functions.  All
arrays are canonical: channels last, kernels (*window, in, out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Config = dict[str, Any]
Weights = Mapping[str, Tensor]


class Unable(ValueError):
    """A kind or a configuration that nothing here computes."""


def compute(
    kind: str, config: Config, weights: Mapping[str, Array], inputs: Sequence[Array]
) -> Array:
    """What a step gives.

    Raises:
        Unable: There is no function for it.
    """
    if kind not in KINDS:
        raise Unable(f"no function for {kind}")
    solid = {n: torch.from_numpy(np.array(w, order="C")) for n, w in weights.items()}
    given = [torch.from_numpy(np.array(a, order="C")) for a in inputs]
    with torch.no_grad():
        out = KINDS[kind](config, solid, *given)
    return np.array(out.numpy(), order="C")


def _first(x: Tensor) -> Tensor:
    return x.movedim(-1, 1) if x.ndim > 2 else x


def _last(x: Tensor) -> Tensor:
    return x.movedim(1, -1) if x.ndim > 2 else x


def padded(x: Tensor, pads: Sequence[Sequence[int]], mode: str, value: float) -> Tensor:
    """Maps (n, c, *sides) with pads; negative ones cut."""
    flat = [p for pair in reversed(pads) for p in pair]
    if not any(flat):
        return x
    modes = {"zeros": "constant", "symmetric": "symmetric"}
    mode = modes.get(mode, mode)
    if mode == "constant":
        return F.pad(x, flat, value=value)
    return F.pad(x, flat, mode=mode)


def _conv(c: Config, w: Weights, x: Tensor) -> Tensor:
    n = w["kernel"].ndim - 2
    kernel = w["kernel"].permute(n + 1, n, *range(n))
    x = padded(_first(x), c["pads"], c.get("pad_mode", "zeros"), 0.0)
    bias = w.get("bias") if c.get("bias", True) else None
    out = (F.conv1d, F.conv2d, F.conv3d)[n - 1](
        x, kernel, bias, c["strides"], 0, c["dilation"], c["groups"]
    )
    return _last(out)


def _transposed(c: Config, w: Weights, x: Tensor) -> Tensor:
    n = w["kernel"].ndim - 2
    kernel = w["kernel"].permute(n, n + 1, *range(n))
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
    out = function(
        _first(x), kernel, None, c["strides"], 0, 0, c["groups"], c["dilation"]
    )
    out = padded(out, [[-a, -b] for a, b in c["cut"]], "zeros", 0.0)
    if "bias" in w and c.get("bias", True):
        out = out + w["bias"].reshape(1, -1, *([1] * n))
    return _last(out)


def _dense(c: Config, w: Weights, x: Tensor) -> Tensor:
    kernel = w["kernel"]
    out = x @ kernel.reshape(-1, kernel.shape[-1])
    return out + w["bias"] if "bias" in w and c.get("bias", True) else out


def _max_pool(c: Config, w: Weights, x: Tensor) -> Tensor:
    n = len(c["window"])
    value = c.get("pad_value", -np.inf)
    x = padded(_first(x), c["pads"], "zeros", value)
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[n - 1]
    dilation = c.get("dilation", [1] * n)
    return _last(function(x, c["window"], c["strides"], 0, dilation, c["ceil"]))


def _average_pool(c: Config, w: Weights, x: Tensor) -> Tensor:
    n = len(c["window"])
    function = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n - 1]
    x = _first(x)
    even = all(a == b for a, b in c["pads"])
    if even and c.get("pad_value") is None:
        pads = [a for a, _ in c["pads"]]
        return _last(
            function(x, c["window"], c["strides"], pads, c["ceil"], c["counts_padding"])
        )
    ones = torch.ones_like(x)
    counted = c["counts_padding"] or c.get("pad_value") is not None
    total = function(padded(x, c["pads"], "zeros", 0.0), c["window"], c["strides"])
    share = function(
        padded(ones, c["pads"], "zeros", float(counted)), c["window"], c["strides"]
    )
    return _last(total / share)


def _global(how: str) -> Callable[..., Tensor]:
    def function(c: Config, w: Weights, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.ndim - 1))
        return x.mean(axes) if how == "average" else x.amax(axes)

    return function


def _adaptive(how: str) -> Callable[..., Tensor]:
    def function(c: Config, w: Weights, x: Tensor) -> Tensor:
        n = x.ndim - 2
        names = {"average": "adaptive_avg_pool", "max": "adaptive_max_pool"}
        return _last(getattr(F, f"{names[how]}{n}d")(_first(x), c["size"]))

    return function


def _batch_norm(c: Config, w: Weights, x: Tensor) -> Tensor:
    axis = c.get("axis")
    x = x.movedim(axis, -1) if axis is not None else x
    axes = tuple(range(x.ndim - 1))
    if c.get("batch"):
        mean, var = x.mean(axes), x.var(axes, unbiased=False)
    else:
        mean, var = w["mean"], w["var"]
    out = (x - mean) / torch.sqrt(var + c["eps"])
    out = out * w["scale"] if "scale" in w and c.get("scale", True) else out
    out = out + w["shift"] if "shift" in w and c.get("shift", True) else out
    return out.movedim(-1, axis) if axis is not None else out


def _affine(out: Tensor, w: Weights) -> Tensor:
    out = out * w["scale"] if "scale" in w else out
    return out + w["shift"] if "shift" in w else out


def _axes(c: Config, x: Tensor) -> tuple[int, ...]:
    return tuple(c.get("axis") or range(x.ndim - c["axes"], x.ndim))


def _layer_norm(c: Config, w: Weights, x: Tensor) -> Tensor:
    axes = _axes(c, x)
    mean, var = x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)
    out = (x - mean) / torch.sqrt(var + c["eps"])
    if c.get("axis"):  # scale and shift lie along the axes that are normalised
        shape = [x.shape[i] if i in axes else 1 for i in range(x.ndim)]
        w = {name: value.reshape(shape) for name, value in w.items()}
    return _affine(out, w)


def _rms_norm(c: Config, w: Weights, x: Tensor) -> Tensor:
    axes = _axes(c, x)
    return _affine(x / torch.sqrt((x**2).mean(axes, keepdim=True) + c["eps"]), w)


def _group_norm(c: Config, w: Weights, x: Tensor) -> Tensor:
    groups = x.shape[-1] if c["groups"] == -1 else c["groups"]
    out = _last(F.group_norm(_first(x), groups, eps=c["eps"]))
    return _affine(out, w)


def _lrn(c: Config, w: Weights, x: Tensor) -> Tensor:
    alpha = c["strength"] * c["span"]
    words = {"alpha": alpha, "beta": c["power"], "k": c["offset"]}
    return _last(F.local_response_norm(_first(x), c["span"], **words))


def _act(c: Config, w: Weights, x: Tensor) -> Tensor:
    match c["function"]:
        case "relu":
            return torch.where(x > c.get("threshold", 0.0), x, 0.0)
        case "leaky_relu":
            return torch.where(x >= 0, x, c["slope"] * x)
        case "elu":
            return torch.where(x > 0, x, c["alpha"] * torch.expm1(x))
        case "gelu":
            if "root" in c:  # the constant that it divides by
                return 0.5 * x * (1 + torch.erf(x / c["root"]))
            return F.gelu(x, approximate=c["approximate"])
        case "softmax" | "log_softmax" as name:
            return getattr(torch, name)(x, c.get("axis", -1))
        case "linear":
            return x
        case name if name in FUNCTIONS:
            return FUNCTIONS[name](x)
    raise Unable(f"no function {c['function']}")


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": F.relu6,
    "selu": F.selu,
    "celu": F.celu,
    "silu": F.silu,
    "mish": F.mish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "hard_silu": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
    "hard_tanh": F.hardtanh,
    "log_sigmoid": F.logsigmoid,
}


def _prelu(c: Config, w: Weights, x: Tensor) -> Tensor:
    return torch.where(x >= 0, x, w["slope"] * x)


def _resize(c: Config, w: Weights, x: Tensor) -> Tensor:
    names = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}[x.ndim]}
    size = c["size"]
    if size is None:
        n = x.ndim - 2
        factor = c["factor"] if isinstance(c["factor"], list) else [c["factor"]] * n
        size = [int(s * f) for s, f in zip(x.shape[1:-1], factor, strict=True)]
    mode = names.get(c["method"], c["method"])
    if not c.get("half_pixel", True):
        return _resized_plainly(x, size)
    smooth = mode not in ("nearest", "nearest-exact", "area")
    words = {"align_corners": c["corners"], "antialias": c["antialias"]}
    return _last(F.interpolate(_first(x), size, mode=mode, **(words if smooth else {})))


def _resized_plainly(x: Tensor, size: Sequence[int]) -> Tensor:
    """Linear, at positions i * in / out: without the half of a pixel."""
    for axis, n in enumerate(size, 1):
        there = x.shape[axis]
        at = torch.arange(n, dtype=x.dtype) * (there / n)
        low = at.floor().long().clamp(max=there - 1)
        high = (low + 1).clamp(max=there - 1)
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        share = (at - low).reshape(shape)
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x


def _recurrent(kind: str) -> Callable[..., Tensor]:
    def function(c: Config, w: Weights, x: Tensor) -> Tensor:
        if c.get("both_ways") or c["layers"] > 1 or c.get("functions"):
            raise Unable("a recurrent layer of several, or with other functions")
        x = x.transpose(0, 1) if c.get("time_first") else x
        x = x.flip(1) if c.get("backwards") else x
        out = _unrolled(kind, c, w, x)
        if c["returns"] == "last":
            return out[:, -1]
        return out.transpose(0, 1) if c.get("time_first") else out

    return function


def _unrolled(kind: str, c: Config, w: Weights, x: Tensor) -> Tensor:
    units = c["units"]
    bias = w.get("bias", torch.zeros(w["kernel"].shape[1]))
    two = bias if bias.ndim == 2 else torch.stack([bias, torch.zeros_like(bias)])
    hidden = cell = torch.zeros(len(x), units)
    outputs = []
    for t in range(x.shape[1]):
        given = x[:, t] @ w["kernel"] + two[0]
        if kind == "gru" and not c.get("reset_after", True):
            hidden = _reset_before(w, given, hidden, units)
        else:
            kept = hidden @ w["recurrent"] + two[1]
            hidden, cell = _gated(kind, c, given, kept, hidden, cell)
        outputs.append(hidden)
    return torch.stack(outputs, 1)


def _gated(
    kind: str, c: Config, given: Tensor, kept: Tensor, hidden: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor]:
    match kind:
        case "lstm":
            i, f, g, o = (given + kept).chunk(4, -1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(cell), cell
        case "gru":
            (r, z, n), (hr, hz, hn) = given.chunk(3, -1), kept.chunk(3, -1)
            z = torch.sigmoid(z + hz)
            new = torch.tanh(n + torch.sigmoid(r + hr) * hn)
            return (1 - z) * new + z * hidden, cell
    function = torch.relu if c.get("function") == "relu" else torch.tanh
    return function(given + kept), cell


def _reset_before(w: Weights, given: Tensor, hidden: Tensor, units: int) -> Tensor:
    """A GRU's step whose reset gate stands before the product."""
    kernels = w["recurrent"].split(units, 1)
    r, z, n = given.chunk(3, -1)
    r = torch.sigmoid(r + hidden @ kernels[0])
    z = torch.sigmoid(z + hidden @ kernels[1])
    new = torch.tanh(n + (r * hidden) @ kernels[2])
    return (1 - z) * new + z * hidden


def _attention(c: Config, w: Weights, x: Tensor, *others: Tensor) -> Tensor:
    key = others[0] if others else x
    value = others[1] if len(others) > 1 else key
    if c.get("time_first"):
        x, key, value = (t.transpose(0, 1) for t in (x, key, value))
    parts = []
    for name, given in (("query", x), ("key", key), ("value", value)):
        out = given @ w[f"{name}.kernel"]
        out = out + w[f"{name}.bias"] if f"{name}.bias" in w else out
        parts.append(out.unflatten(-1, (c["heads"], -1)).transpose(1, 2))
    scale = c.get("scale")
    out = F.scaled_dot_product_attention(
        *parts, is_causal=bool(c.get("masked")), scale=scale
    )
    out = out.transpose(1, 2).flatten(2) @ w["out.kernel"]
    out = out + w["out.bias"] if "out.bias" in w else out
    return out.transpose(0, 1) if c.get("time_first") else out


def _dot_attention(c: Config, w: Weights, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(
        q, k, v, is_causal=bool(c["masked"]), scale=c["scale"]
    )


def _embedding(c: Config, w: Weights, x: Tensor) -> Tensor:
    return w["table"][x.long()]


def _join(function: Callable[[list[Tensor]], Tensor]) -> Callable[..., Tensor]:
    def joined(c: Config, w: Weights, *given: Tensor) -> Tensor:
        if len(given) == 1 and "number" in c:
            given = (*given, torch.tensor(c["number"], dtype=given[0].dtype))
        return function(list(given))

    return joined


def _same(c: Config, w: Weights, x: Tensor) -> Tensor:
    return x


def _dropout(c: Config, w: Weights, x: Tensor) -> Tensor:
    if c.get("active"):
        raise Unable("dropout that draws")
    return x


KINDS: dict[str, Callable[..., Tensor]] = {
    "conv": _conv,
    "transposed": _transposed,
    "dense": _dense,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "global_average": _global("average"),
    "global_max": _global("max"),
    "adaptive_average": _adaptive("average"),
    "adaptive_max": _adaptive("max"),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "lrn": _lrn,
    "act": _act,
    "prelu": _prelu,
    "resize": _resize,
    "lstm": _recurrent("lstm"),
    "gru": _recurrent("gru"),
    "rnn": _recurrent("rnn"),
    "attention": _attention,
    "dot_attention": _dot_attention,
    "embedding": _embedding,
    "add": _join(lambda t: sum(t[1:], t[0])),
    "multiply": _join(lambda t: t[0] * t[1]),
    "subtract": _join(lambda t: t[0] - t[1]),
    "divide": _join(lambda t: t[0] / t[1]),
    "concat": _join(lambda t: torch.cat(t, -1)),
    "identity": _same,
    "dropout": _dropout,
}
