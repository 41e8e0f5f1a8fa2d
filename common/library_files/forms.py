"""What the suffix of a library's weights file promises."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import files
from common.errors import Refused
from common.inception import SYMMETRIC, InceptionSpec

CHANNELS, EPS = 3, 1e-3  # what both libraries' builders make
FORMS = {
    "torchvision": {
        ".pth": "load_state_dict(torch.load(path))",
        ".pt": "load_state_dict(torch.load(path))",
        ".safetensors": "load_state_dict(safetensors.torch.load_file(path))",
    },
    # The longer of two that end alike comes first.
    "keras": {
        ".weights.h5": "Model.load_weights(path)",
        ".h5": "keras.applications.InceptionV3(weights=path)",
        ".keras": "keras.models.load_model(path)",
    },
    "onnx": {".onnx": "onnxruntime.InferenceSession(path)"},
}


def form_of(library: str, path: Path) -> str:
    """The suffix, by which the library knows what is in its file.

    Raises:
        Refused: It promises nothing that the library loads.
    """
    for suffix in FORMS[library]:
        if path.name.endswith(suffix) and path.name != suffix:
            return suffix
    ways = ", ".join(f"{suffix} for {how}" for suffix, how in FORMS[library].items())
    raise Refused(
        f"{library} knows a file by its suffix, got {path.name!r}; name it {ways}"
    )


def remarks(library: str, spec: InceptionSpec) -> list[str]:
    """What a library's file cannot say and its user has to do.

    Raises:
        Refused: Its builder makes no such network.
    """
    channels, eps = spec.image[2], spec.norm.eps
    if (channels, eps) != (CHANNELS, EPS):
        raise Refused(
            f"{library}'s Inception v3 has {CHANNELS} channels and epsilon {EPS}, got "
            f"a network with {channels} and {eps}; keep its own file, which both "
            "tracks open"
        )
    if spec.scale != SYMMETRIC:
        return [f"not in the file: pixels go in by {spec.scale}"]
    return []


@contextmanager
def checked(path: Path) -> Iterator[Path]:
    """Where to write a file, under its own name, and look at it before it appears.

    Raises:
        Refused: The disk does not take it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".twintrack-", dir=path.parent) as name:
            place = Path(name) / path.name
            yield place
            files.write_atomic(path, place.read_bytes())
    except OSError as error:
        raise Refused(files.unwritable(path, error)) from error
