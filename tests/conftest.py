"""Import order and memory are correctness matters.

libtriton loaded after TensorFlow ends the process with SIGABRT (two LLVMs), and
making any torch optimizer, or importing torchvision, loads it.  So torch, triton
and torchvision come first.  Outside the tests each framework has its own process.
"""

import contextlib
import ctypes
import gc
import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import pytest

# `pytest` does not put the checkout on the path as `python -m pytest` does, and the
# processes that tests start are to find tests.numpy_track there.
sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
GROWN = 50e6  # bytes; what a test may leave to be collected later


# Where the workers tell xdist's controller, which sees names only, which are heavy.
WEIGHTS = "TWINTRACK_TEST_WEIGHTS"


def pytest_configure(config):
    """Frameworks in their order, where tests run: not in xdist's controller."""
    workers = getattr(config.option, "numprocesses", None)
    if workers and not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="twintrack-tests-")
        config.add_cleanup(folder.cleanup)
        os.environ[WEIGHTS] = folder.name
        return
    gc.disable()  # until all is collected: what comes stays
    for name in ("torch", "triton", "torchvision"):
        with contextlib.suppress(ImportError):
            import_module(name)
    if "torch" in sys.modules:  # tests run beside others; waiting threads cost more
        sys.modules["torch"].set_num_threads(1)


def weight(item):
    """2 for tests that hold three gigabytes in their children, 1 for one.

    Else 0, but -1 for those that leave half a gigabyte in their worker.
    """
    marks = {mark.name for mark in item.iter_markers()}
    return 2 * ("heaviest" in marks) or ("heavy" in marks) or -("leaves" in marks)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """The heaviest first, while the workers are small; then what takes long."""
    items.sort(key=lambda item: (-weight(item), not item.get_closest_marker("long")))
    if folder := os.environ.get(WEIGHTS):
        worker = getattr(config, "workerinput", {}).get("workerid", "alone")
        told = json.dumps([item.nodeid for item in items if weight(item) > 0])
        (Path(folder) / f"{worker}.json").write_text(told)


def pytest_collection_finish():
    """What is here stays: a full collection would look at a million objects."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Heavy tests in one worker, the others file by file.

    xdist's own groups do nothing under pytest 9.2: it sets `_nodeid`, which pytest
    no longer reads.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        heavy = frozenset()

        def schedule(self):
            # All workers have collected by now, each the same tests.
            told = sorted(Path(os.environ[WEIGHTS]).glob("*.json"))
            self.heavy = frozenset(json.loads(told[0].read_text())) if told else ()
            super().schedule()

        def _split_scope(self, nodeid):
            return "heavy" if nodeid in self.heavy else nodeid.partition("::")[0]

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def _no_model_outlives_its_test():
    """Keras's models are in cycles: without this, dozens of Inceptions pile up."""
    before = resident()
    yield
    if resident() - before > GROWN:
        gc.collect()
        give_back()


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
