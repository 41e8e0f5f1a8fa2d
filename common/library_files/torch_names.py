"""Inception v3 among a torch file's tensors: its names are ours, behind any prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.inception import AUX, FEATURES, STEM, InceptionSpec
from common.library_files import torch_file
from common.library_files.found import IMAGE, Found, check, left_out, listed
from common.library_files.stored import Stored
from common.library_files.torch_file import Named, View
from common.spec import Conv, Norm

# What torchvision's builder makes, but for the number of classes and the aux head.
TORCH_NORM = Norm(decay=0.9, eps=1e-3, variance="unbiased", scale=True)
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
# How the names of a network's own tensors begin.
PARTS = {row.name for row in STEM if isinstance(row.layer, Conv)}
PARTS |= {block.name for block in InceptionSpec(image=IMAGE, classes=1).blocks}
PARTS.add(AUX.name)


def torch_key(name: str) -> tuple[str, tuple[int, ...]]:
    """What torchvision calls a weight, and its axes in our order."""
    *place, kind, leaf = name.split(".")
    key, axes = TORCH[f"{kind}.{leaf}"]
    return ".".join((*place, key)), axes


def state_of(
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
    if strange:
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
    head, own = _head(inside)
    spec, aux = _spec(own, head)
    if aux:
        words.append(aux)
        own = {k: v for k, v in own.items() if _first(k) != AUX.name}
    rows = _rows(spec, own, base=not head)
    check(spec, rows, base=not head)
    left |= {k: v for k, v in inside.items() if _first(k) not in (*PARTS, head)}
    words += left_out(left, base=not head)
    return Found(library="torchvision", spec=spec, rows=rows, said=(*said, *words))


def _spec(own: Mapping[str, Stored], head: str) -> tuple[InceptionSpec, str]:
    """The network, and a line where its auxiliary head is not for its classes."""
    classes = own["fc.weight"].shape[0] if head else FEATURES
    aux = own.get(f"{AUX.name}.fc.weight")
    n = aux.shape[0] if aux and aux.shape else 0
    fits = bool(aux and head and n == classes)
    spec = InceptionSpec(
        image=IMAGE,
        classes=classes,
        aux=fits,
        border="include",
        norm=TORCH_NORM,
        dropout=0.5,
    )
    if fits or aux is None:
        return spec, ""
    return spec, f"the auxiliary head is left out: it is for {n:,} classes"


def _rows(
    spec: InceptionSpec, own: Mapping[str, Stored], *, base: bool
) -> dict[str, Stored]:
    """Canonical name -> where it lies, its axes in our order.

    Raises:
        ValueError: A key is missing, or one too many, or has other axes.
    """
    keys = {
        torch_key(name)[0]: name
        for name in spec.weights
        if not (base and name.startswith("fc."))
    }
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
    return rows


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


def _head(inside: Mapping[str, Stored]) -> tuple[str, dict[str, Stored]]:
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
