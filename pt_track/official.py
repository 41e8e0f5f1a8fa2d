"""torchvision's files of Inception v3.  Twin: tf_track/official.py."""

import hashlib
import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import BinaryIO
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn

from common import files
from common.errors import Refused
from common.evaluate import Predict
from common.inception import SYMMETRIC, InceptionSpec
from common.spec import Norm
from common.weights import Weights, check_names
from pt_track.native import PLACES
from pt_track.weights import LAYOUT, named_layers

COUNT = "num_batches_tracked"  # torchvision's; nothing reads it where momentum is given
# What torchvision's builder makes, but for the number of classes and the aux head.
NORM = Norm(decay=0.9, eps=1e-3, variance="unbiased", scale=True)
CHANNELS = 3
ZIP, LEGACY = b"PK\x03\x04", 5  # how a file begins; pickles before the old one's data
# What the pickle of a state dict may name, besides the types of storages.
NAMES = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
}
FLOATING = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def download() -> Path:
    """The official ImageNet file, downloaded once and checked by its hash.

    Raises:
        Refused: It cannot be downloaded, or another file lies in its place.
    """
    # Imported late, here and below: seconds that other commands never need.
    from torchvision.models import Inception_V3_Weights

    url = Inception_V3_Weights.IMAGENET1K_V1.url
    name = url.rpartition("/")[2]
    prefix = name.rpartition("-")[2].removesuffix(".pth")
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), prefix, False)
        except (URLError, OSError, RuntimeError) as error:
            raise Refused(
                f"torchvision's weights must be downloaded once, got {error} for "
                f"{url}; put the file at {path} by hand"
            ) from error
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(prefix):
        raise Refused(
            f"{name} must have the hash in its name, {path} has another; remove it "
            "and download it again"
        )
    return path


def imagenet_names() -> tuple[str, ...]:
    """Name of each of ImageNet's 1,000 classes, in the usual order."""
    from torchvision.models import Inception_V3_Weights

    return tuple(Inception_V3_Weights.IMAGENET1K_V1.meta["categories"])


def read_native(path: Path) -> tuple[InceptionSpec, Weights]:
    """Spec and canonical weights of a state dict of `torchvision.models.inception_v3`.

    The weights are float32.

    Raises:
        Refused: The file is damaged or of another network; nothing in it is run.
    """
    with _parser(path):
        zipped = _checked(path)
        # Mapped, a file's data is not read before its shapes have been compared.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        size = path.stat().st_size
    try:
        known = _tensors(state, size)
        spec, rows = _spec(known)
        found = {name: known[key].permute(axes) for key, (name, axes) in rows.items()}
        check_names({n: r.shape for n, r in spec.weights.items()}, found)
        weights = {name: _array(name, tensor) for name, tensor in found.items()}
    except ValueError as error:
        raise Refused(
            f"a torch file must be a state dict of inception_v3, {path} is not "
            f"({error}); use one that torchvision's inception_v3 gave"
        ) from error
    return spec, weights


@contextmanager
def _parser(path: Path) -> Iterator[None]:
    """Around what reads a file's bytes, and nothing else."""
    try:
        yield
    except Exception as error:  # a parser that is fed hostile bytes raises anything
        # What torch says first is how to have the file run what it likes.
        said = str(error).rpartition("WeightsUnpickler error:")[2].strip()
        said = said.splitlines()[0][:200] if said else type(error).__name__
        raise Refused(
            f"a torch file must be a whole state dict of tensors, got {path} ({said}); "
            "write it with torch.save(model.state_dict(), path)"
        ) from error


def _checked(path: Path) -> bool:
    """Whether a file is a zip, of which every byte is what it was.

    torch.load with weights_only runs nothing, but it unpacks what is compressed and
    makes what is named: a bytearray of any size, a tensor without data.  A state dict
    needs neither.
    """
    with path.open("rb") as file:
        if not (zipped := file.read(len(ZIP)) == ZIP):
            file.seek(0)
            for _ in range(LEGACY):
                _check_pickle(file)
            return zipped
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if not stored or sum(e.file_size for e in entries) > path.stat().st_size:
            raise ValueError("it is compressed")
        if (bad := archive.testzip()) is not None:
            raise ValueError(f"{bad!r} in it is damaged")
        for entry in entries:
            if entry.filename.lower().endswith(".pkl"):
                _check_pickle(archive.read(entry))
    return zipped


def _check_pickle(source: bytes | BinaryIO) -> None:
    for code, name, _ in pickletools.genops(source):
        if code.name != "GLOBAL":  # the others that name something torch refuses
            continue
        if name not in NAMES and not re.fullmatch(r"torch \w+Storage", name):
            raise ValueError(f"it names {name!r}")


def _tensors(state: object, size: int) -> dict[str, Tensor]:
    """Those that are weights, if they are dense, floating, and fit `size` bytes."""
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}")
    found: dict[str, Tensor] = {}
    for key, value in dict.items(state):  # a file can set a state dict's attributes
        if not isinstance(key, str):
            raise ValueError(f"it has a key of type {type(key).__name__}")
        if not isinstance(value, Tensor):
            raise ValueError(f"{key[:60]!r} is no tensor")
        if key.endswith(COUNT):
            continue
        if value.dtype not in FLOATING:
            raise ValueError(f"{key[:60]!r} must be floating, it is {value.dtype}")
        found[key] = value.detach()
    # One stored value can be repeated without end.
    if sum(prod(t.shape) * t.element_size() for t in found.values()) > size:
        raise ValueError(f"its tensors are larger than its {size:,} bytes")
    return found


def _spec(
    known: dict[str, Tensor],
) -> tuple[InceptionSpec, dict[str, tuple[str, tuple[int, ...]]]]:
    """The network whose tensors these are, by name and number of axes, and its rows."""
    if (head := known.get("fc.weight")) is None or head.ndim != 2:
        raise ValueError("it has no matrix fc.weight")
    spec = InceptionSpec(
        image=(299, 299, CHANNELS),
        classes=head.shape[0],
        aux="AuxLogits.fc.weight" in known,
        border="include",
        norm=NORM,
        dropout=0.5,
    )
    rows = _rows(spec)
    if odd := sorted(rows.keys() ^ known.keys()):
        some = [key[:60] for key in odd[:3]]
        raise ValueError(f"missing or unexpected: {some}, {len(odd)} in all")
    for key, (_, axes) in rows.items():
        if known[key].ndim != len(axes):
            shape = tuple(known[key].shape)
            raise ValueError(f"{key} must have {len(axes)} axes, it has shape {shape}")
    return spec, rows


def _rows(spec: InceptionSpec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """State dict key -> (canonical name, axes in canonical order)."""
    from pt_track.inception import Inception  # no other network depends on its file

    found = {}
    with torch.device("meta"):
        model = Inception(spec, "float32")
    for path, layer in named_layers(model):
        rows = next(rows for kind, rows in LAYOUT.items() if isinstance(layer, kind))
        for leaf, attribute, axes in rows:
            if getattr(layer, attribute) is not None:
                found[f"{path}.{attribute}"] = (f"{path}.{leaf}", axes)
    return found


def _array(name: str, tensor: Tensor) -> np.ndarray:
    """A copy in float32, of values that are finite and stay what they are."""
    if not tensor.isfinite().all():
        raise ValueError(f"{name} has values that are not finite")
    single = tensor.float().resolve_neg()  # a file can store a view that negates
    if not torch.equal(single.to(tensor.dtype), tensor):
        raise ValueError(f"{name} is {tensor.dtype} and would be rounded to float32")
    return np.array(single.numpy(), order="C")


def write_native(path: Path, spec: InceptionSpec, weights: Weights) -> list[str]:
    """Write a state dict that torchvision's builder loads; what was lost, in words.

    Raises:
        Refused: The builder makes no such network, or the disk does not take it.
    """
    state: dict[str, Tensor] = {}
    said = _remarks(spec)
    if not spec.aux:
        said.append("no auxiliary head: build with aux_logits=False")
    if not spec.norm.scale:
        said.append("batch norm's factors are ones")
    scaled = InceptionSpec(
        image=spec.image, classes=spec.classes, aux=spec.aux, norm=NORM
    )
    for key, (name, axes) in _rows(scaled).items():
        value = weights.get(name)
        if value is None:
            value = np.ones(scaled.weights[name].shape, np.float32)
        back = np.argsort(axes)
        state[key] = torch.from_numpy(np.ascontiguousarray(value.transpose(back)))
        if key.endswith("running_var"):
            state[f"{key.removesuffix('running_var')}{COUNT}"] = torch.tensor(0)
    content = io.BytesIO()
    torch.save(state, content)
    files.write_atomic(path, content.getvalue())
    return said


def _remarks(spec: InceptionSpec) -> list[str]:
    """What the file cannot say and its user has to do."""
    channels, eps = spec.image[2], spec.norm.eps
    if (channels, eps) != (CHANNELS, NORM.eps):
        raise Refused(
            f"torchvision's inception_v3 has {CHANNELS} channels and epsilon "
            f"{NORM.eps}, got a network with {channels} and {eps}; keep its own file, "
            "which both tracks open"
        )
    if spec.scale != SYMMETRIC:
        return [f"not in the file: pixels go in by {spec.scale}"]
    return []


def official(path: Path, side: int, *, device: str = "cpu") -> Predict:
    """Torchvision's own network with the weights in `path`, float32, side x side px.

    A function from uint8 images (n, h, w, c), scaled to -1 to 1 as its pretrained
    weights want them, to logits (n, classes): `model(x)`, channels first.
    """
    return whole(path, side, device=device)[1]


def whole(path: Path, side: int, *, device: str = "cpu") -> tuple[nn.Module, Predict]:
    """The same, and the network itself."""
    from torchvision.models import inception_v3

    state = torch.load(path, map_location="cpu", weights_only=True)
    model = inception_v3(
        weights=None,
        init_weights=False,
        aux_logits="AuxLogits.fc.weight" in state,
        num_classes=len(state["fc.bias"]),
    )
    model.load_state_dict(state)
    place = PLACES[device]
    model.eval().to(place)

    @torch.inference_mode()
    def predict(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.moveaxis(images, -1, 1).astype(np.float32))
        return model(x.contiguous().to(place) / 127.5 - 1).cpu().numpy()

    return model, predict
