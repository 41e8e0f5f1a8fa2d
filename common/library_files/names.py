"""Inception v3 among the tensors of a file, whatever they are called there.

torchvision's and timm's names are ours.  Keras's are numbers: its older files number
layers as they were made, Keras 3's as they lie in the graph.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import Refused
from common.faults import IMAGENET_MEAN, IMAGENET_STD
from common.inception import (
    AUX,
    FEATURES,
    STEM,
    SYMMETRIC,
    Block,
    InceptionSpec,
    units,
)
from common.library_files import keras_file, safetensors_file, torch_file
from common.library_files.recognise import LIBRARY, STATE, kind_of
from common.library_files.stored import FLOATING, Stored, parser
from common.library_files.torch_file import Named, View
from common.spec import Conv, Norm, Scale
from common.weights import Weights, check_names

# What a network of each library was shown.  timm's (1.0, models/inception_v3.py) are
# "half" but for gluon_in1k; torchvision's undoes the other inside itself.
PIXELS = {
    "half": SYMMETRIC,
    "imagenet": Scale(divide=255.0, mean=IMAGENET_MEAN, std=IMAGENET_STD),
}
BASE = "no last layer"  # a fact of a file whose logits are its features
# What each library's builder makes, but for classes, aux head and Keras's factors.
TORCH_NORM = Norm(decay=0.9, eps=1e-3, variance="unbiased", scale=True)
KERAS_NORM = Norm(decay=0.99, eps=1e-3, variance="biased", scale=False)
IMAGE = (299, 299, 3)
BACKGROUND = 1001  # classes of TensorFlow's 2016 graph: every name is off by one

COUNT = "num_batches_tracked"  # nothing reads it where momentum is given
ANCHOR = f"{STEM[0].name}.conv.weight"
WRAPPERS = ("module", "_orig_mod")  # of DataParallel and torch.compile
# Where a checkpoint keeps its state dict, the likeliest first.
KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
HEADS = ("fc", "last_linear")
# canonical leaf -> torch's, and torch's axes in our order
TORCH = {
    "conv.kernel": ("conv.weight", (2, 3, 1, 0)),
    "fc.kernel": ("fc.weight", (1, 0)),
    "fc.bias": ("fc.bias", (0,)),
    "bn.scale": ("bn.weight", (0,)),
    "bn.shift": ("bn.bias", (0,)),
    "bn.mean": ("bn.running_mean", (0,)),
    "bn.var": ("bn.running_var", (0,)),
}
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
SHOWN = 8  # names in a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where in a file each weight of a network lies, and what was understood."""

    library: str
    spec: InceptionSpec
    rows: dict[str, Stored]
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """A network that was in a library's file.

    Attributes:
        library: Whose file it is.
        spec: What the network is.
        weights: Canonical, float32.
        said: What was understood beside that, in lines.
        base: Whether the file has no last layer: logits are the 2,048 features.
    """

    library: str
    spec: InceptionSpec
    weights: Weights
    said: tuple[str, ...]
    base: bool


def read(path: Path, *, pixels: str = "half") -> Understood:
    """The network in a library's file; nothing in the file is run.

    Args:
        path: The file.
        pixels: A key of `PIXELS`: what the network was shown.

    Raises:
        Refused: It is no such file, damaged, or of another network.
    """
    found = located(path)
    rule, cure = RULES[found.library]
    with parser(path, rule, cure):
        weights = {name: row.values(name) for name, row in found.rows.items()}
    base = "fc.kernel" not in weights
    if base:
        weights["fc.kernel"] = np.eye(FEATURES, dtype=np.float32)
        weights["fc.bias"] = np.zeros(FEATURES, np.float32)
    return Understood(
        library=found.library,
        spec=replace(found.spec, scale=PIXELS[pixels]),
        weights=weights,
        said=found.said,
        base=base,
    )


# Library -> what is asked of its file, and what to do about one that is none.
RULES = {
    "torchvision": (
        "a torch file must be a state dict of inception_v3",
        f"write it with {STATE}",
    ),
    "keras": (
        "a Keras file must be one of InceptionV3",
        "use one that Keras's InceptionV3 wrote",
    ),
}


def located(path: Path) -> Found:
    """Where in a file each weight lies.

    Raises:
        Refused: It is no library's file, damaged, or of another network.
    """
    kind = kind_of(path)
    rule, cure = RULES[LIBRARY[kind]]
    try:
        found = _without_background(_located(path, kind))
        _check_size(found, path)
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"{rule}, {path} is not ({error}); {cure}") from error
    return found


def _located(path: Path, kind: str) -> Found:
    if LIBRARY[kind] == "keras":
        found = from_keras(*keras_file.layers(path))
    elif kind == "safetensors":
        tensors, about = safetensors_file.tensors(path)
        if "spec" in about:
            raise Refused(
                f"{path} is twintrack's own file already; name it with --weights"
            )
        found = from_torch(tensors)
    else:
        state, said = _state(*torch_file.contents(path))
        found = from_torch(state, said)
    return found


def _check_size(found: Found, path: Path) -> None:
    """Refuse tensors that are larger than their file.

    One stored value can be repeated without end, and a declared array takes no place
    until it is written.
    """
    size = path.stat().st_size
    if sum(row.bytes for row in found.rows.values()) > size:
        raise ValueError(f"its tensors are larger than its {size:,} bytes")


def _check(spec: InceptionSpec, rows: dict[str, Stored], *, base: bool) -> None:
    """Refuse rows that are not the spec's, or no floats."""
    expected = {
        name: record.shape
        for name, record in spec.weights.items()
        if not (base and name.startswith("fc."))
    }
    for name, row in rows.items():
        if row.dtype not in FLOATING:
            raise ValueError(f"{name!r} must be floating, it is {row.dtype}")
    check_names(expected, rows)  # type: ignore[arg-type]  # of shapes alone


def _without_background(found: Found) -> Found:
    """The same without the class that TensorFlow's networks have before the first."""
    if found.spec.classes != BACKGROUND:
        return found
    rows = {
        name: row.without_first()
        if ".".join(name.split(".")[-2:]) in HEAD_LEAVES
        else row
        for name, row in found.rows.items()
    }
    said = (
        "1,001 classes: the first, a background that no name is for, is left out (as "
        "timm does)"
    )
    spec = replace(found.spec, classes=BACKGROUND - 1)
    return replace(found, spec=spec, rows=rows, said=(*found.said, said))


HEAD_LEAVES = ("fc.kernel", "fc.bias")


def listed(names: list[str]) -> str:
    """Names in a line: the first few, and how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:60] for name in names[:SHOWN]) + more


# --- torch ------------------------------------------------------------------------


def torch_key(name: str) -> tuple[str, tuple[int, ...]]:
    """What torchvision calls a weight, and its axes in our order."""
    *place, kind, leaf = name.split(".")
    key, axes = TORCH[f"{kind}.{leaf}"]
    return ".".join((*place, key)), axes


def _state(
    found: Any, stored: Mapping[int, Stored]
) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """The state dict in what a torch file holds, and where it was.

    Raises:
        ValueError: There is none, or more than one.
    """
    if not isinstance(found, dict):
        raise ValueError(f"it holds {_object(found)}")
    keys, state = _chosen(found)
    said = []
    if keys:
        beside = [str(key) for key in found if key != keys[0]]
        there = f"; also there: {listed(beside)}" if beside else ""
        said.append(f"taken from key {'.'.join(keys)!r}{there}")
    tensors: dict[str, Stored] = {}
    strange: list[str] = []
    for key, value in state.items():
        if not isinstance(key, str):
            raise ValueError(f"it has a key of type {type(key).__name__}")
        if isinstance(value, View):
            tensors[key] = stored[id(value)]
        elif _parts(key)[:1] and (set(_parts(key)) & PARTS or key.startswith("fc.")):
            raise ValueError(f"{key[:60]!r} is no tensor but {_object(value)}")
        else:
            strange.append(key)
    if strange and not keys:
        said.append(f"also there: {listed(strange)}")
    return tensors, tuple(said)


def _object(value: object) -> str:
    """What something in a file is, in words."""
    if not isinstance(value, Named):
        return f"a {type(value).__name__}"
    return f"an object, {value.name[:80]!r}: to open it would run code"


def _chosen(found: dict[Any, Any]) -> tuple[tuple[str, ...], dict[Any, Any]]:
    """The dict with the network's tensors, and the keys to it."""
    every = list(torch_file.dicts(found))
    having = {
        keys: one
        for keys, one in every
        if any(isinstance(k, str) and _plain(k).endswith(ANCHOR) for k in one)
    }
    if len(having) > 1:
        for key in ((), *((key,) for key in KEYS)):
            if key in having:
                return key, having[key]
        places = listed([".".join(keys) for keys in having])
        raise ValueError(f"it has {len(having)} state dicts: {places}; save one")
    for keys, one in having.items():
        return keys, one
    for key, value in found.items():
        if key in KEYS and isinstance(value, Named):
            raise ValueError(f"its {key!r} is {_object(value)}")
    return (), found


PARTS = {row.name for row in STEM if isinstance(row.layer, Conv)}
PARTS |= {block.name for block in InceptionSpec(image=IMAGE, classes=1).blocks}
PARTS.add(AUX.name)


def _parts(key: str) -> list[str]:
    return [part for part in key.split(".") if part not in WRAPPERS]


def _plain(key: str) -> str:
    return ".".join(_parts(key))


def from_torch(state: Mapping[str, Stored], said: tuple[str, ...] = ()) -> Found:
    """The network whose tensors have torchvision's names, behind any prefix.

    Raises:
        ValueError: There is none, or its tensors are others.
    """
    inside, left, words = _under_prefix(state)
    inside = {k: v for k, v in inside.items() if not k.endswith(COUNT)}
    head, own = _torch_head(inside)
    spec = InceptionSpec(
        image=IMAGE,
        classes=own["fc.weight"].shape[0] if head else FEATURES,
        aux="AuxLogits.fc.weight" in own,
        border="include",
        norm=TORCH_NORM,
        dropout=0.5,
    )
    said = (*said, *words)
    if spec.aux and (not head or len_of(own["AuxLogits.fc.weight"]) != spec.classes):
        n = len_of(own["AuxLogits.fc.weight"])
        said = (*said, f"the auxiliary head is left out: it is for {n:,} classes")
        spec = replace(spec, aux=False)
        own = {k: v for k, v in own.items() if not k.startswith(f"{AUX.name}.")}
    keys = {torch_key(n)[0]: n for n in spec.weights if head or not n.startswith("fc.")}
    if odd := sorted(keys.keys() ^ own.keys()):
        raise ValueError(f"missing or unexpected: {listed(odd)}, {len(odd)} in all")
    rows = {}
    for key, name in keys.items():
        axes = torch_key(name)[1]
        if len(own[key].shape) != len(axes):
            raise ValueError(
                f"{key} must have {len(axes)} axes, it has shape {own[key].shape}"
            )
        rows[name] = own[key].moved(axes)
    _check(spec, rows, base=not head)
    left |= {key: row for key, row in inside.items() if _first(key) not in PARTS}
    if head:
        left = {k: row for k, row in left.items() if _first(k) != head}
    return Found(
        library="torchvision",
        spec=spec,
        rows=rows,
        said=(*said, *_left_out(left, base=not head)),
    )


def len_of(row: Stored) -> int:
    """The first side of a tensor, or none."""
    return row.shape[0] if row.shape else 0


def _first(key: str) -> str:
    return key.partition(".")[0]


def _under_prefix(
    state: Mapping[str, Stored],
) -> tuple[dict[str, Stored], dict[str, Stored], list[str]]:
    """The network's tensors without what is before their names, the others, words.

    Raises:
        ValueError: There is no network, or there are two.
    """
    plain = {_plain(key): row for key, row in state.items()}
    if len(plain) != len(state):
        raise ValueError("it has two tensors of one name behind module. and _orig_mod.")
    before = [k.removesuffix(ANCHOR) for k in plain if k.endswith(ANCHOR)]
    if not before:
        raise ValueError(
            f"it has no {ANCHOR}; it has {listed(list(state)) or 'no tensors'}"
        )
    if len(before) > 1:
        raise ValueError(f"it has {len(before)} networks: {listed(before)}; save one")
    (prefix,) = before
    words = []
    met = [w for w in WRAPPERS if any(w in key.split(".") for key in state)]
    if met:
        words.append(f"prefix {' and '.join(f'{w}.' for w in met)} removed")
    if prefix:
        words.append(f"taken from below {prefix!r}")
    inside = {
        k.removeprefix(prefix): v for k, v in plain.items() if k.startswith(prefix)
    }
    left = {k: v for k, v in plain.items() if not k.startswith(prefix)}
    return inside, left, words


def _torch_head(
    inside: Mapping[str, Stored],
) -> tuple[str, dict[str, Stored]]:
    """The name of the last layer, if it is one, and the network's own tensors."""
    own = {key: row for key, row in inside.items() if _first(key) in PARTS}
    for head in HEADS:
        keys = {key for key in inside if _first(key) == head}
        if keys == {f"{head}.weight", f"{head}.bias"}:
            weight = inside[f"{head}.weight"].shape
            if len(weight) == 2 and weight[1] == FEATURES:
                given = {
                    f"fc.{leaf}": inside[f"{head}.{leaf}"]
                    for leaf in ("weight", "bias")
                }
                return head, own | given
    return "", own


def _left_out(left: Mapping[str, Stored], *, base: bool) -> list[str]:
    """Lines for what is no part of the network."""
    words = []
    if base:
        words.append(
            f"{BASE}: imported as a base, whose answers are {FEATURES:,} features"
        )
    if left:
        each = [f"{key} {'x'.join(map(str, row.shape))}" for key, row in left.items()]
        words.append(f"left out: {listed(each)}")
    return words


# --- Keras ------------------------------------------------------------------------


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
    head = _keras_head(own)
    numbered = "0" in convs[0].arrays
    factors = len(norms[0].arrays) == len(LEAVES)
    spec = InceptionSpec(
        image=IMAGE,
        classes=_arrays(head, DENSE)["kernel"].shape[1] if head else FEATURES,
        border="exclude",
        norm=replace(KERAS_NORM, scale=factors),
    )
    order = graph_order(spec) if numbered else units(spec)
    leaves = {k: v for k, v in LEAVES.items() if factors or k != "scale"}
    rows = {}
    for unit, conv, norm in zip(order, convs, norms, strict=True):
        rows[f"{unit}.conv.kernel"] = _arrays(conv, ("kernel",))["kernel"]
        made = _arrays(norm, tuple(leaves.values()))
        rows |= {f"{unit}.bn.{leaf}": made[name] for leaf, name in leaves.items()}
    if head:
        rows |= {f"fc.{leaf}": row for leaf, row in _arrays(head, DENSE).items()}
    _check(spec, rows, base=not head)
    known = {layer.place for layer in (*convs, *norms, *([head] if head else []))}
    left = {
        f"{layer.named or layer.place}/{name}": row
        for layer in layers
        if layer.model != model or layer.place not in known
        for name, row in layer.arrays.items()
    }
    words = [f"taken from the model {model!r}"] if model.strip("/") not in OUTER else []
    words += [f"also there: {listed(beside)}"] if beside else []
    return Found(
        library="keras",
        spec=spec,
        rows=rows,
        said=(*words, *_left_out(left, base=head is None)),
    )


OUTER = ("", *keras_file.ROOTS)


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
    numbers = {
        number: layer
        for layer in layers
        if (number := _number(layer.place, kind)) is not None
    }
    return [numbers[i] for i in sorted(numbers)]


def _keras_head(layers: list[keras_file.Layer]) -> keras_file.Layer | None:
    """The layer of predictions, or none.

    Raises:
        ValueError: It is not what InceptionV3 ends with.
    """
    dense = [la for la in layers if _number(la.place, "dense") is not None]
    heads = [la for la in layers if HEAD in (la.place, la.named)]
    if not heads and len(dense) == 1 and "0" in dense[0].arrays and not dense[0].named:
        heads = dense  # Keras 3's first files know kinds alone
    if not heads:
        return None
    kernel = _arrays(heads[0], DENSE)["kernel"]
    if len(heads) > 1 or len(kernel.shape) != 2:
        raise ValueError(f"it has no layer of {HEAD} with a matrix")
    return heads[0]


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
