"""What a process does with memory that it frees."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h: M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD (bytes).
KEPT = ((-4, 0), (-1, 2**31 - 1), (-2, 256 << 20))


def keep_freed() -> None:
    """Let the C library keep what arrays free, where it is glibc.

    It would give a large array's pages back after every operation and take a fault for
    each when the next one asks: some CNNs train a fifth slower so in torch.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in KEPT:
            mallopt(parameter, value)
