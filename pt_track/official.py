"""torchvision's files of Inception v3.  Twin: tf_track/official.py."""

import hashlib
import io
from pathlib import Path
from urllib.error import URLError

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from common.errors import Refused
from common.evaluate import Predict
from common.inception import InceptionSpec
from common.library_files.forms import checked, form_of, remarks
from common.library_files.torch_names import COUNT, TORCH_NORM, torch_key
from common.weights import Weights
from pt_track.native import PLACES


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


def write_native(path: Path, spec: InceptionSpec, weights: Weights) -> list[str]:
    """Write a file that torchvision's builder loads; what was lost, in words.

    It appears once the builder has loaded it and has the same values.

    Raises:
        Refused: The builder makes no such network, the suffix promises another file, or
            the disk does not take it.
    """
    form = form_of("torchvision", path)
    said = remarks("torchvision", spec)
    if not spec.aux:
        said.append("no auxiliary head: build with aux_logits=False")
    if not spec.norm.scale:
        said.append("batch norm's factors are ones")
    state = _state(spec, weights)
    with checked(path) as place:
        if form == ".safetensors":
            place.write_bytes(safetensors.torch.save(state, {"format": "pt"}))
        else:
            content = io.BytesIO()
            torch.save(state, content)
            place.write_bytes(content.getvalue())
        _check(place, state)
    return said


def _state(spec: InceptionSpec, weights: Weights) -> dict[str, Tensor]:
    """Torchvision's state dict."""
    state: dict[str, Tensor] = {}
    scaled = InceptionSpec(
        image=spec.image, classes=spec.classes, aux=spec.aux, norm=TORCH_NORM
    )
    for name, record in scaled.weights.items():
        key, axes = torch_key(name)
        value = weights.get(name)
        if value is None:
            value = np.ones(record.shape, np.float32)
        back = np.argsort(axes)
        state[key] = torch.from_numpy(np.ascontiguousarray(value.transpose(back)))
        if key.endswith("running_var"):
            state[f"{key.removesuffix('running_var')}{COUNT}"] = torch.tensor(0)
    return state


def _check(path: Path, state: dict[str, Tensor]) -> None:
    """Refuse a file of which torchvision's builder makes other values."""
    loaded = _built(path).state_dict()
    if odd := [key for key in state if not torch.equal(loaded[key], state[key])]:
        raise ValueError(
            f"torchvision must load what was written, got other values for {odd[:3]}"
        )


def _built(path: Path) -> nn.Module:
    """Torchvision's own network with the weights in a file of its own."""
    # Imported late: seconds that other commands never need.
    from torchvision.models import inception_v3

    if path.suffix == ".safetensors":
        state = safetensors.torch.load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    model = inception_v3(
        weights=None,
        init_weights=False,
        aux_logits="AuxLogits.fc.weight" in state,
        num_classes=len(state["fc.bias"]),
    )
    model.load_state_dict(state)
    return model


def official(path: Path, side: int, *, device: str = "cpu") -> Predict:
    """Torchvision's own network with the weights in `path`, float32, side x side px.

    A function from uint8 images (n, h, w, c), scaled to -1 to 1 as its pretrained
    weights want them, to logits (n, classes): `model(x)`, channels first.
    """
    return whole(path, side, device=device)[1]


def whole(path: Path, side: int, *, device: str = "cpu") -> tuple[nn.Module, Predict]:
    """The same, and the network itself."""
    model = _built(path)
    place = PLACES[device]
    model.eval().to(place)

    @torch.inference_mode()
    def predict(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.moveaxis(images, -1, 1).astype(np.float32))
        return model(x.contiguous().to(place) / 127.5 - 1).cpu().numpy()

    return model, predict
