"""Inception v3 among a Keras file's layers, which have numbers.

Older files number layers as they were made, Keras 3's as they lie in the graph.
"""

from __future__ import annotations

import re
from dataclasses import replace

from common.inception import FEATURES, Block, InceptionSpec, units
from common.library_files import keras_file
from common.library_files.found import IMAGE, Found, check, left_out, listed
from common.library_files.stored import Stored
from common.spec import Conv, Norm

# What Keras's builder makes, but for the number of classes and factors.
KERAS_NORM = Norm(decay=0.99, eps=1e-3, variance="biased", scale=False)
OUTER = ("", *keras_file.ROOTS)  # models in no other
# canonical leaf -> Keras's, in the order of its numbers
LEAVES = {
    "scale": "gamma",
    "shift": "beta",
    "mean": "moving_mean",
    "var": "moving_variance",
}
KINDS = ("conv2d", "batch_normalization")
DENSE = ("kernel", "bias")
HEAD = "predictions"


def from_keras(layers: list[keras_file.Layer], beside: list[str]) -> Found:
    """The network whose layers Keras numbers, in whatever model they lie.

    Raises:
        ValueError: There is none, or its layers are others.
    """
    n = len(units(InceptionSpec(image=IMAGE, classes=1)))
    model = _model(layers, n)
    own = [layer for layer in layers if layer.model == model]
    convs, norms = (_numbered(own, kind) for kind in KINDS)
    if (len(convs), len(norms)) != (n, n):
        raise ValueError(
            f"it has {len(convs)} convolutions and {len(norms)} batch norms, not {n} "
            f"and {n}"
        )
    head, guessed = _head(own)
    factors = len(norms[0].arrays) == len(LEAVES)
    spec = InceptionSpec(
        image=IMAGE,
        classes=_arrays(head, DENSE)["kernel"].shape[1] if head else FEATURES,
        border="exclude",
        norm=replace(KERAS_NORM, scale=factors),
    )
    rows = _rows(spec, convs, norms, head)
    check(spec, rows, base=not head)
    used = [*convs, *norms, *([head] if head else [])]
    left = {
        f"{layer.named or layer.place}/{name}": row
        for layer in layers
        if not any(layer is one for one in used)
        for name, row in layer.arrays.items()
    }
    words = [] if model in OUTER else [f"taken from the model {model!r}"]
    words += [f"also there: {listed(beside)}"] if beside else []
    words += [guessed] if guessed else []
    words += left_out(left, base=not head)
    return Found(library="keras", spec=spec, rows=rows, said=tuple(words))


def _rows(
    spec: InceptionSpec,
    convs: list[keras_file.Layer],
    norms: list[keras_file.Layer],
    head: keras_file.Layer | None,
) -> dict[str, Stored]:
    """Canonical name -> where it lies.

    Raises:
        ValueError: A layer has other arrays.
    """
    order = graph_order(spec) if "0" in convs[0].arrays else units(spec)
    leaves = {k: v for k, v in LEAVES.items() if spec.norm.scale or k != "scale"}
    rows = {}
    for unit, conv, norm in zip(order, convs, norms, strict=True):
        rows[f"{unit}.conv.kernel"] = _arrays(conv, ("kernel",))["kernel"]
        made = _arrays(norm, tuple(leaves.values()))
        rows |= {f"{unit}.bn.{leaf}": made[name] for leaf, name in leaves.items()}
    if head:
        rows |= {f"fc.{leaf}": row for leaf, row in _arrays(head, DENSE).items()}
    return rows


def _model(layers: list[keras_file.Layer], n: int) -> str:
    """The model that has the most convolutions.

    Raises:
        ValueError: Two are as large as Inception v3.
    """
    counts: dict[str, int] = {}
    for layer in layers:
        if _number(layer.place, KINDS[0]) is not None:
            counts[layer.model] = counts.get(layer.model, 0) + 1
    if len(whole := [model for model, count in counts.items() if count == n]) > 1:
        raise ValueError(
            f"it has {len(whole)} networks: {listed(sorted(whole))}; save one"
        )
    return max(counts, key=lambda model: counts[model], default="")


def _number(place: str, kind: str) -> int | None:
    found = re.fullmatch(rf"{kind}(?:_([1-9][0-9]{{0,8}}))?", place)
    return int(found[1] or 0) if found else None


def _numbered(layers: list[keras_file.Layer], kind: str) -> list[keras_file.Layer]:
    """The layers of a kind, by the number in their place."""
    rows = [(_number(layer.place, kind), layer) for layer in layers]
    numbers = [(number, layer) for number, layer in rows if number is not None]
    return [layer for _, layer in sorted(numbers, key=lambda row: row[0])]


def _head(layers: list[keras_file.Layer]) -> tuple[keras_file.Layer | None, str]:
    """The layer of predictions, or none, and a line where it has no name.

    Raises:
        ValueError: It is not what InceptionV3 ends with.
    """
    dense = [la for la in layers if _number(la.place, "dense") is not None]
    heads = [la for la in layers if HEAD in (la.place, la.named)]
    guessed = ""
    if not heads and len(dense) == 1 and "0" in dense[0].arrays and not dense[0].named:
        heads = dense  # Keras 3's first files know kinds alone
        guessed = "its one dense layer, which has no name, is taken for the last"
    if not heads:
        return None, ""
    kernel = _arrays(heads[0], DENSE)["kernel"]
    if len(heads) > 1 or len(kernel.shape) != 2:
        raise ValueError(f"it has no layer of {HEAD} with a matrix")
    return heads[0], guessed


def _arrays(layer: keras_file.Layer, names: tuple[str, ...]) -> dict[str, Stored]:
    """Its arrays by name, of those that Keras numbers too.

    Raises:
        ValueError: It has others.
    """
    numbers = tuple(map(str, range(len(names))))
    if layer.arrays.keys() == set(numbers):
        return {
            name: layer.arrays[number]
            for name, number in zip(names, numbers, strict=True)
        }
    if layer.arrays.keys() != set(names):
        some = [name[:60] for name in sorted(layer.arrays)[:5]]
        raise ValueError(f"{layer.place[:60]!r} has {some}, not {sorted(names)}")
    return dict(layer.arrays)


def graph_order(spec: InceptionSpec) -> list[str]:
    """Every convolution in the order of Keras's graph: the farthest from its end first.

    Keras sorts a model's layers by the longest way to the output and, where two are as
    far, as the joins name them; convolutions and batch norms come out alike.
    """
    found = [row.name for row in spec.stem if isinstance(row.layer, Conv)]
    for block in spec.blocks:
        rows = [row for row in block.rows if isinstance(row.layer, Conv)]
        rows.sort(key=lambda row: -_steps_after(block, row.name))
        found += [f"{block.name}.{row.name}" for row in rows]
    return found


def _steps_after(block: Block, name: str) -> int:
    """Layers between a row and the end of its block: the longest way."""
    after = {row.name: row.after for row in block.rows}
    ways = [
        (3 if isinstance(row.layer, Conv) else 1) + _steps_after(block, row.name)
        for row in block.rows
        if row.after == name
    ]
    # Two that take the same row are joined before they are joined with the others.
    pair = after[name] and list(after.values()).count(after[name]) > 1
    return max(ways, default=1 + bool(pair))
