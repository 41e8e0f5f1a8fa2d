"""Keras on the framework that a track needs, whatever the user's own settings say.

Keras takes its framework once, when it is first imported, from KERAS_BACKEND or else
from ~/.keras/keras.json.  Nothing here imports it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common.errors import Refused

VARIABLE = "KERAS_BACKEND"
# What Keras calls a framework -> the track that needs it, and how it is spelt.
NEEDED_BY = {
    "tensorflow": ("tensorflow", "TensorFlow"),
    "torch": ("keras_torch", "PyTorch"),
}


@contextmanager
def keras_on(backend: str) -> Iterator[None]:
    """While open, `import keras` gives Keras on `backend`; open it around the first.

    The environment is put back afterwards: a process that this one starts may be for
    another track.

    Raises:
        Refused: The environment names another framework, or Keras is on one already.
    """
    check_environment(backend)
    check_process(backend)
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
        raise Refused(
            f"the {track} track needs Keras on {framework}, found Keras on "
            f"{keras.config.backend()} in this process; use a process of its own"
        )


def settle(keras: Any) -> None:
    """Keras's own numbers, which a user's ~/.keras/keras.json may have changed."""
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
