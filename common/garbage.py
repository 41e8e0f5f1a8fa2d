"""When Python looks for garbage: not while much comes that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """While open, no garbage is looked for; afterwards what is there counts as old.

    A framework is half a million objects, and syntax trees are many: looking at them
    while they come took a fifth of the time that TensorFlow needs to load.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else somebody wants his own to stay so
            gc.freeze()
            gc.unfreeze()  # into the oldest generation, still collected
        if was:
            gc.enable()
