"""Two models that a notebook holds, written so that another process opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.errors import Refused, one_line

# Files that open what was written; the classes of a notebook travel by value.
TORCH = """import pickle
from pathlib import Path


def model():
    return pickle.loads((Path(__file__).parent / "torch.pickle").read_bytes())
"""
KERAS = """import pickle
from pathlib import Path

import keras

HOME = Path(__file__).parent
CLASSES = pickle.loads((HOME / "classes.pickle").read_bytes())


def model():
    with keras.saving.custom_object_scope(CLASSES):
        return keras.saving.load_model(HOME / "model.keras", safe_mode=False)
"""


def handed_over(side: str, model: Any, folder: Path) -> str:
    """Write a model into a folder; how `common.port.target` names it.

    Args:
        side: "torch" or "keras".
        model: The object.
        folder: Empty.

    Raises:
        Refused: It cannot be written.
    """
    import cloudpickle  # pickle knows no class of a notebook

    home = folder / f"handed_{side}.py"
    try:
        if side == "torch":
            (folder / "torch.pickle").write_bytes(cloudpickle.dumps(model))
            home.write_text(TORCH)
        else:
            model.save(folder / "model.keras")
            classes = {type(part).__name__: type(part) for part in _own(model)}
            (folder / "classes.pickle").write_bytes(cloudpickle.dumps(classes))
            home.write_text(KERAS)
    except Exception as error:  # a user's classes raise whatever they do
        raise Refused(
            f"{side}_model must be one that can be saved, it raised "
            f"{type(error).__name__}: {one_line(str(error))[:200]}; name the function "
            "that makes it instead"
        ) from error
    return f"{home}:model"


def _own(model: Any) -> list[Any]:
    """The model and its layers, where their classes are the user's."""
    parts = [model, *model._flatten_layers(include_self=False)]
    return [part for part in parts if not type(part).__module__.startswith("keras.")]
