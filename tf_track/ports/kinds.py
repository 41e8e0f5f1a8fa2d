"""What Keras's layers are, in words that both sides share.  Twin: pt_track/ports/kinds.py.

Every layer has a kind and what it computes with; one with weights is a unit, or some,
whose tensors are told and taken in canonical layouts (`common.port.told`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

Array = NDArray[Any]
Config = dict[str, Any]

CONVS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
TRANSPOSED = (
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
MAX_POOLS = (layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)
AVERAGE_POOLS = (
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
)
GLOBAL_AVERAGE = (
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)
GLOBAL_MAX = (
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
DROPOUTS = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.AlphaDropout,
)
NOISE = (layers.GaussianNoise,)
RECURRENT = {
    layers.LSTM: ("lstm", (0, 1, 2, 3)),
    layers.GRU: ("gru", (1, 0, 2)),  # Keras has z, r, n
    layers.SimpleRNN: ("rnn", (0,)),
}
ZERO_PADS = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
CROPS = (layers.Cropping1D, layers.Cropping2D, layers.Cropping3D)
UPSAMPLING = (layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D)
# Layers whose activation comes last: it is a step of its own.
FUSED = (*CONVS, *TRANSPOSED, *DEPTHWISE, *SEPARABLE, layers.Dense, layers.EinsumDense)
MERGES = {
    layers.Add: "add",
    layers.Subtract: "subtract",
    layers.Multiply: "multiply",
    layers.Average: "mean_of",
    layers.Maximum: "maximum",
    layers.Minimum: "minimum",
    layers.Concatenate: "concat",
    layers.Dot: "matmul",
}


def sides(value: int | Sequence[int], n: int) -> list[int]:
    """One number for each side."""
    return [int(value)] * n if isinstance(value, int) else [int(v) for v in value]


ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "elu": "elu",
    "selu": "selu",
    "celu": "celu",
    "gelu": "gelu",
    "silu": "silu",
    "swish": "silu",
    "mish": "mish",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softplus": "softplus",
    "softsign": "softsign",
    "hard_silu": "hard_silu",
    "hard_swish": "hard_silu",
    "hard_sigmoid": "hard_sigmoid",
    "hard_tanh": "hard_tanh",
    "log_sigmoid": "log_sigmoid",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
}
# What a function computes with unless told otherwise, where torch's differs.
USUAL: dict[str, Config] = {
    "leaky_relu": {"slope": 0.2},
    "gelu": {"approximate": "none"},
    "elu": {"alpha": 1.0},
    "celu": {"alpha": 1.0},
}


def function_of(activation: Any) -> Config:
    """What an activation given as a function computes."""
    if isinstance(activation, layers.Layer):
        return described(activation, (), {})[1]
    name = getattr(activation, "__name__", type(activation).__name__)
    known = ACTIVATIONS.get(name)
    return {"function": known or name} | USUAL.get(known or "", {})


LINEAR = keras.activations.linear  # before calls are caught: `is` is asked of it


def is_linear(activation: Any) -> bool:
    """Whether an activation leaves everything as it is."""
    return activation is None or activation is LINEAR


def channels_first(layer: Any) -> bool:
    """Whether a layer's maps are (n, channels, *sides)."""
    return getattr(layer, "data_format", None) == "channels_first"


def described(
    layer: Any, shape: Sequence[int], kwargs: Config
) -> tuple[str, Config, bool]:
    """Kind, what it computes with, and whether its maps have channels first.

    Args:
        layer: A layer.
        shape: Of its first input, which "same" depends on; () where that is unknown.
        kwargs: What it was called with besides.
    """
    for kinds, describe in TABLE:
        if isinstance(layer, kinds):
            kind, config = describe(layer, shape, kwargs)
            return kind, config, channels_first(layer)
    return "custom", {}, False


def same(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> list[list[int]]:
    """Pads of "same": the more at the end."""
    pads = []
    for size, k, s, d in zip(sizes, kernel, strides, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads.append([total // 2, total - total // 2])
    return pads


def _sizes(layer: Any, shape: Sequence[int], n: int) -> list[int]:
    """The sides of maps of this shape."""
    rest = shape[2:] if channels_first(layer) else shape[1:-1]
    return [int(side or 0) for side in rest] if shape else [0] * n


def _conv(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    n = len(m.kernel_size)
    kernel, strides = sides(m.kernel_size, n), sides(m.strides, n)
    dilation = sides(m.dilation_rate, n)
    config: Config = {
        "kernel": kernel,
        "strides": strides,
        "dilation": dilation,
        "bias": bool(m.use_bias),
    }
    if isinstance(m, TRANSPOSED):
        return "transposed", config | {"groups": 1, "cut": _cut(m, kernel, strides)}
    wide = len(shape) > 1
    channels = (shape[1] if channels_first(m) else shape[-1]) if wide else 0
    alone = isinstance(m, (*DEPTHWISE, *SEPARABLE))
    config["groups"] = int(channels) if alone else m.groups
    if m.padding == "same":
        config["pads"] = same(_sizes(m, shape, n), kernel, strides, dilation)
    elif m.padding == "causal":
        config["pads"] = [[(kernel[0] - 1) * dilation[0], 0]]
    else:
        config["pads"] = [[0, 0]] * n
    return "conv", config


def _cut(m: Any, kernel: Sequence[int], strides: Sequence[int]) -> list[list[int]]:
    """What is cut from the ends of a whole transposed convolution; < 0: added."""
    extra = m.output_padding
    extras = [None] * len(kernel) if extra is None else sides(extra, len(kernel))
    cut = []
    for k, s, e in zip(kernel, strides, extras, strict=True):
        if m.padding == "valid":
            cut.append([0, -(max(k, s) - k if e is None else e)])
        else:
            total = k - s if e is None else k - k % 2 - e
            cut.append([max(total, 0) // 2, total - max(total, 0) // 2])
    return cut


def _dense(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    bias = m.use_bias if isinstance(m, layers.Dense) else m.bias_axes is not None
    return "dense", {"bias": bool(bias)}


def _pool(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    n = len(m.pool_size)
    window, strides = sides(m.pool_size, n), sides(m.strides or m.pool_size, n)
    ones = [1] * n
    none = [[0, 0]] * n
    padded = m.padding == "same"
    pads = same(_sizes(m, shape, n), window, strides, ones) if padded else none
    config = {"window": window, "strides": strides, "pads": pads, "ceil": False}
    if isinstance(m, MAX_POOLS):
        return "max_pool", config | {"dilation": ones}
    return "average_pool", config | {"counts_padding": False}


def _global(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return f"global_{'average' if isinstance(m, GLOBAL_AVERAGE) else 'max'}", {}


def _batch_norm(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    config = {
        "eps": m.epsilon,
        "decay": m.momentum,
        "batch": bool(kwargs.get("training")) and m.trainable,
        "variance": "biased",
        "scale": bool(m.scale),
        "shift": bool(m.center),
    }
    axis = m.axis if isinstance(m.axis, int) else m.axis[0]
    if shape and axis % len(shape) != len(shape) - 1:
        config["axis"] = axis % len(shape)
    return "batch_norm", config


def _layer_norm(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    axes = [m.axis] if isinstance(m.axis, int) else list(m.axis)
    config: Config = {"eps": m.epsilon, "axes": len(axes)}
    if shape:
        n = len(shape)
        real = sorted(a % n for a in axes)
        if real != list(range(n - len(real), n)):
            config["axis"] = real
    rms = isinstance(m, layers.RMSNormalization) or getattr(m, "rms_scaling", False)
    return ("rms_norm" if rms else "layer_norm"), config


def _group_norm(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "group_norm", {"eps": m.epsilon, "groups": m.groups}


def _dropout(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "dropout", {"rate": m.rate, "active": bool(kwargs.get("training"))}


def _noise(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "noise", {"active": bool(kwargs.get("training"))}


def _recurrent(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    kind, _ = RECURRENT[type(m)]
    config = {
        "units": m.units,
        "layers": 1,
        "both_ways": False,
        "time_first": False,
        "bias": bool(m.use_bias),
        "returns": "sequence" if m.return_sequences else "last",
    }
    if m.go_backwards:
        config["backwards"] = True
    if kind == "gru":
        config["reset_after"] = bool(m.reset_after)
    usual = ("tanh", "sigmoid") if kind != "rnn" else ("tanh",)
    found = [getattr(f, "__name__", "") for f in _gates(m, kind)]
    if kind == "rnn":
        config["function"] = found[0]
    elif tuple(found) != usual:
        config["functions"] = found
    return kind, config


def _gates(m: Any, kind: str) -> list[Any]:
    return [m.activation] if kind == "rnn" else [m.activation, m.recurrent_activation]


def _both_ways(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    kind, config = _recurrent(m.forward_layer, shape, kwargs)
    return kind, config | {"both_ways": True, "merge": m.merge_mode}


def _attention(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    config = {
        "heads": m._num_heads,
        "width": m._key_dim,
        "bias": bool(m._use_bias),
        "time_first": False,
        "masked": bool(
            kwargs.get("use_causal_mask") or kwargs.get("attention_mask") is not None
        ),
    }
    return "attention", config


def _embedding(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "embedding", {}


def _prelu(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "prelu", {}


def _act(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    match m:
        case layers.ReLU():
            if m.negative_slope:
                config = {"function": "leaky_relu", "slope": float(m.negative_slope)}
            else:
                name = {None: "relu", 6: "relu6"}.get(m.max_value, "clipped_relu")
                config = {"function": name}
            if m.threshold:
                config["threshold"] = float(m.threshold)
            return "act", config
        case layers.LeakyReLU():
            return "act", {"function": "leaky_relu", "slope": float(m.negative_slope)}
        case layers.ELU():
            return "act", {"function": "elu", "alpha": float(m.alpha)}
        case layers.Softmax():
            n = len(shape)
            axis = m.axis % n if n and isinstance(m.axis, int) else -1
            other = {"axis": axis} if axis not in (-1, n - 1) else {}
            return "act", {"function": "softmax"} | other
    return "act", function_of(m.activation)


def _merge(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return next(kind for cls, kind in MERGES.items() if isinstance(m, cls)), {}


def _pad(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    pads = m.padding
    pads = [pads] if isinstance(pads[0], int) else pads
    config = {"pads": [[int(a), int(b)] for a, b in pads], "mode": "zeros"}
    return "pad", config | {"value": 0.0}


def _crop(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "crop", {}


def _resize(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    factor = m.size if isinstance(m, UPSAMPLING) else None
    factor = [factor] if isinstance(factor, int) else factor
    factor = [float(f) for f in factor] if factor else None
    size = None if factor else [m.height, m.width]
    method = getattr(m, "interpolation", "nearest")
    config = {
        "size": size,
        "factor": factor,
        "method": "linear" if method == "bilinear" else method,
        "corners": False,
        "half_pixel": True,
        "antialias": bool(getattr(m, "antialias", False)),
    }
    return "resize", config


def _reshape(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "reshape", {}


def _permute(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "permute", {}


def _rescale(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "rescale", {}


def _identity(m: Any, shape: Sequence[int], kwargs: Config) -> tuple[str, Config]:
    return "identity", {}


Describe = Callable[[Any, Sequence[int], Config], tuple[str, Config]]
TABLE: tuple[tuple[Any, Describe], ...] = (
    ((*CONVS, *TRANSPOSED, *DEPTHWISE, *SEPARABLE), _conv),
    ((layers.Dense, layers.EinsumDense), _dense),
    ((*MAX_POOLS, *AVERAGE_POOLS), _pool),
    ((*GLOBAL_AVERAGE, *GLOBAL_MAX), _global),
    (layers.BatchNormalization, _batch_norm),
    ((layers.LayerNormalization, layers.RMSNormalization), _layer_norm),
    (layers.GroupNormalization, _group_norm),
    (DROPOUTS, _dropout),
    (NOISE, _noise),
    (tuple(RECURRENT), _recurrent),
    (layers.Bidirectional, _both_ways),
    (layers.MultiHeadAttention, _attention),
    (layers.Embedding, _embedding),
    (layers.PReLU, _prelu),
    ((layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Softmax), _act),
    (layers.Activation, _act),
    (tuple(MERGES), _merge),
    (ZERO_PADS, _pad),
    (CROPS, _crop),
    ((*UPSAMPLING, layers.Resizing), _resize),
    ((layers.Flatten, layers.Reshape), _reshape),
    (layers.Permute, _permute),
    ((layers.Rescaling, layers.Normalization), _rescale),
    ((layers.Identity, layers.InputLayer), _identity),
)


# --- weights ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """How one canonical tensor lies in a layer.

    Attributes:
        names: The layer's tensor that it is, as a path of attributes.
        get: Its array -> the canonical one.
        put: The canonical one, and the shape it lies in -> its array.
    """

    names: tuple[str, ...]
    get: Callable[[Array], Array]
    put: Callable[[Array, tuple[int, ...]], Array]


def plain(name: str) -> Form:
    """A tensor that is canonical as it is."""
    return Form((name,), lambda a: a, lambda a, shape: a)


def moved(name: str, axes: tuple[int, ...]) -> Form:
    """A tensor whose axes are in another order; `axes` make the canonical one."""
    back = tuple(int(i) for i in np.argsort(axes))
    return Form(
        (name,),
        lambda a: np.transpose(a, axes),
        lambda a, shape: np.transpose(a, back),
    )


def folded(name: str, shape: Callable[[Array], tuple[int, ...]]) -> Form:
    """A tensor with its axes taken together, as `shape` says of it."""
    return Form(
        (name,), lambda a: a.reshape(shape(a)), lambda a, there: a.reshape(there)
    )


def _gates_of(name: str, order: tuple[int, ...]) -> Form:
    """A tensor whose last axis has the gates, in the canonical order."""
    n = len(order)

    def get(a: Array) -> Array:
        parts = np.split(a, n, -1)
        return np.concatenate([parts[i] for i in order], -1)

    def put(a: Array, shape: tuple[int, ...]) -> Array:
        parts = np.split(a, n, -1)
        return np.concatenate([parts[order.index(i)] for i in range(n)], -1)

    return Form((name,), get, put)


def forms(layer: Any) -> dict[str, dict[str, Form]]:
    """Unit, as a suffix of the layer's name -> canonical name -> its form."""
    if isinstance(layer, SEPARABLE):
        depthwise = {"kernel": _depthwise("depthwise_kernel")}
        pointwise = {"kernel": plain("pointwise_kernel")}
        pointwise |= {"bias": plain("bias")} if layer.use_bias else {}
        return {"depthwise": depthwise, "pointwise": pointwise}
    if isinstance(layer, (*CONVS, *TRANSPOSED, *DEPTHWISE, layers.Dense)):
        return {
            "": _kernel(layer) | ({"bias": plain("bias")} if layer.use_bias else {})
        }
    if isinstance(layer, layers.EinsumDense):
        found = {"kernel": plain("kernel")}
        return {"": found | ({"bias": plain("bias")} if layer.bias_axes else {})}
    if isinstance(layer, layers.BatchNormalization):
        words = {"mean": plain("moving_mean"), "var": plain("moving_variance")}
        return {"": _norm(layer) | words}
    if isinstance(layer, (layers.LayerNormalization, layers.GroupNormalization)):
        return {"": _norm(layer)}
    if isinstance(layer, layers.RMSNormalization):
        return {"": {"scale": plain("scale")}}
    if isinstance(layer, layers.Embedding):
        return {"": {"table": plain("embeddings")}}
    if isinstance(layer, layers.PReLU):
        return {"": {"slope": Form(("alpha",), _squeezed, np.broadcast_to)}}
    if type(layer) in RECURRENT:
        return {"": _cell(layer, "")}
    if isinstance(layer, layers.Bidirectional):
        return {
            "forward": _cell(layer.forward_layer, "forward_layer."),
            "reverse": _cell(layer.backward_layer, "backward_layer."),
        }
    if isinstance(layer, layers.MultiHeadAttention):
        return {"": _attention_forms(layer)}
    own = [(v.name, f"weights[{i}]") for i, v in enumerate(layer.weights)]
    own = [(n, place) for n, place in own if "seed_generator" not in n]
    return {"": {name: plain(place) for name, place in own}} if own else {}


def _kernel(layer: Any) -> dict[str, Form]:
    if isinstance(layer, DEPTHWISE):
        return {"kernel": _depthwise("kernel")}
    if isinstance(layer, TRANSPOSED):
        n = len(layer.kernel_size)
        return {"kernel": moved("kernel", (*range(n), n + 1, n))}
    return {"kernel": plain("kernel")}


def _depthwise(name: str) -> Form:
    """(*window, channels, multiplier) as (*window, 1, channels * multiplier)."""
    return folded(name, lambda a: (*a.shape[:-2], 1, a.shape[-2] * a.shape[-1]))


def _norm(layer: Any) -> dict[str, Form]:
    return ({"scale": plain("gamma")} if layer.scale else {}) | (
        {"shift": plain("beta")} if layer.center else {}
    )


def _squeezed(a: Array) -> Array:
    """A slope for each channel, or one: without the axes that are shared."""
    return a.reshape(-1) if a.size == max(a.shape) else a


def _cell(layer: Any, place: str) -> dict[str, Form]:
    _, order = RECURRENT[type(layer)]
    found = {
        "kernel": _gates_of(f"{place}cell.kernel", order),
        "recurrent": _gates_of(f"{place}cell.recurrent_kernel", order),
    }
    if layer.use_bias:
        found["bias"] = _gates_of(f"{place}cell.bias", order)
    return found


def _attention_forms(layer: Any) -> dict[str, Form]:
    """Kernels (in, heads * width) of query, key and value, and (heads * width, out)."""
    found = {}
    for part in ("query", "key", "value"):
        home = f"_{part}_dense"
        found[f"{part}.kernel"] = folded(f"{home}.kernel", lambda a: (a.shape[0], -1))
        if layer._use_bias:
            found[f"{part}.bias"] = folded(f"{home}.bias", lambda a: (-1,))
    found["out.kernel"] = folded("_output_dense.kernel", lambda a: (-1, a.shape[-1]))
    if layer._use_bias:
        found["out.bias"] = plain("_output_dense.bias")
    return found


def tensor(layer: Any, name: str) -> Any:
    """A layer's variable, by its path of attributes: "cell.kernel", "weights[0]"."""
    name, bracket, part = name.partition("[")
    holder: Any = layer
    for word in name.split("."):
        holder = getattr(holder, word)
    return holder[int(part[:-1])] if bracket else holder
