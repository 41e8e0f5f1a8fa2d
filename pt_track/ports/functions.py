"""torch's functions in words that both sides share.  Twin: tf_track/ports/functions.py.

Told by name: `F.relu(x)` between two modules is the same step as `nn.ReLU`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pt_track.ports.kinds import along, factors, lrn, sides

Config = dict[str, Any]
Told = tuple[str, Config, bool]

# Function -> what it is called among activations.
ACTS = {
    "relu": "relu",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "elu": "elu",
    "selu": "selu",
    "celu": "celu",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softplus": "softplus",
    "softsign": "softsign",
    "hardswish": "hard_silu",
    "hardsigmoid": "hard_sigmoid",
    "hardtanh": "hard_tanh",
    "logsigmoid": "log_sigmoid",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
}
# Function -> its kind, where it computes with nothing else.
PLAIN = {
    "add": "add",
    "__add__": "add",
    "__radd__": "add",
    "__iadd__": "add",
    "sub": "subtract",
    "__sub__": "subtract",
    "__rsub__": "subtract",
    "rsub": "subtract",
    "mul": "multiply",
    "__mul__": "multiply",
    "__rmul__": "multiply",
    "div": "divide",
    "__truediv__": "divide",
    "cat": "concat",
    "concat": "concat",
    "concatenate": "concat",
    "stack": "stack",
    "flatten": "reshape",
    "view": "reshape",
    "reshape": "reshape",
    "unflatten": "reshape",
    "squeeze": "reshape",
    "unsqueeze": "reshape",
    "permute": "permute",
    "transpose": "permute",
    "swapaxes": "permute",
    "movedim": "permute",
    "matmul": "matmul",
    "__matmul__": "matmul",
    "bmm": "matmul",
    "contiguous": "identity",
    "clone": "identity",
    "to": "identity",
    "float": "identity",
    "double": "identity",
    "__getitem__": "slice",
    "chunk": "slice",
    "split": "slice",
    "unbind": "slice",
    "masked_fill": "mask",
}


def told(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Told:
    """Kind, what it computes with, whether maps have channels first."""
    bare = name.strip("_") if name.endswith("_") and not name.startswith("__") else name
    bare = bare.removeprefix("_") if not bare.startswith("__") else bare
    if bare in ACTS:
        config = {"function": ACTS[bare]} | _with(bare, args, kwargs)
        if "softmax" in bare and args:
            config |= along(kwargs.get("dim", (*args, None)[1]), args[0].ndim)
        return "act", config, False
    if bare in PLAIN:
        return PLAIN[bare], _scalar(args), False
    if bare in TABLE:
        names, describe = TABLE[bare]
        given = dict(zip(names, args, strict=False)) | kwargs
        return describe(given)
    return bare, {}, False


def _with(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Config:
    """An activation's own number: a slope, a form."""
    given = dict(enumerate(args)) | kwargs
    match name:
        case "leaky_relu":
            return {"slope": given.get("negative_slope", given.get(1, 0.01))}
        case "elu" | "celu":
            return {"alpha": given.get("alpha", given.get(1, 1.0))}
        case "gelu":
            return {"approximate": given.get("approximate", "none")}
    return {}


def _scalar(args: Sequence[Any]) -> Config:
    """The number of `x * 2`."""
    numbers = [a for a in args if isinstance(a, int | float)]
    return {"number": float(numbers[0])} if len(numbers) == 1 else {}


def _max_pool(given: dict[str, Any]) -> Told:
    n = given["input"].ndim - 2
    window = sides(given["kernel_size"], n)
    config = {
        "window": window,
        "strides": sides(given.get("stride") or window, n),
        "pads": [[p, p] for p in sides(given.get("padding", 0), n)],
        "dilation": sides(given.get("dilation", 1), n),
        "ceil": bool(given.get("ceil_mode", False)),
    }
    return "max_pool", config, True


def _average_pool(given: dict[str, Any]) -> Told:
    n = given["input"].ndim - 2
    window = sides(given["kernel_size"], n)
    config = {
        "window": window,
        "strides": sides(given.get("stride") or window, n),
        "pads": [[p, p] for p in sides(given.get("padding", 0), n)],
        "ceil": bool(given.get("ceil_mode", False)),
        "counts_padding": bool(given.get("count_include_pad", True)),
    }
    return "average_pool", config, True


def _adaptive(how: str) -> Callable[[dict[str, Any]], Told]:
    def describe(given: dict[str, Any]) -> Told:
        n = given["input"].ndim - 2
        size = sides(given["output_size"], n)
        if all(side == 1 for side in size):
            return f"global_{how}", {}, True
        return f"adaptive_{how}", {"size": size}, True

    return describe


def _reduced(how: str) -> Callable[[dict[str, Any]], Told]:
    """A mean or a maximum over all sides is a global pool."""

    def describe(given: dict[str, Any]) -> Told:
        axes = given.get("dim")
        axes = [axes] if isinstance(axes, int) else list(axes or ())
        n = given["input"].ndim
        axes = sorted(a % n for a in axes)
        if n > 3 and axes == list(range(2, n)):
            return f"global_{how}", {}, True
        return how, {"axes": axes}, False

    return describe


def _pad(given: dict[str, Any]) -> Told:
    flat = given["pad"]
    pads = [[int(flat[i]), int(flat[i + 1])] for i in range(0, len(flat), 2)][::-1]
    mode = given.get("mode", "constant")
    config = {"pads": pads, "mode": mode, "value": given.get("value") or 0.0}
    # A pad of two sides of maps; one of fewer axes than that is of any array.
    return "pad", config, len(pads) == given["input"].ndim - 2


def _dropout(given: dict[str, Any]) -> Told:
    active = bool(given.get("training", True)) and given.get("p", 0.5) > 0
    return "dropout", {"rate": given.get("p", 0.5), "active": active}, False


def _batch_norm(given: dict[str, Any]) -> Told:
    config = {
        "eps": given.get("eps", 1e-5),
        "batch": bool(given.get("training", False)),
        "scale": given.get("weight") is not None,
        "shift": given.get("bias") is not None,
    }
    return "batch_norm", config, True


def _layer_norm(given: dict[str, Any]) -> Told:
    config = {"eps": given.get("eps", 1e-5), "axes": len(given["normalized_shape"])}
    return "layer_norm", config, False


def _lrn(given: dict[str, Any]) -> Told:
    usual = {"alpha": 1e-4, "beta": 0.75, "k": 1.0}
    words = usual | {name: given[name] for name in usual if name in given}
    return "lrn", lrn(given["size"], **words), True


def _dot_attention(given: dict[str, Any]) -> Told:
    masked = bool(given.get("is_causal")) or given.get("attn_mask") is not None
    return "dot_attention", {"scale": given.get("scale"), "masked": masked}, False


def _resize(given: dict[str, Any]) -> Told:
    mode = given.get("mode", "nearest")
    size = given.get("size")
    config = {
        "size": list(size) if isinstance(size, (list, tuple)) else size,
        "factor": factors(given.get("scale_factor"), given["input"].ndim - 2),
        "method": {"bilinear": "linear", "trilinear": "linear"}.get(mode, mode),
        "corners": bool(given.get("align_corners")),
        "half_pixel": True,
        "antialias": bool(given.get("antialias", False)),
    }
    return "resize", config, True


POOL = ("input", "kernel_size", "stride", "padding")
Row = tuple[tuple[str, ...], Callable[[dict[str, Any]], Told]]
TABLE: dict[str, Row] = {
    **{
        f"max_pool{n}d": ((*POOL, "dilation", "ceil_mode"), _max_pool)
        for n in (1, 2, 3)
    },
    **{
        f"avg_pool{n}d": ((*POOL, "ceil_mode", "count_include_pad"), _average_pool)
        for n in (1, 2, 3)
    },
    **{
        f"adaptive_{short}_pool{n}d": (("input", "output_size"), _adaptive(how))
        for short, how in (("avg", "average"), ("max", "max"))
        for n in (1, 2, 3)
    },
    "mean": (("input", "dim", "keepdim"), _reduced("average")),
    "amax": (("input", "dim", "keepdim"), _reduced("max")),
    "pad": (("input", "pad", "mode", "value"), _pad),
    "dropout": (("input", "p", "training"), _dropout),
    "batch_norm": (
        ("input", "running_mean", "running_var", "weight", "bias", "training"),
        _batch_norm,
    ),
    "layer_norm": (
        ("input", "normalized_shape", "weight", "bias", "eps"),
        _layer_norm,
    ),
    "local_response_norm": (("input", "size", "alpha", "beta", "k"), _lrn),
    "scaled_dot_product_attention": (
        ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"),
        _dot_attention,
    ),
    "interpolate": (
        ("input", "size", "scale_factor", "mode", "align_corners"),
        _resize,
    ),
}
