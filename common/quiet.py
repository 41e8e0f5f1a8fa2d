"""What TensorFlow and Keras do while they load that nobody asked for.

C++ prints before it asks how much to say; Keras imports what it would plot with.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# TensorFlow's: 0 for everything, 3 for what is fatal.
LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Lines of absl's log below fatal, its notice of them, and the second line of one.
NOISE = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:|\d{4}-\d\d-\d\d .*: [IWE] "
    rb"|WARNING: All log messages before |To enable the following instructions: "
)
STDERR = 2  # the file descriptor: C++ knows nothing of sys.stderr
# What Keras imports for its plots and its scikit-learn wrappers, where it is installed:
# a second of each start.
UNASKED = ("matplotlib", "sklearn")
_children = False  # whether this process is one of our children


def nobody_plots() -> None:
    """Say that this process is a child of ours: Keras loads without what plots."""
    global _children
    _children = True


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Open it around the first import of TensorFlow and Keras.

    They say what is fatal only, and load what a child of ours needs.
    """
    with _without(UNASKED if _children else ()), _held_back():
        yield


@contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """While open, these are not installed, unless they are loaded already."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def _held_back() -> Iterator[None]:
    """Have TensorFlow say what is fatal only.

    Its log level counts only once its log is initialised, some lines come before that:
    they are held back here, and whatever else is written meanwhile comes afterwards.
    A level that the user has set is left alone, and nothing is held back then: this
    is how to see why an import ended the process.
    """
    if LEVEL in os.environ:
        yield
        return
    os.environ[LEVEL] = "3"
    try:
        kept = os.dup(STDERR)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as held:
        _flush()
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(kept, STDERR)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not NOISE.match(line):
                    os.write(STDERR, line)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
