"""Import order and memory are correctness matters.

libtriton loaded after TensorFlow ends the process with SIGABRT (two LLVMs), and
making any torch optimizer, or importing torchvision, loads it.  So torch, triton
and torchvision come first.  Outside the tests each framework has its own process.
"""

import contextlib
import ctypes
import fcntl
import gc
import os
import sys
from pathlib import Path

import pytest

# `pytest` does not put the checkout on the path as `python -m pytest` does, and the
# processes that tests start are to find tests.numpy_track there.
sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with contextlib.suppress(ImportError):
    import torch

    torch.set_num_threads(1)  # tests run beside others; waiting threads cost more
    import triton  # noqa: F401
with contextlib.suppress(ImportError):
    import torchvision  # noqa: F401


GROWN = 50e6  # bytes; what a test may leave to be collected later


@pytest.fixture(autouse=True)
def _no_model_outlives_its_test():
    """Keras's models are in cycles: without this, dozens of Inceptions pile up."""
    before = resident()
    yield
    if resident() - before > GROWN:
        gc.collect()
        give_back()


@pytest.fixture(autouse=True)
def _heavy_tests_never_meet(request, tmp_path_factory):
    """Of all workers: what is marked `heavy` holds a gigabyte or more."""
    if request.node.get_closest_marker("heavy") is None:
        yield
        return
    shared = tmp_path_factory.getbasetemp().parent  # of all workers of this run
    with (shared / "heavy.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def resident():
    """Bytes of memory that this process holds, where the system tells."""
    path = Path("/proc/self/statm")
    if not path.exists():
        return 0
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def give_back():
    """Have glibc return what was freed: it keeps hundreds of megabytes otherwise."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
