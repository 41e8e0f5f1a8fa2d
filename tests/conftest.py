"""Import order is a correctness matter.

libtriton loaded after TensorFlow ends the process with SIGABRT (two LLVMs), and
making any torch optimizer, or importing torchvision, loads it.  So torch, triton
and torchvision come first.  Outside the tests each framework has its own process.
"""

import contextlib
import os
import sys
from pathlib import Path

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
