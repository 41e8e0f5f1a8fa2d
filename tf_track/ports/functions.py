"""Keras's and TensorFlow's functions in words that both sides share.

Twin: pt_track/ports/functions.py.  Told by name: `ops.relu(x)` between two layers is
the same step as `layers.ReLU`, and so is the operation of a functional graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tf_track.ports.kinds import ACTIVATIONS, USUAL, same, sides

Config = dict[str, Any]
Told = tuple[str, Config, bool]

# Function -> its kind, where it computes with nothing else.  Lower case: operations of
# a graph are classes of the same names.
PLAIN = {
    "add": "add",
    "__add__": "add",
    "__radd__": "add",
    "add_n": "add",
    "subtract": "subtract",
    "__sub__": "subtract",
    "__rsub__": "subtract",
    "multiply": "multiply",
    "__mul__": "multiply",
    "__rmul__": "multiply",
    "divide": "divide",
    "truedivide": "divide",
    "true_divide": "divide",
    "__truediv__": "divide",
    "concat": "concat",
    "concatenate": "concat",
    "stack": "stack",
    "reshape": "reshape",
    "ravel": "reshape",
    "squeeze": "reshape",
    "expand_dims": "reshape",
    "expanddims": "reshape",
    "transpose": "permute",
    "swapaxes": "permute",
    "moveaxis": "permute",
    "matmul": "matmul",
    "__matmul__": "matmul",
    "einsum": "einsum",
    "cast": "identity",
    "identity": "identity",
    "convert_to_tensor": "identity",
    "stop_gradient": "identity",
    "getitem": "slice",
    "get_item": "slice",
    "__getitem__": "slice",
    "split": "slice",
    "unstack": "slice",
}


def told(name: str, args: Sequence[Any], kwargs: Config) -> Told:
    """Kind, what it computes with, whether maps have channels first."""
    bare = name.lower() if not name.startswith("__") else name
    bare = {"leakyrelu": "leaky_relu", "logsoftmax": "log_softmax"}.get(bare, bare)
    if bare in ACTIVATIONS:
        function = ACTIVATIONS[bare]
        return "act", _with(function, args, kwargs), False
    if bare in PLAIN:
        return PLAIN[bare], _scalar(args), False
    if bare in ("mean", "reduce_mean", "max", "amax", "reduce_max"):
        return _reduced("average" if "mean" in bare else "max", args, kwargs)
    if bare in ("max_pool", "maxpool", "max_pool2d", "average_pool", "averagepool"):
        return _pool(bare, args, kwargs)
    if bare in ("lrn", "local_response_normalization"):
        return "lrn", _lrn(args, kwargs), False
    if bare == "pad":
        pads = [[int(a), int(b)] for a, b in kwargs.get("pad_width", args[1])]
        config = {"pads": pads[1:-1], "mode": "constant", "value": 0.0}
        return "pad", config, False
    return bare, {}, False


def _with(function: str, args: Sequence[Any], kwargs: Config) -> Config:
    """An activation with its own number, as given or as usual."""
    config = {"function": function} | USUAL.get(function, {})
    given = dict(enumerate(args)) | kwargs
    match function:
        case "leaky_relu":
            slope = given.get("negative_slope", given.get("alpha", given.get(1)))
            config["slope"] = 0.2 if slope is None else float(slope)
        case "gelu":
            # `ops.gelu` approximates unless told otherwise, `activations.gelu` not.
            tanh = given.get("approximate", given.get(1, False))
            config["approximate"] = "tanh" if tanh else "none"
    return config


def _scalar(args: Sequence[Any]) -> Config:
    """The number of `x * 2`."""
    numbers = [a for a in args if isinstance(a, int | float)]
    return {"number": float(numbers[0])} if len(numbers) == 1 else {}


def _reduced(how: str, args: Sequence[Any], kwargs: Config) -> Told:
    """A mean or a maximum over all sides is a global pool."""
    axes = kwargs.get("axis", args[1] if len(args) > 1 else None)
    axes = [axes] if isinstance(axes, int) else list(axes or ())
    n = len(args[0].shape) if args else 0
    axes = sorted(a % n for a in axes) if n else axes
    if n > 3 and axes == list(range(1, n - 1)):
        return f"global_{how}", {}, False
    return how, {"axes": axes}, False


def _lrn(args: Sequence[Any], kwargs: Config) -> Config:
    """LRN in shared words: x / (offset + strength * sum over span) ** power."""
    usual = {"depth_radius": 5, "bias": 1.0, "alpha": 1.0, "beta": 0.5}
    given = usual | dict(zip(usual, args[1:], strict=False)) | kwargs
    return {
        "span": 2 * int(given["depth_radius"]) + 1,
        "strength": float(given["alpha"]),
        "power": float(given["beta"]),
        "offset": float(given["bias"]),
    }


def _pool(name: str, args: Sequence[Any], kwargs: Config) -> Told:
    names = ("inputs", "pool_size", "strides", "padding")
    given = dict(zip(names, args, strict=False)) | kwargs
    given |= {"pool_size": given.get("ksize", given.get("pool_size"))}
    sizes = [int(side) for side in args[0].shape[1:-1]]
    n = len(sizes)
    window = sides(given["pool_size"], n)
    strides = sides(given.get("strides") or window, n)
    padded = str(given.get("padding", "valid")).lower() == "same"
    pads = same(sizes, window, strides, [1] * n) if padded else [[0, 0]] * n
    config = {"window": window, "strides": strides, "pads": pads, "ceil": False}
    if name.startswith("max"):
        return "max_pool", config | {"dilation": [1] * n}, False
    return "average_pool", config | {"counts_padding": False}, False
