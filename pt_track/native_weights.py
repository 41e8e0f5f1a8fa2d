"""torchvision's files of Inception v3.  Twin: tf_track/native_weights.py."""

import hashlib
import io
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import Inception_V3_Weights, inception_v3

from common import files
from common.errors import Refused
from common.evaluate import Predict
from common.inception import InceptionSpec
from common.spec import Norm
from common.weights import Weights, check_names
from pt_track.inception import Inception
from pt_track.native import PLACES
from pt_track.weights import LAYOUT, named_layers

OFFICIAL = Inception_V3_Weights.IMAGENET1K_V1
COUNT = "num_batches_tracked"  # torchvision's; nothing reads it where momentum is given
# What torchvision's builder makes, but for the number of classes and the aux head.
NORM = Norm(decay=0.9, eps=1e-3, variance="unbiased", scale=True)


def download() -> Path:
    """The official ImageNet file, downloaded once and checked by its hash.

    Raises:
        Refused: It cannot be downloaded, or another file lies in its place.
    """
    name = OFFICIAL.url.rpartition("/")[2]
    prefix = name.rpartition("-")[2].removesuffix(".pth")
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(OFFICIAL.url, str(path), prefix, False)
        except (URLError, OSError, RuntimeError) as error:
            raise Refused(
                f"torchvision's weights must be downloaded once, got {error} for "
                f"{OFFICIAL.url}; put the file at {path} by hand"
            ) from error
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(prefix):
        raise Refused(
            f"{name} must have the hash in its name, {path} has another; remove it "
            "and download it again"
        )
    return path


def imagenet_names() -> tuple[str, ...]:
    """Name of each of ImageNet's 1,000 classes, in the usual order."""
    return tuple(OFFICIAL.meta["categories"])


def read_native(path: Path) -> tuple[InceptionSpec, Weights]:
    """Spec and canonical weights of a state dict of `torchvision.models.inception_v3`.

    Raises:
        Refused: The file is damaged or of another network; nothing in it is run.
    """
    state = _state(path)
    if (head := state.get("fc.weight")) is None or head.ndim != 2:
        raise Refused(
            f"a torch file must be a state dict of inception_v3, {path} has no matrix "
            "fc.weight; use one that torchvision's inception_v3 gave"
        )
    spec = InceptionSpec(
        image=(299, 299, 3),
        classes=head.shape[0],
        aux="AuxLogits.fc.weight" in state,
        border="include",
        norm=NORM,
        dropout=0.5,
    )
    rows = _rows(spec)
    known = {key: value for key, value in state.items() if not key.endswith(COUNT)}
    try:
        if odd := sorted(rows.keys() ^ known.keys()):
            raise ValueError(f"missing or unexpected: {odd[:3]}, {len(odd)} in all")
        weights = {name: _array(known[key], axes) for key, (name, axes) in rows.items()}
        check_names({n: r.shape for n, r in spec.weights.items()}, weights)
    except ValueError as error:
        raise Refused(
            f"a torch file must be a state dict of inception_v3, {path} is not "
            f"({error}); use one that torchvision's inception_v3 gave"
        ) from error
    return spec, weights


def _state(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
        if strange := [k for k, v in state.items() if not isinstance(v, Tensor)]:
            raise TypeError(f"{strange[0]} is no tensor")
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError) as error:
        said = str(error).strip().splitlines()[0]
        raise Refused(
            f"a torch file must be a whole state dict of tensors, got {path} ({said}); "
            "write it with torch.save(model.state_dict(), path)"
        ) from error
    return state


def _rows(spec: InceptionSpec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """State dict key -> (canonical name, axes in canonical order)."""
    found = {}
    with torch.device("meta"):
        model = Inception(spec, "float32")
    for path, layer in named_layers(model):
        rows = next(rows for kind, rows in LAYOUT.items() if isinstance(layer, kind))
        for leaf, attribute, axes in rows:
            if getattr(layer, attribute) is not None:
                found[f"{path}.{attribute}"] = (f"{path}.{leaf}", axes)
    return found


def _array(tensor: Tensor, axes: tuple[int, ...]) -> np.ndarray:
    if tensor.ndim != len(axes):
        raise ValueError(
            f"a tensor of {len(axes)} axes has shape {tuple(tensor.shape)}"
        )
    return np.array(tensor.permute(axes).numpy(), order="C")


def write_native(path: Path, spec: InceptionSpec, weights: Weights) -> list[str]:
    """Write a state dict that torchvision's builder loads; what was lost, in words.

    Raises:
        Refused: The disk does not take it.
    """
    state: dict[str, Tensor] = {}
    said = [] if spec.norm.scale else ["batch norm's factors are ones"]
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


def official(path: Path, side: int, *, device: str = "cpu") -> Predict:
    """Torchvision's own network with the weights in `path`, float32, side x side px.

    A function from uint8 images (n, h, w, c), scaled to -1 to 1 as its pretrained
    weights want them, to logits (n, classes): `model(x)`, channels first.
    """
    return whole(path, side, device=device)[1]


def whole(path: Path, side: int, *, device: str = "cpu") -> tuple[nn.Module, Predict]:
    """The same, and the network itself."""
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
