"""What a model is, said once, in terms neither framework owns.

Layouts here are canonical: images (n, h, w, c), dense kernels (in, out),
convolution kernels (h, w, in, out).  A track converts at its own border.
Every number on which the frameworks' defaults differ is stated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod, sqrt
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from common.draws import Draw, Mask, Starts
from common.weights import (
    Constant,
    FanInUniform,
    Init,
    Normal,
    Uniform,
    WeightRecord,
    fans,
)

Shape = tuple[int, ...]
Image = tuple[int, int, int]
Pad = tuple[tuple[int, int], tuple[int, int]]  # ((top, bottom), (left, right))
NO_PAD: Pad = ((0, 0), (0, 0))
ZEROS = Constant(0.0)
# What a fractional pool's two draws are called, after its own name.
ROWS, COLUMNS = "rows", "columns"

NO_REGIONS = (
    "regions are drawn by the plan, a network in training got none; give its `draws`, "
    "as a track's Trainer does"
)


def sides(window: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a window; one number stands for a square."""
    return (window, window) if isinstance(window, int) else window


def same(size: tuple[int, int], kernel: int | tuple[int, int], stride: int) -> Pad:
    """The explicit pads of TensorFlow's SAME rule: the odd pixel goes last."""
    pairs = zip(size, sides(kernel), strict=True)
    (top, bottom), (left, right) = (_same(s, k, stride) for s, k in pairs)
    return (top, bottom), (left, right)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def slid(
    size: tuple[int, int], kernel: int | tuple[int, int], stride: int, pad: Pad
) -> tuple[int, int]:
    """Height and width after a window slides over `size`, whole windows only."""
    axes = zip(size, sides(kernel), pad, strict=True)
    h, w = ((s + sum(p) - k) // stride + 1 for s, k, p in axes)
    if min(h, w) < 1:
        raise ValueError(
            f"a window must fit its input: {kernel} px over {size} with pads {pad}; "
            "use larger images or a smaller window"
        )
    return h, w


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution.  Pads are explicit pixels, never "same".

    `kernel` is (height, width), or one number for a square.
    """

    out: int
    kernel: int | tuple[int, int]
    stride: int = 1
    pad: Pad = NO_PAD
    bias: bool = True
    init: Init = field(default_factory=lambda: Normal(0.1))
    bias_init: Init = ZEROS


@dataclass(frozen=True, slots=True)
class Dense:
    """One fully connected layer."""

    out: int
    bias: bool = True
    init: Init = field(default_factory=lambda: Normal(0.1))
    bias_init: Init = ZEROS


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Batch normalisation over all axes but the channels.

    Attributes:
        decay: Weight of the old statistic (Keras's momentum, 1 - torch's).
        eps: Added to the variance.
        variance: Which variance of a batch enters the running one: "unbiased"
            as torch does, "biased" as Keras does.  (The batch itself is
            normalised by the biased one in both.)
        scale: Whether there is a trained factor per channel (Keras's gamma).
    """

    decay: float = 0.9
    eps: float = 1e-3
    variance: Literal["biased", "unbiased"] = "biased"
    scale: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LRN:
    """Local response normalisation, x / (bias + alpha * sum(x^2))^beta.

    The sum runs over `2 * radius + 1` channels; alpha multiplies the sum itself
    (TensorFlow's convention; torch's alpha is `2 * radius + 1` times larger).
    Krizhevsky, Sutskever, Hinton 2012, section 3.3.
    """

    radius: int
    bias: float
    alpha: float
    beta: float


@dataclass(frozen=True, slots=True)
class Pool:
    """Max pooling; padding never wins (it counts as minus infinity)."""

    window: int
    stride: int
    pad: Pad = NO_PAD


@dataclass(frozen=True, slots=True)
class AveragePool:
    """Average pooling.

    `border` says what the padding is: "exclude" leaves it out of the mean, as Keras
    does; "include" counts it as zeros, as torch does.
    """

    window: int
    stride: int
    pad: Pad = NO_PAD
    border: Literal["exclude", "include"] = "exclude"


@dataclass(frozen=True, slots=True)
class FractionalPool:
    """Max pooling over regions that are drawn, in training and when judged.

    Graham 2014, arXiv 1412.6071.  Of equal values the first in reading
    order counts; where regions are disjoint the left column, and there the upper one.

    Attributes:
        out: (height, width) after it, or one number for a square.
        kind: How the regions' starts are drawn, as `common.draws.Starts` says.
        overlap: Whether every region is 2 x 2, or ends where the next one starts.
        per: What has regions of its own: a "picture", as in the paper, or each
            "channel" of one, as in torch's `nn.FractionalMaxPool2d`.
    """

    out: int | tuple[int, int]
    kind: Literal["pseudorandom", "random"] = "pseudorandom"
    overlap: bool = True
    per: Literal["picture", "channel"] = "picture"

    def starts(self, shape: Shape) -> tuple[Starts, Starts]:
        """What is drawn for maps of `shape`, along height and width.

        Raises:
            ValueError: The regions do not fit.
        """
        if len(shape) != 3:
            raise ValueError(
                f"a fractional pool needs maps, got {shape}; flatten after"
            )
        channels = shape[2] if self.per == "channel" else 0
        axes = zip(shape[:2], sides(self.out), strict=True)
        tall, wide = (
            Starts(length, out, self.kind, self.overlap, channels)
            for length, out in axes
        )
        return tall, wide


@dataclass(frozen=True, slots=True)
class Dropout:
    """Zeroes a share `rate` of the values in training, scales up the others.

    `per` "map" zeroes whole maps, the same in all pictures of a batch, and always as
    many: round((1 - rate) * maps) stay.
    """

    rate: float
    per: Literal["value", "map"] = "value"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(
                f"a dropout rate must lie in [0, 1), got {self.rate}; use 0 for none"
            )


@dataclass(frozen=True, slots=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True, slots=True)
class Act:
    """An activation.

    Attributes:
        kind: "leaky": x where x > 0, else slope * x; "gelu": x * Phi(x); "gelu-tanh":
            its approximation by tanh (Hendrycks and Gimpel 2016, arXiv 1606.08415,
            section 2); "silu": x / (1 + exp(-x)).
        slope: Of "leaky".
    """

    kind: Literal["leaky", "gelu", "gelu-tanh", "silu"]
    slope: float = 0.0


@dataclass(frozen=True, slots=True)
class Multiply:
    """Every value times `factor`."""

    factor: float


@dataclass(frozen=True, slots=True)
class Branch:
    """Remembers what goes through, for the next `Add`."""


@dataclass(frozen=True, slots=True)
class Add:
    """Adds what the last `Branch` remembered (He et al. 2016, section 3.2)."""


@dataclass(frozen=True, slots=True)
class Flatten:
    """(n, h, w, c) -> (n, features), in this order of axes."""

    order: Literal["hwc", "chw"] = "hwc"


Layer = (
    Conv
    | Dense
    | Norm
    | LRN
    | Pool
    | AveragePool
    | FractionalPool
    | Dropout
    | Relu
    | Act
    | Multiply
    | Branch
    | Add
    | Flatten
)
NAMES: dict[type[Layer], str] = {
    Conv: "conv",
    Dense: "dense",
    Norm: "norm",
    LRN: "lrn",
    Pool: "pool",
    AveragePool: "average",
    FractionalPool: "fractional",
    Dropout: "dropout",
    Relu: "relu",
    Act: "act",
    Multiply: "multiply",
    Branch: "branch",
    Add: "add",
    Flatten: "flatten",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How float pixels 0 to 255 become the first layer's input.

    Attributes:
        divide: Pixels are divided by this first.
        mean: Subtracted per channel after it, or empty.
        std: Divided by per channel at last, or empty.
        per_image: Each image is standardised instead: minus its mean, divided
            by max(its deviation, 1 / sqrt(values)), over all its channels.
    """

    divide: float = 255.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    per_image: bool = False

    def applied(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The same in NumPy, float64, of (n, h, w, c)."""
        x = images.astype(np.float64) / self.divide
        if self.mean:
            x = x - np.array(self.mean)
        if self.std:
            x = x / np.array(self.std)
        if not self.per_image:
            return x
        x = x - x.mean((1, 2, 3), keepdims=True)
        deviation = np.sqrt(np.square(x).mean((1, 2, 3), keepdims=True))
        return np.asarray(x / np.maximum(deviation, x[0].size ** -0.5))


class Spec(Protocol):
    """What the rest of twintrack asks of any model description."""

    @property
    def image(self) -> Image:
        """(height, width, channels) of the pictures it is given."""

    @property
    def classes(self) -> int:
        """Number of logits."""

    @property
    def input(self) -> Image:
        """(height, width, channels) the network sees: a crop, or a canvas."""

    @property
    def weights(self) -> dict[str, WeightRecord]:
        """Canonical name -> shape, initial draw and role, in the model's order."""

    @property
    def draws(self) -> Mapping[str, Draw]:
        """What the network is given besides pictures: masks, starts of regions."""


def parameters(spec: Spec) -> int:
    """Number of trained values."""
    return sum(prod(w.shape) for w in spec.weights.values() if w.trained)


def macs(spec: Spec) -> int | None:
    """Multiply-accumulates of one picture's forward pass, if they can be known."""
    if counted := getattr(spec, "macs", None):
        return int(counted)
    kernels = [w.shape for n, w in spec.weights.items() if n.endswith(".kernel")]
    dense = all(len(shape) == 2 for shape in kernels)
    return sum(prod(shape) for shape in kernels) if dense else None


def kernel_and_bias(
    name: str, shape: Shape, layer: Conv | Dense
) -> Iterator[tuple[str, WeightRecord]]:
    """The weights of a convolution or dense layer.

    A bias of `FanInUniform` has its kernel's bound, as torch draws biases.
    """
    yield f"{name}.kernel", WeightRecord(shape, layer.init)
    if layer.bias:
        init = layer.bias_init
        if isinstance(init, FanInUniform):
            init = Uniform(1 / sqrt(fans(shape)[0]))
        yield f"{name}.bias", WeightRecord(shape[-1:], init)


def norm_weights(
    name: str, channels: int, layer: Norm
) -> Iterator[tuple[str, WeightRecord]]:
    """The weights of a batch normalisation, the running statistics included."""
    one, zero = Constant(1.0), Constant(0.0)
    if layer.scale:
        yield f"{name}.scale", WeightRecord((channels,), one)
    yield f"{name}.shift", WeightRecord((channels,), zero)
    yield f"{name}.mean", WeightRecord((channels,), zero, trained=False)
    yield f"{name}.var", WeightRecord((channels,), one, trained=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MLPSpec:
    """A flatten-then-dense image classifier; ReLU after each hidden layer.

    Attributes:
        image: (height, width, channels) of one input.
        classes: Number of logits.
        hidden: Width of each hidden layer, first to last.
        scale: What happens to the pixels first.
        norm: Batch normalisation before each ReLU, or none.
        dropout: Share of each hidden layer that training zeroes.
        init: How every kernel is drawn.
        bias_init: How every bias is drawn.

    Raises:
        ValueError: A width is not positive, or dropout is outside [0, 1).
    """

    image: Image
    classes: int
    hidden: tuple[int, ...] = (128, 256)
    scale: Scale = Scale()
    norm: Norm | None = None
    dropout: float = 0.0
    init: Init = field(default_factory=lambda: Normal(0.1))
    bias_init: Init = ZEROS

    def __post_init__(self) -> None:
        if min((*self.image, self.classes, *self.hidden)) < 1:
            raise ValueError(
                f"every size must be positive, got image {self.image}, classes "
                f"{self.classes}, hidden {self.hidden}; correct the one that is not"
            )
        Dropout(self.dropout)

    @property
    def input(self) -> Image:
        """(height, width, channels) the network sees: the whole image."""
        return self.image

    @property
    def widths(self) -> tuple[int, ...]:
        """Units at each level, input pixels to logits."""
        return (prod(self.image), *self.hidden, self.classes)

    @property
    def weights(self) -> dict[str, WeightRecord]:
        """Canonical name -> record, for every weight of the model."""
        found: dict[str, WeightRecord] = {}
        dense = Dense(0, init=self.init, bias_init=self.bias_init)
        for i, shape in enumerate(pairwise(self.widths)):
            name = f"hidden.{i}" if i < len(self.hidden) else "head"
            found |= dict(kernel_and_bias(name, shape, dense))
        if self.norm:
            for i, width in enumerate(self.hidden):
                found |= dict(norm_weights(f"norms.{i}", width, self.norm))
        return found

    @property
    def draws(self) -> dict[str, Draw]:
        """One mask per hidden layer, where there is dropout."""
        if not self.dropout:
            return {}
        widths = enumerate(self.hidden)
        return {f"drops.{i}": Mask((width,), self.dropout) for i, width in widths}


@dataclass(frozen=True, slots=True, kw_only=True)
class CNNSpec:
    """A convolutional classifier: a sequence of layers, the last weights dense.

    Attributes:
        image: (height, width, channels) of the pictures.
        classes: Number of logits.
        layers: First to last; they end with `Dense(classes)`, or with that and what
            changes its logits.
        scale: What happens to the pixels first.
        crop: Side of the square the network sees: training takes random ones,
            the model itself takes the central one of a larger picture; 0 for all.
        canvas: Side of a larger square in whose middle the picture lies; 0 for none.
        ground: Value of the canvas's pixels, 0 to 255, in every channel.

    Raises:
        ValueError: A layer does not fit the one before it.
    """

    image: Image
    classes: int
    layers: tuple[Layer, ...]
    scale: Scale = Scale()
    crop: int = 0
    canvas: int = 0
    ground: int = 128

    def __post_init__(self) -> None:
        if self.crop > min(self.image[:2]):
            raise ValueError(
                f"a crop must fit the image, got {self.crop} of {self.image[:2]}; "
                "use a smaller crop"
            )
        if self.canvas:
            self._check_canvas()
        self._check_branches()
        for numbers in (self.scale.mean, self.scale.std):
            if len(numbers) not in (0, self.image[2]):
                raise ValueError(
                    f"a scale has a number for each channel, got {len(numbers)} for "
                    f"pictures of {self.image[2]}; give as many"
                )
        if self.shapes[-1] != (self.classes,):
            raise ValueError(
                f"the last layer must give ({self.classes},) logits, it gives "
                f"{self.shapes[-1]}; end with Dense({self.classes})"
            )

    def _check_canvas(self) -> None:
        """Refuse a picture that does not fit, or two ways to change its size."""
        if not 0 <= self.ground <= 255:
            raise ValueError(
                f"a canvas has a pixel's value, 0 to 255, got ground {self.ground}; "
                "use 128 for grey"
            )
        if self.canvas < max(self.image[:2]):
            raise ValueError(
                f"a picture must fit the canvas of {self.canvas} px, got "
                f"{self.image[0]}x{self.image[1]}; use smaller pictures (--size "
                f"{self.canvas})"
            )
        if self.crop:
            raise ValueError(
                f"a picture is cropped or laid on a canvas, got crop {self.crop} and "
                f"canvas {self.canvas}; leave one out"
            )

    def _check_branches(self) -> None:
        """Refuse a sum of what does not fit, or of nothing."""
        kept: Shape | None = None
        for layer, shape in zip(self.layers, self.shapes, strict=False):
            if isinstance(layer, Add):
                if kept != shape:
                    has = "nothing" if kept is None else f"{kept}"
                    raise ValueError(
                        f"a sum takes two of one shape, got {shape} and {has} from the "
                        "branch before it; end the branch where the shapes agree"
                    )
                kept = None
            elif isinstance(layer, Branch):
                kept = shape

    @property
    def input(self) -> Image:
        """(height, width, channels) that the first layer sees."""
        h, w, c = self.image
        side = self.crop or self.canvas
        return (side or h, side or w, c)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each layer: its kind and its number among that kind."""
        counts: dict[str, int] = {}
        names = []
        for layer in self.layers:
            kind = NAMES[type(layer)]
            counts[kind] = counts.get(kind, 0) + 1
            names.append(f"{kind}{counts[kind]}")
        return tuple(names)

    @property
    def head(self) -> int:
        """Where the last dense layer is; after it only the logits are changed.

        Raises:
            ValueError: There is none.
        """
        found = [i for i, x in enumerate(self.layers) if isinstance(x, Dense)]
        if not found:
            raise ValueError("a classifier needs a dense layer, got none; end with one")
        return found[-1]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of one example after each layer; the input's comes first."""
        shapes: list[Shape] = [self.input]
        for layer in self.layers:
            shapes.append(_after(layer, shapes[-1]))
        return tuple(shapes)

    @property
    def weights(self) -> dict[str, WeightRecord]:
        """Canonical name -> record, for every weight of the model."""
        found: dict[str, WeightRecord] = {}
        for name, layer, shape in zip(
            self.names, self.layers, self.shapes[:-1], strict=True
        ):
            match layer:
                case Conv(out, kernel):
                    full = (*sides(kernel), shape[-1], out)
                    found |= dict(kernel_and_bias(name, full, layer))
                case Dense(out):
                    found |= dict(kernel_and_bias(name, (shape[0], out), layer))
                case Norm():
                    found |= dict(norm_weights(name, shape[-1], layer))
        return found

    @property
    def draws(self) -> dict[str, Draw]:
        """One mask per dropout layer; of a fractional pool its `ROWS` and `COLUMNS`."""
        found: dict[str, Draw] = {}
        for name, layer, shape in zip(
            self.names, self.layers, self.shapes[:-1], strict=True
        ):
            match layer:
                case Dropout(rate, "map"):
                    found[name] = Mask(shape[-1:], rate, "map")
                case Dropout(rate):
                    found[name] = Mask(shape, rate)
                case FractionalPool():
                    tall, wide = layer.starts(shape)
                    found |= {f"{name}.{ROWS}": tall, f"{name}.{COLUMNS}": wide}
        return found

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward pass, biases not counted."""
        total = 0
        for name, after in zip(self.names, self.shapes[1:], strict=True):
            if kernel := self.weights.get(f"{name}.kernel"):
                total += prod(kernel.shape) * prod(after[:-1])
        return total


def _after(layer: Layer, shape: Shape) -> Shape:
    """Shape of one example after `layer`."""
    match layer:
        case Conv(out, kernel, stride, pad):
            return (*slid((shape[0], shape[1]), kernel, stride, pad), out)
        case Pool(window, stride, pad) | AveragePool(window, stride, pad):
            return (*slid((shape[0], shape[1]), window, stride, pad), shape[2])
        case FractionalPool(out):
            layer.starts(shape)
            return (*sides(out), shape[2])
        case Dense(out):
            if len(shape) != 1:
                raise ValueError(f"a dense layer needs flat input, got {shape}")
            return (out,)
        case Flatten():
            return (prod(shape),)
    return shape
