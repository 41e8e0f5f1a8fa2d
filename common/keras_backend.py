"""Keras on the framework that a track needs, whatever the user's own settings say.

Keras takes its framework once, when it is first imported, from KERAS_BACKEND or else
from keras.json in KERAS_HOME, else in ~/.keras.  Nothing here imports it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import Refused

VARIABLE = "KERAS_BACKEND"
# What Keras calls a framework -> the track that needs it, and how it is spelt.
NEEDED_BY = {
    "tensorflow": ("tensorflow", "TensorFlow"),
    "torch": ("keras_torch", "PyTorch"),
}
# What Keras takes of keras.json, and refuses with a traceback where it is otherwise.
# (All of it is set anew by `settle`, so it decides nothing; it must only be readable.)
TAKEN = {
    "floatx": ("float16", "float32", "float64"),
    "image_data_format": ("channels_last", "channels_first"),
}


@contextmanager
def keras_on(backend: str) -> Iterator[None]:
    """While open, `import keras` gives Keras on `backend`; open it around the first.

    The environment is put back afterwards: a process that this one starts may be for
    another track.

    Raises:
        Refused: The environment names another framework, Keras is on one already, or
            Keras cannot read its own file of settings.
    """
    check_environment(backend)
    check_process(backend)
    check_file()
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = backend
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
    settle(sys.modules["keras"])


def check_environment(backend: str) -> None:
    """Refuse a KERAS_BACKEND that names another framework than `backend`."""
    found = os.environ.get(VARIABLE) or backend  # Keras takes "" for none, too
    if found != backend:
        track, framework = NEEDED_BY[backend]
        raise Refused(
            f"the {track} track needs Keras on {framework}, got {VARIABLE}={found}; "
            "unset it: each track sets its own"
        )


def check_process(backend: str) -> None:
    """Refuse a process in which Keras is on another framework than `backend`."""
    keras: Any = sys.modules.get("keras")
    if keras is not None and keras.config.backend() != backend:
        track, framework = NEEDED_BY[backend]
        there = keras.config.backend()
        blamed = settings_file()
        named = (_settings() or {}).get("backend") == there
        said = f", which {blamed} names" if named and not _set() else ""
        cure = f"take that out of {blamed}, or use" if said else "use"
        raise Refused(
            f"the {track} track needs Keras on {framework}, found Keras on {there} in "
            f"this process{said}; {cure} a process of its own"
        )


def _set() -> bool:
    return bool(os.environ.get(VARIABLE))


def settings_file() -> Path:
    """Where Keras looks for its settings."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        own = Path("~").expanduser()
        home = str((own if os.access(own, os.W_OK) else Path("/tmp")) / ".keras")
    return Path(home).expanduser() / "keras.json"


def _settings() -> Any:
    """What that file says; none where Keras itself takes no notice of it."""
    try:
        return json.loads(settings_file().read_bytes())
    except (OSError, ValueError):
        return None


def check_file() -> None:
    """Refuse a keras.json that Keras ends with a traceback about."""
    found = _settings()
    if found is None:
        return
    wrong = [] if isinstance(found, dict) else [f"is {type(found).__name__}"]
    if not wrong:
        wrong = [
            f"has {key} {found[key]!r}"
            for key, known in TAKEN.items()
            if key in found and found[key] not in known
        ]
        if not isinstance(found.get("epsilon", 1e-7), float):
            wrong.append(f"has epsilon {found['epsilon']!r}")
    if wrong:
        raise Refused(
            f"Keras's own settings must be ones that it reads, {settings_file()} "
            f"{' and '.join(wrong)}; mend or delete it, no track needs it"
        )


def settle(keras: Any) -> None:
    """Keras's own numbers, which a user's ~/.keras/keras.json may have changed."""
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
