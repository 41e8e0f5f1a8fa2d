"""Inception v3 as a table: blocks, their rows, and what each row takes.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for
Computer Vision", CVPR 2016, table 1, as torchvision and Keras both build it.  Names
are torchvision's, so its files need no dictionary; they give one only for layouts.

The two libraries' networks differ in the border of nine average pools, in batch
norm's factor and constants, in dropout and in the auxiliary head.  Each is a field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

from common.draws import Draw, Mask
from common.spec import (
    NO_PAD,
    AveragePool,
    Conv,
    Dense,
    Dropout,
    Image,
    Norm,
    Pool,
    Scale,
    Shape,
    kernel_and_bias,
    norm_weights,
    same,
    sides,
    slid,
)
from common.weights import (
    GlorotUniform,
    HeNormal,
    Init,
    Normal,
    WeightRecord,
    Weights,
)

SMALLEST = 75  # px; below it the last reduction has nothing to slide over
FEATURES = 2048  # values per picture that the last layer is given
AUX_AFTER = "Mixed_6e"  # the block whose maps the auxiliary head sees
AUX_POOL = AveragePool(5, 3)
AUX_WINDOW = 5  # its last convolution, without pads
# A factor before a ReLU and a convolution can do nothing that the kernel cannot.
UNSCALED = Norm(decay=0.9, eps=1e-3, variance="biased", scale=False)
# -1 to 1, in both libraries: torchvision's ImageNet mean and deviation are undone
# inside its network (`transform_input`).
SYMMETRIC = Scale(divide=127.5, mean=(1.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True)
class Row:
    """One step of a block.  A convolution stands for convolution, batch norm, ReLU.

    Attributes:
        name: torchvision's; pools, which own no weights, are "pool".
        after: The row whose output it takes, or "" for the block's input.
        layer: What it does.
    """

    name: str
    after: str
    layer: Conv | Pool | AveragePool


@dataclass(frozen=True, slots=True)
class Block:
    """Rows, and the channels of those that no row takes, joined in order."""

    name: str
    rows: tuple[Row, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """The rows whose outputs are joined."""
        taken = {row.after for row in self.rows}
        return tuple(row.name for row in self.rows if row.name not in taken)

    def inputs(self, channels: int) -> dict[str, int]:
        """Row -> the channels it takes, when the block is given `channels`."""
        out = {"": channels}
        for row in self.rows:
            out[row.name] = after(row, out[row.after])
        return {row.name: out[row.after] for row in self.rows}

    def out(self, channels: int) -> int:
        """Channels the block gives."""
        taken = self.inputs(channels)
        rows = {row.name: row for row in self.rows}
        return sum(after(rows[name], taken[name]) for name in self.ends)


def after(row: Row, channels: int) -> int:
    """Channels a row gives."""
    return row.layer.out if isinstance(row.layer, Conv) else channels


def _conv(
    name: str, source: str, out: int, kernel: int | tuple[int, int] = 1, stride: int = 1
) -> Row:
    """Size-keeping pads at stride 1, none at stride 2."""
    pad = same((1, 1), kernel, 1) if stride == 1 else NO_PAD
    return Row(name, source, Conv(out, kernel, stride, pad, bias=False))


def _chain(prefix: str, *steps: tuple[int, int | tuple[int, int], int]) -> list[Row]:
    """Convolutions one after the other: prefix_1, prefix_2 and so on."""
    names = ["", *(f"{prefix}_{i}" for i in range(1, len(steps) + 1))]
    return [_conv(names[i + 1], names[i], *step) for i, step in enumerate(steps)]


def _pooled(border: Literal["exclude", "include"], out: int) -> list[Row]:
    pool = AveragePool(3, 1, same((1, 1), 3, 1), border)
    return [Row("pool", "", pool), _conv("branch_pool", "pool", out)]


WIDE, TALL = (1, 7), (7, 1)
STEM = (
    Row("Conv2d_1a_3x3", "", Conv(32, 3, 2, bias=False)),
    Row("Conv2d_2a_3x3", "", Conv(32, 3, bias=False)),
    Row("Conv2d_2b_3x3", "", Conv(64, 3, 1, same((1, 1), 3, 1), bias=False)),
    Row("maxpool1", "", Pool(3, 2)),
    Row("Conv2d_3b_1x1", "", Conv(80, 1, bias=False)),
    Row("Conv2d_4a_3x3", "", Conv(192, 3, bias=False)),
    Row("maxpool2", "", Pool(3, 2)),
)
Border = Literal["exclude", "include"]


def _a(name: str, border: Border, out: int) -> Block:
    rows = [
        _conv("branch1x1", "", 64),
        *_chain("branch5x5", (48, 1, 1), (64, 5, 1)),
        *_chain("branch3x3dbl", (64, 1, 1), (96, 3, 1), (96, 3, 1)),
        *_pooled(border, out),
    ]
    return Block(name, tuple(rows))


def _b(name: str) -> Block:
    rows = [
        _conv("branch3x3", "", 384, 3, 2),
        *_chain("branch3x3dbl", (64, 1, 1), (96, 3, 1), (96, 3, 2)),
        Row("pool", "", Pool(3, 2)),
    ]
    return Block(name, tuple(rows))


def _c(name: str, border: Border, n: int) -> Block:
    last = [(n, TALL, 1), (n, WIDE, 1), (n, TALL, 1), (192, WIDE, 1)]
    rows = [
        _conv("branch1x1", "", 192),
        *_chain("branch7x7", (n, 1, 1), (n, WIDE, 1), (192, TALL, 1)),
        *_chain("branch7x7dbl", (n, 1, 1), *last),
        *_pooled(border, 192),
    ]
    return Block(name, tuple(rows))


def _d(name: str) -> Block:
    rows = [
        *_chain("branch3x3", (192, 1, 1), (320, 3, 2)),
        *_chain(
            "branch7x7x3", (192, 1, 1), (192, WIDE, 1), (192, TALL, 1), (192, 3, 2)
        ),
        Row("pool", "", Pool(3, 2)),
    ]
    return Block(name, tuple(rows))


def _e(name: str, border: Border) -> Block:
    rows = [
        _conv("branch1x1", "", 320),
        _conv("branch3x3_1", "", 384),
        _conv("branch3x3_2a", "branch3x3_1", 384, (1, 3)),
        _conv("branch3x3_2b", "branch3x3_1", 384, (3, 1)),
        *_chain("branch3x3dbl", (448, 1, 1), (384, 3, 1)),
        _conv("branch3x3dbl_3a", "branch3x3dbl_2", 384, (1, 3)),
        _conv("branch3x3dbl_3b", "branch3x3dbl_2", 384, (3, 1)),
        *_pooled(border, 192),
    ]
    return Block(name, tuple(rows))


def _aux_rows() -> tuple[Row, ...]:
    last = Conv(768, AUX_WINDOW, bias=False, init=Normal(0.01))
    return (Row("conv0", "", Conv(128, 1, bias=False)), Row("conv1", "conv0", last))


AUX = Block("AuxLogits", _aux_rows())


@dataclass(frozen=True, slots=True, kw_only=True)
class InceptionSpec:
    """Inception v3.

    Attributes:
        image: (height, width, channels) of its pictures, 75 px or more a side.
        classes: Number of logits.
        aux: Whether there is an auxiliary head, which exists in training alone.
        border: What the padding of the nine average pools counts: "exclude" as Keras
            (and TensorFlow, where the network is from), "include" as torchvision.
        norm: Batch normalisation of every convolution.
        dropout: Share of the 2,048 features that training zeroes.
        scale: What happens to the pixels first.
        init: How convolution kernels are drawn (the auxiliary head's last one has a
            deviation of .01 and its dense layer one of .001, as in torchvision).

    Raises:
        ValueError: The pictures are too small, for the network or for its aux head.
    """

    image: Image
    classes: int
    aux: bool = False
    border: Border = "exclude"
    norm: Norm = UNSCALED
    dropout: float = 0.0
    scale: Scale = SYMMETRIC
    init: Init = field(default_factory=HeNormal)

    def __post_init__(self) -> None:
        h, w, _ = self.image
        if min(h, w) < SMALLEST:
            raise ValueError(
                f"Inception v3 needs pictures of {SMALLEST} px or more a side, got "
                f"{h}x{w}; give a larger --size"
            )
        if self.classes < 1:
            raise ValueError(f"there must be a class, got {self.classes}; name some")
        if self.aux and min(side := self.maps[AUX_AFTER][:2]) < aux_needs():
            raise ValueError(
                f"the aux head needs maps of {aux_needs()} px or more (299 px pictures "
                f"give them), {h}x{w} pictures give {side[0]}x{side[1]}; leave aux out "
                "or give a larger --size"
            )
        Dropout(self.dropout)

    @property
    def input(self) -> Image:
        """(height, width, channels) the network sees: the whole image."""
        return self.image

    @property
    def stem(self) -> tuple[Row, ...]:
        """The steps before the first block."""
        return tuple(self._drawn(row) for row in STEM)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, first to last."""
        border = self.border
        bare = (
            _a("Mixed_5b", border, 32),
            _a("Mixed_5c", border, 64),
            _a("Mixed_5d", border, 64),
            _b("Mixed_6a"),
            _c("Mixed_6b", border, 128),
            _c("Mixed_6c", border, 160),
            _c("Mixed_6d", border, 160),
            _c("Mixed_6e", border, 192),
            _d("Mixed_7a"),
            _e("Mixed_7b", border),
            _e("Mixed_7c", border),
        )
        return tuple(
            replace(block, rows=tuple(self._drawn(row) for row in block.rows))
            for block in bare
        )

    def _drawn(self, row: Row) -> Row:
        if not isinstance(row.layer, Conv):
            return row
        return replace(row, layer=replace(row.layer, init=self.init))

    @property
    def head(self) -> Dense:
        """The last layer."""
        return Dense(self.classes, init=GlorotUniform())

    @property
    def aux_head(self) -> Dense:
        """The last layer of the auxiliary head."""
        return Dense(self.classes, init=Normal(0.001))

    @property
    def maps(self) -> dict[str, Shape]:
        """Stem row, block, or "block.row" -> (h, w, c) of one example after it."""
        found: dict[str, Shape] = {}
        shape: Shape = self.image
        for row in self.stem:
            shape = found[row.name] = _slid(row, shape)
        for block in self.blocks:
            inside = {"": shape}
            for row in block.rows:
                inside[row.name] = _slid(row, inside[row.after])
                found[f"{block.name}.{row.name}"] = inside[row.name]
            h, w, _ = inside[block.ends[0]]
            shape = found[block.name] = (h, w, block.out(shape[2]))
        return found

    @property
    def weights(self) -> dict[str, WeightRecord]:
        """Canonical name -> record, for every weight of the model."""
        found: dict[str, WeightRecord] = {}
        channels = self.image[2]
        for row in self.stem:
            found |= dict(self._unit(row.name, row, channels))
            channels = after(row, channels)
        for block in self.blocks:
            if self.aux and block.name == "Mixed_7a":
                found |= dict(self._aux(channels))
            for row, taken in zip(
                block.rows, block.inputs(channels).values(), strict=True
            ):
                found |= dict(self._unit(f"{block.name}.{row.name}", row, taken))
            channels = block.out(channels)
        return found | dict(kernel_and_bias("fc", (channels, self.classes), self.head))

    def _unit(
        self, name: str, row: Row, channels: int
    ) -> Iterator[tuple[str, WeightRecord]]:
        if isinstance(row.layer, Conv):
            shape = (*sides(row.layer.kernel), channels, row.layer.out)
            yield from kernel_and_bias(f"{name}.conv", shape, row.layer)
            yield from norm_weights(f"{name}.bn", row.layer.out, self.norm)

    def _aux(self, channels: int) -> Iterator[tuple[str, WeightRecord]]:
        for row, taken in zip(AUX.rows, AUX.inputs(channels).values(), strict=True):
            yield from self._unit(f"{AUX.name}.{row.name}", self._aux_drawn(row), taken)
        shape = (AUX.out(channels), self.classes)
        yield from kernel_and_bias(f"{AUX.name}.fc", shape, self.aux_head)

    def _aux_drawn(self, row: Row) -> Row:
        return self._drawn(row) if row.name == "conv0" else row

    @property
    def draws(self) -> dict[str, Draw]:
        """One mask, of the features, where there is dropout."""
        return {"dropout": Mask((FEATURES,), self.dropout)} if self.dropout else {}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one picture's forward pass, the aux head left out."""
        maps = self.maps
        total = FEATURES * self.classes
        for name, record in self.weights.items():
            unit = name.removesuffix(".conv.kernel")
            if unit in maps and name.endswith(".conv.kernel"):
                total += prod(record.shape) * prod(maps[unit][:2])
        return total


def _slid(row: Row, shape: Shape) -> Shape:
    layer = row.layer
    window = layer.kernel if isinstance(layer, Conv) else layer.window
    h, w = slid((shape[0], shape[1]), window, layer.stride, layer.pad)
    return h, w, after(row, shape[2])


def aux_needs() -> int:
    """Smallest side of the maps the auxiliary head can be given."""
    return (AUX_WINDOW - 1) * AUX_POOL.stride + AUX_POOL.window


def units(spec: InceptionSpec) -> list[str]:
    """Every convolution with its batch norm, in the order of the table."""
    return [n.removesuffix(".conv.kernel") for n in spec.weights if ".conv.k" in n]


def folded(weights: Weights) -> Weights:
    """The same function without batch norm's factors, in inference.

    With d the deviation, (x k s - m s) / d + b is ((x k - m) / d) s + b: kernel and
    mean take the factor, of any sign, and the variance stays.
    """
    found = dict(weights)
    for name, scale in weights.items():
        if name.endswith(".bn.scale"):
            unit = name.removesuffix(".bn.scale")
            found[f"{unit}.conv.kernel"] = weights[f"{unit}.conv.kernel"] * scale
            found[f"{unit}.bn.mean"] = weights[f"{unit}.bn.mean"] * scale
            del found[name]
    return found
